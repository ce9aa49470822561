"""SA-Med2D-20M as it is published: one folder of images, one of binary masks, and a JSON that pairs them.

`images/ct_00--ACDC--patient001_frame01--x_0006.png`: modality and sub-modality, data set, scan, slice. A mask adds
`--0003_000`: class and instance. Masks of one image may overlap.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from sys import intern
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.object_masks import ObjectMask, find_objects
from napari_medicosam.errors import FileError
from napari_medicosam.io.data_report import DataReport, DataSetSummary, SampleSet, Skipped
from napari_medicosam.io.sample_reading import check_same_size, picture_pixels
from napari_medicosam.io.samples import AnnotatedImage
from napari_medicosam.io.volumes import read_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.io.sample_reading import SampleOptions

LAYOUT = "SA-Med2D-20M"
INDEX_NAME = "SAMed2D_v1.json"
_SEPARATOR = "--"
_CLASS = re.compile(r"--(?P<class>\d+)(?:--|_)(?P<instance>\d+)$")
_MODALITIES = {
    "ct": "CT",
    "mr": "MRI",
    "pet": "PET",
    "x_ray": "X-ray",
    "fundus_photography": "fundus photography",
}
_NO_SUB_MODALITY = "00"


@dataclass(frozen=True, slots=True)
class OverlappingSample:
    """A 2D image with one binary mask an object; see `Sample`. Names are relative to `root`, for millions of them."""

    sample_id: str
    dataset: str
    modality: str
    patient: str
    root: Path
    image_name: str
    mask_names: tuple[str, ...]
    options: SampleOptions

    @property
    def named_paths(self) -> tuple[tuple[str, Path], ...]:
        """What its files are called in a report."""
        masks = (("one of its masks", self.root / name) for name in self.mask_names)
        return (("the image", self.root / self.image_name), *masks)

    def load(self) -> AnnotatedImage:
        """Read the image and all masks; `FileError` when one cannot be used or differs in size, or none is left."""
        image = picture_pixels(self.root / self.image_name, self.options.window)
        objects: list[ObjectMask] = []
        for name in self.mask_names:
            class_id = class_of(name)
            if self.options.labels is not None and class_id not in self.options.labels:
                continue
            mask = _binary_mask(self.root / name)
            check_same_size(self.root / name, mask, image)
            objects += [replace(o, class_id=class_id) for o in find_objects(mask, self.options.min_pixels)]
        if not objects:
            wanted = (
                "" if self.options.labels is None else f" of class {', '.join(map(str, self.options.labels))}"
            )
            raise FileError(
                f"{self.root / self.image_name} has no object{wanted} of at least "
                f"{self.options.min_pixels} pixels"
            )
        return AnnotatedImage(image, tuple(objects))


def find_index(folder: Path) -> Path | None:
    """The JSON of a folder that has this layout."""
    places = (folder / INDEX_NAME, folder / "annotations" / INDEX_NAME)
    return next((path for path in places if path.is_file()), None)


def find_overlapping_samples(index: Path, folder: Path, options: SampleOptions) -> SampleSet:
    """Samples of all images that the JSON lists and that are there: parts of the data may be left out.

    Masks are not looked for here, there are 15 million of them: `check_samples` reads them.

    Args:
        index: the JSON.
        folder: the one with `images/` and `masks/`.
        options: how to read them.

    Raises:
        FileError: for a JSON that does not map image names to lists of mask names.
    """
    listed = _read_index(index)
    images = folder / "images"
    present = {path.name for path in images.iterdir()} if images.is_dir() else set()
    samples: list[OverlappingSample] = []
    skipped: list[Skipped] = []
    for image_name, mask_names in listed.items():
        name = PurePosixPath(image_name).stem
        parts = name.split(_SEPARATOR)
        dataset = parts[1] if len(parts) > 1 else folder.absolute().name
        if PurePosixPath(image_name).name not in present:
            skipped.append(Skipped(dataset, name, f"listed in {INDEX_NAME}, but not in images/"))
        elif not mask_names:
            skipped.append(Skipped(dataset, name, f"{INDEX_NAME} lists no masks for it"))
        else:
            samples.append(_sample(name, dataset, folder, image_name, tuple(mask_names), options))
    samples.sort(key=lambda sample: (sample.dataset, sample.sample_id))
    return SampleSet(tuple(samples), DataReport(_summaries(samples), tuple(skipped)))


def _sample(
    name: str,
    dataset: str,
    folder: Path,
    image_name: str,
    mask_names: tuple[str, ...],
    options: SampleOptions,
) -> OverlappingSample:
    parts = name.split(_SEPARATOR)
    modality = modality_of(parts[0]) if len(parts) > 1 else ""
    patient = parts[2] if len(parts) > 2 else name
    # Interned: millions of samples share a few words.
    return OverlappingSample(
        name, intern(dataset), intern(modality), intern(patient), folder, image_name, mask_names, options
    )


def modality_of(word: str) -> str:
    """Modality in words: "mr_t1" is "MRI (t1)", "ct_00" is "CT" (00 stands for no sub-modality)."""
    if word in _MODALITIES:
        return _MODALITIES[word]
    main, _, sub = word.partition("_")
    name = _MODALITIES.get(main, main)
    return name if sub in ("", _NO_SUB_MODALITY) else f"{name} ({sub})"


def class_of(mask_name: str) -> int:
    """Class in the name of a mask, 1 when there is none."""
    match = _CLASS.search(PurePosixPath(mask_name).stem)
    return int(match["class"]) if match else 1


def _read_index(index: Path) -> dict[str, list[str]]:
    try:
        listed: Any = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{index} is not JSON: {error}") from error
    if not isinstance(listed, dict) or not all(
        isinstance(masks, list) and all(isinstance(mask, str) for mask in masks) for masks in listed.values()
    ):
        raise FileError(
            f"{index} has another form: wanted image names, each with a list of names of its masks"
        )
    return listed


def _binary_mask(path: Path) -> NDArray[np.bool_]:
    """(rows, columns); these masks are binary by definition, so a colour one says the same."""
    volume = read_volume(path, palette_indices=True)
    if volume.array.shape[0] != 1:
        raise FileError(f"{path} is a stack of {volume.array.shape[0]} slices: wanted one 2D mask")
    return np.asarray(volume.array[0].any(axis=-1) if volume.is_rgb else volume.array[0] != 0)


def _summaries(samples: list[OverlappingSample]) -> tuple[DataSetSummary, ...]:
    modalities: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for sample in samples:
        modalities.setdefault(sample.dataset, set()).add(sample.modality)
        counts[sample.dataset] = counts.get(sample.dataset, 0) + 1
    return tuple(
        DataSetSummary(name, LAYOUT, ", ".join(sorted(modalities[name])), count, count, count)
        for name, count in counts.items()
    )
