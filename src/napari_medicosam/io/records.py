"""What a file holds: voxels, where they are, and enough of its header to write labels on the very same grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medicosam.core.geometry import Geometry


MM_PER_UNIT = {
    "meter": 1e3,
    "centimeter": 10.0,
    "millimeter": 1.0,
    "micrometer": 1e-3,
    "micron": 1e-3,
    "nanometer": 1e-6,
}
"""Units of length as napari's layers name them."""

METADATA_KEY = "medicosam"
"""`layer.metadata["medicosam"]["record"]` is the file's `VolumeRecord`; labels saved with it get its geometry."""


@dataclass(frozen=True, slots=True)
class NiftiGrid:
    """The fields of a NIfTI header that place its voxels, as stored: float32 values survive in Python floats.

    Attributes:
        version: 1 or 2; the second stores its numbers in double precision.
        pixdim: all 8, the first is the handedness of the qform.
        quatern: b, c, d. `qoffset`: x, y, z. `srow`: 12 numbers, rows x, y, z of the sform.
        qform_code, sform_code: 0 when the form is not in use.
        xyzt_units: units of space and time, NIfTI's code.
    """

    version: Literal[1, 2]
    pixdim: tuple[float, ...]
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]
    qform_code: int
    sform_code: int
    xyzt_units: int


@dataclass(frozen=True, slots=True)
class ItkGrid:
    """A grid as ITK says it, 2D or 3D: LPS millimetres, (x, y[, z]) order, `direction` row by row."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DicomSource:
    """The files that the slices of a DICOM volume came from; in memory only, never in a cache or a log.

    Attributes:
        paths: in the order of array axis z: one file a slice, or the one file whose frames are the slices.
        frames: of that one file the frame of each slice, counted from 0; empty when each slice has its own file.
        is_placed: the files say where in the patient the slices lie.
        is_inverted: low values are meant to be shown bright (MONOCHROME1); the voxels are as stored all the same.
    """

    paths: tuple[Path, ...] = field(repr=False)
    frames: tuple[int, ...] = ()
    is_placed: bool = True
    is_inverted: bool = False


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What labels need of the image's file besides the geometry. It never holds names, dates or descriptions.

    Attributes:
        format: "nifti", "itk", "tiff", "picture", "dicom", "ome-zarr", or "" for a volume that came from no file.
        unit: "mm" when the file says that its numbers are lengths, else None.
        native: the file's own words for its grid, where the format has them; of DICOM the files themselves.
        modality: "CT", "MR", ... as DICOM says it; None where the file does not.
        window: (centre, width) of the intensities that the file wants to be shown; None where it has none.
        is_oriented: the file says how the patient lies, and `native` does not know (OME-Zarr, DICOM segmentations).
    """

    format: Literal["", "nifti", "itk", "tiff", "picture", "dicom", "ome-zarr"] = ""
    unit: Literal["mm"] | None = None
    native: NiftiGrid | ItkGrid | DicomSource | None = None
    modality: str | None = None
    window: tuple[float, float] | None = None
    is_oriented: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class VolumeRecord:
    """All of a volume but its voxels: what `write_labels` needs. Napari layers carry it in their metadata."""

    geometry: Geometry
    is_rgb: bool = False
    is_2d: bool = False
    header: FileHeader = FileHeader()

    @property
    def is_oriented(self) -> bool:
        """True when the file says how the patient lies in the volume."""
        native = self.header.native
        if isinstance(native, NiftiGrid):
            return native.qform_code > 0 or native.sform_code > 0
        if isinstance(native, DicomSource):
            return native.is_placed
        if isinstance(native, ItkGrid):
            return not self.is_2d
        return self.header.is_oriented


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """An image or label map in the file's own index order (k, j, i), never reoriented.

    Attributes:
        array: (z, y, x), or (z, y, x, 3) for RGB; a 2D image has z = 1. Native-endian real numbers. A NumPy array, but
            of OME-Zarr a `LazyArray`, which is read where it is indexed; `np.asarray` reads all of it.
        geometry: shape, spacing and RAS affine of the grid.
        is_rgb: the last axis holds red, green, blue.
        is_2d: the file was 2D, and so are labels written like it where the format allows it.
        header: see `FileHeader`.

    Raises:
        InputError: for an array that does not fit the geometry, or that is not of real numbers.
    """

    array: Any
    geometry: Geometry
    is_rgb: bool = False
    is_2d: bool = False
    header: FileHeader = FileHeader()

    def __post_init__(self) -> None:
        wanted = (*self.geometry.shape_zyx, 3) if self.is_rgb else self.geometry.shape_zyx
        if self.array.shape != wanted:
            raise InputError(f"the array of this volume must have shape {wanted}, got {self.array.shape}")
        if self.array.dtype.kind not in "uif":
            raise InputError(f"a volume holds integers or floats, got dtype {self.array.dtype}")
        if self.is_2d and wanted[0] != 1:
            raise InputError(f"a 2D image has one slice, got {wanted[0]}")

    @property
    def record(self) -> VolumeRecord:
        """Everything but the voxels."""
        return VolumeRecord(self.geometry, self.is_rgb, self.is_2d, self.header)


def record_of(metadata: Mapping[str, Any] | None) -> VolumeRecord | None:
    """The record that our reader left in a layer's metadata; None for a layer of other making.

    Metadata are the user's to change, so anything may stand there.
    """
    ours = (metadata or {}).get(METADATA_KEY)
    record = ours.get("record") if isinstance(ours, dict) else None
    return record if isinstance(record, VolumeRecord) else None
