"""What an embedding is filed under, and what may be filed.

Two things decide whether a stored embedding may be used again: how it was made (`EmbeddingKey`) and from
which pixels (`slice_digest`). Nothing else goes in: no file name, no patient name, no date.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.cache.quantisation import dequantise, quantise
from napari_medicosam.core.results import frozen_array
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.models.specs import ModelSpec

SCHEMA_VERSION = 1
"""Of the layout on disk. A new number gives new group names, so old embeddings are never misread."""

DIGEST_SIZE = 16
"""Bytes of a slice digest."""

EMBEDDING_DTYPES = ("float16", "float32", "int8")
"""What embeddings can be stored as; int8 is half the size of float16 (`quantisation.py`), and is read as float16."""


def slice_digest(image_slice: NDArray[Any]) -> bytes:
    """Digest of a slice's pixels as they are in the volume, before any intensity mapping.

    Args:
        image_slice: (rows, columns) or (rows, columns, 3), any bool, integer or float dtype, any byte order
            and memory layout: the same values in the same dtype and shape give the same digest.

    Returns:
        16 bytes: blake2b over dtype, shape and the bytes in C order, little-endian.

    Raises:
        InputError: for another kind of dtype.
    """
    image = np.asarray(image_slice)
    if image.dtype.kind not in "biuf":
        raise InputError(f"an image slice must hold numbers, got dtype {image.dtype}")
    dtype = image.dtype.newbyteorder("<")
    pixels = np.ascontiguousarray(image, dtype=dtype)
    digest = hashlib.blake2b(f"{dtype.str} {image.shape} ".encode(), digest_size=DIGEST_SIZE)
    digest.update(pixels.reshape(-1).view(np.uint8).data)
    return digest.digest()


def same_pixels(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two slices in C order are the same bytes of one dtype, and so have one digest.

    Seen in a tenth of the time that a digest takes.
    """
    if a is b:
        return True
    is_alike = a.dtype == b.dtype and a.shape == b.shape
    return is_alike and np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8))


class RecentDigests:
    """`slice_digest`, remembered for two slices, with their pixels: of the one looked at and the next.

    Safe to use from many threads.
    """

    def __init__(self) -> None:
        self._recent: tuple[tuple[NDArray[Any], bytes], ...] = ()

    def of(self, image_slice: NDArray[Any]) -> bytes:
        """The digest of a slice in C order whose pixels nobody changes any more (`frozen_array`)."""
        for image, digest in self._recent:
            if same_pixels(image, image_slice):
                return digest
        digest = slice_digest(image_slice)
        self._recent = (image_slice, digest), *self._recent[:1]
        return digest


def check_digest(digest: bytes) -> None:
    """Raise `InputError` unless `digest` can be one of `slice_digest`: 16 bytes, not all zero."""
    if len(digest) != DIGEST_SIZE or not any(digest):
        raise InputError(
            f"a slice digest must be {DIGEST_SIZE} bytes and not all zero, got {digest.hex() or 'none'}"
        )


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """How embeddings are made: those of two equal keys are interchangeable, slice digest by slice digest.

    Args:
        spec: the architecture.
        weights_sha256: of the weights, 64 hex digits.
        mapping: from stored intensities to the model's; its `name` is a label and no part of the key.
        dtype: "float16", "float32" or "int8", what embeddings are stored as.
        precision: what they are computed in (`models.encoder_runtimes.Precision`). Runtimes of one precision share
            embeddings: what they differ by is lost in `dtype`, but for a last bit here and there.

    Raises:
        InputError: for another dtype, or a hash that is not 64 hex digits.
    """

    spec: ModelSpec
    weights_sha256: str
    mapping: IntensityMapping
    dtype: str = "float16"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in EMBEDDING_DTYPES:
            raise InputError(f"embeddings are stored as {' or '.join(EMBEDDING_DTYPES)}, got {self.dtype!r}")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", self.weights_sha256):
            raise InputError(f"the sha256 of weights must be 64 hex digits, got {self.weights_sha256!r}")

    @property
    def read_dtype(self) -> np.dtype[Any]:
        """Of embeddings as they are read: that of the key, and float16 for int8."""
        return np.dtype("float16" if self.dtype == "int8" else self.dtype)

    def as_record(self, axis: int) -> dict[str, Any]:
        """JSON-ready description of the group for slices along `axis`, the same before and after JSON."""
        spec = {
            name: _plain(value, as_float=name.startswith("pixel_"))
            for name, value in self.spec.as_record().items()
        }
        record = {
            "schema_version": SCHEMA_VERSION,
            "spec": spec,
            "weights_sha256": self.weights_sha256.lower(),
            "axis": int(axis),
            "mapping": {
                "kind": self.mapping.kind,
                "low": _plain(self.mapping.low, as_float=True),
                "high": _plain(self.mapping.high, as_float=True),
            },
            "dtype": self.dtype,
        }
        if self.precision != "float32":  # came later: keys of embeddings stored before must stay as they were
            record["precision"] = self.precision
        return record

    def group_name(self, axis: int) -> str:
        """32 hex digits for slices along `axis`, the same in every process and Python version."""
        # repr of a float, which json writes, is the shortest text that reads back as the same float.
        record = json.dumps(self.as_record(axis), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.blake2b(record.encode("ascii"), digest_size=16).hexdigest()

    def prepare(self, embedding: NDArray[Any]) -> NDArray[Any]:
        """A read-only copy of an embedding, rounded as it will be when it is read: (C, h, w) of `read_dtype`.

        What was prepared once stays as it is.

        Args:
            embedding: (C, h, w) of the spec, float16 or float32.

        Raises:
            InputError: for another shape or dtype, or values that are not finite in the key's dtype.
        """
        got = np.asarray(embedding)
        wanted = self.spec.embedding_shape
        if got.shape != wanted or got.dtype.name not in ("float16", "float32"):
            raise InputError(
                f"an embedding of {self.spec.name} must be float16 or float32 "
                f"of shape {wanted}, got {got.dtype} of shape {got.shape}"
            )
        with np.errstate(over="ignore"):  # reported just below
            prepared = frozen_array(got, self.read_dtype)
        if not np.isfinite(prepared).all():
            raise InputError(
                f"an embedding of {self.spec.name} holds values that are not finite in {self.read_dtype}"
            )
        return frozen_array(dequantise(*quantise(prepared))) if self.dtype == "int8" else prepared


def _plain(value: Any, *, as_float: bool) -> Any:
    """`value` as JSON will give it back: lists for tuples; one spelling of numbers that compare equal."""
    if isinstance(value, tuple | list):
        return [_plain(item, as_float=as_float) for item in value]
    return float(value) + 0.0 if as_float else value  # 0 and -0.0 become 0.0
