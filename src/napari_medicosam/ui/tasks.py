"""What runs on the worker thread. Knows neither Qt nor napari, and reads no layer."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.interpolation import interpolate_slices
from napari_medicosam.core.post_processing import CleanUp, clean_up_inside
from napari_medicosam.core.results import Region, SegmentResult
from napari_medicosam.core.session_state import ModelUse
from napari_medicosam.errors import InputError, MedicoSamError
from napari_medicosam.predict.objects import as_clicked
from napari_medicosam.predict.propagation import Gap, ObjectRun, PropagationSettings, propagate_objects
from napari_medicosam.predict.three_planes import agree_on_three_planes
from napari_medicosam.predict.tuning import tune_on_object
from napari_medicosam.ui.engine import Made
from napari_medicosam.ui.pool_threads import PoolThreads

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane, SliceStack
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.core.results import SegmentRequest
    from napari_medicosam.predict.tuning import TuningResult
    from napari_medicosam.predict.zoom import ZoomRule
    from napari_medicosam.ui.engine import Service, ServiceSettings, ServiceSource
    from napari_medicosam.ui.runner import Report


AHEAD_SECONDS = 1.0
"""A slice that takes longer is not encoded before somebody asks: the next question would have to wait for it."""


@dataclass(eq=False, slots=True)
class Worker:
    """The tasks of one session.

    Attributes:
        engine: gives the service.
        encode_seconds: what the last slice took to encode; None before the first.
        runtime: that encodes for the model that answered last; "" before.
    """

    engine: ServiceSource
    encode_seconds: float | None = None
    runtime: str = ""
    _measured: Made[IntensityMapping] | None = None
    _weights: tuple[str, str] = ("", "")
    _served: Made[None] | None = None
    _used: dict[tuple[str, str, ZoomRule], Made[ModelUse]] = field(default_factory=dict)
    _pool: PoolThreads = field(default_factory=PoolThreads)

    def window_range(self, settings: ServiceSettings) -> tuple[float, float] | None:
        """The intensities that are black and white to the model, once that was measured. For the GUI thread."""
        mapping = self.mapping(settings)
        return None if mapping is None else (mapping.low, mapping.high)

    def mapping(self, settings: ServiceSettings) -> IntensityMapping | None:
        """How intensities are shown to the model, once that was measured. For the GUI thread."""
        measured = self._measured
        if measured is None or not measured.is_from(settings.volume, settings.model, settings.window):
            return None
        return measured.thing

    def weights_sha256(self, model: str) -> str:
        """Of the weights that answered last, if they are this model's; else "". For the GUI thread."""
        name, sha256 = self._weights
        return sha256 if name == model else ""

    def has_served(self, settings: ServiceSettings) -> bool:
        """Whether a service was made from these settings and is at hand. For the GUI thread."""
        served = self._served
        return served is not None and served.is_from(
            settings.volume, *settings.without_pixels, settings.folder
        )

    def use_of(self, settings: ServiceSettings, how: PropagationSettings | None = None) -> ModelUse | None:
        """What answered with these settings, once it did; None for a service that nobody can make again.

        For the GUI thread.
        """
        made = self._used.get(settings.without_pixels)
        if made is None or not made.is_from(settings.volume):
            return None
        return made.thing if how is None else replace(made.thing, propagation=how.as_record())

    def segment(self, settings: ServiceSettings, request: SegmentRequest, report: Report) -> SegmentResult:
        """Answer one request. The user's clicks and lassos count, whatever the model says."""
        service = self._service(settings, report)
        if not request.prompts.is_stop:
            self._encode(service, settings, request.plane, request.image_slice, report)
        result = service.segment(request)
        self._pool.lower()
        return as_clicked(result, request.prompts)

    def prepare(
        self, settings: ServiceSettings, plane: SlicePlane, image_slice: NDArray[Any], report: Report
    ) -> None:
        """Load the model and encode the slice that is looked at, so that the first click is fast.

        What is wrong with the image is told to whoever clicks, and so once.
        """
        with suppress(InputError):
            self._encode(self._service(settings, report), settings, plane, image_slice, report)

    def encode_ahead(
        self, settings: ServiceSettings, planes: Sequence[SlicePlane], report: Report
    ) -> Iterator[None]:
        """Encode slices that nobody has asked about, one at a time, as long as that is quick; tells nothing.

        Where it cannot be done whoever asks about the slice is told why.
        """
        with suppress(MedicoSamError):
            service = self._service(settings, _tell_nobody)
            for plane in planes:
                if self.encode_seconds is not None and self.encode_seconds > AHEAD_SECONDS:
                    return
                self._encode(service, settings, plane, np.array(plane.cut(settings.volume)), _tell_nobody)
                yield

    def propagate(
        self, settings: ServiceSettings, run: Propagation, report: Report
    ) -> Iterator[SegmentResult | None]:
        """Results slice by slice, with time left; None when it has come to its end."""
        service: Any = self._service(settings, report)
        total = run.num_slices
        report(0, total, "Propagating …")
        began = time.monotonic()
        results = propagate_objects(service, run.stack, [part.run for part in run.parts])
        for done, result in enumerate(results, start=1):
            left = (time.monotonic() - began) / done * (total - done)
            report(done, total, f"Slice {result.plane.index} done, at most {_duration(left)} left")
            self._pool.lower()
            yield result
        yield None

    @staticmethod
    def interpolate(run: Propagation, report: Report) -> Iterator[SegmentResult | None]:
        """Results between annotated slices from their shapes alone; None when it has come to its end."""
        side = np.zeros((1, 1), dtype=np.float32)  # no model, no logits
        done, total = 0, run.num_slices
        for part in run.parts:
            masks = {anchor.plane.index: anchor.mask for anchor in part.run.anchors}
            for below, above in part.filled_from:
                if below is None or above is None or below not in masks or above not in masks:
                    continue
                for index, mask in interpolate_slices({below: masks[below], above: masks[above]}):
                    done += 1
                    report(done, total, f"Slice {index} done")
                    plane = run.stack.plane(index)
                    yield SegmentResult(plane, mask, Region.of_mask(mask), math.nan, side, part.object_id)
        yield None

    def agree(
        self,
        settings: ServiceSettings,
        stack: SliceStack,
        packed: PackedMask,
        how: PropagationSettings,
        report: Report,
    ) -> Agreed:
        """What three axes say together about a mask that was made along the stack's."""
        service: Any = self._service(settings, report)
        began = time.monotonic()
        for progress in agree_on_three_planes(service, stack, packed.unpacked(stack.shape_zyx), how):
            if progress.result is not None:
                found = progress.result
                packed = PackedMask.of(found.mask, VoxelBox((0, 0, 0), stack.shape_zyx))
                return Agreed(packed, found.agreement_by_plane(), found.mean_dice)
            _report_left(report, "Other planes", (progress.done, progress.total), began)
        raise RuntimeError("a consensus that comes to no end")

    def tune(
        self,
        settings: ServiceSettings,
        stack: SliceStack,
        finished: tuple[PackedMask, tuple[int, ...]],
        how: PropagationSettings,
        report: Report,
    ) -> TuningResult:
        """Which settings find a finished object from one of its slices; the user's are preferred to start from."""
        service: Any = self._service(settings, report)
        packed, users = finished
        mask = packed.unpacked(stack.shape_zyx)
        on = [index for index in users if stack.plane(index).cut(mask).any()]
        began = time.monotonic()
        for progress in tune_on_object(service, stack, mask, how, start=on[len(on) // 2] if on else None):
            if progress.result is not None:
                return progress.result
            _report_left(report, "Tuning", (progress.done, progress.total), began)
        raise RuntimeError("a search that comes to no end")

    def _service(self, settings: ServiceSettings, report: Report) -> Service:
        self._pool.begin()
        service = self.engine.service(settings, report)
        self._pool.lower()
        self._served = Made.of(None, settings.volume, *settings.without_pixels, settings.folder)
        if service.mapping is not None:
            self._measured = Made.of(service.mapping, settings.volume, settings.model, settings.window)
        model = getattr(service, "model", None)  # a service of another make may have none
        sha256 = getattr(model, "weights_sha256", "")
        self._weights = (settings.model, sha256)
        self.runtime = getattr(service, "runtime", "")
        if service.mapping is not None and sha256:
            zoom, how = asdict(settings.zoom), PropagationSettings().as_record()
            name = Path(settings.model).name
            use = ModelUse(name, settings.window, sha256, service.mapping, zoom, how)
            self._used[settings.without_pixels] = Made.of(use, settings.volume)
        return service

    def _encode(
        self,
        service: Service,
        settings: ServiceSettings,
        plane: SlicePlane,
        image_slice: NDArray[Any],
        report: Report,
    ) -> None:
        if service.is_embedded(plane, image_slice):
            return
        about = "" if self.encode_seconds is None else f" about {_duration(self.encode_seconds)}"
        is_all = settings.volume.shape[plane.axis] == 1
        report(0, 0, f"Encoding {'the image' if is_all else f'slice {plane.index}'} …{about}")
        began = time.monotonic()
        service.embed(plane, image_slice)
        self.encode_seconds = time.monotonic() - began
        self._pool.lower()


@dataclass(frozen=True, slots=True, eq=False)
class Agreed:
    """What three axes say together.

    Attributes:
        packed: the mask.
        agreements: how well they agree on each slice along all axes, 0..1.
        mean_dice: over all pairs of them.
    """

    packed: PackedMask
    agreements: Mapping[SlicePlane, float]
    mean_dice: float


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPart:
    """What an object is propagated from, and for each gap that is to be filled what it will be filled from."""

    object_id: int
    run: ObjectRun
    filled_from: Mapping[Gap, Hashable]


@dataclass(frozen=True, slots=True, eq=False)
class Propagation:
    """What a propagation starts from: see `predict.propagation.propagate_objects`.

    Attributes:
        stack: the slices.
        parts: the objects.
        from_shapes: gaps are to be filled from the shapes beside them, without a model.
    """

    stack: SliceStack
    parts: tuple[ObjectPart, ...]
    from_shapes: bool = False

    @property
    def num_slices(self) -> int:
        """How many results there will be at most: anchors are never asked about."""
        return sum(
            len(self.indices_of(part) - {anchor.plane.index for anchor in part.run.anchors})
            for part in self.parts
        )

    def indices_of(self, part: ObjectPart) -> set[int]:
        """Numbers of the slices where an object will not be what it was before.

        A model follows the object through the whole range but skipped gaps; shapes fill gaps and nothing beyond.
        """
        bounds = part.run.z_range or (0, len(self.stack))
        if self.from_shapes:
            return _inside(part.filled_from, bounds)
        return set(range(*bounds)) - _inside(part.run.skip, bounds)


def _tell_nobody(done: int, total: int, text: str) -> None:
    """In the place of a report that would be shown to the user."""


def _inside(gaps: Iterable[Gap], bounds: tuple[int, int]) -> set[int]:
    first, last = bounds
    return {
        index
        for below, above in gaps
        for index in range(first if below is None else below + 1, last if above is None else above)
    }


def cleaned(
    packed: PackedMask,
    shape_zyx: tuple[int, int, int],
    spacing_zyx: tuple[float, float, float],
    settings: CleanUp,
) -> PackedMask:
    """A mask in a volume of this shape after `core.post_processing.clean_up`."""
    box = packed.tight_box
    after = clean_up_inside(packed.inside(box), box.start_zyx, shape_zyx, spacing_zyx, settings)
    return PackedMask.of(after, VoxelBox((0, 0, 0), box.shape)).moved(box.start_zyx)


def _report_left(report: Report, what: str, done_of: tuple[int, int], began: float) -> None:
    done, total = done_of
    left = f", at most {_duration((time.monotonic() - began) / done * (total - done))} left" if done else ""
    report(done, total, f"{what}: {done} of {total} slices{left}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
