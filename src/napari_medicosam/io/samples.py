"""Annotated images for training and evaluation, whatever the layout of the folder they lie in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medicosam.core.object_masks import ObjectMask


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """One image in memory with its objects.

    Attributes:
        image: uint8 (rows, columns) or (rows, columns, 3), as the model is to see it before resizing.
        objects: its objects; they may overlap.
    """

    image: NDArray[np.uint8]
    objects: tuple[ObjectMask, ...]

    @property
    def size_yx(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.image.shape[0], self.image.shape[1]


class Sample(Protocol):
    """One annotated image that can be read; picklable, so that worker processes can read it."""

    @property
    def sample_id(self) -> str:
        """Unique within its data set."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def modality(self) -> str:
        """Such as "CT" or "MRI (brain)"; "" when it is not known."""

    @property
    def patient(self) -> str:
        """What must not be divided between training and validation; `sample_id` when it is not known."""

    def load(self) -> AnnotatedImage:
        """Read image and objects; `FileError` or `InputError`, naming the file, when they cannot be used."""
