"""Layers lie and the camera turns as radiologists look at scans; prompts and voxels do not know."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from ui_helpers import canvas_position

from napari_medicosam.io.reader import read_layers
from napari_medicosam.io.records import record_of
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME, POINTS_NAME

RAS, LPS = np.diag([1.0, 1, 2, 1]), np.diag([-1.0, -1, 2, 1])
SAGITTAL = np.array([[0, 0, 2.0, -9], [-1, 0, 0, 30], [0, -1, 0, 7], [0, 0, 0, 1]])
TURN = np.deg2rad(20)
OBLIQUE = np.array(
    [
        [-1, 0, 0, 90],
        [0, -np.cos(TURN), -2 * np.sin(TURN), 50],
        [0, -np.sin(TURN), 2 * np.cos(TURN), -700],
        [0, 0, 0, 1],
    ]
)


def orientation(viewer):
    camera = getattr(viewer, "scene", viewer).camera
    return tuple(str(getattr(part, "value", part)) for part in camera.orientation2d)


@pytest.fixture
def open_scan(make_session, tmp_path):
    def open_scan(affine, code=1, **more):
        image = nib.Nifti1Image(
            np.random.default_rng(0).integers(0, 255, (50, 40, 12)).astype(np.int16), affine
        )
        image.set_sform(affine, code)
        image.set_qform(affine, code)
        nib.save(image, tmp_path / "scan.nii.gz")
        ((data, arguments, _),) = read_layers(str(tmp_path / "scan.nii.gz"))
        arguments.pop("name")
        return make_session(data, **arguments, **more)

    return open_scan


def on_screen(viewer, image, toward):
    """Where the canvas shows what lies `toward` (R, A, S) of the middle: (right, down), in mm."""
    geometry = record_of(image.metadata).geometry
    middle = geometry.index_to_ras_mm(np.array(geometry.shape_zyx) / 2)
    here, there = (
        np.array(image.data_to_world(geometry.ras_mm_to_index(point))) for point in (middle, middle + toward)
    )
    row, column = viewer.dims.displayed
    down, right = orientation(viewer)
    way = there - here
    return round(way[column] * (1 if right == "right" else -1)), round(
        way[row] * (1 if down == "down" else -1)
    )


@pytest.mark.parametrize("affine", [RAS, LPS, SAGITTAL, SAGITTAL * [[-1], [-1], [-1], [1]]])
def test_front_on_top_and_right_on_the_left_in_all_planes(open_scan, affine):
    viewer, session = open_scan(affine)
    planes = [record_of(session.image.metadata).geometry.plane_name(axis) for axis in range(3)]
    for axis, plane in enumerate(planes):
        others = [one for one in range(3) if one != axis]
        if plane == "coronal" and planes.index("axial") > planes.index("sagittal"):
            others.reverse()
        viewer.dims.order = (axis, *others)
        image = session.image
        left, down, back = ([-1, 0, 0], [0, 0, -1], [0, -1, 0])
        seen = {name: on_screen(viewer, image, way) for name, way in (("L", left), ("I", down), ("P", back))}
        upright = {"axial": ("P", "L"), "coronal": ("I", "L"), "sagittal": ("I", "P")}[plane]
        assert seen[upright[0]] in ((0, 1), (1, 0)), plane
        assert seen[upright[1]] in ((0, 1), (1, 0)), plane


@pytest.mark.parametrize("affine", [RAS, LPS, SAGITTAL])
def test_a_series_is_shown_upright_without_any_turning(open_scan, affine):
    viewer, _ = open_scan(affine)
    assert orientation(viewer) == ("down", "right")


def test_images_that_do_not_say_how_the_patient_lies_are_left_alone(open_scan, make_session):
    viewer, session = open_scan(RAS, code=0)
    viewer.dims.order = (1, 0, 2)
    assert orientation(viewer) == ("down", "right")
    assert np.array_equal(session.image.data_to_world((0, 0, 0)), (0, 0, 0))
    for metadata in ({}, {"medicosam": "mine"}, {"medicosam": {"record": "mine"}}):
        viewer, _ = make_session(metadata=metadata)
        viewer.dims.order = (1, 0, 2)
        assert orientation(viewer) == ("down", "right")


@pytest.mark.parametrize("affine", [RAS, OBLIQUE])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_click_in_the_turned_view_lands_on_its_voxel(open_scan, qtbot, affine, axis):
    viewer, session = open_scan(affine, show=True)
    viewer.window.resize(1200, 800)
    viewer.dims.order = (axis, *(one for one in range(3) if one != axis))
    voxel = np.array((4, 10, 30))
    session.go_to(voxel[axis])
    assert orientation(viewer) == (("down", "right") if axis == 0 else ("up", "right"))
    viewer.reset_view()
    qtbot.wait(50)
    session.tool = "point+"
    native = viewer.window._qt_viewer.canvas.native
    where = canvas_position(viewer, session.image, voxel)
    QTest.mouseMove(native, where)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
    points = viewer.layers[POINTS_NAME]
    qtbot.waitUntil(lambda: len(points.data) == 1)
    np.testing.assert_allclose(points.data[0], voxel, atol=0.5)
    assert viewer.layers[OBJECT_NAME].data[tuple(voxel)] == 1
    shown = np.asarray(session.image._slice.image.raw)
    np.testing.assert_array_equal(shown, np.take(session.image.data, voxel[axis], axis))


def test_labels_lie_on_their_image_when_they_are_opened_again(open_scan, tmp_path):
    viewer, session = open_scan(OBLIQUE)
    session.add_box(3, (5, 5, 20, 25))
    session.commit()
    session.save_labels(tmp_path / "liver_labels.nii.gz")
    assert session.wait(30)
    ours = viewer.layers[LABELS_NAME]
    (again,) = viewer.open(str(tmp_path / "liver_labels.nii.gz"), plugin="napari-medicosam")
    np.testing.assert_array_equal(ours.affine.affine_matrix, session.image.affine.affine_matrix)
    for voxel in ((0, 0, 0), (3, 5, 9), (11, 39, 49)):
        np.testing.assert_allclose(again.data_to_world(voxel), session.image.data_to_world(voxel), atol=1e-3)
        np.testing.assert_array_equal(ours.data_to_world(voxel), session.image.data_to_world(voxel))
    np.testing.assert_array_equal(again.data, ours.data)
    saved, image = (nib.load(tmp_path / name) for name in ("liver_labels.nii.gz", "scan.nii.gz"))
    assert saved.affine.tobytes() == image.affine.tobytes()
