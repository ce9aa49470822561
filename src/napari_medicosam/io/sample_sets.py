"""Annotated images of a folder, whatever its layout: the door to everything that reads training data."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.core.object_masks import MIN_OBJECT_PIXELS
from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.io.data_descriptions import DataSetDescription, read_description
from napari_medicosam.io.data_report import DataReport, DataSetSummary, SampleSet, Skipped
from napari_medicosam.io.picture_samples import PictureSample
from napari_medicosam.io.sa_med2d import find_index, find_overlapping_samples
from napari_medicosam.io.sample_checks import check_samples
from napari_medicosam.io.sample_pairs import FoundPairs, Pair, find_pairs
from napari_medicosam.io.sample_reading import VOLUME_SUFFIXES, SampleOptions, reason_of
from napari_medicosam.io.sample_splits import split_samples
from napari_medicosam.io.session_files import is_session
from napari_medicosam.io.session_images import find_sessions
from napari_medicosam.io.session_samples import session_samples
from napari_medicosam.io.volume_samples import slice_samples
from napari_medicosam.io.volumes import suffix_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medicosam.io.samples import Sample

__all__ = [
    "LAYOUTS",
    "DataReport",
    "DataSetSummary",
    "SampleSet",
    "Skipped",
    "check_samples",
    "find_samples",
    "merge_sample_sets",
    "split_samples",
]

LAYOUTS = """\
  images/NAME.png + masks/NAME.png    2D images and label images of the same name (also labels/, .tif, .jpg images)
  images/NAME.nii.gz + labels/NAME.nii.gz    volumes and label volumes of the same name (also masks/, .nrrd, .mha)
  NAME_image.nii.gz + NAME_labels.nii.gz    volumes side by side
  imagesTr/NAME_0000.nii.gz + labelsTr/NAME.nii.gz    nnU-Net, Medical Segmentation Decathlon
  SAMed2D_v1.json + images/ + masks/    SA-Med2D-20M
  NAME.zip (or a folder NAME) + its image anywhere beside or below    saved sessions
  a folder of such folders    each of them is a data set"""
"""What `find_samples` understands, as its messages show it."""


def find_samples(
    path: Path,
    *,
    min_pixels: int = MIN_OBJECT_PIXELS,
    labels: tuple[int, ...] | None = None,
    window: str = "auto",
    axis: str = "auto",
) -> SampleSet:
    """Find the annotated images of a data set folder, or of a folder of such folders, in one of `LAYOUTS`.

    2D files are paired by name and not opened; `check_samples` does that. Label volumes are read, to know their slices;
    and images of sessions, which are known by their pixels alone.

    Args:
        path: the folder.
        min_pixels: smaller connected components are no objects.
        labels: labels that count (classes of SA-Med2D-20M); None for all but background.
        window: see `core.intensity.resolve_intensity`; "auto" leaves 8-bit pictures as they are. Resolved once a file.
        axis: along which volumes are cut: 0, 1, 2, axial, coronal, sagittal, or "auto": so that pixels are
            square, if any axis gives that, and along the larger spacing if several do.

    Raises:
        InputError: for another window or axis, or labels and pixels that are not positive.
        FileError: for a folder without a known layout, or with nothing that could be used.
    """
    options = SampleOptions(min_pixels, labels, window, axis)
    path = Path(path)
    if not path.is_dir():
        found_instead = "is a file" if path.exists() else "does not exist"
        raise FileError(
            f"{path} {found_instead}: wanted a folder of annotated images, laid out as\n{LAYOUTS}"
        )
    found = _data_set(path, options)
    if found is None:
        found = _collection(path, options)
    if not found.samples:
        raise FileError(f"no annotated image of {path} can be used.\n{found.report.as_text()}")
    return found


def merge_sample_sets(sample_sets: Iterable[SampleSet]) -> SampleSet:
    """Several sets as one, in their order.

    Raises:
        InputError: when two data sets have the same name: their samples could not be told apart.
    """
    sets = tuple(sample_sets)
    datasets = [summary for found in sets for summary in found.report.datasets]
    twice = [name for name, count in Counter(summary.name for summary in datasets).items() if count > 1]
    if twice:
        raise InputError(
            f"several data sets are called {', '.join(twice)}: wanted one name a data set, rename a folder"
        )
    digests = [found.report.digest for found in sets]
    digest = hashlib.sha256("\n".join(digests).encode()).hexdigest() if digests and all(digests) else ""
    skipped = tuple(item for found in sets for item in found.report.skipped)
    samples = tuple(sample for found in sets for sample in found.samples)
    return SampleSet(samples, DataReport(tuple(datasets), skipped, digest))


def _data_set(folder: Path, options: SampleOptions) -> SampleSet | None:
    """The samples of a folder that is one data set (or SA-Med2D-20M, which holds many), else None."""
    index = find_index(folder)
    if index is not None:
        return find_overlapping_samples(index, folder, options)
    name = folder.absolute().name
    description = partial(read_description, folder.absolute())
    try:
        pairs = find_pairs(folder, name)
    except FileError:  # images/ without masks: those may be in sessions
        sessions = find_sessions(folder)
        if not sessions:
            raise
        return session_samples(folder, sessions, description(), options)
    if pairs is not None:
        return _samples_of_pairs(pairs, name, description(), options)
    sessions = [] if _holds_data_sets(folder) else find_sessions(folder)
    return session_samples(folder, sessions, description(), options) if sessions else None


def _holds_data_sets(folder: Path) -> bool:
    """True when a folder in it is a data set of its own, and not a patient of this one."""
    for inner in folder.iterdir():
        if not inner.is_dir() or inner.name.startswith("."):
            continue
        if (inner / "dataset.json").is_file() or find_index(inner) is not None:
            return True
        with suppress(FileError):
            if find_pairs(inner, inner.name) is not None:
                return True
    return False


def _collection(path: Path, options: SampleOptions) -> SampleSet:
    sets: list[SampleSet] = []
    skipped: list[Skipped] = []
    for folder in sorted(path.iterdir()):
        if is_session(folder):
            skipped.append(
                Skipped("", folder.name, "a session beside data sets: give it a folder of its own")
            )
            continue
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            found = _data_set(folder, options)
        except FileError as error:
            skipped.append(Skipped("", folder.name, reason_of(error, (("the folder", folder),))))
            continue
        if found is None:
            skipped.append(Skipped("", folder.name, f"not a known layout: {_contents(folder)}"))
        else:
            sets.append(found)
    if not sets:
        reasons = "".join(f"\n{item.name}: {item.reason}" for item in skipped[:5])
        raise FileError(
            f"{path} is not laid out in a way that is understood: {_contents(path)}. Wanted one of\n{LAYOUTS}{reasons}"
        )
    return merge_sample_sets([*sets, SampleSet((), DataReport((), tuple(skipped)))])


def _samples_of_pairs(
    found: FoundPairs, name: str, description: DataSetDescription, options: SampleOptions
) -> SampleSet:
    samples: list[Sample] = []
    skipped = list(found.skipped)
    modalities: set[str] = set()
    for pair in found.pairs:
        modality = _modality(pair, description)
        try:
            of_pair = _samples_of_pair(pair, name, modality, description.patient_of(pair.case), options)
        except MedicoSamError as error:
            reason = reason_of(error, (("the image", pair.image), ("the label volume", pair.mask)))
            skipped.append(Skipped(name, pair.name, reason))
            continue
        samples += of_pair
        modalities.add(modality)
    listed = ", ".join(sorted(modalities - {""}))
    summary = DataSetSummary(name, found.layout, listed, found.num_images, len(found.pairs), len(samples))
    return SampleSet(tuple(samples), DataReport((summary,), tuple(skipped)))


def _samples_of_pair(
    pair: Pair, dataset: str, modality: str, patient: str, options: SampleOptions
) -> list[Sample]:
    is_volume, has_volume_labels = (suffix_of(path) in VOLUME_SUFFIXES for path in (pair.image, pair.mask))
    if is_volume != has_volume_labels:
        raise FileError(f"{pair.image} and {pair.mask} are a picture and a volume: wanted two of a kind")
    if is_volume:
        return list(slice_samples(pair, dataset, modality, patient, options))
    return [PictureSample(pair.name, dataset, modality, patient, pair.image, pair.mask, options)]


def _modality(pair: Pair, description: DataSetDescription) -> str:
    if pair.channel is not None and pair.channel in description.channels:
        return description.channels[pair.channel]
    return description.modality or description.modalities.get(pair.case, "")


def _contents(folder: Path) -> str:
    """What lies in a folder, in a few words."""
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    files = Counter(suffix_of(path) or path.suffix for path in folder.iterdir() if path.is_file())
    words = (
        [f"{len(folders)} folders ({', '.join(folders[:5])}{', ...' if len(folders) > 5 else ''})"]
        if folders
        else []
    )
    words += [f"{count} {suffix or 'other'} files" for suffix, count in files.most_common(3)]
    return "it holds " + (" and ".join(words) if words else "nothing")
