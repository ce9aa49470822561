"""Numbers out of DICOM data sets: looked for where each may stand, and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

_MACROS = (
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence",
    "FrameVOILUTSequence", "FrameContentSequence", "MRDiffusionSequence", "PlanePositionVolumeSequence",
    "PlaneOrientationVolumeSequence",
)  # fmt: skip
"""Functional groups of multi-frame files that say what files of one image say themselves."""

_CENTIMETRES = 3
_TISSUE_2D = 1
_COSINE_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class Fields:
    """What a file says about one of its images: the first data set that has a field counts.

    Attributes:
        path: the file, for messages.
        places: data sets from the most special one to the one of the whole file.
    """

    path: Path
    places: tuple[Dataset, ...]

    @classmethod
    def of_groups(cls, path: Path, dataset: Dataset, groups: Sequence[Dataset]) -> Fields:
        """Those of an image that the functional groups `groups` hold for."""
        items = (first_item(group.get(name)) for group in groups for name in _MACROS)
        return cls(path, (*(item for item in items if item is not None), dataset))

    def value(self, keyword: str) -> Any:
        """The field, or None where nobody has it or it is empty."""
        found = (place.get(keyword) for place in self.places)
        return next((value for value in found if value is not None and value != ""), None)

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
        """The field as finite numbers, None where there is none.

        Raises:
            FileError: for another number of them than `count`, or one that is not finite.
        """
        value = self.value(keyword)
        if value is None:
            return None
        values = tuple(float(v) for v in ([value] if isinstance(value, (int, float)) else value))
        if not values:
            return None
        if (count is not None and len(values) != count) or not all(math.isfinite(v) for v in values):
            wanted = "finite numbers" if count is None else f"{count} finite numbers"
            raise FileError(f"{self.path} has {keyword} {values}: wanted {wanted}")
        return values

    def number(self, keyword: str, default: float) -> float:
        """The field as one finite number."""
        return (self.numbers(keyword, 1) or (default,))[0]

    def sort_key(self, keyword: str) -> float:
        """The field to sort by, first where there is none."""
        value = self.value(keyword)
        return float(value) if isinstance(value, (int, float)) else -math.inf

    def position_mm(self) -> NDArray[np.float64] | None:
        """LPS place of the first pixel's centre; of enhanced ultrasound its place in the volume."""
        position = self.numbers("ImagePositionPatient", 3) or self.numbers("ImagePositionVolume", 3)
        return None if position is None else np.array(position)

    def directions(self) -> NDArray[np.float64] | None:
        """LPS unit vectors (2, 3) along a row and down a column; of enhanced ultrasound in the volume.

        Raises:
            FileError: for vectors that are not of length 1 or not at right angles.
        """
        cosines = self.numbers("ImageOrientationPatient", 6) or self.numbers("ImageOrientationVolume", 6)
        if cosines is None:
            return None
        directions = np.reshape(cosines, (2, 3))
        if np.abs(directions @ directions.T - np.eye(2)).max() > _COSINE_TOLERANCE:
            raise FileError(
                f"{self.path} has ImageOrientationPatient {cosines}: wanted two unit vectors at right angles"
            )
        # Decimals are rounded: scaled to length 1, a pixel is as large as PixelSpacing says.
        return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))

    def spacing_yx(self) -> tuple[float, float] | None:
        """Mm between rows and between columns; of projections at the detector, of ultrasound in the tissue.

        Some devices write zeros for what they do not know.

        Raises:
            FileError: for a spacing that is not positive.
        """
        keywords = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
        spacing = next((found for name in keywords if (found := self.numbers(name, 2)) and any(found)), None)
        spacing = spacing or self._ultrasound_spacing()
        if spacing is None:
            return None
        y, x = spacing
        if min(y, x) <= 0:
            raise FileError(f"{self.path} has a pixel spacing of {y} x {x} mm: wanted two positive numbers")
        return y, x

    def window(self) -> tuple[float, float] | None:
        """(centre, width) of the first window, None where none makes sense."""
        centre, width = self.numbers("WindowCenter"), self.numbers("WindowWidth")
        return (centre[0], width[0]) if centre and width and width[0] > 0 else None

    def frame_offsets_mm(self, num_frames: int) -> NDArray[np.float64] | None:
        """How far each frame of an old kind of multi-frame file lies behind the first: RT dose, tomographic NM."""
        offsets = self.numbers("GridFrameOffsetVector", num_frames) if num_frames > 1 else None
        if offsets is not None:
            return np.asarray(np.array(offsets) - offsets[0])
        step = self.number("SpacingBetweenSlices", 0.0)
        return np.asarray(np.arange(num_frames) * step, dtype=np.float64) if step else None

    def _ultrasound_spacing(self) -> tuple[float, float] | None:
        regions = [
            (abs(float(region.PhysicalDeltaY)) * 10, abs(float(region.PhysicalDeltaX)) * 10)
            for region in self.value("SequenceOfUltrasoundRegions") or ()
            if region.get("RegionSpatialFormat") == _TISSUE_2D
            and region.get("PhysicalUnitsXDirection") == _CENTIMETRES
            and region.get("PhysicalUnitsYDirection") == _CENTIMETRES
        ]
        return regions[0] if len(set(regions)) == 1 else None


def first_item(sequence: Any) -> Dataset | None:
    """The first data set of a sequence, None where there is none."""
    return sequence[0] if sequence else None
