"""What a script, or a user in a hurry, may do to a session at the worst moment: steps back stay exact."""

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}


@pytest.fixture
def held(make_session, service):
    """A session with a mask on slice 1 that was propagated; the worker is held in the first slice of the next one."""
    service.segment_many = lambda requests: [service.segment(request) for request in requests]
    viewer, session = make_session(synchronous=False)
    session.set_propagation(**HOW)
    session.add_box(1, (5, 5, 15, 15))
    session.propagate(z_range=(0, 10))
    assert session.wait(60)
    before = everything(session)
    service.hold()
    session.propagate(z_range=(0, 12))
    assert service.entered.wait(60)
    return viewer, session, before


def finish(session, service):
    service.gate.set()
    assert session.wait(60)


def on_answer(session, plane, do):
    """Do something as soon as a slice has another mask, once."""

    def told(_, changed):
        if changed == plane:
            session.events.mask_changed.disconnect(told)
            do()

    session.events.mask_changed.connect(told)


def everything(session):
    return session.objects, [np.array(layer.data) for layer in session.own_layers[:2]]


def is_same(state, other):
    return state[0] == other[0] and np.array_equal(state[1], other[1])


def assert_steps_are_exact(session, *met):
    """All steps back, forth, and back again: everything is as it was each time; these states are among them."""
    states = [everything(session)]
    while session.can_undo:
        session.undo()
        states.append(everything(session))
    assert not np.any(states[-1][1])
    for known in states[-2::-1]:
        session.redo()
        assert is_same(everything(session), known)
    for known in states[1:]:
        session.undo()
        assert is_same(everything(session), known)
    for known in met:
        assert any(is_same(known, state) for state in states)


def test_a_box_that_comes_and_goes_in_mid_propagation(held, service):
    _, session, before = held
    session.add_box(8, (20, 20, 30, 30))
    on_answer(session, SlicePlane(0, 8), lambda: session.remove_prompt(session.prompts.boxes[-1]))
    finish(session, service)
    assert session.label_map()[8, 5:15, 5:15].all()
    assert not session.label_map()[8, 20:30, 20:30].any()
    assert_steps_are_exact(session, before)


def test_a_box_along_another_axis_that_comes_and_goes_in_mid_propagation(held, service):
    viewer, session, before = held
    viewer.dims.order = (1, 0, 2)
    session.add_box(9, (2, 10, 8, 20))
    on_answer(session, SlicePlane(1, 9), lambda: session.remove_prompt(session.prompts.boxes[-1]))
    finish(session, service)
    assert_steps_are_exact(session, before)


@pytest.mark.parametrize("value", [0, 1, 2])
def test_committed_objects_that_are_painted_in_mid_propagation(held, service, value):
    viewer, session, _ = held
    finish(session, service)
    session.new_object()
    session.add_box(1, (20, 20, 30, 30))
    session.new_object()
    assert session.wait(60)
    service.hold()
    session.propagate(objects=[1, 2], z_range=(0, 12), box_extension=1)
    assert service.entered.wait(60)
    viewer.layers[LABELS_NAME].paint((5, 10, 10), value)
    session.change_object(2, name="other")
    finish(session, service)
    counts = np.bincount(viewer.layers[LABELS_NAME].data.ravel(), minlength=4)
    assert [one.num_voxels for one in session.objects] == counts[1:4].tolist()
    session.undo()
    counts = np.bincount(viewer.layers[LABELS_NAME].data.ravel(), minlength=4)
    assert [one.num_voxels for one in session.objects] == counts[1:4].tolist()
    session.redo()
    assert_steps_are_exact(session)


@pytest.mark.parametrize("value", [0, 1])
def test_strokes_on_a_slice_whose_answer_is_still_to_come(make_session, service, value):
    viewer, session = make_session(synchronous=False)
    session.add_box(4, (5, 5, 9, 9))
    assert session.wait(60)
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    layer = viewer.layers[OBJECT_NAME]
    layer.brush_size = 1
    layer.paint((4, 7, 7), value)
    layer.paint((4, 25, 25), 1)
    finish(session, service)
    assert layer.data[4, 25, 25] == 1
    assert layer.data[4, 7, 7] == value
    assert layer.data[4, 12, 12] == 1, "the answer came, too"
    assert_steps_are_exact(session)


def test_answers_along_two_axes_that_come_in_another_order(make_session, service):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    viewer.dims.order = (1, 0, 2)
    session.add_box(6, (2, 8, 7, 20))
    viewer.dims.order = (2, 0, 1)
    session.add_box(12, (3, 3, 8, 20))
    finish(session, service)
    assert_steps_are_exact(session)


NONSENSE = (
    *(b"x", float("nan"), 1.5, 1j, {}, object(), ["a"], [None], (float("nan"),) * 4, (4, 3, 2, 1)),
    *([(1, 2), (3, 4, 5)], np.array([]), np.zeros((2, 2, 2)), np.array(["a", "b"])),
)
"""What is neither a slice, nor a place or an area on one, nor a name, a class, a layer or a choice."""

_BOX, _PATH, _MASK = (5, 5, 20, 20), [(5, 5), (20, 20), (5, 20)], np.ones((40, 50))

CALLS = {
    "add_point": lambda session, given: session.add_point(given),
    "add_point, sign": lambda session, given: session.add_point((3, 5, 5), given),
    "add_box": lambda session, given: session.add_box(3, given),
    "add_box, slice": lambda session, given: session.add_box(given, _BOX),
    "add_scribble": lambda session, given: session.add_scribble(3, given),
    "add_scribble, slice": lambda session, given: session.add_scribble(given, _PATH),
    "add_lasso": lambda session, given: session.add_lasso(3, given),
    "add_lasso, slice": lambda session, given: session.add_lasso(given, _PATH),
    "add_mask": lambda session, given: session.add_mask(3, given),
    "add_mask, slice": lambda session, given: session.add_mask(given, _MASK),
    "add_mask_of": lambda session, given: session.add_mask_of(given),
    "remove_prompt": lambda session, given: session.remove_prompt(given),
    "tool": lambda session, given: setattr(session, "tool", given),
    "is_live": lambda session, given: setattr(session, "is_live", given),
    "set_image": lambda session, given: session.set_image(given),
    "set_window": lambda session, given: session.set_window(given),
    "set_zoom": lambda session, given: session.set_zoom(given),
    "set_embeddings_folder": lambda session, given: session.set_embeddings_folder(given),
    "window": lambda session, given: session.windowing.set_range(given, given),
    "follow_contrast": lambda session, given: setattr(session.windowing, "follow_contrast", given),
    "new_object": lambda session, given: session.new_object(given),
    "new_object, class": lambda session, given: session.new_object(class_id=given),
    "name": lambda session, given: session.change_object(1, name=given),
    "is_locked": lambda session, given: session.change_object(1, is_locked=given),
    "select": lambda session, given: session.select(given),
    "size_of": lambda session, given: session.size_of(given),
    "lock_class": lambda session, given: session.lock_class(given),
    "set_classes": lambda session, given: session.set_classes(given),
    "load_classes": lambda session, given: session.load_classes(given),
    "commit_policy": lambda session, given: setattr(session, "commit_policy", given),
    "commit_policy, class": lambda _, given: CommitPolicy(inside_class=given),
    "add_labels": lambda session, given: session.add_labels(given),
    "go_to": lambda session, given: session.go_to(given),
    "propagate": lambda session, given: session.propagate(given),
    "propagate, range": lambda session, given: session.propagate(z_range=given),
    "mode": lambda session, given: session.set_propagation(mode=given),
    "iou_threshold": lambda session, given: session.set_propagation(iou_threshold=given),
    "smooth_mm": lambda session, given: session.clean_up(smooth_mm=[given]),
    "fill_holes": lambda session, given: session.clean_up(fill_holes=given),
    "setting": lambda session, given: session.clean_up(nonsense=given),
    "review_within": lambda session, given: session.review_within([given]),
    "save": lambda session, given: session.save(given),
    "load": lambda session, given: session.load(given),
    "save_labels": lambda session, given: session.save_labels(given),
    "save_effort": lambda session, given: session.save_effort(given),
    "save_measurements": lambda session, given: session.save_measurements(given),
}


def is_refused(call, session, given):
    try:
        call(session, given)
    except InputError:
        return True
    return False


def test_nonsense_is_an_input_error_and_changes_nothing(make_session):
    _, session = make_session()
    session.add_box(3, (5, 5, 20, 20))
    before, steps = everything(session), list(session._annotation.history.done)
    accepted = [
        (name, given)
        for name, call in CALLS.items()
        for given in NONSENSE
        if not is_refused(call, session, given)
    ]
    slices = [name for name in CALLS if name.endswith("slice")]
    others = (
        "add_point",
        "add_box",
        "add_scribble",
        "add_lasso",
        "add_mask",
        "go_to",
        "select",
        "lock_class",
    )
    for name in (*slices, *others):
        accepted += [(name, given) for given in ("a", None) if not is_refused(CALLS[name], session, given)]
    for name in (*slices, "go_to", "select"):
        accepted += [
            (name, given) for given in (-1, 12, 10**30) if not is_refused(CALLS[name], session, given)
        ]
    assert not accepted
    assert is_same(everything(session), before)
    assert session._annotation.history.done == steps


def test_numbers_of_any_kind_are_numbers(make_session):
    """A box extension of uint8 once made the box overflow."""
    _, session = make_session()
    session.add_box(np.float64(3), (5, 5, 20, 20))
    session.propagate(
        box_extension=np.uint8(8), mode="box", iou_threshold=0, min_confidence=0, z_range=(2, 5)
    )
    session.go_to(np.uint8(4))
    assert session.label_map()[4].any()
    session.select(np.uint16(1))
    assert session.object_id == 1


def test_a_mask_is_an_image_too():
    mask = np.zeros((3, 40, 40), dtype=bool)
    mask[:, 10:30, 10:30] = True
    mapping = resolve_intensity("auto", mask)
    np.testing.assert_array_equal(mapping.to_uint8(mask[1]), np.where(mask[1], 255, 0))
