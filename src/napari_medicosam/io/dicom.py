"""DICOM: a file, a folder of a series or of several, and lists of files, as volumes.

`scans#2` is the second of several volumes in the folder `scans`; so is `enhanced.dcm#2` in a file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.dicom_files import is_dicom_file
from napari_medicosam.io.dicom_headers import read_header
from napari_medicosam.io.dicom_pixels import read_pixels
from napari_medicosam.io.dicom_stacks import DicomStack, find_stacks
from napari_medicosam.io.records import DicomSource, FileHeader, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Endings that promise DICOM, in lower case. Most scanners write none, so files are known by their first bytes."""

_CHOICE = re.compile(r"(?P<path>.+)#(?P<number>\d+)")
_MAX_FILES = 20_000
_MAX_LOOKED_AT = 200


@dataclass(frozen=True, slots=True, eq=False)
class FoundDicom:
    """What lies in a file, a folder or a list of files.

    Attributes:
        stacks: its volumes and single images, also those that cannot be read.
        skipped: modalities of the objects without an image: reports, segmentations, plans.
    """

    stacks: tuple[DicomStack, ...]
    skipped: tuple[str, ...]


def split_choice(path: Path) -> tuple[Path, int | None]:
    """The path without `#N`, and N; a file that has such a name is taken as it is."""
    match = _CHOICE.fullmatch(path.name)
    if match is None or path.exists():
        return path, None
    return path.with_name(match["path"]), int(match["number"])


def is_dicom(path: Path) -> bool:
    """True for a DICOM file, and for a folder with one among the first files in or below it; `#N` may follow."""
    path, _ = split_choice(path)
    if not path.is_dir():
        return is_dicom_file(path)
    files = (file for file, _ in zip(_files_below(path), range(_MAX_LOOKED_AT), strict=False))
    return any(is_dicom_file(file) for file in files)


def is_segmentation(path: Path) -> bool:
    """True for a DICOM file that holds labels and no image; `FileError` for a damaged one."""
    return path.is_file() and is_dicom_file(path) and read_header(path)[0].modality == "SEG"


def read_dicom(path: Path, *, palette_indices: bool = False) -> Volume:
    """Read the one volume or image that a file or folder holds; number N of several with `#N` at the end of the path.

    Args:
        path: a file, which is read alone, a segmentation as its label map (`read_dicom_seg`); or a folder, searched
            with all folders below it.
        palette_indices: of palette images take the indices and not the colours.

    Raises:
        FileError: for several volumes (it lists them) or none, missing or uneven slices, damaged files.
    """
    if is_segmentation(path):
        from napari_medicosam.io.dicom_seg_reading import read_dicom_seg  # highdicom is slow to import

        return read_dicom_seg(path)
    stacks = find_dicom([path]).stacks
    if len(stacks) > 1:
        listed = "\n".join(
            f"  {path}#{number}: {stack.title}" for number, stack in enumerate(stacks, start=1)
        )
        raise FileError(f"{path} holds {len(stacks)} volumes or images: choose one of them\n{listed}")
    return volume_of(stacks[0], palette_indices=palette_indices)


def find_dicom(paths: Sequence[Path]) -> FoundDicom:
    """The volumes and images in files and folders, from their headers alone; only number N where `#N` chooses it.

    Raises:
        FileError: for a file that is no DICOM (in a folder: whose name says that it is), or a damaged one; when there
            is no image, or no number N.
    """
    path, number = split_choice(paths[0]) if len(paths) == 1 else (paths[0], None)
    headers = [
        read_header(file)
        for start in ([path] if number is not None else paths)
        for file in _dicom_files(start)
    ]
    stacks = find_stacks([frame for _, frames in headers for frame in frames])
    skipped = tuple(sorted({file.modality or "other" for file, frames in headers if not frames}))
    if not stacks:
        raise FileError(f"{path} holds no DICOM image" + (f", only {', '.join(skipped)}" if skipped else ""))
    if number is None:
        return FoundDicom(tuple(stacks), skipped)
    if not 1 <= number <= len(stacks):
        raise FileError(f"{path} holds {len(stacks)} volumes or images: there is no number {number}")
    return FoundDicom((stacks[number - 1],), ())


def times_of(stacks: Sequence[DicomStack]) -> list[list[DicomStack]]:
    """Stacks that `find_dicom` found, those at one place together."""
    together: list[list[DicomStack]] = []
    for stack in stacks:
        if stack.time == 0 or not together:
            together.append([])
        together[-1].append(stack)
    return together


def volume_of(stack: DicomStack, *, palette_indices: bool = False) -> Volume:
    """Read the pixels of a stack.

    The unit is mm where pixel spacing and the places of slices are known, or the spacing of a single image.

    Raises:
        FileError: for a stack with a problem, and for pixels that cannot be read.
    """
    try:
        geometry = stack.geometry()
    except FileError:
        raise
    except MedicoSamError as error:
        raise FileError(f"{stack.title} cannot be read: {error}") from error
    array, is_rgb = read_pixels(stack, palette_indices=palette_indices)
    middle = stack.frames[len(stack.frames) // 2]
    is_measured = middle.spacing_yx is not None and (middle.position_mm is not None or stack.is_2d)
    is_multi_frame = middle.file.num_frames > 1
    source = DicomSource(
        paths=(middle.file.path,) if is_multi_frame else tuple(frame.file.path for frame in stack.frames),
        frames=tuple(frame.index for frame in stack.frames) if is_multi_frame else (),
        is_placed=stack.is_placed,
        is_inverted=middle.file.is_inverted,
    )
    window = None if is_rgb else middle.window
    header = FileHeader("dicom", "mm" if is_measured else None, source, middle.file.modality, window)
    return Volume(array, geometry, is_rgb, stack.is_2d, header)


def _dicom_files(path: Path) -> Iterator[Path]:
    """The file; or the DICOM files of a folder, and of the folder that a DICOMDIR stands for."""
    if path.is_file() and path.name.upper() == "DICOMDIR":
        path = path.parent
    if not path.is_dir():
        yield path
        return
    for number, file in enumerate(_files_below(path)):
        if number == _MAX_FILES:
            raise FileError(f"{path} holds more than {_MAX_FILES} files: wanted the folder of one study")
        if file.suffix.lower() in DICOM_SUFFIXES or is_dicom_file(file):
            yield file


def _files_below(folder: Path) -> Iterator[Path]:
    """Files in and below a folder by name, hidden ones left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root) / name for name in sorted(names) if not name.startswith("."))
