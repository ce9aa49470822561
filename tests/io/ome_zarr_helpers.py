"""Small OME-Zarr images as other programs write them."""

from __future__ import annotations

import json

import numpy as np
import zarr

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def describe(axes="zyx", scale=(3.0, 0.5, 0.5), *, levels=1, units="millimeter", offset=None, after=()):
    """One entry of "multiscales"; y and x are halved from level to level."""
    datasets = []
    for level in range(levels):
        factors = [2**level if axis in "yx" else 1 for axis in axes]
        own = [{"type": "scale", "scale": [s * f for s, f in zip(scale, factors, strict=True)]}]
        if offset is not None:
            own.append({"type": "translation", "translation": list(offset)})
        datasets.append({"path": str(level), "coordinateTransformations": own})
    named = [
        {"name": axis, "type": TYPES[axis]} | ({"unit": units} if units and axis in "zyx" else {})
        for axis in axes
    ]
    found = {"axes": named, "datasets": datasets}
    return found | ({"coordinateTransformations": list(after)} if after else {})


def make_image(path, data, *, version="0.5", chunks="auto", more=None, **described):
    """Write `data` with its levels, and `more` attributes beside "multiscales"."""
    image = describe(**described)
    zarr_format = 2 if version == "0.4" else 3
    if version == "0.4":
        attributes = {"multiscales": [{"version": "0.4", **image}], **(more or {})}
    else:
        attributes = {"ome": {"version": version, "multiscales": [image], **(more or {})}}
    zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    for level in range(len(image["datasets"])):
        part = np.ascontiguousarray(data[..., :: 2**level, :: 2**level])
        zarr.create_array(path, name=str(level), data=part, chunks=chunks, zarr_format=zarr_format)
    return path


def change(path, edit, version="0.5"):
    """Let `edit` change the attributes of a group in place."""
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    document = json.loads(file.read_text())
    edit(document if version == "0.4" else document["attributes"]["ome"])
    file.write_text(json.dumps(document))
