import numpy as np
import pytest

from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.models.build import build_model
from napari_medicosam.models.specs import SPECS
from napari_medicosam.weights.loading import LoadedModel, load_weights

IDENTITY = IntensityMapping("identity")


class DictStore:
    """The simplest embedding store: what a test needs to see what was put and asked."""

    def __init__(self, dtype="float32"):
        self.dtype = np.dtype(dtype)
        self.content, self.puts = {}, []

    def get(self, plane, digest):
        return self.content.get((plane, digest))

    def put(self, plane, digest, embedding):
        self.puts.append(plane)
        self.content[plane, digest] = embedding

    def has(self, plane, digest):
        return (plane, digest) in self.content


@pytest.fixture(scope="session")
def tiny():
    return load_weights("sam_test", "cpu")


@pytest.fixture(scope="session")
def lite():
    return load_weights("litemedsam", "cpu")


@pytest.fixture(scope="session")
def vit_b():
    """Random weights: parity needs no meaning."""
    return LoadedModel(build_model("vit_b", seed=0), SPECS["vit_b"], "vit_b-random", "00" * 32)
