import pytest

from napari_medicosam.models.build import build_model
from napari_medicosam.models.specs import SPECS
from napari_medicosam.weights.loading import LoadedModel, load_weights


@pytest.fixture(scope="session")
def tiny():
    return load_weights("sam_test", "cpu")


@pytest.fixture(scope="session")
def lite():
    return load_weights("medicosam_lite", "cpu")


@pytest.fixture(scope="session")
def vit_b():
    """Random weights: parity needs no meaning. Two blocks with windows and a global one say what all twelve do."""
    sam = build_model("vit_b", seed=0)
    sam.image_encoder.blocks = sam.image_encoder.blocks[:3]
    return LoadedModel(sam, SPECS["vit_b"], "vit_b-random", "00" * 32)
