"""The session with its worker thread: who runs where, what is dropped, what is closed."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui.factory import session as session_of
from napari_medicosam.ui.layers import OBJECT_NAME, POINTS_NAME
from napari_medicosam.ui.runner import Runner


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "medicosam-worker"]


def slices_of(viewer):
    return np.flatnonzero(viewer.layers[OBJECT_NAME].data.any(axis=(1, 2))).tolist()


def test_encoding_is_on_the_worker_and_the_window_stays_alive(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    service.hold()
    ticks = []
    heart = QTimer()
    heart.timeout.connect(lambda: ticks.append(1))
    heart.start(1)
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    qtbot.waitUntil(lambda: len(ticks) > 20)
    assert session.is_busy
    assert not viewer.layers[OBJECT_NAME].data.any()
    service.gate.set()
    assert session.wait(30)
    heart.stop()
    assert slices_of(viewer) == [4]
    assert service.threads
    assert threading.main_thread() not in service.threads


def test_newest_question_about_a_slice_wins(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    session.add_point((6, 5, 5))
    session.add_point((4, 10, 10))
    session.add_point((4, 30, 10))
    service.gate.set()
    assert session.wait(30)
    asked = [(request.plane.index, len(request.prompts.points)) for request in service.requests]
    assert asked[0] == (4, 1)
    assert sorted(asked[1:]) == [(4, 3), (6, 1)], "the question with two points was overtaken"
    assert slices_of(viewer) == [4, 6]
    assert viewer.layers[OBJECT_NAME].data[4, 10, 10] == 1


def test_a_late_answer_is_dropped(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    session.undo()
    service.gate.set()
    assert session.wait(30)
    assert len(service.requests) == 1
    assert not viewer.layers[OBJECT_NAME].data.any()


def test_an_older_generation_is_dropped_though_the_slice_is_open(make_session, service):
    _viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    written = []
    session.events.mask_changed.connect(lambda object_id, plane: written.append(plane))
    session.add_point((4, 5, 5))
    service.gate.set()
    assert session.wait(30)
    assert written == [SlicePlane(0, 4)], "only the answer to both points is written"


def test_cancel_during_encoding(make_session, service):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    session.cancel()
    service.gate.set()
    assert session.wait(30)
    assert not viewer.layers[OBJECT_NAME].data.any()
    session.add_point((4, 5, 5))
    assert session.wait(30)
    assert slices_of(viewer) == [4]


def test_propagation_waits_for_its_anchor(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.add_box(6, (5, 5, 25, 25))
    session.propagate()  # the mask on slice 6 is not there yet
    assert session.wait(60)
    assert slices_of(viewer) == list(range(12))


def test_questions_go_between_the_slices_of_a_propagation(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.add_box(2, (5, 5, 25, 25))
    assert session.wait(30)
    service.hold()
    session.propagate("up")
    assert service.entered.wait(30)
    session.add_point((9, 35, 45))
    service.gate.set()
    assert session.wait(60)
    order = [request.plane.index for request in service.requests[1:]]
    assert order[:2] == [3, 9]
    labels = viewer.layers[OBJECT_NAME].data
    assert slices_of(viewer) == list(range(2, 12))
    assert labels[9, 35, 45] == 1, "the user's slice is not overwritten by the propagation"
    assert labels[9, 10, 10] == 0


def test_image_removed_during_encoding(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    viewer.layers.remove("scan")
    service.gate.set()
    assert session.wait(30)
    assert session.image is None
    qtbot.waitUntil(lambda: POINTS_NAME not in viewer.layers)
    assert not viewer.layers[OBJECT_NAME].data.any()


def test_viewer_closed_during_encoding_leaves_no_thread(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    assert len(workers()) == 1
    runner = session._runner
    opener = threading.Thread(target=lambda: runner.closing.wait(60) and service.gate.set())
    opener.start()
    viewer.close()
    opener.join()
    assert not workers()
    assert not session.is_busy


def test_closed_sessions_are_collected(make_napari_viewer, qapp):
    viewer = make_napari_viewer()

    def annotate():  # a scope of its own: napari keeps the locals of who calls `add_image`
        session = session_of(viewer)
        assert session_of(viewer) is session
        session.set_image(viewer.add_image(np.zeros((3, 8, 8), np.uint8)))
        session.tool = "point+"
        return weakref.ref(session)

    gone = annotate()
    viewer.close()
    qapp.processEvents()
    gc.collect()
    assert gone() is None


def test_what_the_model_cannot_do_is_a_notification(make_session, service, notices):
    viewer, session = make_session(synchronous=False)
    errors = []
    session.events.error.connect(errors.append)
    service.error = InputError("the image is empty")
    session.add_point((4, 20, 30))
    assert session.wait(30)
    assert errors == ["the image is empty"]
    assert notices == ["error: the image is empty"]
    service.error = ZeroDivisionError("surprise")
    session.add_point((4, 10, 10))
    assert session.wait(30)
    assert "ZeroDivisionError: surprise" in notices[-1]
    service.error = None
    session.add_point((4, 5, 5))
    assert session.wait(30)
    assert slices_of(viewer) == [4]


def test_wrong_weights_file_is_a_notification(make_session, tmp_path, notices):
    path = tmp_path / "no_model.pth"
    path.write_bytes(b"not a checkpoint")
    _viewer, session = make_session(synchronous=False, real=True)
    session.set_model(path)
    session.add_point((4, 20, 30))
    assert session.wait(120)
    assert len(notices) == 1
    assert notices[0].startswith("error: ")
    assert "no_model.pth" in notices[0]
    session.set_model("sam_test")
    session.add_box(4, (5, 5, 30, 30))
    assert session.wait(120)
    assert len(notices) == 1


@pytest.mark.parametrize("synchronous", [True, False])
def test_runner_reports_and_ends(qapp, synchronous):
    runner = Runner(synchronous=synchronous)
    told, ended = [], []
    runner.progressed.connect(lambda *args: told.append(args))

    def count(report):
        for number in range(3):
            report(number, 3, "counting")
            yield number

    got = []
    runner.stream(count, got.append, lambda: ended.append(True))
    assert runner.wait(30)
    assert got == [0, 1, 2]
    assert told == [(0, 3, "counting"), (1, 3, "counting"), (2, 3, "counting")]
    assert ended == [True]
    runner.close()
    assert not workers()


def test_cancelled_stream_is_closed_on_its_way(qapp):
    runner = Runner()
    closed = threading.Event()

    def endless(report):
        try:
            while True:
                yield 1
        finally:
            closed.set()

    runner.stream(endless, lambda item: runner.cancel())
    assert runner.wait(30)
    assert closed.is_set()
    runner.close()


def test_a_task_that_reports_can_be_cancelled(qapp):
    runner = Runner()
    began, go_on = threading.Event(), threading.Event()
    reached = []

    def download(report):
        began.set()
        go_on.wait(30)
        report(1, 2, "half")
        reached.append("the other half")

    runner.submit(download, reached.append, key="download")
    assert began.wait(30)
    runner.cancel()
    go_on.set()
    assert runner.wait(30)
    assert reached == []
    runner.close()


def test_wait_gives_up_in_time(qapp):
    runner = Runner()
    gate = threading.Event()
    runner.submit(lambda report: gate.wait(30), lambda _: None, key="slow")
    assert not runner.wait(0.01)
    gate.set()
    assert runner.wait(30)
    runner.close()


def test_a_fast_worker_leaves_the_window_its_turn(qtbot):
    runner = Runner()
    order = []

    def many(report):
        yield from range(50)

    def slow(number):
        order.append(number)
        threading.Event().wait(0.002)

    heart = QTimer()
    heart.timeout.connect(lambda: order.append("tick"))
    heart.start(0)
    runner.stream(many, slow)
    assert runner.wait(30)
    heart.stop()
    runner.close()
    assert [one for one in order if one != "tick"] == list(range(50)), "in order, none lost"
    longest = max(len(part.split()) for part in " ".join(map(str, order)).split("tick"))
    assert longest < 20, "the window had its turn in between"


def test_an_error_in_a_callback_does_not_hold_up_the_next(qtbot):
    runner = Runner()
    found = []

    def act(number):
        found.append(number)
        if number == 1:
            raise ValueError("one")

    with qtbot.captureExceptions() as errors:
        runner.stream(lambda report: iter(range(4)), act)
        assert runner.wait(30)
    runner.close()
    assert found == [0, 1, 2, 3]
    assert len(errors) == 1
