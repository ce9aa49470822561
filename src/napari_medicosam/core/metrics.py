"""How well two masks agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|) of two boolean arrays of one shape; 1.0 when both are empty."""
    intersection, total = _overlap(mask, truth)
    return 2.0 * intersection / total if total else 1.0


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two boolean arrays of one shape; 1.0 when both are empty."""
    intersection, total = _overlap(mask, truth)
    return intersection / (total - intersection) if total else 1.0


def _overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    if mask.shape != truth.shape:
        raise InputError(f"masks to compare must have one shape, got {mask.shape} and {truth.shape}")
    intersection = int(np.count_nonzero(mask & truth))
    return intersection, int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
