"""Annotated 2D images: one picture and one label image, or one picture and a mask an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medicosam.io.sample_reading import check_same_size, objects_of, picture_labels, picture_pixels
from napari_medicosam.io.samples import AnnotatedImage

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medicosam.io.sample_reading import SampleOptions


@dataclass(frozen=True, slots=True)
class PictureSample:
    """A 2D image with its label image; see `Sample`."""

    sample_id: str
    dataset: str
    modality: str
    patient: str
    image_path: Path
    mask_path: Path
    options: SampleOptions

    @property
    def named_paths(self) -> tuple[tuple[str, Path], ...]:
        """What its files are called in a report."""
        return ("the image", self.image_path), ("the mask", self.mask_path)

    def load(self) -> AnnotatedImage:
        """Read both; `FileError` when one cannot be used, or they differ in size."""
        labels = picture_labels(self.mask_path)
        image = picture_pixels(self.image_path, self.options.window)
        check_same_size(self.mask_path, labels, image)
        return AnnotatedImage(image, objects_of(self.mask_path, labels, self.options))
