"""Volumes over time in one file: one layer, and labels on the grid of the image, read back before they count."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from ome_zarr_helpers import make_image

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io import volumes
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.volumes import check_writable, read_volume, write_labels
from napari_medicosam.io.writer import write_labels_layer

SHAPE = (3, 4, 6, 5)
SCANS = np.random.default_rng(0).integers(-50, 900, SHAPE).astype(np.int16)
LABELS = np.arange(SCANS.size).reshape(SHAPE) % 300
AFFINE = np.array([[0, 0, 2.5, -7], [-0.5, 0, 0, 11], [0, 0.75, 0, 3], [0, 0, 0, 1.0]])


def save(path):
    image = nibabel.Nifti1Image(SCANS.T, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 0.8
    image.to_filename(path)
    return path


def test_nifti_goes_in_and_out_with_its_grid_and_its_clock(tmp_path):
    path, out = save(tmp_path / "heart.nii.gz"), tmp_path / "heart_labels.nii.gz"
    ((data, arguments, kind),) = get_reader(str(path))(str(path))
    assert kind == "image"
    assert np.array_equal(data, SCANS)
    assert arguments["scale"] == (1, 2.5, 0.75, 0.5)
    assert arguments["units"] == ("pixel", "mm", "mm", "mm")
    assert np.array_equal(
        arguments["affine"][1:, 1:], [[1, 0, 0, -7], [0, -1, 0, -3], [0, 0, 1, -11], [0, 0, 0, 1]]
    )
    assert np.array_equal(arguments["affine"][0], (1, 0, 0, 0, 0))
    write_labels_layer(str(out), LABELS, {"metadata": arguments["metadata"]})
    before, after = nibabel.load(path), nibabel.load(out)
    assert after.affine.tobytes() == before.affine.tobytes()
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == ("mm", "sec")
    assert after.get_data_dtype() == np.uint16
    assert np.array_equal(np.asarray(after.dataobj), LABELS.T)
    ((again, shown, kind),) = get_reader(str(out))(str(out))
    assert kind == "labels"
    assert np.array_equal(again, LABELS)
    assert np.array_equal(shown["affine"], arguments["affine"])
    with pytest.raises(FileError, match="4D"):
        read_volume(path)  # takes one volume, as ever


def test_labels_of_a_bare_layer(tmp_path):
    meta = {"scale": (1, 3, 2, 2), "units": ("pixel", "cm", "cm", "cm"), "metadata": {}}
    meta["units"] = ("pixel", *["centimeter"] * 3)
    write_labels_layer(str(tmp_path / "a.nii"), LABELS, meta)
    assert nibabel.load(tmp_path / "a.nii").header.get_zooms() == (20, 20, 30, 1)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_alone_and_inside_its_image(tmp_path, version):
    path = make_image(
        tmp_path / "a.ome.zarr", SCANS, version=version, axes="tzyx", scale=(2, 3, 0.5, 0.5), levels=2
    )
    images = read_over_time(path)
    assert np.array_equal([np.asarray(image.array) for image in images], SCANS)
    for out in (tmp_path / "labels.ome.zarr", path / "labels" / "ventricle"):
        check_writable(out, images[0], num_times=3)
        write_labels(out, LABELS, images[0])
        written = read_over_time(out)
        assert np.array_equal([np.asarray(one.array) for one in written], LABELS)
        assert all(one.geometry.equals(images[0].geometry) for one in written)
    (_, _, _), (levels, arguments, kind) = get_reader(str(path))(str(path))
    assert (kind, arguments["name"]) == ("labels", "ventricle")
    assert np.array_equal(np.asarray(levels[1]), LABELS[..., ::2, ::2])
    with pytest.raises(FileError, match="3 time points, these are labels of 1"):
        write_labels(path / "labels" / "one", LABELS[0], images[0])


def test_what_cannot_be_held_is_refused_and_a_bad_write_leaves_the_old_file(tmp_path, monkeypatch):
    record = read_over_time(save(tmp_path / "heart.nii.gz"))[0].record
    for call in (
        lambda path: check_writable(path, record, num_times=3),
        lambda path: write_labels(path, LABELS, record),
    ):
        with pytest.raises(FileError, match="NRRD takes one volume, got 3 time points"):
            call(tmp_path / "labels.nrrd")
    with pytest.raises(InputError, match="shape"):
        write_labels(tmp_path / "labels.nii", LABELS[:, 1:], record)
    (tmp_path / "b.nrrd").touch()
    with pytest.raises(FileError, match="0 bytes"):
        read_over_time(tmp_path / "b.nrrd")
    with pytest.raises(FileError, match="no volumes over time"):
        read_over_time(tmp_path / "a.tif")
    out = tmp_path / "labels.nii"
    write_labels(out, LABELS, record)
    before = out.read_bytes()
    monkeypatch.setattr(volumes, "read_over_time", lambda path: read_over_time(path)[::-1])
    with pytest.raises(FileError, match="not what was written"):
        write_labels(out, LABELS + 1, record, overwrite=True)
    assert out.read_bytes() == before
    (tmp_path / "cut.nii").write_bytes(before[:-9])
    with pytest.raises(FileError, match="truncated"):
        read_over_time(tmp_path / "cut.nii")
