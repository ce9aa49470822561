"""The sentence on top of the dock, state by state."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.ui.next_step import next_step
from napari_medicosam.ui.segment_widget import SegmentWidget

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0.0}


def test_prompts_without_a_mask(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_point((3, 10, 10), positive=False)
    assert next_step(session).startswith("Now mark the object itself: drag a Box")
    assert not widget._propagation._propagate.isEnabled()
    assert not widget._objects._commit.isEnabled()
    session.add_box(3, (5, 5, 15, 15))
    assert next_step(session).startswith("Correct with")
    assert widget._propagation._propagate.isEnabled()
    session.new_object()
    session.add_box(3, (5, 5, 8, 8))
    assert next_step(session).startswith("Nothing is left of this object: other objects, or Overlap")
    assert not widget._objects._commit.isEnabled()
    session.commit_policy = CommitPolicy(overwrite=True)
    assert next_step(session).startswith("Correct with"), "it was asked for again"
    assert np.count_nonzero(session.label_map() == 2) == 9
    session.undo()
    assert session.num_open_voxels == 0
    widget.close()


def test_another_policy_asks_again_only_where_the_answer_stands_beside_others(make_session, service):
    viewer, session = make_session()
    session.add_box(3, (5, 5, 15, 15))
    session.new_object()
    session.add_box(3, (10, 10, 20, 20))
    session.add_box(5, (10, 10, 20, 20))
    viewer.layers["MedicoSAM object"].paint((5, 30, 30), 2)
    asked = len(service.requests)
    session.commit_policy = CommitPolicy(overwrite=True)
    assert [one.plane.index for one in service.requests[asked:]] == [3]
    session.commit_policy = CommitPolicy(overwrite=True)
    assert len(service.requests) == asked + 1
    viewer.layers["MedicoSAM object"].paint((3, 35, 35), 2)
    session.commit_policy = CommitPolicy()
    assert len(service.requests) == asked + 1, "painted by the user since"


def test_finished_locked_and_not_in_2d(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_box(3, (5, 5, 15, 15))
    session.commit()
    assert next_step(session) == (
        "object 1 is finished: press New for another one, or Save labels. A prompt opens it again."
    )
    assert all(tool.isEnabled() for tool in widget._tools.values())
    session.change_object(1, is_locked=True)
    assert next_step(session).startswith("object 1 is locked.")
    parts = (*widget._tools.values(), widget._clear, widget._propagation._propagate, widget._objects._delete)
    assert not any(part.isEnabled() for part in (*parts, widget._objects.review._absent))
    session.new_object()
    viewer.dims.ndisplay = 3
    assert next_step(session).startswith("Prompts need 2D: press Ctrl+Y")
    assert not any(tool.isEnabled() for tool in widget._tools.values())
    viewer.dims.ndisplay = 2
    assert all(tool.isEnabled() for tool in widget._tools.values())
    widget.close()


def test_after_a_propagation_first_the_doubtful_slice_then_the_corrections(
    make_session, service, monkeypatch
):
    _, session = make_session()
    for index in (2, 8):
        session.add_box(index, (5, 5, 25, 25))
    answer = service.segment
    monkeypatch.setattr(service, "segment", lambda one: replace(answer(one), iou_prediction=0.2))
    session.propagate(z_range=(2, 9), **HOW)
    session.go_to(2)
    assert next_step(session).startswith("5 slices look doubtful: press Next doubtful")
    session.go_to_doubtful()
    assert next_step(session).startswith("Doubtful: ")
    assert "Correct it with Point + and −, or press Not here." in next_step(session)
    monkeypatch.undo()
    session.add_point((3, 15, 15))
    assert next_step(session) == "Propagate again to carry your corrections on, or go on correcting."
    session.propagate(z_range=(2, 9), **HOW)
    assert "ends" in next_step(session), "not: Wrong part?"


@pytest.mark.parametrize("stop", ["cancel", "image", "new"])
def test_a_propagation_that_was_cut_off(make_session, notices, stop):
    viewer, session = make_session()
    first, other = session.image, viewer.add_image(np.zeros((12, 40, 50)), name="other")
    session.add_box(2, (5, 5, 25, 25))

    def end(object_id, plane):
        if plane.index == 5:
            {"cancel": session.cancel, "image": lambda: session.set_image(other), "new": session.new_object}[
                stop
            ]()

    session.events.mask_changed.connect(end)
    session.propagate("up", **HOW)
    session.events.mask_changed.disconnect(end)
    session.set_image(first)
    session.select(1)
    assert next_step(session).startswith("Stopped before its end: Propagate again for the rest")
    assert bool(notices) == (stop != "cancel"), "who cancels knows"
    session.propagate("up", **HOW)
    assert not session.was_cut_off


def test_an_image_that_is_elsewhere_is_shown_or_said_to_be(make_session):
    viewer, session = make_session()
    other = viewer.add_image(np.zeros((12, 40, 50)), translate=(100, 0, 0), name="thorax")
    viewer.dims.set_current_step(0, 0)
    session.set_image(other)
    assert session.is_in_sight
    assert session.slice_index == 6
    viewer.dims.set_current_step(0, 5)
    assert next_step(session) == "thorax is not on this slice: move the slider to it."


def test_a_failed_question_can_be_asked_again(make_session, service):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    service.error = RuntimeError("broken")
    session.add_box(3, (5, 5, 15, 15))
    assert not widget._segment.isHidden()
    assert next_step(session).startswith("The last prompts have no mask yet: press Segment")
    service.error = None
    session.set_model("sam_test")
    assert session.num_open_voxels == 100, "another model is asked at once"
    assert widget._segment.isHidden()
    widget.close()


def test_while_the_model_is_loading_the_sentence_says_what_to_do(make_session, service):
    _, session = make_session(synchronous=False)
    widget = SegmentWidget(session=session)
    service.hold()
    session.prepare()
    assert service.entered.wait(60)
    assert session.is_only_preparing
    assert widget._status.text().endswith("Point + and click on it. The model is still loading.")
    session.add_box(3, (5, 5, 15, 15))
    assert not session.is_only_preparing
    service.gate.set()
    assert session.wait(60)
    assert widget._status.text().startswith("Correct with")
    widget.close()
