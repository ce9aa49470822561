"""A kill at any flush of any writer: the old content is there or the new one, whole, and the next write goes well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.io import replacing
from napari_medicosam.io.exchange import exchange
from napari_medicosam.io.volumes import Volume, write_labels

SCRIPT = Path(__file__).with_name("killed_writers.py")
NAMES = ("labels.nii.gz", "labels.ome.zarr", "session.zip", "session_folder", "journals")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[list[str]]]]:
    """The folder; for each writer, kill by kill, what was there afterwards and after the next write."""
    if sys.platform != "linux":
        pytest.skip("to fork is safe on Linux only, and to swap folders needs it")
    folder = tmp_path_factory.mktemp("killed")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=True
    )
    found = defaultdict(list)
    for line in run.stdout.splitlines():
        name, _, *contents = json.loads(line)
        found[name].append(contents)
    return folder, found


@pytest.mark.parametrize("name", NAMES)
def test_old_or_new_and_nothing_in_the_way(killed, name) -> None:
    _, found = killed
    after, later = zip(*found[name], strict=True)
    num_old = after.count("old")
    assert after == ("old",) * num_old + ("new",) * (len(after) - num_old)  # new it is from the move on
    assert num_old >= (0 if name == "journals" else 1)
    assert len(after) - num_old >= 2
    assert set(later) == {"new"}


def test_what_they_left_is_swept_a_day_later(killed) -> None:
    folder, _ = killed
    hidden = [path for path in folder.iterdir() if path.name.startswith(".medicosam-")]
    assert hidden
    out_of_the_way = folder / f"{hidden[0].stem}.old"
    out_of_the_way.mkdir()  # a user's own folder, on systems that cannot swap two
    notes = folder / ".medicosam-notes.txt"
    notes.touch()
    labels = np.zeros((2, 3, 4), np.uint8)
    volume = Volume(labels, Geometry.from_spacing(labels.shape))
    write_labels(folder / "another.nii", labels, volume)
    assert all(path.exists() for path in hidden)
    for path in (*hidden, out_of_the_way, notes):
        os.utime(path, (1e9, 1e9))
    write_labels(folder / "one_more.nii", labels, volume)
    assert {path for path in folder.iterdir() if path.name.startswith(".")} == {out_of_the_way, notes}


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_folder_is_replaced_with_and_without_a_swap(tmp_path, monkeypatch, can_swap) -> None:
    path = tmp_path / "made"
    path.mkdir()
    (path / "old").touch()
    renamed = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda one, other: renamed.append(one) or rename(one, other))
    if not can_swap:
        monkeypatch.setattr(replacing, "exchange", lambda one, other: False)
    elif sys.platform not in ("linux", "darwin"):
        pytest.skip("cannot swap folders")
    replacing.replace_folder(
        path, "", lambda folder: (folder / "new").touch(), lambda folder: None, overwrite=True
    )
    assert [one.name for one in path.iterdir()] == ["new"]
    assert [one.name for one in tmp_path.iterdir()] == ["made"]
    assert (path in renamed) == (not can_swap)  # at no moment it was gone


def test_what_cannot_be_swapped_stays_as_it_was(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    assert not exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
