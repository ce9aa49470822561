"""The letters at the edges of the image say where in the patient they are."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel
from test_orientation import LPS, OBLIQUE, RAS, SAGITTAL, on_screen, open_scan  # noqa: F401  a fixture

PATIENT = {"R": (9, 0, 0), "L": (-9, 0, 0), "A": (0, 9, 0), "P": (0, -9, 0), "S": (0, 0, 9), "I": (0, 0, -9)}


def letters_in(viewer):
    canvas = viewer.window._qt_viewer.canvas.native
    found = [one for one in canvas.findChildren(QLabel) if one.objectName() == "medicosam_direction"]
    return [one for one in found if not one.isHidden()]


@pytest.mark.parametrize("affine", [RAS, LPS, SAGITTAL, np.diag([2, -1, 1, 1.0]), OBLIQUE])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_they_are_where_the_viewer_shows_these_parts_of_the_patient(open_scan, affine, order):  # noqa: F811
    viewer, session = open_scan(affine)
    viewer.dims.order = order
    shown = {text[0]: side for text, side in zip(session.directions, range(4), strict=True)}
    assert len(shown) == 4
    for letter, side in shown.items():
        right, down = on_screen(viewer, session.image, np.array(PATIENT[letter]))
        expected = (-down, right, down, -right)[side]
        assert expected == max(-down, right, down, -right) > 0, (letter, side)


def test_they_follow_the_camera_and_go_where_they_would_be_untrue(open_scan):  # noqa: F811
    viewer, session = open_scan(OBLIQUE)
    assert session.directions == ("AS", "L", "PI", "R")
    camera, grid = viewer.scene.camera, viewer.canvas.grid
    camera.orientation2d = ("up", "left")
    assert session.directions == ("PI", "R", "AS", "L")
    for hide, show in (
        (lambda: setattr(viewer.dims, "ndisplay", 3), lambda: setattr(viewer.dims, "ndisplay", 2)),
        (lambda: setattr(grid, "enabled", True), lambda: setattr(grid, "enabled", False)),
        (lambda: session.set_image(viewer.add_image(np.ones((9, 9, 9)))), lambda: None),
    ):
        assert len(letters_in(viewer)) == 4
        hide()
        assert not letters_in(viewer)
        show()


def test_they_lie_at_the_edges_and_leave_the_mouse_alone(open_scan, qtbot):  # noqa: F811
    viewer, session = open_scan(LPS, show=True)
    canvas = viewer.window._qt_viewer.canvas.native
    before = canvas.size()
    viewer.window.resize(900, 640)
    qtbot.waitUntil(lambda: canvas.size() != before)
    top, right, bottom, left = letters_in(viewer)
    area = canvas.rect()
    assert abs(top.geometry().center().x() - area.center().x()) < 2
    assert top.y() < 10
    assert abs(right.geometry().center().y() - area.center().y()) < 2
    assert 0 < area.right() - right.geometry().right() < 10
    assert left.x() < 10
    assert 0 < area.bottom() - bottom.geometry().bottom() < 10
    assert all(one.testAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents) for one in (top, left))
    session.close()
    qtbot.waitUntil(lambda: not letters_in(viewer))
