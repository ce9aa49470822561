import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from evaluation_helpers import MemorySample, Scripted

from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.metrics import dice, iou, surface_distance
from napari_medicosam.core.simulated_prompts import innermost_point, tight_box
from napari_medicosam.errors import InputError
from napari_medicosam.evaluation.interactive import (
    InteractiveSettings,
    evaluate,
    evaluate_image,
    make_service,
    memory_store,
)
from napari_medicosam.evaluation.selection import plan, seeded_generator
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.weights.loading import load_weights

SHORT = InteractiveSettings(num_corrections=2)


@pytest.fixture(scope="module")
def tiny():
    return load_weights("sam_test", "cpu")


@pytest.fixture
def task():
    (found,) = plan([MemorySample("one", num_objects=1)], None)
    return found


def truth_of(task, number=0):
    return task.image.objects[number].in_slice(task.image.size_yx)


def half_of(truth):
    """The left half of the object and as much beside it."""
    return np.roll(truth, -3, axis=1)


def test_clicks_follow_the_errors_and_add_up(tiny, task):
    truth = truth_of(task)
    # by turns too far left and right, so that a click on an older error is no click on the last one
    service = Scripted(tiny, lambda request, number: np.roll(truth, 3 if number % 2 else -3, axis=1))
    evaluate_image(service, task, replace(SHORT, num_corrections=3))
    point, box = service.requests[:4], service.requests[4:]
    assert point[0].prompts.points == (innermost_point(truth),)
    assert all(request.prompts.box is None for request in point)
    assert box[0].prompts.points == ()
    assert {request.prompts.box for request in box} == {tight_box(truth)}
    for requests, results in ((point, service.results[:4]), (box, service.results[4:])):
        for before, result, after in zip(requests, results, requests[1:], strict=False):
            old, new = before.prompts.points, after.prompts.points
            assert new[: len(old)] == old
            positive, negative = new[len(old) :]
            assert (positive.positive, negative.positive) == (True, False)
            missed, excess = truth & ~result.mask, result.mask & ~truth
            assert missed[tuple(map(int, positive.position_yx))]
            assert excess[tuple(map(int, negative.position_yx))]


@pytest.mark.parametrize("mask_prompt", [False, True])
def test_last_logits_are_fed_back_only_when_asked_and_the_view_always(tiny, task, mask_prompt):
    service = Scripted(tiny, lambda request, number: half_of(truth_of(task)))
    evaluate_image(service, task, replace(SHORT, starts=("box",), mask_prompt=mask_prompt))
    first, *corrections = service.requests
    assert first.previous_logits is None
    assert first.previous_view is None
    for before, request in zip(service.results, corrections, strict=False):
        assert request.previous_view == before.view
        if mask_prompt:
            assert np.array_equal(request.previous_logits, before.low_res_logits)
        else:
            assert request.previous_logits is None


def test_scores_are_those_of_the_masks(tiny, task):
    truth = truth_of(task)
    service = Scripted(tiny, lambda request, number: truth if number else half_of(truth))
    first, second, third = evaluate_image(service, task, replace(SHORT, starts=("box",)))
    half = half_of(truth)
    assert (first.dice, first.iou) == (dice(half, truth), iou(half, truth))
    assert first.surface_distance == surface_distance(half, truth)
    assert 0 < first.dice < 1
    assert (second.dice, second.iou, second.surface_distance) == (1.0, 1.0, 0.0)
    assert [s.round for s in (first, second, third)] == [0, 1, 2]
    assert first.object_share == pytest.approx(truth.mean())
    assert (first.model, first.dataset, first.image, first.class_id) == ("sam_test", "discs", "one", 1)


def test_an_image_is_encoded_once_and_nothing_is_decoded_twice(tiny, monkeypatch):
    calls = Counter()
    for owner, name in ((SliceEncoder, "encode"), (SegmentationService, "segment")):
        original = getattr(owner, name)

        def counting(*args, original=original, name=name, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
    samples = [MemorySample("one", num_objects=2), MemorySample("two", num_objects=3)]
    settings = replace(SHORT, seeds=(0, 1, 2))
    scores = list(evaluate(tiny, samples, settings))
    assert len(scores) == 5 * 2 * 3 * 3
    assert calls == {"encode": 2, "segment": 5 * 2 * (1 + 3 * 2)}
    assert [sample.loads for sample in samples] == [1, 1]
    # a store that was filled before is used
    store = memory_store(tiny, MemoryEmbeddingStore(10**8))
    assert list(evaluate(tiny, samples, SHORT, store=store)) == list(
        evaluate(tiny, samples, SHORT, store=store)
    )
    assert calls["encode"] == 4


def test_a_result_does_not_depend_on_what_else_runs(tiny):
    samples = [MemorySample(name) for name in ("one", "two", "three")]
    whole = {(s.image, s.object, s.seed, s.start, s.round): s for s in evaluate(tiny, samples, SHORT)}
    for part in (evaluate(tiny, [MemorySample("two")], SHORT),
                 evaluate(tiny, samples[::-1], replace(SHORT, seeds=(3, 0), starts=("box",))),
                 evaluate(tiny, samples, replace(SHORT, num_corrections=1))):  # fmt: skip
        for score in part:
            if score.seed == 0:
                assert score == whole[score.image, score.object, score.seed, score.start, score.round]


def test_draws_depend_on_seed_image_object_and_start_and_on_nothing_else(tiny, monkeypatch):
    asked = []

    def noting(*parts):
        asked.append(parts)
        return seeded_generator(*parts)

    monkeypatch.setattr("napari_medicosam.evaluation.interactive.seeded_generator", noting)
    list(evaluate(tiny, [MemorySample("one")], replace(SHORT, seeds=(0, 7), num_corrections=0)))
    wanted = {(s, "discs", "one", n, start) for s in (0, 7) for n in (0, 1) for start in ("point", "box")}
    assert set(asked) == wanted
    assert len({seeded_generator(*parts).integers(1 << 40) for parts in wanted}) == len(wanted)


def test_draws_are_the_same_in_every_process():
    code = (
        "from napari_medicosam.evaluation.selection import seeded_generator as g;"
        "print(g(1, 'data', 'ä 001', 2, 'box').integers(1 << 40))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {f"{seeded_generator(1, 'data', 'ä 001', 2, 'box').integers(1 << 40)}\n"}
    assert seeded_generator("a", "bc").integers(1 << 40) != seeded_generator("ab", "c").integers(1 << 40)


def test_wide_boxes_are_drawn_for_each_seed(tiny, task):
    service = Scripted(tiny, lambda request, number: truth_of(task))
    settings = InteractiveSettings(starts=("box",), num_corrections=0, seeds=(0, 1), box_outward=0.3)
    evaluate_image(service, task, settings)
    boxes = {request.prompts.box for request in service.requests}
    tight = tight_box(truth_of(task))
    assert len(boxes) == 2
    assert all(box.y0 < tight.y0 and box.x1 > tight.x1 for box in boxes)


def test_zoom_goes_to_the_service(tiny, task):
    store = memory_store(tiny, MemoryEmbeddingStore(10**8))
    for zoom in ("never", "auto", "always"):
        settings = InteractiveSettings(zoom=zoom)
        rule = make_service(tiny, store, settings).zoom
        assert rule == replace(settings.zoom_rule, policy=zoom)


def test_progress_adds_up_to_the_images(tiny):
    shares = []
    samples = [MemorySample("one", num_objects=3), MemorySample("two", num_objects=0)]
    assert {s.image for s in evaluate(tiny, samples, SHORT, shares.append)} == {"one"}
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts": ()}, "starts must be one or more"),
        ({"starts": ("mask",)}, "point, box"),
        ({"seeds": (1, 1)}, r"got \(1, 1\)"),
        ({"zoom": "sometimes"}, "never, auto, always, got 'sometimes'"),
        ({"num_corrections": -1}, "got -1"),
        ({"max_objects": 0}, "got 0"),
        ({"box_outward": -0.1}, "got -0.1"),
    ],
)
def test_settings_that_cannot_be_run(changes, message):
    with pytest.raises(InputError, match=message):
        InteractiveSettings(**changes)
