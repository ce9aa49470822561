"""Nothing half-written, nothing lost: refusals, failures and Ctrl-C in the middle of a write."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io import replacing, volumes
from napari_medicosam.io.volumes import Volume, read_labels, read_volume, write_labels

SHAPE = (4, 5, 6)
VOLUME = Volume(np.zeros(SHAPE, np.int16), Geometry.from_spacing(SHAPE, (3.0, 1.0, 0.5)))
LABELS = np.arange(120).reshape(SHAPE) % 3
SUFFIXES = [".nii.gz", ".nii", ".nrrd", ".mha", ".tif"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("has_old", [True, False])
@pytest.mark.parametrize("error", [FileError, RuntimeError, KeyboardInterrupt, MemoryError, OSError])
@pytest.mark.parametrize("step", ["verify", "flush", "half written"])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, monkeypatch, suffix, has_old, error, step):
    path = tmp_path / f"labels{suffix}"
    if has_old:
        path.write_bytes(b"the old file")

    def fail(*args):
        assert len(list(tmp_path.iterdir())) == 1 + has_old  # the temporary file is there
        raise error("stopped here")

    def write_half(temporary, labels, record):
        temporary.write_bytes(b"half a file")
        fail()

    if step == "verify":
        monkeypatch.setattr(volumes, "_verify", fail)
    elif step == "flush":
        monkeypatch.setattr(replacing, "_flush", fail)
    else:
        monkeypatch.setitem(volumes.FORMATS, suffix, replace(volumes.FORMATS[suffix], write=write_half))
    wanted = KeyboardInterrupt if error is KeyboardInterrupt else FileError
    with pytest.raises(wanted, match="stopped here"):
        write_labels(path, LABELS, VOLUME, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if has_old else [])
    if has_old:
        assert path.read_bytes() == b"the old file"


def test_a_library_that_writes_other_labels_is_caught(tmp_path, monkeypatch):
    good = volumes.FORMATS[".nii"]

    def write_wrong(temporary, labels, record):
        wrong = labels.copy()
        wrong[0, 0, 0] += 1
        good.write(temporary, wrong, record)

    monkeypatch.setitem(volumes.FORMATS, ".nii", replace(good, write=write_wrong))
    with pytest.raises(FileError, match="its labels are not what was written"):
        write_labels(tmp_path / "a.nii", LABELS, VOLUME)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shift_mm", [0.002, 1.0])
def test_a_geometry_that_moved_is_caught(tmp_path, monkeypatch, shift_mm):
    good = volumes.FORMATS[".nii"]

    def write_moved(temporary, labels, record):
        affine = record.geometry.affine_ras.copy()
        affine[0, 3] += shift_mm
        good.write(temporary, labels, replace(record, geometry=Geometry(SHAPE, affine)))

    monkeypatch.setitem(volumes.FORMATS, ".nii", replace(good, write=write_moved))
    with pytest.raises(FileError, match="its geometry is another one"):
        write_labels(tmp_path / "a.nii", LABELS, VOLUME)
    assert not list(tmp_path.iterdir())


def test_a_header_that_contradicts_the_geometry_is_caught(tmp_path):
    nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([2.0, 2, 2, 1])).to_filename(
        tmp_path / "image.nii"
    )
    volume = read_volume(tmp_path / "image.nii")
    with pytest.raises(FileError, match="its geometry is another one"):
        write_labels(tmp_path / "labels.nii", LABELS, replace(volume, geometry=VOLUME.geometry))
    assert [p.name for p in tmp_path.iterdir()] == ["image.nii"]


def test_an_existing_file_is_only_replaced_when_asked(tmp_path):
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(b"the old file")
    with pytest.raises(FileError, match="--overwrite"):
        write_labels(path, LABELS, VOLUME)
    assert path.read_bytes() == b"the old file"
    write_labels(path, LABELS, VOLUME, overwrite=True)
    assert np.array_equal(read_labels(path).array, LABELS)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_read_only_disk_is_said(tmp_path, monkeypatch):
    def refuse(path, *args, **more):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(type(tmp_path), "unlink", refuse)  # also of a file that was never made
    monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", lambda image, path: refuse(path))
    with pytest.raises(FileError, match=r"cannot write .*labels\.nii: .*Read-only file system"):
        write_labels(tmp_path / "labels.nii", LABELS, VOLUME)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "labels.nii"
    monkeypatch.setattr(volumes, "_verify", lambda *args: path.write_bytes(b"somebody else's"))
    with pytest.raises(FileError, match="--overwrite"):
        write_labels(path, LABELS, VOLUME)
    assert path.read_bytes() == b"somebody else's"
    assert len(list(tmp_path.iterdir())) == 1


def test_data_is_on_disk_before_it_is_moved(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(
        replacing.os, "fsync", lambda handle: steps.append([p.name for p in tmp_path.iterdir()])
    )
    write_labels(tmp_path / "labels.nii", LABELS, VOLUME)
    assert len(steps[0]) == 1
    assert steps[0][0].startswith(".medicosam-")
    assert all(names == ["labels.nii"] for names in steps[1:])


@pytest.mark.skipif(os.name != "posix", reason="symbolic links and modes of POSIX")
def test_links_and_modes_are_those_of_an_ordinary_write(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "plain").touch()
    (tmp_path / "link.nii").symlink_to(tmp_path / "real" / "labels.nii")
    write_labels(tmp_path / "link.nii", LABELS, VOLUME)
    assert (tmp_path / "link.nii").is_symlink()
    assert (tmp_path / "real" / "labels.nii").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:, :, :5], r"\(4, 5, 6\), got \(4, 5, 5\)"),
        (LABELS.transpose(2, 1, 0), "shape"),
        (LABELS[0], "shape"),
        (LABELS - 1, "negative, got -1"),
        (LABELS.astype(float), "integers, got dtype float64"),
        (LABELS + 2**32, "at most 4294967295"),
    ],
)
def test_labels_that_cannot_be_written(tmp_path, labels, message):
    with pytest.raises(InputError, match=message):
        write_labels(tmp_path / "a.nii", labels, VOLUME)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jpg", "lossy"), ("a.jpeg", "lossy"), ("a.mhd", "use .mha"), ("a.nhdr", "use .nrrd"), ("a.xyz", ".nii.gz"),
     ("a", ".nii.gz"), ("none/a.nii", "does not exist")],
)  # fmt: skip
def test_names_that_cannot_be_written_to(tmp_path, name, message):
    with pytest.raises(FileError, match=message):
        write_labels(tmp_path / name, LABELS, VOLUME)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(FileError, match="folder"):
        write_labels(tmp_path / "a.nii", LABELS, VOLUME, overwrite=True)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_sheared_grid_needs_nifti(tmp_path, suffix):
    sheared = np.eye(4)
    sheared[0, 2] = 0.3
    with pytest.raises(FileError, match=r"sheared.*NIfTI"):
        write_labels(tmp_path / f"a{suffix}", LABELS, Volume(VOLUME.array, Geometry(SHAPE, sheared)))
    assert not list(tmp_path.iterdir())


def test_booleans_and_any_memory_order_can_be_written(tmp_path):
    for labels in (LABELS > 0, np.asfortranarray(LABELS), np.repeat(LABELS, 2, axis=2)[:, :, ::2]):
        write_labels(tmp_path / "a.nii", labels, VOLUME, overwrite=True)
        assert np.array_equal(read_labels(tmp_path / "a.nii").array, labels)


def test_a_micrometre_grid_is_held_to_a_tolerance_of_its_own_size(tmp_path, monkeypatch):
    tiny = Volume(VOLUME.array, Geometry.from_spacing(SHAPE, (3e-4, 1e-4, 1e-4)))
    write_labels(tmp_path / "good.nii", LABELS, tiny)
    good = volumes.FORMATS[".nii"]

    def write_moved(temporary, labels, record):
        affine = record.geometry.affine_ras.copy()
        affine[0, 3] += 1e-4  # one voxel
        good.write(temporary, labels, replace(record, geometry=Geometry(SHAPE, affine)))

    monkeypatch.setitem(volumes.FORMATS, ".nii", replace(good, write=write_moved))
    with pytest.raises(FileError, match="its geometry is another one"):
        write_labels(tmp_path / "bad.nii", LABELS, tiny)
