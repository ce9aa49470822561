"""What the user painted or prompted stays, in whichever plane the model answers later; no voxel is in two masks."""

import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}


@pytest.fixture
def crossed(make_session):
    """A session whose object was prompted and painted on axial slice 6; coronal slices are on show."""
    viewer, session = make_session()
    session.add_box(6, (5, 5, 15, 15))
    edited = viewer.layers[OBJECT_NAME]
    edited.brush_size = 1
    edited.paint((6, 10, 40), 1)
    edited.paint((6, 10, 10), 0)
    viewer.dims.order = (1, 0, 2)
    return viewer, session, edited


def states(viewer):
    return [viewer.layers[name].data.copy() for name in (OBJECT_NAME, LABELS_NAME)]


def test_an_answer_in_another_plane_leaves_the_users_slices(crossed):
    viewer, session, edited = crossed
    before = edited.data.copy()
    session.add_box(10, (3, 8, 9, 30))
    after = edited.data.copy()
    np.testing.assert_array_equal(after[6], before[6])
    assert after[3:6, 10, 8:30].all(), "elsewhere the mask follows the box"
    assert after[7:9, 10, 8:30].all()
    session.remove_prompt(session.prompts.boxes[-1])
    np.testing.assert_array_equal(edited.data, before)
    session.undo()
    np.testing.assert_array_equal(edited.data, after)
    session.propagate(**HOW)
    np.testing.assert_array_equal(edited.data[6], before[6])
    np.testing.assert_array_equal(edited.data[:, 10], after[:, 10])
    assert edited.data[4, 20].any()
    viewer.dims.order = (0, 1, 2)
    session.add_box(6, (5, 5, 30, 30))
    assert edited.data[6, 20, 20], "on the slice at hand the mask follows the prompts"
    assert not edited.data[6, 10, 10], "but where it crosses a slice of another plane"
    session.clear_prompts()
    assert not edited.data[session.slice_index].any(), "to clear a slice is the user's word"


def test_an_answer_about_an_object_that_is_committed_meanwhile_leaves_them_as_well(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.add_box(6, (5, 5, 15, 15))
    assert session.wait(60)
    viewer.dims.order = (1, 0, 2)
    service.hold()
    session.add_box(10, (3, 8, 9, 30))
    assert service.entered.wait(60)
    session.new_object()
    before = viewer.layers[LABELS_NAME].data[6].copy()
    service.gate.set()
    assert session.wait(60)
    labels = viewer.layers[LABELS_NAME].data
    np.testing.assert_array_equal(labels[6], before)
    assert (labels[3:6, 10, 8:30] == 1).all()


def test_slices_that_wait_for_their_first_answer_have_no_word_yet(make_session):
    viewer, session = make_session()
    session.is_live = False
    session.add_box(6, (5, 5, 15, 15))
    viewer.dims.order = (1, 0, 2)
    session.add_box(10, (3, 8, 9, 30))
    session.segment()
    edited = viewer.layers[OBJECT_NAME].data
    assert edited[6, 5:15, 5:15].all(), "the first of two that cross is written whole"
    assert edited[3:6, 10, 8:30].all()
    assert not edited[6, 10, 15:].any(), "the second keeps what the first has said"


def test_lines_of_crossing_slices_are_no_hint(make_session, service):
    """A slice on which the object lies only where others cross it was not segmented yet."""
    viewer, session = make_session()
    session.add_box(6, (5, 5, 15, 15))
    viewer.dims.order = (1, 0, 2)
    session.add_point((3, 12, 30))
    last = service.requests[-1]
    assert last.plane == SlicePlane(1, 12)
    assert all(one is None for one in (last.prompts.mask, last.prompts.box, last.nearby_box))
    session.add_point((3, 12, 20))
    assert service.requests[-1].previous_logits is not None, "its own answer is one"


def test_slices_outside_the_range_of_a_propagation_count_for_nothing(make_session):
    viewer, session = make_session()
    for index in (2, 9):
        session.add_box(index, (5, 5, 15, 15))
    session.propagate(z_range=(4, 11), **HOW)
    filled = viewer.layers[OBJECT_NAME].data.any(axis=(1, 2))
    assert np.flatnonzero(filled).tolist() == [2, 4, 5, 6, 7, 8, 9, 10]
    with pytest.raises(InputError, match="no slice from 4 to 7"):
        session.propagate(z_range=(4, 8))


def test_a_question_that_failed_is_asked_again(make_session, service):
    _, session = make_session()
    service.error = ValueError("no")
    session.add_box(6, (5, 5, 15, 15))
    assert session.has_unasked_prompts
    service.error = None
    assert session.segment()
    assert session.num_open_voxels == 100
    assert not session.has_unasked_prompts


def test_the_id_of_the_object_at_hand_painted_in_the_labels_goes_to_the_object(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 15, 15))
    session.new_object()
    session.add_box(6, (32, 5, 38, 10))
    before = states(viewer)
    labels = viewer.layers[LABELS_NAME]
    labels.brush_size = 1
    labels.paint((6, 10, 10), 2)  # over the first object
    labels.paint((8, 2, 2), 2)
    edited, committed = states(viewer)
    assert not (committed == 2).any()
    assert committed[6, 10, 10] == 0, "the stroke takes it from the other, as any stroke does"
    assert [one.num_voxels for one in session.objects] == [99, 0]
    assert (edited[6, 10, 10], edited[8, 2, 2]) == (2, 2)
    assert [one.is_anchor for one in session.review if one.index == 8] == [True]
    after = states(viewer)
    for _ in range(2):
        session.undo()
    np.testing.assert_array_equal(states(viewer), before)
    for _ in range(2):
        session.redo()
    np.testing.assert_array_equal(states(viewer), after)
    session.change_object(2, is_locked=True)
    labels.paint((9, 2, 2), 2)
    assert not labels.data[9].any(), "locked: put back"


def test_a_propagation_whose_results_come_after_another_step_leaves_no_empty_one(make_session, service):
    service.segment_many = lambda requests: [service.segment(request) for request in requests]
    viewer, session = make_session(synchronous=False)
    session.add_box(1, (5, 5, 15, 15))
    assert session.wait(60)
    states, kinds = [viewer.layers[OBJECT_NAME].data.copy()], []
    service.hold()
    session.propagate(z_range=(0, 6), **HOW)
    assert service.entered.wait(60)
    viewer.dims.order = (1, 0, 2)
    viewer.layers[OBJECT_NAME].paint((8, 30, 30), 1)
    states.append(viewer.layers[OBJECT_NAME].data.copy())
    service.gate.set()
    assert session.wait(60)
    for state in reversed(states):
        kinds.append(session._layers.annotation.history.last.kind)
        session.undo()
        np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data, state)
    kinds.append(session._layers.annotation.history.last.kind)
    assert kinds == ["propagate", "paint", "prompt"]
