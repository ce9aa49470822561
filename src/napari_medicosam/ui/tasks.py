"""What runs on the worker thread. Knows neither Qt nor napari, and reads no layer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import FileError
from napari_medicosam.predict.propagation import Gap, PropagationSettings, propagate

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane, SliceStack
    from napari_medicosam.core.results import SegmentRequest, SegmentResult
    from napari_medicosam.io.label_class_files import LabelClassFile
    from napari_medicosam.ui.engine import Service, ServiceSettings, ServiceSource
    from napari_medicosam.ui.runner import Report


@dataclass(eq=False, slots=True)
class Worker:
    """The tasks of one session.

    Attributes:
        engine: gives the service.
        encode_seconds: what the last slice took to encode; None before the first.
    """

    engine: ServiceSource
    encode_seconds: float | None = None

    def segment(self, settings: ServiceSettings, request: SegmentRequest, report: Report) -> SegmentResult:
        """Answer one request."""
        service = self.engine.service(settings, report)
        if not request.prompts.is_stop:
            self._encode(service, request.plane, request.image_slice, report)
        return service.segment(request)

    def prepare(
        self, settings: ServiceSettings, plane: SlicePlane, image_slice: NDArray[Any], report: Report
    ) -> None:
        """Load the model and encode the slice that is looked at, so that the first click is fast."""
        self._encode(self.engine.service(settings, report), plane, image_slice, report)

    def propagate(
        self, settings: ServiceSettings, run: Propagation, report: Report
    ) -> Iterator[SegmentResult | None]:
        """Results slice by slice, with time left; None when it has come to its end."""
        service: Any = self.engine.service(settings, report)
        first, last = run.z_range
        total = last - first - len(run.anchors)
        report(0, total, "Propagating …")
        began = time.monotonic()
        results = propagate(
            service,
            run.stack,
            run.anchors,
            run.settings,
            stops=run.stops,
            z_range=run.z_range,
            skip=run.skip,
        )
        for done, result in enumerate(results, start=1):
            left = (time.monotonic() - began) / done * (total - done)
            report(done, total, f"Slice {result.plane.index} done, at most {_duration(left)} left")
            yield result
        yield None

    def _encode(self, service: Service, plane: SlicePlane, image_slice: NDArray[Any], report: Report) -> None:
        if service.is_embedded(plane, image_slice):
            return
        about = "" if self.encode_seconds is None else f" about {_duration(self.encode_seconds)}"
        report(0, 0, f"Encoding slice {plane.index} …{about}")
        began = time.monotonic()
        service.embed(plane, image_slice)
        self.encode_seconds = time.monotonic() - began


@dataclass(frozen=True, slots=True, eq=False)
class Propagation:
    """What a propagation starts from: see `predict.propagation.propagate`. `z_range` is half-open.

    `filled_from` says for each gap that is to be filled what it will be filled from.
    """

    stack: SliceStack
    anchors: tuple[SegmentResult, ...]
    settings: PropagationSettings
    stops: frozenset[int]
    z_range: tuple[int, int]
    skip: frozenset[Gap]
    filled_from: Mapping[Gap, Hashable]

    @property
    def indices(self) -> set[int]:
        """Numbers of the slices that are not what they were before: all in the range but those of skipped gaps."""
        first, last = self.z_range
        kept = {
            index
            for below, above in self.skip
            for index in range(first if below is None else below + 1, last if above is None else above)
        }
        return set(range(first, last)) - kept


def read_classes(path: Path) -> LabelClassFile:
    """Label classes of a file."""
    from napari_medicosam.io.label_class_files import read_label_classes

    return read_label_classes(path)


def save_labels(path: Path, labels: NDArray[Any], layer_meta: dict[str, Any]) -> str:
    """Write labels through the plugin's writer; an existing file is replaced. Returns the path.

    Volumes over time become a file each, NAME_t0.nii.gz and so on; none may exist, as only NAME was asked about.
    """
    from napari_medicosam.io.writer import write_labels_layer

    if labels.ndim < 4:
        return write_labels_layer(str(path), labels, layer_meta)[0]
    stem, dot, ending = path.name.partition(".")
    paths = [path.with_name(f"{stem}_t{time}{dot}{ending}") for time in range(len(labels))]
    old = [one.name for one in paths if one.exists()]
    if old:
        raise FileError(
            f"volumes over time are written to a file each, but {', '.join(old)} exists: choose another name"
        )
    meta = dict(layer_meta)
    for name in ("scale", "units"):
        if name in meta and not isinstance(meta[name], str):
            meta[name] = meta[name][-3:]
    for one, volume in zip(paths, labels, strict=True):
        write_labels_layer(str(one), volume, meta)
    return f"{paths[0]} … {paths[-1].name}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
