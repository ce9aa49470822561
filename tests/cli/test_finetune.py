import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from segment_anything import SamPredictor
from typer.testing import CliRunner

from napari_medicosam.cli.finetune import app
from napari_medicosam.errors import FileError, TrainingError
from napari_medicosam.training.config import load_config
from napari_medicosam.weights.loading import load_model
from session_helpers import save_session

RECIPE = """\
name: small
model: sam_test
num_steps: 3
batch_size: 2
checkpoint_every: 2
log_every: 1
objective: {num_objects: 2, num_corrections: 1}
optimizer: {lr: 1.0e-3, schedule: constant}
validation: {every: 2, num_corrections: 1, max_objects: 2}
"""


def write_images(folder, count, size_yx=(40, 50)):
    """Grey images with two discs, as images/ and masks/."""
    y, x = np.mgrid[: size_yx[0], : size_yx[1]]
    rng = np.random.default_rng(count)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        labels = ((y - 15) ** 2 + (x - 14 - number) ** 2 < 64).astype(np.uint8)
        labels[(y - 28) ** 2 + (x - 40) ** 2 < 50] = 2
        image = (rng.integers(0, 90, size_yx) + 120 * (labels > 0)).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"00{number}.png")
        Image.fromarray(labels).save(folder / "masks" / f"00{number}.png")
    return folder


@pytest.fixture
def data(tmp_path):
    """(training, validation)."""
    return write_images(tmp_path / "seen", 3), write_images(tmp_path / "kept", 2)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def finetune(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_gives_weights_that_load_everywhere(data, recipe, tmp_path):
    train, val = data
    out = tmp_path / "run"
    result = finetune(recipe, "--train", train, "--val", val, "--out", out, "--device", "cpu")
    assert result.stdout.split() == [str(out / "best.safetensors")]
    assert "seen: 3 images, 3 with masks, 3 used, 6 objects" in result.stderr
    assert "starting at step 0 of 3" in result.stderr
    assert "step 3/3" in result.stderr
    assert {path.name for path in out.iterdir()} >= {
        "config.yaml", "run.json", "training.csv", "validation.csv", "last.pt", "best.safetensors",
        "last.safetensors", "model_card.md", "tensorboard",
    }  # fmt: skip
    assert [row["step"] for row in table(out / "validation.csv")] == ["0", "2", "3"]
    assert "box_end/kept" in table(out / "validation.csv")[0]
    sam = load_model(out / "best.safetensors", "cpu")
    start = load_model("sam_test", "cpu").state_dict()
    last = load_file(out / "last.safetensors")
    assert any(not torch.equal(start[name], last[name]) for name in start)
    predictor = SamPredictor(sam)
    predictor.set_image(np.zeros((40, 50, 3), np.uint8))
    masks, _, _ = predictor.predict(box=np.array([5, 5, 20, 20]), multimask_output=False)
    assert masks.shape == (1, 40, 50)

    again = finetune(
        recipe, "--train", train, "--val", val, "--out", out, "--set", "num_steps=4", "--device", "cpu"
    )
    assert "going on at step 3 of 4" in again.stderr
    assert [row["step"] for row in table(out / "training.csv")] == ["1", "2", "3", "4"]


def test_without_validation_folders_a_part_of_the_training_data_judges(data, recipe, tmp_path):
    out = tmp_path / "run"
    finetune(recipe, "--train", data[0], "--out", out, "--stop-after", 0, "--device", "cpu")
    assert [row["step"] for row in table(out / "training.csv")] == ["1"]  # the step that had begun
    assert table(out / "validation.csv")[0]["step"] == "0"
    assert (out / "last.safetensors").is_file()
    card = (tmp_path / "run" / "model_card.md").read_text()
    assert "For training (2 images) and validation (1), divided by patient" in card


def test_saved_sessions_are_training_data(data, recipe, tmp_path):
    folder = data[0]
    for path in (folder / "images").iterdir():
        image, labels = (np.asarray(Image.open(folder / name / path.name)) for name in ("images", "masks"))
        save_session(folder / f"{path.stem}.zip", [image[None]], labels[None, None].astype(np.uint16))
    shutil.rmtree(folder / "masks")
    result = finetune(
        recipe, "--train", folder, "--out", tmp_path / "run", "--stop-after", 0, "--device", "cpu"
    )
    assert (
        "seen: 3 images, 3 with masks, 3 used, 6 objects (modality not known; session files)" in result.stderr
    )
    assert "For training (2 images) and validation (1)" in (tmp_path / "run" / "model_card.md").read_text()
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_a_registered_result_is_a_model_with_that_name(data, recipe, tmp_path):
    train, val = data
    words = [recipe, "--train", train, "--val", val, "--device", "cpu", "--register", "mine", "--out"]
    assert "registered as mine" in finetune(*words, tmp_path / "run").stderr
    best = load_file(tmp_path / "run" / "best.safetensors")
    assert all(
        torch.equal(best[name], value) for name, value in load_model("mine", "cpu").state_dict().items()
    )
    with pytest.raises(TrainingError, match="a model of your own has that name"):
        finetune(*words, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_preset_is_changed_by_set(data, tmp_path):
    words = [
        "--preset",
        "simpleft",
        "--train",
        data[0],
        "--val",
        data[1],
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    changes = {
        "model": "sam_test", "num_steps": 1, "batch_size": 1, "optimizer.lr": "1e-4", "validation.max_objects": 1,
        "validation.baseline": "false", "trainable.image_encoder": "[neck]",
    }  # fmt: skip
    finetune(*words, *(word for key, value in changes.items() for word in ("--set", f"{key}={value}")))
    config = load_config(tmp_path / "run" / "config.yaml")
    assert (config.name, config.model, config.num_steps, config.optimizer.lr) == (
        "simpleft",
        "sam_test",
        1,
        1e-4,
    )
    assert config.trainable.image_encoder == ("neck",)
    assert config.data.train == (data[0],)


def test_check_only_reports_and_makes_nothing(data, recipe, tmp_path):
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(data[0] / "masks" / "001.png")
    before = set(tmp_path.rglob("*"))
    result = finetune(recipe, "--train", data[0], "--val", data[1], "--check-only")
    assert "seen: 3 images, 3 with masks, 2 used, 4 objects" in result.stderr
    assert "kept: 2 images" in result.stderr
    assert "seen/001" in result.stderr
    assert not result.stdout
    assert set(tmp_path.rglob("*")) == before


def test_presets_are_listed():
    assert finetune("--list-presets").stdout.split() == [
        "ft-sam", "medicosam", "medicosam-lite-cpu", "medicosam-lite-cpu-full-size", "medicosam-pmask0",
        "medsam", "sam-med2d", "simpleft",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ((), TrainingError, "give either CONFIG.yaml or --preset NAME"),
        (("RECIPE", "--preset", "medsam"), TrainingError, "give either CONFIG.yaml or --preset NAME"),
        (("RECIPE",), TrainingError, "nothing to train on: give --train DIR"),
        (("RECIPE", "--train", "TRAIN"), TrainingError, "no folder for the run: give --out RUN"),
        (("RECIPE", "--train", "nowhere"), FileError, "nowhere does not exist"),
        (("RECIPE", "--set", "seed"), TrainingError, "--set wants SECTION.KEY=VALUE, got 'seed'"),
        (("RECIPE", "--set", "seed=["), TrainingError, "--set 'seed=\\[' is no YAML"),
        (("RECIPE", "--set", "optimizer.rate=1"), TrainingError, "optimizer.rate: Extra inputs"),
        (("--preset", "medico"), TrainingError, "unknown preset 'medico': wanted one of"),
    ],
)
def test_errors_say_what_to_give(data, recipe, words, error, message):
    replaced = [{"RECIPE": recipe, "TRAIN": data[0]}.get(word, word) for word in words]
    with pytest.raises(error, match=message):
        finetune(*replaced)


def test_of_several_processes_only_the_first_one_speaks(data, recipe, monkeypatch):
    from napari_medicosam.cli import finetune as module

    monkeypatch.setattr(module.notes, "quiet", False)
    monkeypatch.setattr(module.results, "quiet", False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not finetune(recipe, "--train", data[0], "--check-only").output


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_finishes_the_step_and_saves(data, recipe, tmp_path):
    """In a process of its own: the entry point, with a signal that comes in the first step."""
    program = (
        "import os, signal\n"
        "from napari_medicosam.cli import finetune\n"
        "interrupt = lambda self, report: report.step == 1 and os.kill(os.getpid(), signal.SIGINT)\n"
        "finetune.TrainingProgress.on_step = interrupt\n"
        "finetune.main()\n"
    )
    words = [recipe, "--train", data[0], "--val", data[1], "--out", tmp_path / "run", "--device", "cpu"]
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "stopped at step 1, saved; the same command goes on from there" in result.stderr
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 1
