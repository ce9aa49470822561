"""Objects of volumes over time are the same at all time points, each of which has steps to undo of its own."""

import random

import numpy as np
import pytest
from napari.utils.key_bindings import coerce_keybinding

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.shared_objects import shared_of
from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.object_list import ObjectList

SHAPE = (3, 5, 20, 24)


@pytest.fixture
def beating(make_session):
    """A viewer with three volumes over time, and its session, at time 0; "a" of class 1 is committed there."""
    viewer, session = make_session(np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8))
    viewer.dims.set_current_step(0, 0)
    session.new_object("a", class_id=1)
    session.add_box(2, (5, 5, 15, 15))
    session.commit()
    return viewer, session


def labels(viewer):
    return viewer.layers[LABELS_NAME].data.copy()


def told(session, *fields):
    """Of all objects, as the shown time point has them."""
    return [tuple(getattr(record, field) for field in fields) for record in session.objects]


def test_a_step_back_leaves_what_was_changed_at_another_time_since(beating):
    viewer, session = beating
    before = labels(viewer)
    viewer.dims.set_current_step(0, 1)
    session.change_object(1, name="b", class_id=4, is_visible=False)
    viewer.dims.set_current_step(0, 0)
    for go, is_committed in ((session.undo, False), (session.redo, True)):
        go()
        assert told(session, "name", "class_id", "is_visible", "is_committed") == [
            ("b", 4, False, is_committed)
        ]
    viewer.dims.set_current_step(0, 1)
    session.undo()
    viewer.dims.set_current_step(0, 0)
    assert told(session, "name", "class_id", "is_visible", "num_voxels") == [("a", 1, True, 100)]
    np.testing.assert_array_equal(labels(viewer), before)


def test_of_two_names_the_newer_stays_until_it_is_taken_back(beating):
    viewer, session = beating
    session.change_object(1, name="b")
    viewer.dims.set_current_step(0, 1)
    session.change_object(1, name="c")
    viewer.dims.set_current_step(0, 0)
    session.undo()
    assert told(session, "name") == [("c",)]
    viewer.dims.set_current_step(0, 1)
    session.undo()
    assert told(session, "name") == [("a",)]
    viewer.dims.set_current_step(0, 0)
    session.redo()
    assert told(session, "name") == [("b",)]


@pytest.mark.parametrize(
    ("field", "first", "later"),
    [("name", "b", "c"), ("class_id", 5, 6), ("is_locked", True, False), ("is_visible", False, True)],
)
def test_a_step_done_again_takes_nothing_of_what_was_set_later_at_another_time(beating, field, first, later):
    viewer, session = beating
    session.change_object(1, **{field: first})
    viewer.dims.set_current_step(0, 1)
    session.change_object(1, **{field: later})
    viewer.dims.set_current_step(0, 0)
    for go in (session.undo, session.redo):
        go()
        assert told(session, field) == [(later,)]
    viewer.dims.set_current_step(0, 1)
    session.undo()
    assert told(session, field) == [(first,)], "the older step stands again, too"
    session.redo()
    assert told(session, field) == [(later,)]


def test_steps_done_again_come_between_those_of_another_time(beating):
    viewer, session = beating
    for time, name in enumerate("bcdbcd"):  # each time point has an older and a newer one
        viewer.dims.set_current_step(0, time % 3)
        session.change_object(1, name=f"{name}{time // 3}")
    for time in (2, 0, 1):
        viewer.dims.set_current_step(0, time)
        session.undo()
        session.undo()
    seen = []
    for time in (1, 0, 1, 2, 0):
        viewer.dims.set_current_step(0, time)
        session.redo()
        seen += told(session, "name")
    assert seen == [("c0",), ("c0",), ("c1",), ("c1",), ("c1",)]


def test_an_object_deleted_again_stays_where_it_has_a_mask_since(beating):
    viewer, session = beating
    session.new_object("b")
    session.delete_object()
    session.undo()
    viewer.dims.set_current_step(0, 1)
    session.select(2)
    session.change_object(2, name="c")
    session.add_box(3, (0, 0, 4, 4))
    viewer.dims.set_current_step(0, 0)
    session.redo()
    assert told(session, "name") == [("a",), ("c",)]
    viewer.dims.set_current_step(0, 1)
    assert session.num_open_voxels == 16
    session.undo()
    assert told(session, "name") == [("a",)]


def test_to_take_a_lock_back_takes_nothing_of_another_time_with_it(beating):
    viewer, session = beating
    viewer.dims.set_current_step(0, 1)
    session.lock_class(1)
    viewer.dims.set_current_step(0, 0)
    assert told(session, "is_locked") == [(True,)]
    assert session.new_object("b") == 2
    session.add_box(3, (0, 0, 4, 4))
    session.commit()
    viewer.dims.set_current_step(0, 1)
    session.undo()
    viewer.dims.set_current_step(0, 0)
    assert told(session, "name", "is_locked", "num_voxels") == [("a", False, 100), ("b", False, 16)]
    assert not session.locked_classes


@pytest.mark.parametrize("is_class", [True, False])
def test_what_is_locked_at_another_time_is_not_erased_by_a_step_back(beating, notices, is_class):
    viewer, session = beating
    viewer.dims.set_current_step(0, 1)
    if is_class:
        session.lock_class(1)
    else:
        session.change_object(1, is_locked=True)
    viewer.dims.set_current_step(0, 0)
    before, objects = labels(viewer), session.objects
    with pytest.raises(InputError, match=r"locked since, 'a': unlock it at another time point to undo"):
        session.undo()
    layer = viewer.layers[OBJECT_NAME]
    layer.keymap[coerce_keybinding("Control-Z")](layer)  # what napari does on the key
    assert "error: undo would change what was locked since, 'a'" in notices[-1]
    np.testing.assert_array_equal(labels(viewer), before)
    assert session.objects == objects
    assert not session.can_redo
    viewer.dims.set_current_step(0, 1)
    session.undo()
    viewer.dims.set_current_step(0, 0)
    session.undo()
    assert not labels(viewer).any()
    viewer.dims.set_current_step(0, 1)
    session.change_object(1, is_locked=True)
    viewer.dims.set_current_step(0, 0)
    with pytest.raises(InputError, match="to redo here"):
        session.redo()
    assert not labels(viewer).any()


def test_what_was_locked_before_a_step_does_not_hold_it(beating):
    """It is open at one time point while it is locked at another one: to commit it changes nothing of it."""
    viewer, session = beating
    viewer.dims.set_current_step(0, 1)
    session.add_box(3, (0, 0, 4, 4))
    viewer.dims.set_current_step(0, 0)
    session.lock_class(1)
    viewer.dims.set_current_step(0, 1)
    session.commit()
    for go, num_open in ((session.undo, 16), (session.redo, 0)):
        go()
        assert session.num_open_voxels == num_open


def test_a_lock_is_taken_back_with_the_commit_that_it_made(beating):
    _, session = beating
    session.new_object("b")
    session.add_box(2, (0, 0, 4, 4))
    session.change_object(2, is_locked=True)
    session.undo()
    assert told(session, "is_locked", "is_committed") == [(False, True), (False, False)]
    assert session.num_open_voxels == 16


def test_an_object_with_a_mask_at_another_time_is_not_taken_for_a_new_one(beating):
    viewer, session = beating
    shown = ObjectList(session=session)
    viewer.dims.set_current_step(0, 1)
    shown.refresh()
    assert shown._new.isEnabled()
    shown._new.click()
    assert told(session, "object_id", "name", "class_id") == [(1, "a", 1), (2, "object 2", None)]
    shown.refresh()
    assert not shown._new.isEnabled()
    assert session.new_object("b") == 2  # nothing of it is anywhere
    viewer.dims.set_current_step(0, 0)
    assert told(session, "object_id", "name") == [(1, "a"), (2, "b")]


def test_an_object_is_deleted_at_the_time_that_is_shown(beating, notices):
    viewer, session = beating
    viewer.dims.set_current_step(0, 1)
    session.add_box(2, (8, 8, 12, 12))
    session.delete_object()
    assert notices[-1] == "info: 'a' is still at 1 other time point"
    assert told(session, "name", "num_voxels") == [("a", 0)]
    assert not session.prompts.all
    assert not session.has_mask
    num_steps = len(session._annotation.history.done)
    session.delete_object()  # there is nothing here to delete
    assert len(session._annotation.history.done) == num_steps
    assert session.new_object("b") == 2
    session.add_box(2, (8, 8, 12, 12))
    session.commit()
    viewer.dims.set_current_step(0, 0)
    assert told(session, "name", "num_voxels") == [("a", 100), ("b", 0)]
    assert np.unique(labels(viewer)[:2].reshape(2, -1).max(axis=1)).tolist() == [1, 2]
    viewer.dims.set_current_step(0, 1)
    for _ in range(4):  # commit, prompt, new, delete
        session.undo()
    assert told(session, "name") == [("a",)]
    assert session.num_open_voxels == 16


def test_what_is_nowhere_any_more_is_gone_from_all_times(beating):
    viewer, session = beating
    assert session.new_object("b", class_id=3) == 2
    session.add_box(3, (0, 0, 4, 4))
    viewer.dims.set_current_step(0, 1)
    session.add_box(3, (0, 0, 4, 4))
    session.undo()
    viewer.dims.set_current_step(0, 0)
    session.delete_object()
    for time in (1, 2, 0):
        viewer.dims.set_current_step(0, time)
        assert told(session, "name") == [("a",)]
    assert session.new_object("c") == 3  # the other time point may go forth again
    viewer.dims.set_current_step(0, 1)
    session.redo()
    assert told(session, "object_id", "name", "class_id") == [(1, "a", 1), (2, "b", 3), (3, "c", None)]
    assert session.num_open_voxels == 16


def test_to_take_a_new_object_back_leaves_it_where_it_has_a_mask(beating):
    viewer, session = beating
    session.new_object("b", class_id=3)
    viewer.dims.set_current_step(0, 1)
    session.add_box(3, (0, 0, 4, 4))
    session.commit()
    viewer.dims.set_current_step(0, 0)
    session.undo()
    assert told(session, "name", "class_id", "num_voxels") == [("a", 1, 100), ("b", 3, 0)]
    viewer.dims.set_current_step(0, 1)
    session.undo()
    session.undo()
    assert told(session, "name") == [("a",)]  # it is nowhere
    session.redo()
    viewer.dims.set_current_step(0, 0)
    assert told(session, "name", "class_id") == [("a", 1), ("b", 3)]


def test_objects_of_a_loaded_session_are_the_same_at_all_times(beating, tmp_path):
    viewer, session = beating
    viewer.dims.set_current_step(0, 1)
    session.new_object("b")
    session.add_box(3, (0, 0, 4, 4))
    session.save(tmp_path / "heart.zip")
    session.load(tmp_path / "heart.zip", overwrite=True)
    session.change_object(1, name="c", is_locked=True)
    viewer.dims.set_current_step(0, 0)
    assert told(session, "name", "is_locked", "num_voxels") == [("c", True, 100), ("b", False, 0)]
    assert session.new_object() == 3
    viewer.dims.set_current_step(0, 1)
    session.undo()
    assert told(session, "name", "is_locked") == [("a", False), ("b", False), ("object 3", False)]


def acts(viewer, session, pick):
    ids = [record.object_id for record in session.objects]
    z, y, x = (pick(range(size - 6)) if size > 6 else pick(range(size)) for size in SHAPE[1:])
    return {
        "time": lambda: viewer.dims.set_current_step(0, pick(range(3))),
        "box": lambda: session.add_box(z, (y, x, y + 6, x + 6)),
        "paint": lambda: viewer.layers[LABELS_NAME].paint((session.time, z, y, x), pick([0, *ids])),
        "new": lambda: session.new_object(class_id=pick([None, 1, 2])),
        "select": lambda: session.select(pick(ids)),
        "commit": session.commit,
        "rename": lambda: session.change_object(pick(ids), name=f"{y} {x}"),
        "lock": lambda: session.change_object(pick(ids), is_locked=pick([True, False])),
        "lock class": lambda: session.lock_class(pick([1, 2]), pick([True, False])),
        "policy": lambda: setattr(session, "commit_policy", CommitPolicy(overwrite=pick([True, False]))),
        "delete": session.delete_object,
        "undo": session.undo,
        "redo": session.redo,
    }


def state_of(session):
    """Of each time point: its objects, and both label maps. Which is the current one elsewhere is nobody's step."""
    shown = session._annotation
    tables = [one.table if one is shown else one.table.with_current(shown.object_id) for one in shown.times]
    masks = [(one.committed.label_map.copy(), one.edited.label_map.copy()) for one in shown.times]
    return tables, masks


def assert_same(state, other):
    assert state[0] == other[0]
    np.testing.assert_array_equal(state[1], other[1])


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_whatever_is_done_objects_stay_the_same_and_locked_ones_untouched(beating, seed):
    viewer, session = beating
    chance = random.Random(seed)
    weights = {"time": 3, "box": 2, "undo": 3}
    for _ in range(100):
        known = acts(viewer, session, chance.choice)
        name = chance.choices(list(known), [weights.get(one, 1) for one in known])[0]
        locked = {record.object_id for record in session.objects if record.is_locked}
        before = [viewer.layers[layer].data.copy() for layer in (LABELS_NAME, OBJECT_NAME)]
        can_go = {"undo": session.can_undo, "redo": session.can_redo}
        state = state_of(session)
        try:
            known[name]()
        except InputError:
            continue
        times = session._annotation.times
        for one in times:
            one.share()
        if can_go.get(name):  # there and back again is nothing, whatever was done at other time points
            after = state_of(session)
            known["redo" if name == "undo" else "undo"]()
            assert_same(state_of(session), state)
            known[name]()
            assert_same(state_of(session), after)
        after = [viewer.layers[layer].data for layer in (LABELS_NAME, OBJECT_NAME)]
        for object_id in locked & {record.object_id for record in session.objects if record.is_locked}:
            was, now = (
                np.any([one == object_id for one in label_maps], axis=0) for label_maps in (before, after)
            )
            np.testing.assert_array_equal(was, now, name)
        for one in times:
            assert shared_of(one.table) == shared_of(times[0].table), name
            counts = np.bincount(one.committed.label_map.ravel(), minlength=max(one.table.records) + 1)
            assert {label for label in np.flatnonzero(counts) if label} <= one.table.records.keys(), name
            for object_id, record in one.table.records.items():
                assert record.num_voxels == counts[object_id], name
