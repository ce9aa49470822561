"""What is done with the whole mask of an object once it is found: three planes vote, then it is cleaned up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import numpy as np

from napari_medicosam.cli.console import slice_progress
from napari_medicosam.core.post_processing import CleanUp, HoleFilling, clean_up
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.cli.job import Job
    from napari_medicosam.cli.options import CleanUpOptions
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.prompts import ObjectPrompts
    from napari_medicosam.core.results import Region, SegmentResult
    from napari_medicosam.predict.propagation import PropagationSettings


@dataclass(frozen=True, slots=True)
class Refinement:
    """What is to be done.

    Attributes:
        three_planes: settings of the propagation along the two other axes; None for no vote.
        z_range: slices that the vote may change; None for all.
        clean_up: None for nothing.
    """

    three_planes: PropagationSettings | None = None
    z_range: tuple[int, int] | None = None
    clean_up: CleanUp | None = None

    @property
    def is_wanted(self) -> bool:
        """False when masks stay as they are found."""
        return self.three_planes is not None or self.clean_up is not None

    def __call__(
        self, job: Job, wanted: ObjectPrompts, mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], float | None]:
        """The mask of an object, bool (z, y, x), as it is in the end, and how well three planes agreed (mean Dice)."""
        agreement = None
        if self.three_planes is not None:
            mask, agreement = _voted(job, wanted, mask, self.three_planes, self.z_range)
        if self.clean_up is not None:
            mask = clean_up(mask, job.image.geometry.spacing_zyx, self.clean_up)
        return mask, agreement


@dataclass(slots=True)
class FoundSlices:
    """What was found of one object, each slice no larger than the mask on it."""

    parts: list[tuple[SlicePlane, Region, NDArray[np.bool_]]] = field(default_factory=list)

    def add(self, result: SegmentResult) -> None:
        """Keep the mask of a slice."""
        self.parts.append((result.plane, result.region, result.mask[result.region.slices_yx].copy()))

    def mask(self, shape_zyx: tuple[int, int, int]) -> NDArray[np.bool_]:
        """All of it, bool (z, y, x)."""
        mask = np.zeros(shape_zyx, dtype=bool)
        for plane, region, part in self.parts:
            plane.cut(mask)[region.slices_yx] = part
        return mask


def clean_up_of(given: CleanUpOptions, axis: int) -> CleanUp | None:
    """What the options say, for slices along an axis; None when that is nothing.

    Raises:
        InputError: for a word or size that means nothing.
    """
    if given.fill_holes not in get_args(HoleFilling):
        raise InputError(f"--fill-holes {given.fill_holes}: wanted {', '.join(get_args(HoleFilling))}")
    wanted = CleanUp(given.largest, given.fill_holes, axis, given.smooth, given.min_size)  # type: ignore[arg-type]
    return None if wanted == CleanUp(fill_axis=axis) else wanted


def _voted(
    job: Job,
    wanted: ObjectPrompts,
    mask: NDArray[np.bool_],
    settings: PropagationSettings,
    z_range: tuple[int, int] | None,
) -> tuple[NDArray[np.bool_], float]:
    """What two of three axes say, but on prompted slices what was found there."""
    from napari_medicosam.predict.three_planes import agree_on_three_planes

    with slice_progress() as bar:
        task = bar.add_task(f"{wanted}, other planes")
        for progress in agree_on_three_planes(job.service, job.stack, mask, settings):
            bar.update(task, completed=progress.done, total=progress.total)
    found = progress.result
    if found is None:
        raise RuntimeError("a vote that comes to no end")
    voted = np.array(found.mask)
    first, last = z_range or (0, len(job.stack))
    along = np.moveaxis(voted, job.stack.axis, 0)
    along[:first], along[last:] = False, False
    for prompts in wanted.prompt_sets:
        prompts.plane.cut(voted)[...] = prompts.plane.cut(mask)
    return voted, found.mean_dice
