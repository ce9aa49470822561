"""Between slice pixels and the model's square frame, in SAM's own convention.

The long side is scaled to the model size, the rest padded at the bottom and right
(`segment_anything.utils.transforms.ResizeLongestSide`). This is, with `predict/predictor.py`, the only place
where coordinates are (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_array, csr_array
from skimage.transform import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import BoxPrompt, PointPrompt

MASK_PROMPT_LOGIT = 6.907
"""A mask turned into a prompt says "inside" with probability 0.999: logit(0.999)."""


@dataclass(frozen=True, slots=True)
class SliceFrame:
    """How a slice of `original_size` (rows, columns) lies in a model square of `model_size` pixels."""

    original_size: tuple[int, int]
    model_size: int

    @property
    def resized_size(self) -> tuple[int, int]:
        """(rows, columns) after scaling the long side to the model size, before padding."""
        return _scaled_size(self.original_size, self.model_size)

    def points_xy(self, points: Sequence[PointPrompt]) -> NDArray[np.float64]:
        """Positions (N, 2) as (x, y) in the model frame."""
        positions = np.array([point.position_yx for point in points], dtype=np.float64).reshape(-1, 2)
        return np.asarray((positions * self._scale_yx())[:, ::-1])

    def box_xyxy(self, box: BoxPrompt) -> NDArray[np.float64]:
        """Corners (4,) as (x0, y0, x1, y1) in the model frame, clipped to the slice."""
        rows, columns = self.original_size
        y, x = np.clip((box.y0, box.y1), 0, rows), np.clip((box.x0, box.x1), 0, columns)
        corners_yx = np.stack([y, x], axis=1) * self._scale_yx()
        return np.asarray(corners_yx[:, ::-1].reshape(4))

    def mask_logits(self, mask: NDArray[np.bool_], low_res_size: int) -> NDArray[np.float32]:
        """A mask (rows, columns) of the slice as mask prompt: float32 (low_res_size, low_res_size).

        The mask is resized, thresholded at 0.5 and padded with background, then written as logits of
        probability 0.999 and 0.001.
        """
        rows, columns = _scaled_size(self.original_size, low_res_size)
        small = _resized(mask, (rows, columns)) > 0.5
        if not small.any():  # an object thinner than a low-res pixel must not vanish from its own prompt
            y, x = np.nonzero(mask)
            small[y * rows // mask.shape[0], x * columns // mask.shape[1]] = True
        logits = np.full((low_res_size, low_res_size), -MASK_PROMPT_LOGIT, dtype=np.float32)
        logits[:rows, :columns][small] = MASK_PROMPT_LOGIT
        return logits

    def mask_of_logits(self, logits: NDArray[np.float32], threshold: float = 0.0) -> NDArray[np.bool_]:
        """Low-res logits (h, h) as a mask (rows, columns) of the slice: where they are above a threshold.

        As `segment_anything.modeling.Sam.postprocess_masks`, up to rounding: upscaled to the model size, cut, and
        scaled to the slice. Both are means of neighbours, so only what can pass the threshold is computed.
        """
        rows, columns = self.original_size
        mask = np.zeros((rows, columns), dtype=bool)
        above = logits > threshold
        along_y, along_x = (
            _upscaling(low_res, self.model_size, cut, n)
            for low_res, cut, n in zip(logits.shape, self.resized_size, self.original_size, strict=True)
        )
        y, x = (
            _touched(along_y, np.asarray(above.any(axis=1))),
            _touched(along_x, np.asarray(above.any(axis=0))),
        )
        tall = along_y[y] @ logits
        mask[y, x] = ((along_x[x] @ np.ascontiguousarray(tall.T)) > threshold).T
        return mask

    def _scale_yx(self) -> NDArray[np.float64]:
        return np.asarray(np.divide(self.resized_size, self.original_size), dtype=np.float64)


def _resized(mask: NDArray[np.bool_], size_yx: tuple[int, int]) -> NDArray[np.float64]:
    """As `skimage.transform.resize` of order 1 with anti-aliasing, up to rounding.

    Only what is not empty is looked at, where that filters the whole slice. The matrices are sparse: numpy's product of
    dense ones has threads of its own, which would fight with those of the decoder for the cores.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(size_yx)
    y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    along_y, along_x = (_resizing(n, small) for n, small in zip(mask.shape, size_yx, strict=True))
    out: NDArray[np.float64] = (along_x[:, x] @ (along_y[:, y] @ mask[y, x].astype(np.float64)).T).T
    return out


@lru_cache(maxsize=16)
def _resizing(n: int, small: int) -> csc_array:
    """The matrix (small, n) that resizes along one axis: what becomes of each pixel alone."""
    return csc_array(resize(np.eye(n), (small, n), order=1, anti_aliasing=True))


@lru_cache(maxsize=16)
def _upscaling(low_res: int, model_size: int, cut: int, n: int) -> csr_array:
    """The matrix (n, low_res) that scales along one axis to the model size, cuts, and scales to the slice."""
    return csr_array(_bilinear(cut, n) @ _bilinear(low_res, model_size)[:cut])


def _bilinear(n: int, wanted: int) -> csr_array:
    """Linear interpolation along one axis (wanted, n), with torch's places of pixels in torch's precision."""
    half = np.float32(0.5)
    places = np.maximum((np.arange(wanted, dtype=np.float32) + half) * np.float32(n / wanted) - half, 0)
    before, at = np.minimum(places.astype(np.intp), n - 1), np.arange(wanted)
    share = places - before.astype(np.float32)
    matrix = np.zeros((wanted, n), dtype=np.float32)
    matrix[at, before] = 1 - share
    matrix[at, np.minimum(before + 1, n - 1)] += share
    return csr_array(matrix)


def _touched(along: csr_array, inner: NDArray[np.bool_]) -> slice:
    """The pixels that any of the `inner` ones have a part in, as one range."""
    found = np.flatnonzero(along @ inner.astype(np.float32))
    return slice(found[0], found[-1] + 1) if len(found) else slice(0)


def _scaled_size(size_yx: tuple[int, int], long_side: int) -> tuple[int, int]:
    scale = long_side * 1.0 / max(size_yx)
    rows, columns = (int(n * scale + 0.5) for n in size_yx)
    return max(rows, 1), max(columns, 1)
