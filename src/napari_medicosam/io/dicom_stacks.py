"""DICOM images sorted into volumes by where they say they lie. No position is guessed and no gap is closed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.itk import ras_from_lps

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.io.dicom_headers import DicomFrame

_SAME_DIRECTION = 1e-4
"""Images whose direction cosines differ by less are parallel."""

_SAME_SPACING = 1e-6
"""Pixel spacings that differ by less than this part are one: some programs write them with other roundings."""

_SAME_PLACE = 1e-2
"""Images lie at one position when they are nearer than this part of the pixel spacing."""

_UNEVEN = 0.1
_ROUNDING_MM = 0.11
"""A slice may lie off its place by this part of the step, or so far where the step is small (but never a quarter of
it): some scanners round positions to 0.1 mm."""

_NAMED_GAPS = 5
_VOLUME_MODALITIES = ("CT", "MR", "PT", "NM")


@dataclass(frozen=True, slots=True, eq=False)
class DicomStack:
    """Images that belong together, in the order of array axis z.

    Attributes:
        frames: at least one.
        problem: why they make no volume; "" when they do.
        time, num_times: which one this is of the volumes at one place (time points, echoes, b-values), from 0.
    """

    frames: tuple[DicomFrame, ...]
    problem: str = ""
    time: int = 0
    num_times: int = 1

    @property
    def is_placed(self) -> bool:
        """True when the files say where in the patient the slices lie."""
        return self.frames[0].position_mm is not None and self.frames[0].is_in_patient

    @property
    def is_2d(self) -> bool:
        """True for a single image."""
        return len(self.frames) == 1

    @property
    def title(self) -> str:
        """What a person would call it: "series 4 (CHEST, CT): 57 images of 512 x 512"."""
        file = self.frames[0].file
        words = ", ".join(word for word in (file.description, file.modality) if word)
        rows, columns = file.size_yx
        images = "1 image" if self.is_2d else f"{len(self.frames)} images"
        time = f", {self.time + 1} of {self.num_times} at this place" if self.num_times > 1 else ""
        return f"series {file.series_number} ({words}): {images} of {columns} x {rows}{time}"

    def geometry(self) -> Geometry:
        """The grid; without a place in the patient it lies at the origin with its spacing.

        Raises:
            FileError: for `problem`.
            InputError: for numbers that make no grid.
        """
        if self.problem:
            raise FileError(f"{self.title} cannot be read: {self.problem}")
        first, last = self.frames[0], self.frames[-1]
        shape = (len(self.frames), *first.file.size_yx)
        thickness = first.thickness_mm or 1.0
        y, x = first.spacing_yx or (1.0, 1.0)
        if first.position_mm is None or first.directions is None or last.position_mm is None:
            return Geometry.from_spacing(shape, (1.0, y, x))
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = first.directions[0] * x, first.directions[1] * y
        affine[:3, 2] = thickness * np.cross(*first.directions)
        if not self.is_2d:
            affine[:3, 2] = (last.position_mm - first.position_mm) / (len(self.frames) - 1)
        affine[:3, 3] = first.position_mm
        return Geometry(shape, ras_from_lps(affine))


def find_stacks(frames: Sequence[DicomFrame]) -> list[DicomStack]:
    """Sort images into stacks: by series, size, direction and spacing, then along the slice normal.

    An image that is there twice counts once. Images without a place stay single, those of one file together.
    """
    groups: dict[Hashable, list[list[DicomFrame]]] = {}
    for frame in _without_copies(frames):
        similar = groups.setdefault(_key(frame), [])
        group = next((group for group in similar if _are_alike(group[0], frame)), None)
        if group is None:
            similar.append([frame])
        else:
            group.append(frame)
    stacks = [stack for similar in groups.values() for group in similar for stack in _stacks_of(group)]
    return sorted(stacks, key=lambda stack: stack.frames[0].file.series_number)


def _without_copies(frames: Sequence[DicomFrame]) -> list[DicomFrame]:
    known: dict[Hashable, DicomFrame] = {}
    for frame in frames:
        uid = frame.file.instance_uid
        place = () if frame.position_mm is None else frame.position_mm.tolist()
        # Not by the id alone: files that were made anonymous may all have the same.
        key = (uid, *place) if uid and place else frame.file.path
        known.setdefault((key, frame.index), frame)
    return list(known.values())


def _key(frame: DicomFrame) -> Hashable:
    file = frame.file
    is_single = frame.position_mm is None and file.modality not in _VOLUME_MODALITIES
    is_whole = file.num_frames > 1 and file.num_tiles == 1  # mosaics of one series follow each other in time
    own = file.path if is_whole or is_single else None
    kind = file.size_yx, file.num_samples, file.is_localizer
    return file.series_uid, own, frame.stack_id, kind, frame.spacing_yx is None


def _are_alike(one: DicomFrame, other: DicomFrame) -> bool:
    """True for images of one key that are parallel, their pixels of one size."""
    spacings = zip(one.spacing_yx or (), other.spacing_yx or (), strict=True)
    if not all(math.isclose(ours, theirs, rel_tol=_SAME_SPACING) for ours, theirs in spacings):
        return False
    if one.directions is None or other.directions is None:
        return one.directions is other.directions
    return float(np.abs(one.directions - other.directions).max()) < _SAME_DIRECTION


def _stacks_of(group: list[DicomFrame]) -> list[DicomStack]:
    """The volumes that parallel images of one series make: several where images share positions."""
    first = group[0]
    if first.file.is_mosaic:
        return [
            _refused(group, "it is a mosaic, a volume tiled into one picture: convert it with dcm2niix first")
        ]
    if first.position_mm is None:
        if len(group) == 1 or first.file.num_frames > 1:
            return [DicomStack(tuple(group))]
        return [_refused(group, "its images do not say where they lie: wanted ImagePositionPatient and "
                                "ImageOrientationPatient in each")]  # fmt: skip
    if first.spacing_yx is None:
        return [_refused(group, "it has no PixelSpacing")]
    places = _places(group)
    counts = [len(place) for place in places]
    if min(counts) != max(counts):
        odd = next(place for place in places if len(place) != counts[0])
        usual_mm, odd_mm = _depths_mm([places[0][0], odd[0]])
        return [_refused(group, f"{counts[0]} images lie at {usual_mm:.2f} mm and {len(odd)} at {odd_mm:.2f} mm: "
                                "wanted as many at each position")]  # fmt: skip
    if any(np.ptp(_positions(place), axis=0).max() > _same_mm(first) for place in places):
        return [_refused(group, "some of its images lie beside each other, in one plane")]
    volumes = [tuple(place[time] for place in places) for time in range(counts[0])]
    return [DicomStack(one, _unevenness(one), time, len(volumes)) for time, one in enumerate(volumes)]


def _refused(group: list[DicomFrame], problem: str) -> DicomStack:
    return DicomStack(tuple(group), problem)


def _places(group: list[DicomFrame]) -> list[list[DicomFrame]]:
    """Placed images by position along the slice normal; those at one position in their own order."""
    same = _same_mm(group[0])
    depths = _depths_mm(group)
    places: list[list[DicomFrame]] = []
    last = -np.inf
    for i in np.argsort(depths, kind="stable"):
        if depths[i] - last < same:
            places[-1].append(group[i])
        else:
            places.append([group[i]])
            last = depths[i]
    return [sorted(place, key=lambda frame: frame.order) for place in places]


def _same_mm(frame: DicomFrame) -> float:
    """Positions that differ by less are one."""
    return _SAME_PLACE * min(frame.spacing_yx or (1.0,))


def _positions(frames: Sequence[DicomFrame]) -> NDArray[np.float64]:
    """LPS places (n, 3) of placed images."""
    return np.array([frame.position_mm for frame in frames], dtype=np.float64)


def _depths_mm(frames: Sequence[DicomFrame]) -> NDArray[np.float64]:
    """Where placed, parallel images lie along their normal."""
    normal = np.cross(*(np.zeros((2, 3)) if frames[0].directions is None else frames[0].directions))
    return np.asarray(_positions(frames) @ normal)


def _unevenness(frames: tuple[DicomFrame, ...]) -> str:
    """What is wrong with the positions of slices in order; "" for an even stack, however tilted."""
    if len(frames) < 3:
        return ""
    positions = _positions(frames)
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    off = np.linalg.norm(positions - positions[0] - np.arange(len(frames))[:, None] * step, axis=1)
    step_mm = float(np.linalg.norm(step))
    if off.max() <= max(_UNEVEN * step_mm, min(_ROUNDING_MM, step_mm / 4)):
        return ""
    depths = _depths_mm(frames)
    gaps = np.diff(depths)
    usual = float(np.median(gaps))
    num_missing = np.rint(gaps / usual) - 1
    wide = np.flatnonzero(num_missing > 0)
    if len(wide) and np.abs(gaps / usual - num_missing - 1).max() < _UNEVEN:
        where = _listed(f"{int(num_missing[i])} after {depths[i]:.2f} mm" for i in wide)
        return f"slices are missing: {where}. Wanted one every {usual:.2f} mm"
    uneven = np.flatnonzero(np.abs(gaps - usual) > _UNEVEN * usual)
    if not len(uneven):
        return (
            "its slices are shifted sideways against each other by different amounts: wanted a straight stack"
        )
    where = _listed(f"{gaps[i]:.2f} mm after {depths[i]:.2f} mm" for i in uneven)
    return f"its slices are not evenly spaced: {where}. Wanted one every {usual:.2f} mm"


def _listed(texts: Iterable[str]) -> str:
    """The first few of them."""
    every = list(texts)
    rest = f" and {len(every) - _NAMED_GAPS} more" if len(every) > _NAMED_GAPS else ""
    return ", ".join(every[:_NAMED_GAPS]) + rest
