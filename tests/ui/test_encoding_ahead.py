"""Slices that are encoded before anybody asks about them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.ui import tasks
from napari_medicosam.ui.encoding_ahead import NUM_BACKWARD, NUM_FORWARD, planes_ahead

LONG = np.zeros((100, 12, 14), dtype=np.uint8)


def indices(planes):
    return [plane.index for plane in planes]


def test_order_is_the_one_in_which_slices_are_likely_to_be_wanted():
    forward = indices(planes_ahead(SlicePlane(1, 50), 1, 100))
    assert forward[:7] == [50, 51, 52, 53, 49, 54, 55]
    assert sorted(forward) == list(range(50 - NUM_BACKWARD, 50 + NUM_FORWARD + 1))
    backward = indices(planes_ahead(SlicePlane(1, 50), -1, 100))
    assert backward == [100 - index for index in forward]
    assert sorted(indices(planes_ahead(SlicePlane(2, 1), 1, 4))) == [0, 1, 2, 3]


def test_next_slices_are_encoded_as_one_scrolls(make_session, service, qtbot):
    viewer, session = make_session(LONG, synchronous=False)
    viewer.dims.set_current_step(0, 50)
    session.add_point((50, 5, 5))
    assert session.wait(30)
    qtbot.waitUntil(lambda: len(service.order) == 1 + NUM_FORWARD + NUM_BACKWARD)
    assert service.order == planes_ahead(SlicePlane(0, 50), 1, 100)
    viewer.dims.set_current_step(0, 40)
    wanted = {*service.order, *planes_ahead(SlicePlane(0, 40), -1, 100)}
    qtbot.waitUntil(lambda: service.encoded == wanted)
    assert not session.is_busy
    viewer.dims.set_current_step(2, 7)  # of an axis that is in sight
    assert not session._ahead._timer.isActive()


def test_questions_go_first(make_session, service, qtbot):
    _, session = make_session(LONG, synchronous=False)
    session.add_point((50, 5, 5))
    assert session.wait(30)
    service.hold()
    assert qtbot.waitUntil(service.entered.is_set) is None  # the first of those that nobody asked about
    num_before = len(service.order)
    session.add_point((80, 5, 5))
    service.gate.set()
    assert session.wait(30)
    assert service.order[num_before + 1] == SlicePlane(0, 80)


def test_nothing_is_encoded_unless_wanted(make_session, service, qtbot):
    _, session = make_session(synchronous=False)
    session.encodes_ahead = False
    session.add_point((5, 20, 30))
    assert session.wait(30)
    assert not session._ahead._timer.isActive()
    assert service.order == [SlicePlane(0, 5)]
    session.encodes_ahead = True
    qtbot.waitUntil(lambda: len(service.order) == 12)


def test_no_model_is_loaded_for_it(make_session, service):
    _, session = make_session(synchronous=False)
    session._ahead._begin()
    assert session._runner._filler is None
    session.add_point((5, 20, 30))
    assert session.wait(30)
    session.set_model("litemedsam")
    session._ahead._begin()
    assert session._runner._filler is None


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_slow_models_are_spared(make_session, service, monkeypatch, seconds):
    _, session = make_session()
    session.add_point((5, 20, 30))
    monkeypatch.setattr(tasks, "AHEAD_SECONDS", seconds)
    ahead = session._worker.encode_ahead(session._settings(), [SlicePlane(0, 6), SlicePlane(0, 7)], print)
    assert len(list(ahead)) == (2 if seconds else 0)
    assert len(service.order) == (3 if seconds else 1)


def test_it_ends_with_the_image(make_session, service, qtbot):
    viewer, session = make_session(LONG, synchronous=False)
    session.add_point((50, 5, 5))
    assert session.wait(30)
    service.hold()
    qtbot.waitUntil(service.entered.is_set)
    viewer.layers.remove("scan")
    service.gate.set()
    qtbot.waitUntil(lambda: not session._runner._open)
    assert len(service.order) <= 3
