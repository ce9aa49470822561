"""Which propagation settings would have found an object that is finished: a grid search on that object alone.

A run without a stop rule goes through every slice that a run with one could reach, and a rule only decides where it
ends. So each mode and box extension is followed once, what a rule would see is written down at each slice, and all
rules are tried on that. The extensions of a mode go together, one decoder call a slice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medicosam.core.bounds import mask_bounds
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompt_derivation import PromptMode, derive_box
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import ObjectRun, PropagationSettings, propagate_objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.predict.propagation_settings import StopRule
    from napari_medicosam.predict.service import SegmentationService

BEYOND = 5
"""Slices that are followed beyond each end of the object, so that a leak costs more than no leak."""


@dataclass(frozen=True, slots=True)
class TuningGrid:
    """What is tried: every combination, and the current settings.

    Attributes:
        modes: prompts that a slice's mask gives to the next one.
        box_extensions: fractions or pixels, as in `PropagationSettings`.
        iou_thresholds: for slices at the reference distance, as in `PropagationSettings`.
        min_confidences: as in `PropagationSettings`.

    Raises:
        InputError: when one of them is empty.
    """

    modes: tuple[PromptMode, ...] = tuple(
        PromptMode.parse(mode) for mode in ("box", "mask", "points_and_mask")
    )
    box_extensions: tuple[float, ...] = (0.0, 0.025, 0.05, 0.1)
    iou_thresholds: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    min_confidences: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.85)

    def __post_init__(self) -> None:
        if not (self.modes and self.box_extensions and self.iou_thresholds and self.min_confidences):
            raise InputError(f"a grid to tune on needs at least one value of each setting, got {self}")


DEFAULT_GRID = TuningGrid()


@dataclass(frozen=True, slots=True)
class Scored:
    """3D Dice that settings reach, from one slice of the object, against its finished mask."""

    settings: PropagationSettings
    dice: float


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What came out.

    Attributes:
        ranked: all that was tried, the best first. Of equals the current settings come first, then those that differ
            from them in the fewest fields.
        current: the settings at hand before.
    """

    ranked: tuple[Scored, ...]
    current: Scored

    @property
    def best(self) -> Scored:
        """The first of `ranked`; the current settings unless others are better."""
        return self.ranked[0]


@dataclass(frozen=True, slots=True)
class TuningProgress:
    """How far it has come.

    Attributes:
        done: slices that were looked at, once for each mode and box extension.
        total: of these, at most.
        best: of the modes that are done; None before the first one is.
        result: set at the end, and only then.
    """

    done: int
    total: int
    best: Scored | None
    result: TuningResult | None = None


class _Seen(NamedTuple):
    """What a rule and a judge see of one slice."""

    agreement: float
    prediction: float
    likeness: float
    overlap: int
    area: int


_Ways = dict[int, list[_Seen]]
"""What was seen below (-1) and above (1) the start, outwards."""


def tune_on_object(
    service: SegmentationService,
    stack: SliceStack,
    mask: NDArray[np.bool_],
    current: PropagationSettings,
    *,
    start: int | None = None,
    grid: TuningGrid = DEFAULT_GRID,
) -> Iterator[TuningProgress]:
    """Find the settings that give most of a finished object from one of its slices.

    The mask of that slice is carried both ways, to at most `BEYOND` slices beyond the object's ends. The confidence of
    later slices is compared with what the model thinks of that slice, asked with the tight box.

    Args:
        service: embeddings that it has are not made again.
        stack: the image, cut along the axis that objects are to be propagated along.
        mask: bool (z, y, x), the finished object.
        current: settings at hand; what the grid does not hold stays as it is there.
        start: number of the slice to start from; None is the middle one of those that the object is on.
        grid: what is tried beside `current`.

    Yields:
        How far it is, after every slice and setting; the last one has the result. Closing the generator cancels.

    Raises:
        InputError: for a mask of another shape or type, an object on fewer than two slices, a start that it is not on,
            or an extension in mm where the stack has no spacing.
    """
    task = _Task.of(stack, mask, start)
    modes = _to_follow(current, grid)
    most = task.z_range[1] - task.z_range[0] - 1
    total = most * sum(len(among) for among in modes)
    before, best = 0, None
    scored: list[Scored] = []
    yield TuningProgress(0, total, best)
    confidence = task.confidence(service)
    for among in modes:
        ways: list[_Ways] = [{-1: [], 1: []} for _ in among]
        for done, (number, side, seen) in enumerate(task.follow(service, among), start=before + 1):
            ways[number][side].append(seen)
            yield TuningProgress(done, total, best)
        for followed, way in zip(among, ways, strict=True):
            scored += [
                Scored(settings, task.dice(way, settings.stop_rule(stack), confidence))
                for settings in _with_rules(followed, current, grid)
            ]
        scored.sort(key=lambda one: (-one.dice, _num_changes(one.settings, current)))
        best = scored[0]
        before += most * len(among)  # where a mask has vanished, nothing more is asked
        yield TuningProgress(before, total, best)
    now = next(one for one in scored if one.settings == current)
    yield TuningProgress(total, total, best, TuningResult(tuple(scored), now))


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A finished object, and the slice it is to be found from."""

    stack: SliceStack
    truth: NDArray[np.bool_]
    start: int
    z_range: tuple[int, int]
    num_voxels: int

    @classmethod
    def of(cls, stack: SliceStack, mask: NDArray[np.bool_], start: int | None) -> _Task:
        """Checked; see `tune_on_object`."""
        bounds = mask_bounds(mask)
        if mask.shape != stack.shape_zyx:
            raise InputError(f"the mask to tune on has shape {mask.shape}, the image {stack.shape_zyx}")
        if bounds is None:
            raise InputError("the mask to tune on is empty: finish an object first")
        others = tuple(axis for axis in range(3) if axis != stack.axis)
        first, last = bounds[stack.axis].start, bounds[stack.axis].stop
        indices = first + np.flatnonzero(mask[bounds].any(axis=others))
        if len(indices) < 2:
            raise InputError("the object to tune on is on one slice only: there is nothing to propagate to")
        if start is None:
            start = int(indices[len(indices) // 2])
        elif start not in indices:
            raise InputError(
                f"the object is not on slice {start}: wanted one of {first}..{last - 1} that it is on"
            )
        z_range = max(first - BEYOND, 0), min(last + BEYOND, len(stack))
        return cls(stack, mask, start, z_range, int(np.count_nonzero(mask[bounds])))

    def confidence(self, service: SegmentationService) -> float:
        """Predicted IoU on the slice to start from; NaN where the model finds nothing there."""
        plane = self.stack.plane(self.start)
        prompts = PromptSet(plane, box=derive_box(plane.cut(self.truth)))
        found = service.segment(SegmentRequest(self.stack.pixels(self.start), prompts))
        return math.nan if found.region.is_empty else found.iou_prediction

    def follow(
        self, service: SegmentationService, among: Sequence[PropagationSettings]
    ) -> Iterator[tuple[int, int, _Seen]]:
        """What is seen by each of `among`, which have no stop rule: (its number, side, slice), sides outwards."""
        plane = self.stack.plane(self.start)
        mask = np.ascontiguousarray(plane.cut(self.truth))
        side = np.zeros((1, 1), dtype=np.float32)  # propagation asks with masks, not with logits
        anchors = [
            SegmentResult(plane, mask, Region.of_mask(mask), math.nan, side, object_id)
            for object_id in range(1, len(among) + 1)
        ]
        previous: dict[tuple[int, int], NDArray[np.bool_]] = {}
        runs = [
            ObjectRun([anchor], settings, z_range=self.z_range)
            for anchor, settings in zip(anchors, among, strict=True)
        ]
        for result in propagate_objects(service, self.stack, runs):
            way = result.object_id - 1, 1 if result.plane.index > self.start else -1
            truth = result.plane.cut(self.truth)
            yield (
                *way,
                _Seen(
                    iou(previous.get(way, mask), result.mask),
                    result.iou_prediction,
                    result.likeness,
                    int(np.count_nonzero(truth & result.mask)),
                    int(np.count_nonzero(result.mask)),
                ),
            )
            previous[way] = result.mask

    def dice(self, ways: _Ways, rule: StopRule, confidence: float) -> float:
        """3D Dice of what is kept by a rule, as `propagate` would stop by it."""
        overlap = area = int(np.count_nonzero(self.stack.plane(self.start).cut(self.truth)))
        for way in ways.values():
            reference = confidence
            for seen in way:
                if math.isnan(reference):
                    reference = seen.prediction
                if rule.ends_at(seen.agreement, seen.prediction, reference, seen.likeness):
                    break
                overlap, area = overlap + seen.overlap, area + seen.area
        return 2 * overlap / (area + self.num_voxels)


def _to_follow(current: PropagationSettings, grid: TuningGrid) -> list[list[PropagationSettings]]:
    """What is followed, without a stop rule, those of one mode together; the current settings' mode is the first."""
    now = replace(current, iou_threshold=0.0, min_confidence=0.0)
    by_mode: dict[PromptMode, list[PropagationSettings]] = defaultdict(list, {current.mode: [now]})
    for mode, extension in product(grid.modes, grid.box_extensions):
        settings = replace(now, mode=mode, box_extension=extension, box_extension_mm=None)
        has_box = mode.box or mode.points  # else its extension changes nothing
        if settings not in by_mode[mode] and (has_box or not by_mode[mode]):
            by_mode[mode].append(settings)
    return list(by_mode.values())


def _with_rules(
    followed: PropagationSettings, current: PropagationSettings, grid: TuningGrid
) -> list[PropagationSettings]:
    thresholds = dict.fromkeys((*grid.iou_thresholds, current.iou_threshold))
    confidences = dict.fromkeys((*grid.min_confidences, current.min_confidence))
    return [
        replace(followed, iou_threshold=threshold, min_confidence=confidence)
        for threshold, confidence in product(thresholds, confidences)
    ]


def _num_changes(settings: PropagationSettings, current: PropagationSettings) -> int:
    """In how many fields they differ."""
    return sum(getattr(settings, one.name) != getattr(current, one.name) for one in fields(settings))
