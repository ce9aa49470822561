from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_helpers import MemorySample

from napari_medicosam.evaluation.interactive import InteractiveSettings, evaluate
from napari_medicosam.evaluation.validation import InteractiveValidator
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.weights.loading import load_weights

SETTINGS = InteractiveSettings(num_corrections=2, max_objects=3)


@pytest.fixture(scope="module")
def model():
    return load_weights("sam_test", "cpu")


@pytest.fixture
def data():
    """One large and one small data set."""
    return [
        *(MemorySample(f"{n}", "large", num_objects=1) for n in range(3)),
        MemorySample("0", "small", num_objects=2),
    ]


def test_numbers_are_means_over_data_sets_of_means_over_objects(model, data):
    numbers = InteractiveValidator(data, SETTINGS)(model, 5)
    scores = list(evaluate(model, data, SETTINGS))

    def mean(start, number, dataset):
        return np.mean([s.dice for s in scores if (s.start, s.round, s.dataset) == (start, number, dataset)])

    for start in ("point", "box"):
        for name, number in (("start", 0), ("end", 2)):
            both = [mean(start, number, dataset) for dataset in ("large", "small")]
            assert numbers[f"{start}_{name}"] == pytest.approx(np.mean(both))
        assert numbers[f"{start}_end/small"] == pytest.approx(mean(start, 2, "small"))
    four = ["point_start", "point_end", "box_start", "box_end"]
    assert list(numbers)[:5] == ["score", *four]
    assert numbers["score"] == pytest.approx(np.mean([numbers[name] for name in four]))


def test_each_call_asks_the_same_and_encodes_new_weights_anew(model, data, monkeypatch):
    validator = InteractiveValidator(data, SETTINGS)
    made = []
    encode = SliceEncoder.encode_batch
    monkeypatch.setattr(
        SliceEncoder, "encode_batch", lambda self, few: made.append(encode(self, few)) or made[-1]
    )
    first = validator(model, 0)
    assert len(made) == 4
    assert validator(model, 1) == first
    assert len(made) == 4  # equal weights: embeddings of a frozen encoder are kept
    weight = model.sam.image_encoder.patch_embed.proj.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.5)  # what a step of training does: in place
    try:
        validator(replace(model, weights_sha256="0" * 64), 2)
    finally:
        with torch.no_grad():
            weight.copy_(before)
    assert len(made) == 8
    assert not any(np.allclose(old, new) for old, new in zip(made[:4], made[4:], strict=True))
