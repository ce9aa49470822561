"""Which voxels of the label map an object may take when it is committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.arguments import whole_number
from napari_medicosam.core.object_table import MAX_OBJECT_ID
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.object_table import ObjectTable


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """What wins where objects meet. Locked objects always do.

    Attributes:
        overwrite: take voxels of other objects that are not locked; otherwise other objects are never touched.
        inside_class: take voxels of objects of this class only, and those at any rate (a tumour in its organ). Objects
            of the class itself are not meant.
        outside_class: never take voxels of objects of this class.

    Raises:
        InputError: for both classes at once, or one that is no whole number.
    """

    overwrite: bool = False
    inside_class: int | None = None
    outside_class: int | None = None

    def __post_init__(self) -> None:
        for class_id in (self.inside_class, self.outside_class):
            if class_id is not None:
                whole_number(class_id, "the class of a commit policy")
        if self.inside_class is not None and self.outside_class is not None:
            raise InputError(
                f"a commit is either inside a class or outside one, got {self.inside_class} and {self.outside_class}"
            )

    def writable(self, label_map: NDArray[Any], table: ObjectTable, object_id: int) -> NDArray[np.bool_]:
        """bool, the shape of `label_map` (any part of one, uint16): where the object may be written."""
        return np.asarray(self.allowed(table, object_id)[label_map])

    def allowed(self, table: ObjectTable, object_id: int) -> NDArray[np.bool_]:
        """Bool (65536,), by label: whether the object may take its voxels; 0 is where no object is."""
        inside = () if self.inside_class is None else table.ids_of_class(self.inside_class)
        if self.inside_class is not None and object_id not in inside:
            allowed = np.zeros(MAX_OBJECT_ID + 1, dtype=bool)
            allowed[list(inside)] = True
        else:
            allowed = np.full(MAX_OBJECT_ID + 1, self.overwrite)
            allowed[0] = True
        if self.outside_class is not None:
            allowed[list(table.ids_of_class(self.outside_class))] = False
        allowed[object_id] = True
        allowed[list(table.locked_ids)] = False
        return allowed
