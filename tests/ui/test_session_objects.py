"""Objects: committed, reopened, locked, deleted, and every step back and forth."""

from itertools import pairwise

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.io.session_files import read_session
from napari_medicosam.ui.layers import BOXES_NAME, LABELS_NAME, OBJECT_NAME, POINTS_NAME


def state(viewer, session):
    """All that a user sees."""
    return (
        viewer.layers[OBJECT_NAME].data.copy(),
        viewer.layers[LABELS_NAME].data.copy(),
        session.prompts,
        session.object_id,
        session.objects,
        len(viewer.layers[BOXES_NAME].data),
        len(viewer.layers[POINTS_NAME].data),
    )


def check_counts(viewer, session):
    """What the objects say they have is what the label map has."""
    committed = viewer.layers[LABELS_NAME].data
    for record in session.objects:
        assert record.num_voxels == np.count_nonzero(committed == record.object_id), record


def same(one, other):
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in zip(one, other, strict=True)
    )


def test_commit_moves_the_mask_and_a_prompt_opens_it_again(make_session):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    edited, committed = viewer.layers[OBJECT_NAME].data, viewer.layers[LABELS_NAME].data
    assert session.commit() == 100
    assert not edited.any()
    assert committed[2, 5:15, 5:15].all()
    assert session.objects[0].is_committed
    with pytest.raises(InputError, match="nothing to commit"):
        session.commit()
    session.add_point((2, 20, 20))
    assert not committed.any()
    assert edited[2, 10, 10] == edited[2, 20, 20] == 1
    assert not session.objects[0].is_committed


def test_every_step_back_and_forth_is_the_same_to_the_last_voxel(make_session):
    viewer, session = make_session()
    session.tool = "box"
    states = [state(viewer, session)]
    steps = [
        lambda: session.add_box(6, (5, 5, 25, 25)),
        lambda: session.add_point((6, 10, 10), positive=False),
        lambda: session.propagate(mode="box", box_extension=0.0),
        session.commit,
        lambda: session.new_object("lesion"),
        lambda: session.add_box(3, (20, 20, 30, 40)),
        lambda: session.add_scribble(3, [(30, 30), (30, 45)]),
        lambda: session.select(1),
        lambda: session.add_lasso(4, [(1, 1), (1, 9), (9, 9), (9, 1)]),
        lambda: session.change_object(2, class_id=7, is_locked=True),
        lambda: session.clear_prompts(everywhere=True),
        lambda: session.delete_object(),
    ]
    for step in steps:
        step()
        states.append(state(viewer, session))
        check_counts(viewer, session)
    assert not any(same(one, other) for one, other in pairwise(states))
    for expected in reversed(states[:-1]):
        session.undo()
        assert same(state(viewer, session), expected)
    assert not session.can_undo
    for expected in states[1:]:
        session.redo()
        assert same(state(viewer, session), expected)
    assert not session.can_redo


def test_voxels_that_another_plugin_wrote_are_committed_too(make_session):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    viewer.layers[OBJECT_NAME].data[9, 30:33, 40:43] = 1  # no event tells of this
    assert session.commit() == 109
    assert viewer.layers[LABELS_NAME].data[9, 31, 41] == 1
    assert not viewer.layers[OBJECT_NAME].data.any()


def test_the_default_never_touches_other_objects(make_session):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.new_object()
    session.add_box(2, (10, 10, 25, 25))
    edited, committed = viewer.layers[OBJECT_NAME].data, viewer.layers[LABELS_NAME].data
    assert not edited[2, 10:15, 10:15].any()
    assert session.commit() == 15 * 15 - 5 * 5
    assert (committed[2, 5:15, 5:15] == 1).all()


def test_overwriting_takes_from_the_unlocked_alone(make_session):
    viewer, session = make_session()
    for box in ((5, 5, 15, 15), (20, 20, 30, 30)):
        session.add_box(2, box)
        session.new_object()
    session.change_object(2, is_locked=True)
    session.commit_policy = CommitPolicy(overwrite=True)
    session.add_box(2, (5, 5, 30, 30))
    session.commit()
    committed = viewer.layers[LABELS_NAME].data[2]
    assert (committed[5:15, 5:15] == 3).all()
    assert (committed[20:30, 20:30] == 2).all()
    check_counts(viewer, session)


def test_a_tumour_stays_in_its_organ(make_session):
    viewer, session = make_session()
    session.change_object(1, class_id=5)
    session.add_box(2, (5, 5, 20, 20))
    session.new_object("tumour", class_id=6)
    session.commit_policy = CommitPolicy(inside_class=5)
    session.add_box(2, (10, 10, 30, 30))
    assert session.commit() == 100
    assert (viewer.layers[LABELS_NAME].data[2, 10:20, 10:20] == 2).all()
    session.new_object()
    session.add_box(2, (30, 30, 35, 35))
    with pytest.raises(InputError, match="nothing to commit"):
        session.commit()


@pytest.fixture
def organ(make_session):
    """An organ, object 1 of class 5, on slice 2; object 2 may be inside it only."""
    viewer, session = make_session()
    session.change_object(1, class_id=5)
    session.add_box(2, (5, 5, 20, 20))
    session.new_object("tumour", class_id=6)
    session.commit_policy = CommitPolicy(inside_class=5)
    return viewer, session


def test_where_no_organ_is_there_is_no_tumour_and_that_is_said(organ, notices):
    viewer, session = organ
    session.add_box(4, (5, 5, 15, 15))
    assert not viewer.layers[OBJECT_NAME].data.any()
    assert "Overlap" in notices[-1]


def test_what_a_correction_takes_from_a_tumour_is_its_organs_again(organ):
    viewer, session = organ
    committed = viewer.layers[LABELS_NAME].data
    whole = committed.copy()
    session.add_box(2, (10, 10, 30, 30))
    session.commit()
    before = committed.copy()
    session.commit_policy = CommitPolicy()  # it is known what was taken, whatever the policy is by now
    session.add_box(2, (12, 12, 15, 15))
    assert {one.object_id: one.num_voxels for one in session.objects} == {1: 125, 2: 0}
    assert np.count_nonzero(session.label_map() == 1) == 225 - 9  # as it will be
    session.commit()
    check_counts(viewer, session)
    assert np.count_nonzero(committed == 2) == 9
    np.testing.assert_array_equal(committed != 0, whole != 0)
    after = committed.copy()
    session.undo()
    session.undo()
    np.testing.assert_array_equal(committed, before)
    check_counts(viewer, session)
    session.redo()
    session.redo()
    np.testing.assert_array_equal(committed, after)
    session.delete_object()
    np.testing.assert_array_equal(committed, whole)


def test_what_was_taken_is_in_a_session(organ, tmp_path):
    viewer, session = organ
    whole = viewer.layers[LABELS_NAME].data.copy()
    session.add_box(2, (10, 10, 30, 30))
    session.commit()
    session.add_box(2, (12, 12, 15, 15))
    expected = session.label_map()
    session.save(tmp_path / "open.zip")
    session.load(tmp_path / "open.zip", overwrite=True)
    np.testing.assert_array_equal(read_session(tmp_path / "open.zip").merged()[0], expected)
    np.testing.assert_array_equal(session.label_map(), expected)
    session.commit()
    np.testing.assert_array_equal(session.label_map(), expected)
    session.delete_object()
    np.testing.assert_array_equal(viewer.layers[LABELS_NAME].data, whole)


def test_a_tumour_whose_organ_is_locked_meanwhile_stays_as_it_is(organ):
    viewer, session = organ
    edited = viewer.layers[OBJECT_NAME]
    session.add_box(2, (10, 10, 30, 30))
    session.commit()
    session.select(1)
    session.select(2)
    session.change_object(1, is_locked=True)
    edited.data_setitem((np.array([2]), np.array([10]), np.array([10])), 0)
    assert np.count_nonzero(edited.data) == 99
    assert session.commit() == 99
    assert np.count_nonzero(viewer.layers[LABELS_NAME].data == 1) == 125  # a locked one gains nothing, either
    check_counts(viewer, session)


def test_a_committed_tumour_that_is_propagated_leaves_its_organ_what_it_leaves(make_session):
    viewer, session = make_session()
    session.change_object(1, class_id=5)
    for index in (2, 3):
        session.add_box(index, (5, 5, 20, 20))
    session.new_object("tumour", class_id=6)
    session.commit_policy = CommitPolicy(inside_class=5)
    session.add_box(2, (10, 10, 14, 14))
    session.add_mask(3, np.pad(np.ones((8, 8), bool), ((8, 24), (8, 34))))
    session.remove_prompt(session.prompts.masks[0])
    committed = viewer.layers[LABELS_NAME].data
    session.propagate(z_range=(2, 4))
    session.new_object()
    assert (committed[2:4, 5:20, 5:20] > 0).all()
    session.propagate(objects=[2], z_range=(2, 4), mode="box", box_extension=0.3)
    assert (committed[2:4, 5:20, 5:20] > 0).all()
    check_counts(viewer, session)


def test_a_tumour_that_is_opened_again_keeps_what_it_took_from_its_organ(organ, tmp_path):
    viewer, session = organ
    session.add_box(2, (10, 10, 30, 30))
    assert session.commit() == 100
    edited, committed = viewer.layers[OBJECT_NAME].data, viewer.layers[LABELS_NAME].data
    session.add_box(2, (12, 12, 15, 15))
    assert np.count_nonzero(edited) == 9
    session.add_box(2, (8, 8, 30, 30))  # grown again, and beyond what it was
    assert np.count_nonzero(edited) == 12 * 12
    session.preview_clean_up(fill_holes="slices")
    session.apply_preview()
    assert np.count_nonzero(edited) == 12 * 12
    expected = session.label_map()
    assert session.commit() == 12 * 12
    np.testing.assert_array_equal(committed, expected)
    session.undo()
    session.save(tmp_path / "one.zip")
    session.load(tmp_path / "one.zip", overwrite=True)
    assert session.commit() == 12 * 12
    np.testing.assert_array_equal(viewer.layers[LABELS_NAME].data, expected)


def test_an_organ_itself_may_grow(organ):
    _, session = organ
    session.select(1)
    session.add_box(2, (0, 0, 30, 30))
    assert session.commit() == 900


def test_nothing_changes_a_locked_object(make_session, notices):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.commit()
    session.change_object(1, is_locked=True)
    committed = viewer.layers[LABELS_NAME].data
    before = committed.copy()
    viewer.dims.set_current_step(0, 2)
    for change in (
        lambda: session.add_point((2, 20, 20)),
        session.clear_prompts,
        session.propagate,
        session.delete_object,
        lambda: session.remove_prompt(session.prompts.boxes[0]),
    ):
        with pytest.raises(InputError, match="locked"):
            change()
    labels = viewer.layers[LABELS_NAME]
    labels.brush_size = 9
    labels.paint((2, 14, 14), 3)
    labels.paint((2, 6, 6), 0)
    labels.fill((2, 10, 10), 4)
    np.testing.assert_array_equal(committed[before == 1], 1)
    assert committed[2, 16, 16] == 3
    check_counts(viewer, session)
    assert any("locked" in said for said in notices)
    assert len(session.prompts.all) == 1


def test_a_locked_object_takes_no_click_in_the_canvas(make_session, notices, qtbot):
    viewer, session = make_session()
    session.add_point((2, 10, 10))
    session.commit()
    session.change_object(1, is_locked=True)
    points = viewer.layers[POINTS_NAME]
    points.add((2, 20, 20))
    qtbot.waitUntil(lambda: len(points.data) == 1)
    assert "locked" in notices[-1]


def test_the_brush_makes_anchors_and_steps(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    edited = viewer.layers[OBJECT_NAME]
    before = edited.data.copy()
    viewer.dims.set_current_step(0, 8)
    edited.brush_size = 5
    edited.paint((8, 30, 30), 1)
    painted = edited.data[8].copy()
    assert painted.any()
    session.propagate(mode="box", box_extension=0.0)
    np.testing.assert_array_equal(edited.data[8], painted)
    np.testing.assert_array_equal(edited.data[6], before[6])
    assert edited.data[7].any()
    session.undo()
    session.undo()
    np.testing.assert_array_equal(edited.data, before)
    session.redo()
    np.testing.assert_array_equal(edited.data[8], painted)
    session.commit()
    assert viewer.layers[LABELS_NAME].data[8, 30, 30] == 1


def test_strokes_along_other_axes_and_in_3d(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    edited = viewer.layers[OBJECT_NAME]
    before = edited.data.copy()
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 30)
    edited.paint((6, 30, 30), 1)
    edited.n_edit_dimensions = 3
    edited.brush_size = 4
    edited.paint((3, 34, 40), 1)
    painted = edited.data.copy()
    session.undo()
    session.undo()
    np.testing.assert_array_equal(edited.data, before)
    session.redo()
    session.redo()
    np.testing.assert_array_equal(edited.data, painted)


def test_an_answer_that_comes_late_belongs_to_the_object_that_asked(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_box(2, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.new_object()
    service.gate.set()
    assert session.wait(60)
    committed = viewer.layers[LABELS_NAME].data
    assert (committed[2, 5:15, 5:15] == 1).all()
    assert not viewer.layers[OBJECT_NAME].data.any()
    check_counts(viewer, session)
    session.select(1)
    assert viewer.layers[OBJECT_NAME].data[2, 10, 10] == 1
    session.undo()
    session.undo()  # the late answer is a step of its own
    assert not committed.any()
    assert not session.objects[0].is_committed
    check_counts(viewer, session)
    session.undo()
    assert session.object_id == 1
    session.undo()
    assert not session.prompts.all
    for _ in range(3):
        session.redo()
    assert (committed[2, 5:15, 5:15] == 1).all()
    check_counts(viewer, session)


def test_an_answer_after_a_commit_and_back_again(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.add_box(2, (5, 5, 15, 15))
    assert session.wait(60)
    service.hold()
    session.add_point((2, 20, 20))
    assert service.entered.wait(60)
    session.commit()
    service.gate.set()
    assert session.wait(60)
    committed, edited = viewer.layers[LABELS_NAME].data, viewer.layers[OBJECT_NAME].data
    assert committed[2, 20, 20] == committed[2, 10, 10] == 1
    check_counts(viewer, session)
    session.undo()
    session.undo()
    assert not committed.any()
    assert edited[2, 10, 10] == 1
    assert not session.objects[0].is_committed
    check_counts(viewer, session)


def test_what_fails_takes_nothing_from_redo(make_session):
    _, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.undo()
    with pytest.raises(InputError, match="nothing to commit"):
        session.commit()
    assert not session.next_candidate()
    session.redo()
    assert session.prompts.boxes


def test_saved_labels_hold_the_open_object_too(make_session, tmp_path):
    from napari_medicosam.io.volumes import read_labels

    _, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.new_object()
    session.add_box(2, (10, 10, 25, 25))
    session.save_labels(tmp_path / "labels.nii.gz")
    saved = read_labels(tmp_path / "labels.nii.gz").array
    assert (saved[2, 5:15, 5:15] == 1).all()
    assert (saved[2] == 2).sum() == 15 * 15 - 5 * 5
    assert not session.objects[1].is_committed


def test_masks_as_prompts_and_prompts_taken_away(make_session, service):
    viewer, session = make_session()
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 12:25] = 3
    session.add_mask(4, mask)
    request = service.requests[-1]
    np.testing.assert_array_equal(request.prompts.mask, mask > 0)
    assert request.prompts.box.bounds == (10, 12, 20, 25)
    session.add_point((4, 15, 15), positive=False)
    assert service.requests[-1].previous_logits is not None
    assert service.requests[-1].prompts.mask is None
    session.remove_prompt(session.prompts.points[0])
    np.testing.assert_array_equal(service.requests[-1].prompts.mask, mask > 0)
    session.remove_prompt(session.prompts.masks[0])
    assert not viewer.layers[OBJECT_NAME].data.any()
    with pytest.raises(InputError, match="no prompt"):
        session.remove_prompt(session.prompts.with_prompt.__self__)
    for wrong in (np.zeros((40, 50)), np.ones((4, 4))):
        with pytest.raises(InputError, match="needs shape"):
            session.add_mask(4, wrong)


def test_a_lasso_drawn_later_adds_to_the_mask(make_session, service):
    _, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.add_lasso(2, [(20, 20), (20, 30), (30, 30), (30, 20)])
    hint = service.requests[-1].prompts.mask
    assert hint[10, 10]
    assert hint[25, 25]
    assert service.requests[-1].previous_logits is None


def test_a_negative_lasso_takes_what_is_in_it_and_nothing_else(make_session, service):
    _, session = make_session()
    session.add_box(2, (5, 5, 25, 25))
    before = session.label_map()[2] != 0
    away = np.zeros_like(before)
    away[8:13, 8:18] = True
    session.add_lasso(2, [(8, 8), (8, 17), (12, 17), (12, 8)], positive=False)
    np.testing.assert_array_equal(session.label_map()[2] != 0, before & ~away)
    assert len(service.requests) == 1, "nobody has to be asked"
    session.add_point((2, 20, 20))
    asked = service.requests[-1].prompts
    assert [point.positive for point in asked.points].count(False) > 1
    np.testing.assert_array_equal(asked.mask, before & ~away)
    labelled = session.label_map()[2] != 0
    assert labelled[15:25, 5:25].all()
    assert not labelled[away].any(), "it counts for later answers, too"
    session.undo()
    session.undo()
    np.testing.assert_array_equal(session.label_map()[2] != 0, before)


def test_a_negative_lasso_before_the_answer_counts_in_it(make_session, service):
    _, session = make_session()
    session.is_live = False
    session.add_box(2, (5, 5, 25, 25))
    session.add_lasso(2, [(8, 8), (8, 17), (12, 17), (12, 8)], positive=False)
    session.segment()
    labelled = session.label_map()[2] != 0
    assert labelled[15:25, 5:25].all()
    assert not labelled[8:13, 8:18].any()


def test_a_negative_lasso_around_all_of_a_mask_leaves_nothing(make_session, service):
    _, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.propagate(z_range=(2, 5))
    assert session.label_map()[3].any()
    session.add_lasso(3, [(0, 0), (0, 40), (38, 40), (38, 0)], positive=False)
    assert not session.label_map()[3].any()
    session.propagate(z_range=(2, 5))
    assert not session.label_map()[3].any(), "the slice is the user's"


@pytest.mark.parametrize("tool", ["scribble+", "scribble-", "lasso+", "lasso-", "box", "point+", "point-"])
def test_tools_choose_layer_mode_and_sign(make_session, tool):
    _, session = make_session()
    session.tool = tool
    assert session.tool == tool
    session.toggle_sign()
    other = {"+": "-", "-": "+"}.get(tool[-1], tool[-1])
    assert session.tool == tool[:-1] + other


def test_strokes_in_the_canvas_become_scribbles_and_lassos(make_session, service):
    viewer, session = make_session()
    session.tool = "scribble-"
    scribbles = viewer.layers["MedicoSAM scribbles"]
    scribbles.add([[3, 5, 5], [3, 5, 20]], shape_type="path")
    assert [scribble.positive for scribble in session.prompts.scribbles] == [False]
    session.tool = "lasso+"
    viewer.layers[BOXES_NAME].add([[3, 10, 10], [3, 10, 20], [3, 20, 20]], shape_type="polygon")
    assert session.prompts.lassos[0].polygon_yx == ((10, 10), (10, 20), (20, 20))
    assert service.requests[-1].prompts.mask is not None
    assert session.prompts.planes == {SlicePlane(0, 3)}
    before = session.prompts
    session.undo()
    session.redo()
    assert session.prompts == before
    assert list(scribbles.shape_type) == ["path"]


def slices_asked(service):
    return sorted(request.plane.index for request in service.requests)


def test_only_gaps_next_to_a_changed_slice_are_propagated_again(make_session, service, notices):
    viewer, session = make_session()
    for index in (2, 6, 9):
        session.add_box(index, (5, 5, 25, 25))
    session.propagate()
    edited = viewer.layers[OBJECT_NAME].data
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == list(range(12))
    before = edited.copy()
    service.requests.clear()
    session.propagate()
    assert not service.requests
    assert "Nothing to propagate again" in notices[-1]
    session.add_point((6, 30, 30))
    service.requests.clear()
    session.propagate()
    assert slices_asked(service) == [3, 4, 5, 7, 8]
    np.testing.assert_array_equal(edited[[0, 1, 2, 9, 10, 11]], before[[0, 1, 2, 9, 10, 11]])
    session.undo()
    service.requests.clear()
    session.propagate()
    assert slices_asked(service) == [3, 4, 5, 7, 8]
    service.requests.clear()
    session.propagate(iou_threshold=0.1)
    assert slices_asked(service) == [0, 1, 3, 4, 5, 7, 8, 10, 11]


def test_a_slice_painted_between_two_others_parts_their_gap(make_session, service):
    viewer, session = make_session()
    for index in (2, 8):
        session.add_box(index, (5, 5, 25, 25))
    session.propagate()
    viewer.dims.set_current_step(0, 4)
    viewer.layers[OBJECT_NAME].paint((4, 30, 30), 1)
    service.requests.clear()
    session.propagate()
    assert slices_asked(service) == [3, 5, 6, 7]


def test_what_a_shorter_propagation_leaves_beyond_its_end_goes_and_comes_back(make_session):
    viewer, session = make_session()
    session.add_box(4, (5, 5, 25, 25))
    session.propagate()
    edited = viewer.layers[OBJECT_NAME].data
    before = edited.copy()
    session.propagate(iou_threshold=0.99, box_extension=0.2)
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == [4]
    session.undo()
    np.testing.assert_array_equal(edited, before)


def test_a_cancelled_propagation_takes_nothing_away_and_goes_on(make_session, service):
    viewer, session = make_session()
    session.add_box(4, (5, 5, 25, 25))
    done = []

    def count(object_id, plane):
        done.append(plane.index)
        if len(done) == 3:
            session.cancel()

    session.events.mask_changed.connect(count)
    session.propagate("up")
    session.events.mask_changed.disconnect(count)
    edited = viewer.layers[OBJECT_NAME].data
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == [4, 5, 6, 7]
    session.propagate("up")
    assert np.flatnonzero(edited.any(axis=(1, 2))).tolist() == list(range(4, 12))


def test_locking_the_open_object_commits_it_and_the_brush_leaves_it(make_session, notices):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.change_object(1, is_locked=True)
    assert session.objects[0].is_committed
    viewer.dims.set_current_step(0, 2)
    viewer.layers[OBJECT_NAME].paint((2, 30, 30), 1)
    assert not viewer.layers[OBJECT_NAME].data.any()
    assert "locked" in notices[-1]
    session.undo()
    assert not session.objects[0].is_committed
    assert viewer.layers[OBJECT_NAME].data[2, 10, 10] == 1


def test_painting_a_committed_object_opens_it_again(make_session):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.commit()
    viewer.dims.set_current_step(0, 2)
    edited = viewer.layers[OBJECT_NAME]
    edited.paint((2, 30, 30), 1)
    assert edited.data[2, 10, 10] == edited.data[2, 30, 30] == 1
    assert not viewer.layers[LABELS_NAME].data.any()
    session.undo()
    assert (viewer.layers[LABELS_NAME].data[2, 5:15, 5:15] == 1).all()
    assert not edited.data.any()


def test_clearing_everywhere_clears_a_committed_object_too(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0)
    session.commit()
    session.clear_prompts(everywhere=True)
    assert not viewer.layers[LABELS_NAME].data.any()
    assert not viewer.layers[OBJECT_NAME].data.any()


def test_a_locked_class_locks_what_is_there_and_what_comes(make_session):
    viewer, session = make_session()
    session.new_object("one", class_id=4)
    session.add_box(2, (5, 5, 15, 15))
    session.lock_class(4)
    assert session.objects[0].is_committed, "what is being edited is committed first"
    assert session.objects[0].is_locked
    assert session.locked_classes == {4}
    session.new_object("two", class_id=4)
    session.add_box(2, (20, 20, 30, 30))
    assert not session.record.is_locked, "it may still be drawn"
    session.commit()
    assert session.record.is_locked
    with pytest.raises(InputError, match="locked"):
        session.add_point((2, 25, 25))
    viewer.layers[LABELS_NAME].data_setitem((np.array([2]), np.array([25]), np.array([25])), 0)
    assert viewer.layers[LABELS_NAME].data[2, 25, 25] == 2, "the brush does not change it either"
    session.new_object("three")
    session.add_box(4, (5, 5, 15, 15))
    session.commit()
    session.change_object(3, class_id=4)
    assert session.objects[2].is_locked
    session.lock_class(4, is_locked=False)
    assert not any(one.is_locked for one in session.objects)
    session.undo()
    assert all(one.is_locked for one in session.objects)
    assert session.locked_classes == {4}


def test_another_object_in_the_place_of_an_empty_one_is_no_step(make_session):
    _, session = make_session()
    session.new_object()
    assert not session.can_undo
    session.new_object("liver")
    assert session.can_undo
    session.undo()
    assert session.record.name == "object 1"
    assert session.can_redo
    session.new_object()  # nor does it take away what was undone
    assert session.can_redo


def test_an_organ_is_whole_again_when_its_tumour_is_left_without_a_mask(organ):
    viewer, session = organ
    committed = viewer.layers[LABELS_NAME].data
    whole = committed.copy()
    session.add_box(2, (10, 10, 30, 30))
    session.commit()
    session.add_box(2, (12, 12, 15, 15))
    session.clear_prompts(everywhere=True)
    assert not viewer.layers[OBJECT_NAME].data.any()
    session.select(1)
    session.select(2)
    session.select(1)
    session.commit()
    np.testing.assert_array_equal(committed, whole)
    check_counts(viewer, session)
