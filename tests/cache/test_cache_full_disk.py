"""Real disks that are full or read-only: small mounts, where this user may make them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cache_helpers import SHAPE, cases, make_key

from napari_medicosam.cache.store import MemoryEmbeddingStore, TieredEmbeddingStore, ZarrEmbeddingStore
from napari_medicosam.errors import CacheError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = make_key(grid_size=32)  # 64 KiB a slice


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    if sys.platform != "linux":
        pytest.skip("makes a tmpfs mount")
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


def put_all(store: ZarrEmbeddingStore, done: list[int]) -> None:
    for number, case in enumerate(cases(0, KEY)):
        store.put(*case)
        done.append(number)


def put_until_full(store: ZarrEmbeddingStore) -> int:
    """Number of slices that went in."""
    done: list[int] = []
    with pytest.raises(CacheError, match=r"No space left on device; wanted a folder with .* free space"):
        put_all(store, done)
    return len(done)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_full_disk_keeps_what_is_done_and_goes_on_later(small_disk: Path) -> None:
    root = small_disk / "embeddings"
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    num_done = put_until_full(store)
    assert 1 <= num_done < SHAPE[0]
    assert not list(root.rglob("*.partial"))
    for number, (plane, digest, embedding) in enumerate(cases(0, KEY)):
        assert store.has(plane, digest) == (number < num_done)
        got = store.get(plane, digest)
        assert (got is None) == (number >= num_done)
        assert got is None or np.array_equal(got, embedding)
    remount(small_disk, "size=2m")
    put_all(store, [])
    for plane, digest, embedding in cases(0, KEY):
        np.testing.assert_array_equal(store.get(plane, digest), embedding)


def test_disk_too_full_for_the_group(small_disk: Path) -> None:
    # All but nothing: the metadata of the group does not fit, so there must be no group.
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    root = small_disk / "embeddings"
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    case = next(cases(0, KEY))
    with pytest.raises(CacheError, match="No space left on device"):
        store.put(*case)
    assert not root.exists() or not list(root.iterdir())
    filler.unlink()
    store.put(*case)
    np.testing.assert_array_equal(store.get(*case[:2]), case[2])


def test_stale_slice_on_a_full_disk_is_not_done(small_disk: Path) -> None:
    store = ZarrEmbeddingStore(small_disk, KEY, SHAPE)
    num_done = put_until_full(store)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    (plane, old_digest, _), (_, new_digest, embedding) = next(cases(0, KEY)), next(cases(1, KEY))
    assert num_done >= 1
    with pytest.raises(CacheError, match="No space left"):
        store.put(plane, new_digest, embedding)
    assert store.get(plane, new_digest) is None
    assert not store.has(plane, new_digest)
    assert not store.has(plane, old_digest)


def test_read_only_disk_serves_and_refuses(small_disk: Path) -> None:
    case, other = list(cases(0, KEY))[:2]
    ZarrEmbeddingStore(small_disk, KEY, SHAPE).put(*case)
    remount(small_disk, "ro")
    store = ZarrEmbeddingStore(small_disk, KEY, SHAPE)
    np.testing.assert_array_equal(store.get(*case[:2]), case[2])
    store.put(*case)  # is there already
    with pytest.raises(CacheError, match="Read-only file system; wanted a folder with write access"):
        store.put(*other)
    assert not store.has(*other[:2])
    fresh = ZarrEmbeddingStore(small_disk, replace(KEY, dtype="float32"), SHAPE)
    assert fresh.get(*case[:2]) is None
    with pytest.raises(CacheError, match="Read-only file system"):
        fresh.put(*case)
    tiered = TieredEmbeddingStore(MemoryEmbeddingStore(10**6).bind(KEY), store)
    with pytest.raises(CacheError, match="Read-only"):
        tiered.put(*other)
    np.testing.assert_array_equal(tiered.get(*other[:2]), other[2])
