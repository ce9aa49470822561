import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import PointPrompt, PromptSet
from napari_medicosam.core.results import frozen_array
from napari_medicosam.errors import InputError
from napari_medicosam.predict import predictor as predictor_module
from napari_medicosam.predict.predictor import RECENT, Embedding, Prediction, Predictor

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


@pytest.fixture
def laid_out(monkeypatch):
    """The embeddings that were laid out for the decoder."""
    seen, tokens_of = [], predictor_module.tokens_of
    monkeypatch.setattr(predictor_module, "tokens_of", lambda image: seen.append(image) or tokens_of(image))
    return seen


def embeddings(tiny, count):
    rng = np.random.default_rng(0)
    return [rng.normal(size=tiny.spec.embedding_shape).astype(np.float16) for _ in range(count)]


def ask(predictor, features):
    return predictor.predict(Embedding(features, (40, 50)), POINT).low_res_logits


def test_an_embedding_is_laid_out_once_and_answers_stay_the_same_to_the_last_bit(tiny, laid_out):
    predictor = Predictor(tiny)
    laid_out.clear()
    one, other = (frozen_array(values) for values in embeddings(tiny, 2))
    first, second = ask(predictor, one), ask(predictor, other)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(ask(predictor, one), first)
    np.testing.assert_array_equal(ask(predictor, other), second)
    assert len(laid_out) == 2
    np.testing.assert_array_equal(ask(Predictor(tiny), one), first)


def test_only_the_last_few_are_remembered(tiny, laid_out):
    predictor = Predictor(tiny)
    laid_out.clear()
    kept = [frozen_array(values) for values in embeddings(tiny, RECENT + 1)]
    for features in kept:
        ask(predictor, kept[0])  # stays the one used last but one
        ask(predictor, features)
    assert len(laid_out) == RECENT + 1
    ask(predictor, kept[0])
    assert len(laid_out) == RECENT + 1
    ask(predictor, kept[1])
    assert len(laid_out) == RECENT + 2


@pytest.mark.parametrize("frozen", [False, True], ids=["the array", "a read-only view of it"])
def test_an_array_that_changes_gets_the_answers_of_what_it_holds(tiny, frozen):
    predictor = Predictor(tiny)
    values, other = embeddings(tiny, 2)
    features = values.view() if frozen else values
    features.setflags(write=not frozen)
    first = ask(predictor, features)
    values[:] = other
    np.testing.assert_array_equal(ask(predictor, features), ask(predictor, frozen_array(other)))
    assert not np.array_equal(ask(predictor, features), first)


def test_a_new_array_in_the_place_of_an_old_one_is_another(tiny):
    predictor = Predictor(tiny)
    for values in embeddings(tiny, 6):
        features = frozen_array(values)
        expected = ask(Predictor(tiny), values)
        np.testing.assert_array_equal(ask(predictor, features), expected)
        del features  # CPython gives its address to the next
