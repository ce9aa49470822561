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
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtTest import QTest

if TYPE_CHECKING:
    from collections.abc import Iterator

HOW = {"mode": "box", "box_extension": 0.0, "min_confidence": 0, "iou_threshold": 0}
SHAPE = (200, 512, 512)
BOX = (130, 120, 371, 361)

LONGEST = 5
"""Times what napari computes to show another slice, in one turn of the event loop. Several results are written in one;
one that waits for the model or for all of a propagation takes far more."""


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
    """Torch's threads that wait for each other are slow on a busy machine; nobody seeks other tests' garbage."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
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
