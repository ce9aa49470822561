"""The camera turns as radiologists look at scans; prompts and voxels do not know."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from ui_helpers import canvas_position

from napari_medicosam.io.reader import read_layers
from napari_medicosam.ui.layers import OBJECT_NAME, POINTS_NAME

RAS, LPS = np.diag([1.0, 1, 2, 1]), np.diag([-1.0, -1, 2, 1])


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


@pytest.mark.parametrize(("affine", "axial"), [(RAS, ("up", "left")), (LPS, ("down", "right"))])
def test_front_on_top_and_right_on_the_left(open_scan, affine, axial):
    viewer, _ = open_scan(affine)
    assert orientation(viewer) == axial


def test_other_planes_have_the_head_on_top(open_scan):
    viewer, _ = open_scan(LPS)
    viewer.dims.order = (1, 0, 2)  # coronal
    assert orientation(viewer) == ("up", "right")
    viewer.dims.order = (2, 0, 1)  # sagittal: front on the left
    assert orientation(viewer) == ("up", "right")
    viewer.dims.order = (0, 1, 2)
    assert orientation(viewer) == ("down", "right")


def test_images_that_do_not_say_how_the_patient_lies_are_left_alone(open_scan, make_session):
    viewer, _ = open_scan(RAS, code=0)
    assert orientation(viewer) == ("down", "right")
    for metadata in ({}, {"medicosam": "mine"}, {"medicosam": {"record": "mine"}}):
        viewer, _ = make_session(metadata=metadata)
        assert orientation(viewer) == ("down", "right")


def test_a_click_in_the_turned_view_lands_on_its_voxel(open_scan, qtbot):
    viewer, session = open_scan(RAS, show=True)
    assert orientation(viewer) == ("up", "left")
    viewer.window.resize(1200, 800)
    viewer.dims.set_current_step(0, 4)
    viewer.reset_view()
    qtbot.wait(50)
    session.tool = "point+"
    native = viewer.window._qt_viewer.canvas.native
    where = canvas_position(viewer, viewer.layers["scan"], (4, 10, 30))
    QTest.mouseMove(native, where)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
    points = viewer.layers[POINTS_NAME]
    qtbot.waitUntil(lambda: len(points.data) == 1)
    np.testing.assert_allclose(points.data[0], (4, 10, 30), atol=0.5)
    assert viewer.layers[OBJECT_NAME].data[4, 10, 30] == 1
