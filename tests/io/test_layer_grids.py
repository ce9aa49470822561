"""Where layers lie: what was made along the same axes lies in one world, whatever the file and the format."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_helpers import oblique, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medicosam.core.layer_frame import HAIR_MM, ras_mm_to_frame
from napari_medicosam.io.reader import get_reader
from napari_medicosam.io.records import record_of
from napari_medicosam.io.volumes import read_volume, write_labels
from napari_medicosam.io.writer import write_labels_layer

layers = pytest.importorskip("napari.layers")

SHAPE = (4, 6, 5)


def open_layer(path) -> Any:
    ((data, arguments, kind),) = get_reader(str(path))(str(path))
    return (layers.Image if kind == "image" else layers.Labels)(data, **arguments)


def save(path, affine, shape_xyz=(5, 6, 4)):
    image = nibabel.Nifti2Image(np.ones(shape_xyz, np.int16), affine)  # the second keeps all digits
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return open_layer(path)


@pytest.mark.parametrize(
    ("columns_xyz", "names"),
    [
        (np.diag([-1.0, -1, 2]), ("axial", "coronal", "sagittal")),
        ([[0, 0, 3], [-1, 0, 0], [0, -1, 0]], ("sagittal", "axial", "coronal")),
        (Rotation.from_euler("x", 20, degrees=True).as_matrix(), ("axial", "coronal", "sagittal")),
    ],
)
def test_sliders_are_called_after_the_slices_they_go_through(tmp_path, columns_xyz, names):
    affine = np.eye(4)
    affine[:3, :3] = columns_xyz
    assert save(tmp_path / "scan.nii", affine).axis_labels == names
    assert save(tmp_path / "heart.nii", affine, (5, 6, 4, 3)).axis_labels == ("time", *names)


numbers = st.floats(-600, 600)
steps = st.tuples(*[st.floats(0.3, 6)] * 3)
flips = st.tuples(*[st.sampled_from((-1, 1))] * 3)
starts = st.tuples(numbers, numbers, numbers)


@st.composite
def two_grids(draw):
    """Affines with the same axes, their order and nothing else in common."""
    axes = np.eye(3)[:, draw(st.permutations(range(3)))]
    if draw(st.booleans()):
        axes = (
            Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-18, 18)] * 3)), degrees=True).as_matrix()
            @ axes
        )
    found = []
    for _ in range(2):
        affine = np.eye(4)
        affine[:3, :3] = axes * draw(flips) * draw(steps)
        affine[:3, 3] = draw(starts)
        found.append(affine)
    return found


@given(two_grids(), st.tuples(*[st.floats(0, 200)] * 3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_scans_along_the_same_axes_lie_in_one_world(tmp_path, affines, voxel):
    one, other = (save(tmp_path / f"{n}.nii", affine) for n, affine in enumerate(affines))
    geometry = record_of(one.metadata).geometry
    point_mm = geometry.index_to_ras_mm(voxel)
    there = record_of(other.metadata).geometry.ras_mm_to_index(point_mm)
    np.testing.assert_allclose(one.data_to_world(voxel), other.data_to_world(there), atol=100 * HAIR_MM)
    np.testing.assert_allclose(one.world_to_data(one.data_to_world(voxel)), voxel, atol=1e-6)
    np.testing.assert_allclose(one.scale, geometry.spacing_zyx)
    corner = np.array(SHAPE) - 1
    in_frame = ras_mm_to_frame(geometry) @ (*geometry.index_to_ras_mm(corner), 1)
    np.testing.assert_allclose(one.data_to_world(corner), in_frame[:3], atol=HAIR_MM)


def test_an_oblique_scan_carries_its_whole_affine(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (20, -9, 4), degrees=True).as_matrix() * (-0.7, -0.7, 3)
    affine[:3, 3] = 90, 50, -700
    layer = save(tmp_path / "scan.nii", affine)
    for voxel in ((0, 0, 0), (3, 5, 4), (1, 2, 3)):
        x, y, z = affine[:3, :3] @ voxel[::-1] + affine[:3, 3]
        np.testing.assert_allclose(layer.data_to_world(voxel), (z, -y, -x), atol=1e-9)  # head, back, left


def test_a_slice_alone_lies_along_its_own_axes(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (40, -30, 20), degrees=True).as_matrix() * (0.7, 0.9, 3)
    layer = save(tmp_path / "slice.nii", affine, (5, 6))
    ways = [np.subtract(layer.data_to_world(step), layer.data_to_world((0, 0))) for step in np.eye(2)]
    np.testing.assert_allclose(np.abs(ways), np.diag((0.9, 0.7)), atol=1e-9)


def test_what_is_turned_by_the_digits_of_a_file_alone_lies_along_the_axes(tmp_path):
    turn = Rotation.from_euler("xyz", (1e-7, -1e-7, 1e-7)).as_matrix()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (0.7, 0.7, 3), (-120, -80, -500)
    matrix = save(tmp_path / "scan.nii", affine).affine.affine_matrix
    np.testing.assert_array_equal(matrix[:3, :3], np.diag([1, -1, -1]))
    affine[:3, :3] = Rotation.from_euler("xyz", (1e-3, 0, 0)).as_matrix() * (0.7, 0.7, 3)
    matrix = save(tmp_path / "turned.nii", affine).affine.affine_matrix
    assert matrix[0, 1] != 0


def test_the_frame_is_the_patients_own(tmp_path):
    affine = np.array([[0.7, 0, 0, -120], [0, 0.7, 0, -80], [0, 0, 3, -500], [0, 0, 0, 1]])
    layer = save(tmp_path / "scan.nii", affine)
    x, y, z = affine[:3, :3] @ (3, 4, 2) + affine[:3, 3]
    np.testing.assert_allclose(layer.data_to_world((2, 4, 3)), (z, -y, -x))  # head, back, left
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3


def test_a_slice_lies_in_the_plane_of_its_volume(tmp_path):
    affine = np.diag([0.7, 0.7, 3, 1])
    affine[:3, 3] = -120, -80, -500
    volume = save(tmp_path / "scan.nii", affine)
    flat = save(tmp_path / "slice.nii", affine, (5, 6))
    assert flat.ndim == 2
    np.testing.assert_allclose(flat.data_to_world((4, 3)), volume.data_to_world((0, 4, 3))[1:])


def test_one_grid_is_one_place_in_every_format(tmp_path):
    affine = np.diag([0.7, 0.9, 3, 1])
    affine[:3, 3] = -120.123, 80.456, -500
    image = save(tmp_path / "scan.nii", affine)
    for ending in (".nii.gz", ".nrrd", ".mha", ".ome.zarr"):
        path = tmp_path / f"labels{ending}"
        write_labels(path, np.ones(SHAPE, np.uint8), read_volume(tmp_path / "scan.nii"))
        _check_same_place(open_layer(path), image)


@pytest.mark.parametrize("cosines", [(1, 0, 0, 0, 1, 0), oblique(), (0, 1, 0, 0, 0, -1)])
def test_labels_of_a_series_lie_on_it_in_every_format(tmp_path, cosines):
    step = 2.5 * np.cross(cosines[:3], cosines[3:])
    write_series(
        tmp_path / "series",
        np.zeros((4, 6, 5), np.int16),
        step,
        ImageOrientationPatient=list(cosines),
        FrameOfReferenceUID="1.2.4",
    )
    image = open_layer(tmp_path / "series")
    way = [np.subtract(image.data_to_world(step), image.data_to_world((0, 0, 0))) for step in np.eye(3)]
    assert (np.diag(way) > 0).all(), "slices, rows and columns of scanners run as they are shown"
    for ending in (".dcm", ".nii.gz", ".nrrd", ".mha"):
        path = tmp_path / f"labels{ending}"
        write_labels(path, np.ones(SHAPE, np.uint8), read_volume(tmp_path / "series"))
        _check_same_place(open_layer(path), image)


@pytest.mark.parametrize("ending", [".dcm", ".nii.gz"])
def test_labels_are_the_same_file_from_either_frame(tmp_path, ending):
    cosines = oblique()
    write_series(
        tmp_path / "series",
        np.zeros((4, 6, 5), np.int16),
        2.5 * np.cross(cosines[:3], cosines[3:]),
        ImageOrientationPatient=list(cosines),
        FrameOfReferenceUID="1.2.4",
    )
    image = open_layer(tmp_path / "series")
    laying = pytest.importorskip("napari_medicosam.ui.laying")
    viewer = pytest.importorskip("napari.components").ViewerModel(ndisplay=3)
    data = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    labels = viewer.add_labels(data, metadata=image.metadata, scale=image.scale, affine=image.affine)
    places, found = [], []
    for where in ("own", "world"):
        laying.Laying(viewer).lay(labels, where)
        places.append(labels.data_to_world((3, 5, 4)))
        path = str(tmp_path / f"{where}{ending}")
        write_labels_layer(path, labels.data, labels.as_layer_data_tuple()[1])
        found.append(read_volume(path))
    assert not np.allclose(*places), "two frames"
    np.testing.assert_array_equal(found[0].array, found[1].array)
    assert found[0].geometry.equals(found[1].geometry, tolerance_mm=1e-6)
    assert found[0].geometry.equals(record_of(image.metadata).geometry, tolerance_mm=1e-3)


def _check_same_place(labels, image):
    for voxel in ((0, 0, 0), (3, 5, 4), (1, 2, 3)):
        np.testing.assert_allclose(labels.data_to_world(voxel), image.data_to_world(voxel), atol=1e-3)
