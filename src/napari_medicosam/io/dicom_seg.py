"""DICOM segmentations (SEG) written for the series that was segmented.

A segmentation names the images it was made from and carries their patient's attributes: that is DICOM's rule. Needs
highdicom, so this module is imported only when one is written.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.utils import get_plane_positions_of_image
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from napari_medicosam.errors import FileError
from napari_medicosam.io.dicom_files import read_dataset
from napari_medicosam.io.dicom_planes import planes_of_record
from napari_medicosam.io.dicom_quiet import quietly
from napari_medicosam.io.dicom_seg_reading import WRITER, label_text
from napari_medicosam.io.dicom_segments import segments_of
from napari_medicosam.io.records import DicomSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

    from napari_medicosam.io.dicom_planes import Planes
    from napari_medicosam.io.dicom_segments import LabelNames, Segment
    from napari_medicosam.io.records import VolumeRecord

_SERIES_OFFSET = 1000
"""Added to the number of the images' series, so that a segmentation sorts behind the scanner's own."""

_TAKEN_OVER = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""What a segmentation has from its images, even when it is empty there."""

_SHARED_GROUPS = ("PixelMeasuresSequence", "PlaneOrientationSequence")


def write_dicom_seg(
    path: Path,
    labels_zyx: NDArray[Any],
    record: VolumeRecord,
    classes: LabelNames | None = None,
) -> None:
    """Write all labels as the binary segments of one file, without the slices where there is none.

    Segments are numbered 1, 2, ... in the order of the labels; the label itself is in the segment's description.

    Args:
        path: .dcm.
        labels_zyx: uint8/16/32 (z, y, x).
        record: of an image that was read from DICOM files, which must still be there.
        classes: names, codes and colours of labels; those it does not have are called "label 5".

    Raises:
        FileError: for an image that is not from DICOM, or whose files do not say what a segmentation needs.
    """
    source = record.header.native
    if not isinstance(source, DicomSource):
        raise FileError(
            f"cannot write {path}: a DICOM segmentation names the images that it was made from, and this image was "
            f"not read from DICOM files. Write another format, such as .nii.gz"
        )
    if not source.is_placed:
        raise FileError(
            f"cannot write {path}: the image's files do not say where it lies in the patient, which a DICOM "
            f"segmentation must. Write another format, such as .nii.gz"
        )
    labels = sorted({int(label) for plane in labels_zyx if plane.any() for label in np.unique(plane)} - {0})
    labels = labels or [1]  # there must be a segment, be it without a voxel
    numbers_zyx = np.empty(labels_zyx.shape, np.min_scalar_type(len(labels)))
    for plane, numbers in zip(labels_zyx, numbers_zyx, strict=True):
        numbers[...] = np.searchsorted([0, *labels], plane)
    segments = segments_of(labels, classes)
    with quietly():
        images = [read_dataset(image, stop_before_pixels=True) for image in source.paths]
        if source.frames and "SharedFunctionalGroupsSequence" not in images[0]:
            raise FileError(
                f"cannot write {path}: the image is a multi-frame file of an old kind, which does not describe its "
                f"frames one by one. Write another format, such as .nii.gz"
            )
        _prepare(images, source, planes_of_record(record))
        try:
            segmentation = _segmentation(images, source, numbers_zyx, segments)
        except AttributeError as error:
            raise FileError(
                f"cannot write {path}: a DICOM segmentation needs {error.name} in the image's files, which they do not "
                f"have. Write another format, such as .nii.gz"
            ) from error
        segmentation.save_as(path)


def _segmentation(
    images: Sequence[Dataset],
    source: DicomSource,
    numbers_zyx: NDArray[Any],
    segments: Mapping[int, Segment],
) -> Segmentation:
    """The file's content; `numbers_zyx` holds segment numbers."""
    first = images[0]
    taken_over = {keyword: first.get(keyword) for keyword in _TAKEN_OVER}
    for keyword in _TAKEN_OVER:
        # highdicom prints unusual names as a warning, and refuses values that hospitals do write.
        setattr(first, keyword, "")
    positions = None
    if source.frames:
        all_positions = get_plane_positions_of_image(first)
        positions = [all_positions[frame] for frame in source.frames]
    segmentation = Segmentation(
        source_images=images,
        pixel_array=numbers_zyx,
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(number, label, segment)
            for number, (label, segment) in enumerate(segments.items(), start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=max(int(first.get("SeriesNumber") or 0), 0) + _SERIES_OFFSET,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=WRITER,
        manufacturer_model_name=WRITER,
        software_versions=version(WRITER),
        device_serial_number="0",
        plane_positions=positions,
        content_label="SEGMENTATION",
        content_description="Segmentation",
        series_description="Segmentation",
        specific_character_set="ISO_IR 192",  # names of segments may be in any script
    )
    for keyword, value in taken_over.items():
        setattr(segmentation, keyword, value)
    return segmentation


def _description(number: int, label: int, segment: Segment) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=Code(*segment.category),
        segmented_property_type=Code(*segment.kind),
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            WRITER, codes.DCM.ArtificialIntelligence, version(WRITER)
        ),
        display_color=segment.colour and highdicom.color.CIELabColor.from_rgb(*segment.colour),
    )
    description.SegmentDescription = label_text(label)
    return description


def _prepare(images: Sequence[Dataset], source: DicomSource, planes: Planes) -> None:
    """Make what highdicom asks of images true in memory, as far as it is true of these."""
    first: Any = images[0]
    first.decode()  # nested texts, too: the segmentation is written in another character set
    measures = first
    if "SharedFunctionalGroupsSequence" in first:
        shared = first.SharedFunctionalGroupsSequence[0]
        own = first.PerFrameFunctionalGroupsSequence[source.frames[0] if source.frames else 0]
        for keyword in _SHARED_GROUPS:
            if keyword not in shared:  # each frame says it, those of one volume all alike
                setattr(shared, keyword, getattr(own, keyword))
        measures = shared.PixelMeasuresSequence[0]
    for image in images:  # parallel, as they were read as one volume, but not to the last digit
        if "ImageOrientationPatient" in image:
            image.ImageOrientationPatient = first.ImageOrientationPatient
    depths = planes.positions @ planes.normal
    spacing = abs(float(depths[-1] - depths[0])) / (len(depths) - 1) if len(depths) > 1 else None
    if spacing is not None:
        measures.SpacingBetweenSlices = format_number_as_ds(spacing)  # some scanners write the gap there
    if not measures.get("SliceThickness"):
        measures.SliceThickness = format_number_as_ds(spacing or 1.0)
