"""All prompts of one object in a volume, as values: what prompt layers and session files hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.drawn_prompts import clicks_along, clicks_inside, filled_polygon, pasted
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Path = tuple[tuple[float, float], ...]
"""Vertices (row, column) in slice pixels, pixel centres at integers."""


@dataclass(frozen=True, slots=True)
class VolumePoint:
    """A click at `position_zyx` in voxels, made while slices along `axis` were shown."""

    position_zyx: tuple[float, float, float]
    positive: bool
    axis: int

    @property
    def index(self) -> int:
        """Number of the slice that it is on; may lie outside the volume."""
        return round(self.position_zyx[self.axis])

    @property
    def position_yx(self) -> tuple[float, float]:
        """Position within its slice."""
        y, x = (v for axis, v in enumerate(self.position_zyx) if axis != self.axis)
        return y, x


@dataclass(frozen=True, slots=True)
class VolumeBox:
    """A half-open box (y0, x0, y1, x1) on slice `index` along `axis`."""

    axis: int
    index: int
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class VolumeScribble:
    """A stroke on slice `index` along `axis`: the object is (`positive`), or is not, where it passes."""

    axis: int
    index: int
    path_yx: Path
    positive: bool = True


@dataclass(frozen=True, slots=True)
class VolumeLasso:
    """A closed polygon on slice `index` along `axis`: the object is about there (`positive`), or is not in it."""

    axis: int
    index: int
    polygon_yx: Path
    positive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class VolumeMask:
    """A mask on slice `index` along `axis`, from another tool or an earlier commit: the object is about there.

    Attributes:
        patch: bool, read-only, what lies in `region`; at least one pixel is set.
        region: tight bounds of the mask in its slice.
    """

    axis: int
    index: int
    patch: NDArray[np.bool_]
    region: Region

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, VolumeMask)
            and (self.axis, self.index, self.region) == (other.axis, other.index, other.region)
            and np.array_equal(self.patch, other.patch)
        )

    def __hash__(self) -> int:
        return hash((self.axis, self.index, self.region))


Prompt = VolumePoint | VolumeBox | VolumeScribble | VolumeLasso | VolumeMask


@dataclass(frozen=True, slots=True)
class VolumePrompts:
    """Prompts of one object, each kind in the order made; at most one box and one mask a slice once cleaned."""

    points: tuple[VolumePoint, ...] = ()
    boxes: tuple[VolumeBox, ...] = ()
    scribbles: tuple[VolumeScribble, ...] = ()
    lassos: tuple[VolumeLasso, ...] = ()
    masks: tuple[VolumeMask, ...] = ()

    @property
    def all(self) -> tuple[Prompt, ...]:
        """All of them, kind by kind."""
        return (*self.points, *self.boxes, *self.scribbles, *self.lassos, *self.masks)

    @property
    def has_positive(self) -> bool:
        """True when one of them says where the object is: boxes and masks do."""
        return bool(self.boxes or self.masks) or any(
            one.positive for signed in (self.points, self.scribbles, self.lassos) for one in signed
        )

    @property
    def planes(self) -> frozenset[SlicePlane]:
        """The slices that have prompts."""
        return frozenset(SlicePlane(prompt.axis, prompt.index) for prompt in self.all)

    def on(self, plane: SlicePlane, size_yx: tuple[int, int]) -> PromptSet:
        """The prompts on one slice, as SAM takes them.

        Scribbles become clicks along them; a positive lasso a mask hint and, without a drawn box, a box; a negative
        one a few clicks inside it, and what is `excluded`. Masks and positive lassos of a slice are one hint together.
        """
        here = self._only(lambda prompt: _is_on(prompt, plane))
        points = [PointPrompt(point.position_yx, point.positive) for point in here.points]
        for scribble in here.scribbles:
            points += clicks_along(np.array(scribble.path_yx), positive=scribble.positive)
        hint, excluded = np.zeros(size_yx, dtype=bool), np.zeros(size_yx, dtype=bool)
        for mask in here.masks:
            hint |= pasted(mask.patch, mask.region, size_yx)
        for lasso in here.lassos:
            inside = filled_polygon(np.array(lasso.polygon_yx), size_yx)
            if lasso.positive:
                hint |= inside
            else:
                excluded |= inside
                points += clicks_inside(inside, positive=False)
        away = excluded if excluded.any() else None
        box = BoxPrompt(*here.boxes[-1].bounds) if here.boxes else None
        if not hint.any():
            return PromptSet(plane, tuple(points), box, excluded=away)
        around = Region.of_mask(hint)
        box = box or BoxPrompt(around.y0, around.x0, around.y1, around.x1)
        return PromptSet(plane, tuple(points), box, hint, away)

    def without(self, plane: SlicePlane) -> VolumePrompts:
        """All but the prompts on one slice."""
        return self._only(lambda prompt: not _is_on(prompt, plane))

    def without_prompt(self, prompt: Prompt) -> VolumePrompts:
        """All but one prompt, the newest of those that equal it; the same prompts when there is none."""
        kept = {}
        for name in self.__slots__:
            of_kind = list(getattr(self, name))
            equal = [number for number, one in enumerate(of_kind) if one == prompt]
            if equal:
                del of_kind[equal[-1]]
            kept[name] = tuple(of_kind)
        return VolumePrompts(**kept)

    def with_prompt(self, prompt: Prompt) -> VolumePrompts:
        """These and another one, as the newest of its kind."""
        name = _FIELDS[type(prompt)]
        return replace(self, **{name: (*getattr(self, name), prompt)})

    def changed_planes(self, other: VolumePrompts) -> list[SlicePlane]:
        """The slices whose prompts differ between the two, in order."""
        planes = sorted(self.planes | other.planes, key=lambda plane: (plane.axis, plane.index))
        return [plane for plane in planes if self._on(plane) != other._on(plane)]

    def grew_from(self, before: VolumePrompts, plane: SlicePlane) -> bool:
        """True when nothing on the slice was moved or removed since `before`, only added."""
        old, new = before._on(plane), self._on(plane)
        return all(
            getattr(new, name)[: len(getattr(old, name))] == getattr(old, name) for name in self.__slots__
        )

    def lassoed_away_since(
        self, before: VolumePrompts, plane: SlicePlane, size_yx: tuple[int, int]
    ) -> NDArray[np.bool_] | None:
        """What was lassoed away on the slice since `before`, bool (rows, columns); None where that is not all that was
        changed there.
        """  # noqa: D205
        old, new = before._on(plane), self._on(plane)
        lassos = new.lassos[len(old.lassos) :]
        is_all = self.grew_from(before, plane) and replace(new, lassos=old.lassos) == old
        if not (is_all and lassos) or any(lasso.positive for lasso in lassos):
            return None
        away = np.zeros(size_yx, dtype=bool)
        for lasso in lassos:
            away |= filled_polygon(np.array(lasso.polygon_yx), size_yx)
        return away

    def cleaned(self, shape_zyx: tuple[int, int, int]) -> tuple[VolumePrompts, list[str]]:
        """What of it can be used in a volume of this shape, and what to tell the user about the rest.

        Points outside are dropped, what is drawn across the border is clipped; of two boxes, or masks, on a slice the
        newer stays.
        """
        complaints: list[str] = []
        points = tuple(point for point in self.points if _is_inside(point, shape_zyx))
        if len(points) < len(self.points):
            complaints.append("A point outside the image was removed: click inside the image")
        boxes: dict[tuple[int, int], VolumeBox] = {}
        for box in self.boxes:
            clipped = _clipped(box, shape_zyx)
            if clipped is None:
                complaints.append(
                    "A box outside the image or thinner than a pixel was removed: "
                    "drag from one corner of the object to the opposite one"
                )
                continue
            boxes.pop((box.axis, box.index), None)
            boxes[box.axis, box.index] = clipped
        scribbles, lassos = [], []
        for scribble in self.scribbles:
            path = _clipped_path(scribble, scribble.path_yx, shape_zyx)
            scribbles += [replace(scribble, path_yx=path)] if path else []
        for lasso in self.lassos:
            path = _clipped_path(lasso, lasso.polygon_yx, shape_zyx)
            lassos += [replace(lasso, polygon_yx=path)] if len(path) > 2 else []
        if len(scribbles) < len(self.scribbles):
            complaints.append("A scribble outside the image was removed: draw inside the image")
        if len(lassos) < len(self.lassos):
            complaints.append(
                "A lasso outside the image or of less than three corners was removed: draw around the object"
            )
        masks = {(mask.axis, mask.index): mask for mask in self.masks}
        kept = VolumePrompts(
            points, tuple(boxes.values()), tuple(scribbles), tuple(lassos), tuple(masks.values())
        )
        return kept, complaints

    def _on(self, plane: SlicePlane) -> VolumePrompts:
        return self._only(lambda prompt: _is_on(prompt, plane))

    def _only(self, is_wanted: Callable[[Prompt], bool]) -> VolumePrompts:
        kept: dict[str, Any] = {
            name: tuple(prompt for prompt in getattr(self, name) if is_wanted(prompt))
            for name in self.__slots__
        }
        return VolumePrompts(**kept)


_FIELDS = {
    VolumePoint: "points",
    VolumeBox: "boxes",
    VolumeScribble: "scribbles",
    VolumeLasso: "lassos",
    VolumeMask: "masks",
}


def check_inside(prompt: Prompt, shape_zyx: tuple[int, int, int]) -> None:
    """Raise `InputError`, with what a script may ask for, when nothing of a prompt lies in a volume of this shape."""
    if isinstance(prompt, VolumePoint):
        wrong = [
            f"{name} must be from -0.5 to {n - 0.5:g}, got {v:g}"
            for name, v, n in zip("zyx", prompt.position_zyx, shape_zyx, strict=True)
            if not -0.5 <= v <= n - 0.5
        ]
        if wrong:
            raise InputError(f"the point is outside the image: {', '.join(wrong)}")
    last = shape_zyx[prompt.axis] - 1
    if not 0 <= prompt.index <= last:
        raise InputError(
            f"slice {prompt.index} along axis {prompt.axis} is outside the image: wanted 0 to {last}"
        )
    rows, columns = SlicePlane(prompt.axis, prompt.index).size_yx(shape_zyx)
    if isinstance(prompt, VolumeBox) and _clipped(prompt, shape_zyx) is None:
        raise InputError(
            f"the box {prompt.bounds} covers less than a pixel each way of slice {prompt.index}: wanted y0 < y1 "
            f"within 0 to {rows} and x0 < x1 within 0 to {columns}, as (y0, x0, y1, x1)"
        )
    if isinstance(prompt, VolumeScribble | VolumeLasso):
        path = prompt.path_yx if isinstance(prompt, VolumeScribble) else prompt.polygon_yx
        if not _clipped_path(prompt, path, shape_zyx):
            raise InputError(
                f"no vertex of {path} is on slice {prompt.index}: wanted rows from -0.5 to {rows - 0.5:g} and columns "
                f"from -0.5 to {columns - 0.5:g}, as (row, column)"
            )


def volume_mask(plane: SlicePlane, mask: NDArray[np.bool_]) -> VolumeMask | None:
    """The mask (rows, columns) of a slice as a prompt; None for an empty one."""
    region = Region.of_mask(mask)
    if region.is_empty:
        return None
    patch = np.array(mask[region.slices_yx], dtype=bool)
    patch.setflags(write=False)
    return VolumeMask(plane.axis, plane.index, patch, region)


def _is_on(prompt: Prompt, plane: SlicePlane) -> bool:
    return (prompt.axis, prompt.index) == (plane.axis, plane.index)


def _is_inside(point: VolumePoint, shape_zyx: tuple[int, int, int]) -> bool:
    inside = all(-0.5 <= v <= n - 0.5 for v, n in zip(point.position_zyx, shape_zyx, strict=True))
    return inside and 0 <= point.index < shape_zyx[point.axis]


def _clipped_path(prompt: VolumeScribble | VolumeLasso, path: Path, shape_zyx: tuple[int, int, int]) -> Path:
    """The path with its vertices moved into the slice; an empty one when none was inside, or no slice is there."""
    if not 0 <= prompt.index < shape_zyx[prompt.axis]:
        return ()
    rows, columns = SlicePlane(prompt.axis, prompt.index).size_yx(shape_zyx)
    clipped = tuple((min(max(y, -0.5), rows - 0.5), min(max(x, -0.5), columns - 0.5)) for y, x in path)
    return clipped if any(new == old for new, old in zip(clipped, path, strict=True)) else ()


def _clipped(box: VolumeBox, shape_zyx: tuple[int, int, int]) -> VolumeBox | None:
    if not 0 <= box.index < shape_zyx[box.axis]:
        return None
    rows, columns = SlicePlane(box.axis, box.index).size_yx(shape_zyx)
    y0, x0, y1, x1 = box.bounds
    y0, x0, y1, x1 = max(y0, 0.0), max(x0, 0.0), min(y1, float(rows)), min(x1, float(columns))
    if not (y1 - y0 >= 1 and x1 - x0 >= 1):  # NaN is no side
        return None
    return replace(box, bounds=(y0, x0, y1, x1))
