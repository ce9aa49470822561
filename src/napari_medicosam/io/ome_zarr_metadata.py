"""What the attributes of an OME-Zarr group say (0.4 and 0.5), checked: axes, units, levels and where they lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_medicosam.errors import FileError
from napari_medicosam.io.ome_zarr_paths import check_inner_path

AXES = "tczyx"
"""All that an image may have, in this order; y and x must be there."""

DIRECTIONS = {
    "left-to-right": (0, 1),
    "right-to-left": (0, -1),
    "posterior-to-anterior": (1, 1),
    "anterior-to-posterior": (1, -1),
    "inferior-to-superior": (2, 1),
    "superior-to-inferior": (2, -1),
}
"""Where an axis with this `orientation` (RFC 4) runs: along R, A or S (0, 1, 2), and which way."""

_VERSION = re.compile(r"0\.[45](?!\d)")
_MAX_NUMBER = 1e12
"""What is larger, not finite or not a number is no spacing, position or intensity."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution: position = scale * index + offset, one number for each axis of the image."""

    path: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """How a channel is called and shown; the name is "" and the window None where nobody says."""

    name: str = ""
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Multiscale:
    """An image, or a label map, at one resolution or several.

    Attributes:
        axes: letters of `AXES`, slowest first.
        units: one an axis.
        levels: the finest first.
        channels: what is known about the first ones.
        is_labels: the group says that it holds labels.
        orientation: where z, y and x run, or y and x: words of `DIRECTIONS`. Empty unless it is said of all of them.
    """

    axes: str
    units: tuple[str | None, ...]
    levels: tuple[Level, ...]
    channels: tuple[Channel, ...] = ()
    is_labels: bool = False
    orientation: tuple[str, ...] = ()


def parse_multiscale(where: str, attributes: Mapping[str, Any]) -> Multiscale:
    """The first image of a group.

    Args:
        where: how the group is called in messages.
        attributes: of the group: 0.5 keeps all of it under "ome", 0.4 does not.

    Raises:
        FileError: for a group that is no image, another version, or metadata that contradict the specification.
    """
    ours = attributes["ome"] if isinstance(attributes.get("ome"), Mapping) else attributes
    images = ours.get("multiscales")
    if not isinstance(images, list) or not images or not isinstance(images[0], Mapping):
        raise FileError(
            f"{where} is no OME-Zarr image: its attributes hold no 'multiscales'{_what_else(ours)}"
        )
    image = images[0]
    version = ours.get("version", image.get("version", "0.4"))
    if not isinstance(version, str) or not _VERSION.match(version):
        raise FileError(f"{where} is OME-Zarr {version}: wanted 0.4 or 0.5")
    axes, units = _axes(where, image.get("axes"))
    after = image.get("coordinateTransformations", [])
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise FileError(f"{where} has no 'datasets': wanted at least one level")
    levels = tuple(_level(where, dataset, after, len(axes)) for dataset in datasets)
    return Multiscale(
        axes, units, levels, _channels(ours.get("omero")), "image-label" in ours, _orientation(image["axes"])
    )


def parse_label_names(where: str, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the label maps that a "labels" group lists; none for a group that is none."""
    ours = attributes["ome"] if isinstance(attributes.get("ome"), Mapping) else attributes
    names = ours.get("labels", [])
    if not isinstance(names, list):
        raise FileError(f"{where}: 'labels' is {type(names).__name__}, wanted a list of names")
    return tuple(check_inner_path(where, name) for name in names)


def _what_else(ours: Mapping[str, Any]) -> str:
    if "plate" in ours or "well" in ours:
        return ". It is a plate or a well: open one field of it, such as PLATE.zarr/A/1/0"
    if any("bioformats2raw.layout" in key for key in ours):
        return ". It is a collection of images: open one of them, such as NAME.zarr/0"
    return ""


def _axes(where: str, axes: Any) -> tuple[str, tuple[str | None, ...]]:
    if not isinstance(axes, list) or not all(isinstance(axis, Mapping) for axis in axes):
        raise FileError(f"{where} does not say which 'axes' it has: wanted a list of axes with their names")
    names = [str(axis.get("name", "")).lower() for axis in axes]
    in_order = [letter for letter in AXES if letter in names]
    if names != in_order or names[-2:] != ["y", "x"]:
        raise FileError(f"{where} has axes {', '.join(names) or 'none'}: wanted some of t, c, z, then y, x")
    units = (axis.get("unit") for axis in axes)
    return "".join(names), tuple(unit if isinstance(unit, str) else None for unit in units)


def _orientation(axes: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """What is said of all spatial axes; nothing where it is not of people, or makes no sense."""
    said = [axis.get("orientation") for axis in axes if str(axis.get("name", "")).lower() in "zyx"]
    words = tuple(str(one.get("value")) for one in said if isinstance(one, Mapping))
    along = {DIRECTIONS[word][0] for word in words if word in DIRECTIONS}
    return words if len(along) == len(said) else ()


def _level(where: str, dataset: Any, after: Any, ndim: int) -> Level:
    if not isinstance(dataset, Mapping):
        raise FileError(f"{where}: a level is described by {type(dataset).__name__}, wanted path and scale")
    path = check_inner_path(where, dataset.get("path"))
    own = dataset.get("coordinateTransformations", [])
    if not isinstance(own, list) or not isinstance(after, list):
        raise FileError(f"{where}: 'coordinateTransformations' must be lists")
    scale, offset = [1.0] * ndim, [0.0] * ndim
    for one in (*own, *after):
        kind = one.get("type") if isinstance(one, Mapping) else None
        if kind == "identity":
            continue
        if kind not in ("scale", "translation"):
            raise FileError(f"{where} has a transformation of type {kind!r}: wanted scale or translation")
        numbers = _numbers(where, kind, one.get(kind), ndim)
        if kind == "translation":
            offset = [a + b for a, b in zip(offset, numbers, strict=True)]
        else:
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            offset = [a * b for a, b in zip(offset, numbers, strict=True)]
    if not all(0 < step <= _MAX_NUMBER for step in scale) or not all(abs(at) <= _MAX_NUMBER for at in offset):
        raise FileError(
            f"{where}: level {path!r} has scale {scale} and translation {offset}: wanted scales > 0"
        )
    return Level(path, tuple(scale), tuple(offset))


def _numbers(where: str, kind: str, values: Any, ndim: int) -> list[float]:
    is_list = isinstance(values, list) and len(values) == ndim
    if not is_list or not all(isinstance(v, (int, float)) and abs(v) <= _MAX_NUMBER for v in values):
        raise FileError(f"{where} has {kind} {str(values)[:80]}: wanted {ndim} numbers, one an axis")
    return [float(value) for value in values]


def _channels(omero: Any) -> tuple[Channel, ...]:
    """How to show the channels; it changes no voxel, so what makes no sense is left out."""
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list):
        return ()
    return tuple(_channel(one) if isinstance(one, Mapping) else Channel() for one in channels)


def _channel(described: Mapping[str, Any]) -> Channel:
    label, window = described.get("label"), described.get("window")
    limits = [window.get(name) for name in ("start", "end")] if isinstance(window, Mapping) else []
    numbers = [
        float(limit) for limit in limits if isinstance(limit, (int, float)) and abs(limit) <= _MAX_NUMBER
    ]
    is_window = len(numbers) == 2 and numbers[0] < numbers[1]
    return Channel(label if isinstance(label, str) else "", (numbers[0], numbers[1]) if is_window else None)
