"""Label maps before anything is in them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


def empty_label_map(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of this shape; most systems give the memory only when something is written to it.

    Raises:
        InputError: for more memory than there is: an image that is read slice by slice may be larger than that.
    """
    try:
        return np.zeros(shape, dtype)
    except (MemoryError, ValueError) as error:
        gigabytes = math.prod(shape) * np.dtype(dtype).itemsize / 1e9
        raise InputError(
            f"labels for an image of shape {shape} take {gigabytes:.3g} GB of memory, more than there is: "
            f"segment a part of the image, or a coarser copy"
        ) from error
