"""Annotated images, configs and runs that are small enough to train in a test."""

from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric

from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.io.samples import AnnotatedImage
from napari_medicosam.training.config import RunConfig
from napari_medicosam.training.setup import build_learner
from napari_medicosam.training.trainer import train


@dataclass
class MemorySample:
    """Two bright discs on noise, 40 x 56 pixels; counts how often it is loaded."""

    sample_id: str
    dataset: str = "discs"
    modality: str = "MRI"
    loads: int = 0

    @property
    def patient(self):
        return self.sample_id

    def load(self):
        self.loads += 1
        seed = sum(map(ord, self.dataset + self.sample_id))
        image = np.random.default_rng(seed).integers(0, 100, (40, 56), dtype=np.uint8)
        y, x = np.mgrid[:40, :56]
        labels = np.zeros(image.shape, np.uint8)
        for number, centre in enumerate((14, 40)):
            labels[(y - 18 - seed % 5) ** 2 + (x - centre) ** 2 < (6 + seed % 4) ** 2] = 1 + number
        image[labels > 0] += 120
        return AnnotatedImage(image, find_objects(labels))


def samples(count=4, dataset="discs"):
    return [MemorySample(f"{number:03}", dataset) for number in range(count)]


def tiny_config(**changes):
    """Two images of two objects a step, one correction; sections are given as dictionaries."""
    content = {
        "model": "sam_test", "num_steps": 3, "batch_size": 2, "checkpoint_every": 2, "log_every": 1,
        "objective": {"num_objects": 2, "num_corrections": 1},
        "optimizer": {"lr": 1e-3, "schedule": "constant"},
        "validation": {"every": 2},
    }  # fmt: skip
    for name, value in changes.items():
        content[name] = content.get(name, {}) | value if isinstance(value, dict) else value
    return RunConfig.model_validate(content)


def cpu_fabric(precision="32-true"):
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    fabric.launch()
    return fabric


def make_learner(config, folder, data=None):
    """(fabric, model, learner)."""
    fabric = cpu_fabric(config.precision)
    return fabric, *build_learner(config, samples() if data is None else data, fabric, folder / "embeddings")


def train_steps(config, fabric, learner, first_step=0):
    """Reports of all steps."""
    reports = []
    train(fabric, learner, config, first_step, lambda report: reports.append(report) or True)
    return reports


def weights_of(sam):
    return {name: value.clone() for name, value in sam.state_dict().items()}


def changed(before, after):
    """Names of tensors that are not the same bit for bit."""
    return {name for name in before if not torch.equal(before[name], after[name])}
