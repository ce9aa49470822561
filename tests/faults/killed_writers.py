"""Kills writers of ours in the middle: `python killed_writers.py FOLDER`.

Each writer replaces what an earlier one made, in a process of its own that dies (SIGKILL) when it flushes something to
the disk for the nth time, for n = 1, 2, ... until it lives. What is there afterwards, and after the next write, goes to
stdout as a line of JSON: [writer, n, what is there, what is there later].
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.core.results import Region
from napari_medicosam.io.journal_records import Patch
from napari_medicosam.io.session_files import read_session, write_session
from napari_medicosam.io.session_journal import JournalWriter, find_journals, read_journal, remove_journal
from napari_medicosam.io.volumes import Volume, read_labels, write_labels

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION = Path(__file__).parents[1] / "io" / "session_v1.zip"
SHAPE = (4, 30, 40)
VOLUME = Volume(np.zeros(SHAPE, np.uint8), Geometry.from_spacing(SHAPE))
OLD, NEW = np.random.default_rng(0).integers(0, 200, (2, *SHAPE)).astype(np.uint8)
SHA256 = "ab" * 32


@dataclass(frozen=True)
class Writer:
    """How something is written, which of two contents is there, and which flush is the first that may kill."""

    write: Callable[[Path, bool], object]
    found: Callable[[Path], str]
    first: int = 1


def write_label_map(path: Path, is_new: bool) -> None:
    write_labels(path, NEW if is_new else OLD, VOLUME, overwrite=True)


def found_label_map(path: Path) -> str:
    labels = np.asarray(read_labels(path).array)
    return (
        "new" if np.array_equal(labels, NEW) else "old" if np.array_equal(labels, OLD) else "something else"
    )


def write_a_session(path: Path, is_new: bool) -> None:
    session = read_session(SESSION)
    empty = replace(session, labels=np.zeros_like(session.labels)).counted()
    write_session(path, empty if is_new else session, overwrite=True)


def found_session(path: Path) -> str:
    return "old" if read_session(path).labels.any() else "new"


def write_journal(folder: Path, is_new: bool) -> None:
    session = read_session(SESSION)
    rows, columns = session.labels.shape[2:]
    for found in find_journals(folder, SHA256):
        remove_journal(found.path)
    if any(folder.glob("*")):
        raise RuntimeError("a writer that was killed left more than its journal")
    # The second record takes it over the limit at which it is written anew.
    writer = JournalWriter(folder, SHA256, shorten_at=3000)
    for value in (1, 2) if is_new else (1,):
        voxels = np.full((rows, columns), value, np.uint16)
        writer.append(session.state, [Patch("labels", 0, 0, Region(0, 0, rows, columns), voxels)])
    writer.close(keep=True)


def found_journal(folder: Path) -> str:
    (found,) = find_journals(folder, SHA256)
    return {1: "old", 2: "new"}.get(int(read_journal(found.path).labels[0, 0].min()), "something else")


LABEL_MAP, A_SESSION = Writer(write_label_map, found_label_map), Writer(write_a_session, found_session)
WRITERS = {
    "labels.nii.gz": LABEL_MAP,
    "labels.ome.zarr": LABEL_MAP,
    "session.zip": A_SESSION,
    "session_folder": A_SESSION,
    "journals": Writer(write_journal, found_journal, first=2),  # the first record is what is there already
}


def in_a_process(task: Callable[[], str]) -> str:
    """What `task` returns, in a process of its own; "killed" when it was."""
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(ends[1], task().encode())
        finally:
            os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0]) as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    return "killed" if os.WIFSIGNALED(status) else said


def write(writer: Writer, path: Path, is_new: bool, dies_at: int = 0) -> str:
    left = dies_at

    def counted(handle: int) -> None:  # to flush takes long, and only a power cut needs it
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = counted
    writer.write(path, is_new)
    return "written"


def main() -> None:
    folder = Path(sys.argv[1])
    for name, writer in WRITERS.items():
        path, number, outcome = folder / name, writer.first - 1, ""
        while outcome != "written":
            number += 1
            in_a_process(partial(write, writer, path, is_new=False))
            outcome = in_a_process(partial(write, writer, path, is_new=True, dies_at=number))
            after = in_a_process(partial(writer.found, path))
            in_a_process(partial(write, writer, path, is_new=True))
            later = in_a_process(partial(writer.found, path))
            sys.stdout.write(json.dumps([name, number, after, later]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
