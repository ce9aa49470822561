"""A disk that takes no more in the middle of a file: every writer says so and leaves what was there."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medicosam.core.results import Region
from napari_medicosam.io import session_journal
from napari_medicosam.io.journal_records import Patch
from napari_medicosam.io.session_files import read_session

SCRIPT = Path(__file__).with_name("limited_disk.py")
NAMES = (
    "a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.tif", "a.png", "classes.json", "model.pth", "model.safetensors",
    "embeddings",
)  # fmt: skip
OLD = b"the file of yesterday"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder, and what each writer said when files may have 1200 bytes."""
    if sys.platform == "win32":
        pytest.skip("a limit of POSIX systems")
    folder = tmp_path_factory.mktemp("full")
    for name in NAMES[:-1]:
        (folder / name).write_bytes(OLD)
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), "1200"], capture_output=True, text=True, check=True
    )
    return folder, dict(map(json.loads, run.stdout.splitlines()))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_written_is_said_and_the_old_one_stays(full, name) -> None:
    folder, said = full
    error, _, message = said[name].partition(": ")
    assert error in ("FileError", "CheckpointError", "CacheError")
    assert message.startswith("cannot write")
    if name != "embeddings":
        assert (folder / name).read_bytes() == OLD


def test_nothing_half_written_stays(full) -> None:
    folder, _ = full
    names = {path.name for path in folder.iterdir()}
    assert names <= set(NAMES)
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob("c.1.0.0.0"))


def test_a_journal_that_could_not_be_shortened_goes_on(tmp_path, monkeypatch) -> None:
    session = read_session(SCRIPT.parents[1] / "io" / "session_v1.zip")
    rows, columns = session.labels.shape[2:]

    def patches(value: int) -> list[Patch]:
        voxels = np.full((rows, columns), value, np.uint16)
        return [Patch("labels", 0, 0, Region(0, 0, rows, columns), voxels)]

    def full(session) -> None:
        raise OSError(errno.ENOSPC, "no space")

    writer = session_journal.JournalWriter(tmp_path / "journals", "ab" * 32, shorten_at=1)
    with monkeypatch.context() as patch:
        patch.setattr(session_journal, "_patches_of", full)
        with pytest.raises(OSError, match="no space"):
            writer.append(session.state, patches(1))
    writer.append(session.state, patches(2))
    writer.close(keep=True)
    assert (session_journal.read_journal(writer.path).labels[0, 0] == 2).all()
    assert not list(writer.path.parent.glob("*.partial"))
