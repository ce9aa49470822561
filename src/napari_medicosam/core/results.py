"""What goes from a click to the service and what comes back: frozen, so that threads cannot trip over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.appearance import Appearance
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.prompts import BoxPrompt, PromptSet


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a slice, half-open: rows y0 <= y < y1, columns x0 <= x < x1. Empty when y0 == y1."""

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Region:
        """Tight bounds of a 2D mask; the empty region (0, 0, 0, 0) when nothing is set."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return cls(0, 0, 0, 0)
        columns = np.flatnonzero(mask.any(axis=0))
        return cls(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @property
    def is_empty(self) -> bool:
        """True when it covers no pixel."""
        return self.y1 <= self.y0 or self.x1 <= self.x0

    @property
    def size_yx(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def slices_yx(self) -> tuple[slice, slice]:
        """Index of this rectangle in an array of the slice."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def check_view(self, size_yx: tuple[int, int]) -> None:
        """Raise `InputError` unless this can be a view: at least one pixel, all of it inside the slice."""
        rows, columns = size_yx
        if self.is_empty or self.y0 < 0 or self.x0 < 0 or self.y1 > rows or self.x1 > columns:
            raise InputError(
                f"a view must lie inside its slice of {rows} rows and {columns} columns, got {self}"
            )

    def union(self, other: Region) -> Region:
        """Smallest rectangle that covers both."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        return Region(
            min(self.y0, other.y0), min(self.x0, other.x0), max(self.y1, other.y1), max(self.x1, other.x1)
        )


def frozen_array(array: NDArray[Any], dtype: Any = None) -> NDArray[Any]:
    """A read-only copy, so that neither side of a thread boundary can change what the other sees."""
    copy = np.array(array, dtype=dtype, order="C")
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRequest:
    """One question to the service. After it is made nobody reads a layer any more.

    Args:
        image_slice: pixels of `prompts.plane` as they are in the volume, (rows, columns) or
            (rows, columns, 3) for RGB, any real dtype. Copied.
        prompts: all prompts for the object on this slice.
        previous_logits: float32 (h, w) low-res logits of the last mask of this object on this slice, fed back
            as mask prompt; `prompts.mask` must then be None.
        object_id: the object's label, > 0.
        generation: counts requests of a session; an answer with an old one is dropped.
        previous_view: `SegmentResult.view` of the last answer, always handed on together with its logits: the
            part of the slice that `previous_logits` cover, None for the whole slice. Without logits it only
            says where the object was looked at, so that the next answer need not encode again.
        nearby_box: about where the object is on a slice beside this one. Where there are points alone, which may mean
            anything, the service asks with it, too, and keeps the better answer.
        appearance: of the object on annotated slices; the mask is made to agree with it.

    Raises:
        InputError: for empty prompts, prompts outside the slice, an empty slice, two mask prompts, or a view
            that is empty or reaches beyond the slice.
    """

    image_slice: NDArray[Any]
    prompts: PromptSet
    previous_logits: NDArray[np.float32] | None = None
    object_id: int = 1
    generation: int = 0
    previous_view: Region | None = None
    nearby_box: BoxPrompt | None = None
    appearance: Appearance | None = None

    def __post_init__(self) -> None:
        image = np.asarray(self.image_slice)
        is_rgb = image.ndim == 3 and image.shape[-1] == 3
        if not (image.ndim == 2 or is_rgb) or image.size == 0:
            raise InputError(
                f"an image slice must be (rows, columns) or (rows, columns, 3), got {image.shape}"
            )
        self.prompts.check((image.shape[0], image.shape[1]))
        if self.previous_logits is not None and self.prompts.mask is not None:
            raise InputError("got both a mask prompt and previous logits: SAM takes one mask prompt")
        if self.object_id < 1:
            raise InputError(f"object_id must be 1 or more (0 is background), got {self.object_id}")
        if self.previous_view is not None:
            self.previous_view.check_view((image.shape[0], image.shape[1]))
        object.__setattr__(self, "image_slice", frozen_array(image))
        if self.previous_logits is not None:
            object.__setattr__(self, "previous_logits", frozen_array(self.previous_logits, np.float32))

    @property
    def plane(self) -> SlicePlane:
        """The slice that is asked about."""
        return self.prompts.plane


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One of several masks that a single click may mean: a whole, a part, a part of the part.

    Attributes:
        mask: bool (rows, columns) of the slice, read-only.
        iou_prediction: the model's own estimate.
        low_res_logits: float32 (h, w), in the model's frame of the result's view.
    """

    mask: NDArray[np.bool_]
    iou_prediction: float
    low_res_logits: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentResult:
    """One answer of the service.

    Attributes:
        plane: the slice.
        mask: bool (rows, columns) of the slice, read-only.
        region: tight bounds of the mask.
        iou_prediction: the model's own estimate of the mask's IoU (not clipped: SAM may say 1.02).
        low_res_logits: float32 (h, w), to be fed back as `previous_logits`, in the model's frame of `view`.
        object_id, generation: copied from the request.
        view: the part of the slice that the model saw and `low_res_logits` cover; None for the whole slice. To
            be fed back as `previous_view`. The mask is empty outside it.
        candidates: what else a single click may mean, the largest mask first, the one chosen included; empty where
            the model gave one mask.
        asked_box: the box that the mask was asked with, drawn or not; to be fed back with the logits.
        likeness: 1 as the object on annotated slices, 0 as what surrounds it (`predict.likeness`), or less; NaN where
            nobody looked.

    Raises:
        InputError: for a view that is empty or reaches beyond the slice.
    """

    plane: SlicePlane
    mask: NDArray[np.bool_]
    region: Region
    iou_prediction: float
    low_res_logits: NDArray[np.float32]
    object_id: int = 1
    generation: int = 0
    view: Region | None = None
    candidates: tuple[Candidate, ...] = ()
    asked_box: BoxPrompt | None = None
    likeness: float = math.nan

    def __post_init__(self) -> None:
        if self.view is not None:
            self.view.check_view((self.mask.shape[0], self.mask.shape[1]))
