"""Model, intensity mapping and embedding store, made on the worker thread when a question first needs them.

Torch and zarr are imported there too: opening the widget must not stop the window for seconds.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule
from napari_medicosam.ui.garbage import nothing_collected
from napari_medicosam.ui.torch_import import import_torch
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.fetch import status
from napari_medicosam.weights.registry import is_checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.cache.memory import MemoryEmbeddingStore
    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.core.results import SegmentRequest, SegmentResult
    from napari_medicosam.ui.runner import Report
    from napari_medicosam.weights.loading import LoadedModel

T = TypeVar("T")

POOL_BYTES = 1 << 30
"""Memory for embeddings of all viewers together: 500 slices of the light models."""


class Service(Protocol):
    """What the session asks of `predict.service.SegmentationService`."""

    @property
    def mapping(self) -> IntensityMapping | None:
        """Of intensities; None for a service without one."""

    def segment(self, request: SegmentRequest) -> SegmentResult:
        """The mask that the request's prompts stand for."""

    def embed(self, plane: SlicePlane, image_slice: NDArray[Any]) -> Any:
        """Encode the slice, unless that was done."""

    def is_embedded(self, plane: SlicePlane, image_slice: NDArray[Any]) -> bool:
        """True when asking about this slice will not have to encode it."""


class ServiceSource(Protocol):
    """What the session asks of `Engine`; tests hand in their own."""

    def service(self, settings: ServiceSettings, report: Report) -> Service:
        """The service for these settings; called on the worker thread only."""


@dataclass(frozen=True, slots=True, eq=False)
class ServiceSettings:
    """What a service is made from.

    Attributes:
        model: registry name or path of a checkpoint.
        window: a word of `resolve_intensity`, or LOW,HIGH.
        volume: (z, y, x) or (z, y, x, 3), told apart by identity.
        folder: of stored embeddings; None keeps them in memory only.
        zoom: which objects are looked at in a view of the slice.
    """

    model: str
    window: str
    volume: Any
    folder: Path | None
    zoom: ZoomRule = DEFAULT_ZOOM

    @property
    def is_rgb(self) -> bool:
        """True for colour."""
        return bool(self.volume.ndim == 4)

    @property
    def without_pixels(self) -> tuple[str, str, ZoomRule]:
        """What decides about answers, beside the image."""
        return self.model, self.window, self.zoom


@dataclass(frozen=True, slots=True, eq=False)
class Made(Generic[T]):
    """Something that was made from a volume and from more; nobody else's volume is kept for it.

    Attributes:
        thing: what was made.
        volume: gives the volume, or None when it is gone.
        rest: what else decided about it.
    """

    thing: T
    volume: Callable[[], Any]
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, thing: T, volume: Any, *rest: Any) -> Made[T]:
        """Made from this volume, which is known again by identity, and the rest, by equality."""
        try:
            return cls(thing, weakref.ref(volume), rest)
        except TypeError:  # an array of a kind that nobody can refer to weakly
            return cls(thing, lambda: volume, rest)

    def is_from(self, volume: Any, *rest: Any) -> bool:
        """True when it would be made from the same again."""
        return self.volume() is volume and self.rest == rest


class Engine:
    """Keeps the model and the service that were asked for last.

    Args:
        load: `(name_or_path, progress) -> LoadedModel`; None takes `weights.loading.load_weights`.
    """

    def __init__(self, load: Callable[[str, Callable[..., None]], LoadedModel] | None = None) -> None:
        self._load = load or _load_weights
        self._model: tuple[str, LoadedModel] | None = None
        self._service: Made[Service] | None = None

    def service(self, settings: ServiceSettings, report: Report) -> Service:
        """The service for these settings, from the last call if they are the same.

        Raises:
            MedicoSamError: weights that cannot be had or do not fit, a window that is none, an empty volume.
        """
        rest = (*settings.without_pixels, settings.folder)
        if self._service is not None and self._service.is_from(settings.volume, *rest):
            return self._service.thing
        with nothing_collected():
            import_torch()
            from napari_medicosam.cache.keys import EmbeddingKey
            from napari_medicosam.predict.runtimes import open_runtime
            from napari_medicosam.predict.service import SegmentationService

        model = self._load_model(settings.model, report)
        preparing = partial(report, 0, 0, "Preparing the encoder …")
        preparing()
        with nothing_collected():
            runtime = open_runtime(model, watch=preparing)
        report(0, 0, "Measuring intensities …")
        wanted = model.window if settings.window == "auto" and not settings.is_rgb else settings.window
        mapping = resolve_intensity(wanted, settings.volume, is_rgb=settings.is_rgb)
        key = EmbeddingKey(model.spec, model.weights_sha256, mapping, precision=runtime.precision)
        service = SegmentationService(model, mapping, _make_store(settings, key), settings.zoom, runtime)
        self._service = Made.of(service, settings.volume, *rest)
        return service

    def _load_model(self, name: str, report: Report) -> LoadedModel:
        if self._model is not None and self._model[0] == name:
            return self._model[1]
        self._service = self._model = None  # the old model's memory is free before the new one comes
        report(0, 0, f"Loading {name} …")

        def progress(done: int, total: int | None) -> None:
            of = f" of {total / 1e6:.0f}" if total else ""
            report(done, total or 0, f"Downloading {name}: {done / 1e6:.0f}{of} MB")

        model = self._load(name, progress)
        self._model = (name, model)
        return model


def is_local(name_or_path: str) -> bool:
    """True when using this model downloads nothing. Reads no file; `WeightsError` for an unknown name."""
    if is_checkpoint_path(name_or_path):
        return True
    return status(find_entry(name_or_path)) not in ("remote", "ask")


def _load_weights(name: str, progress: Callable[..., None]) -> LoadedModel:
    with nothing_collected():
        from napari_medicosam.weights.loading import load_weights

    return load_weights(name, progress=progress)


def _make_store(settings: ServiceSettings, key: Any) -> EmbeddingStore:
    memory = _shared_pool().bind(key)
    if settings.folder is None:
        return memory
    from napari_medicosam.cache.store import TieredEmbeddingStore, ZarrEmbeddingStore

    z, y, x = settings.volume.shape[:3]
    return TieredEmbeddingStore(memory, ZarrEmbeddingStore(settings.folder, key, (z, y, x)))


@cache
def _shared_pool() -> MemoryEmbeddingStore:
    """The one thing that all viewers share; entries are found by content, so none can meet another's."""
    from napari_medicosam.cache.memory import MemoryEmbeddingStore

    return MemoryEmbeddingStore(POOL_BYTES)
