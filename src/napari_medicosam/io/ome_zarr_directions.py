"""Grids whose axes run along the patient's, in words: all that a scale, a translation and RFC 4 can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.io.ome_zarr_metadata import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

RAS = ("inferior-to-superior", "posterior-to-anterior", "left-to-right")
"""Where z, y and x run where nobody says."""

_TOLERANCE = 1e-3
"""Of a voxel: how far a grid may turn away from its axes and still count as one without rotation."""

_WORDS = {direction: word for word, direction in DIRECTIONS.items()}


def directions_of(geometry: Geometry) -> tuple[tuple[str, ...], Sequence[float]] | None:
    """Where z, y and x run, in words, and where the first voxel lies along each, in mm; None for a turned grid."""
    matrix, origin = geometry.affine_ras[:3, :3], geometry.affine_ras[:3, 3]
    worlds = np.abs(matrix).argmax(axis=0)  # along which of R, A, S each of x, y, z runs
    if len(set(worlds.tolist())) < 3:
        return None
    signs = np.sign(matrix[worlds, range(3)])
    plain = np.eye(4)
    plain[:3, :3] = 0
    plain[worlds, range(3)] = signs * geometry.spacing_zyx[::-1]
    plain[:3, 3] = origin
    if not Geometry(geometry.shape_zyx, plain).equals(geometry, _TOLERANCE * min(geometry.spacing_zyx)):
        return None
    words = tuple(_WORDS[int(world), int(sign)] for world, sign in zip(worlds, signs, strict=True))
    return words[::-1], (signs * origin[worlds])[::-1].tolist()
