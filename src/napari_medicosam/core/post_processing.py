"""Clean-up of one object's mask: holes, rough surfaces, crumbs. Sizes are physical, voxels may be of any shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy import ndimage

from napari_medicosam.core.arguments import real_number, whole_number, yes_or_no
from napari_medicosam.core.bounds import mask_bounds
from napari_medicosam.core.geometry import Geometry, SlicePlane
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HoleFilling = Literal["no", "slices", "volume"]

_REACH = 4.0
"""Sigmas after which a Gaussian is cut off."""

_ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class CleanUp:
    """What to do with a mask. The defaults do nothing.

    Attributes:
        largest_component: keep only the largest connected component; of equals the first in array order.
        fill_holes: "slices" fills what is enclosed within its slice along `fill_axis`, "volume" what is enclosed on
            all sides (in a volume of one slice, within the slice). What reaches the border of the volume is open.
        fill_axis: 0, 1 or 2, the array axis that the slices step along.
        smooth_mm: standard deviation in mm of the Gaussian that smooths the surface; 0 leaves it as it is.
        min_size_mm3: connected components with less volume are removed, even when none is left.

    Raises:
        InputError: for a word, axis or size that means nothing.
    """

    largest_component: bool = False
    fill_holes: HoleFilling = "no"
    fill_axis: int = 0
    smooth_mm: float = 0.0
    min_size_mm3: float = 0.0

    def __post_init__(self) -> None:
        SlicePlane(whole_number(self.fill_axis, "fill_axis"), 0)
        yes_or_no(self.largest_component, "largest_component")
        if not isinstance(self.fill_holes, str) or self.fill_holes not in get_args(HoleFilling):
            raise InputError(f"holes can be filled in no, slices or volume, got {self.fill_holes!r}")
        for name, value, unit in (
            ("smoothing", self.smooth_mm, "mm"),
            ("smallest size", self.min_size_mm3, "mm3"),
        ):
            if not (math.isfinite(real_number(value, name)) and value >= 0):
                raise InputError(f"{name} must be 0 or more {unit}, got {value}")


def clean_up(
    mask: NDArray[np.bool_], spacing_zyx: tuple[float, float, float], settings: CleanUp
) -> NDArray[np.bool_]:
    """The mask after filling, smoothing, filling again, removing small components and keeping the largest.

    In this order: holes are filled before a thin wall around them could be smoothed away, and once more because
    smoothing may close the mouth of a bay; components are judged by what is left at the end.

    Smoothing is a Gaussian of the mask, cut at 0.5, with one sigma in mm along every axis. Flat surfaces stay where
    they are and edges are rounded: a ball of radius r loses about 3 (smooth_mm / r)^2 of its volume. Thin parts are
    lost: plates thinner than 1.3, rods thinner than 2.4 and balls thinner than 3.1 `smooth_mm`; but a component that
    would be lost as a whole stays as it was. The mask never grows beyond its bounding box, and what touches the
    border of the volume is taken to go on there.

    Components are connected by faces, edges and corners (26 neighbours), holes by faces only (6; 4 in a slice).

    Args:
        mask: bool (z, y, x), one object; z is 1 for a 2D image. Not changed.
        spacing_zyx: distance between voxel centres in mm along each axis (`Geometry.spacing_zyx`), whose axes are
            taken to be perpendicular.
        settings: what to do.

    Returns:
        bool of the same shape, a new array; empty for an empty mask.

    Raises:
        InputError: for a mask that is not boolean (z, y, x), or a spacing that is not three sizes above 0.
    """
    return clean_up_inside(mask, (0, 0, 0), mask.shape, spacing_zyx, settings)


def clean_up_inside(
    part: NDArray[np.bool_],
    start_zyx: tuple[int, ...],
    shape_zyx: tuple[int, ...],
    spacing_zyx: tuple[float, float, float],
    settings: CleanUp,
) -> NDArray[np.bool_]:
    """As `clean_up`, of a mask that lies in one part of a large volume: the work is that of the part alone.

    Args:
        part: bool (z, y, x); the volume has nothing of the object elsewhere. Not changed.
        start_zyx: where in the volume its first voxel is.
        shape_zyx: of the volume.
        spacing_zyx: in mm.
        settings: what to do.

    Returns:
        bool of the shape of `part`, a new array.

    Raises:
        InputError: as `clean_up`.
    """
    bounds = mask_bounds(part)
    spacing = Geometry.from_spacing((1, 1, 1), spacing_zyx).spacing_zyx
    result = np.zeros_like(part, order="C")
    if bounds is None:
        return result
    cut = _filled(part[bounds], settings, shape_zyx)
    if settings.smooth_mm > 0:
        sigmas = [settings.smooth_mm / size for size in spacing]
        ends = zip(start_zyx, bounds, shape_zyx, strict=True)
        open_sides = [
            (start + inside.start == 0, start + inside.stop == size) for start, inside, size in ends
        ]
        cut = _filled(_smoothed(cut, sigmas, open_sides), settings, shape_zyx)
    result[bounds] = _without_small(cut, settings, math.prod(spacing))
    return result


def count_pieces(mask: NDArray[np.bool_]) -> int:
    """Number of connected components, by faces, edges and corners, of a mask (z, y, x)."""
    return int(ndimage.label(mask, structure=_ALL_NEIGHBOURS)[1])


def _filled(part: NDArray[np.bool_], settings: CleanUp, shape_zyx: tuple[int, ...]) -> NDArray[np.bool_]:
    """Without holes. Of the cut-out every border is open: the object ends there, or the volume does."""
    if settings.fill_holes == "no":
        return part
    if settings.fill_holes == "slices":
        across = {settings.fill_axis}
    else:  # along an axis of one voxel everything lies on the border: nothing would ever be a hole
        across = {axis for axis, size in enumerate(shape_zyx) if size == 1}
    within = set(range(3)) - across
    neighbours = ndimage.generate_binary_structure(3, 1)
    for axis in across:
        neighbours &= np.indices(neighbours.shape)[axis] == 1
    # A layer of background joins everything that is outside, but not across slices.
    padded = np.pad(part, [(1, 1) if axis in within else (0, 0) for axis in range(3)])
    components, count = ndimage.label(~padded, structure=neighbours)
    is_outside = np.zeros(count + 1, dtype=bool)
    for axis in within:
        is_outside[components.take(0, axis)] = True
    is_outside[0] = False  # of the components of the background 0 is the object
    inner = tuple(slice(1, -1) if axis in within else slice(None) for axis in range(3))
    return np.asarray(~is_outside[components[inner]])


def _smoothed(
    part: NDArray[np.bool_], sigmas: list[float], open_sides: list[tuple[bool, bool]]
) -> NDArray[np.bool_]:
    """Gaussian at 0.5, and the components that it would have taken away.

    Args:
        part: the mask within its bounds.
        sigmas: in voxels, one an axis.
        open_sides: for each axis whether its first and its last voxel lie on the border of the volume. There the mask
            goes on as it is, for nobody knows; at the other sides there is background.
    """
    blurred = part.astype(np.float32)
    for axis, (sigma, is_open) in enumerate(zip(sigmas, open_sides, strict=True)):
        if part.shape[axis] == 1 and all(is_open):
            continue
        reach = math.ceil(_REACH * sigma)
        widths = [(0, 0)] * 3
        widths[axis] = (reach * is_open[0], reach * is_open[1])
        blurred = np.pad(blurred, widths, mode="edge")
        blurred = ndimage.gaussian_filter1d(blurred, sigma, axis, mode="constant", truncate=_REACH)
        start = widths[axis][0]
        blurred = blurred[(slice(None),) * axis + (slice(start, start + part.shape[axis]),)]
    smooth = blurred > 0.5
    components, count = ndimage.label(part, structure=_ALL_NEIGHBOURS)
    is_lost = np.ones(count + 1, dtype=bool)
    is_lost[components[smooth]] = False
    is_lost[0] = False
    return np.asarray(smooth | is_lost[components])


def _without_small(part: NDArray[np.bool_], settings: CleanUp, voxel_mm3: float) -> NDArray[np.bool_]:
    if not settings.largest_component and settings.min_size_mm3 == 0:
        return part
    components, _ = ndimage.label(part, structure=_ALL_NEIGHBOURS)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    keep = (sizes > 0) & (sizes * voxel_mm3 >= settings.min_size_mm3 * (1 - 1e-9))
    if settings.largest_component:
        keep &= np.arange(sizes.size) == sizes.argmax()
    return np.asarray(keep[components])
