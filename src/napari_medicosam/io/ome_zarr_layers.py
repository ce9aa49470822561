"""OME-Zarr as napari layers: multiscale and lazy, one a channel, with the image's label maps above."""

from __future__ import annotations

import secrets
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.layer_grids import grid_arguments
from napari_medicosam.io.ome_zarr import label_names, open_ome_zarr
from napari_medicosam.io.ome_zarr_paths import Address
from napari_medicosam.io.records import METADATA_KEY

if TYPE_CHECKING:
    from os import PathLike

    from napari_medicosam.io.ome_zarr import OmeZarr
    from napari_medicosam.io.ome_zarr_array import LazyArray

Layer = tuple[Any, dict[str, Any], str]


def read_ome_zarr_layers(path: str | PathLike[str] | list[str]) -> list[Layer]:
    """One image layer a channel, then one labels layer a label map that the image lists.

    Volumes give (z, y, x), 2D images (y, x), several time points (t, z, y, x). The data are dask arrays, a list of
    them where there are several levels: napari reads what it shows.

    Raises:
        FileError: for an image that cannot be read. Of label maps that cannot it only warns.
    """
    address = Address.parse(path[0] if isinstance(path, list) else path)
    image = open_ome_zarr(address)
    if image.about.is_labels:
        return [_labels_layer(image, address.name)]
    wanted = address.at.get("c")
    if wanted is not None and wanted >= image.size("c"):
        raise FileError(f"{address} has no c={wanted}: it holds {image.size('c')} channels, counted from 0")
    channels = range(image.size("c")) if wanted is None else (wanted,)
    layers = [_image_layer(image, channel, is_alone=len(channels) == 1) for channel in channels]
    return layers + _label_layers(address)


def _label_layers(address: Address) -> list[Layer]:
    layers = []
    try:
        for name in label_names(address):
            try:
                layers.append(_labels_layer(open_ome_zarr(address.inside(f"labels/{name}")), name))
            except FileError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
    except FileError as error:
        warnings.warn(f"labels were left out: {error}", stacklevel=2)
    return layers


def _image_layer(image: OmeZarr, channel: int, *, is_alone: bool) -> Layer:
    known = image.about.channels[channel] if channel < len(image.about.channels) else None
    label = known.name if known is not None and known.name else "" if is_alone else f"channel {channel}"
    name = image.address.name
    arguments = _arguments(image, f"{name} {label}" if label and not is_alone else name)
    if known is not None and known.window is not None:
        arguments["contrast_limits"] = known.window
    elif image.arrays[0].dtype != "uint8":
        with suppress(InputError):  # no contrast at all: napari finds limits of its own
            # The coarsest level has nearly the same range and is read in a moment.
            shown = resolve_intensity("auto", _levels(image, channel, time=0)[-1])
            arguments["contrast_limits"] = (shown.low, shown.high)
    if not is_alone:
        arguments["blending"] = "additive"
    return _data(_levels(image, channel)), arguments | {"rgb": False}, "image"


def _labels_layer(image: OmeZarr, name: str) -> Layer:
    levels = _levels(image, 0)
    if levels[0].dtype.kind not in "ui":
        raise FileError(f"{image.address} holds {levels[0].dtype} values: wanted labels, which are integers")
    return _data(levels), _arguments(image, name), "labels"


def _arguments(image: OmeZarr, name: str) -> dict[str, Any]:
    record = image.record
    ndim = 4 if image.size("t") > 1 else 2 if record.is_2d else 3
    return {"name": name, "metadata": {METADATA_KEY: {"record": record}}} | grid_arguments(record, ndim)


def _levels(image: OmeZarr, channel: int, time: int | None = None) -> list[LazyArray]:
    """(z, y, x), (y, x) or (t, z, y, x), the finest first; with `time` of that time point alone."""
    kept = "yx" if "z" not in image.about.axes else "zyx"
    if image.size("t") > 1 and time is None:
        kept = "tzyx"
    return [image.array(level, kept, c=channel, t=time or 0) for level in range(len(image.arrays))]


def _data(levels: list[LazyArray]) -> Any:
    import dask.array

    arrays = [
        dask.array.from_array(  # type: ignore[no-untyped-call]
            level,
            chunks=level.chunks,
            name=f"ome-zarr-{secrets.token_hex(8)}",  # a digest of the voxels would read them
            meta=np.empty((0,) * level.ndim, level.dtype),
        )
        for level in levels
    ]
    return arrays if len(arrays) > 1 else arrays[0]
