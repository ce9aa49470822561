"""Something else happens while the mouse is down: strokes and lassos that are half drawn."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from ui_helpers import canvas_position

from napari_medicosam.ui.layers import BOXES_NAME, LABELS_NAME, OBJECT_NAME

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0.0}


@pytest.fixture
def painting(make_session):
    """An object on slice 5, and the brush on slice 6 with its button down: a dab at row 35."""
    viewer, session = make_session()
    session.add_box(5, (5, 5, 25, 25))
    edited = viewer.layers[OBJECT_NAME]
    before = edited.data.copy()
    edited._begin_stroke()
    edited.paint((6, 35, 10), 1)
    assert np.count_nonzero(edited.data[6]) > 20
    return viewer, session, edited, before


def undo_all_but(session, count):
    while len(session._annotation.history.done) > count:
        session.undo()


def test_what_is_painted_while_a_propagation_comes_by_is_kept_and_can_be_undone(painting):
    _, session, edited, before = painting
    session.propagate("up", **HOW)
    assert edited.data[6, 35, 10] == 1
    assert not edited.data[6, 15, 15], "the slice is the user's"
    assert edited.data[7, 15, 15] == 1
    edited.paint((6, 35, 30), 1)
    edited._commit_stroke()
    after = edited.data.copy()
    assert after[6, 35, 30] == 1
    assert session.review[1].is_anchor
    undo_all_but(session, 1)
    np.testing.assert_array_equal(edited.data, before)
    while session.can_redo:
        session.redo()
    np.testing.assert_array_equal(edited.data, after)


def test_an_answer_about_the_slice_leaves_the_stroke(painting):
    _, session, edited, before = painting
    session.add_point((6, 10, 10))
    edited._commit_stroke()
    assert edited.data[6, 35, 10] == edited.data[6, 10, 10] == 1
    undo_all_but(session, 1)
    np.testing.assert_array_equal(edited.data, before)


@pytest.mark.parametrize(
    "act",
    [
        lambda session: session.commit(),
        lambda session: session.new_object(),
        lambda session: session.change_object(1, is_locked=True),
        lambda session: session.clean_up(fill_holes=True),
        lambda session: session.delete_object(),
    ],
)
def test_steps_while_the_brush_is_down_come_after_what_was_painted(painting, act):
    viewer, session, edited, before = painting
    act(session)
    edited._commit_stroke()
    kinds = [step.kind for step in session._annotation.history.done]
    assert kinds[:2] == ["prompt", "paint"]
    assert len(kinds) == 3
    session.undo()
    assert edited.data[6, 35, 10] == 1
    assert not viewer.layers[LABELS_NAME].data.any()
    session.undo()
    np.testing.assert_array_equal(edited.data, before)


def test_a_lasso_that_is_half_drawn_when_its_layer_changes_is_given_up(make_session, qtbot):
    viewer, session = make_session(show=True)
    session.add_box(5, (5, 5, 25, 25))
    viewer.dims.set_current_step(0, 5)
    session.tool = "lasso-"
    native = viewer.window._qt_viewer.canvas.native
    begun = canvas_position(viewer, session.image, (5, 10, 10))
    QTest.mouseMove(native, begun)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, pos=begun)
    boxes = viewer.layers[BOXES_NAME]
    assert boxes._is_creating
    session.undo()
    assert not boxes._is_creating
    assert not session.prompts.all
    assert len(boxes.data) == len(boxes.features) == 0
    QTest.mouseMove(native, canvas_position(viewer, session.image, (5, 20, 20)))
    session.redo()
    session.add_lasso(5, [(6, 6), (6, 12), (12, 12), (12, 6)], positive=False)
    assert len(boxes.data) == len(boxes.features) == 2
