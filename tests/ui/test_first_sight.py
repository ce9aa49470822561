"""What one who has never seen the widget, or the session, tries first, and what is said to them."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from ui_helpers import canvas_position

from napari_medicosam import session as session_of
from napari_medicosam.errors import InputError
from napari_medicosam.ui.controls import ScrollColumn, millilitres
from napari_medicosam.ui.segment_widget import SegmentWidget


@pytest.mark.parametrize("given", [((10, 90),), ([10, 90],), (np.array([10, 90]),), (10, 90), ("10,90",)])
def test_a_window_is_said_in_any_plain_way(make_session, given):
    _, session = make_session()
    session.set_window(*given)
    assert session.windowing.shown_range == (10, 90)


@pytest.mark.parametrize("given", [(None,), (5,), (1, "b"), ([1, 2, 3],), (90, 10), (np.nan, 3)])
def test_other_windows_are_refused(make_session, given):
    _, session = make_session()
    with pytest.raises(InputError):
        session.set_window(*given)
    assert session.window == "auto"


@pytest.mark.parametrize("timeout", ["soon", np.nan, [1]])
def test_a_timeout_is_a_number(make_session, timeout):
    _, session = make_session()
    with pytest.raises(InputError, match="timeout"):
        session.wait(timeout)


@pytest.mark.parametrize("timeout", [0, -1, 1e12, np.inf, None])
def test_any_number_is_a_timeout(make_session, timeout):
    _, session = make_session()
    assert session.wait(timeout=timeout)


@pytest.mark.parametrize("given", [None, "viewer", ViewerModel()], ids=["None", "text", "no window"])
def test_a_session_is_of_a_viewer(given):
    with pytest.raises(InputError, match=r"napari\.Viewer"):
        session_of(given)


def test_a_model_is_called_by_its_name(make_session):
    _, session = make_session()
    session.set_model(name="medicosam_lite")
    assert session.model == "medicosam_lite"


def test_volumes_over_time_are_taken_where_there_is_nothing_else(make_napari_viewer):
    viewer = make_napari_viewer()
    over_time = viewer.add_image(np.zeros((2, 3, 8, 8), np.uint8))
    session = session_of(viewer)
    session.set_model("sam_test")
    SegmentWidget(session=session)
    assert session.image is over_time


def test_an_image_that_cannot_be_taken_is_no_missing_image(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((2, 2, 3, 8, 8), np.uint8))
    widget = SegmentWidget(session=session_of(viewer))
    assert session_of(viewer).image is None
    assert "Split Stack" in widget._status.text()


def test_the_widget_says_where_the_slices_are_while_3d_is_shown(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    viewer.dims.ndisplay = 3
    assert "2D" in widget._status.text()
    viewer.dims.ndisplay = 2
    assert "Choose Box" in widget._status.text()


@pytest.mark.parametrize(
    ("mm3", "text"), [(0.5, "< 0.001 mL"), (1530, "1.53 mL"), (18_640, "18.6 mL"), (1_526_400, "1526 mL")]
)
def test_volumes_are_read_without_an_exponent(mm3, text):
    assert millilitres(mm3) == text


def test_the_widget_fits_a_narrow_dock(make_session, plugin):
    viewer, _ = make_session()
    _, widget = viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    content = widget.findChild(ScrollColumn).widget()
    content.ensurePolished()  # napari's style sheet asks for wide boxes
    assert content.minimumSizeHint().width() < 1.6 * content.fontMetrics().horizontalAdvance(
        "Scribble + " * 3
    )


def test_a_lasso_that_is_none_leaves_nothing_behind(make_session, qtbot):
    viewer, session = make_session(show=True)
    session.tool = "lasso+"
    canvas = viewer.window._qt_viewer.canvas.native

    def click(y, x):
        where = canvas_position(viewer, session.image, (session.slice_index, y, x))
        QTest.mouseMove(canvas, where)
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)

    click(20, 20)
    click(20, 20)
    assert not session.prompts.all
    layer = viewer.layers.selection.active
    session.tool = "lasso-"
    layer.add([[6, 5, 5], [6, 5, 15], [6, 15, 15]], shape_type="polygon")
    assert [lasso.positive for lasso in session.prompts.lassos] == [False]
    assert len(layer.edge_color) == len(layer.features) == 1
