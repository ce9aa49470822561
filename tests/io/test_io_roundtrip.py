"""Geometry first: random oblique, flipped, permuted, anisotropic grids there and back, judged by the libraries."""

from __future__ import annotations

import tempfile
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.io.itk import lps_from_ras, ras_from_lps
from napari_medicosam.io.volumes import Volume, read_labels, read_volume, write_labels

SHAPE_IJK = (7, 6, 5)
PERMUTATIONS = [
    np.eye(3)[:, list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


@st.composite
def affines(draw, sheared=False):
    spacing = [draw(st.floats(0.05, 8.0)) for _ in range(3)]
    origin = [draw(st.floats(-1500, 1500)) for _ in range(3)]
    directions = draw(st.sampled_from(PERMUTATIONS))
    if draw(st.booleans()):
        angles = [draw(st.floats(-180, 180)) for _ in range(3)]
        directions = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    if sheared:
        affine[:3, 2] += draw(st.floats(0.1, 0.6)) * affine[:3, 0]
    affine[:3, 3] = origin
    return affine


def write_nifti(path, affine, *, sform=True, qform=True, version=1, dtype=np.int16, units="mm"):
    """An image made by nibabel alone, with a marked voxel at (i, j, k) = (5, 1, 3)."""
    data = np.zeros(SHAPE_IJK, dtype)
    data[5, 1, 3] = 100
    image_class = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = image_class(data, affine)
    image.header.set_xyzt_units(units, "sec")
    image.set_sform(affine, 1 if sform else 0)
    image.set_qform(affine, 2 if qform else 0)
    image.to_filename(path)


def some_labels(shape_zyx=SHAPE_IJK[::-1]):
    labels = np.zeros(shape_zyx, np.int64)
    labels[1:3, 2:5, 1:6] = 3
    labels[-1, 0, 2] = 1
    return labels


def itk_grid(image):
    return np.concatenate([image.GetOrigin(), image.GetSpacing(), image.GetDirection()])


def itk_world_ras(image, index_ijk):
    return np.array(image.TransformIndexToPhysicalPoint(index_ijk)) * (-1, -1, 1)


@settings(max_examples=25, deadline=None)
@given(
    affine=affines(),
    forms=st.sampled_from([(True, True), (True, False), (False, True)]),
    version=st.sampled_from([1, 2]),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
def test_nifti_labels_have_the_images_affine_bit_for_bit(affine, forms, version, suffix):
    with tempfile.TemporaryDirectory() as folder:
        image_path, labels_path = Path(folder, f"image{suffix}"), Path(folder, "labels.nii.gz")
        write_nifti(image_path, affine, sform=forms[0], qform=forms[1], version=version)
        before = nibabel.load(image_path)
        volume = read_volume(image_path)
        assert volume.geometry.affine_ras.tobytes() == before.affine.tobytes()
        assert np.array_equal(volume.array, np.asanyarray(before.dataobj).T)

        write_labels(labels_path, some_labels(), volume)
        after = nibabel.load(labels_path)
        assert type(after) is type(before)
        assert after.affine.tobytes() == before.affine.tobytes()
        for field in ("srow_x", "srow_y", "srow_z", "sform_code", "qform_code", "pixdim", "xyzt_units"):
            assert np.array_equal(after.header[field], before.header[field]), field
        for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
            assert np.array_equal(after.header[field], before.header[field]), field
        assert np.array_equal(np.asanyarray(after.dataobj).T, some_labels())
        assert after.get_data_dtype() == np.uint8

        if version == 2:
            return  # ITK reads NIfTI-1 only
        before_itk, after_itk = SimpleITK.ReadImage(str(image_path)), SimpleITK.ReadImage(str(labels_path))
        assert np.array_equal(itk_grid(before_itk), itk_grid(after_itk))
        assert np.array_equal(SimpleITK.GetArrayFromImage(after_itk), some_labels())


@settings(max_examples=20, deadline=None)
@given(affine=affines())
def test_a_marked_voxel_is_at_the_same_place_for_nibabel_simpleitk_and_us(affine):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.nii")
        write_nifti(path, affine)
        volume = read_volume(path)
        position_zyx = np.argwhere(volume.array)[0]
        assert tuple(position_zyx) == (3, 1, 5)
        ours = volume.geometry.index_to_ras_mm(position_zyx)
        nibabels = nibabel.affines.apply_affine(nibabel.load(path).affine, (5, 1, 3))
        assert np.allclose(ours, nibabels, rtol=0, atol=1e-9)
        assert np.allclose(ours, itk_world_ras(SimpleITK.ReadImage(str(path)), (5, 1, 3)), atol=1e-2)


@settings(max_examples=25, deadline=None)
@given(affine=affines(), suffix=st.sampled_from([".nrrd", ".mha", ".nhdr", ".mhd"]), compress=st.booleans())
def test_itk_labels_have_the_images_grid(affine, suffix, compress):
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.arange(210, dtype=np.int16).reshape(SHAPE_IJK[::-1]))
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    with tempfile.TemporaryDirectory() as folder:
        image_path = Path(folder, f"image{suffix}")
        labels_path = Path(folder, "labels.nrrd" if suffix in (".nrrd", ".nhdr") else "labels.mha")
        SimpleITK.WriteImage(image, str(image_path), compress)
        volume = read_volume(image_path)
        assert np.array_equal(volume.array, SimpleITK.GetArrayFromImage(image))
        assert np.allclose(volume.geometry.affine_ras, affine, rtol=0, atol=1e-9)
        world = itk_world_ras(SimpleITK.ReadImage(str(image_path)), (5, 1, 3))
        assert np.allclose(volume.geometry.index_to_ras_mm((3, 1, 5)), world, rtol=0, atol=1e-9)

        write_labels(labels_path, some_labels(), volume)
        written = SimpleITK.ReadImage(str(labels_path))
        assert np.allclose(itk_grid(written), itk_grid(image), rtol=0, atol=1e-9)
        assert np.array_equal(SimpleITK.GetArrayFromImage(written), some_labels())
        assert read_labels(labels_path).geometry.equals(volume.geometry, 1e-9)


@settings(max_examples=25, deadline=None)
@given(
    affine=affines(),
    route=st.sampled_from([(".nii", ".nrrd"), (".nii.gz", ".mha"), (".nrrd", ".nii.gz"), (".mha", ".nii")]),
)
def test_labels_in_another_format_lie_on_the_image(affine, route):
    with tempfile.TemporaryDirectory() as folder:
        image_path, labels_path = Path(folder, f"image{route[0]}"), Path(folder, f"labels{route[1]}")
        if "nii" in route[0]:
            write_nifti(image_path, affine)
        else:
            lps = np.diag([-1, -1, 1, 1]) @ affine
            spacing = np.linalg.norm(lps[:3, :3], axis=0)
            image = SimpleITK.GetImageFromArray(np.zeros(SHAPE_IJK[::-1], np.int16))
            image.SetOrigin(lps[:3, 3].tolist())
            image.SetSpacing(spacing.tolist())
            image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
            SimpleITK.WriteImage(image, str(image_path))
        volume = read_volume(image_path)
        write_labels(labels_path, some_labels(), volume)
        assert read_labels(labels_path).geometry.equals(volume.geometry, 1e-3)
        if "nii" in route[1]:
            assert np.allclose(nibabel.load(labels_path).affine, affine, rtol=1e-6, atol=1e-6)
            assert nibabel.load(labels_path).header["qform_code"] == 1
        written = SimpleITK.ReadImage(str(labels_path))
        for corner in ((0, 0, 0), (6, 5, 4), (6, 0, 4)):
            place = volume.geometry.index_to_ras_mm(corner[::-1])
            assert np.allclose(itk_world_ras(written, corner), place, rtol=0, atol=5e-3)


@settings(max_examples=15, deadline=None)
@given(affine=affines(sheared=True))
def test_a_sheared_grid_survives_in_nifti(affine):
    with tempfile.TemporaryDirectory() as folder:
        image_path, labels_path = Path(folder, "image.nii"), Path(folder, "labels.nii.gz")
        write_nifti(image_path, affine, qform=False)
        volume = read_volume(image_path)
        write_labels(labels_path, some_labels(), volume)
        assert nibabel.load(labels_path).affine.tobytes() == nibabel.load(image_path).affine.tobytes()
        # and without the file's own header, from the geometry alone
        bare = Volume(volume.array, volume.geometry)
        write_labels(labels_path, some_labels(), bare, overwrite=True)
        assert np.array_equal(nibabel.load(labels_path).affine, volume.geometry.affine_ras)
        assert nibabel.load(labels_path).header["qform_code"] == 0


@given(affine=affines())
def test_lps_and_ras_are_each_others_inverse(affine):
    lps = lps_from_ras(affine)
    assert np.array_equal(ras_from_lps(lps), affine)
    assert np.array_equal(lps, np.diag([-1, -1, 1, 1]) @ affine)
    assert not np.signbit(lps_from_ras(np.eye(4))[0, 1])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_sheared_itk_file_keeps_its_own_grid(tmp_path, suffix):
    direction = np.array([[1, 0.2, 0], [0, 1, 0], [0, 0, 1.0]])
    direction /= np.linalg.norm(direction, axis=0)
    image = SimpleITK.GetImageFromArray(np.zeros((5, 6, 7), np.uint8))
    image.SetDirection(direction.ravel().tolist())
    SimpleITK.WriteImage(image, str(tmp_path / f"image{suffix}"))
    volume = read_volume(tmp_path / f"image{suffix}")
    write_labels(tmp_path / f"labels{suffix}", some_labels(), volume)
    assert np.allclose(
        SimpleITK.ReadImage(str(tmp_path / f"labels{suffix}")).GetDirection(), direction.ravel(), atol=1e-12
    )


def test_two_dimensional_itk_image_stays_2d(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(30, dtype=np.int16).reshape(5, 6))
    image.SetSpacing((0.5, 0.25))
    image.SetOrigin((3.0, -4.0))
    image.SetDirection((0.0, 1.0, -1.0, 0.0))
    SimpleITK.WriteImage(image, str(tmp_path / "image.mha"))
    volume = read_volume(tmp_path / "image.mha")
    assert volume.is_2d
    assert volume.array.shape == (1, 5, 6)
    assert np.allclose(volume.geometry.spacing_zyx, (1, 0.25, 0.5))
    write_labels(tmp_path / "labels.nrrd", some_labels((1, 5, 6)), volume)
    written = SimpleITK.ReadImage(str(tmp_path / "labels.nrrd"))
    assert written.GetDimension() == 2
    assert np.array_equal(itk_grid(written), itk_grid(image))
    write_labels(tmp_path / "labels.nii", some_labels((1, 5, 6)), volume)
    assert read_labels(tmp_path / "labels.nii").geometry.equals(volume.geometry)


def test_nrrd_in_ras_space_is_placed_where_its_header_says(tmp_path):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 7 6 5\n"
        "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (1,2,3)\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "image.nrrd").write_bytes(header.encode() + bytes(420))
    volume = read_volume(tmp_path / "image.nrrd")
    assert np.allclose(volume.geometry.affine_ras, [[2, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert volume.header.unit == "mm"


def test_nrrd_without_a_space_has_no_unit(tmp_path):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n\n"
    (tmp_path / "image.nrrd").write_bytes(header.encode() + bytes(420))
    assert read_volume(tmp_path / "image.nrrd").header.unit is None


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_itk_rgb_and_single_time_point(tmp_path, suffix):
    colours = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), str(tmp_path / f"rgb{suffix}"))
    volume = read_volume(tmp_path / f"rgb{suffix}")
    assert volume.is_rgb
    assert np.array_equal(volume.array, colours)
    write_labels(tmp_path / f"labels{suffix}", some_labels(), volume)
    assert np.array_equal(read_labels(tmp_path / f"labels{suffix}").array, some_labels())

    one = SimpleITK.GetImageFromArray(np.arange(210, dtype=np.float32).reshape(1, 5, 6, 7), isVector=False)
    one.SetSpacing((1.0, 2.0, 3.0, 1.0))
    SimpleITK.WriteImage(one, str(tmp_path / f"one{suffix}"))
    volume = read_volume(tmp_path / f"one{suffix}")
    assert volume.array.shape == (5, 6, 7)
    assert volume.geometry.spacing_zyx == (3.0, 2.0, 1.0)


def test_single_precision_of_nifti_does_not_refuse_a_fine_grid_far_from_the_origin(tmp_path):
    affine = np.diag([1.0, 1.0, 0.0546875, 1.0])
    affine[2, 3] = 1024.57733
    volume = Volume(np.zeros((5, 6, 7), np.uint8), Geometry((5, 6, 7), affine))
    write_labels(tmp_path / "labels.nii.gz", some_labels(), volume)
    assert not np.array_equal(nibabel.load(tmp_path / "labels.nii.gz").affine, affine)  # it is rounded
    assert read_labels(tmp_path / "labels.nii.gz").geometry.equals(volume.geometry, 1e-4)


def test_a_volume_made_in_code_can_be_saved_everywhere(tmp_path):
    volume = Volume(np.zeros((5, 6, 7), np.uint8), Geometry.from_spacing((5, 6, 7), (2.5, 0.7, 0.3)))
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.tif"):
        write_labels(tmp_path / name, some_labels(), volume)
        written = read_labels(tmp_path / name)
        assert written.geometry.equals(volume.geometry, 1e-6)
        assert np.array_equal(written.array, some_labels())
