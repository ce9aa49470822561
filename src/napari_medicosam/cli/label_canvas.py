"""The label map as it fills up: two objects never share a voxel silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.label_maps import empty_label_map
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.prompts import ObjectPrompts

OVERLAP_RULES = ("error", "first", "last")


class LabelCanvas:
    """Labels of objects, put down slice by slice.

    Which object has a voxel that two of them claim depends on the order of `objects` alone, not on who comes first.

    Args:
        shape_zyx: of the image.
        objects: all that will be written; their ids become the labels.
        overlap: "error", or which of two objects has a voxel that both claim: the "first" of the list or the "last".

    Attributes:
        labels: (z, y, x), the smallest unsigned integers that hold all ids.
    """

    def __init__(
        self, shape_zyx: tuple[int, int, int], objects: Sequence[ObjectPrompts], overlap: str = "error"
    ) -> None:
        if overlap not in OVERLAP_RULES:
            raise InputError(f"--overlap {overlap}: wanted error, first or last")
        self._overlap = overlap
        self._objects = {one.object_id: one for one in objects}
        ids = list(self._objects)
        weaker = [] if overlap == "error" else ids if overlap == "last" else ids[::-1]
        self._weaker = {object_id: weaker[:rank] for rank, object_id in enumerate(weaker)}
        self.labels: NDArray[np.unsignedinteger] = empty_label_map(shape_zyx, np.min_scalar_type(max(ids)))

    def write(self, object_id: int, plane: SlicePlane, mask: NDArray[np.bool_]) -> None:
        """Put one slice of one object down; `InputError` when it meets another object and none may win.

        Args:
            object_id: one of `objects`.
            plane: the slice.
            mask: bool (rows, columns).
        """
        target = plane.cut(self.labels)
        taken = mask & (target != 0) & (target != object_id)
        if not taken.any():
            target[mask] = object_id
            return
        if self._overlap == "error":
            others = ", ".join(str(self._objects[int(n)]) for n in np.unique(target[taken]))
            raise InputError(
                f"{self._objects[object_id]} and {others} overlap in {np.count_nonzero(taken)} pixels of slice "
                f"{plane.index} along axis {plane.axis}; give clearer prompts, or choose who wins with --overlap first "
                "or --overlap last"
            )
        lost = taken & ~np.isin(target, self._weaker[object_id])
        target[mask & ~lost] = object_id
