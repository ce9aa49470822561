"""Small DICOM files made for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES_UID = "1.2.826.0.1.3680043.8.498.1"
SPACING_YX = (0.7, 0.8)

_rng = np.random.default_rng(3)
CT = _rng.integers(0, 4096, (5, 6, 7)).astype(np.int16)
"""Stored values; with `dataset`'s rescaling 1024 less."""


def oblique() -> tuple[float, ...]:
    """Cosines of a plane that is parallel to no axis, with as many digits as a file may hold."""
    rotation, _ = np.linalg.qr([[1.0, 0.2, 0.1], [-0.3, 1.0, 0.2], [0.1, -0.4, 1.0]])
    return tuple(round(float(v), 12) for v in (rotation.T[:2] * np.sign(np.diag(rotation))[:2, None]).ravel())


def dataset(pixels: NDArray[Any], **attributes: Any) -> Dataset:
    """A CT image of (y, x) or (frame, y, x), or in colour (..., 3); an attribute that is None is left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    is_rgb = pixels.shape[-1] == 3
    rows, columns = pixels.shape[:-1][-2:] if is_rgb else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": generate_uid(), "SeriesInstanceUID": SERIES_UID,
        "StudyInstanceUID": "1.2.3", "Modality": "CT", "PatientName": "Nobody^Known", "SeriesNumber": 4,
        "SeriesDescription": "CHEST", "InstanceNumber": 1, "Rows": rows, "Columns": columns,
        "SamplesPerPixel": 3 if is_rgb else 1, "PhotometricInterpretation": "RGB" if is_rgb else "MONOCHROME2",
        "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": list(AXIAL), "PixelSpacing": list(SPACING_YX),
        "SliceThickness": 9.0,
        "RescaleSlope": None if is_rgb else 1, "RescaleIntercept": None if is_rgb else -1024,
        "PlanarConfiguration": 0 if is_rgb else None,
        "PixelData": pixels.tobytes(),
    } | attributes  # fmt: skip
    for keyword, value in values.items():
        if value is not None:
            setattr(made, keyword, value)
    made["PixelData"].VR = "OW"
    return made


def save(made: Dataset, path: Path) -> Path:
    made.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    array_zyx: NDArray[Any],
    step: ArrayLike = (0, 0, 2.5),
    origin: ArrayLike = (-31, 12, -70),
    **attributes: Any,
) -> list[Path]:
    """Write a slice a file, without endings and with names in another order than the slices; in slice order."""
    folder.mkdir(exist_ok=True)
    paths = []
    for index, pixels in enumerate(array_zyx):
        position = np.asarray(origin, dtype=float) + index * np.asarray(step, dtype=float)
        made = dataset(
            pixels,
            **{"ImagePositionPatient": [round(float(v), 9) for v in position], "InstanceNumber": 90 - index}
            | attributes,
        )
        paths.append(save(made, folder / f"IM{index * 7 % 5}{index}"))
    return paths


def compressed(made: Dataset, syntax: UID) -> Dataset:
    made.compress(syntax)
    return made


def enhanced(array_zyx: NDArray[Any], order: list[int], slopes: list[float]) -> Dataset:
    """One multi-frame file whose frames are the slices `order` of `array_zyx`, 2.5 mm apart, each with its slope."""
    made = dataset(
        array_zyx[order], NumberOfFrames=len(order), ImagePositionPatient=None, ImageOrientationPatient=None,
        PixelSpacing=None, SliceThickness=None, RescaleSlope=None, RescaleIntercept=None,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
    )  # fmt: skip
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(SPACING_YX), SliceThickness=2.0)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(AXIAL))]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[1.5, -2.5, 10 + 2.5 * index])],
            PixelValueTransformationSequence=[_item(RescaleSlope=slopes[index], RescaleIntercept=-1)],
            FrameVOILUTSequence=[_item(WindowCenter=[50, 7], WindowWidth=[400, 7])],
        )
        for index in order
    ]
    return made


def _item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made
