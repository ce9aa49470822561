"""Nothing of the patient in what is kept and logged: names, dates, ids and paths are looked for byte by byte."""

from __future__ import annotations

import logging
import stat
import sys
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_medicosam.cli.app import app
from napari_medicosam.io.image_series import ImageSeries
from napari_medicosam.io.volumes import read_volume, write_labels
from napari_medicosam.ui.failure_log import log_failure

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("Doe_Jane", "DoeJane19700101", "1.2.840.99999.4711", "ward-seven", "St_Elsewhere")
"""In the file's name, its folder's, and every field of its header that holds text."""

BOX = ("--box", "3,8,8,30,30")


def told(content: bytes) -> set[str]:
    """The secrets in some bytes, also as UTF-16."""
    return {word for word in SECRETS if word.encode() in content or word.encode("utf-16-le") in content}


def told_below(folder: Path) -> dict[str, set[str]]:
    """The secrets in the names and contents of all files below a folder, by file."""
    found = {}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if words := told(str(path.relative_to(folder)).encode() + b" " + content):
            found[path.name] = words
    return found


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A NIfTI of a patient: all that can be known about her stands in its name, folder and header."""
    folder = tmp_path / "ward-seven" / "Doe_Jane"
    folder.mkdir(parents=True)
    image = nibabel.Nifti1Image(
        np.random.default_rng(0).integers(0, 900, (40, 40, 6)).astype(np.int16), np.diag([0.7, 0.7, 2.5, 1])
    )
    image.header["descrip"] = b"DoeJane19700101 St_Elsewhere"
    image.header["db_name"] = b"DoeJane19700101"
    image.header["aux_file"] = b"Doe_Jane.dcm"
    image.header["intent_name"] = b"ward-seven"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"1.2.840.99999.4711 Doe_Jane"))
    path = folder / "Doe_Jane_1.2.840.99999.4711.nii.gz"
    nibabel.save(image, path)
    return path


def test_the_scan_does_hold_the_secrets(scan: Path) -> None:
    assert told(nibabel.load(scan).to_bytes()) >= {"DoeJane19700101", "St_Elsewhere"}
    assert told(str(scan).encode()) == {"Doe_Jane", "1.2.840.99999.4711", "ward-seven"}


def test_cache_labels_and_log_of_a_run_name_nobody(
    scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, home, out = tmp_path / "cache", tmp_path / "own-cache", tmp_path / "labels.nii.gz"
    monkeypatch.setenv("NAPARI_MEDICOSAM_CACHE", str(home))
    caplog.set_level(logging.DEBUG)
    words = ["segment", str(scan), "-o", str(out), "--model", "sam_test", "--device", "cpu", *BOX]
    result = CliRunner().invoke(app, [*words, "--embeddings", str(cache)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert len(list(cache.rglob("c.*"))) > 0
    assert told_below(cache) == {}
    assert not home.exists() or told_below(home) == {}
    assert told(nibabel.load(out).to_bytes()) == set()
    assert told(caplog.text.encode()) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_only_the_owner_reads_the_cache(scan: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    words = ["embed", str(scan), "--model", "sam_test", "--device", "cpu", "--embeddings", str(cache)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    for folder in (cache, *(path for path in cache.iterdir() if path.is_dir())):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_state_of_a_series_knows_files_by_name_alone(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    series = ImageSeries(scan.parent, out)
    (item,) = series
    series.mark_started(item)
    image = read_volume(scan)
    write_labels(item.label_path, np.zeros(image.geometry.shape_zyx, np.uint8), image)
    series.mark_done(item)
    (state,) = out.glob("*.json")
    # The name is what the user chose for the file, and how its labels are found; nothing else may be there.
    assert told(state.read_bytes().replace(scan.name.encode(), b"")) == set()
    assert told(nibabel.load(item.label_path).to_bytes()) == set()


def test_a_failure_is_logged_without_its_words(scan: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = scan.with_name(f"{SECRETS[0]}.dcm")

    def fail() -> None:
        try:
            missing.read_bytes()
        except OSError as error:
            raise RuntimeError(f"cannot use {scan}") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    log_failure("a task failed", caught.value)
    (record,) = caplog.records
    assert told(caplog.text.encode()) == set()
    assert record.exc_info is None
    text = record.getMessage()
    assert text.startswith("a task failed: RuntimeError")
    assert "FileNotFoundError" in text
    assert "in fail" in text
