"""What NIfTI files can be: forms, units, scaling, dtypes, dimensions, colours."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK

from napari_medicosam.io.volumes import read_labels, read_volume, write_labels

AFFINE = np.array([[0, 0, 2.5, -7], [-0.5, 0, 0, 11], [0, 0.75, 0, 3], [0, 0, 0, 1.0]])


def save(path, data, affine=AFFINE, **fields):
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def patch(path, offset, data):
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


def test_qform_and_sform_that_differ_are_both_kept(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), AFFINE)
    image.set_sform(AFFINE, 4)
    image.set_qform(np.diag([-0.5, 0.75, 2.5, 1]), 1)
    image.to_filename(tmp_path / "image.nii")
    write_labels(tmp_path / "labels.nii", np.ones((6, 5, 4), int), read_volume(tmp_path / "image.nii"))
    before, after = nibabel.load(tmp_path / "image.nii"), nibabel.load(tmp_path / "labels.nii")
    assert np.array_equal(after.get_sform(), before.get_sform())
    assert np.array_equal(after.get_qform(), before.get_qform())
    assert (after.header["sform_code"], after.header["qform_code"]) == (4, 1)


def test_what_is_no_gzip_behind_a_gzip_file_is_left_alone(tmp_path):
    path = save(tmp_path / "image.nii.gz", np.arange(120, dtype=np.int16).reshape(4, 5, 6))
    path.write_bytes(path.read_bytes() + b"signed by nobody")
    assert np.array_equal(read_volume(path).array.T.ravel(), np.arange(120))


def test_without_any_form_nibabels_default_holds(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_zooms((2, 3, 4))
    image.to_filename(tmp_path / "image.nii")
    before = nibabel.load(tmp_path / "image.nii")
    assert before.header["sform_code"] == before.header["qform_code"] == 0
    volume = read_volume(tmp_path / "image.nii")
    assert volume.header.unit is None
    write_labels(tmp_path / "labels.nii.gz", np.ones((6, 5, 4), int), volume)
    after = nibabel.load(tmp_path / "labels.nii.gz")
    assert np.array_equal(volume.geometry.affine_ras, before.affine)
    assert np.array_equal(after.affine, before.affine)
    assert after.header["sform_code"] == after.header["qform_code"] == 0


@pytest.mark.parametrize(("units", "factor"), [("meter", 1e3), ("micron", 1e-3), ("mm", 1.0)])
def test_other_units_are_millimetres_inside_and_themselves_on_disk(tmp_path, units, factor):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units(units)
    image.to_filename(tmp_path / "image.nii")
    volume = read_volume(tmp_path / "image.nii")
    assert volume.header.unit == "mm"
    assert np.allclose(volume.geometry.spacing_zyx, np.array([4, 3, 2]) * factor)
    assert np.allclose(
        SimpleITK.ReadImage(str(tmp_path / "image.nii")).GetSpacing(), volume.geometry.spacing_zyx[::-1]
    )
    write_labels(tmp_path / "labels.nii", np.ones((6, 5, 4), int), volume)
    after = nibabel.load(tmp_path / "labels.nii")
    assert np.array_equal(after.affine, np.diag([2.0, 3, 4, 1]))
    assert after.header.get_xyzt_units()[0] == units


def test_scaled_values_are_the_scaled_ones(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), AFFINE)
    path = tmp_path / "image.nii"
    image.to_filename(path)
    patch(path, 112, np.array([0.5, -1000], "<f4").tobytes())  # scl_slope, scl_inter
    volume = read_volume(path)
    assert np.array_equal(volume.array, np.arange(24).reshape(2, 3, 4).T * 0.5 - 1000)
    assert volume.array.dtype == np.float64
    assert np.array_equal(volume.array, nibabel.load(path).get_fdata().T)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "i8", "f4", ">f4", "f8"])
def test_dtype_is_kept_and_made_native(tmp_path, dtype):
    data = np.arange(24, dtype=np.dtype(dtype).newbyteorder("=")).reshape(2, 3, 4)
    header = nibabel.Nifti1Header(endianness=">" if ">" in dtype else "<")
    header.set_data_dtype(data.dtype)
    nibabel.Nifti1Image(data, AFFINE, header, dtype=data.dtype).to_filename(tmp_path / "image.nii")
    volume = read_volume(tmp_path / "image.nii")
    assert volume.array.dtype == data.dtype
    assert volume.array.dtype.isnative
    assert volume.array.flags.c_contiguous
    assert np.array_equal(volume.array, data.T)


def test_reading_copies_nothing_after_the_bytes_are_in(tmp_path, monkeypatch):
    save(tmp_path / "image.nii", np.zeros((8, 8, 8), np.int16))
    made = []
    original = np.ascontiguousarray

    def spy(array, *args, **kwargs):
        result = original(array, *args, **kwargs)
        made.append(np.shares_memory(result, array))
        return result

    monkeypatch.setattr(np, "ascontiguousarray", spy)
    volume = read_volume(tmp_path / "image.nii")
    assert made
    assert all(made)
    base = volume.array
    while isinstance(base, np.ndarray):  # the file may be replaced while we hold the array
        assert not isinstance(base, np.memmap)
        base = base.base


@pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 5, 6, 1, 1), (4, 5, 1), (4, 5)])
def test_trailing_axes_of_one(tmp_path, shape):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = read_volume(save(tmp_path / "image.nii", data))
    assert volume.array.shape == (*shape, 1)[:3][::-1]
    assert volume.is_2d == (len(shape) == 2)
    assert np.array_equal(volume.array.ravel(), data.T.ravel())
    write_labels(tmp_path / "labels.nii", np.ones(volume.array.shape, int), volume)
    after = nibabel.load(tmp_path / "labels.nii")
    assert after.shape == shape[:3]
    assert np.array_equal(after.affine, nibabel.load(tmp_path / "image.nii").affine)


def test_one_slice_without_thickness(tmp_path):
    flat = np.diag([0.5, 0.75, 0, 1.0])
    image = nibabel.Nifti1Image(np.zeros((4, 5, 1), np.int16), np.eye(4))
    image.set_sform(flat, 1)
    image.set_qform(None, 0)
    image.header["srow_z"] = 0
    header = image.header
    nibabel.Nifti1Image(np.zeros((4, 5, 1), np.int16), None, header).to_filename(tmp_path / "image.nii")
    assert read_volume(tmp_path / "image.nii").geometry.spacing_zyx == (1.0, 0.75, 0.5)


def test_rgb(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    structured = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")]).reshape(4, 5, 6)
    volume = read_volume(save(tmp_path / "image.nii.gz", structured))
    assert volume.is_rgb
    assert np.array_equal(volume.array, colours.transpose(2, 1, 0, 3))
    write_labels(tmp_path / "labels.nii", np.ones((6, 5, 4), int), volume)
    assert np.array_equal(nibabel.load(tmp_path / "labels.nii").affine, AFFINE)


def test_gzip_is_told_by_content(tmp_path):
    save(tmp_path / "image.nii", np.ones((4, 5, 6), np.int16))
    (tmp_path / "named.nii.gz").write_bytes((tmp_path / "image.nii").read_bytes())
    (tmp_path / "packed.nii").write_bytes(gzip.compress((tmp_path / "image.nii").read_bytes()))
    for name in ("named.nii.gz", "packed.nii"):
        assert np.array_equal(read_volume(tmp_path / name).array, np.ones((6, 5, 4)))


def test_no_patient_information_is_carried_over(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), AFFINE)
    image.header["descrip"] = b"DOE^JANE 1970"
    image.header["db_name"] = b"DOE^JANE"
    image.header["aux_file"] = b"doe.dcm"
    image.header["intent_name"] = b"DOE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE in an extension"))
    image.to_filename(tmp_path / "doe.nii")
    volume = read_volume(tmp_path / "doe.nii")
    assert "doe" not in repr(volume.record).lower()
    write_labels(tmp_path / "labels.nii", np.ones((6, 5, 4), int), volume)
    assert b"doe" not in (tmp_path / "labels.nii").read_bytes().lower()
    write_labels(tmp_path / "labels.nii.gz", np.ones((6, 5, 4), int), volume)
    packed = (tmp_path / "labels.nii.gz").read_bytes()
    assert b"medicosam" not in packed[:64]
    assert b"doe" not in gzip.decompress(packed).lower()


@pytest.mark.parametrize(
    ("highest", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")]
)
def test_labels_take_the_smallest_dtype(tmp_path, highest, dtype):
    volume = read_volume(save(tmp_path / "image.nii", np.zeros((4, 5, 6), np.int16)))
    labels = np.zeros((6, 5, 4), np.int64)
    labels[0, 0, 0] = highest
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        write_labels(tmp_path / name, labels, volume)
        written = read_labels(tmp_path / name).array
        assert written.dtype == dtype
        assert np.array_equal(written, labels)


def test_float_labels_are_cast_and_other_floats_refused(tmp_path):
    from napari_medicosam.errors import FileError

    data = np.zeros((4, 5, 6), np.float32)
    data[1, 2, 3] = 300
    read = read_labels(save(tmp_path / "whole.nii", data))
    assert read.array.dtype == np.uint16
    assert read.array[3, 2, 1] == 300
    data[0, 0, 0] = -2
    assert read_labels(save(tmp_path / "negative.nii", data)).array.min() == -2
    for bad in (0.5, np.nan, np.inf, 1e12):
        data[0, 0, 0] = bad
        with pytest.raises(FileError, match="whole numbers"):
            read_labels(save(tmp_path / "bad.nii", data))
