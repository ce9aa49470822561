"""OME-Zarr 0.4 and 0.5 through zarr: a folder or an http(s) address as an image that is read where it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.core.offline import OFFLINE_VARIABLE, is_offline
from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.checks import num_bytes_of
from napari_medicosam.io.ome_zarr_array import LazyArray
from napari_medicosam.io.ome_zarr_metadata import DIRECTIONS, parse_label_names, parse_multiscale
from napari_medicosam.io.ome_zarr_paths import Address
from napari_medicosam.io.records import MM_PER_UNIT, FileHeader, Volume, VolumeRecord

if TYPE_CHECKING:
    from os import PathLike

    from napari_medicosam.io.ome_zarr_metadata import Level, Multiscale

MAX_CHUNK_BYTES = 1 << 32
"""A chunk is decoded as a whole, so one of more than this is not worth the memory of who asked for a slice."""

_NAMES = {"c": "channels", "t": "time points"}
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class OmeZarr:
    """An open image or label map: its metadata, and nothing read of its voxels yet.

    Attributes:
        address: where it lies.
        about: what its metadata say.
        arrays: zarr arrays, one a level, the finest first.
        zarr_format: 2 or 3.
    """

    address: Address
    about: Multiscale
    arrays: tuple[Any, ...]
    zarr_format: int

    def size(self, axis: str) -> int:
        """Number of steps along an axis ("t", "c", "z", "y", "x"); 1 for one that is not there."""
        sizes = dict(zip(self.about.axes, self.arrays[0].shape, strict=True))
        return int(sizes.get(axis, 1))

    def array(self, level: int, kept: str, **at: int) -> LazyArray:
        """Some axes of a level, the others held at one index; see `LazyArray`."""
        return LazyArray(self.arrays[level], self.about.axes, kept, at, str(self.address))

    @property
    def record(self) -> VolumeRecord:
        """All of a volume of it but the voxels.

        OME-Zarr says where a grid begins and how far its voxels lie apart; where it does not say how the patient lies,
        x, y and z are taken for R, A and S. Without units of length the numbers are kept, and the record has no unit.

        Raises:
            FileError: for spacings that come to nothing in mm.
        """
        spacing, offset = self._in_mm(self.about.levels[0])
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for column, (world, sign) in enumerate(self._directions_xyz):
            affine[world, column] = sign * spacing[2 - column]
            affine[world, 3] = sign * offset[2 - column]
        shape = (self.size("z"), self.size("y"), self.size("x"))
        is_oriented = bool(self.about.orientation)
        header = FileHeader("ome-zarr", "mm" if self._factors else None, is_oriented=is_oriented)
        try:
            geometry = Geometry(shape, affine)
        except MedicoSamError as error:
            raise FileError(f"{self.address} has a grid that cannot be used: {error}") from error
        return VolumeRecord(geometry, is_2d="z" not in self.about.axes, header=header)

    @property
    def _directions_xyz(self) -> list[tuple[int, int]]:
        """The world axis (R, A, S) that x, y and z run along, and which way."""
        known = [DIRECTIONS[word] for word in reversed(self.about.orientation)]
        return known + [(world, 1) for world in range(3) if world not in [axis for axis, _ in known]]

    @property
    def _factors(self) -> dict[str, float]:
        """How many mm the unit of each spatial axis is; empty unless all of them have a unit of length."""
        units = dict(zip(self.about.axes, self.about.units, strict=True))
        found = {axis: MM_PER_UNIT.get(units[axis] or "", 0.0) for axis in "zyx" if axis in units}
        return found if all(found.values()) else {}

    def _in_mm(self, level: Level) -> tuple[list[float], list[float]]:
        """Spacing and offset (z, y, x); an axis that is not there has spacing 1."""
        factors = self._factors
        numbers = dict(zip(self.about.axes, zip(level.scale, level.offset, strict=True), strict=True))
        in_mm = [
            [number * factors.get(axis, 1.0) for number in numbers.get(axis, (1.0, 0.0))] for axis in "zyx"
        ]
        return [scale for scale, _ in in_mm], [offset for _, offset in in_mm]


def read_ome_zarr(path: str | PathLike[str]) -> Volume:
    """Open an OME-Zarr image at its finest level; the array of the volume is a `LazyArray`.

    Args:
        path: a folder or an http(s) address. A channel and a time point may follow, counted from 0:
            "scan.ome.zarr#c=1", "scan.ome.zarr#t=3,c=1".

    Raises:
        FileError: for what is no OME-Zarr 0.4 or 0.5, is damaged, or holds several channels or time points and none
            was named; for an address while `NAPARI_MEDICOSAM_OFFLINE` is set.
    """
    image = open_ome_zarr(Address.parse(path))
    at = {axis: _choose(image, axis) for axis in "tc"}
    record = image.record
    return Volume(image.array(0, "zyx", **at), record.geometry, is_2d=record.is_2d, header=record.header)


def read_ome_zarr_times(path: str | PathLike[str]) -> list[Volume]:
    """As `read_ome_zarr`, a volume for each time point, unless the address names one."""
    image = open_ome_zarr(Address.parse(path))
    times = range(image.size("t")) if image.address.at.get("t") is None else (_choose(image, "t"),)
    record, channel = image.record, _choose(image, "c")
    return [
        Volume(
            image.array(0, "zyx", t=time, c=channel),
            record.geometry,
            is_2d=record.is_2d,
            header=record.header,
        )
        for time in times
    ]


def open_ome_zarr(address: Address) -> OmeZarr:
    """Open an image or a label map without reading voxels; what `address` says of channels is not looked at.

    Raises:
        FileError: see `read_ome_zarr`.
    """
    where = str(address)
    try:
        store = _open_store(address)
        group = _open_group(store)
        about = parse_multiscale(where, group.attrs.asdict())
        arrays = []
        for level in about.levels:
            _check_is_inside(address, level.path)
            arrays.append(_open_array(store, level.path, group.metadata.zarr_format))
    except MedicoSamError:
        raise
    except Exception as error:  # zarr, fsspec and json name many; to the user they are one
        reason = str(error).strip() or type(error).__name__
        raise FileError(f"cannot read {where} as OME-Zarr: {reason}") from error
    for array in arrays:
        _check_array(where, array, about.axes)
    return OmeZarr(address, about, tuple(arrays), group.metadata.zarr_format)


def label_names(address: Address) -> tuple[str, ...]:
    """Names of the label maps that belong to an image; none where it has no group of labels.

    Raises:
        FileError: for a group of labels that is damaged.
    """
    try:
        group = _open_group(_open_store(address), "labels")
        return parse_label_names(f"{address}/labels", group.attrs.asdict())
    except FileNotFoundError:
        return ()
    except MedicoSamError:
        raise
    except Exception as error:
        raise FileError(f"cannot read the labels of {address}: {error}") from error


def _open_store(address: Address) -> Any:
    from zarr.storage import FsspecStore, LocalStore

    if isinstance(address.root, Path):
        if not address.root.is_dir():
            raise FileError(f"{address} does not exist: wanted an OME-Zarr folder")
        return LocalStore(address.root, read_only=True)
    if is_offline():
        raise FileError(
            f"cannot open {address}: {OFFLINE_VARIABLE} is set, so nothing is fetched from a network"
        )
    try:
        import aiohttp

        options = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=_TIMEOUT_S)}}
        return FsspecStore.from_url(address.root, options, read_only=True)
    except ImportError:
        raise FileError(
            f"cannot open {address} without aiohttp and fsspec: pip install 'napari-medicosam[remote]'"
        ) from None


def _open_group(store: Any, inner: str = "") -> Any:
    import zarr

    # Consolidated metadata may be older than the group itself.
    return zarr.open_group(store, mode="r", path=inner, use_consolidated=False)


def _open_array(store: Any, inner: str, zarr_format: Any) -> Any:
    import zarr

    return zarr.open_array(store, mode="r", path=inner, zarr_format=zarr_format)


def _check_is_inside(address: Address, inner: str) -> None:
    """A link may lead from a level to anything on the disk."""
    if isinstance(address.root, Path):
        root = address.root.resolve()
        if not (root / inner).resolve().is_relative_to(root):
            raise FileError(
                f"{address} has a level {inner!r} that is a link to somewhere else: wanted one inside"
            )


def _check_array(where: str, array: Any, axes: str) -> None:
    if array.ndim != len(axes) or min((*array.shape, *array.chunks), default=0) < 1:
        raise FileError(
            f"{where} has an array of shape {array.shape} in chunks of {array.chunks} for axes {', '.join(axes)}"
        )
    itemsize = np.dtype(array.dtype).itemsize
    if num_bytes_of(array.shape, itemsize) > np.iinfo(np.int64).max:
        raise FileError(f"{where} says it has shape {array.shape}: no computer can hold that")
    num_bytes = num_bytes_of(array.chunks, itemsize)
    if num_bytes > MAX_CHUNK_BYTES:
        raise FileError(
            f"{where} has chunks of shape {array.chunks}, {num_bytes} bytes each, which are read as a whole: "
            f"wanted at most {MAX_CHUNK_BYTES}"
        )


def _choose(image: OmeZarr, axis: str) -> int:
    """The index along "t" or "c": the only one, or the one that the address names."""
    count, wanted = image.size(axis), image.address.at.get(axis)
    if wanted is None and count > 1:
        names = [channel.name for channel in image.about.channels] if axis == "c" else []
        named = f" ({', '.join(f'{n} {name}' for n, name in enumerate(names) if name)})" if any(names) else ""
        raise FileError(
            f"{image.address} holds {count} {_NAMES[axis]}{named}: wanted one. "
            f"Say which by its number from 0, as in {image.address}#{axis}=0"
        )
    if wanted is not None and wanted >= count:
        raise FileError(
            f"{image.address} has no {axis}={wanted}: it holds {count} {_NAMES[axis]}, counted from 0"
        )
    return wanted or 0
