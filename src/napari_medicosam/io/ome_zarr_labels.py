"""Label maps to OME-Zarr: a folder of their own (0.5), or one among the labels of an image, in its own version."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.ome_zarr import open_ome_zarr
from napari_medicosam.io.ome_zarr_label_list import LabelList
from napari_medicosam.io.ome_zarr_paths import ENDING, Address, check_inner_path, image_of_labels
from napari_medicosam.io.replacing import replace_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.ome_zarr import OmeZarr
    from napari_medicosam.io.records import VolumeRecord

_CHUNK = {"t": 1, "z": 16, "y": 256, "x": 256}
_SMALLEST = 256
"""Levels are halved until no side is longer."""

_GRID_TOLERANCE = 1e-3
"""Of a voxel: how far a grid may turn away from its axes and still count as one without rotation."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is written: one shape, scale and offset a level, one number an axis.

    Attributes:
        axes: letters; "t" has size 1.
        units: one an axis.
        zarr_format: 2 is OME-Zarr 0.4, 3 is 0.5.
    """

    axes: str
    units: tuple[str | None, ...]
    zarr_format: int
    shapes: tuple[tuple[int, ...], ...]
    scales: tuple[tuple[float, ...], ...]
    offsets: tuple[tuple[float, ...], ...]


def is_labels_target(path: Path) -> bool:
    """True for a name that label maps are written to as OME-Zarr."""
    return path.name.lower().endswith(ENDING) or image_of_labels(path) is not None


def write_ome_zarr_labels(
    path: Path,
    labels_zyx: NDArray[Any] | None,
    record: VolumeRecord,
    verify: Callable[[Path], None],
    *,
    overwrite: bool,
) -> None:
    """Write labels, uint8/16/32 (z, y, x): beside, flushed, verified, then moved.

    Args:
        path: NAME.zarr is a label map of its own; IMAGE.zarr/labels/NAME, where IMAGE.zarr is an image, one of that
            image: as many levels on the same grids, registered in its list. The image itself is not touched.
        labels_zyx: the labels; None writes an empty label map.
        record: their grid.
        verify: gets the folder before it is moved; raises to refuse it.
        overwrite: whether old labels may be replaced. Nothing but labels ever is.

    Raises:
        FileError: for a grid that OME-Zarr cannot hold, what is in the way, or a failed write.
    """
    image_folder = image_of_labels(path)
    image = None if image_folder is None else open_ome_zarr(Address(image_folder))
    _check_in_the_way(path)
    plan = _plan_alone(path, record) if image is None else _plan_of_image(path, image, record)

    def write(beside: Path) -> None:
        _write(beside, labels_zyx, plan)

    if image_folder is None:
        replace_folder(path, ENDING, write, verify, overwrite=overwrite)
        return
    name, was_there = check_inner_path(str(path), path.name), path.exists()
    listing = LabelList(path.parent, plan.zarr_format)
    names = listing.read()  # a damaged one is found before anything is written
    path.parent.mkdir(exist_ok=True)
    try:
        replace_folder(path, ENDING, write, verify, overwrite=overwrite)
        if name not in names:
            _register(listing, (*names, name), path, was_there)
    finally:
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _register(listing: LabelList, names: tuple[str, ...], path: Path, was_there: bool) -> None:
    """Labels that are not listed are not found: new ones shall then not be there."""
    try:
        listing.write(names)
    except BaseException:
        if not was_there:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _check_in_the_way(path: Path) -> None:
    """Only labels may be replaced: never an image, and never a folder of anything else."""
    if path.is_dir() and not open_ome_zarr(Address(path)).about.is_labels:
        raise FileError(
            f"{path} is an image and no label map: labels never replace a scan, choose another name"
        )


def _plan_alone(path: Path, record: VolumeRecord) -> _Plan:
    geometry = record.geometry
    spacing, offset = geometry.spacing_zyx, geometry.affine_ras[2::-1, 3].tolist()
    plain = np.diag([*spacing[::-1], 1.0])
    plain[:3, 3] = geometry.affine_ras[:3, 3]
    if not Geometry(geometry.shape_zyx, plain).equals(geometry, _GRID_TOLERANCE * min(spacing)):
        raise FileError(
            f"cannot write {path}: OME-Zarr holds a spacing and a position but no orientation, and this image has one. "
            f"Use .nii.gz"
        )
    first = 1 if record.is_2d else 0
    shapes, scales = [geometry.shape_zyx[first:]], [tuple(spacing[first:])]
    while max(shapes[-1]) > _SMALLEST:
        # The finest axes first: voxels become cubes.
        finest = min(step for step, n in zip(scales[-1], shapes[-1], strict=True) if n > 1)
        halved = [n > 1 and step < 2 * finest for step, n in zip(scales[-1], shapes[-1], strict=True)]
        shapes.append(tuple((n + 1) // 2 if half else n for n, half in zip(shapes[-1], halved, strict=True)))
        scales.append(tuple(s * 2 if half else s for s, half in zip(scales[-1], halved, strict=True)))
    axes = "yx" if record.is_2d else "zyx"
    unit = "millimeter" if record.header.unit == "mm" else None
    offsets = (tuple(offset[first:]),) * len(shapes)
    return _Plan(axes, (unit,) * len(axes), 3, tuple(shapes), tuple(scales), offsets)


def _plan_of_image(path: Path, image: OmeZarr, record: VolumeRecord) -> _Plan:
    wanted = tuple(image.size(axis) for axis in "zyx")
    if wanted != record.geometry.shape_zyx:
        raise FileError(
            f"cannot write {path}: its image has shape {wanted}, got labels of {record.geometry.shape_zyx}"
        )
    if image.size("t") > 1:
        raise FileError(
            f"cannot write {path}: its image has {image.size('t')} time points, these are labels of one. "
            f"Choose NAME.zarr outside of it"
        )
    about = image.about
    kept = [n for n, axis in enumerate(about.axes) if axis != "c"]  # labels are the same in all channels

    def of_kept(values: Any) -> tuple[Any, ...]:
        return tuple(values[n] for n in kept)

    return _Plan(
        "".join(of_kept(about.axes)),
        of_kept(about.units),
        image.zarr_format,
        tuple(of_kept(array.shape) for array in image.arrays),
        tuple(of_kept(level.scale) for level in about.levels),
        tuple(of_kept(level.offset) for level in about.levels),
    )


def _write(folder: Path, labels_zyx: NDArray[Any] | None, plan: _Plan) -> None:
    import zarr
    from zarr.storage import LocalStore

    store = LocalStore(folder)
    zarr.create_group(store, zarr_format=plan.zarr_format, attributes=_attributes(plan))  # type: ignore[arg-type]
    is_v2 = plan.zarr_format == 2
    for number, shape in enumerate(plan.shapes):
        array: Any = zarr.create_array(
            store,
            name=str(number),
            shape=shape,
            chunks=tuple(min(_CHUNK[axis], n) for axis, n in zip(plan.axes, shape, strict=True)),
            dtype=np.uint8 if labels_zyx is None else labels_zyx.dtype,
            fill_value=0,
            zarr_format=plan.zarr_format,  # type: ignore[arg-type]
            chunk_key_encoding={"name": "v2" if is_v2 else "default", "separator": "/"},
            dimension_names=None if is_v2 else tuple(plan.axes),
        )
        if labels_zyx is not None:
            sizes = dict(zip("zyx", labels_zyx.shape, strict=True))
            _fill(
                array, plan.axes, labels_zyx, [_nearest(plan, number, axis, n) for axis, n in sizes.items()]
            )


def _fill(array: Any, axes: str, labels_zyx: NDArray[Any], nearest: list[NDArray[np.intp]]) -> None:
    """Copy to a level what lies nearest to its voxels, a layer of chunks at a time."""
    z, y, x = nearest
    for start in range(0, len(z), _CHUNK["z"]):
        part = _take(_take(_take(labels_zyx, z[start : start + _CHUNK["z"]], 0), y, 1), x, 2)
        if not part.any():
            continue  # nothing is stored for what is empty
        spans = {
            "t": slice(0, 1),
            "z": slice(start, start + len(part)),
            "y": slice(len(y)),
            "x": slice(len(x)),
        }
        key = tuple(spans[axis] for axis in axes)
        array[key] = part.reshape([span.stop - (span.start or 0) for span in key])


def _take(array: NDArray[Any], indices: NDArray[np.intp], axis: int) -> NDArray[Any]:
    """The array at these indices along an axis; a view where they are evenly spaced, as they mostly are."""
    steps = np.diff(indices)
    step = int(steps[0]) if steps.size else 1
    if step < 1 or (steps != step).any():
        return array.take(indices, axis)
    return array[(slice(None),) * axis + (slice(int(indices[0]), int(indices[-1]) + 1, step),)]


def _nearest(plan: _Plan, number: int, axis: str, size: int) -> NDArray[np.intp]:
    """Index along an axis of the labels that is nearest to each index of a level."""
    if axis not in plan.axes:
        return np.zeros(1, np.intp)
    n = plan.axes.index(axis)
    position = np.arange(plan.shapes[number][n]) * plan.scales[number][n] + plan.offsets[number][n]
    index = np.rint((position - plan.offsets[0][n]) / plan.scales[0][n])
    return np.asarray(np.clip(index, 0, size - 1), dtype=np.intp)


def _attributes(plan: _Plan) -> dict[str, Any]:
    version = "0.4" if plan.zarr_format == 2 else "0.5"
    axes = [
        {"name": axis, "type": "time" if axis == "t" else "space"} | ({"unit": unit} if unit else {})
        for axis, unit in zip(plan.axes, plan.units, strict=True)
    ]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": list(scale)},
                {"type": "translation", "translation": list(offset)},
            ],
        }
        for number, (scale, offset) in enumerate(zip(plan.scales, plan.offsets, strict=True))
    ]
    image: dict[str, Any] = {"axes": axes, "datasets": datasets, "type": "nearest"}
    if plan.zarr_format == 2:
        return {"multiscales": [{"version": version, **image}], "image-label": {"version": version}}
    return {"ome": {"version": version, "multiscales": [image], "image-label": {}}}
