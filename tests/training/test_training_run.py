import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from run_process import judge
from safetensors.torch import load_file, save_file
from training_helpers import cpu_fabric, samples, tiny_config

from napari_medicosam.errors import TrainingError
from napari_medicosam.models.build import build_model
from napari_medicosam.training.checkpoint import load_state
from napari_medicosam.training.config import load_config
from napari_medicosam.training.record import append_row, forget_after
from napari_medicosam.training.run import Hooks, open_run
from napari_medicosam.training.setup import make_fabric
from napari_medicosam.weights.loading import load_model

SETTINGS = {
    "num_steps": 6,
    "objective": {"mask_probability": 0.5},
    "optimizer": {"average": 0.5, "clip_norm": 5.0},
    "data": {"augmentation": {"flip_probability": 0.5, "crop_probability": 0.5}},
    "validation": {"every": 2, "baseline": True},
}


def run_in(folder, config, stop_at=None, data=None, validate=judge):
    seen = []
    hooks = Hooks(validate, lambda report: seen.append(report.step), should_stop=lambda: seen[-1] == stop_at)
    run = open_run(folder, config, samples() if data is None else data, hooks, cpu_fabric(config.precision))
    run.go()
    return run


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    run_in(folder, tiny_config(**SETTINGS))
    return folder


def rows(path):
    """Without the clock."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_same(one, two):
    """Bit for bit, whatever it is made of."""
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        assert one == two


def assert_same_run(one, two):
    states = [load_state(folder / "last.pt") for folder in (one, two)]
    assert states[0].step == 6
    assert states[0].optimizer["state"]
    for name in ("step", "learned", "average", "optimizer", "best_score", "best_step"):
        assert_same(getattr(states[0], name), getattr(states[1], name))
    for name in ("best", "last"):
        assert (one / f"{name}.safetensors").read_bytes() == (two / f"{name}.safetensors").read_bytes()
    for name in ("training.csv", "validation.csv"):
        assert rows(one / name) == rows(two / name)


def test_a_run_leaves_what_it_should(uninterrupted):
    assert [int(row["step"]) for row in rows(uninterrupted / "training.csv")] == [1, 2, 3, 4, 5, 6]
    assert [int(row["step"]) for row in rows(uninterrupted / "validation.csv")] == [0, 2, 4, 6]
    assert load_state(uninterrupted / "last.pt").best_step == 2
    assert load_config(uninterrupted / "config.yaml") == tiny_config(**SETTINGS)
    record = json.loads((uninterrupted / "run.json").read_text())
    assert record["seed"] == 0
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert len(record["start"]["weights_sha256"]) == 64
    assert list((uninterrupted / "tensorboard").iterdir())
    best, last = (load_file(uninterrupted / f"{name}.safetensors") for name in ("best", "last"))
    assert any(not torch.equal(best[name], last[name]) for name in best)
    assert type(load_model(uninterrupted / "best.safetensors", "cpu")).__name__ == "Sam"


@pytest.mark.parametrize("step", [1, 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(uninterrupted, tmp_path, step):
    config = tiny_config(**SETTINGS)
    assert run_in(tmp_path / "run", config, stop_at=step).step == step
    assert (tmp_path / "run" / "last.safetensors").is_file()
    assert run_in(tmp_path / "run", config).is_finished
    assert_same_run(uninterrupted, tmp_path / "run")


def in_process(folder, settings, *options):
    command = [
        sys.executable,
        str(Path(__file__).with_name("run_process.py")),
        folder,
        json.dumps(settings),
        *options,
    ]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(uninterrupted, tmp_path):
    result = in_process(tmp_path / "run", SETTINGS, "--kill-at", 5)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert load_state(tmp_path / "run" / "last.pt").step == 4  # and not 5
    assert int(rows(tmp_path / "run" / "training.csv")[-1]["step"]) == 5
    run_in(tmp_path / "run", tiny_config(**SETTINGS))
    assert_same_run(uninterrupted, tmp_path / "run")


def test_two_processes_equal_one(tmp_path):
    settings = {"batch_size": 4, "num_steps": 3, "validation": {"every": 2, "baseline": False}}
    result = in_process(tmp_path / "two", settings, "--devices", 2)
    assert result.returncode == 0, result.stderr
    run_in(tmp_path / "one", tiny_config(**settings))
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    one, two = (load_state(tmp_path / name / "last.pt") for name in ("one", "two"))
    for mine, other in zip(
        rows(tmp_path / "one" / "training.csv"), rows(tmp_path / "two" / "training.csv"), strict=True
    ):
        assert mine["objects"] == other["objects"] == "8"
        for name, value in mine.items():
            np.testing.assert_allclose(float(value), float(other[name]), rtol=1e-3, err_msg=name)
    # AdamW's running means of gradients; the weights themselves would show rounding where gradients are almost 0
    moments = [state.optimizer["state"] for state in (one, two)]
    assert moments[0].keys() == moments[1].keys()  # what no process used is left alone in both
    assert len(moments[0]) < len(one.learned)
    for number, mine in moments[0].items():
        torch.testing.assert_close(moments[1][number]["exp_avg"], mine["exp_avg"], rtol=1e-2, atol=1e-5)
    for name, value in one.learned.items():
        assert (two.learned[name] - value).abs().max() < 1e-3, name


def test_a_longer_run_goes_on_and_another_config_is_refused(tmp_path):
    config = tiny_config(num_steps=2, validation={"baseline": False})
    run_in(tmp_path / "run", config)
    longer = run_in(tmp_path / "run", tiny_config(num_steps=3, validation={"baseline": False}))
    assert longer.step == 3
    assert load_config(tmp_path / "run" / "config.yaml").num_steps == 3
    other = tiny_config(num_steps=3, validation={"baseline": False}, optimizer={"lr": 0.5}, seed=4)
    with pytest.raises(TrainingError, match="run with another seed, optimizer"):
        run_in(tmp_path / "run", other)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="is not empty and holds no run"):
        run_in(tmp_path, tiny_config())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    config = tiny_config(num_steps=1, validation={"baseline": False})
    run_in(tmp_path / "run", config)
    (tmp_path / "run" / "last.pt").write_bytes(b"PK nothing")
    with pytest.raises(TrainingError, match=r"cannot read the checkpoint .*last\.pt"):
        run_in(tmp_path / "run", config)


def test_other_starting_weights_are_refused(tmp_path):
    start = tmp_path / "start.safetensors"
    config = tiny_config(
        model=str(start), num_steps=1, validation={"baseline": False}, trainable={"image_encoder": "frozen"}
    )
    save_file(build_model("sam_test", seed=1).state_dict(), start)
    run_in(tmp_path / "run", config)
    save_file(build_model("sam_test", seed=2).state_dict(), start)
    with pytest.raises(TrainingError, match=r"start\.safetensors is not what the run .* started from"):
        run_in(tmp_path / "run", config)


def test_what_is_judged_and_given_are_the_averaged_weights(tmp_path):
    name = "mask_decoder.iou_token.weight"
    judged = {}

    def remember(model, step):
        judged[step] = model.sam.state_dict()[name].clone()
        return {"score": step}

    run = run_in(tmp_path, tiny_config(optimizer={"average": 0.9}), validate=remember)
    state = load_state(tmp_path / "last.pt")
    assert torch.equal(judged[3], state.average[f"sam.{name}"])
    assert not torch.equal(judged[3], state.learned[f"sam.{name}"])
    assert torch.equal(judged[3], load_file(tmp_path / "best.safetensors")[name])
    assert torch.equal(judged[3], load_file(tmp_path / "last.safetensors")[name])
    assert torch.equal(run.model.sam.state_dict()[name], state.learned[f"sam.{name}"])


def test_without_validation_there_are_last_weights_only(tmp_path):
    run_in(tmp_path / "run", tiny_config(num_steps=1), validate=None)
    assert (tmp_path / "run" / "last.safetensors").is_file()
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_the_semantic_decoder_is_saved_and_restored_with_the_rest(tmp_path):
    config = tiny_config(num_steps=2, objective={"semantic_weight": 1.0}, validation={"baseline": False})
    run_in(tmp_path / "one", config)
    run_in(tmp_path / "two", config, stop_at=1)
    run_in(tmp_path / "two", config)
    for name in ("best_semantic_decoder", "last_semantic_decoder"):
        one, two = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("one", "two"))
        assert_same(one, two)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("step,x\n1,2\n2,3\n3,4\n", "step,x\n1,2\n2,3\n"),
        ("step,x\n1,2\n2,", "step,x\n1,2\n"),
        ("step,x\n1,2\n\0\0\0", "step,x\n1,2\n"),
        ("step,", ""),
        ("", ""),
    ],
    ids=["later", "torn", "zeros", "torn-heading", "empty"],
)
def test_lines_of_a_table_that_came_too_late_or_are_torn_are_dropped(tmp_path, content, kept):
    path = tmp_path / "training.csv"
    path.write_text(content)
    forget_after(path, 2)
    assert path.read_text() == kept
    append_row(path, {"step": 7, "x": 0.5})
    assert path.read_text() == (kept or "step,x\n") + "7,0.5\n"


def test_a_table_that_cannot_be_written_is_a_users_error(tmp_path):
    with pytest.raises(TrainingError, match="cannot write"):
        append_row(tmp_path / "missing" / "training.csv", {"step": 1})


def test_torchrun_says_how_many_processes_there_are(monkeypatch):
    asked = {}

    class Recorder:
        def __init__(self, **settings):
            asked.update(settings)

        def launch(self):
            asked["launched"] = True

    monkeypatch.setattr("napari_medicosam.training.setup.Fabric", Recorder)
    make_fabric(tiny_config(), "cpu")
    assert (asked["devices"], asked["num_nodes"], asked["launched"]) == (1, 1, True)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "12"}.items():
        monkeypatch.setenv(name, value)
    make_fabric(tiny_config(), "cpu")
    assert (asked["devices"], asked["num_nodes"]) == (4, 3)
