"""What must not be left behind, and what must not happen afterwards: viewers closed, images replaced, layers removed.

napari lets go of a closed viewer, its layers and their arrays by itself (`test_napari_itself_keeps_nothing` tells when
it is napari that has begun to leak), so everything may be asked to be gone, the viewer included. Two habits matter:
napari keeps the locals of whoever calls `add_image` for as long as that call's frame lives, and the fake service keeps
the requests it was asked; so what is looked for is made in functions of its own, and the fakes are told to forget.
"""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import traceback
import weakref
from collections import Counter

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.events import EventEmitter
from psygnal import SignalInstance
from qtpy.QtCore import QCoreApplication, QEvent, QTimer

import napari_medicosam.predict.service  # noqa: F401  torch has to come before OpenGL here
from napari_medicosam.errors import InputError
from napari_medicosam.ui.engine import Engine, ServiceSettings
from napari_medicosam.ui.factory import session as session_of
from napari_medicosam.ui.help_panel import HelpPanel, toggle_help
from napari_medicosam.ui.layers import (
    BOXES_NAME,
    LABELS_NAME,
    OBJECT_NAME,
    POINTS_NAME,
    PREVIEW_NAME,
    SCRIBBLES_NAME,
)
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.segment_widget import SegmentWidget

OUR_NAMES = (POINTS_NAME, BOXES_NAME, SCRIBBLES_NAME, OBJECT_NAME, LABELS_NAME)
NUM_CYCLES = 20


def settle():
    """Let Qt delete what it was asked to, and Python what nobody holds."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QCoreApplication.processEvents()
        gc.collect()


def is_ours(thing):
    return str(getattr(thing, "__module__", "")).startswith("napari_medicosam.")


def living():
    """How many objects of our classes there are, and how many timers, whosever."""
    settle()
    rooms = tuple(f"napari_medicosam.{room}." for room in ("core", "ui", "predict", "cache"))
    found = Counter()
    for thing in gc.get_objects():
        kind = type(thing)  # not `isinstance`: proxies answer that for somebody else
        if str(kind.__module__).startswith(rooms):
            found[kind.__name__] += 1
        elif issubclass(kind, QTimer):
            found["QTimer"] += 1
    del found["MemoryEmbeddingStore"]  # one pool a process
    return found


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "medicosam-worker"]


def connections():
    """Who of us napari would still call: `emitter -> method` of every living emitter that is not ours."""
    settle()
    found = []
    for thing in gc.get_objects():
        kind = type(thing)
        if issubclass(kind, EventEmitter):
            for callback in thing.callbacks:
                owner = callback[0]() if isinstance(callback, tuple) else callback
                if is_ours(type(owner)) or is_ours(owner):
                    name = callback[1] if isinstance(callback, tuple) else callback.__qualname__
                    found.append(f"{type(thing.source).__name__} {getattr(thing, 'type', '')} -> {name}")
        elif issubclass(kind, SignalInstance) and not is_ours(type(thing.instance)):
            for slot in thing._slots:
                called = slot.dereference()
                if is_ours(called):
                    found.append(f"{type(thing.instance).__name__}.{thing.name} -> {called!r}")
    return found


def slices_of(viewer):
    return np.flatnonzero(viewer.layers[OBJECT_NAME].data.any(axis=(1, 2))).tolist()


def new_volume(seed=0, shape=(12, 40, 50)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def open_dock(viewer):
    dock, widget = viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    assert isinstance(widget, SegmentWidget)
    return dock, widget


def annotate(session):
    """A bit of everything."""
    session.add_box(4, (5, 5, 30, 30))
    session.add_point((4, 7, 7), positive=False)
    session.add_scribble(6, [(10, 10), (20, 20)])
    assert session.wait(60)
    session.propagate("both", z_range=(2, 9))
    assert session.wait(60)
    painted = session.viewer.layers[OBJECT_NAME]
    painted.data_setitem((np.array([3]), np.array([35]), np.array([45])), 1)
    session.clean_up(largest_component=True)
    assert session.wait(60)
    session.commit()
    session.new_object("other")
    session.add_lasso(2, [(5, 5), (5, 15), (15, 15)])
    assert session.wait(60)
    session.undo()
    session.select(1)
    session.redo()


def all_of(viewer, session, *more):
    """Weak references to what has to go."""
    whole = {
        "viewer": viewer,
        "window": viewer.window._qt_window,
        "session": session,
        "runner": session._runner,
        "image": viewer.layers["scan"],
        "volume": viewer.layers["scan"].data,
    }
    whole |= {type(one).__name__: one for one in more}
    whole |= {layer.name: layer for layer in viewer.layers if layer.name in (*OUR_NAMES, PREVIEW_NAME)}
    whole |= {f"voxels of {name}": layer.data for name, layer in whole.items() if isinstance(layer, Labels)}
    return {name: weakref.ref(one) for name, one in whole.items()}


def forget(service, session=None):
    """The fakes remember what they were asked."""
    service.requests.clear()
    service.encoded.clear()
    service.order.clear()
    if session is not None and hasattr(session._worker.engine, "settings"):
        session._worker.engine.settings.clear()


def left_of(references):
    settle()
    return [name for name, reference in references.items() if reference() is not None]


def test_napari_itself_keeps_nothing(make_napari_viewer):
    def look():
        viewer = make_napari_viewer()
        layer = viewer.add_image(new_volume(), name="scan")
        whole = {"viewer": viewer, "window": viewer.window._qt_window, "image": layer, "volume": layer.data}
        gone = {name: weakref.ref(one) for name, one in whole.items()}
        viewer.close()
        return gone

    assert left_of(look()) == [], "napari leaks: see what of it the other tests may still ask for"


@pytest.mark.parametrize("is_real", [False, True])
@pytest.mark.parametrize("has_dock", [False, True])
def test_nothing_outlives_a_closed_viewer(make_session, plugin, service, has_dock, is_real):
    before = living()

    def use():
        viewer, session = make_session(synchronous=False, real=is_real)
        more = ()
        if has_dock:
            toggle_help(session)
            more = (*open_dock(viewer), viewer.window._qt_window.findChild(HelpPanel))
        annotate(session)
        session.preview_clean_up(min_size_mm3=1e9)
        assert session.wait(60)
        gone = all_of(viewer, session, session._worker.engine, *more)
        assert PREVIEW_NAME in gone
        viewer.close()
        return gone

    gone = use()
    forget(service)
    assert left_of(gone) == []
    assert living() - before == Counter()
    assert not workers()


@pytest.mark.timeout(600)
def test_twenty_cycles_leave_no_more_than_one_does(make_session, plugin, service):
    def cycle():
        viewer, session = make_session(synchronous=False)
        open_dock(viewer)
        session.add_box(4, (5, 5, 30, 30))
        session.propagate("both", z_range=(3, 6))
        assert session.wait(60)
        session.commit()
        viewer.close()
        forget(service)

    cycle()
    before = living()
    for _ in range(NUM_CYCLES):
        cycle()
    grown = living() - before
    assert grown.pop("QTimer", 0) < NUM_CYCLES  # napari makes some, too, and keeps one now and then
    assert grown == Counter()
    assert not workers()


def test_a_closed_session_is_called_by_nobody(make_session, plugin, service):
    viewer, session = make_session()
    open_dock(viewer)
    toggle_help(session)
    annotate(session)
    assert connections(), "the check sees nothing"
    viewer.close()
    assert connections() == []


def test_a_session_closed_by_a_script_is_called_by_nobody(make_session, service):
    viewer, session = make_session()
    annotate(session)
    mine = list(viewer.layers)
    session.close()
    assert list(viewer.layers) == mine
    assert connections() == []


def test_after_a_closed_session_comes_a_new_one(make_session, service):
    viewer, session = make_session()
    session.add_point((4, 20, 30))
    session.close()
    assert not session.is_busy
    again = session_of(viewer)
    assert again is not session
    again.set_image(viewer.layers["scan"])
    assert again.image is viewer.layers["scan"]
    viewer.close()
    assert again.image is None, "the new one is closed with the window"


def test_a_closed_session_asks_and_says_nothing(make_session, service, tmp_path, notices):
    viewer, session = make_session(synchronous=False)
    session.add_point((4, 20, 30))
    assert session.wait(60)
    told = []
    for signal in ("changed", "mask_changed", "progress", "error", "tool_changed", "saved"):
        getattr(session.events, signal).connect(lambda *_, signal=signal: told.append(signal))
    session.close()
    session.close()
    told.clear()
    for act in (lambda: session.add_point((4, 1, 1)), session.propagate, session.commit):
        with pytest.raises(InputError):
            act()
    session.undo()
    session.cancel()
    session.prepare()
    session.load_classes(tmp_path / "classes.json")
    assert not session.is_busy, "what is asked of a closed session would never end"
    assert session.wait(60)
    viewer.layers[POINTS_NAME].add((6, 5, 5))
    viewer.layers[POINTS_NAME].mode = "add"
    viewer.layers[OBJECT_NAME].data_setitem((np.array([3]), np.array([35]), np.array([45])), 1)
    viewer.layers["scan"].data = new_volume(1, (5, 6, 7))
    viewer.dims.set_point(0, 2)
    viewer.dims.order = (1, 0, 2)
    viewer.layers.clear()
    settle()
    assert told == []
    assert notices == []
    assert len(service.requests) == 1
    assert not workers()


def test_closed_during_encoding(make_session, plugin, service, qtbot):
    """The window goes at once; the worker, which is in a call that nobody can stop, holds no more than that call."""
    before = living()
    told = []

    def use():
        viewer, session = make_session(synchronous=False)
        _, widget = open_dock(viewer)
        service.hold()
        session.add_point((4, 20, 30))
        session.add_point((6, 20, 30))
        assert service.entered.wait(30)
        for signal in ("changed", "mask_changed", "error", "tool_changed"):
            getattr(session.events, signal).connect(lambda *_, signal=signal: told.append(signal))
        gone = all_of(viewer, session, widget)
        viewer.close()  # the gate is shut: whoever waits for the worker waits for ever
        told.clear()
        return gone

    gone = use()
    assert len(workers()) == 1
    assert set(left_of(gone)) <= {"runner", "volume"}
    service.gate.set()
    (worker,) = workers()
    worker.join(60)
    assert not workers()
    del worker
    assert len(service.encoded) == 1, "what waited was not asked any more"
    forget(service)
    assert left_of(gone) == []
    assert living() - before == Counter()
    assert told == []


def test_closed_in_mid_propagation(make_session, plugin, service):
    before = living()

    def use():
        viewer, session = make_session(synchronous=False)
        _, widget = open_dock(viewer)
        session.add_box(6, (5, 5, 25, 25))
        assert session.wait(60)
        seen = []

        def close_after_three(*_):
            seen.append(1)
            if len(seen) == 3:
                viewer.close()

        session.events.mask_changed.connect(close_after_three)
        gone = all_of(viewer, session, widget)
        session.propagate()
        assert session.wait(60)
        assert len(seen) == 3, "nothing is written after the viewer was closed"
        return gone

    gone = use()
    for worker in workers():
        worker.join(60)
    forget(service)
    assert left_of(gone) == []
    assert living() - before == Counter()


def test_closed_while_an_answer_is_on_its_way(make_session, service, notices):
    """The worker is done, but nobody has looked at its answer yet."""
    viewer, session = make_session(synchronous=False)
    session.add_box(4, (5, 5, 30, 30))
    assert session.wait(60)
    session.clean_up(fill_holes="slices")
    posted = threading.Event()
    session._runner.submit(lambda report: posted.set(), lambda _: None, key="last")
    assert posted.wait(30)
    viewer.close()
    settle()  # a callback that needs an image would raise here, and pytest-qt would tell
    assert notices == []
    assert not session.is_busy


def test_a_failure_keeps_nothing(make_session, service, monkeypatch):
    """A traceback holds the locals of its frames: slices, requests, volumes."""
    said = []
    monkeypatch.setattr(logging.getLogger("napari_medicosam.ui.workbench"), "disabled", True)
    viewer, session = make_session(synchronous=False)
    volume = weakref.ref(viewer.layers["scan"].data)
    kept = []
    session._runner.failed.connect(kept.append)  # as a handler of log records might
    session.events.error.connect(said.append)
    for error in (InputError("no"), ZeroDivisionError("surprise")):
        service.error = error
        session.add_point((4, 20, 30))
        assert session.wait(60)
    service.error = error = None
    viewer.layers.remove("scan")
    forget(service, session)
    settle()
    assert len(said) == len(kept) == 2
    assert "in segment" in "".join(traceback.format_exception(kept[1])), "the log still says where it was"
    assert volume() is None, "a volume is held"


@pytest.mark.parametrize("is_real", [False, True])
def test_a_removed_image_is_freed(make_session, plugin, service, qtbot, is_real):
    viewer, session = make_session(synchronous=False, real=is_real)
    open_dock(viewer)
    annotate(session)
    assert session.can_undo
    names = ("scan", POINTS_NAME, BOXES_NAME, SCRIBBLES_NAME)
    gone = {name: weakref.ref(viewer.layers[name]) for name in names}
    gone["volume"] = weakref.ref(viewer.layers["scan"].data)
    viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: POINTS_NAME not in viewer.layers)
    forget(service, session)
    assert left_of(gone) == []
    assert living()["Annotation"] == 0, "neither the steps to undo, nor what was asked, hold it"
    assert session.image is None
    assert not session.can_undo
    assert LABELS_NAME in viewer.layers, "labels are the user's work"
    assert viewer.layers[LABELS_NAME].visible


def test_an_image_removed_during_encoding_is_freed(make_session, service, qtbot):
    viewer, session = make_session(synchronous=False)
    volume = weakref.ref(viewer.layers["scan"].data)
    service.hold()
    session.add_point((4, 20, 30))
    session.add_point((6, 20, 30))
    assert service.entered.wait(30)
    viewer.layers.remove("scan")
    service.gate.set()
    assert session.wait(60)
    qtbot.waitUntil(lambda: POINTS_NAME not in viewer.layers)
    forget(service, session)
    settle()
    assert volume() is None, "a volume is held"
    assert living()["Annotation"] == 0


@pytest.mark.parametrize("is_real", [False, True])
@pytest.mark.parametrize("shape", [(12, 40, 50), (7, 30, 60), (30, 60), (2, 7, 30, 60)])
def test_replaced_pixels_are_freed(make_session, plugin, service, qtbot, notices, shape, is_real):
    viewer, session = make_session(synchronous=False, real=is_real)
    open_dock(viewer)
    annotate(session)
    image = viewer.layers["scan"]
    volume = weakref.ref(image.data)
    image.data = new_volume(1, shape)
    settle()
    assert session.wait(60)
    forget(service, session)
    settle()
    assert volume() is None, "a volume is held"
    is_same = shape == (12, 40, 50)
    assert bool(session.prompts.planes) == is_same
    assert len([notice for notice in notices if "new shape" in notice]) == (not is_same)
    if session.image is None:  # a dock chooses 2D and 3D images by itself, no volumes over time
        session.set_image(image)
    assert session.image is image
    session.new_object("after")
    session.add_point((3, 27, 35) if len(shape) > 2 else (27, 35))  # where no other object is
    assert session.wait(60)
    assert session._annotation.object_layer.data.shape == shape
    if not is_real:
        assert session.num_open_voxels == 5 * 5
        asked = service.requests[-1].image_slice
        assert any(np.array_equal(asked, one) for one in image.data.reshape(-1, *shape[-2:]))


def test_no_answer_about_replaced_pixels_is_written(make_session, service):
    viewer, session = make_session(synchronous=False)
    old = viewer.layers["scan"].data
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    written = []
    session.events.mask_changed.connect(lambda *_: written.append(len(service.requests)))
    viewer.layers["scan"].data = new_volume(1)
    service.gate.set()
    assert session.wait(60)
    assert len(session.prompts.points) == 1
    of_old = [np.array_equal(request.image_slice, old[4]) for request in service.requests]
    assert all(not of_old[number - 1] for number in written), "a mask of the old pixels lies on the new ones"


def test_a_propagation_stops_when_pixels_are_replaced(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.add_box(6, (5, 5, 25, 25))
    assert session.wait(60)
    service.requests.clear()
    seen = []

    def replace_after_two(*_):
        seen.append(1)
        if len(seen) == 2:
            viewer.layers["scan"].data = new_volume(1)

    session.events.mask_changed.connect(replace_after_two)
    session.propagate()
    assert session.wait(60)
    assert len(seen) == 2, "slices of the old pixels were written onto the new ones"


@pytest.mark.parametrize("name", OUR_NAMES)
def test_a_layer_of_ours_is_removed(make_session, plugin, service, name):
    viewer, session = make_session(synchronous=False)
    open_dock(viewer)
    annotate(session)
    before = session.prompts
    removed = weakref.ref(viewer.layers[name])
    viewer.layers.remove(name)
    settle()
    assert removed() is None
    session.add_point((9, 20, 30))
    assert session.wait(60)
    assert name in viewer.layers
    assert {*before.all} < {*session.prompts.all}
    assert len(viewer.layers[POINTS_NAME].data) == len(session.prompts.points)
    assert 9 in slices_of(viewer)
    assert len(viewer.layers) == 1 + len(OUR_NAMES)


def test_a_layer_is_removed_while_its_answer_is_made(make_session, service):
    viewer, session = make_session(synchronous=False)
    session.add_point((2, 20, 30))
    assert session.wait(60)
    service.hold()
    session.add_point((4, 20, 30))
    assert service.entered.wait(30)
    for name in OUR_NAMES:
        viewer.layers.remove(name)
    service.gate.set()
    assert session.wait(60)
    assert {*OUR_NAMES} < {layer.name for layer in viewer.layers}
    assert slices_of(viewer) == [2, 4]
    assert len(viewer.layers[POINTS_NAME].data) == 2


def test_layers_are_renamed(make_session, plugin, service):
    viewer, session = make_session(synchronous=False)
    _, widget = open_dock(viewer)
    session.add_box(4, (5, 5, 30, 30))
    assert session.wait(60)
    for number, layer in enumerate(list(viewer.layers)):
        layer.name = f"mine {number}"
    assert widget._image_box._image.itemText(0) == "mine 0"
    session.add_point((6, 20, 30))
    session.add_scribble(8, [(10, 10), (20, 20)])
    assert session.wait(60)
    session.commit()
    assert len(viewer.layers) == 1 + len(OUR_NAMES)
    assert all(layer.name.startswith("mine") for layer in viewer.layers)
    session.undo()
    assert session.num_open_voxels


def test_everything_is_removed_at_once(make_session, plugin, service, qtbot):
    viewer, session = make_session(synchronous=False)
    open_dock(viewer)
    annotate(session)
    service.hold()
    session.add_point((11, 20, 30))
    assert service.entered.wait(30)
    viewer.layers.clear()
    service.gate.set()
    assert session.wait(60)
    settle()
    assert len(viewer.layers) == 0
    assert session.image is None
    assert living()["Annotation"] == 0
    viewer.add_image(new_volume(), name="next")
    assert session.image is viewer.layers["next"], "the dock goes on with the next image"
    session.add_point((4, 20, 30))
    assert session.wait(60)
    assert slices_of(viewer) == [4]


def test_one_of_two_viewers_is_closed(make_session, plugin, service):
    def use():
        viewer, session = make_session(synchronous=False)
        open_dock(viewer)
        annotate(session)
        gone = all_of(viewer, session)
        viewer.close()
        return gone

    viewer, session = make_session(synchronous=False)
    _, widget = open_dock(viewer)
    session.add_point((2, 20, 30))
    assert session.wait(60)
    gone = use()
    forget(service)
    assert left_of(gone) == []
    assert len(workers()) == 1
    session.add_point((4, 20, 30))
    assert session.wait(60)
    assert slices_of(viewer) == [2, 4]
    assert widget._undo.isEnabled()
    assert session_of(viewer) is session


def test_a_closed_dock_is_freed_and_an_opened_one_is_told_once(make_session, plugin, service, monkeypatch):
    viewer, session = make_session(synchronous=False)
    told = Counter()
    for name in ("_on_session_changed", "_on_busy_changed", "_on_saved"):
        original = getattr(SegmentWidget, name)

        def counted(self, *args, name=name, original=original):
            told[name] += 1
            original(self, *args)

        monkeypatch.setattr(SegmentWidget, name, counted)

    def callbacks():
        open_dock(viewer)
        settle()
        return Counter(connections()), [len(signal) for signal in session.events.signals.values()]

    def close():
        dock, widget = open_dock(viewer)
        gone = weakref.ref(widget)
        viewer.window.remove_dock_widget(dock)
        return gone

    session.add_point((4, 20, 30))
    assert session.wait(60)
    first = callbacks()
    for _ in range(4):
        gone = close()
        session.add_point((4, 10, 10))  # nobody has collected the old widget yet
        assert session.wait(60)
        settle()
        assert gone() is None
        assert callbacks() == first
    told.clear()
    session.events.changed.emit()
    session.events.busy_changed.emit(False)
    assert told == {"_on_session_changed": 1, "_on_busy_changed": 1}
    assert living()["SegmentDock"] == 1


def test_the_engine_holds_no_volume(tmp_path):
    engine = Engine()
    told = []

    def ask(volume, folder=None):
        settings = ServiceSettings("sam_test", "auto", volume, folder)
        return engine.service(settings, lambda *args: told.append(args[2]))

    volume, other = new_volume(), new_volume(1)
    service = ask(volume)
    assert ask(volume) is service
    assert ask(volume, folder=tmp_path) is not service
    service = ask(volume)
    gone = weakref.ref(volume)
    volume = None
    gc.collect()
    assert gone() is None, "a volume is held"
    again = ask(other)
    assert again is not service
    assert ask(other) is again
    assert sum(text.startswith("Loading") for text in told) == 1, "the model is kept"


def test_what_was_done_is_not_delivered_after_cancel(qapp):
    """The answer lies in Qt's queue when somebody changes their mind."""
    runner = Runner()
    done, heard = threading.Event(), []
    runner.failed.connect(heard.append)

    def fail(report):
        raise ZeroDivisionError

    runner.submit(lambda report: "late", heard.append, key=1, on_end=lambda: heard.append("end"))
    runner.submit(fail, heard.append, key=2, on_end=lambda: heard.append("end"))
    while runner._questions:  # each is taken before the next word
        pass
    runner.submit(lambda report: done.set(), lambda _: None, key=3)
    assert done.wait(30)
    runner.cancel()
    assert runner.wait(30)
    assert heard == ["end", "end"]
    runner.close()


def test_a_callback_that_fails_does_not_keep_the_runner_busy(qapp, qtbot):
    def fail(*_):
        raise ZeroDivisionError("surprise")

    runner = Runner(synchronous=True)
    with pytest.raises(ZeroDivisionError):
        runner.submit(lambda report: 1, fail, key=1)
    assert not runner.is_busy
    with pytest.raises(ZeroDivisionError):
        runner.submit(lambda report: 1, lambda _: None, key=1, on_end=fail)
    assert not runner.is_busy
    heard = []
    runner.submit(lambda report: 1, heard.append, key=1)
    assert heard == [1]
    runner.close()
    threaded = Runner()
    with qtbot.captureExceptions() as caught:
        threaded.submit(lambda report: 1, fail, key=1, on_end=fail)
        assert threaded.wait(30)
    assert len(caught) == 2
    threaded.close()


def test_a_closed_runner_takes_nothing(qapp):
    runner = Runner()
    heard = []
    runner.submit(lambda report: 1, heard.append, key=1)
    assert runner.wait(30)
    runner.close()
    runner.submit(lambda report: 2, heard.append, key=1)
    runner.stream(lambda report: iter([3]), heard.append)
    assert not runner.is_busy
    assert runner.wait(30)
    assert heard == [1]
    assert not workers()


def test_a_runner_is_freed_with_what_waited_in_it(qapp):
    gate, entered = threading.Event(), threading.Event()

    class Heavy:
        pass

    def use():
        runner = Runner()
        heavy = [Heavy() for _ in range(4)]
        gone = [weakref.ref(one) for one in (*heavy, runner, runner._main)]

        def slow(report):
            entered.set()
            gate.wait(60)

        runner.submit(slow, lambda _, one=heavy[0]: None, key=1, on_end=lambda one=heavy[1]: None)
        assert entered.wait(30)
        runner.submit(lambda report, one=heavy[2]: None, lambda _: None, key=2)
        runner.stream(lambda report, one=heavy[3]: iter(()), lambda _: None)
        runner.close()
        return gone

    gone = use()
    settle()
    assert [one() for one in gone[:4]] == [None] * 4, (
        "the worker is still in its call, but holds no more than that"
    )
    for worker in workers():
        gate.set()
        worker.join(60)
    del worker
    settle()
    assert [one() for one in gone] == [None] * 6


def test_a_process_that_ends_waits_for_a_closed_worker():
    """torch must not be taken apart under a thread that is in it."""
    code = """
import threading
from qtpy.QtCore import QCoreApplication
from napari_medicosam.ui.runner import Runner
app = QCoreApplication([])
entered, main = threading.Event(), threading.main_thread()
def slow(report):
    entered.set()
    main.join()  # until the script is over
    sum(range(10**6))
    print("done", flush=True)
runner = Runner()
runner.submit(slow, print, key=1)
entered.wait()
runner.close()
print("closed", flush=True)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "closed\ndone\n", "")
