"""Ours beside the eager predictor, and micro-sam where it is there: encoding, prompts, propagation, the first mask."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medicosam.benchmark.roofline import MatrixProduct, has_bf16
from napari_medicosam.benchmark.rows import EAGER, MICRO_SAM, OURS, SINGLE, Row
from napari_medicosam.benchmark.sides import Eager, MicroSam, Ours
from napari_medicosam.benchmark.timing import Side, always, interleave
from napari_medicosam.cache.keys import slice_digest
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.cache.store import TieredEmbeddingStore, ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.predict.propagation import REFERENCE_SETTINGS, propagate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medicosam.benchmark.machine import Machine
    from napari_medicosam.benchmark.scene import Scene
    from napari_medicosam.benchmark.settings import BenchSettings
    from napari_medicosam.weights.loading import LoadedModel

_POOL_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class Bench:
    """What is measured, and on what.

    Attributes:
        settings: how much of it.
        scene: scan and prompts.
        model: of all sides.
        machine: where.
    """

    settings: BenchSettings
    scene: Scene
    model: LoadedModel
    machine: Machine

    @cached_property
    def ours(self) -> Ours:
        """The service."""
        return Ours(self.model, resolve_intensity(self.model.window, self.scene.array), self.settings.runtime)

    @cached_property
    def eager(self) -> Eager:
        """The baseline."""
        return Eager(self.model, self.ours.mapping)

    @cached_property
    def micro_sam(self) -> tuple[MicroSam | None, str]:
        """The peer, or None and why."""
        return MicroSam.if_installed(self.model, self.eager, self.ours.mapping)

    @cached_property
    def planes(self) -> tuple[SlicePlane, ...]:
        """Neighbouring slices along axis 0, embedded by both sides; those that a propagation fills."""
        number, depth = self.settings.slices, self.settings.scan_shape[0]
        first = min(max(1, self.scene.index - number // 2), depth - 1 - number)
        planes = tuple(SlicePlane(0, first + k) for k in range(number))
        for plane in planes:
            self.ours.service.embed(plane, self.pixels(plane))
            self.eager.remember(plane, self.pixels(plane))
        return planes

    def pixels(self, plane: SlicePlane) -> NDArray[Any]:
        """Of a slice of the scene."""
        return self.scene.stack(plane.axis).pixels(plane.index)

    def ask(self, prompts: PromptSet, logits: NDArray[np.float32] | None = None) -> SegmentResult:
        """The service's answer."""
        return self.ours.service.segment(SegmentRequest(self.pixels(prompts.plane), prompts, logits))


def measure_encode(bench: Bench) -> Iterator[Row]:
    """A slice that was never seen, to its embedding; and in the same rounds what the machine could do."""
    depth = bench.settings.scan_shape[0]

    def plane(number: int) -> SlicePlane:
        return SlicePlane(0, (bench.scene.index + number) % depth)

    def ours(number: int) -> Any:
        return partial(bench.ours.forgetful.embed, plane(number), bench.pixels(plane(number)))

    sides: dict[str, Side] = {
        OURS: ours,
        EAGER: lambda number: partial(bench.eager.encode, bench.pixels(plane(number))),
    }
    peer, _ = bench.micro_sam
    if peer is not None:
        sides[MICRO_SAM] = lambda number: partial(peer.encode, bench.pixels(plane(number)))
    products = _matrix_products(bench)
    taken = interleave(
        sides | {name: always(product) for name, product in products.items()}, bench.settings.repeats
    )
    yield Row(name="encode", samples={side: taken[side] for side in sides})
    for name, product in products.items():
        yield Row(name=name, samples={OURS: tuple(product.flops / seconds for seconds in taken[name])})


def _matrix_products(bench: Bench) -> dict[str, MatrixProduct]:
    size, device = bench.settings.matmul_size, bench.model.sam.device
    products = {"matmul_fp32": MatrixProduct(size, torch.float32, device)}
    if has_bf16(bench.machine, device):
        products["matmul_bf16"] = MatrixProduct(size, torch.bfloat16, device)
    return products


def measure_prompts(bench: Bench) -> Iterator[Row]:
    """Masks from prompts on a slice whose embedding is in memory, and how much those of the two sides agree."""
    plane = bench.planes[len(bench.planes) // 2]
    bench.eager.look_at(plane)
    point, box = bench.scene.prompts(plane)
    logits = bench.eager.predict(box)[2][0]
    peer, _ = bench.micro_sam
    peers = {} if peer is None else {"point": partial(peer.point, point), "box": partial(peer.box, box)}
    for name, prompts, fed_back in (("point", point, None), ("box", box, None), ("mask", box, logits)):
        sides = {
            OURS: always(partial(bench.ask, prompts, fed_back)),
            EAGER: always(partial(bench.eager.predict, prompts, fed_back)),
        }
        if name in peers:
            sides[MICRO_SAM] = always(peers[name])
        taken = interleave(sides, bench.settings.repeats)
        yield Row(name=f"prompt_{name}", samples=taken)
    yield from _agreement(bench)


def _agreement(bench: Bench) -> Iterator[Row]:
    found: dict[str, list[float]] = {"iou_point": [], "iou_box": [], "iou_mask": [], "iou_int8": []}
    small = MemoryEmbeddingStore(_POOL_BYTES).bind(bench.ours.key_int8)
    coarse = bench.ours.new_service(small)
    for plane in bench.planes:
        pixels = bench.pixels(plane)
        small.put(plane, slice_digest(pixels), bench.ours.service.embed(plane, pixels).features)
        bench.eager.look_at(plane)
        point, box = bench.scene.prompts(plane)
        boxed, _, low_res = bench.eager.predict(box)
        for name, prompts, fed_back in (
            ("iou_point", point, None),
            ("iou_box", box, None),
            ("iou_mask", box, low_res[0]),
        ):
            masks, predictions, _ = bench.eager.predict(prompts, fed_back)
            found[name].append(iou(bench.ask(prompts, fed_back).mask, masks[predictions.argmax()]))
        found["iou_int8"].append(iou(coarse.segment(SegmentRequest(pixels, box)).mask, boxed[0]))
    for name, values in found.items():
        note = f"lowest of {len(values)} slices: {min(values):.4f}"
        yield Row(name=name, samples={OURS: tuple(values)}, note=note)


def measure_batch(bench: Bench) -> Iterator[Row]:
    """Boxes of several objects on one slice: ours together, theirs and ours one by one."""
    plane = bench.scene.middle(0)
    pixels = bench.pixels(plane)
    bench.eager.remember(plane, pixels)
    bench.ours.service.embed(plane, pixels)
    bench.eager.look_at(plane)
    prompts = [PromptSet(plane, box=box) for box in bench.scene.boxes]
    service = bench.ours.service

    def requests() -> list[SegmentRequest]:
        return [SegmentRequest(pixels, one, object_id=number + 1) for number, one in enumerate(prompts)]

    sides = {
        OURS: always(lambda: service.segment_many(requests())),
        EAGER: always(lambda: [bench.eager.predict(one) for one in prompts]),
        SINGLE: always(lambda: [service.segment(one) for one in requests()]),
    }
    peer, _ = bench.micro_sam
    if peer is not None:
        boxes_xyxy = np.array([(box.x0, box.y0, box.x1, box.y1) for box in bench.scene.boxes])
        sides[MICRO_SAM] = always(partial(peer.batch, boxes_xyxy))
    yield Row(name="batch", samples=interleave(sides, bench.settings.repeats))


def measure_propagation(bench: Bench) -> Iterator[Row]:
    """From two masks over the slices between them, all embedded: by mask and box, as the paper's evaluation does."""
    planes = bench.planes
    ends = [replace(planes[0], index=planes[0].index - 1), replace(planes[-1], index=planes[-1].index + 1)]
    masks = [bench.scene.organ[end.index] for end in ends]
    anchors = [_drawn(end, mask) for end, mask in zip(ends, masks, strict=True)]
    stack = bench.scene.stack()
    bounds = (ends[0].index, ends[1].index + 1)

    def ours() -> list[SegmentResult]:
        return list(propagate(bench.ours.service, stack, anchors, REFERENCE_SETTINGS, z_range=bounds))

    sides: dict[str, Side] = {
        OURS: always(ours),
        EAGER: always(partial(bench.eager.propagate, (masks[0], masks[1]), planes)),
    }
    peer, why = bench.micro_sam
    if peer is not None:
        drawn = np.zeros((len(planes) + 2, *bench.settings.scan_shape[1:]), np.uint8)
        drawn[0], drawn[-1] = masks
        for end in ends:
            bench.eager.remember(end, bench.pixels(end))
        seen = [ends[0], *planes, ends[1]]
        sides[MICRO_SAM] = lambda _: partial(peer.propagate, drawn.copy(), seen)
    taken = interleave(sides, bench.settings.repeats)
    a_slice = {side: tuple(seconds / len(planes) for seconds in values) for side, values in taken.items()}
    yield Row(name="propagation", samples=a_slice, note=why)


def _drawn(plane: SlicePlane, mask: NDArray[np.bool_]) -> SegmentResult:
    """An annotated slice whose mask is not the model's."""
    return SegmentResult(plane, mask, Region.of_mask(mask), float("nan"), np.zeros((1, 1), np.float32))


def measure_first_mask(bench: Bench) -> Iterator[Row]:
    """From a scan in memory that was never seen and a loaded model to the first mask, on each plane.

    Ours measures the intensities, makes service and store (memory and disk), encodes the slice, stores it and asks.
    What of this is neither encoding nor asking is the overhead; it is measured with the embedding in memory, as the
    difference of two whole encodes would say more about the encoder's bad moments.
    """
    for axis in range(3):
        plane = bench.scene.middle(axis)
        _, box = bench.scene.prompts(plane)
        features = bench.ours.service.embed(plane, bench.pixels(plane)).features
        with tempfile.TemporaryDirectory() as folder:
            whole: dict[str, Side] = {
                OURS: partial(_first_mask, bench, Path(folder, "fresh"), box, None),
                EAGER: always(partial(_first_eager_mask, bench, box)),
            }
            taken = interleave(whole, bench.settings.slow_repeats)
            yield Row(name=f"first_mask_axis{axis}", samples=taken)
            parts: dict[str, Side] = {
                "all": partial(_first_mask, bench, Path(folder, "encoded"), box, features),
                "asking": always(partial(bench.ask, box)),
            }
            taken = interleave(parts, bench.settings.repeats)
        beyond = tuple(a - b for a, b in zip(taken["all"], taken["asking"], strict=True))
        yield Row(name=f"first_mask_overhead_axis{axis}", samples={OURS: beyond})


def _first_mask(
    bench: Bench, folder: Path, prompts: PromptSet, features: NDArray[Any] | None, number: int
) -> Any:
    """All there is to do, on disk in a new folder a round; with `features` the slice need not be encoded."""
    plane, key = prompts.plane, bench.ours.key
    pixels = bench.pixels(plane)
    memory = MemoryEmbeddingStore(_POOL_BYTES).bind(key)
    if features is not None:
        memory.put(plane, slice_digest(pixels), features)

    def act() -> SegmentResult:
        resolve_intensity(bench.model.window, bench.scene.array)
        disk = ZarrEmbeddingStore(folder / str(number), key, bench.settings.scan_shape)
        service = bench.ours.new_service(TieredEmbeddingStore(memory, disk))
        return service.segment(SegmentRequest(pixels, prompts))

    return act


def _first_eager_mask(bench: Bench, prompts: PromptSet) -> None:
    resolve_intensity(bench.model.window, bench.scene.array)
    bench.eager.encode(bench.pixels(prompts.plane))
    bench.eager.predict(prompts)
