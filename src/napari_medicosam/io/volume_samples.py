"""Slices of annotated volumes: each slice that holds an object is an annotated image."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.io.sample_reading import (
    check_image,
    check_labels,
    keep_labels,
    no_object_error,
    objects_of,
)
from napari_medicosam.io.samples import AnnotatedImage
from napari_medicosam.io.volumes import read_labels, read_volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import Geometry
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.io.sample_pairs import Pair
    from napari_medicosam.io.sample_reading import SampleOptions

_NUM_CACHED = 2
"""Volumes kept in memory by each thread: slices come volume by volume, so few are needed."""

_SQUARE_RATIO = 1.01
"""Spacings that differ by less are equal: files round them."""

_AXIS_LETTERS = "zyx"


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedVolume:
    """uint8 (z, y, x) or (z, y, x, 3), and labels (z, y, x)."""

    image: NDArray[np.uint8]
    labels: NDArray[Any]


class VolumeFiles(Protocol):
    """Where a volume and its labels lie; picklable, equal when both are the same."""

    def __hash__(self) -> int:
        """For the cache of volumes."""

    @property
    def named_paths(self) -> tuple[tuple[str, Path], tuple[str, Path]]:
        """What image and labels are called in a report; both are there, and change when they are written."""

    def read(self) -> AnnotatedVolume:
        """Both, on one grid; `FileError` when they cannot be used."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """An image and a label volume; see `VolumeFiles`."""

    image_path: Path
    mask_path: Path
    window: str

    @property
    def named_paths(self) -> tuple[tuple[str, Path], tuple[str, Path]]:
        """What they are called in a report."""
        return ("the image", self.image_path), ("the label volume", self.mask_path)

    def read(self) -> AnnotatedVolume:
        """Both; `FileError` when one cannot be used, or they lie on different grids."""
        labels = read_labels(self.mask_path)
        image = read_volume(self.image_path)
        _check_same_grid(self.mask_path, labels.geometry, image.geometry)
        try:
            mapping = resolve_intensity(self.window, image.array, is_rgb=image.is_rgb)
        except InputError as error:
            raise FileError(f"{self.image_path} cannot be shown to the model: {error}") from error
        return AnnotatedVolume(mapped(image.array, mapping), labels.array)


@dataclass(frozen=True, slots=True)
class SliceSample:
    """One slice of a volume with its labels; see `Sample`. The volume is read once for all of its slices."""

    sample_id: str
    dataset: str
    modality: str
    patient: str
    files: VolumeFiles
    axis: int
    index: int
    options: SampleOptions

    @property
    def named_paths(self) -> tuple[tuple[str, Path], ...]:
        """What its files are called in a report."""
        return self.files.named_paths

    def load(self) -> AnnotatedImage:
        """Cut the slice; `FileError` when a file cannot be used, or both lie on different grids."""
        (_, image_path), (_, labels_path) = self.files.named_paths
        volume = _annotated_volume(self.files)
        stack = SliceStack(volume.image, self.axis)
        if self.index >= len(stack):
            raise FileError(f"{image_path} has changed: slice {self.index} is no longer there")
        image = np.ascontiguousarray(stack.pixels(self.index))
        check_image(image_path, image)
        labels = SliceStack(volume.labels, self.axis).pixels(self.index)
        return AnnotatedImage(image, objects_of(labels_path, labels, self.options))


def slice_samples(
    pair: Pair, dataset: str, modality: str, patient: str, options: SampleOptions
) -> list[SliceSample]:
    """Every slice of a pair of volumes that holds an object. Reads the labels, not the image.

    Raises:
        FileError: when the labels cannot be used, or no slice holds an object.
    """
    labels = read_labels(pair.mask)
    check_labels(pair.mask, labels.array)
    axis = axis_of(labels.geometry, options.axis)
    indices = annotated_slices(labels.array, axis, options)
    if not indices:
        raise no_object_error(pair.mask, labels.array, options)
    return [
        SliceSample(
            sample_id=slice_id(pair.name, axis, index),
            dataset=dataset,
            modality=modality,
            patient=patient,
            files=PairFiles(pair.image, pair.mask, options.window),
            axis=axis,
            index=index,
            options=options,
        )
        for index in indices
    ]


def annotated_slices(labels_zyx: NDArray[Any], axis: int, options: SampleOptions) -> list[int]:
    """Slices along `axis` that hold an object, by `options`."""
    stack = SliceStack(keep_labels(labels_zyx, options.labels), axis)
    occupied = np.nonzero(stack.array.any(axis=tuple(other for other in range(3) if other != axis)))[0]
    return [int(i) for i in occupied if find_objects(stack.pixels(int(i)), options.min_pixels)]


def slice_id(volume: str, axis: int, index: int) -> str:
    """Name of a slice in its data set."""
    return f"{volume}_{_AXIS_LETTERS[axis]}{index:04d}"


def mapped(array_zyx: Any, mapping: IntensityMapping) -> NDArray[np.uint8]:
    """A volume as the model is to see it, slice by slice: floats of a whole volume take gigabytes."""
    pixels = np.empty(array_zyx.shape, np.uint8)
    for z in range(len(array_zyx)):
        pixels[z] = mapping.to_uint8(array_zyx[z])
    return pixels


def axis_of(geometry: Geometry, wanted: str) -> int:
    """Axis to cut along; "auto" cuts into square pixels if any axis does, then where slices lie furthest apart.

    The largest spacing alone would cut PET across its slices: their distance is often less than the pixels' size.
    """
    if wanted != "auto":
        return geometry.axis_of(wanted)
    spacing = geometry.spacing_zyx
    in_plane = [[spacing[other] for other in range(3) if other != axis] for axis in range(3)]
    is_square = [max(pixel) < _SQUARE_RATIO * min(pixel) for pixel in in_plane]
    candidates = [axis for axis in range(3) if is_square[axis]] or [0, 1, 2]
    largest = max(spacing[axis] for axis in candidates)
    return next(axis for axis in candidates if spacing[axis] * _SQUARE_RATIO > largest)


def _annotated_volume(files: VolumeFiles) -> AnnotatedVolume:
    try:
        times = tuple(path.stat().st_mtime_ns for _, path in files.named_paths)
    except OSError as error:
        raise FileError(f"{error.filename} does not exist (any more): wanted a volume") from error
    result = _cache.read(files, times)
    if isinstance(result, MedicoSamError):
        raise FileError(str(result))
    return result


def _read_or_error(files: VolumeFiles, times: tuple[int, ...]) -> AnnotatedVolume | MedicoSamError:
    """Errors are kept as well: a damaged volume is not read again for each of its slices."""
    try:
        return files.read()
    except MedicoSamError as error:
        return error


class _Cache(threading.local):
    """A few volumes for each thread: threads that read other volumes at the same time do not push them out."""

    def __init__(self) -> None:
        self.read = lru_cache(maxsize=_NUM_CACHED)(_read_or_error)


_cache = _Cache()


def _check_same_grid(mask_path: Path, labels: Geometry, image: Geometry) -> None:
    """Half a voxel may be lost in rounding: the labels still mean the same voxels."""
    if labels.shape_zyx != image.shape_zyx:
        raise FileError(
            f"{mask_path} has another shape than its image: (z, y, x) = {labels.shape_zyx}, "
            f"image {image.shape_zyx}"
        )
    if not labels.equals(image, 0.5 * min(image.spacing_zyx)):
        raise FileError(
            f"{mask_path} lies elsewhere than its image: affine {labels.affine_ras.tolist()}, "
            f"image {image.affine_ras.tolist()}. Resample the labels to the image, or, when they were drawn on "
            f"its voxels and lost their place, save them with the affine of the image"
        )
