"""Layers that are made before anybody asks for them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import (
    BOXES_NAME,
    LABELS_NAME,
    OBJECT_NAME,
    POINTS_NAME,
    SCRIBBLES_NAME,
)
from napari_medicosam.ui.prompts_in_layers import POSITIVE

OURS = [LABELS_NAME, OBJECT_NAME, BOXES_NAME, SCRIBBLES_NAME, POINTS_NAME]
WITH_SCAN = ["scan", *OURS]


def names(viewer):
    return [layer.name for layer in viewer.layers]


@pytest.fixture
def ahead(make_session, qtbot):
    """A viewer and its session with all layers, none of which anybody has asked for."""
    viewer, session = make_session(synchronous=False)
    session.encodes_ahead = False
    qtbot.waitUntil(lambda: not session._layers.annotation.ours.wants_ahead, timeout=60_000)
    return viewer, session


def test_they_count_as_not_there_until_somebody_asks(ahead):
    viewer, session = ahead
    made = list(viewer.layers)
    assert names(viewer) == WITH_SCAN
    assert viewer.layers.selection == {viewer.layers["scan"]}
    assert not session.has_labels
    with pytest.raises(InputError, match="nothing to save"):
        session.label_map()
    session.tool = "box"
    assert list(viewer.layers) == made
    assert viewer.layers.selection.active is viewer.layers[BOXES_NAME]
    assert session.has_labels
    session.add_point((5, 20, 30))
    assert session.wait(30)
    assert session.label_map()[5, 20, 30] == 1
    assert list(viewer.layers) == made


def test_one_a_turn(make_session, qtbot):
    viewer, session = make_session(synchronous=False)
    assert names(viewer) == ["scan"], "scripts see what they did"
    added = []
    viewer.layers.events.inserted.connect(lambda event: added.append(event.value.name))
    make, turns = session._layers.make_ahead, []
    session._layers.make_ahead = lambda: (make(), turns.append(len(added)))
    qtbot.waitUntil(lambda: len(turns) == 6, timeout=60_000)
    assert added == OURS
    assert turns == [1, 2, 3, 4, 5, 5]


def test_who_does_not_wait_gets_them_all(make_session, qtbot):
    viewer, session = make_session(synchronous=False)
    qtbot.waitUntil(lambda: OBJECT_NAME in viewer.layers, timeout=60_000)
    session.add_point((5, 20, 30))
    assert names(viewer)[:3] == WITH_SCAN[:3]
    session.tool = "point+"
    assert names(viewer) == WITH_SCAN
    assert session.wait(30)
    assert len(viewer.layers[POINTS_NAME].data) == 1


def test_they_lie_above_what_came_meanwhile(ahead):
    viewer, session = ahead
    viewer.add_image(np.zeros((12, 40, 50)), name="other")
    session.tool = "point+"
    assert names(viewer) == ["scan", "other", *OURS]


def test_what_is_drawn_into_them_counts(ahead):
    viewer, session = ahead
    viewer.dims.order = (1, 0, 2)  # what is drawn lies on the slices that are seen
    viewer.layers[POINTS_NAME].add((5, 20, 30))
    assert [point.position_zyx for point in session.prompts.points] == [(5, 20, 30)]
    assert session.prompts.points[0].axis == 1
    assert viewer.layers[POINTS_NAME].features["label"].tolist() == [POSITIVE]
    assert session.has_labels
    assert session.wait(30)
    assert len(viewer.layers[POINTS_NAME].data) == 1


def test_what_is_painted_into_them_counts(ahead):
    viewer, session = ahead
    viewer.layers[OBJECT_NAME].paint((0, 20, 30), 1)
    assert session.can_undo
    assert session.label_map()[0, 20, 30] == 1


def test_they_go_with_an_image_that_was_never_annotated(ahead, qtbot):
    viewer, _ = ahead
    viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: names(viewer) == [])


def test_one_that_the_user_removes_stays_away_until_it_is_needed(make_session, qtbot):
    viewer, session = make_session(synchronous=False)
    qtbot.waitUntil(lambda: SCRIBBLES_NAME in viewer.layers, timeout=60_000)
    viewer.layers.remove(SCRIBBLES_NAME)
    session.set_window("0,255")  # something happens
    assert not session._layers_ahead._is_wanted
    session.tool = "scribble+"
    assert sorted(names(viewer)) == sorted(WITH_SCAN)


def test_none_where_another_image_may_be_meant_or_nobody_waits(make_session):
    viewer, session = make_session(synchronous=False)
    viewer.add_image(np.zeros((12, 40, 50)), name="other")
    assert not session._layers_ahead._is_wanted
    _, session = make_session()
    assert not session._layers_ahead._is_wanted
    assert not session._layers_ahead._timer.isActive()
