"""What other objects, locks and the commit policy keep out of a mask, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.ui.annotation import Annotation

_MUCH = 0.5
"""Of a mask: with less of it left, what is seen is not what was meant."""


def kept_out(annotation: Annotation, plane: SlicePlane, mask: NDArray[np.bool_]) -> str:
    """One sentence where most of a mask is missing on a slice of the object that is being edited; "" elsewhere.

    Args:
        annotation: where the mask was written.
        plane: the slice.
        mask: as it was wanted, bool (rows, columns).
    """
    missing: Any = mask & ~annotation.mask(plane)
    if not missing.any() or np.count_nonzero(missing) < _MUCH * np.count_nonzero(mask):
        return ""
    label_map, records = annotation.committed.label_map, annotation.table.records
    labels = np.zeros(1, int) if label_map is None else plane.cut(label_map)[missing]
    label = int(np.argmax(np.bincount(labels)))
    if label not in records:
        return "Most of this mask lies where Overlap lets the object take nothing"
    name = records[label].name
    if records[label].is_locked:
        return f"Most of this mask lies in {name!r}, which is locked"
    return (
        f"Most of this mask lies in {name!r}: click its row to correct that one, or set Overlap (in More settings) to "
        "take it from it"
    )
