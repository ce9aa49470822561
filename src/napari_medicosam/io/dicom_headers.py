"""What a DICOM file says about its images before a pixel is read: their size, place, order, scaling and window."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import DEFLATE_MAX_RATIO, check_data_size
from napari_medicosam.io.dicom_fields import Fields, first_item
from napari_medicosam.io.dicom_files import has_dicom_magic, is_dicom_file, read_dataset
from napari_medicosam.io.dicom_mosaic import split_mosaic
from napari_medicosam.io.dicom_quiet import quietly

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

_MAX_INFLATED = 1 << 29
_ALWAYS_INFLATED = 1 << 23
_MAX_INFLATED_RATIO = 64
"""Deflate hides how much a file holds, so one that is deflated as a whole may not become larger than this, nor, past
the first few MB, so many times larger: scans shrink to a half or a tenth, a million empty elements to a thousandth,
and they take minutes to be read."""

_RLE_MAX_RATIO = 64
_CODEC_MAX_RATIO = 5000
"""How much smaller than its pixels a compressed file can be: an all black image in JPEG 2000 comes near it."""

_FRAGMENT_HEADER_BYTES = 8
_SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
"""SOP classes that hold labels and no images."""

_ORDER = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoTime", "DiffusionBValue",
    "TriggerTime", "InstanceNumber",
)  # fmt: skip
"""What tells images at one position apart, in the order in which they then follow."""

_TAGS: list[str] = [
    *_ORDER, "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality",
    "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "DoseGridScaling", "WindowCenter", "WindowWidth", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "SequenceOfUltrasoundRegions", "GridFrameOffsetVector",
    "DetectorInformationSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ModalityLUTSequence",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """One file. What identifies people or their visits stays out of its text.

    Attributes:
        path: where it is.
        series_uid, instance_uid: the ids of its series and of itself; "" where it has none.
        series_number, description: of the series.
        modality: "CT", "MR", ... or None.
        size_yx: rows and columns of each image.
        num_frames: images in it; 0 for reports, segmentations, plans and the like.
        num_samples: 1, or 3 for colour.
        is_inverted: low values are meant to be shown bright (MONOCHROME1).
        is_mosaic: a whole volume tiled into one picture, as Siemens stores it, that could not be taken apart.
        is_localizer: a picture to plan other images on.
        num_tiles: images side by side in a mosaic that was taken apart; 1 for other files.
    """

    path: Path = field(repr=False)
    series_uid: str = field(repr=False)
    instance_uid: str = field(repr=False)
    series_number: int
    description: str = field(repr=False)
    modality: str | None
    size_yx: tuple[int, int]
    num_frames: int
    num_samples: int
    is_inverted: bool
    is_mosaic: bool
    is_localizer: bool
    num_tiles: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class DicomFrame:
    """One image of a file.

    Attributes:
        file: the file.
        index: which of its images, from 0.
        position_mm: LPS place of the first pixel's centre; None unless `directions` are known too.
        directions: LPS unit vectors (2, 3) along a row and down a column, or None.
        is_in_patient: the two above are places in the patient, and not only in the box that a transducer saw.
        spacing_yx: mm between rows and between columns, or None.
        thickness_mm: of the slice, or None.
        slope, intercept: stored value * slope + intercept is the value.
        window: (centre, width) of the values to be shown, or None.
        stack_id: which stack of the file it belongs to, where there are several.
        order: sorts images at one position.
    """

    file: DicomFile
    index: int
    position_mm: NDArray[np.float64] | None
    directions: NDArray[np.float64] | None
    is_in_patient: bool
    spacing_yx: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    stack_id: str
    order: tuple[float, ...]


def read_header(path: Path) -> tuple[DicomFile, tuple[DicomFrame, ...]]:
    """The file and its images.

    Raises:
        FileError: for a file that is no DICOM, is damaged, or says sizes or places that cannot be.
    """
    if not is_dicom_file(path):
        raise FileError(
            f"{path} is not a DICOM file: wanted the letters DICM after 128 bytes, or DICOM's first elements at once"
        )
    try:
        with quietly():
            return _read(path)
    except FileError:
        raise
    except Exception as error:  # damaged files give anything from EOFError to RecursionError
        reason = str(error) or type(error).__name__
        raise FileError(f"cannot read {path} as DICOM, the file may be damaged: {reason}") from error


def _read(path: Path) -> tuple[DicomFile, tuple[DicomFrame, ...]]:
    _check_inflated_size(path)
    dataset = read_dataset(path, stop_before_pixels=True, specific_tags=_TAGS)
    file = _file_of(path, dataset)
    if not file.num_frames:
        return file, ()
    _check_pixel_size(file, dataset)
    frames = _frames_of(file, dataset)
    split = split_mosaic(file, frames[0]) if file.is_mosaic else None
    return split or (file, frames)


def _file_of(path: Path, dataset: Dataset) -> DicomFile:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    num_frames = int(dataset.get("NumberOfFrames") or 1)
    is_image = min(rows, columns) > 0 and str(dataset.get("SOPClassUID", "")) not in _SEGMENTATIONS
    if num_frames < 1:
        raise FileError(f"{path} says that it holds {num_frames} images: wanted at least one")
    return DicomFile(
        path=path,
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        instance_uid=str(dataset.get("SOPInstanceUID") or ""),
        series_number=int(dataset.get("SeriesNumber") or 0),
        description=str(dataset.get("SeriesDescription") or ""),
        modality=str(dataset.get("Modality") or "") or None,
        size_yx=(rows, columns),
        num_frames=num_frames if is_image else 0,
        num_samples=int(dataset.get("SamplesPerPixel") or 1),
        is_inverted=dataset.get("PhotometricInterpretation") == "MONOCHROME1",
        is_mosaic="MOSAIC" in (dataset.get("ImageType") or ()),
        is_localizer="LOCALIZER" in (dataset.get("ImageType") or ()),
    )


def _frames_of(file: DicomFile, dataset: Dataset) -> tuple[DicomFrame, ...]:
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = first_item(dataset.get("SharedFunctionalGroupsSequence"))
    if own:
        if len(own) != file.num_frames:
            raise FileError(
                f"{file.path} is damaged: it has {file.num_frames} images and describes {len(own)} of them"
            )
        groups = [[group] if shared is None else [group, shared] for group in own]
        each = (Fields.of_groups(file.path, dataset, two) for two in groups)
        return tuple(_frame(file, index, fields) for index, fields in enumerate(each))
    detector = first_item(dataset.get("DetectorInformationSequence"))
    places = (dataset,) if detector is None else (detector, dataset)
    fields = Fields(file.path, places)
    if shared is not None:
        fields = Fields.of_groups(file.path, dataset, [shared])
    first = _frame(file, 0, fields)
    if file.num_frames == 1:
        return (first,)
    return _copies(first, fields.frame_offsets_mm(file.num_frames))


def _frame(file: DicomFile, index: int, fields: Fields) -> DicomFrame:
    position, directions = fields.position_mm(), fields.directions()
    is_placed = position is not None and directions is not None
    thickness = fields.number("SliceThickness", 0.0) or abs(fields.number("SpacingBetweenSlices", 0.0))
    has_table = fields.value("ModalityLUTSequence") is not None  # it stands instead of slope and intercept
    return DicomFrame(
        file=file,
        index=index,
        position_mm=position if is_placed else None,
        directions=directions if is_placed else None,
        is_in_patient=fields.value("ImagePositionPatient") is not None,
        spacing_yx=fields.spacing_yx(),
        thickness_mm=thickness if thickness > 0 else None,
        slope=1.0 if has_table else fields.number("RescaleSlope", fields.number("DoseGridScaling", 1.0)),
        intercept=0.0 if has_table else fields.number("RescaleIntercept", 0.0),
        window=fields.window(),
        stack_id=str(fields.value("StackID") or ""),
        order=(*(fields.sort_key(keyword) for keyword in _ORDER), index),
    )


def _copies(first: DicomFrame, offsets_mm: NDArray[np.float64] | None) -> tuple[DicomFrame, ...]:
    """The frames of a file that describes its first one only."""
    if first.position_mm is None or first.directions is None or offsets_mm is None:
        unplaced = replace(first, position_mm=None, directions=None)
        return tuple(replace(unplaced, index=index) for index in range(first.file.num_frames))
    places = first.position_mm + offsets_mm[:, None] * np.cross(*first.directions)
    return tuple(replace(first, index=index, position_mm=place) for index, place in enumerate(places))


def _check_inflated_size(path: Path) -> None:
    """Raise `FileError` for a file that pydicom would unpack into more memory than any honest one needs."""
    if not has_dicom_magic(path):
        return
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    with path.open("rb") as stream:
        stream.seek(144 + int(meta.FileMetaInformationGroupLength))
        most = min(max(_ALWAYS_INFLATED, _MAX_INFLATED_RATIO * path.stat().st_size), _MAX_INFLATED)
        while chunk := stream.read(1 << 14):
            size += len(inflate.decompress(chunk))
            if size > most:
                raise FileError(f"{path} is deflated from more than {most >> 20} MiB: wanted at most that")


def _check_pixel_size(file: DicomFile, dataset: Dataset) -> None:
    """Compare the size of the images with that of the file, before memory is asked for."""
    pixels = math.prod(file.size_yx) * file.num_frames * file.num_samples
    num_bytes = pixels * int(dataset.get("BitsAllocated") or 8) // 8
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    ratio = 1
    if syntax == DeflatedExplicitVRLittleEndian:
        ratio = DEFLATE_MAX_RATIO
    elif syntax is not None and syntax.is_encapsulated:
        ratio = _RLE_MAX_RATIO if syntax == RLELossless else _CODEC_MAX_RATIO
        num_bytes = max(num_bytes, file.num_frames * _FRAGMENT_HEADER_BYTES * ratio)
    elif dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        num_bytes = num_bytes * 2 // 3
    check_data_size(file.path, num_bytes, ratio)
