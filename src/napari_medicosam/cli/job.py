"""What `segment`, `embed` and `demo` share: an image opened, a model loaded, a store made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.cli.loaded_model import load_once, runtime_once
from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import InputError
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule

if TYPE_CHECKING:
    from napari_medicosam.cache.keys import EmbeddingKey
    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.io.volumes import Volume
    from napari_medicosam.predict.service import SegmentationService
    from napari_medicosam.weights.loading import LoadedModel

MEMORY_BYTES = 1024**3
"""Embeddings kept in memory while a command runs; about 500 slices."""

_FOLDER_DIGITS = 32


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a command was told about how to segment.

    Attributes:
        model: registry name or checkpoint file.
        window: a word of `resolve_intensity`, or LOW,HIGH; None takes what the model wants.
        embeddings: folder of stored embeddings; None keeps them in memory.
        device: of torch; None takes the best there is.
        embedding_dtype: what embeddings are kept as.
        zoom: which objects are looked at in a view of the slice.
        runtime: that encodes; None as `open_runtime` has it.
        is_shared: `embeddings` is a folder for many images; each has its own in it, named by a digest of its pixels.
        keep_in_memory: embeddings on disk are also held in memory, for a command that asks for them again.
    """

    model: str
    window: str | None = None
    embeddings: Path | None = None
    device: str | None = None
    zoom: ZoomRule = DEFAULT_ZOOM
    embedding_dtype: str = "float16"
    runtime: str | None = None
    is_shared: bool = False
    keep_in_memory: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An image ready to be segmented along one axis."""

    image: Volume
    stack: SliceStack
    service: SegmentationService

    @property
    def model(self) -> LoadedModel:
        """The model in use."""
        return self.service.model

    @property
    def mapping(self) -> IntensityMapping:
        """The intensity mapping in use."""
        return self.service.mapping

    def z_range(self, text: str | None) -> tuple[int, int] | None:
        """`START,STOP` checked against the number of slices."""
        if text is None:
            return None
        try:
            first, last = (int(part) for part in text.split(","))
        except ValueError:
            raise InputError(f"--z-range {text}: wanted two whole numbers START,STOP") from None
        if not 0 <= first < last <= len(self.stack):
            raise InputError(f"--z-range {text}: wanted 0 <= START < STOP <= {len(self.stack)}")
        return first, last


def is_same_file(path: Path, other: Path) -> bool:
    """Whether both are there, and one."""
    return path.exists() and other.exists() and path.samefile(other)


def axis_of(image: Volume, axis: str) -> int:
    """The array axis that `--axis` means for this image."""
    chosen = image.geometry.axis_of(axis)
    if image.is_2d and chosen != 0:
        raise InputError(f"--axis {axis}: a 2D image has one plane only, leave --axis out")
    return chosen


def open_job(image: Volume, axis: int, options: JobOptions) -> Job:
    """Load the model, resolve the intensity mapping, open the embedding store."""
    from napari_medicosam.cache.keys import EmbeddingKey
    from napari_medicosam.cli.console import download_progress
    from napari_medicosam.predict.runtimes import check_runtime
    from napari_medicosam.predict.service import SegmentationService

    if options.runtime is not None:
        check_runtime(options.runtime)
    with download_progress(options.model) as progress:
        model = load_once(options.model, options.device, progress)
    mapping = resolve_intensity(options.window or model.window, image.array, is_rgb=image.is_rgb)
    runtime = runtime_once(model, options.runtime)
    key = EmbeddingKey(
        model.spec, model.weights_sha256, mapping, options.embedding_dtype, precision=runtime.precision
    )
    store = _open_store(image, key, options)
    service = SegmentationService(model, mapping, store, options.zoom, runtime)
    spacing = image.geometry.spacing_zyx if image.header.unit == "mm" else None
    return Job(image, SliceStack(image.array, axis, spacing), service)


def _open_store(image: Volume, key: EmbeddingKey, options: JobOptions) -> EmbeddingStore:
    from napari_medicosam.cache.memory import MemoryEmbeddingStore
    from napari_medicosam.cache.store import TieredEmbeddingStore, ZarrEmbeddingStore

    folder = options.embeddings
    memory = MemoryEmbeddingStore(MEMORY_BYTES).bind(key)
    if folder is None:
        return memory
    if options.is_shared:
        folder = folder / image_digest([image.array])[:_FOLDER_DIGITS]
    disk = ZarrEmbeddingStore(folder, key, image.geometry.shape_zyx)
    return TieredEmbeddingStore(memory, disk) if options.keep_in_memory else disk
