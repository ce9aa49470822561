"""Which files of a folder are the images of a series, where their labels go, and which mask each starts from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.data_report import Skipped
from napari_medicosam.io.nifti_pairs import is_other_half
from napari_medicosam.io.sample_reading import stem_of
from napari_medicosam.io.volumes import FORMATS, suffix_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

STATE_NAME = "medicosam_series.json"
"""The file in the output folder that remembers what is finished."""

_LABELS = "_labels"
_LABEL_STEM = re.compile(r"(?P<case>.+)_(?:labels?|masks?|seg)", re.IGNORECASE)
_IMAGE_STEM = re.compile(r"(?P<case>.+)_(?:image|\d{4})", re.IGNORECASE)
"""Names of images whose masks go by the case alone: NAME_image, and nnU-Net's NAME_0000."""

_LABEL_SUFFIX = {
    ".nii.gz": ".nii.gz", ".nii": ".nii.gz", ".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha",
    ".tif": ".tif", ".tiff": ".tif", ".png": ".png", ".jpg": ".png", ".jpeg": ".png", ".bmp": ".png",
}  # fmt: skip
"""In which format labels keep an image's grid: its own where that can be written, lossless and one file."""

_LOSSY = (".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class SeriesItem:
    """One image of a series.

    Attributes:
        image_path: the image.
        label_path: where its labels are saved, there or not.
        initial_path: a mask to start from, or None.
    """

    image_path: Path
    label_path: Path
    initial_path: Path | None = None

    @property
    def name(self) -> str:
        """The image's file name, which no other item has."""
        return self.image_path.name


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """Items in natural order of their names ("b2" before "b10"), and everything that is none."""

    items: tuple[SeriesItem, ...]
    skipped: tuple[Skipped, ...]


def find_series(folder: Path, output: Path, initial_masks: Path | None, pattern: str) -> FoundSeries:
    """List the images of `folder` by name; nothing is opened.

    Raises:
        FileError: for a folder that is none or cannot be read; for two images whose labels would be one file.
    """
    skipped: list[Skipped] = []
    images = images_in(folder, pattern, skipped)
    label_paths = {image: output / label_name(image.name) for image in images}
    _check_distinct(label_paths)
    own = {path.name for path in label_paths.values()} if _is_same(folder, output) else set()
    skipped = [item for item in skipped if item.name not in own]
    initial = _initial_masks(images, folder, initial_masks, skipped) if initial_masks else {}
    if initial_masks and _is_same(output, initial_masks):  # a label file is gone on from anyway
        initial = {image: mask for image, mask in initial.items() if mask.name != label_paths[image].name}
    items = tuple(SeriesItem(image, label_paths[image], initial.get(image)) for image in images)
    return FoundSeries(items, tuple(skipped))


def label_name(image_name: str) -> str:
    """Name of an image's label file: "a.png" gives "a_labels.png", "b.nii" gives "b_labels.nii.gz"."""
    suffix = suffix_of(image_name) or ""
    stem = image_name[: len(image_name) - len(suffix)]
    return f"{stem}{_LABELS}{_LABEL_SUFFIX.get(suffix, '.nii.gz')}"


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts names as people do: case aside, and runs of digits by their value."""
    parts: list[str | int] = list(re.split(r"(\d+)", name.casefold()))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name


def images_in(folder: Path, pattern: str, skipped: list[Skipped]) -> list[Path]:
    """Image files directly in a folder, in natural order; what else is there is added to `skipped`.

    Raises:
        FileError: for a folder that is none or cannot be read.
    """
    images: list[Path] = []
    for path in _listed(folder):
        reason = _reason_against(path, pattern)
        if reason is None:
            images.append(path)
        elif path.name != STATE_NAME:
            skipped.append(Skipped("", path.name, reason))
    stems = {stem_of(path) for path in images}
    masks = {path for path in images if _is_mask_of_another(stem_of(path), stems)}
    skipped += [Skipped("", path.name, "a mask of the image beside it") for path in images if path in masks]
    return [path for path in images if path not in masks]


def _reason_against(path: Path, pattern: str) -> str | None:
    """Why a file is no image of the series; None for one that is."""
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "a folder"
    if suffix_of(path) is None:
        return f"no image file: wanted a name ending in {', '.join(FORMATS)}"
    if not path.is_file():
        return "a link that leads nowhere"
    if is_other_half(path):
        return "the header of the image beside it"
    if stem_of(path).lower().endswith(_LABELS):
        return "a label file"
    if not fnmatchcase(path.name.lower(), pattern.lower()):
        return f"not in the pattern {pattern}"
    return None


def _is_mask_of_another(stem: str, stems: set[str]) -> bool:
    found = _LABEL_STEM.fullmatch(stem)
    return found is not None and (found["case"] in stems or f"{found['case']}_image" in stems)


def _check_distinct(label_paths: dict[Path, Path]) -> None:
    """Refuse two images with one label file, also where a file system does not tell upper and lower case apart."""
    images: dict[str, Path] = {}
    for image, label_path in label_paths.items():
        other = images.setdefault(label_path.name.casefold(), image)
        if other is not image:
            raise FileError(
                f"the labels of {other.name} and {image.name} would both be {label_path.name}: wanted images whose "
                f"names differ in more than their ending. Rename one, or choose with a pattern such as "
                f"*{suffix_of(image)}"
            )


def _initial_masks(
    images: Collection[Path], folder: Path, masks_folder: Path, skipped: list[Skipped]
) -> dict[Path, Path]:
    """The initial mask of each image that has exactly one, by name."""
    known = {image.name for image in images} if _is_same(folder, masks_folder) else set()
    by_case: dict[str, list[Path]] = {}
    for path in _listed(masks_folder):
        suffix = suffix_of(path)
        if path.name.startswith(".") or suffix is None or path.name in known:
            continue
        if suffix in _LOSSY:
            skipped.append(Skipped("", path.name, "a JPEG, which changes labels, cannot be an initial mask"))
            continue
        match = _LABEL_STEM.fullmatch(stem_of(path))
        for case in {stem_of(path), match["case"] if match else stem_of(path)}:
            by_case.setdefault(case, []).append(path)
    initial: dict[Path, Path] = {}
    for image in images:
        stem = stem_of(image)
        match = _IMAGE_STEM.fullmatch(stem)
        found = by_case.get(stem) or by_case.get(match["case"] if match else stem, [])
        if len(found) == 1:
            initial[image] = found[0]
        elif found:
            names = ", ".join(path.name for path in found)
            skipped.append(
                Skipped("", image.name, f"several initial masks and none is taken: which counts? {names}")
            )
    return initial


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileError(f"{folder} is no folder: wanted one with images or masks")
    try:
        return sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise FileError(f"cannot list {folder}: {error.strerror or error}") from error


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
