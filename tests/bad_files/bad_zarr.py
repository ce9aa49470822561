"""Bad OME-Zarr folders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from bad_case import BadFile, flipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VOXELS = np.random.default_rng(0).integers(0, 30000, (4, 20, 22)).astype("<u2")


def sound(path: Path) -> None:
    """A (z, y, x) image of one level, one chunk a slice."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [2.5, 0.7, 0.7]}]
    image = {"name": "a", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    zarr.create_group(path, zarr_format=3, attributes={"ome": {"version": "0.5", "multiscales": [image]}})
    zarr.create_array(
        path,
        name="0",
        data=VOXELS,
        chunks=(1, 20, 22),
        zarr_format=3,
        compressors=[BloscCodec(), Crc32cCodec()],
    )


def bad_zarr() -> Iterator[BadFile]:
    """All of them."""

    def with_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            sound(path)
            content = json.loads((path / name).read_text(encoding="utf-8"))
            change(content)
            (path / name).write_text(json.dumps(content), encoding="utf-8")

        return make

    def with_bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            sound(path)
            (path / name).write_bytes(change((path / name).read_bytes()))

        return make

    def image(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
        return with_json("zarr.json", lambda content: change(content["attributes"]["ome"]["multiscales"][0]))

    def dataset_path(inner: Any) -> Callable[[Path], object]:
        return image(lambda found: found["datasets"][0].update(path=inner))

    def scale(values: Any) -> Callable[[Path], object]:
        return image(lambda found: found["datasets"][0]["coordinateTransformations"][0].update(scale=values))

    def array(**changes: Any) -> Callable[[Path], object]:
        return with_json("0/zarr.json", lambda content: content.update(changes))

    chunk = "0/c/1/0/0"
    folders: dict[str, tuple[Callable[[Path], object], str]] = {
        "group-empty": (with_bytes("zarr.json", lambda content: b""), "refused"),
        "group-no-json": (with_bytes("zarr.json", lambda content: content[:60]), "refused"),
        "group-not-utf-8": (with_bytes("zarr.json", lambda content: b"\xff\xfe" + content), "refused"),
        "group-deep": (with_bytes("zarr.json", lambda content: b"[" * 100_000), "refused"),
        "group-a-list": (with_bytes("zarr.json", lambda content: b"[1, 2]"), "refused"),
        "group-huge-number": (with_bytes("zarr.json", lambda content: b"1" * 5000), "refused"),
        "array-no-json": (with_bytes("0/zarr.json", lambda content: content[:90]), "refused"),
        "array-not-there": (dataset_path("7"), "refused"),
        "path-above": (dataset_path("../outside"), "refused"),
        "path-far-above": (dataset_path("../../../../etc"), "refused"),
        "path-absolute": (dataset_path("/etc"), "refused"),
        "path-empty": (dataset_path(""), "refused"),
        "path-a-number": (dataset_path(0), "refused"),
        "path-with-zero-byte": (dataset_path("0\0"), "refused"),
        "path-half-a-character": (dataset_path("\ud800"), "refused"),
        "path-by-a-link": (_linked_outside, "refused"),
        "no-datasets": (image(lambda found: found.update(datasets=[])), "refused"),
        "no-multiscales": (with_json("zarr.json", lambda content: content["attributes"]["ome"].clear()), "refused"),
        "unknown-version": (
            with_json("zarr.json", lambda content: content["attributes"]["ome"].update(version="9.9")), "either",
        ),
        "axes-twice": (image(lambda found: found.update(axes=[found["axes"][0]] * 3)), "refused"),
        "axes-too-few": (image(lambda found: found["axes"].pop()), "refused"),
        "axes-unknown": (image(lambda found: found["axes"][0].update(name="q", type="quality")), "refused"),
        "axes-no-list": (image(lambda found: found.update(axes="zyx")), "refused"),
        "scale-zero": (scale([0, 0.7, 0.7]), "refused"),
        "scale-negative": (scale([-1, 0.7, 0.7]), "either"),
        "scale-of-two": (scale([1, 1]), "refused"),
        "scale-of-words": (scale(["a", "b", "c"]), "refused"),
        "scale-nan": (scale([float("nan"), 1, 1]), "refused"),
        "scale-infinite": (scale([float("inf"), 1, 1]), "refused"),
        "unit-unknown": (image(lambda found: found["axes"][0].update(unit="furlong")), "either"),
        "shape-huge": (array(shape=[10**9, 20, 22]), "either"),
        "shape-negative": (array(shape=[-4, 20, 22]), "refused"),
        "shape-zero": (array(shape=[0, 20, 22]), "refused"),
        "chunks-zero": (
            array(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 20, 22]}}), "refused",
        ),
        "chunks-huge": (
            array(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [10**6, 10**6, 10**6]}}), "refused",
        ),
        "type-unknown": (array(data_type="quaternion"), "refused"),
        "type-text": (array(data_type="string"), "refused"),
        "codec-unknown": (array(codecs=[{"name": "bytes"}, {"name": "rot13"}]), "refused"),
        "codec-pickle": (array(codecs=[{"name": "numcodecs.pickle"}]), "refused"),
        "chunk-cut": (with_bytes(chunk, lambda content: content[: len(content) // 2]), "refused"),
        "chunk-empty": (with_bytes(chunk, lambda content: b""), "refused"),
        "chunk-with-a-bit-changed": (with_bytes(chunk, lambda content: flipped(content, "chunk")), "refused"),
        "chunk-noise": (with_bytes(chunk, lambda content: np.random.default_rng(0).bytes(999)), "refused"),
        "an-empty-folder": (lambda path: path.mkdir(), "refused"),
    }  # fmt: skip
    for name, (make, wanted) in folders.items():
        yield BadFile(
            f"{name}.ome.zarr", "volume", "an OME-Zarr that makes no sense", make, wanted, declared=1 << 16
        )


def _linked_outside(path: Path) -> None:
    sound(path)
    (path / "0").rename(path.with_name(f"{path.name}-outside"))
    (path / "0").symlink_to(path.with_name(f"{path.name}-outside"))
