"""Bad files of weights: pickles, zips and safetensors."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bad_case import BadFile, bytes_file, spoilt_everywhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEGABYTE = 1 << 20
TENSOR = "image_encoder.pos_embed"


@cache
def weights(suffix: str) -> bytes:
    """A sound file of the smallest model."""
    from napari_medicosam.models.build import build_model
    from napari_medicosam.models.checkpoints import save_model

    model = build_model("sam_test", seed=0)
    if (
        suffix == ".pth"
    ):  # not `save_model`: torch puts the name of a file, which is a temporary one, into its zip
        return _saved(model.state_dict())
    with TemporaryDirectory() as folder:
        return save_model(model, Path(folder, f"weights{suffix}")).read_bytes()


class Attack:
    """Touches the file `exploded` where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch exploded",)


def _saved(content: object, **options: Any) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _rezipped(change: Callable[[str, bytes], tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    """The sound .pth with its members changed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(weights(".pth"))) as old, zipfile.ZipFile(stream, "w") as new:
        for item in old.namelist():
            name, data = change(item, old.read(item))
            new.writestr(zipfile.ZipInfo(name), data, packing)  # of no date
    return stream.getvalue()


def _without_records() -> bytes:
    return _rezipped(lambda name, data: (name, b"" if "/data/" in name else data))


def _one_big_member() -> bytes:
    """A tensor of 256 MB of zeros, packed into 256 kB."""
    import torch

    stream = io.BytesIO()
    one = io.BytesIO(_saved({TENSOR: torch.zeros(4)}))
    with (
        zipfile.ZipFile(one) as old,
        zipfile.ZipFile(stream, "w") as new,
    ):
        for item in old.namelist():
            if "/data/" not in item:
                new.writestr(zipfile.ZipInfo(item), old.read(item))
                continue
            packed = zipfile.ZipInfo(item)
            packed.compress_type = zipfile.ZIP_DEFLATED
            with new.open(packed, "w", force_zip64=True) as member:
                for _ in range(256):
                    member.write(bytes(MEGABYTE))
    return stream.getvalue()


def bad_pickles() -> Iterator[BadFile]:
    """.pth and .pt files."""
    lengths = (1, 4, 100, 0.3, 0.7, -1, -30, -2000)
    yield from spoilt_everywhere(lambda: weights(".pth"), "weights", ".pth", lengths, 10, after_flip="either")
    files: dict[str, Callable[[], bytes]] = {
        "attack-raw.pth": lambda: pickle.dumps(Attack()),
        "attack-zip.pth": lambda: _saved(Attack()),
        "attack-in-a-dictionary.pt": lambda: _saved({TENSOR: Attack()}),
        "attack-old-format.pt": lambda: _saved({"model": Attack()}, _use_new_zipfile_serialization=False),
        "attack-instead-of-data.pth": lambda: _rezipped(
            lambda name, data: (name, pickle.dumps(Attack()) if name.endswith("data.pkl") else data)
        ),
        "no-tensors.pth": lambda: _saved({"a": 1}),
        "a-list.pth": lambda: _saved([1, 2]),
        "empty-dictionary.pth": lambda: _saved({}),
        "deep-dictionary.pth": lambda: _saved(_deep(400)),
        "members-empty.pth": _without_records,
        "members-outside.pth": lambda: _rezipped(lambda name, data: (f"../../{name}", data)),
        "zip-without-pickle.pth": lambda: _zip({"weights/readme.txt": b"hello"}),
        "zip-of-nothing.pth": lambda: _zip({}),
        "packed-bomb.pth": _one_big_member,
        "pickle-of-long-strings.pth": lambda: _zip({"a/data.pkl": b"\x80\x02X\xff\xff\xff\x7fabc.", "a/version": b"3"}),
        "pickle-memo-bomb.pth": lambda: _zip({"a/data.pkl": b"\x80\x02]" + b"2" * 500 + b".", "a/version": b"3"}),
    }  # fmt: skip
    for name, content in files.items():
        yield BadFile(name, "weights", "nothing that is weights", bytes_file(content))
    yield BadFile(
        "version-of-the-future.pth",
        "weights",
        "a version that nobody knows",
        bytes_file(
            lambda: _rezipped(lambda name, data: (name, b"999999\n" if name.endswith("version") else data))
        ),
    )
    yield BadFile(
        "packed.pth",
        "weights",
        "packed members, which torch does not write",
        bytes_file(lambda: _rezipped(lambda name, data: (name, data), zipfile.ZIP_DEFLATED)),
        "either",
    )


def _deep(depth: int) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for _ in range(depth):
        content = {"model": content}
    return content


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as new:
        for name, data in members.items():
            new.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def safetensors(header: object, body: bytes = bytes(16), length: int | None = None) -> bytes:
    """A file with this header, JSON or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def bad_safetensors() -> Iterator[BadFile]:
    """.safetensors files."""
    lengths = (1, 8, 30, 0.3, -1)
    yield from spoilt_everywhere(
        lambda: weights(".safetensors"), "weights", ".safetensors", lengths, 10, (0, 4000)
    )

    def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
        return {TENSOR: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}

    files: dict[str, Callable[[], bytes]] = {
        "header-of-2-to-63": lambda: safetensors({}, length=2**63),
        "header-longer-than-the-file": lambda: safetensors({}, length=5000),
        "header-of-0": lambda: safetensors(b""),
        "header-no-json": lambda: safetensors(b"{hello"),
        "header-not-utf-8": lambda: safetensors(b'{"\xff\xfe": 1}'),
        "header-a-list": lambda: safetensors([1, 2]),
        "header-deep": lambda: safetensors(b'{"a":' * 2000 + b"1" + b"}" * 2000),
        "no-tensors": lambda: safetensors({}, b""),
        "shape-huge": lambda: safetensors(entry([2**40, 2**40], [0, 16])),
        "shape-negative": lambda: safetensors(entry([-4], [0, 16])),
        "offsets-outside": lambda: safetensors(entry([4], [0, 10**9])),
        "offsets-backwards": lambda: safetensors(entry([4], [16, 0])),
        "offsets-too-short": lambda: safetensors(entry([4], [0, 8])),
        "offsets-overlap": lambda: safetensors(entry([4], [0, 16]) | {"b": entry([4], [8, 24])[TENSOR]}, bytes(24)),
        "unknown-type": lambda: safetensors(entry([4], [0, 16], "F1024")),
        "key-twice": lambda: safetensors(
            b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],'
            b'"data_offsets":[0,16]}}'
        ),
        "bytes-behind": lambda: weights(".safetensors") + b"more",
        "a-pickle": lambda: weights(".pth"),
        "one-tensor-only": lambda: safetensors(entry([1, 2, 2, 1], [0, 16])),
    }  # fmt: skip
    for name, content in files.items():
        yield BadFile(f"{name}.safetensors", "weights", "nothing that is weights", bytes_file(content))
