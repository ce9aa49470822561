import itertools

import numpy as np
import pytest
import torch
from training_helpers import (
    MemorySample,
    changed,
    make_learner,
    samples,
    tiny_config,
    train_steps,
    weights_of,
)

from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.object_masks import find_objects
from napari_medicosam.errors import TrainingError
from napari_medicosam.io.samples import AnnotatedImage
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.training import objective
from napari_medicosam.training.optimizer import WeightAverage, learning_rate_factor
from napari_medicosam.training.trainer import train

FROZEN = {"image_encoder": "frozen"}
BUSY = {
    "flip_probability": 0.5,
    "affine_probability": 0.5,
    "crop_probability": 0.5,
    "intensity_probability": 0.5,
}


def gradients_of_a_step(config, folder):
    """Of the first step, by name, and its report."""
    fabric, model, learner = make_learner(config, folder)
    found = {}

    def remember():
        found.update({n: p.grad.clone() for n, p in model.sam.named_parameters() if p.grad is not None})

    learner.optimizer.step = remember
    reports = train_steps(config.model_copy(update={"num_steps": 1}), fabric, learner)
    return found, reports[0]


def test_the_same_seed_gives_the_same_losses_and_weights(tmp_path):
    def run(seed):
        config = tiny_config(seed=seed, data={"augmentation": BUSY}, objective={"mask_probability": 0.5})
        fabric, model, learner = make_learner(config, tmp_path)
        return train_steps(config, fabric, learner), weights_of(model.sam)

    first, second, other = run(0), run(0), run(1)
    assert str(first[0]) == str(second[0])  # NaN is not equal to itself
    assert not changed(first[1], second[1])
    assert first[0][0].mask_loss != other[0][0].mask_loss
    assert [report.step for report in first[0]] == [1, 2, 3]
    assert all(2 <= report.objects <= 4 for report in first[0])


def test_accumulation_equals_the_big_batch(tmp_path):
    settings = {"batch_size": 4, "objective": {"mask_probability": 0.5}}
    whole, report = gradients_of_a_step(tiny_config(**settings), tmp_path)
    assert max(value.abs().max() for value in whole.values()) > 1e-3
    for micro_batch in (1, 3):
        parts, same_report = gradients_of_a_step(tiny_config(micro_batch=micro_batch, **settings), tmp_path)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(
                parts[name], value, atol=1e-6, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
            )
        np.testing.assert_allclose(same_report.mask_loss, report.mask_loss, rtol=1e-5)


def test_the_semantic_term_adds_its_gradients_and_its_loss(tmp_path):
    config = tiny_config(objective={"semantic_weight": 1.0})
    fabric, _, learner = make_learner(config, tmp_path)
    before = {name: value.clone() for name, value in learner.semantic.named_parameters()}
    reports = train_steps(config, fabric, learner)
    assert all(0 < report.semantic_loss <= 1 for report in reports)
    after = dict(learner.semantic.named_parameters())
    assert len(changed(before, after)) > len(before) / 2
    with_term, _ = gradients_of_a_step(config, tmp_path)
    without, report = gradients_of_a_step(tiny_config(), tmp_path)
    name = "image_encoder.patch_embed.proj.weight"
    assert not torch.allclose(with_term[name], without[name], rtol=1e-2)
    assert np.isnan(report.semantic_loss)


class Spoiled:
    """An encoding that gives NaN for one sample."""

    def __init__(self, inner, sample):
        self.inner, self.sample = inner, sample

    def encode(self, draws, views):
        factor = [float("nan") if draw.sample == self.sample else 1.0 for draw in draws]
        return self.inner.encode(draws, views) * torch.tensor(factor).view(-1, 1, 1, 1)


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_sample(tmp_path):
    config = tiny_config()
    fabric, model, learner = make_learner(config, tmp_path)
    learner.encoding = Spoiled(learner.encoding, 2)
    places = itertools.count()
    step = next(n // 2 for n in places if learner.dataset[n][0].sample == 2)
    states = [weights_of(model.sam)]
    with pytest.raises(
        TrainingError, match=rf"loss is nan in step {step + 1} on discs/002: no weight was changed"
    ):
        train(fabric, learner, config, 0, lambda report: states.append(weights_of(model.sam)) or True)
    assert len(states) == step + 1
    assert not changed(states[-1], weights_of(model.sam))


@pytest.mark.filterwarnings("ignore:.*fp16 is not supported on CPU")
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_gradient_that_is_not_finite_stops_before_the_step_and_names_the_samples(tmp_path, precision):
    config = tiny_config(optimizer={"clip_norm": 1.0}, precision=precision)
    fabric, model, learner = make_learner(config, tmp_path)
    names = sorted({learner.names[learner.dataset[place][0].sample] for place in (0, 1)})
    model.sam.mask_decoder.iou_token.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights_of(model.sam)
    with pytest.raises(TrainingError, match=f"gradient is not finite on a batch of {', '.join(names)}"):
        train_steps(config, fabric, learner)
    assert not changed(before, weights_of(model.sam))


def test_a_semantic_loss_that_is_not_finite_stops_too(tmp_path):
    config = tiny_config(objective={"semantic_weight": 1.0})
    fabric, model, learner = make_learner(config, tmp_path)
    learner.semantic.forward = lambda embeddings, targets: embeddings.sum() * float("nan")
    before = weights_of(model.sam)
    with pytest.raises(TrainingError, match="loss is nan in step 1 on discs/"):
        train_steps(config, fabric, learner)
    assert not changed(before, weights_of(model.sam))


def test_gradients_are_clipped(tmp_path):
    free, report = gradients_of_a_step(tiny_config(), tmp_path)
    norm = torch.stack([value.norm() for value in free.values()]).norm()
    assert report.gradient_norm == pytest.approx(float(norm), rel=1e-4)
    clipped, same = gradients_of_a_step(tiny_config(optimizer={"clip_norm": float(norm) / 4}), tmp_path)
    assert same.gradient_norm == pytest.approx(float(norm), rel=1e-4)
    shorter = torch.stack([value.norm() for value in clipped.values()]).norm()
    assert float(shorter) == pytest.approx(float(norm) / 4, rel=1e-3)


def calls_of_encoder(model):
    counted = []
    model.sam.image_encoder.register_forward_hook(lambda *_: counted.append(1))
    return counted


def test_a_frozen_encoder_encodes_each_version_once(tmp_path):
    config = tiny_config(trainable=FROZEN, num_steps=6, data={"variants": 2, "augmentation": BUSY})
    data = samples(3)
    fabric, model, learner = make_learner(config, tmp_path, data)
    counted = calls_of_encoder(model)
    first = train_steps(config, fabric, learner)  # 12 draws of 3 images in 2 versions
    assert len(counted) == 6
    fabric, model, learner = make_learner(config, tmp_path, data)
    counted = calls_of_encoder(model)
    again = train_steps(config, fabric, learner)
    assert not counted
    assert str(again) == str(first)  # stored or new, embeddings are rounded alike


def test_stored_embeddings_are_the_encoders_up_to_float16(tmp_path):
    _, _, learner = make_learner(tiny_config(trainable=FROZEN), tmp_path)
    _, _, unstored = make_learner(tiny_config(), tmp_path)
    draws, views = zip(*(learner.dataset[place] for place in range(4)), strict=True)
    stored, exact = learner.encoding.encode(draws, views), unstored.encoding.encode(draws, views)
    assert not stored.requires_grad
    assert exact.requires_grad
    torch.testing.assert_close(stored, exact.detach(), atol=1e-3, rtol=1e-3)
    assert torch.equal(stored, stored.half().float())


class UprightSample(MemorySample):
    """As high as the model's input and not as wide, so that it is padded but not resized."""

    def load(self):
        image = np.random.default_rng(0).integers(0, 255, (64, 40), dtype=np.uint8)
        labels = np.zeros((64, 40), np.uint8)
        labels[10:30, 5:25] = 1
        return AnnotatedImage(image, find_objects(labels))


@pytest.mark.parametrize("trainable", [{}, FROZEN], ids=["learning", "frozen"])
def test_the_encoder_sees_what_it_will_see_in_inference(tmp_path, trainable):
    data = [UprightSample("one")]
    _, model, learner = make_learner(tiny_config(trainable=trainable), tmp_path, data)
    draw, view = learner.dataset[0]
    found = learner.encoding.encode([draw], [view])[0].detach().numpy()
    expected = SliceEncoder(model, IntensityMapping("identity")).encode(data[0].load().image)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "trainable", "learns"),
    [
        ("sam_test", {}, ("image_encoder.", "prompt_encoder.", "mask_decoder.")),
        ("sam_test", {"image_encoder": "frozen", "prompt_encoder": False}, ("mask_decoder.",)),
        ("sam_test", {"image_encoder": "frozen"}, ("prompt_encoder.", "mask_decoder.")),
        ("sam_test", {"prompt_encoder": False}, ("image_encoder.", "mask_decoder.")),
        (
            "sam_test",
            {"image_encoder": ("neck", "blocks.1"), "mask_decoder": False},
            ("image_encoder.neck.", "image_encoder.blocks.1.", "prompt_encoder."),
        ),
        (
            "sam_test_adapters",
            {"image_encoder": "adapters"},
            (".Adapter.", "prompt_encoder.", "mask_decoder."),
        ),
    ],
    ids=["all", "decoder", "frozen-encoder", "no-prompt-encoder", "prefixes", "adapters"],
)
def test_only_what_is_named_learns(tmp_path, model, trainable, learns):
    config = tiny_config(model=model, trainable=trainable, num_steps=2, objective={"mask_probability": 1.0})
    fabric, loaded, learner = make_learner(config, tmp_path)
    before = weights_of(loaded.sam)
    train_steps(config, fabric, learner)
    moved = changed(before, weights_of(loaded.sam))
    for part in learns:
        assert any(part in name for name in moved), part
    others = [name for name in moved if not any(part in name for part in learns)]
    assert not others


@pytest.mark.parametrize(
    ("choice", "message"),
    [(("nowhere",), "prefix 'nowhere' names no parameter"), ("adapters", "adapters names no")],
)
def test_a_choice_that_names_nothing_is_refused(tmp_path, choice, message):
    with pytest.raises(TrainingError, match=message):
        make_learner(tiny_config(trainable={"image_encoder": choice}), tmp_path)


def test_steps_without_objects_change_nothing(tmp_path):
    config = tiny_config(data={"min_pixels": 4000})
    fabric, model, learner = make_learner(config, tmp_path)
    before = weights_of(model.sam)
    reports = train_steps(config, fabric, learner)
    assert [report.objects for report in reports] == [0, 0, 0]
    assert np.isnan(reports[0].mask_loss).all()
    assert not changed(before, weights_of(model.sam))


def factors(steps_per_epoch=10, **optimizer):
    config = tiny_config(num_steps=100, optimizer=optimizer)
    return [learning_rate_factor(step, config, steps_per_epoch) for step in range(100)]


def test_schedules():
    assert factors(schedule="constant") == [1.0] * 100
    decayed = factors(schedule="epoch_decay", decay=0.9)
    assert decayed[9:11] == [1.0, 0.9]
    assert decayed[99] == pytest.approx(0.9**9)
    cosine = factors(schedule="cosine")
    assert cosine[0] == 1.0
    assert cosine[50] == pytest.approx(0.5)
    assert cosine == sorted(cosine, reverse=True)
    trapezoid = factors(schedule="trapezoid", cooldown_steps=20, warmup_steps=4)
    assert trapezoid[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert trapezoid[80:82] == [1.0, 0.95]
    assert trapezoid[99] == pytest.approx(0.05)


def test_rates_of_encoder_and_decoder_are_scaled_together(tmp_path):
    config = tiny_config(num_steps=2, optimizer={"encoder_lr": 1e-4, "schedule": "epoch_decay", "decay": 0.5})
    fabric, _, learner = make_learner(config, tmp_path, samples(2))  # an epoch is one step
    reports = train_steps(config, fabric, learner)
    assert [report.lr for report in reports] == [1e-3, 5e-4]
    assert {group["lr"] for group in learner.optimizer.param_groups} == {5e-5, 5e-4}
    assert {group["weight_decay"] for group in learner.optimizer.param_groups} == {0.01, 0.0}


def test_the_average_follows_and_is_only_borrowed():
    parameter = torch.nn.Parameter(torch.zeros(2))
    average = WeightAverage({"x": parameter}, 0.9)
    own = torch.tensor([1.0, 2.0])
    with torch.no_grad():
        parameter.copy_(own)
    average.update(1)
    torch.testing.assert_close(average.values["x"], own * (1 - 1 / 10))
    average.update(1000)
    torch.testing.assert_close(average.values["x"], own * (1 - 0.9 / 10))
    kept = average.values["x"].clone()
    with average.applied():
        assert torch.equal(parameter, kept)
    assert torch.equal(parameter, own)
    at_once = WeightAverage({"x": parameter}, 0.0)
    at_once.update(500)
    assert torch.equal(at_once.values["x"], parameter)


@pytest.mark.filterwarnings("ignore:.*fp16 is not supported on CPU")
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_trains_nearly_alike(tmp_path, precision, monkeypatch):
    decode, dtypes = objective.decode, set()
    monkeypatch.setattr(objective, "decode", lambda *a, **k: dtypes.add(k["dtype"]) or decode(*a, **k))
    _, exact = gradients_of_a_step(tiny_config(), tmp_path)
    assert dtypes == {torch.float32}
    dtypes.clear()
    config = tiny_config(precision=precision)
    fabric, model, learner = make_learner(config, tmp_path)
    before = weights_of(model.sam)
    reports = train_steps(config, fabric, learner)
    assert dtypes == {torch.bfloat16}  # on a CPU; on a GPU, what was asked for
    assert reports[0].mask_loss[0] == pytest.approx(exact.mask_loss[0], rel=0.02)
    assert changed(before, weights_of(model.sam))
    assert {value.dtype for value in model.sam.parameters()} == {torch.float32}
