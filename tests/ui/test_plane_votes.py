"""Where three planes disagree about an object: known to its review, shown in the strip, gone once it is corrected."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medicosam.core.results import Region
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.review_strip import ReviewStrip

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}
BOX = (6, 7, 16, 19)


@pytest.fixture
def voted(make_session, service):
    """An object on slices 4 to 13 of axis 0. The planes of axis 1 do not see it on slices 7 and 10."""
    paint = service.segment

    def segment(request):
        result = paint(request)
        mask = result.mask & (request.image_slice > 0)
        if request.plane.axis == 1:
            mask[[7, 10]] = False
        return replace(result, mask=mask, region=Region.of_mask(mask))

    service.segment = segment
    service.segment_many = lambda requests: [service.segment(request) for request in requests]
    scan = np.zeros((20, 24, 26), np.uint8)
    scan[4:14, 6:16, 7:19] = 1
    viewer, session = make_session(scan)
    for beyond in (3, 14):  # it ends as steeply as the user says
        viewer.dims.set_current_step(0, beyond)
        session.mark_absent()
    session.add_box(8, BOX)
    session.propagate(z_range=(4, 14), **HOW)
    session.agree_on_three_planes(**HOW)
    return viewer, session


def agreements(session):
    return {one.index: one.agreement for one in session.review if one.agreement is not None}


def doubtful(session):
    return [one.index for one in session.review if one.reasons]


def test_slices_that_the_planes_disagree_on_are_doubtful(voted):
    viewer, session = voted
    assert doubtful(session) == [7, 10]
    assert agreements(session) == dict.fromkeys((4, 5, 6, 9, 11, 12, 13), 1.0) | {7: 0.5, 10: 0.5}
    assert session.review[3].reasons == ("the three planes agree by 0.50 only",)
    viewer.dims.set_current_step(0, 8)
    assert [session.go_to_doubtful(), session.go_to_doubtful()] == [10, 7]
    viewer.dims.order = (1, 0, 2)
    assert agreements(session) == dict.fromkeys(range(6, 16), pytest.approx(13 / 14))
    viewer.dims.order = (0, 1, 2)
    session.undo()
    assert agreements(session) == {}
    assert doubtful(session) == []
    session.redo()
    assert doubtful(session) == [7, 10]


def prompt(viewer, session):
    session.add_box(7, BOX)


def paint(viewer, session):
    viewer.dims.set_current_step(0, 7)
    viewer.layers[OBJECT_NAME].paint((7, 20, 20), 1)


def paint_committed(viewer, session):
    viewer.dims.set_current_step(0, 7)
    viewer.layers[LABELS_NAME].paint((7, 15, 18), 0)


@pytest.mark.parametrize("correct", [prompt, paint, paint_committed])
def test_a_corrected_slice_is_in_no_doubt_any_more(voted, correct):
    viewer, session = voted
    if correct is paint_committed:
        session.commit()
        assert doubtful(session) == [7, 10]
    correct(viewer, session)
    assert doubtful(session) == [10]
    assert 7 not in agreements(session)
    session.undo()
    assert doubtful(session) == [7, 10]
    session.redo()
    assert doubtful(session) == [10]


def test_a_slice_that_is_followed_anew_has_another_mask(voted):
    _, session = voted
    session.add_box(6, BOX)
    session.propagate(z_range=(4, 14), direction="up", **HOW)
    assert set(agreements(session)) == {4, 5}
    session.undo()
    assert set(agreements(session)) == {4, 5, 7, 9, 10, 11, 12, 13}


def test_each_object_has_its_own(voted):
    _, session = voted
    session.new_object()
    session.add_box(7, (6, 7, 9, 9))
    assert agreements(session) == {}
    session.select(1)
    assert doubtful(session) == [7, 10]
    session.delete_object()
    session.undo()
    assert doubtful(session) == [7, 10]


def test_the_strip_shows_how_far_they_disagree(voted, qtbot):
    _, session = voted
    strip = ReviewStrip(session=session)
    qtbot.addWidget(strip)
    strip.resize(400, 160)
    strip.show()
    assert strip._next.text() == "Next doubtful (2)"
    assert strip._legend._votes.isVisible()
    session.go_to(7)
    assert "the three planes agree by" in strip._chart.accessibleDescription()
    session.undo()
    qtbot.waitUntil(lambda: not strip._legend._votes.isVisible())
    assert "planes" not in strip._chart.accessibleDescription()
