"""From stored intensities to the 0..255 that SAM sees: one mapping for a whole volume, recorded.

A mapping per slice (what the reference code does) makes tissue change brightness from slice to slice, so a
mapping is always resolved once, on the volume, into the two numbers that every slice then shares.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_PRESETS: dict[str, tuple[float, float]] = {
    "ct-soft-tissue": (400.0, 40.0),
    "ct-lung": (1500.0, -600.0),
    "ct-bone": (1800.0, 400.0),
    "ct-brain": (80.0, 40.0),
    "ct-liver": (150.0, 30.0),
}
"""CT windows in HU: name -> (width, level)."""

PERCENTILES = (0.5, 99.5)
"""What `percentile` clips at."""

_MAX_SAMPLED = 4_000_000
"""Percentiles are read off at most about this many voxels, taken on a regular grid: the same every time."""

_MAX_BLOCKS = (64, 512)
_MAX_BLOCK_BYTES = 1 << 28
"""Of an array that is not in memory so many chunks are read at most, and about so many bytes. The second number is for
images that have the same value in all chunks of the first: most of them is empty."""

Kind = Literal["identity", "window", "percentile", "minmax"]


@dataclass(frozen=True, slots=True)
class IntensityMapping:
    """Clip to [low, high], stretch to 0..255, round. `identity` leaves 8-bit data as it is.

    `kind` and `name` record how low and high were found; they do not change the result.
    """

    kind: Kind
    low: float = 0.0
    high: float = 255.0
    name: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.high <= self.low:
            raise InputError(
                f"an intensity window needs LOW < HIGH, both finite, got {self.low}, {self.high}"
            )

    def to_uint8(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Map a slice (rows, columns) or (rows, columns, 3) of any real dtype to uint8 of the same shape.

        Not-a-number becomes `low`; infinities are clipped.
        """
        if self.kind == "identity" and image.dtype == np.uint8:
            return image
        scaled = (image.astype(np.float32) - np.float32(self.low)) * np.float32(
            255.0 / (self.high - self.low)
        )
        scaled = np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)
        return np.asarray(np.rint(scaled), dtype=np.uint8)

    def as_record(self) -> dict[str, Any]:
        """JSON-ready description."""
        return asdict(self)

    def __str__(self) -> str:
        how = self.name or self.kind
        return how if self.kind == "identity" else f"{how} [{self.low:g}, {self.high:g}]"


def resolve_intensity(wanted: str, array: Any, *, is_rgb: bool = False) -> IntensityMapping:
    """The mapping that a word stands for, on this volume.

    Args:
        wanted: a preset of `WINDOW_PRESETS` with or without its "ct-", "LOW,HIGH", "percentile", "minmax",
            "identity", or "auto": identity for RGB, the soft-tissue window for what looks like
            Hounsfield units, percentile for the rest.
        array: the whole volume (z, y, x), or (z, y, x, 3) for RGB. Of one that is not in memory (dask, zarr, anything
            that NumPy can index and convert) no voxel is read for a window, and a few chunks for what is measured:
            spread evenly, and the same every time.
        is_rgb: colour images are shown to the model as they are unless a window is asked for by name.

    Raises:
        InputError: for an unknown word, a window without width, or a volume with a single value.
    """
    if wanted == "auto" and is_rgb:
        wanted = "identity"
    elif wanted == "auto":
        array = _in_memory(array)
        wanted = "ct-soft-tissue" if _looks_like_hounsfield(array) else "percentile"
    if wanted == "identity":
        if array.dtype != np.uint8:
            return _measured("minmax", array)
        return IntensityMapping("identity")
    preset = next((name for name in (wanted, f"ct-{wanted}") if name in WINDOW_PRESETS), None)
    if preset is not None:
        width, level = WINDOW_PRESETS[preset]
        return IntensityMapping("window", level - width / 2, level + width / 2, preset)
    if wanted in ("percentile", "minmax"):
        return _measured(wanted, array)
    try:
        low, high = (float(part) for part in wanted.split(","))
    except ValueError:
        known = ", ".join(["auto", *WINDOW_PRESETS, "percentile", "minmax", "identity"])
        raise InputError(f"unknown intensity window {wanted!r}: wanted LOW,HIGH or one of {known}") from None
    return IntensityMapping("window", low, high)


def _measured(kind: str, array: Any) -> IntensityMapping:
    array = _in_memory(array)
    finite = _sample(array) if kind == "percentile" else array[np.isfinite(array)]
    if finite.dtype == bool:  # of which numpy takes no percentiles
        finite = finite.astype(np.uint8)
    if finite.size == 0:
        raise InputError("the image holds no finite value")
    low, high = float(finite.min()), float(finite.max())
    if high <= low:
        raise InputError(
            f"the image is empty: every value is {low:g}. Open the right file, channel or time point: there is nothing "
            "to segment in this one"
        )
    if kind == "minmax":
        return IntensityMapping("minmax", low, high)
    inner_low, inner_high = (float(v) for v in np.percentile(finite, PERCENTILES))
    # A mask-like image (nearly all one value) has no width between its percentiles.
    return IntensityMapping(
        "percentile", *((inner_low, inner_high) if inner_high > inner_low else (low, high))
    )


def _in_memory(array: Any) -> NDArray[Any]:
    """The array itself, or (n, 1, 1) voxels of a few chunks of one that would have to be read for it."""
    if isinstance(array, np.ndarray):
        return array
    voxels = np.empty(0, array.dtype)
    for max_blocks in _MAX_BLOCKS:
        voxels = _of_few_chunks(array, max_blocks)
        if voxels.min() != voxels.max():
            break
    return voxels[:, None, None]


def _of_few_chunks(array: Any, max_blocks: int) -> NDArray[Any]:
    shape = array.shape
    chunk = getattr(array, "chunksize", None) or getattr(array, "chunks", None) or (1, *shape[1:])
    chunk = tuple(min(int(c), n) for c, n in zip(chunk, shape, strict=True))
    counts = tuple(math.ceil(n / c) for n, c in zip(shape, chunk, strict=True))
    chunk_bytes = math.prod(chunk) * array.dtype.itemsize
    taken = _spread(counts, max(1, min(max_blocks, _MAX_BLOCK_BYTES // chunk_bytes)))
    step = max(1, math.ceil((math.prod(taken) * math.prod(chunk) / _MAX_SAMPLED) ** (1 / len(shape))))
    voxels = []
    for number in np.ndindex(*taken):
        starts = [
            int((at + 0.5) * count / few) * c
            for at, count, few, c in zip(number, counts, taken, chunk, strict=True)
        ]
        block = np.asarray(
            array[tuple(slice(at, min(at + c, n)) for at, c, n in zip(starts, chunk, shape, strict=True))]
        )
        voxels.append(block[(slice(None, None, step),) * block.ndim].ravel())
    return np.concatenate(voxels)


def _spread(counts: tuple[int, ...], budget: int) -> tuple[int, ...]:
    """How many of `counts` chunks along each axis to look at, together at most `budget`, as evenly as that goes."""
    taken = [1] * len(counts)
    while True:
        by_need = sorted(range(len(counts)), key=lambda axis: -counts[axis] / taken[axis])
        for axis in by_need:
            others = math.prod(taken) // taken[axis]
            if taken[axis] < counts[axis] and others * (taken[axis] + 1) <= budget:
                taken[axis] += 1
                break
        else:
            return tuple(taken)


def _sample(array: NDArray[Any]) -> NDArray[Any]:
    step = max(1, math.ceil((array.size / _MAX_SAMPLED) ** (1 / 3)))
    sampled = array[::step, ::step, ::step]
    return np.asarray(sampled[np.isfinite(sampled)])


def _looks_like_hounsfield(array: NDArray[Any]) -> bool:
    """Some air below -900 and a good share around water: normalised MRI, the nearest thing, has no such air.

    The shares were read off the CT, MRI and PET volumes that the project is tuned on (docs/tuning.md).
    """
    if array.dtype.kind not in "if":
        return False
    sampled = _sample(array)
    if sampled.size == 0:
        return False
    air, water = np.mean(sampled < -900), np.mean((sampled >= -200) & (sampled < 300))
    return bool(air > 0.01 and water > 0.2 and sampled.min() >= -4096)
