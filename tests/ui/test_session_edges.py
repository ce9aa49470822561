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


def test_what_makes_no_sense_is_an_input_error_and_changes_nothing(make_session, tmp_path):
    _, session = make_session()
    session.add_box(5, (5, 5, 15, 15))
    several, path = np.zeros(2), tmp_path / "scan.zip"
    for call in (
        lambda: session.clear_prompts(everywhere=several),
        lambda: session.lay(several),
        lambda: session.lay("own", np.zeros((2, 2))),
        lambda: session.save(path, keep_paths=several),
        lambda: session.load(path, overwrite=several),
        lambda: session.restore(overwrite=several),
        lambda: session.change_object(1, name="a\udce4"),
        lambda: session.change_object(1, name=""),
        lambda: session.new_object(b"liver"),
        lambda: session.set_model(5),
        lambda: setattr(session, "model", 5),
        lambda: session.mark_saved([session.image]),
        lambda: session.save(f"{path}\0"),
        lambda: session.save_measurements("a\0.csv"),
        lambda: session.save_effort("a\0.csv"),
        lambda: session.save_labels("a\0.nii.gz"),
        lambda: session.set_embeddings_folder("a\0"),
    ):
        with pytest.raises(InputError):
            call()
    assert session.model == "sam_test"
    assert session.record.name == "object 1"
    assert list(tmp_path.iterdir()) == []


def test_the_model_may_be_set_as_an_attribute(make_session, service):
    _, session = make_session()
    session.add_point((5, 20, 20))
    session.model = "medicosam_lite"
    session.add_point((5, 24, 24))
    assert session._worker.engine.settings[-1].model == "medicosam_lite"
    assert service.requests[-1].previous_logits is None, "those of another model"


def test_a_2d_image_has_no_slices_to_be_told_of(make_session):
    _, session = make_session(np.zeros((30, 40), np.uint8))
    said = []
    session.events.progress.connect(lambda done, total, text: said.append(text))
    session.add_point((20, 20))
    assert said == ["Encoding the image …"]


def test_a_new_object_counts_for_itself(make_session):
    _, session = make_session()
    session.add_box(5, (5, 5, 15, 15))
    session.new_object()
    objects = session._annotation.effort.objects
    assert [dict(objects[one].counts) for one in (1, 2)] == [{"prompt": 1, "box": 1}, {"new": 1}]
