"""What a user says about one object on one slice: points, a box, a mask hint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane


@dataclass(frozen=True, slots=True)
class PointPrompt:
    """A click at `position_yx` (row, column) in slice pixels, pixel centres at integers.

    `positive` says that the object is here, otherwise that it is not.
    """

    position_yx: tuple[float, float]
    positive: bool = True

    def __post_init__(self) -> None:
        y, x = (float(v) for v in self.position_yx)
        if not (math.isfinite(y) and math.isfinite(x)):
            raise InputError(f"a point needs two finite coordinates (y, x), got {self.position_yx}")
        object.__setattr__(self, "position_yx", (y, x))


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A box in slice pixels, half-open: rows y0 <= y < y1 and columns x0 <= x < x1."""

    y0: float
    x0: float
    y1: float
    x1: float

    def __post_init__(self) -> None:
        bounds = self.bounds
        if not all(math.isfinite(v) for v in bounds):
            raise InputError(f"a box needs four finite numbers (y0, x0, y1, x1), got {bounds}")
        if self.y1 <= self.y0 or self.x1 <= self.x0:
            raise InputError(f"a box needs y0 < y1 and x0 < x1, got (y0, x0, y1, x1) = {bounds}")

    @property
    def area(self) -> float:
        """In pixels."""
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1)."""
        return self.y0, self.x0, self.y1, self.x1


@dataclass(frozen=True, slots=True, eq=False)
class PromptSet:
    """All prompts for one object on one slice.

    Args:
        plane: the slice that they are on.
        points: clicks, in the order they were made.
        box: at most one.
        mask: bool (rows, columns) of the slice, a hint that the object is about there.
        excluded: bool (rows, columns) of the slice, where the object is not. The model is told of it by negative
            points alone; `core.users_clicks` takes it from the answer.

    A set with nothing but negative points is a *stop*: the object is not on this slice.
    """

    plane: SlicePlane
    points: tuple[PointPrompt, ...] = ()
    box: BoxPrompt | None = None
    mask: NDArray[np.bool_] | None = None
    excluded: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(self.points))
        if self.excluded is not None:
            excluded = np.array(self.excluded, dtype=bool)
            excluded.setflags(write=False)
            object.__setattr__(self, "excluded", excluded)
        if self.mask is None:
            return
        mask = np.array(self.mask, dtype=bool)
        if mask.ndim != 2:
            raise InputError(f"a mask prompt must be 2D (rows, columns), got shape {mask.shape}")
        if not mask.any():
            raise InputError("a mask prompt is empty: it needs at least one pixel of the object")
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)

    @property
    def is_empty(self) -> bool:
        """True without any prompt."""
        return not self.points and self.box is None and self.mask is None

    @property
    def is_stop(self) -> bool:
        """True when all there is says "not here"."""
        only_points = bool(self.points) and self.box is None and self.mask is None
        return only_points and not any(point.positive for point in self.points)

    @property
    def is_ambiguous(self) -> bool:
        """True for one positive point alone, where SAM's three-mask head is meant to be asked."""
        return len(self.points) == 1 and self.points[0].positive and self.box is None and self.mask is None

    def check(self, size_yx: tuple[int, int]) -> None:
        """Raise `InputError` when there is no prompt, or one outside a slice of this size.

        A box may stick out as long as a part of it lies inside: annotators draw over the border.
        """
        rows, columns = size_yx
        where = (
            f"slice {self.plane.index} along axis {self.plane.axis} with {rows} rows and {columns} columns"
        )
        if self.is_empty:
            raise InputError(f"no prompt on {where}: give a point, a box or a mask")
        for point in self.points:
            y, x = point.position_yx
            if not (-0.5 <= y <= rows - 0.5 and -0.5 <= x <= columns - 0.5):
                raise InputError(f"point (y, x) = ({y:g}, {x:g}) is outside {where}")
        if self.box is not None:
            y0, x0, y1, x1 = self.box.bounds
            if y1 <= 0 or x1 <= 0 or y0 >= rows or x0 >= columns:
                raise InputError(
                    f"box (y0, x0, y1, x1) = ({y0:g}, {x0:g}, {y1:g}, {x1:g}) is outside {where}"
                )
        for name, mask in (("mask prompt", self.mask), ("excluded area", self.excluded)):
            if mask is not None and mask.shape != (rows, columns):
                raise InputError(f"{name} has shape {mask.shape}, wanted that of {where}")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPrompts:
    """Everything that is said about one object: at most one `PromptSet` a slice, all along one axis.

    Raises:
        InputError: for an id below 1, no prompt at all, nothing but "not here", two sets for one slice, or
            slices of different axes.
    """

    object_id: int
    prompt_sets: tuple[PromptSet, ...]
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt_sets", tuple(self.prompt_sets))
        if self.object_id < 1:
            raise InputError(f"object id must be 1 or more (0 is background), got {self.object_id}")
        if all(prompts.is_stop or prompts.is_empty for prompts in self.prompt_sets):
            raise InputError(
                f"{self} has no prompt that says where it is: give a positive point, a box or a mask"
            )
        planes = [prompts.plane for prompts in self.prompt_sets]
        if len({plane.axis for plane in planes}) > 1 or len(set(planes)) < len(planes):
            raise InputError(
                f"{self} needs its prompts on one axis and merged into one set a slice, got {planes}"
            )

    @property
    def stops(self) -> frozenset[int]:
        """Slices that the user says the object is not on."""
        return frozenset(prompts.plane.index for prompts in self.prompt_sets if prompts.is_stop)

    def __str__(self) -> str:
        return f"object {self.object_id}" + (f" ({self.name})" if self.name else "")
