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
    """Random weights: parity needs no meaning."""
    return LoadedModel(build_model("vit_b", seed=0), SPECS["vit_b"], "vit_b-random", "00" * 32)
