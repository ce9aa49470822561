"""What is done in the wrong state: nothing is lost, nothing is in two places, and the user is told why."""

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.errors import InputError
from napari_medicosam.ui.keys import ACTIONS
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}


def test_labels_that_are_painted_for_an_object_without_a_mask_are_its_mask(make_session):
    viewer, session = make_session()
    session.add_box(2, (3, 3, 9, 9))
    empty = session.new_object("empty")
    session.select(1)
    labels = viewer.layers[LABELS_NAME]
    labels.brush_size = 4
    labels.paint((4, 20, 20), empty)
    count = np.count_nonzero(labels.data == empty)
    assert {one.object_id: one.is_committed for one in session.objects} == {1: False, empty: True}
    session.select(empty)
    assert session.num_open_voxels == count > 0
    assert not (labels.data == empty).any()
    session.delete_object()
    assert not viewer.layers[OBJECT_NAME].data[4].any()
    session.undo()
    assert session.num_open_voxels == count


def test_labels_that_are_painted_for_a_locked_class_are_locked_from_there_on(make_session):
    viewer, session = make_session()
    session.add_box(2, (3, 3, 9, 9))
    empty = session.new_object("empty", class_id=2)
    session.select(1)
    session.lock_class(2)
    labels = viewer.layers[LABELS_NAME]
    labels.paint((4, 20, 20), empty)
    painted = labels.data.copy()
    labels.paint((4, 20, 20), 0)
    np.testing.assert_array_equal(labels.data, painted)


def test_planes_that_vote_leave_the_users_slices_alone_whatever_the_policy_is_by_now(make_session, service):
    service.segment_many = lambda requests: [service.segment(request) for request in requests]
    _, session = make_session()
    session.add_box(5, (5, 5, 15, 15))
    session.propagate(**HOW)
    before = session.label_map()[5]
    session.commit_policy = CommitPolicy(inside_class=1)
    session.agree_on_three_planes(**HOW)
    assert (
        session.num_open_voxels == np.count_nonzero(before) == 100
    )  # the rest was inside no object of the class
    session.commit_policy = CommitPolicy()
    np.testing.assert_array_equal(session.label_map()[5], before)


def test_live_again_beside_a_locked_object_whose_prompts_were_never_asked_about(make_session):
    _, session = make_session()
    session.is_live = False
    session.add_box(5, (5, 5, 15, 15))
    session.change_object(1, is_locked=True)
    session.is_live = True
    session.change_object(1, is_locked=False)
    assert session.segment()
    assert session.num_open_voxels == 100


def test_what_a_key_cannot_do_is_said(make_session, notices):
    _, session = make_session()
    for name, why in [
        ("next_candidate", "one click"),
        ("segment", "no prompt waits"),
        ("next_doubtful", "no doubtful"),
    ]:
        ACTIONS[name][2](session)
        assert why in notices.pop()
    session.add_point((5, 20, 20))
    session.is_live = False
    session.add_point((6, 20, 20))
    ACTIONS["segment"][2](session)
    assert not notices


def test_what_cannot_be_done_says_what_can(make_session):
    viewer, session = make_session()
    session.add_box(5, (5, 5, 15, 15))
    with pytest.raises(InputError, match="nothing to interpolate between: only one slice"):
        session.interpolate()
    viewer.dims.order = (1, 0, 2)
    with pytest.raises(InputError, match="Roll the axes to that one"):
        session.propagate()
    session.commit()
    with pytest.raises(InputError, match="'object 1' is committed already"):
        session.commit()


@pytest.mark.parametrize(("given", "meant"), [(True, "slices"), (False, "no"), ("volume", "volume")])
def test_holes_may_be_filled_by_yes_and_no(make_session, given, meant):
    _, session = make_session()
    session.add_box(5, (5, 5, 15, 15))
    session.preview_clean_up(fill_holes=given)
    assert session.previewed.fill_holes == meant
