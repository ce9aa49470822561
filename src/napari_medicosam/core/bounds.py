"""Where in a volume something is, so that work on a small object costs no more than the object is large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bounds = tuple[slice, slice, slice]
"""Index of a box in a volume (z, y, x); start and stop are set, step is not."""


def mask_bounds(mask: NDArray[np.bool_]) -> Bounds | None:
    """Tight bounds of a mask (z, y, x); None when nothing is set.

    Raises:
        InputError: for anything but a boolean array of three axes.
    """
    check_mask(mask)
    bounds = []
    part = mask
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(part.any(axis=others))
        if used.size == 0:
            return None
        bounds.append(slice(int(used[0]), int(used[-1]) + 1))
        part = part[(slice(None),) * axis + (bounds[-1],)]  # the next axis looks only where something is
    z, y, x = bounds
    return z, y, x


def check_mask(mask: NDArray[np.bool_]) -> None:
    """Raise `InputError` for anything but a boolean array (z, y, x)."""
    if mask.ndim != 3 or mask.dtype != np.bool_:
        raise InputError(f"a mask must be boolean (z, y, x), got {mask.dtype} of shape {mask.shape}")
