"""The window stays alive while a large scan is encoded and propagated.

How long it stands still depends on what else the machine does, so the pauses are only recorded. Asserted is what
holds on a busy machine, too: nothing of torch, zarr, files or hashes happens on the GUI thread, and no turn of its
event loop computes much longer than napari itself needs to show another slice.
"""

from __future__ import annotations

import builtins
import gc
import hashlib
import io
import math
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtTest import QTest

from napari_medicosam.ui.layers_ahead import warm_up
from napari_medicosam.ui.prompts_in_layers import read_prompts
from napari_medicosam.ui.segment_widget import SegmentWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}
SHAPE = (200, 512, 512)
BOX = (130, 120, 371, 361)

LONGEST = 5
"""Times what napari computes to show another slice, in one turn of the event loop. Several results are written in one;
one that waits for the model or for all of a propagation takes far more."""

LONGEST_MOMENTS = {
    "another slice": 4,
    "first box": 3.2,
    "a stroke": 3.2,
    "a clean-up looked at": 2.5,
    "and left": 1.5,
    "another object": 5.2,
}
"""Times what napari computes to show another slice of the image alone, without layers of ours."""

LONGEST_LAYER = 2
"""Times what napari computes for the most expensive layer of its own, in a turn in which one of ours is made."""

LONGEST_FIRST_TOOL = 8
"""Times what napari computes to show another slice of the image alone, once our layers were made. All five take 50."""


class Heart:
    """Ticks, and remembers for each pause between two ticks how long it was and how long its thread computed in it."""

    def __init__(self) -> None:
        self._pauses: list[tuple[float, float]] = []
        self._last = (time.perf_counter(), time.thread_time())
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def longest(self) -> tuple[float, float]:
        """Longest pause and longest computation, in seconds, since this was asked last."""
        QTest.qWait(50)
        while not self._pauses:  # on a busy machine
            QTest.qWait(50)
        pauses, self._pauses = self._pauses, []
        return max(pause for pause, _ in pauses), max(computed for _, computed in pauses)

    def stop(self) -> None:
        self._timer.stop()

    def _tick(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self._pauses.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


@pytest.fixture
def scan() -> Any:
    """Noise with a bright cylinder through all slices, no two alike."""
    noise = np.random.default_rng(0).integers(-1000, 1000, SHAPE[1:], dtype=np.int16)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    volume = np.stack([np.roll(noise, 7 * z) for z in range(SHAPE[0])])
    volume[:, np.hypot(rows - 250, columns - 240) < 120] = 1500
    return volume


@pytest.fixture
def one_core() -> Iterator[None]:
    """Torch's threads that wait for each other are slow on a busy machine; nobody seeks other tests' garbage.

    Garbage is sought as often as in a user's napari: more rarely, as in other tests, more is sought at once.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    threshold = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # Python's own
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    torch.set_num_threads(before)


@pytest.fixture
def threads_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[threading.Thread]]:
    """Which threads came to the doors of what takes long."""
    import torch
    import zarr

    came: dict[str, set[threading.Thread]] = defaultdict(set)
    doors = (
        (torch.nn.Module, "__call__"),
        (zarr.Array, "__getitem__"),
        (zarr.Array, "__setitem__"),
        (hashlib, "blake2b"),
        (builtins, "open"),
        (io, "open"),
    )
    for owner, name in doors:
        original, door = getattr(owner, name), f"{owner.__name__}.{name}"

        def through(*args: Any, original: Any = original, door: str = door, **kwargs: Any) -> Any:
            came[door].add(threading.current_thread())
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, through)
    return came


@contextmanager
def torch_on_this_thread() -> Iterator[list[str]]:
    """Everything that torch computes on the calling thread meanwhile, whatever door it came by."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        yield seen


@pytest.mark.timeout(900)  # the machine may be very busy
def test_the_window_never_waits_for_a_scan_that_is_encoded_and_propagated(
    make_session, scan, one_core, threads_of, tmp_path, record_property
):
    viewer, session = make_session(
        scan, synchronous=False, real=True, show=True, contrast_limits=(-1000, 1500)
    )
    session.set_window("-1000,1500")  # measuring the intensities is not what this is about
    session.set_embeddings_folder(tmp_path)
    viewer.dims.set_current_step(0, 100)
    session.add_box(100, BOX)
    assert session.wait(300)
    heart = Heart()
    for index in (101, 102, 101, 100):
        viewer.dims.set_current_step(0, index)
        QTest.qWait(20)
    shown_pause, shown = heart.longest()
    threads_of.clear()
    with torch_on_this_thread() as computed:
        session.propagate(**HOW)
        assert session.wait(300)
        pause, longest = heart.longest()
    heart.stop()
    for name, seconds in (
        ("longest_pause_ms", pause),
        ("longest_computation_ms", longest),
        ("longest_pause_of_another_slice_ms", shown_pause),
        ("longest_computation_of_another_slice_ms", shown),
    ):
        record_property(name, round(1000 * seconds))
    assert session.label_map().any(axis=(1, 2)).all(), "all of the scan was propagated through"
    assert computed == []
    assert set(threads_of) >= {"Module.__call__", "Array.__setitem__", "hashlib.blake2b"}, (
        "nothing was watched"
    )
    on_gui = {door for door, threads in threads_of.items() if threading.main_thread() in threads}
    assert on_gui == set()
    assert longest < LONGEST * shown


@pytest.mark.timeout(300)
def test_no_moment_of_annotating_computes_much_longer_than_napari_shows_a_slice(
    make_session, scan, one_core, record_property
):
    viewer, session = make_session(scan, synchronous=False, show=True, contrast_limits=(-1000, 1500))
    session._layers.annotation.ours.wants_ahead = False  # the image alone comes first
    viewer.window.add_dock_widget(SegmentWidget(session=session))
    viewer.dims.set_current_step(0, 100)
    heart = Heart()

    def computed(act: Callable[[], object]) -> float:
        heart.longest()
        act()
        assert session.wait(60)
        return heart.longest()[1]

    alone = min(
        computed(lambda index=index: viewer.dims.set_current_step(0, index)) for index in (99, 98, 97)
    )
    session.tool = "box"
    moments = {
        "another slice": lambda: viewer.dims.set_current_step(0, 101 - viewer.dims.current_step[0] % 2),
        "first box": lambda: session.add_box(100, BOX),
        "a stroke": lambda: session.add_scribble(100, [(200, 200), (260, 300)]),
        "another object": session.new_object,
    }
    clean_up = {
        "a clean-up looked at": lambda: session.preview_clean_up(smooth_mm=3),
        "and left": session.drop_preview,
    }
    least = dict.fromkeys((*moments, *clean_up), math.inf)
    for acts in (moments, clean_up):
        for _ in range(3):  # in one of them, nobody else was at the processor's caches
            for name, act in acts.items():
                least[name] = min(least[name], computed(act))
        session.select(1)
    heart.stop()
    assert len(session.objects) == 4
    times = {name: seconds / alone for name, seconds in least.items()}
    record_property(
        "times_of_a_slice_of_the_image_alone", {name: round(one, 1) for name, one in times.items()}
    )
    assert {name: one for name, one in times.items() if one > LONGEST_MOMENTS[name]} == {}


@pytest.mark.timeout(300)
def test_no_turn_makes_more_than_one_layer_and_the_first_tool_none(
    make_session, scan, one_core, record_property
):
    warm_up().join()
    viewer, session = make_session(scan, synchronous=False, show=True, contrast_limits=(-1000, 1500))
    ours = session._layers.annotation.ours
    ours.wants_ahead = False  # not yet
    heart = Heart()

    def computed(act: Callable[[], object]) -> float:
        heart.longest()
        act()
        return heart.longest()[1]

    alone = min(
        computed(lambda index=index: viewer.dims.set_current_step(0, index)) for index in (99, 98, 97)
    )
    own = max(
        computed(lambda: viewer.add_labels(np.zeros(SHAPE, np.uint16), visible=False)),
        computed(lambda: viewer.add_shapes(ndim=3, visible=False)),
    )
    viewer.layers.selection.active = viewer.layers["scan"]
    heart.longest()
    ours.wants_ahead = True
    session._layers_ahead._begin()
    while ours.wants_ahead:
        QTest.qWait(20)
    ahead = heart.longest()[1]
    num_layers = len(viewer.layers)
    first_tool = computed(lambda: setattr(session, "tool", "box"))
    heart.stop()
    assert len(viewer.layers) == num_layers == 3 + 5
    record_property("times_of_a_layer_of_napari", round(ahead / own, 1))
    record_property("first_tool_in_times_of_a_slice", round(first_tool / alone, 1))
    assert ahead < LONGEST_LAYER * own
    assert first_tool < LONGEST_FIRST_TOOL * alone


def test_prompts_of_another_object_are_told_of_once_a_layer(make_session):
    viewer, session = make_session()
    session.tool = "point-"
    told = []
    for name in ("points", "boxes", "scribbles"):
        layer = viewer.layers[f"MedicoSAM {name}"]
        layer.events.data.connect(lambda event, name=name: told.append((name, len(event.value))))

    def heard(act):
        told.clear()
        act()
        return sorted(told)

    viewer.dims.set_current_step(0, 3)
    assert heard(lambda: session.add_box(3, (5, 5, 25, 25))) == [("boxes", 1)]
    assert heard(lambda: session.add_point((3, 10, 10))) == [("points", 1)]
    assert heard(lambda: session.add_scribble(3, [(6, 6), (9, 9)])) == [("scribbles", 1)]
    assert heard(lambda: session.add_scribble(3, [(20, 6), (20, 9)], positive=False)) == [("scribbles", 2)]
    prompts = session.prompts
    assert heard(session.new_object) == [("boxes", 0), ("points", 0), ("scribbles", 0)]
    assert heard(lambda: session.select(1)) == [("boxes", 1), ("points", 1), ("scribbles", 2)]
    ours = session._layers.annotation.ours
    assert read_prompts(ours.points, ours.boxes, ours.scribbles) == prompts
    assert session.tool == "point-", "what the next click says is as before"
