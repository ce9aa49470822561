"""How fast and how large the training objective is, beside a plain loop over objects on the same weights.

    python tools/measure_training_speed.py                       # both precisions, 1, 2, 4 and 8 objects a call
    python tools/measure_training_speed.py --repeats 1 --objects 2 --corrections 1      # smoke run
    python tools/measure_training_speed.py --memory              # also the peak memory of batch 4 x 5 objects

An object-step is one object in one prompt round, forward and backward, from an embedding that is there already (frozen
encoder). The plain loop is Algorithm 1 with segment-anything's own prompt encoder and mask decoder, one object a call,
in bf16 under autocast; it makes the same draws, scores the same losses and differentiates once an object and round, as
ours does, so that it is not slowed down by a large graph. Contenders take turns in one process, and each line is the
median over the repeats; run it on an idle machine. The memory is the peak of a process of its own that takes two steps
with the trainer's own loop, as the operating system counts it (everything that is imported included).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.io.samples import AnnotatedImage
from napari_medicosam.training.config import ObjectiveConfig, load_preset
from napari_medicosam.training.losses import soft_dice_loss
from napari_medicosam.training.objective import InteractiveObjective
from napari_medicosam.training.trajectories import Trajectory
from napari_medicosam.weights.loading import LoadedModel, load_weights

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class DiscSample:
    """Bright discs on noise."""

    sample_id: str
    num_objects: int
    side: int
    dataset: str = "discs"
    modality: str = ""

    @property
    def patient(self) -> str:
        return self.sample_id

    def load(self) -> AnnotatedImage:
        rng = np.random.default_rng(int(self.sample_id))
        image = rng.integers(0, 100, (self.side, self.side), dtype=np.uint8)
        labels = np.zeros(image.shape, np.uint8)
        y, x = np.mgrid[: self.side, : self.side] / self.side * 3
        for number in range(self.num_objects):  # a grid of 3 x 3
            row, column = divmod(number, 3)
            labels[(y - row - 0.5) ** 2 + (x - column - 0.5) ** 2 < rng.uniform(0.1, 0.4) ** 2] = 1 + number
        image[labels > 0] += 120
        return AnnotatedImage(image, find_objects(labels))


def started(truths: list[Any], config: ObjectiveConfig) -> list[Trajectory]:
    trajectories = [Trajectory(truth, np.random.default_rng([1, n])) for n, truth in enumerate(truths)]
    for one in trajectories:
        one.start(config, one.rng.random() < config.box_probability)
    return trajectories


def run_ours(
    sam: Any, embedding: torch.Tensor, truths: list[Any], config: ObjectiveConfig, dtype: torch.dtype
) -> None:
    objective = InteractiveObjective(sam, config, 0, dtype)
    count = len(truths) * objective.num_rounds
    objective.run(embedding, started(truths, config), 0, lambda loss: (loss / count).backward())


def run_plain(
    sam: Any, embedding: torch.Tensor, truths: list[Any], config: ObjectiveConfig, dtype: torch.dtype
) -> None:
    side, rounds = sam.image_encoder.img_size, config.num_corrections + 1
    for one in started(truths, config):
        rows, columns = one.truth.shape
        target = torch.from_numpy(one.truth)
        for _ in range(rounds):
            with torch.autocast(embedding.device.type, dtype, enabled=dtype is not torch.float32):
                low_res, iou = ask_plain(sam, embedding, one)
            low_res, iou = low_res.float(), iou.float()
            logits = functional.interpolate(low_res, (side, side), mode="bilinear", align_corners=False)
            logits = logits[0, :, :rows, :columns]
            found = logits.detach() > 0
            true_iou = (found & target).sum((1, 2)) / (found | target).sum((1, 2))
            loss = soft_dice_loss(logits, target).min() + functional.mse_loss(iou[0], true_iou)
            (loss / (len(truths) * rounds)).backward()
            best = int(iou[0].argmax())
            one.correct(found[best].numpy(), config)
            again = one.rng.random() < config.mask_probability
            one.mask_prompt = low_res[0, best].detach() if again else None


def ask_plain(sam: Any, embedding: torch.Tensor, one: Trajectory) -> tuple[torch.Tensor, torch.Tensor]:
    points = None
    if one.points:
        coordinates = torch.tensor([[point.position_yx[::-1] for point in one.points]])
        points = coordinates, torch.tensor([[int(point.positive) for point in one.points]])
    box = None if one.box is None else torch.tensor([[one.box.x0, one.box.y0, one.box.x1, one.box.y1]])
    mask = None if one.mask_prompt is None else one.mask_prompt[None, None]
    sparse, dense = sam.prompt_encoder(points=points, boxes=box, masks=mask)
    low_res, iou = sam.mask_decoder(
        image_embeddings=embedding[None],
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=one.is_ambiguous,
    )
    return low_res, iou


def measure_speed(model: LoadedModel, arguments: argparse.Namespace) -> None:
    sam, side = model.sam, model.spec.model_size
    sam.requires_grad_(False)
    sam.prompt_encoder.requires_grad_(True)
    sam.mask_decoder.requires_grad_(True)
    annotated = DiscSample("0", arguments.objects, side).load()
    pixels = torch.from_numpy(np.repeat(annotated.image[None], 3, axis=0))
    with torch.no_grad():
        embedding = sam.image_encoder(sam.preprocess(pixels)[None])[0]
    truths = [one.in_slice(annotated.size_yx) for one in annotated.objects]

    contenders: dict[str, Any] = {}
    for name in arguments.precision:
        config = partial(ObjectiveConfig, num_corrections=arguments.corrections, mask_probability=0.5)
        contenders[f"plain loop         {name}"] = partial(
            run_plain, sam, embedding, truths, config(), DTYPES[name]
        )
        for size in arguments.objects_per_call:
            contenders[f"ours, {size} in a call {name}"] = partial(
                run_ours, sam, embedding, truths, config(objects_per_call=size), DTYPES[name]
            )
    steps = len(truths) * (arguments.corrections + 1)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(arguments.repeats + 1):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            contender()
            if repeat:  # the first turn warms up
                rates[name].append(steps / (time.perf_counter() - begun))
            sam.zero_grad()
    print(
        f"{model.name}, {torch.get_num_threads()} threads, {len(truths)} objects, {steps} object-steps a turn"
    )
    for name, found in rates.items():
        spread = f"{min(found):.2f} .. {max(found):.2f}"
        print(f"{name}  {statistics.median(found):6.2f} object-steps a second ({spread})")


def peak_memory(model: str, trainable: dict[str, Any], num_threads: int) -> float:
    """GiB; to be called in a process of its own."""
    from napari_medicosam.training.setup import build_learner, make_fabric
    from napari_medicosam.training.trainer import train

    torch.set_num_threads(num_threads)
    changes = {
        "model": model,
        "num_steps": 2,
        "batch_size": 4,
        "small_size": None,
        "small_steps": 0,
        "objective.num_objects": 5,
    }
    config = load_preset("medicosam-lite-cpu", changes | {f"trainable.{k}": v for k, v in trainable.items()})
    samples = [DiscSample(str(n), 9, 512) for n in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        fabric = make_fabric(config, "cpu")
        _, learner = build_learner(config, samples, fabric, Path(folder))
        train(fabric, learner, config, 0, lambda report: True)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="medicosam_lite")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--objects", type=int, default=8, help="in the image, at most 9")
    parser.add_argument("--corrections", type=int, default=4)
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--objects-per-call", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    measure_speed(load_weights(arguments.model, "cpu"), arguments)
    if arguments.memory:
        for what, trainable in (("frozen encoder", {"image_encoder": "frozen"}), ("as the preset says", {})):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(peak_memory, (arguments.model, trainable, torch.get_num_threads()))
            print(f"peak memory, batch 4 x 5 objects, {what}: {found:.2f} GiB")


if __name__ == "__main__":
    main()
