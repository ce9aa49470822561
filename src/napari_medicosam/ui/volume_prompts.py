"""All prompts of one object in a volume, as values: what the prompt layers hold, without the layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet


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
class VolumePrompts:
    """Points and boxes of one object, in the order they were made; at most one box a slice once cleaned."""

    points: tuple[VolumePoint, ...] = ()
    boxes: tuple[VolumeBox, ...] = ()

    @property
    def planes(self) -> frozenset[SlicePlane]:
        """The slices that have prompts."""
        on_points = {SlicePlane(point.axis, point.index) for point in self.points}
        return frozenset(on_points | {SlicePlane(box.axis, box.index) for box in self.boxes})

    def on(self, plane: SlicePlane) -> PromptSet:
        """The prompts on one slice."""
        points = tuple(PointPrompt(point.position_yx, point.positive) for point in self._points_on(plane))
        boxes = self._boxes_on(plane)
        return PromptSet(plane, points, BoxPrompt(*boxes[-1].bounds) if boxes else None)

    def without(self, plane: SlicePlane) -> VolumePrompts:
        """All but the prompts on one slice."""
        points, boxes = self._points_on(plane), self._boxes_on(plane)
        return VolumePrompts(
            tuple(point for point in self.points if point not in points),
            tuple(box for box in self.boxes if box not in boxes),
        )

    def changed_planes(self, other: VolumePrompts) -> list[SlicePlane]:
        """The slices whose prompts differ between the two, in order."""
        planes = sorted(self.planes | other.planes, key=lambda plane: (plane.axis, plane.index))
        return [
            plane
            for plane in planes
            if self._points_on(plane) != other._points_on(plane)
            or self._boxes_on(plane) != other._boxes_on(plane)
        ]

    def grew_from(self, before: VolumePrompts, plane: SlicePlane) -> bool:
        """True when nothing on the slice was moved or removed since `before`, only added."""
        points, boxes = before._points_on(plane), before._boxes_on(plane)
        return (
            points == self._points_on(plane)[: len(points)] and boxes == self._boxes_on(plane)[: len(boxes)]
        )

    def cleaned(self, shape_zyx: tuple[int, int, int]) -> tuple[VolumePrompts, list[str]]:
        """What of it can be used in a volume of this shape, and what to tell the user about the rest.

        Points and boxes outside are dropped, boxes are clipped, of two boxes on a slice the newer stays.
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
        return VolumePrompts(points, tuple(boxes.values())), complaints

    def _points_on(self, plane: SlicePlane) -> tuple[VolumePoint, ...]:
        return tuple(p for p in self.points if (p.axis, p.index) == (plane.axis, plane.index))

    def _boxes_on(self, plane: SlicePlane) -> tuple[VolumeBox, ...]:
        return tuple(b for b in self.boxes if (b.axis, b.index) == (plane.axis, plane.index))


def _is_inside(point: VolumePoint, shape_zyx: tuple[int, int, int]) -> bool:
    inside = all(-0.5 <= v <= n - 0.5 for v, n in zip(point.position_zyx, shape_zyx, strict=True))
    return inside and 0 <= point.index < shape_zyx[point.axis]


def _clipped(box: VolumeBox, shape_zyx: tuple[int, int, int]) -> VolumeBox | None:
    if not 0 <= box.index < shape_zyx[box.axis]:
        return None
    rows, columns = SlicePlane(box.axis, box.index).size_yx(shape_zyx)
    y0, x0, y1, x1 = box.bounds
    y0, x0, y1, x1 = max(y0, 0.0), max(x0, 0.0), min(y1, float(rows)), min(x1, float(columns))
    if y1 - y0 < 1 or x1 - x0 < 1:
        return None
    return replace(box, bounds=(y0, x0, y1, x1))
