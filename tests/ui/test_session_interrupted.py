"""What the user does while something runs, and behind our back with napari's own tools."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import BOXES_NAME, LABELS_NAME, OBJECT_NAME, POINTS_NAME


@pytest.fixture
def busy(make_session, service):
    """A session with a mask on slice 1 whose worker is held in the first slice of a propagation."""
    viewer, session = make_session(synchronous=False)
    session.new_object(class_id=3)
    session.add_box(1, (5, 5, 15, 15))
    assert session.wait(60)
    service.hold()
    session.propagate()
    assert service.entered.wait(60)
    return viewer, session


def finish(session, service):
    service.gate.set()
    assert session.wait(60)


@pytest.mark.parametrize(
    "go_on",
    [
        lambda session: session.propagate(),
        lambda session: session.commit(),
        lambda session: session.new_object(),
        lambda session: (session.undo(), session.redo()),
    ],
)
def test_a_correction_in_mid_propagation_is_answered_whatever_comes_next(busy, service, go_on):
    _, session = busy
    session.add_box(8, (20, 20, 30, 30))
    go_on(session)
    finish(session, service)
    there = session.label_map()[8] == 1
    assert there[20:30, 20:30].all()
    assert there.sum() == 100


@pytest.mark.parametrize(
    "go_on",
    [
        lambda session: session.new_object(),
        lambda session: session.commit(),
        lambda session: session.select(2),
        lambda session: session.clear_prompts(everywhere=True),
        lambda session: session.clean_up(fill_holes=True),
        lambda session: session.add_labels(np.full((12, 40, 50), 5)),
    ],
)
def test_a_propagation_that_something_else_cuts_off_is_told_of(make_session, service, notices, go_on):
    _, session = make_session()
    session.add_box(0, (25, 25, 35, 35))
    session.new_object()
    session.add_box(6, (5, 5, 25, 25))
    session.select(1)
    session.change_object(1, name="liver")
    done = []

    def count(object_id, plane):
        done.append(plane.index)
        if len(done) == 3:
            go_on(session)

    session.events.mask_changed.connect(count)
    session.propagate("up")
    assert len(done) < 8, "what was cleared is told of, too"
    (said,) = notices
    assert said.startswith(
        "warning: Propagation of 'liver' was stopped after 3 of at most 11 slices: go back to it"
    )


@pytest.mark.parametrize(
    "go_on",
    [
        lambda session: session.undo(),
        lambda session: session.cancel(),
        lambda session: (session.propagate("up"), session.cancel()),
        lambda session: (session.cancel(), session.new_object()),
    ],
)
def test_who_stops_a_propagation_need_not_be_told(busy, service, notices, go_on):
    _, session = busy
    go_on(session)
    finish(session, service)
    assert not notices


def test_a_propagation_that_never_began_is_told_of(make_session, service, notices):
    _, session = make_session(synchronous=False)
    service.hold()
    session.add_box(1, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.propagate()
    session.new_object()
    finish(session, service)
    assert "'object 1' was stopped before it began" in notices[0]


@pytest.mark.parametrize(
    "lock", [lambda session: session.change_object(1, is_locked=True), lambda session: session.lock_class(3)]
)
def test_what_is_locked_while_it_runs_stays_as_it_is(busy, service, lock):
    viewer, session = busy
    session.add_box(8, (20, 20, 30, 30))
    lock(session)
    before = session.label_map()
    finish(session, service)
    np.testing.assert_array_equal(session.label_map(), before)
    assert not viewer.layers[OBJECT_NAME].data.any()


@pytest.mark.parametrize(
    "back",
    [
        lambda session: (session.undo(), session.redo()),
        lambda session: (session.remove_prompt(session.prompts.boxes[0]), session.undo()),
        lambda session: (session.cancel(), session.segment()),
        lambda session: (session.cancel(), session.propagate(z_range=(4, 5))),
    ],
)
def test_prompts_that_lost_their_answer_are_asked_about_again(make_session, service, back):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    back(session)
    finish(session, service)
    mask = viewer.layers[OBJECT_NAME].data
    assert (mask[4, 5:15, 5:15] == 1).all()
    session.undo()
    session.undo()
    assert not mask.any(), "the answer belongs to a step"


@pytest.mark.parametrize("is_failing", [False, True])
def test_steps_back_and_forth_do_not_ask_what_was_left_without_an_answer(make_session, service, is_failing):
    viewer, session = make_session(synchronous=False)
    session.add_box(5, (5, 5, 15, 15))
    assert session.wait(60)
    viewer.dims.order = (1, 0, 2)
    if is_failing:
        service.error = InputError("the image cannot be read")
        session.add_box(10, (2, 5, 9, 15))
    else:
        service.hold()
        session.add_box(10, (2, 5, 9, 15))
        session.cancel()
    finish(session, service)
    service.error = None
    viewer.dims.order = (0, 1, 2)
    session.add_box(7, (20, 20, 30, 30))
    finish(session, service)
    before, num_asked = session.label_map(), len(service.requests)
    for go in (session.undo, session.redo):
        for _ in range(3):
            go()
            finish(session, service)
    np.testing.assert_array_equal(session.label_map(), before)
    assert len(service.requests) == num_asked
    assert session.has_unasked_prompts
    session.segment()
    finish(session, service)
    assert session.label_map()[3, 10, 10], "who wants to know asks"


def test_a_click_is_taken_back_before_its_answer(make_session, service):
    _, session = make_session(synchronous=False)
    session.add_box(4, (5, 5, 15, 15))
    finish(session, service)
    before, num_asked = session.label_map(), len(service.requests)
    service.hold()
    session.add_point((4, 30, 30))
    assert service.entered.wait(60)
    session.undo()
    finish(session, service)
    assert len(service.requests) == num_asked + 1, "the mask is the answer to the prompts that are left"
    np.testing.assert_array_equal(session.label_map(), before)
    assert not session.has_unasked_prompts
    session.redo()
    finish(session, service)
    assert session.label_map()[4, 30, 30]


def test_of_two_prompts_without_an_answer_each_is_asked_about_when_it_comes_back(make_session, service):
    _, session = make_session(synchronous=False)
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.add_point((4, 30, 30))
    session.undo()
    finish(session, service)
    assert session.label_map()[4, [10, 30], [10, 30]].tolist() == [1, 0]
    session.redo()
    finish(session, service)
    assert session.label_map()[4, [10, 30], [10, 30]].tolist() == [1, 1]
    session.undo()
    session.undo()
    assert not session.label_map().any()


def test_prompts_that_come_back_while_others_are_asked_about_are_asked_about(make_session, service):
    _, session = make_session(synchronous=False)
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.add_point((4, 30, 30))
    session.undo()
    session.redo()
    finish(session, service)
    assert session.label_map()[4, [10, 30], [10, 30]].tolist() == [1, 1]


def test_prompts_that_are_removed_again_get_no_answer(make_session, service):
    _, session = make_session(synchronous=False)
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.remove_prompt(session.prompts.boxes[0])
    session.undo()
    session.redo()
    finish(session, service)
    assert not session.label_map().any()
    session.undo()
    finish(session, service)
    assert session.label_map()[4, 10, 10]


def test_another_image_meanwhile_and_back(make_session, service):
    viewer, session = make_session(synchronous=False)
    first, other = session.image, viewer.add_image(np.zeros((3, 9, 9)))
    service.hold()
    session.add_box(4, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.set_image(other)
    session.set_image(first)
    finish(session, service)
    assert viewer.layers[OBJECT_NAME].data[4, 10, 10] == 1


def test_logits_of_a_window_before_are_no_hint(make_session, service):
    _, session = make_session(synchronous=False)
    service.hold()
    session.add_box(1, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.set_window("0,100")
    finish(session, service)
    session.add_point((1, 10, 10))
    assert session.wait(60)
    assert service.requests[-1].previous_logits is None
    assert service.requests[-1].prompts.mask is not None


@pytest.mark.parametrize(
    "change", [lambda session: session.propagate(), lambda session: session.clean_up(largest_component=True)]
)
def test_to_go_on_with_a_committed_object_is_one_step(make_session, change):
    viewer, session = make_session()
    session.add_box(3, (5, 5, 15, 15))
    session.add_point((3, 30, 30))
    session.commit()
    layers = [viewer.layers[LABELS_NAME], viewer.layers[OBJECT_NAME]]
    before, objects = [layer.data.copy() for layer in layers], session.objects
    change(session)
    after = [layer.data.copy() for layer in layers]
    assert not after[0].any()
    session.undo()
    assert session.objects == objects
    np.testing.assert_array_equal([layer.data for layer in layers], before)
    session.redo()
    np.testing.assert_array_equal([layer.data for layer in layers], after)


def test_a_committed_object_that_needs_no_propagation_stays_committed(make_session):
    viewer, session = make_session()
    session.add_box(3, (5, 5, 15, 15))
    session.propagate()
    session.commit()
    before = viewer.layers[LABELS_NAME].data.copy()
    session.propagate()
    np.testing.assert_array_equal(viewer.layers[LABELS_NAME].data, before)


@pytest.mark.parametrize("is_committed", [False, True])
def test_slices_of_the_users_along_another_axis_are_not_propagated_over(make_session, is_committed):
    viewer, session = make_session()
    viewer.dims.order = (1, 0, 2)
    session.add_box(20, (2, 10, 10, 20))
    viewer.dims.order = (0, 1, 2)
    session.add_box(5, (15, 5, 30, 45))
    if is_committed:
        session.new_object()
    before = session.label_map()
    session.propagate(objects=[1])
    after = session.label_map()
    np.testing.assert_array_equal(after[:, 20], before[:, 20])
    assert after[8, 21].any()


def test_prompts_count_while_one_of_the_layers_is_gone(make_session):
    viewer, session = make_session()
    session.add_point((1, 10, 10))
    viewer.layers.remove(viewer.layers[POINTS_NAME])
    viewer.layers.remove(viewer.layers[LABELS_NAME])
    corners = np.array([[3, 5, 5], [3, 5, 15], [3, 15, 15], [3, 15, 5]])
    viewer.layers[BOXES_NAME].add_rectangles(corners - (0, 0.5, 0.5))
    assert LABELS_NAME in viewer.layers
    mask = viewer.layers[OBJECT_NAME].data
    assert mask[3, 5:15, 5:15].all()
    assert mask[1, 10, 10]
    assert len(viewer.layers[BOXES_NAME].data) == len(viewer.layers[POINTS_NAME].data) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda session: session.add_point((1, 2, 3, 4)),
        lambda session: session.add_point((20, 30)),
        lambda session: session.add_point("here"),
        lambda session: session.add_box(3, (1, 2, 3)),
        lambda session: session.set_window(None),
        lambda session: session.set_window((5, 1)),
        lambda session: session.propagate(z_range=(5, 2)),
        lambda session: session.propagate(z_range=(3.5, 6)),
        lambda session: session.propagate(z_range=5),
        lambda session: session.new_object(class_id=-1),
        lambda session: session.change_object(1, class_id="liver"),
    ],
)
def test_what_is_no_position_box_or_window_is_an_input_error(make_session, call):
    _, session = make_session()
    session.add_box(3, (5, 5, 20, 20))
    objects = session.objects
    with pytest.raises(InputError):
        call(session)
    assert session.objects == objects
    session.set_window((0, 100))
    assert session.window == "0,100"


def test_our_layers_go_where_the_image_goes(make_session):
    _, session = make_session()
    session.add_point((3, 10, 10))
    session.image.scale = (4, 2, 2)
    session.image.translate = (1, 2, 3)
    for layer in session.own_layers:
        np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), session.image.data_to_world((1, 2, 3)))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_the_slice_of_a_turned_image_is_the_one_that_napari_shows(make_session, order):
    turn = np.deg2rad(10)
    rotate = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    viewer, session = make_session(rotate=rotate, scale=(3, 1, 1))
    viewer.dims.order = order
    for index in (1, 7):
        session.go_to(index)
        assert session.slice_index == index
        assert round(session.image._data_slice.point[order[0]]) == index


def test_naparis_own_undo_does_nothing_behind_ours(make_session):
    viewer, session = make_session()
    session.add_box(3, (5, 5, 15, 15))
    session.commit()
    labels = viewer.layers[LABELS_NAME]
    labels.paint((3, 25, 25), 1)
    session.change_object(1, is_locked=True)
    labels.paint((3, 10, 10), 0)  # is put back
    before = labels.data.copy()
    labels.undo()
    labels.redo()
    np.testing.assert_array_equal(labels.data, before)


def test_naparis_keys_for_strokes_are_our_steps(make_session, qtbot):
    viewer, session = make_session(show=True)
    session.add_box(3, (5, 5, 15, 15))
    painted = viewer.layers[OBJECT_NAME]
    painted.paint((3, 30, 30), 1)
    viewer.layers.selection.active = painted
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, "z", _modifiers("Control"))
    assert not painted.data[3, 30, 30]
    assert painted.data[3, 10, 10]
    qtbot.keyClick(canvas, "z", _modifiers("Control", "Shift"))
    assert painted.data[3, 30, 30] == 1


def _modifiers(*names):
    from qtpy.QtCore import Qt

    found = Qt.KeyboardModifier.NoModifier
    for name in names:
        found |= getattr(Qt.KeyboardModifier, f"{name}Modifier")
    return found


def test_a_propagation_of_which_nothing_comes_is_no_step(make_session, service):
    _, session = make_session()
    session.add_box(5, (5, 5, 15, 15))
    session.add_point((5, 30, 30))
    session.undo()
    service.error = InputError("the image cannot be read")
    session.propagate()
    assert [step.kind for step in session._annotation.history.done] == ["prompt"]
    service.error = None
    session.redo()
    assert session.label_map()[5, 30, 30], "what was taken back before can be done again"


def test_an_image_without_contrast_is_told_of_once_and_what_to_do(make_session, notices):
    _, session = make_session(np.full((4, 30, 30), 7, np.int16), real=True)
    session.prepare()
    session.add_box(2, (5, 5, 20, 20))
    (said,) = notices
    assert "every value is 7. Open the right file, channel or time point" in said


def test_a_propagation_that_adds_nothing_says_so(make_session, service, notices, monkeypatch):
    _, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    answer = service.segment
    nothing = np.zeros((40, 50), bool)
    monkeypatch.setattr(
        service, "segment", lambda request: replace(answer(request), mask=nothing, region=Region(0, 0, 0, 0))
    )
    session.propagate()
    (said,) = notices
    assert said.startswith("info: Propagation of 'object 1' added no slice: as far as the model sees")
    assert [step.kind for step in session._annotation.history.done] == ["prompt"]
