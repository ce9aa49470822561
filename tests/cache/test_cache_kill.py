"""Writers that are killed, and two at once: real processes, real SIGKILL."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cache_helpers import SHAPE, cases, make_key

from napari_medicosam.cache.store import ZarrEmbeddingStore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

WRITER = str(Path(__file__).with_name("writer_process.py"))
GRID = 64  # 256 KiB a slice
KEY = make_key(grid_size=GRID)


def start_writer(root: Path, seed: int = 0) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, WRITER, "write", str(root), str(seed), str(GRID)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(".partial")
    }


def test_killed_at_every_file_operation(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, WRITER, "crash", str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 30  # making the group alone takes about that many


def test_killed_again_and_again_then_finished(tmp_path: Path) -> None:
    rng = random.Random(20240)
    root = tmp_path / "killed"
    done: set[int] = set()
    for attempt in range(4):
        writer = start_writer(root)
        go(writer)
        # Mostly just as a put begins, so that the kill falls somewhere inside it.
        last = rng.choice(["put", "put", "done"]), rng.randrange(attempt, attempt + 2)
        assert writer.stdout is not None
        for line in writer.stdout:
            word, index = line.split()
            if word == "put":
                assert int(index) not in done, "encoded twice"
            else:
                done.add(int(index))
            if (word, int(index)) == last or int(index) > last[1]:
                break
        for _ in range(rng.randrange(40_000)):  # a seeded moment later
            pass
        writer.kill()
        for line in writer.stdout:
            word, index = line.split()
            if word == "done":
                done.add(int(index))
        writer.communicate()
        store = ZarrEmbeddingStore(root, KEY, SHAPE)
        for plane, digest, embedding in cases(0, KEY):
            got = store.get(plane, digest)
            assert store.has(plane, digest) == (got is not None)
            assert got is None or np.array_equal(got, embedding)
            assert got is not None or plane.index not in done
            if got is not None:
                done.add(plane.index)
    assert done
    for folder in (root, tmp_path / "in one go"):
        writer = start_writer(folder)
        go(writer)
        writer.communicate()
        assert writer.returncode == 0
    assert files(root) == files(tmp_path / "in one go")


def test_two_processes_on_one_folder(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    writers = [start_writer(root) for _ in range(2)]
    for writer in writers:
        go(writer)
    outputs = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert all(output.count("done") == SHAPE[0] for output in outputs)
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    for plane, digest, embedding in cases(0, KEY):
        assert store.has(plane, digest)
        np.testing.assert_array_equal(store.get(plane, digest), embedding)
    assert [path.name for path in root.iterdir()] == [KEY.group_name(0)]


def test_two_volumes_in_one_folder_get_their_own_or_nothing(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    writers = [start_writer(root, seed) for seed in (0, 1)]
    for writer in writers:
        go(writer)
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    for seed in (0, 1):
        for plane, digest, embedding in cases(seed, KEY):
            got = store.get(plane, digest)
            assert got is None or np.array_equal(got, embedding)
            store.put(plane, digest, embedding)
            np.testing.assert_array_equal(store.get(plane, digest), embedding)
