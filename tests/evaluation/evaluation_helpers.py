"""Annotated images and models that need no files."""

from dataclasses import dataclass

import numpy as np

from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.core.results import Region, SegmentResult, frozen_array
from napari_medicosam.evaluation.interactive import ObjectScore
from napari_medicosam.io.samples import AnnotatedImage


@dataclass
class MemorySample:
    """Discs in noise; counts how often it is loaded."""

    sample_id: str
    dataset: str = "discs"
    modality: str = "MRI"
    num_objects: int = 2
    loads: int = 0

    @property
    def patient(self):
        return self.sample_id

    def load(self):
        self.loads += 1
        seed = sum(map(ord, self.dataset + self.sample_id))
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 100, (48, 16 + 16 * max(self.num_objects, 1)), dtype=np.uint8)
        labels = np.zeros(image.shape, np.uint8)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        for number in range(self.num_objects):
            radius = 4 + number % 4
            labels[(y - 14 - seed % 20) ** 2 + (x - 16 - 16 * number) ** 2 < radius**2] = 1 + number % 2
        image[labels > 0] += 100
        return AnnotatedImage(image, find_objects(labels))


class Scripted:
    """A service that answers with what a function of (request, number of the request) says is the mask."""

    def __init__(self, model, mask_of):
        self.model, self._mask_of = model, mask_of
        self.requests, self.results = [], []

    def segment(self, request):
        mask = self._mask_of(request, len(self.requests))
        logits = np.full((16, 16), len(self.requests), np.float32)
        view = Region(0, 0, 20, 20 + len(self.requests))
        result = SegmentResult(
            request.plane, mask, Region.of_mask(mask), 0.5, frozen_array(logits), view=view
        )
        self.requests.append(request)
        self.results.append(result)
        return result


def score(**changes):
    """A row; what is not given does not matter."""
    row = {
        "model": "a", "dataset": "d", "modality": "CT", "image": "001", "object": 0, "class_id": 1,
        "object_share": 0.1, "seed": 0, "start": "box", "mask_prompt": False, "zoom": "never", "round": 0,
        "dice": 0.5, "iou": 0.4, "surface_distance": 2.0, "iou_prediction": 0.6,
    }  # fmt: skip
    return ObjectScore(**(row | changes))
