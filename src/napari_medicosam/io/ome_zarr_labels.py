"""Label maps to OME-Zarr: a folder of their own (0.5), or one among the labels of an image, in its own version."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError
from napari_medicosam.io.ome_zarr import open_ome_zarr
from napari_medicosam.io.ome_zarr_directions import RAS, directions_of
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


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is written: one shape, scale and offset a level, one number an axis.

    Attributes:
        axes: letters.
        units: one an axis.
        zarr_format: 2 is OME-Zarr 0.4, 3 is 0.5.
        orientation: where z, y and x run, or y and x; empty where nobody says.
    """

    axes: str
    units: tuple[str | None, ...]
    zarr_format: int
    shapes: tuple[tuple[int, ...], ...]
    scales: tuple[tuple[float, ...], ...]
    offsets: tuple[tuple[float, ...], ...]
    orientation: tuple[str, ...] = ()

    def over_time(self, num_times: int) -> _Plan:
        """The same with an axis "t" in front."""
        return replace(
            self,
            axes="t" + self.axes,
            units=(None, *self.units),
            shapes=tuple((num_times, *shape) for shape in self.shapes),
            scales=tuple((1.0, *scale) for scale in self.scales),
            offsets=tuple((0.0, *offset) for offset in self.offsets),
        )


def is_labels_target(path: Path) -> bool:
    """True for a name that label maps are written to as OME-Zarr."""
    return path.name.lower().endswith(ENDING) or image_of_labels(path) is not None


def write_ome_zarr_labels(
    path: Path,
    labels: NDArray[Any] | None,
    record: VolumeRecord,
    verify: Callable[[Path], None],
    *,
    overwrite: bool,
    num_times: int = 1,
) -> None:
    """Write labels, uint8/16/32 (z, y, x) or (t, z, y, x): beside, flushed, verified, then moved.

    Args:
        path: NAME.zarr is a label map of its own; IMAGE.zarr/labels/NAME, where IMAGE.zarr is an image, one of that
            image: as many levels on the same grids, registered in its list. The image itself is not touched.
        labels: the labels; None writes an empty label map.
        record: their grid, of one time point.
        verify: gets the folder before it is moved; raises to refuse it.
        overwrite: whether old labels may be replaced. Nothing but labels ever is.
        num_times: time points of (t, z, y, x); 1 for (z, y, x).

    Raises:
        FileError: for a grid that OME-Zarr cannot hold, what is in the way, or a failed write.
    """
    image_folder = image_of_labels(path)
    image = None if image_folder is None else open_ome_zarr(Address(image_folder))
    _check_in_the_way(path)
    plan_for = partial(_plan_alone, path) if image is None else partial(_plan_of_image, path, image)
    plan = plan_for(record, num_times)
    labels_tzyx = None if labels is None else labels.reshape((num_times, *record.geometry.shape_zyx))

    def write(beside: Path) -> None:
        _write(beside, labels_tzyx, plan)

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


def _plan_alone(path: Path, record: VolumeRecord, num_times: int) -> _Plan:
    geometry = record.geometry
    words, offset = directions_of(geometry) or ((), ())
    if not words or (words != RAS and not record.is_oriented):
        raise FileError(
            f"cannot write {path}: OME-Zarr holds a spacing, a position and directions along the patient's axes, and "
            f"this grid is {'turned' if not words else 'flipped, in a file that knows no directions'}. Use .nii.gz"
        )
    spacing = geometry.spacing_zyx
    # A slice that lies somewhere in the patient keeps its third axis, and so its place.
    is_flat = record.is_2d and (words[0], spacing[0], offset[0]) == (RAS[0], 1.0, 0.0)
    first = 1 if is_flat else 0
    shapes, scales = [geometry.shape_zyx[first:]], [tuple(spacing[first:])]
    while max(shapes[-1]) > _SMALLEST:
        # The finest axes first: voxels become cubes.
        finest = min(step for step, n in zip(scales[-1], shapes[-1], strict=True) if n > 1)
        halved = [n > 1 and step < 2 * finest for step, n in zip(scales[-1], shapes[-1], strict=True)]
        shapes.append(tuple((n + 1) // 2 if half else n for n, half in zip(shapes[-1], halved, strict=True)))
        scales.append(tuple(s * 2 if half else s for s, half in zip(scales[-1], halved, strict=True)))
    axes = "zyx"[first:]
    unit = "millimeter" if record.header.unit == "mm" else None
    offsets = (tuple(offset[first:]),) * len(shapes)
    said = words[first:] if record.is_oriented else ()
    plan = _Plan(axes, (unit,) * len(axes), 3, tuple(shapes), tuple(scales), offsets, said)
    return plan if num_times == 1 else plan.over_time(num_times)


def _plan_of_image(path: Path, image: OmeZarr, record: VolumeRecord, num_times: int) -> _Plan:
    wanted = tuple(image.size(axis) for axis in "zyx")
    if wanted != record.geometry.shape_zyx:
        raise FileError(
            f"cannot write {path}: its image has shape {wanted}, got labels of {record.geometry.shape_zyx}"
        )
    if image.size("t") != num_times:
        raise FileError(
            f"cannot write {path}: its image has {image.size('t')} time points, these are labels of {num_times}. "
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
        about.orientation,
    )


def _write(folder: Path, labels_tzyx: NDArray[Any] | None, plan: _Plan) -> None:
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
            dtype=np.uint8 if labels_tzyx is None else labels_tzyx.dtype,
            fill_value=0,
            zarr_format=plan.zarr_format,  # type: ignore[arg-type]
            chunk_key_encoding={"name": "v2" if is_v2 else "default", "separator": "/"},
            dimension_names=None if is_v2 else tuple(plan.axes),
        )
        if labels_tzyx is None:
            continue
        sizes = zip("zyx", labels_tzyx.shape[1:], strict=True)
        nearest = [_nearest(plan, number, axis, n) for axis, n in sizes]
        for time, labels_zyx in enumerate(labels_tzyx):
            _fill(array, plan.axes, labels_zyx, nearest, time)


def _fill(
    array: Any, axes: str, labels_zyx: NDArray[Any], nearest: list[NDArray[np.intp]], time: int
) -> None:
    """Copy to a level what lies nearest to its voxels, a layer of chunks at a time."""
    z, y, x = nearest
    for start in range(0, len(z), _CHUNK["z"]):
        part = _take(_take(_take(labels_zyx, z[start : start + _CHUNK["z"]], 0), y, 1), x, 2)
        if not part.any():
            continue  # nothing is stored for what is empty
        spans = {
            "t": slice(time, time + 1),
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
    spatial = [axis for axis in plan.axes if axis != "t"]
    words = dict(zip(spatial, plan.orientation, strict=True)) if plan.orientation else {}
    axes = [
        {"name": axis, "type": "time" if axis == "t" else "space"}
        | ({"unit": unit} if unit else {})
        | ({"orientation": {"type": "anatomical", "value": words[axis]}} if axis in words else {})
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
