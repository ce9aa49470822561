"""Which image belongs to which label map: always by name, never by order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.data_report import Skipped
from napari_medicosam.io.nifti_pairs import is_other_half
from napari_medicosam.io.sample_reading import stem_of
from napari_medicosam.io.volumes import FORMATS, suffix_of

if TYPE_CHECKING:
    from pathlib import Path

_NOT_DATA = ("thumbs.db", "desktop.ini", "manifest.json", "dataset.json", "readme.md", "license")
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_IMAGE_STEM = re.compile(r"(?P<case>.+)_image", re.IGNORECASE)
_LABELS_STEM = re.compile(r"(?P<case>.+)_(?:labels?|masks?|seg)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its label map.

    Attributes:
        name: unique in its data set.
        case: what it shows; two channels of one scan are one case.
        channel: the number at the end of an nnU-Net image, else None.
    """

    name: str
    case: str
    image: Path
    mask: Path
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class FoundPairs:
    """Pairs of one data set folder.

    Attributes:
        layout: how the files lie, in words.
        pairs: ordered by name.
        num_images: images that are there.
        skipped: files that are not in a pair.
    """

    layout: str
    pairs: tuple[Pair, ...]
    num_images: int
    skipped: tuple[Skipped, ...]


def find_pairs(folder: Path, dataset: str) -> FoundPairs | None:
    """Pairs of `folder` when its layout is `images/` + `masks|labels/`, nnU-Net's, or `_image` + `_labels` files.

    Nothing is opened.

    Returns:
        None for another layout.

    Raises:
        FileError: for `images/` without masks, or with two folders of them.
    """
    folders = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    skipped: list[Skipped] = []
    if "imagestr" in folders and "labelstr" in folders:
        images = _files(folders["imagestr"], dataset, skipped)
        masks = _files(folders["labelstr"], dataset, skipped)
        return _paired("imagesTr/ and labelsTr/", images, masks, dataset, skipped)
    if "images" in folders:
        names = [name for name in ("masks", "labels") if name in folders]
        if len(names) != 1:
            found = (
                "both masks/ and labels/: wanted one of them" if names else "no masks/ or labels/ beside it"
            )
            raise FileError(f"{folder} has images/, but {found}")
        images = _files(folders["images"], dataset, skipped)
        masks = _files(folders[names[0]], dataset, skipped)
        return _paired(f"images/ and {names[0]}/", images, masks, dataset, skipped, with_channels=False)
    files = _files(folder, dataset, [])
    images = {m["case"]: path for stem, path in files.items() if (m := _IMAGE_STEM.fullmatch(stem))}
    masks = {m["case"]: path for stem, path in files.items() if (m := _LABELS_STEM.fullmatch(stem))}
    if not (images and masks):
        return None
    used = {*images.values(), *masks.values()}
    skipped += [
        Skipped(dataset, path.name, "its name ends neither in _image nor in _labels")
        for path in files.values()
        if path not in used
    ]
    return _paired("NAME_image and NAME_labels files", images, masks, dataset, skipped, with_channels=False)


def _paired(
    layout: str,
    images: dict[str, Path],
    masks: dict[str, Path],
    dataset: str,
    skipped: list[Skipped],
    *,
    with_channels: bool = True,
) -> FoundPairs:
    pairs = []
    for name, image in sorted(images.items()):
        match = _CHANNEL.fullmatch(name) if with_channels and name not in masks else None
        case = match["case"] if match else name
        if case in masks:
            pairs.append(Pair(name, case, image, masks[case], int(match["channel"]) if match else None))
        else:
            skipped.append(_skipped(dataset, image, f"no mask of its name: wanted {case} with any ending"))
    with_image = {pair.case for pair in pairs}
    skipped += [
        _skipped(dataset, mask, "no image of its name")
        for case, mask in masks.items()
        if case not in with_image
    ]
    return FoundPairs(layout, tuple(pairs), len(images), tuple(skipped))


def _files(folder: Path, dataset: str, skipped: list[Skipped]) -> dict[str, Path]:
    """Image files of `folder` by name without ending; what is none, or there twice, goes to `skipped`."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _NOT_DATA or is_other_half(path):
            continue
        if path.is_dir():
            skipped.append(_skipped(dataset, path, "a folder: wanted files"))
        elif suffix_of(path) is None:
            skipped.append(
                _skipped(dataset, path, f"no image file: wanted a name ending in {', '.join(FORMATS)}")
            )
        else:
            found.setdefault(stem_of(path), []).append(path)
    for paths in found.values():
        if len(paths) > 1:
            reason = "several files differ in their ending only: which one counts?"
            skipped.extend(_skipped(dataset, path, reason) for path in paths)
    return {stem: paths[0] for stem, paths in found.items() if len(paths) == 1}


def _skipped(dataset: str, path: Path, reason: str) -> Skipped:
    return Skipped(dataset, f"{path.parent.name}/{path.name}", reason)
