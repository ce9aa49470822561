"""Our own costs beside the model's: the embedding store, processes and memory."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from napari_medicosam.benchmark.processes import (
    embedding_peak_bytes,
    import_seconds,
    load_in_process,
    start_command,
    start_python,
    write_large_image,
)
from napari_medicosam.benchmark.rows import OURS, Row
from napari_medicosam.benchmark.timing import Side, always, interleave
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medicosam.benchmark.parts import Bench
    from napari_medicosam.cache.store import EmbeddingStore

_POOL_BYTES = 1 << 30


def measure_storage(bench: Bench) -> Iterator[Row]:
    """Embeddings of real slices written and read again; files just written are still in the system's cache."""
    repeats = bench.settings.repeats
    embeddings = [bench.ours.service.embed(plane, bench.pixels(plane)).features for plane in bench.planes]
    shape = (repeats + 1, *bench.settings.scan_shape[1:])

    def write(store: EmbeddingStore, number: int) -> Any:
        return partial(store.put, *_address(number), embeddings[number % len(embeddings)])

    def read(store: EmbeddingStore, number: int) -> Any:
        return partial(store.get, *_address(number))

    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, EmbeddingStore] = {
            "disk": ZarrEmbeddingStore(Path(folder, "float16"), bench.ours.key, shape),
            "disk_int8": ZarrEmbeddingStore(Path(folder, "int8"), bench.ours.key_int8, shape),
            "memory": MemoryEmbeddingStore(_POOL_BYTES).bind(bench.ours.key),
        }
        for name, action in (("write", write), ("read", read)):
            sides: dict[str, Side] = {
                f"{name}_{where}": partial(action, store) for where, store in stores.items()
            }
            for row, samples in interleave(sides, repeats).items():
                yield Row(name=row, samples={OURS: samples})
        for row, name in (("bytes_on_disk", "float16"), ("bytes_on_disk_int8", "int8")):
            files = [path for path in Path(folder, name).rglob("*") if path.is_file()]
            num_bytes = sum(path.stat().st_size for path in files)
            yield Row(name=row, samples={OURS: (num_bytes / (repeats + 1),)})


def _address(number: int) -> tuple[SlicePlane, bytes]:
    """Where an embedding lies; no two rounds share a digest, so that memory keeps all of them."""
    return SlicePlane(0, number), (number + 1).to_bytes(16, "little")


def measure_processes(bench: Bench, model: str) -> Iterator[Row]:
    """Start and import. This process has read the same files, so they are in the system's cache.

    Args:
        bench: what is measured.
        model: name or checkpoint file of its model.
    """
    repeats, device = bench.settings.slow_repeats, str(bench.model.sam.device)
    starts = {"start": always(start_command), "python": always(start_python)}
    taken = interleave(starts, repeats, warm_up=False)
    note = f"an interpreter that does nothing: {median(taken['python']):.3f} s"
    yield Row(name="start", samples={OURS: taken["start"]}, note=note)
    yield Row(name="import", samples={OURS: tuple(import_seconds() for _ in range(repeats))})
    loading = interleave({OURS: always(partial(load_in_process, model, device))}, repeats, warm_up=False)
    yield Row(name="ready", samples=loading)


def measure_memory(bench: Bench, model: str) -> Iterator[Row]:
    """Peak of `medicosam embed` on an OME-Zarr that is larger than what it is meant to need; arguments as above."""
    settings = bench.settings
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "large.ome.zarr"
        write_large_image(image, settings.memory_shape, bench.scene)
        peaks = tuple(
            embedding_peak_bytes(
                image,
                Path(folder) / f"embeddings-{number}",
                model,
                str(bench.model.sam.device),
                settings.memory_slices,
            )
            for number in range(settings.memory_repeats)
        )
    shape = " x ".join(map(str, settings.memory_shape))
    yield Row(
        name="peak_memory",
        samples={OURS: peaks},
        note=f"medicosam embed, {settings.memory_slices} slices of {shape}",
    )
