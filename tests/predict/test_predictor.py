import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import PointPrompt, PromptSet
from napari_medicosam.errors import InputError
from napari_medicosam.predict.predictor import Embedding, Prediction, Predictor

POINT = PromptSet(SlicePlane(0, 0), (PointPrompt((5, 5)),))


@pytest.fixture
def predictor(tiny):
    return Predictor(tiny)


@pytest.fixture
def embedding(tiny):
    return Embedding(np.zeros(tiny.spec.embedding_shape, np.float16), (40, 50))


def test_an_ambiguous_point_gets_three_candidates_and_the_best_by_predicted_iou(predictor, embedding):
    assert len(predictor.predict(embedding, POINT).masks) == 3
    candidates = Prediction(
        np.zeros((3, 2, 2), bool), np.array([0.2, 0.9, 0.5], np.float32), np.zeros((3, 2, 2))
    )
    assert candidates.best == 1


def test_wrong_arrays_say_what_was_wanted(predictor, embedding):
    with pytest.raises(
        InputError, match=r"embedding has shape \(1, 2, 3\), wanted \(32, 4, 4\) for sam_test"
    ):
        predictor.predict(Embedding(np.zeros((1, 2, 3), np.float16), (40, 50)), POINT)
    with pytest.raises(InputError, match=r"wanted \(16, 16\)"):
        predictor.predict(embedding, POINT, np.zeros((256, 256), np.float32))
    with pytest.raises(InputError, match="outside"):
        predictor.predict(embedding, PromptSet(SlicePlane(0, 0), (PointPrompt((41, 5)),)))
    with pytest.raises(InputError, match="no prompt"):
        predictor.predict(embedding, PromptSet(SlicePlane(0, 0)))
    both = PromptSet(SlicePlane(0, 0), mask=np.ones((40, 50), bool))
    with pytest.raises(InputError, match="one mask prompt"):
        predictor.predict(embedding, both, np.zeros((16, 16), np.float32))
