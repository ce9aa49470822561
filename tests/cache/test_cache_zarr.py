from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from cache_helpers import SHAPE, cases, make_key

from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import CacheError, InputError
from napari_medicosam.models.specs import get_spec

if TYPE_CHECKING:
    from pathlib import Path

KEY = make_key()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "embeddings"


@pytest.fixture
def filled(root: Path) -> Path:
    """A folder with every slice of volume 0 along axis 0."""
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    for case in cases(0, KEY):
        store.put(*case)
    return root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def group_path(root: Path, axis: int = 0) -> Path:
    return root / KEY.group_name(axis)


def data_file(root: Path, index: int) -> Path:
    return group_path(root) / "embeddings" / f"c.{index}.0.0.0"


def mark_file(root: Path, index: int) -> Path:
    return group_path(root) / "slice_digest" / f"c.{index}.0"


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


def assert_all_there(root: Path, seed: int = 0, axis: int = 0) -> None:
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    for plane, digest, embedding in cases(seed, KEY, axis):
        assert store.has(plane, digest)
        np.testing.assert_array_equal(store.get(plane, digest), embedding)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_round_trip(root: Path, dtype: str, axis: int) -> None:
    key = make_key(dtype)
    store = ZarrEmbeddingStore(root, key, SHAPE)
    assert store.dtype == np.dtype(dtype)
    for plane, digest, embedding in cases(0, key, axis):
        assert not store.has(plane, digest)
        assert store.get(plane, digest) is None
        store.put(plane, digest, embedding.astype(np.float32))
        assert store.has(plane, digest)
    again = ZarrEmbeddingStore(root, key, SHAPE)
    for plane, digest, embedding in cases(0, key, axis):
        got = again.get(plane, digest)
        assert got is not None
        assert got.dtype == np.dtype(dtype)
        assert not got.flags.writeable
        np.testing.assert_array_equal(got, embedding)


def test_an_embedding_of_zeros_is_an_embedding(root: Path) -> None:
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    store.put(SlicePlane(0, 2), b"x" * 16, np.zeros((32, 4, 4), np.float16))
    again = ZarrEmbeddingStore(root, KEY, SHAPE)
    np.testing.assert_array_equal(again.get(SlicePlane(0, 2), b"x" * 16), np.zeros((32, 4, 4)))
    assert again.get(SlicePlane(0, 1), b"x" * 16) is None
    assert not any(again.has(SlicePlane(0, 1), digest) for digest in (b"", b"\0" * 16, b"x" * 16))


def test_nothing_is_written_before_the_first_put(root: Path) -> None:
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    assert not store.has(SlicePlane(0, 0), b"x" * 16)
    assert store.get(SlicePlane(1, 0), b"x" * 16) is None
    assert not root.exists()


def test_layout_on_disk(filled: Path) -> None:
    assert names(filled) == [KEY.group_name(0)]
    for folder in (filled, group_path(filled)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    group = zarr.open_group(group_path(filled), mode="r")
    assert group.attrs.asdict() == KEY.as_record(0)
    embeddings, digests = group["embeddings"], group["slice_digest"]
    assert (embeddings.shape, embeddings.chunks, embeddings.dtype) == (
        (6, 32, 4, 4),
        (1, 32, 4, 4),
        np.float16,
    )
    for array in (embeddings, digests):
        assert array.metadata.to_dict()["codecs"][-1]["name"] == "crc32c"
    for plane, digest, _ in cases(0, KEY):
        assert digests[plane.index][:16].tobytes() == digest
        assert (
            mark_file(filled, plane.index).stat().st_mtime_ns
            >= data_file(filled, plane.index).stat().st_mtime_ns
        )


def test_a_slice_of_the_large_models_takes_at_most_2_1_megabytes(root: Path) -> None:
    key = replace(KEY, spec=get_spec("vit_b"))
    rng = np.random.default_rng(0)
    plane = SlicePlane(0, 0)
    # noise: the worst that an encoder can give
    ZarrEmbeddingStore(root, key, SHAPE).put(plane, b"x" * 16, rng.standard_normal((256, 64, 64), np.float32))
    assert (root / key.group_name(0) / "embeddings" / "c.0.0.0.0").stat().st_size <= 2.1e6


def test_other_pixels_are_stale_and_replaced(filled: Path) -> None:
    store = ZarrEmbeddingStore(filled, KEY, SHAPE)
    for plane, digest, embedding in cases(1, KEY):
        assert not store.has(plane, digest)
        assert store.get(plane, digest) is None
        store.put(plane, digest, embedding)
    assert_all_there(filled, seed=1)
    assert not any(store.has(plane, digest) for plane, digest, _ in cases(0, KEY))


def test_what_is_done_is_not_written_again(filled: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*")}
    store = ZarrEmbeddingStore(filled, KEY, SHAPE)
    for plane, digest, embedding in cases(0, KEY):
        store.put(plane, digest, embedding + 1)
    assert {path: path.stat().st_mtime_ns for path in filled.rglob("*")} == before
    assert_all_there(filled)


@pytest.mark.parametrize("which", [data_file, mark_file])
@pytest.mark.parametrize("damage", ["first byte", "middle byte", "last byte", "cut", "empty", "folder"])
def test_damaged_chunk_costs_one_slice_and_heals(filled: Path, which, damage: str) -> None:
    path = which(filled, 3)
    size = path.stat().st_size
    if damage == "cut":
        os.truncate(path, size // 2)
    elif damage == "empty":
        os.truncate(path, 0)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        flip_byte(path, {"first byte": 0, "middle byte": size // 2, "last byte": size - 1}[damage])
    store = ZarrEmbeddingStore(filled, KEY, SHAPE)
    plane, digest, embedding = list(cases(0, KEY))[3]
    assert store.get(plane, digest) is None
    for other_plane, other_digest, other in cases(0, KEY):
        if other_plane != plane:
            np.testing.assert_array_equal(store.get(other_plane, other_digest), other)
    if damage == "folder":
        with pytest.raises(CacheError, match="cannot write embeddings"):
            store.put(plane, digest, embedding)
        path.rmdir()
    store.put(plane, digest, embedding)
    assert_all_there(filled)


def test_missing_data_is_not_read_as_zeros(filled: Path) -> None:
    data_file(filled, 3).unlink()
    plane, digest, _ = list(cases(0, KEY))[3]
    assert ZarrEmbeddingStore(filled, KEY, SHAPE).get(plane, digest) is None


def test_mark_beside_data_of_another_writer_is_no_embedding(filled: Path, tmp_path: Path) -> None:
    other = ZarrEmbeddingStore(tmp_path / "other", KEY, SHAPE)
    for case in cases(1, KEY):
        other.put(*case)
    shutil.copy(data_file(tmp_path / "other", 3), data_file(filled, 3))  # intact, but of other pixels
    store = ZarrEmbeddingStore(filled, KEY, SHAPE)
    plane, digest, embedding = list(cases(0, KEY))[3]
    assert store.get(plane, digest) is None
    store.put(plane, digest, embedding)
    assert_all_there(filled)


def test_another_number_of_slices_is_another_volume(filled: Path) -> None:
    store = ZarrEmbeddingStore(filled, KEY, (7, 5, 4))
    plane, digest, embedding = next(cases(0, KEY))
    message = "another volume: got 6 slices along axis 0, wanted 7; choose another folder"
    for call in (lambda: store.get(plane, digest), lambda: store.has(plane, digest)):
        with pytest.raises(CacheError, match=message):
            call()
    with pytest.raises(CacheError, match=message):
        store.put(plane, digest, embedding)
    assert_all_there(filled)


@pytest.mark.parametrize("name", ["zarr.json", "embeddings/zarr.json", "slice_digest/zarr.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "no json"])
def test_damaged_metadata_is_said_clearly(filled: Path, name: str, damage: str) -> None:
    path = group_path(filled) / name
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"\xff\x00")
    store = ZarrEmbeddingStore(filled, KEY, SHAPE)
    if (
        name == "zarr.json" and damage == "missing"
    ):  # chunks without a group: see the test of a deleted folder
        assert store.get(SlicePlane(0, 0), b"x" * 16) is None
        return
    with pytest.raises(CacheError, match="cannot be read as stored embeddings; delete this folder"):
        store.get(SlicePlane(0, 0), b"x" * 16)
    shutil.rmtree(group_path(filled))
    for case in cases(0, KEY):
        store.put(*case)
    assert_all_there(filled)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("zarr.json", '"schema_version": 1', '"schema_version": 99'),
        ("embeddings/zarr.json", '"float16"', '"float32"'),
        ("slice_digest/zarr.json", "20", "16"),
    ],
)
def test_foreign_metadata_is_refused(filled: Path, name: str, old: str, new: str) -> None:
    path = group_path(filled) / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CacheError, match=r"(?s)cannot be read as stored embeddings.*got .*, wanted "):
        ZarrEmbeddingStore(filled, KEY, SHAPE).has(SlicePlane(0, 0), b"x" * 16)


def test_empty_group_folder_is_filled(root: Path) -> None:
    group_path(root).mkdir(parents=True)
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    for case in cases(0, KEY):
        assert store.get(*case[:2]) is None
        store.put(*case)
    assert_all_there(root)


@pytest.mark.parametrize("with_debris", [False, True])
def test_folder_deleted_while_in_use_is_made_again(filled: Path, with_debris: bool) -> None:
    store = ZarrEmbeddingStore(filled, KEY, SHAPE)
    plane, digest, _ = next(cases(0, KEY))
    assert store.get(plane, digest) is not None
    chunk = data_file(filled, 0).read_bytes()
    shutil.rmtree(filled)
    if with_debris:  # a writer that was in the middle of a slice makes the folders of its chunk again
        data_file(filled, 0).parent.mkdir(parents=True)
        data_file(filled, 0).write_bytes(chunk)
    assert not store.has(plane, digest)
    assert store.get(plane, digest) is None
    for case in cases(0, KEY):
        store.put(*case)
    assert_all_there(filled)
    assert names(filled) == [KEY.group_name(0)]


def test_bad_calls(root: Path) -> None:
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    good = np.zeros((32, 4, 4), np.float16)
    with pytest.raises(InputError, match="slice 6 along axis 0 is outside"):
        store.put(SlicePlane(0, 6), b"x" * 16, good)
    with pytest.raises(InputError, match="slice 4 along axis 2 is outside"):
        store.get(SlicePlane(2, 4), b"x" * 16)
    with pytest.raises(InputError, match="16 bytes"):
        store.put(SlicePlane(0, 0), b"\0" * 16, good)
    with pytest.raises(InputError, match=r"got int64 of shape \(2,\)"):
        store.put(SlicePlane(0, 0), b"x" * 16, np.arange(2))
    assert not root.exists()


def test_a_file_in_the_way(root: Path) -> None:
    root.write_text("notes")
    store = ZarrEmbeddingStore(root, KEY, SHAPE)
    case = next(cases(0, KEY))
    assert store.get(*case[:2]) is None
    with pytest.raises(CacheError, match=r"cannot write embeddings to .*wanted a folder"):
        store.put(*case)
    assert root.read_text() == "notes"


def test_old_leftovers_are_swept_and_nothing_else(filled: Path) -> None:
    leftover = "0" * 32 + ".partial"
    name = KEY.group_name(1)
    ours = [
        data_file(filled, 1).with_name(f"c.1.0.0.{leftover}"),
        mark_file(filled, 1).with_name(f"c.1.{leftover}"),
        filled / f".{name}-abc_def1.partial" / "zarr.json",
    ]
    others = [
        filled / "film.partial",
        filled / "c.1.0.0.0.partial",
        data_file(filled, 1).with_name("my.partial"),
        data_file(filled, 2).with_name(f"c.2.0.0.{leftover}"),  # young: its writer may be at work
    ]
    for path in ours + others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    two_days_ago = group_path(filled).stat().st_mtime - 2 * 86400
    for path in [*ours, ours[-1].parent, *others[:-1]]:
        os.utime(path, (two_days_ago, two_days_ago))
    ZarrEmbeddingStore(filled, KEY, SHAPE).get(SlicePlane(0, 0), b"x" * 16)
    assert not any(path.exists() for path in [*ours, ours[-1].parent])
    assert all(path.exists() for path in others)
    assert_all_there(filled)


def test_attributes_name_no_person_and_no_file(filled: Path) -> None:
    written = json.loads((group_path(filled) / "zarr.json").read_text())["attributes"]
    assert sorted(written) == ["axis", "dtype", "mapping", "schema_version", "spec", "weights_sha256"]
    assert sorted(written["mapping"]) == ["high", "kind", "low"]


def test_threads_make_one_group_and_lose_nothing(root: Path) -> None:
    # Every thread has its own store, as two viewers would: they race for the folder, the group and the slices.
    for attempt in range(5):
        folder = root / str(attempt)
        folder.parent.mkdir(exist_ok=True)
        shared = ZarrEmbeddingStore(folder, KEY, SHAPE)
        barrier = threading.Barrier(6)
        failures: list[BaseException] = []

        def work(
            number: int, folder: Path = folder, shared=shared, barrier=barrier, failures=failures
        ) -> None:
            store = shared if number % 2 else ZarrEmbeddingStore(folder, KEY, SHAPE)
            try:
                barrier.wait()
                for plane, digest, embedding in cases(0, KEY, axis=number % 3):
                    store.put(plane, digest, embedding)
                    got = store.get(plane, digest)
                    assert got is None or np.array_equal(got, embedding)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        for axis in range(3):
            assert_all_there(folder, axis=axis)
        assert names(folder) == sorted(KEY.group_name(axis) for axis in range(3))


def test_import_is_free_of_torch_and_qt() -> None:
    code = (
        "import sys, napari_medicosam.cache.store; "
        "print([m for m in ('torch', 'qtpy', 'napari', 'segment_anything') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
