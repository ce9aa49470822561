from pathlib import Path

import pytest

from napari_medicosam.errors import TrainingError
from napari_medicosam.training.config import (
    AugmentationConfig,
    RunConfig,
    config_text,
    load_config,
    load_preset,
    parse_config,
    preset_names,
)

ALL, DECODER, ADAPTERS = ("all", True, True), ("frozen", False, True), ("adapters", True, True)
# corrections, p_box, p_mask, e_sem, (image encoder, prompt encoder, mask decoder): the paper's strategies
STRATEGIES = {
    "medsam": (0, 1.0, 0.0, 0.0, ("all", False, True)),
    "simpleft": (0, 0.5, 0.0, 0.0, ALL),
    "medicosam-pmask0": (8, 0.5, 0.0, 0.0, ALL),
    "medicosam": (8, 0.5, 0.5, 1.0, ALL),
    "sam-med2d": (8, 0.5, 1.0, 0.0, ADAPTERS),
    "ft-sam": (8, 0.5, 1.0, 0.0, DECODER),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_presets_are_the_papers_strategies(name):
    config = load_preset(name)
    objective, parts = config.objective, config.trainable
    assert (
        objective.num_corrections,
        objective.box_probability,
        objective.mask_probability,
        objective.semantic_weight,
        (parts.image_encoder, parts.prompt_encoder, parts.mask_decoder),
    ) == STRATEGIES[name]
    assert (objective.variant, objective.num_objects, objective.iou_weight, objective.bce_weight) == (
        "paper",
        5,
        1,
        0,
    )
    assert (objective.box_outward, objective.box_inward) == (0, 0)
    assert (config.name, config.model) == (name, "vit_b")
    assert (config.num_steps, config.batch_size) == (300_000, 8 * 7)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.encoder_lr, optimizer.schedule, optimizer.decay) == (
        1e-5,
        None,
        "epoch_decay",
        0.9,
    )
    assert (optimizer.clip_norm, optimizer.average, optimizer.warmup_steps) == (None, 0, 0)
    assert config.data.augmentation == AugmentationConfig()


def test_what_only_sam_med2d_does():
    config = load_preset("sam-med2d")
    assert config.architecture == "vit_b_med2d"
    assert config.objective.clicks == (1, 3, 5, 9)
    assert config.objective.click_rule == "errors"
    assert config.objective.prompt_encoder_gradient == "start"
    others = [load_preset(name) for name in STRATEGIES if name != "sam-med2d"]
    assert {one.architecture for one in others} == {None}
    assert {(one.objective.clicks, one.objective.click_rule) for one in others} == {((1,), "signs")}
    assert {one.objective.prompt_encoder_gradient for one in others} == {"always"}


def test_the_recipe_of_the_bundled_weights_corrects_at_least_eight_times():
    config = load_preset("medicosam-lite-cpu")
    assert config.model == "litemedsam"
    assert config.objective.num_corrections >= 8


def test_every_preset_reads_back_to_itself():
    assert set(preset_names()) == {*STRATEGIES, "medicosam-lite-cpu", "medicosam-lite-cpu-full-size"}
    for name in preset_names():
        config = load_preset(name)
        assert parse_config(config_text(config), "text") == config


def test_changes_replace_single_values(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: sam_test\noptimizer: {lr: 0.5, decay: 0.8}\n")
    config = load_config(path, {"optimizer.lr": "1e-4", "data.train": ["somewhere"], "seed": 3})
    assert (config.optimizer.lr, config.optimizer.decay, config.seed) == (1e-4, 0.8, 3)
    assert config.data.train == (Path("somewhere"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 1", "model: Field required"),
        ("model: a\nobjective: {box_probability: 1.5}", "objective.box_probability: .* got 1.5"),
        ("model: a\nobjective: {n_steps: 8}", "objective.n_steps: Extra inputs are not permitted, got 8"),
        ("model: a\nobjective: {clicks: []}", "objective.clicks: .*at least 1"),
        ("model: a\nnum_steps: 0\nbatch_size: many", "num_steps: .* got 0; batch_size: .* got 'many'"),
        ("model: a\nprecision: half", "precision: .*'bf16-mixed'.* got 'half'"),
        ("model: a\ntrainable: {image_encoder: none}", "trainable.image_encoder.* got 'none'"),
        ("model: a\ntrainable: {image_encoder: []}", "trainable.image_encoder.*at least 1"),
        (
            "model: a\ndata: {augmentation: {crop_context: [0.5, 2]}}",
            "data.augmentation: .*crop_context .*got 0.5, 2",
        ),
        ("model: a\ndata: {augmentation: {scale: [1.2, 0.8]}}", "data.augmentation: .*scale wants"),
        (
            "model: a\ntrainable: {image_encoder: frozen, prompt_encoder: false, mask_decoder: false}",
            "config: .*nothing is trainable",
        ),
        (
            "model: a\nsmall_size: 128\nsmall_steps: 5\ntrainable: {image_encoder: frozen}",
            "small_steps needs .* an encoder that learns",
        ),
        ("- a list", "holds a list, wanted keys such as model"),
        ("model: [", "is no YAML"),
    ],
)
def test_errors_name_the_field(content, message):
    with pytest.raises(TrainingError, match=message) as caught:
        parse_config(content, "run.yaml")
    assert str(caught.value).startswith("run.yaml ")


def test_errors_of_files_presets_and_changes(tmp_path):
    with pytest.raises(TrainingError, match="cannot read the training config"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(TrainingError, match=r"unknown preset 'medico': wanted one of ft-sam, .*medsam"):
        load_preset("medico")
    with pytest.raises(TrainingError, match=r"cannot set model.name: model is not a section"):
        load_preset("medsam", {"model.name": 1})


def test_configs_cannot_be_changed_in_place():
    config = RunConfig(model="sam_test")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1
