"""What every layout asks of its files: pixels as the model sees them, and labels as objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.object_masks import MIN_OBJECT_PIXELS, ObjectMask, find_objects
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.over_time import TIME_SUFFIXES
from napari_medicosam.io.volumes import read_labels, read_volume, suffix_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.records import Volume

VOLUME_SUFFIXES = TIME_SUFFIXES
_JPEG_SUFFIXES = (".jpg", ".jpeg")

_MIN_GREY_LEVELS = 16
"""A 0/255 mask with at least this many values in between was smoothed: each value would count as a class."""


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How annotated images are read; the same for a whole set.

    Attributes:
        min_pixels: smaller components are no objects.
        labels: labels (classes of SA-Med2D-20M) that count; None for all but background.
        window: see `core.intensity.resolve_intensity`; "auto" leaves 8-bit pictures as they are.
        axis: along which volumes are cut, "auto" for that of their slices, else as `Geometry.axis_of` takes it.
    """

    min_pixels: int = MIN_OBJECT_PIXELS
    labels: tuple[int, ...] | None = None
    window: str = "auto"
    axis: str = "auto"

    def __post_init__(self) -> None:
        if self.min_pixels < 1:
            raise InputError(f"an object has at least 1 pixel, got min_pixels {self.min_pixels}")
        if self.labels is not None and (not self.labels or min(self.labels) < 0):
            raise InputError(f"labels must be one or more numbers, none negative, got {self.labels}")
        if self.axis not in ("auto", "0", "1", "2", "axial", "coronal", "sagittal"):
            raise InputError(f"unknown axis {self.axis!r}: wanted auto, 0, 1, 2, axial, coronal or sagittal")
        if self.window != "auto":  # an unknown word now, and not once for each of a million images
            resolve_intensity(self.window, np.arange(2, dtype=np.uint8).reshape(1, 1, 2))


def stem_of(path: Path) -> str:
    """File name without its ending (".nii.gz" is one); the whole name when the ending is unknown."""
    return path.name[: -len(suffix_of(path) or "")] if suffix_of(path) else path.name


def reason_of(error: Exception, named_paths: Iterable[tuple[str, Path]]) -> str:
    """What went wrong with files called "the image" and so on: without paths, equal reasons are equal texts."""
    reason = str(error)
    for name, path in sorted(named_paths, key=lambda item: -len(str(item[1]))):
        reason = reason.replace(str(path), name)
    return reason


def picture_pixels(path: Path, window: str) -> NDArray[np.uint8]:
    """Image of a 2D file, uint8 (rows, columns) or (rows, columns, 3).

    Raises:
        FileError: for a file that cannot be read, is a stack, or has the same value everywhere.
    """
    volume = read_volume(path)
    image = _one_slice(path, volume)
    check_image(path, image)
    if image.dtype == np.uint8 and window == "auto":
        return image
    try:
        return resolve_intensity(window, volume.array, is_rgb=volume.is_rgb).to_uint8(image)
    except InputError as error:
        raise FileError(f"{path} cannot be shown to the model: {error}") from error


def picture_labels(path: Path) -> NDArray[Any]:
    """Label image of a 2D file, integers (rows, columns).

    Raises:
        FileError: for JPEG, RGB, values that are no whole numbers or negative, a stack, or a smoothed 0/255 mask.
    """
    if suffix_of(path) in _JPEG_SUFFIXES:
        raise FileError(f"{path} is a JPEG, which is lossy and changes labels: save masks as PNG or TIFF")
    volume = read_volume(path, palette_indices=True)
    if volume.is_rgb:
        raise FileError(
            f"{path} is an RGB image, and RGB colours are not labels: wanted one number a pixel, 0 for "
            f"background and one number a class or instance ({_rgb_advice(volume.array)})"
        )
    if volume.array.dtype.kind == "f":
        volume = read_labels(path)
    labels = _one_slice(path, volume)
    check_labels(path, labels)
    return labels


def check_image(path: Path, image: NDArray[Any]) -> None:
    """Raise `FileError` for an image without content, which teaches nothing."""
    if (image == image.flat[0]).all():
        raise FileError(f"{path} is blank: every value is {image.flat[0]}")


def check_same_size(path: Path, labels: NDArray[Any], image: NDArray[Any]) -> None:
    """Raise `FileError` unless labels (rows, columns) of `path` and image have the same rows and columns."""
    if image.shape[:2] != labels.shape:
        raise FileError(
            f"{path} has another size than its image: {labels.shape[0]} x {labels.shape[1]} pixels "
            f"(rows x columns), image {image.shape[0]} x {image.shape[1]}"
        )


def check_labels(path: Path, labels: NDArray[Any]) -> None:
    """Raise `FileError` for negative labels, and for what looks like a 0/255 mask after interpolation."""
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise FileError(f"{path} holds negative labels: wanted 0 (background) or more, got {labels.min()}")
    if labels.max() != 255:
        return
    counts = np.bincount(labels.ravel(), minlength=256)
    num_grey = int(np.count_nonzero(counts[1:255]))
    if num_grey >= _MIN_GREY_LEVELS and counts[255] > counts[1:255].sum():
        raise FileError(
            f"{path} looks like a 0/255 mask that was smoothed or resized: {num_grey} grey levels lie between, "
            f"and each would count as a class. Resize masks with nearest neighbour, or threshold them"
        )


def objects_of(path: Path, labels: NDArray[Any], options: SampleOptions) -> tuple[ObjectMask, ...]:
    """Objects of a label image, by `options`; `FileError` when there is none."""
    objects = find_objects(keep_labels(labels, options.labels), options.min_pixels)
    if not objects:
        raise no_object_error(path, labels, options)
    return objects


def no_object_error(path: Path, labels: NDArray[Any], options: SampleOptions) -> FileError:
    """Why labels of any shape hold no object: empty, others than wanted, or only small ones."""
    if not labels.any():
        return FileError(f"{path} is empty: everything is background")
    if not keep_labels(labels, options.labels).any():
        wanted = ", ".join(map(str, options.labels or ()))
        return FileError(f"{path} holds none of the labels {wanted}")
    return FileError(f"{path} has no object of at least {options.min_pixels} pixels")


def keep_labels(labels: NDArray[Any], wanted: Iterable[int] | None) -> NDArray[Any]:
    """`labels` with everything but `wanted` set to background; None keeps all."""
    if wanted is None:
        return labels
    return np.where(np.isin(labels, list(wanted)), labels, labels.dtype.type(0))


def _one_slice(path: Path, volume: Volume) -> NDArray[Any]:
    if volume.array.shape[0] != 1:
        raise FileError(
            f"{path} is a stack of {volume.array.shape[0]} slices: wanted one 2D image. Save volumes as .nii.gz"
        )
    return np.asarray(volume.array[0])


def _rgb_advice(colours: NDArray[Any]) -> str:
    if (colours == colours[..., :1]).all():
        return "its three channels are equal: save one of them"
    return "save a grey or palette image"
