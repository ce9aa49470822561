"""DICOM segmentations read as label maps. Needs highdicom, so this module is imported only when one is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from highdicom.spatial import get_volume_positions

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.dicom_planes import Planes, planes_of_record
from napari_medicosam.io.dicom_quiet import quietly
from napari_medicosam.io.itk import ras_from_lps
from napari_medicosam.io.records import FileHeader, Volume

if TYPE_CHECKING:
    from os import PathLike

    from highdicom.seg import Segmentation
    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

WRITER = "napari-medicosam"
"""The package, as maker and model of the segmentations that we write."""


def read_dicom_seg(path: str | PathLike[str], like: Volume | VolumeRecord | None = None) -> Volume:
    """Read a segmentation as a label map: uint8, uint16 or uint32 (z, y, x), 0 where no segment is.

    Segments become the labels that they were written from when this package wrote them, else their segment numbers.

    Args:
        path: a DICOM file.
        like: the image that was segmented, or its record: the labels come on its grid. Without it the grid is that of
            the file's own frames, from the first slice with a segment to the last; empty ones between are filled in.

    Raises:
        FileError: for a file that is damaged or no segmentation; whose segments overlap, which one label map cannot
            hold; that holds probabilities; that does not lie on the slices of `like`, or without it on no even grid.
    """
    path = Path(path)
    record = like.record if isinstance(like, Volume) else like
    try:
        with quietly():
            labels, geometry = _read(path, record)
    except MedicoSamError:
        raise
    except Exception as error:  # damaged files give anything from EOFError to RecursionError
        raise FileError(
            f"cannot read {path} as a DICOM segmentation, the file may be damaged: {error}"
        ) from error
    own = FileHeader("dicom", "mm", modality="SEG", is_oriented=True)
    header = own if record is None else record.header
    return Volume(labels, geometry, is_2d=record is not None and record.is_2d, header=header)


def _read(path: Path, record: VolumeRecord | None) -> tuple[NDArray[Any], Geometry]:
    segmentation = highdicom.seg.segread(path)
    planes = _planes_of_frames(path, segmentation)
    if record is None:
        geometry, slices = _own_grid(path, segmentation, planes)
    else:
        found = planes_of_record(record).find(planes)
        if found is None:
            raise FileError(
                f"{path} lies on other slices than the image: wanted a segmentation of this image"
            )
        geometry, slices = record.geometry, found
    return _label_map(path, segmentation, slices, geometry.shape_zyx), geometry


def label_text(label: int) -> str:
    """The description of the segment that `label` becomes: segments are numbered 1, 2, 3 whatever the labels are."""
    return f"label {label}"


def _label_map(
    path: Path, segmentation: Segmentation, slices: NDArray[np.intp], shape_zyx: tuple[int, int, int]
) -> NDArray[Any]:
    kind = str(segmentation.SegmentationType)
    if kind not in ("BINARY", "LABELMAP"):
        raise FileError(f"{path} holds {kind.lower()} segments: wanted binary ones or a label map")
    labels_of = _labels_of_segments(segmentation)
    background = int(segmentation.get("PixelPaddingValue", 0)) if kind == "LABELMAP" else 0
    label_map = np.zeros(shape_zyx, np.min_scalar_type(max(labels_of.values())))
    for frame, index in enumerate(slices):
        values = segmentation.get_stored_frame(frame, as_index=True)
        inside = values != background
        if label_map[index][inside].any():
            raise FileError(f"{path} has segments that overlap: wanted at most one segment a voxel")
        if kind == "LABELMAP":
            label_map[index][inside] = values[inside]
        else:
            group = _frame_group(path, segmentation, frame, "SegmentIdentificationSequence")
            label_map[index][inside] = labels_of[int(group.ReferencedSegmentNumber)]
    return label_map


def _labels_of_segments(segmentation: Segmentation) -> dict[int, int]:
    numbers = [int(number) for number in segmentation.segment_numbers]
    if segmentation.get("ManufacturerModelName") == WRITER:
        texts = [segmentation.get_segment_description(n).get("SegmentDescription") for n in numbers]
        matches = [re.fullmatch(r"label (\d+)", str(text)) for text in texts]
        labels = [int(match[1]) for match in matches if match]
        if len(set(labels)) == len(numbers):
            return dict(zip(numbers, labels, strict=True))
    return {number: number for number in numbers}


def _planes_of_frames(path: Path, segmentation: Segmentation) -> Planes:
    """Where the frames lie; several of them at one place, when several segments are there."""

    def values_of(group: str, keyword: str) -> list[tuple[float, ...]]:
        return [
            tuple(map(float, getattr(_frame_group(path, segmentation, frame, group), keyword)))
            for frame in range(int(segmentation.NumberOfFrames))
        ]

    directions = set(values_of("PlaneOrientationSequence", "ImageOrientationPatient"))
    spacings = set(values_of("PixelMeasuresSequence", "PixelSpacing"))
    if len(directions) > 1 or len(spacings) > 1:
        raise FileError(
            f"{path} has frames of {len(directions)} directions and {len(spacings)} pixel spacings: wanted one of each"
        )
    positions = values_of("PlanePositionSequence", "ImagePositionPatient")
    y, x = spacings.pop()
    size = int(segmentation.Rows), int(segmentation.Columns)
    return Planes.from_dicom(positions, directions.pop(), (y, x), size)


def _own_grid(path: Path, segmentation: Segmentation, planes: Planes) -> tuple[Geometry, NDArray[np.intp]]:
    """The smallest even grid that all frames lie on, and the slice of each."""
    measures = _frame_group(path, segmentation, 0, "PixelMeasuresSequence")
    hint = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
    for spacing_hint in (hint, None):  # scanners say other things in this field, too
        spacing, indices = get_volume_positions(
            planes.positions.tolist(),
            [*planes.x_step / np.linalg.norm(planes.x_step), *planes.y_step / np.linalg.norm(planes.y_step)],
            allow_missing_positions=True,
            allow_duplicate_positions=True,
            spacing_hint=None if spacing_hint is None else float(spacing_hint),
            index_convention="RD",
        )
        if spacing is not None and indices is not None:
            break
    else:
        raise FileError(
            f"{path} has slices that are no straight, even stack: wanted the image that was segmented (like=...)"
        )
    low, high = int(np.argmin(indices)), int(np.argmax(indices))
    num_slices = indices[high] - indices[low] + 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = planes.x_step, planes.y_step, planes.positions[low]
    affine[:3, 2] = (
        (planes.positions[high] - planes.positions[low]) / (num_slices - 1)
        if num_slices > 1
        else planes.normal * spacing
    )
    rows, columns = planes.size_yx
    return Geometry((num_slices, rows, columns), ras_from_lps(affine)), np.array(indices) - indices[low]


def _frame_group(path: Path, segmentation: Segmentation, frame: int, keyword: str) -> Any:
    """The first item of a functional group: the frame's own, or else that of all frames."""
    for groups in (
        segmentation.PerFrameFunctionalGroupsSequence[frame],
        segmentation.SharedFunctionalGroupsSequence[0],
    ):
        if keyword in groups:
            return groups[keyword].value[0]
    raise FileError(f"{path} does not say where its frames lie or what they are: {keyword} is missing")
