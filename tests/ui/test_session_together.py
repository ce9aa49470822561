"""Several objects are carried through the volume together."""

import numpy as np
import pytest

from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.spacing import spacing_mm, spacing_zyx

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}


@pytest.fixture
def together(service):
    """How many objects were asked about at once, by slice; the fake answers each as it would alone."""
    asked = []

    def segment_many(requests):
        asked.append((requests[0].plane.index, tuple(request.object_id for request in requests)))
        return [service.segment(request) for request in requests]

    service.segment_many = segment_many
    return asked


@pytest.fixture
def three(make_session, together):
    """Two committed objects and one that is being edited, each in a corner of slice 5."""
    viewer, session = make_session()
    for name, corner in (("one", (2, 2)), ("two", (2, 30)), ("three", (25, 2))):
        session.new_object(name)
        y, x = corner
        session.add_box(5, (y, x, y + 8, x + 9))
    return viewer, session


def test_all_objects_in_one_batch_a_slice_and_one_step(three, together):
    viewer, session = three
    before = session.label_map()
    session.propagate(z_range=(3, 9), objects="all", **HOW)
    assert sorted(index for index, _ in together) == [3, 4, 6, 7, 8]
    assert {ids for _, ids in together} == {(1, 2, 3)}
    after = session.label_map()
    for object_id in (1, 2, 3):
        present = (after == object_id).any(axis=(1, 2))
        assert np.flatnonzero(present).tolist() == [3, 4, 5, 6, 7, 8]
        np.testing.assert_array_equal(after[3] == object_id, after[5] == object_id)
    np.testing.assert_array_equal(after[5], before[5], err_msg="anchors stay")
    assert {one.object_id: one.num_voxels for one in session.objects} == {1: 432, 2: 432, 3: 0}
    assert session.num_open_voxels == 432
    session.undo()
    np.testing.assert_array_equal(session.label_map(), before)
    assert {one.object_id: one.num_voxels for one in session.objects} == {1: 72, 2: 72, 3: 0}
    session.redo()
    np.testing.assert_array_equal(session.label_map(), after)
    assert viewer.layers[OBJECT_NAME].data[7, 26, 3] == 3


def test_committed_objects_can_be_looked_through_afterwards(three):
    _, session = three
    session.propagate(z_range=(3, 9), objects=1, **HOW)
    assert session.object_id == 3, "the object that is being edited stays so"
    assert not session.objects[2].is_committed
    session.select(1)
    assert [one.index for one in session.review] == [3, 4, 5, 6, 7, 8]
    assert session.review[0].iou_prediction == pytest.approx(0.9)
    assert session.review[2].is_anchor


def test_locked_objects_stay_and_are_refused_by_name(three):
    viewer, session = three
    session.change_object(2, is_locked=True)
    before = viewer.layers[LABELS_NAME].data == 2
    session.propagate(z_range=(3, 9), objects="all", **HOW)
    np.testing.assert_array_equal(viewer.layers[LABELS_NAME].data == 2, before)
    assert (viewer.layers[LABELS_NAME].data[8] == 1).any()
    with pytest.raises(InputError, match="'two' is locked"):
        session.propagate(objects=[1, 2], **HOW)
    with pytest.raises(InputError, match="no object 9"):
        session.propagate(objects=[9])
    with pytest.raises(InputError, match="current, all or some ids"):
        session.propagate(objects="some")


def test_none_takes_voxels_of_another(make_session, together):
    viewer, session = make_session()
    session.add_box(5, (2, 2, 20, 20))
    session.new_object()
    session.add_box(4, (10, 10, 30, 30))
    session.new_object()
    session.add_box(6, (0, 0, 12, 12))
    edited_before = viewer.layers[OBJECT_NAME].data[6] != 0
    session.propagate(z_range=(3, 8), objects="all", **HOW)
    edited, committed = viewer.layers[OBJECT_NAME].data, viewer.layers[LABELS_NAME].data
    assert not (edited.astype(bool) & committed.astype(bool)).any()
    np.testing.assert_array_equal(edited[6] != 0, edited_before)
    assert (committed[5] == 1)[2:20, 2:20].all()
    assert (committed[4] == 2)[10:30, 10:30].all()
    for object_id in (1, 2):
        assert session.objects[object_id - 1].num_voxels == np.count_nonzero(committed == object_id)


def test_only_what_changed_is_propagated_again(three, together, service):
    _, session = three
    session.propagate(z_range=(3, 9), objects="all", **HOW)
    together.clear()
    service.requests.clear()
    session.add_point((8, 30, 30))
    session.propagate(z_range=(3, 9), objects="all", **HOW)
    assert together == [], "one object alone asks alone"
    assert [request.plane.index for request in service.requests] == [8, 6, 7]
    steps = len(session._annotation.history.done)
    session.propagate(z_range=(3, 9), objects="all", **HOW)
    assert len(session._annotation.history.done) == steps, "nothing changed, so it is no step"


def test_settings_stay_with_the_session(make_session, service):
    _, session = make_session()
    session.set_propagation(mode="mask", iou_threshold=0.7)
    assert str(session.propagation_settings.mode) == "box+mask"
    session.add_box(5, (2, 2, 20, 20))
    session.propagate(z_range=(4, 7))
    assert service.requests[-1].prompts.mask is not None
    with pytest.raises(InputError, match="threshold"):
        session.set_propagation(iou_threshold=7)
    with pytest.raises(InputError, match=r"has the settings .* got speed"):
        session.propagate(speed=3)
    assert session.propagation_settings.iou_threshold == 0.7


def test_slices_are_as_far_apart_as_the_layer_says(make_session):
    _, in_mm = make_session(scale=(5, 1, 1), units="mm")
    _, in_cm = make_session(scale=(0.5, 0.1, 0.1), units="cm")
    _, without = make_session(scale=(5, 1, 1))

    assert spacing_mm(in_mm.image) == (5, 1, 1)
    assert spacing_mm(in_cm.image) == pytest.approx((5, 1, 1))
    assert spacing_mm(without.image) is None
    assert spacing_zyx(without.image) == (5, 1, 1)


def test_three_planes_vote_and_the_users_slices_stay(make_session, together):
    _, session = make_session(np.zeros((20, 24, 26), np.uint8))
    session.add_box(8, (6, 7, 16, 19))
    session.propagate(z_range=(4, 14), **HOW)
    session.add_point((8, 2, 2))
    before = session.label_map()
    assert before[8, 2, 2] == 1
    session.agree_on_three_planes(**HOW)
    after = session.label_map()
    np.testing.assert_array_equal(after[8], before[8])
    assert (after[4:14, 6:16, 7:19] == 1).all()
    assert after[7, 2, 2] == 0
    session.undo()
    np.testing.assert_array_equal(session.label_map(), before)
    with pytest.raises(InputError, match="one plane"):
        make_session(np.zeros((24, 26), np.uint8))[1].agree_on_three_planes()


def test_tuning_takes_the_settings_that_would_have_found_the_object(make_session, service, together):
    """The fake finds the box again; so the object that tapers is found best with no growth."""
    _, session = make_session(np.zeros((20, 40, 40), np.uint8))
    session.set_propagation(mode="box", box_extension=0.1, min_confidence=0, iou_threshold=0.5)
    session.add_box(8, (6, 7, 26, 29))
    with_growth = session.propagation_settings
    session.propagate(z_range=(4, 14), box_extension=0.0)
    session.commit()
    before = session.label_map()
    assert session.tuning is None
    session.tune()
    assert session.tuning.current.settings == with_growth
    assert session.tuning.best.dice > session.tuning.current.dice
    assert session.propagation_settings == session.tuning.best.settings
    assert session.propagation_settings.box_extension == 0
    assert session.objects[0].is_committed, "it was looked at and left alone"
    np.testing.assert_array_equal(session.label_map(), before)
    session.new_object()
    with pytest.raises(InputError, match="nothing to tune on"):
        session.tune()


def test_those_that_are_locked_meanwhile_are_left_and_the_others_go_on(three, together, notices):
    _, session = three
    session.commit()

    def lock(object_id, plane):
        if plane.index == 7 and object_id == 2:
            session.change_object(1, is_locked=True)
        if plane.index == 9 and object_id == 3:
            for one in (2, 3):
                session.change_object(one, is_locked=True)

    session.events.mask_changed.connect(lock)
    session.propagate("up", objects="all", **HOW)
    present = [(session.label_map() == one).any(axis=(1, 2)) for one in (1, 2, 3)]
    assert [np.flatnonzero(one).tolist() for one in present] == [[5, 6, 7], [5, 6, 7, 8, 9], [5, 6, 7, 8, 9]]
    rest = "was locked before its propagation was through: unlock it and propagate again for the rest"
    assert notices == [f"warning: '{name}' {rest}" for name in ("one", "two", "three")]
    assert len(together) < 6, "nobody is asked for nothing"
