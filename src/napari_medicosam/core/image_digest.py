"""A digest of an image's pixels: by it a saved session knows its image again, whatever the file is called."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_LARGE_BYTES = 1 << 30
_NUM_SAMPLED = 8
"""Slices of a large image that are looked at: it may lie on a slow disk or a web server."""


def image_digest(volumes: Sequence[NDArray[Any]]) -> str:
    """sha256 over dtype, shape and pixels, 64 hex digits; of a volume of 1 GiB and more, over 8 slices spread evenly.

    Args:
        volumes: one a time point, each (z, y, x) or (z, y, x, 3), of any dtype and byte order: the same values in the
            same dtype and shape give the same digest.
    """
    digest = hashlib.sha256()
    for volume in volumes:
        dtype = np.dtype(volume.dtype).newbyteorder("<")
        digest.update(f"{dtype.str} {tuple(volume.shape)} ".encode())
        for z in _looked_at(volume.shape[0], math.prod(volume.shape) * dtype.itemsize):
            pixels = np.ascontiguousarray(volume[z], dtype=dtype)
            digest.update(pixels.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _looked_at(num_slices: int, num_bytes: int) -> Sequence[int]:
    if num_bytes < _LARGE_BYTES or num_slices <= _NUM_SAMPLED:
        return range(num_slices)
    return [index * (num_slices - 1) // (_NUM_SAMPLED - 1) for index in range(_NUM_SAMPLED)]
