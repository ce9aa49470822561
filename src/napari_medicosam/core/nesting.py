"""Objects inside others: a tumour in its organ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask


def find_host(label_map: NDArray[Any], packed: PackedMask, hosts: Collection[int]) -> int:
    """In which of several objects a mask lies: the one that it touches most within its slices, on four sides.

    Args:
        label_map: (z, y, x), unsigned integers.
        packed: the mask.
        hosts: labels to choose from.

    Returns:
        One of them, the lowest of equals; 0 when it touches none.
    """
    if not hosts:
        return 0
    num_touched = np.zeros(max(hosts) + 1, dtype=np.int64)
    for (z, rows, columns), mask in packed.slices():
        padding, around = [], []
        for side, size in zip((rows, columns), label_map.shape[1:], strict=True):
            before, after = min(side.start, 1), min(size - side.stop, 1)
            padding.append((before, after))
            around.append(slice(side.start - before, side.stop + after))
        inside = np.pad(mask, padding)
        touched = label_map[z, around[0], around[1]][ndimage.binary_dilation(inside) & ~inside]
        num_touched += np.bincount(touched[touched < num_touched.size], minlength=num_touched.size)
    best = max(sorted(hosts), key=lambda host: num_touched[host])
    return best if num_touched[best] else 0
