from __future__ import annotations

import gc
import threading
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QSettings

from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.ui.factory import adopt
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.session import AnnotationSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANY_OBJECTS = 50_000


@dataclass(eq=False)
class FakeService:
    """Paints the box, 5 x 5 pixels a positive point, the mask hint, and nothing near negative points."""

    mapping: Any = None
    requests: list[SegmentRequest] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    encoded: set[Any] = field(default_factory=set)
    order: list[Any] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    def hold(self) -> None:
        self.entered.clear()
        self.gate.clear()

    def is_embedded(self, plane: Any, image_slice: Any) -> bool:
        return plane in self.encoded

    def embed(self, plane: Any, image_slice: Any) -> None:
        self.threads.append(threading.current_thread())
        self.entered.set()
        if not self.gate.wait(60):
            raise TimeoutError("nobody opened the gate")
        if plane not in self.encoded:
            self.order.append(plane)
        self.encoded.add(plane)

    def fetch_ahead(self, plane: Any, image_slice: Any) -> None:
        """Nothing is stored."""

    def features(self, plane: Any, image_slice: Any, view: Any = None) -> Any:
        """Everything looks alike."""
        return np.ones((1, 1, 1), np.float32)

    def segment(self, request: SegmentRequest) -> SegmentResult:
        self.embed(request.plane, request.image_slice)
        if self.error is not None:
            raise self.error
        self.requests.append(request)
        prompts = request.prompts
        mask = np.zeros(request.image_slice.shape[:2], dtype=bool)
        if prompts.mask is not None:
            mask |= prompts.mask
        if prompts.box is not None:
            y0, x0, y1, x1 = (round(v) for v in prompts.box.bounds)
            mask[y0:y1, x0:x1] = True
        for point in prompts.points:
            y, x = (round(v) for v in point.position_yx)
            mask[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = point.positive
        return SegmentResult(
            request.plane,
            mask,
            Region.of_mask(mask),
            0.9,
            np.full((4, 4), 1.5, dtype=np.float32),
            request.object_id,
            request.generation,
        )


@dataclass(eq=False)
class FakeEngine:
    fake: FakeService = field(default_factory=FakeService)
    settings: list[Any] = field(default_factory=list)

    def service(self, settings: Any, report: Any) -> FakeService:
        self.settings.append(settings)
        return self.fake


@pytest.fixture(autouse=True)
def few_objects() -> None:
    """What is there already is not looked at: napari searches for garbage whenever a layer goes or a viewer closes."""
    if len(gc.get_objects()) > MANY_OBJECTS:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def manifests_read_once() -> Iterator[None]:
    """Every viewer of a test discovers the plugins anew; what is installed stays the same meanwhile."""
    found = list(PluginManifest.discover())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(deepcopy(found)))
        yield


@pytest.fixture(autouse=True)
def folds_of_its_own(tmp_path: Path) -> None:
    """What is folded away in a test is neither the user's, nor that of another test."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))


@pytest.fixture
def plugin(monkeypatch: Any) -> PluginManager:
    """The installed plugin, in a plugin manager of the test's own."""
    manager = PluginManager()
    manager.discover(include_npe1=False)
    monkeypatch.setattr(PluginManager, "instance", lambda: manager)
    return manager


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def make_session(
    make_napari_viewer: Any, service: FakeService
) -> Callable[..., tuple[Any, AnnotationSession]]:
    """A viewer with an image, and its session; synchronous and with the fake service unless told otherwise."""

    def make(
        data: Any = None,
        *,
        synchronous: bool = True,
        real: bool = False,
        show: bool = False,
        journals: Path | None = None,
        **image: Any,
    ) -> tuple[Any, AnnotationSession]:
        viewer = make_napari_viewer(show=show)
        if data is None:
            data = np.random.default_rng(0).integers(0, 255, (12, 40, 50), dtype=np.uint8)
        layer = viewer.add_image(data, name="scan", **image)
        session = AnnotationSession(
            viewer,
            runner=Runner(synchronous=synchronous),
            engine=None if real else FakeEngine(service),
            journals=journals,
        )
        adopt(session)
        session.set_model("sam_test")
        session.set_image(layer)
        return viewer, session

    return make


@pytest.fixture
def notices() -> list[str]:
    """What was said to the user during the test."""
    said: list[str] = []

    def note(event: Any) -> None:
        said.append(f"{event.severity}: {event.message}")

    notification_manager.notification_ready.connect(note)
    yield said
    notification_manager.notification_ready.disconnect(note)
