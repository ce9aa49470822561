"""The mask waits until it is asked for, where a model is slow."""

import numpy as np
import pytest

from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import OBJECT_NAME
from napari_medicosam.ui.segment_widget import SegmentWidget


def mask(viewer):
    return viewer.layers[OBJECT_NAME].data


def test_prompts_are_gathered_and_asked_about_together(make_session, service):
    viewer, session = make_session()
    session.is_live = False
    session.add_box(4, (5, 5, 15, 15))
    session.add_point((4, 30, 30))
    session.add_point((6, 20, 20))
    assert service.requests == []
    assert not mask(viewer).any()
    assert session.has_unasked_prompts
    assert session.segment()
    asked = {request.plane.index: request.prompts for request in service.requests}
    assert len(service.requests) == 2
    assert asked[4].box is not None
    assert len(asked[4].points) == 1
    assert mask(viewer)[4, 10, 10] == mask(viewer)[4, 30, 30] == mask(viewer)[6, 20, 20] == 1
    assert not session.has_unasked_prompts
    assert not session.segment()
    session.undo()
    assert not mask(viewer).any(), "one step"
    assert len(session.prompts.all) == 3


def test_a_later_prompt_refines_what_was_asked_before(make_session, service):
    viewer, session = make_session()
    session.add_box(4, (5, 5, 15, 15))
    session.is_live = False
    session.add_point((4, 30, 30))
    session.segment()
    assert service.requests[-1].previous_logits is not None
    session.clear_prompts(everywhere=True)
    assert not mask(viewer).any()
    assert not session.has_unasked_prompts


def test_prompts_that_are_gone_are_not_asked_about(make_session, service):
    _, session = make_session()
    session.is_live = False
    session.add_box(4, (5, 5, 15, 15))
    session.undo()
    assert not session.has_unasked_prompts
    session.add_box(4, (5, 5, 15, 15))
    session.remove_prompt(session.prompts.boxes[0])
    assert not session.has_unasked_prompts
    session.add_box(4, (5, 5, 15, 15))
    session.new_object()
    assert not session.has_unasked_prompts, "they are another object's"
    session.select(1)
    assert session.segment()
    assert len(service.requests) == 1


def test_live_again_asks_what_was_gathered(make_session, service):
    _, session = make_session()
    session.is_live = False
    session.add_box(4, (5, 5, 15, 15))
    session.is_live = True
    assert len(service.requests) == 1
    session.add_point((4, 30, 30))
    assert len(service.requests) == 2


def test_propagation_asks_first(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.is_live = False
    session.add_box(4, (5, 5, 15, 15))
    session.propagate(z_range=(3, 6), mode="box", box_extension=0.0, min_confidence=0)
    assert session.wait(30)
    assert np.flatnonzero(mask(viewer).any(axis=(1, 2))).tolist() == [3, 4, 5]


def test_a_locked_object_is_not_asked_about(make_session, service):
    _, session = make_session()
    session.is_live = False
    session.add_box(4, (5, 5, 15, 15))
    session.change_object(1, is_locked=True)
    with pytest.raises(InputError, match="locked"):
        session.segment()
    assert service.requests == []


def test_the_form_has_a_tick_and_a_button(make_session, service):
    viewer, session = make_session(show=True)
    widget = SegmentWidget(session=session)
    widget.show()
    assert widget._more._live.isChecked()
    assert not widget._segment.isVisible()
    widget._more._live.click()
    assert not session.is_live
    assert not widget._segment.isEnabled()
    session.add_box(4, (5, 5, 15, 15))
    assert "Press Segment" in widget._status.text()
    widget._segment.click()
    assert mask(viewer)[4].any()
    assert not widget._segment.isEnabled()
    widget._more._live.click()
    assert session.is_live
    widget.close()
