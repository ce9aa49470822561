import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cli_helpers import still_runs
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from napari_medicosam.cli.evaluate import app, main
from napari_medicosam.errors import InputError
from napari_medicosam.models.build import build_model

TINY = ("--model", "sam_test", "--device", "cpu")


@pytest.fixture
def data(tmp_path):
    """Two data sets: discs of classes 1 and 2 on grey images, and one disc on an RGB image."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :50]
    for name, count in (("grey", 2), ("colour", 1)):
        for folder in ("images", "masks"):
            (tmp_path / "data" / name / folder).mkdir(parents=True)
        for number in range(1, count + 1):
            labels = ((y - 15) ** 2 + (x - 15 - number) ** 2 < 64).astype(np.uint8)
            if name == "grey":
                labels[(y - 28) ** 2 + (x - 40) ** 2 < 50] = 2
            shape = (40, 50) if name == "grey" else (40, 50, 3)
            image = rng.integers(0, 255, shape).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "data" / name / "images" / f"00{number}.png")
            Image.fromarray(labels).save(tmp_path / "data" / name / "masks" / f"00{number}.png")
    return tmp_path / "data"


def evaluate(*words):
    result = CliRunner().invoke(app, ["interactive", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_results_of_two_models_side_by_side(data, tmp_path):
    for seed, folder in ((3, "run_a"), (4, "run_b")):
        (tmp_path / folder).mkdir()
        save_file(build_model("sam_test", seed=seed).state_dict(), tmp_path / folder / "best.safetensors")
    one, two = (tmp_path / name / "best.safetensors" for name in ("run_a", "run_b"))
    out = tmp_path / "results"
    result = evaluate(data, "--model", one, "--model", two, "--device", "cpu", "-o", out, "--corrections", "2",
                      "--seeds", "2", "--no-figures")  # fmt: skip
    rows = pd.read_csv(out / "scores.csv", dtype={"image": str})
    assert set(rows["model"]) == {str(one), str(two)}, "files of one name must be told apart"
    assert len(rows) == 2 * 5 * 2 * 2 * 3
    assert set(rows["image"]) == {"001", "002"}
    assert sorted(rows.groupby("dataset")["object"].nunique()) == [1, 2]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["reference"] == str(one)
    assert set(summary["runtimes"].values()) == {"torch"}
    assert {line["what"] for line in summary["differences"]} == {
        "point",
        "point 1",
        "point 2",
        "box",
        "box 1",
        "box 2",
        "all",
    }
    assert summary["settings"]["seeds"] == [0, 1]
    assert len(summary["overall"]) == 2 * 2 * 3
    text = (out / "summary.txt").read_text()
    assert text.strip() == result.stdout.strip()
    assert f"(difference to {one})" in text
    assert [
        line for line in result.stderr.splitlines() if line.startswith(("grey (2 images", "colour (1 images"))
    ]
    assert not (out / "figures").exists()


def test_options_reach_the_settings(data, tmp_path):
    out = tmp_path / "results"
    evaluate(data / "grey", *TINY, "-o", out, "--corrections", "1", "--start", "box", "--mask-prompt", "both",
             "--zoom", "never", "--zoom", "always", "--max-objects", "3", "--no-figures",
             "--runtime", "eager", "--runtime", "torch-half", "--embeddings", tmp_path / "store")  # fmt: skip
    settings = json.loads((out / "settings.json").read_text())["settings"]
    assert settings["mask_prompt"] == [False, False, True, True]
    assert settings["zoom"] == ["never", "always"] * 2
    assert (settings["starts"], settings["num_corrections"], settings["max_objects"]) == (["box"], 1, 3)
    rows = pd.read_csv(out / "scores.csv")
    assert rows["model"].value_counts().to_dict() == {
        "sam_test eager": 3 * 4 * 2,
        "sam_test torch-half": 3 * 4 * 2,
    }
    assert any((tmp_path / "store").rglob("zarr.json"))


def test_run_again_it_does_nothing_and_other_settings_are_refused(data, tmp_path, monkeypatch):
    out = tmp_path / "results"
    words = (data, *TINY, "-o", out, "--no-figures")
    first = evaluate(*words, "--corrections", "1")
    before = (out / "scores.csv").read_bytes()
    monkeypatch.setattr("napari_medicosam.predict.service.SegmentationService.segment", None)
    assert evaluate(*words, "--corrections", "1").stdout == first.stdout
    with pytest.raises(InputError, match="num_corrections was 1 and is 2"):
        evaluate(*words, "--corrections", "2")
    assert (out / "scores.csv").read_bytes() == before


def test_figures_are_drawn_or_their_absence_is_said(data, tmp_path, monkeypatch):
    asked = []
    module = type(sys)("napari_medicosam.evaluation.figures")
    module.draw_figures = lambda rows, folder, reference: asked.append((len(rows), folder, reference))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    words = (data, *TINY, "-o", tmp_path / "results", "--corrections", "0")
    monkeypatch.setitem(sys.modules, "matplotlib", type(sys)("matplotlib"))
    evaluate(*words)
    assert asked == [(10, tmp_path / "results" / "figures", None)]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "no figures: they need matplotlib" in evaluate(*words).stderr
    assert len(asked) == 1


def test_images_without_objects_are_left_out_and_named(data, tmp_path):
    out = tmp_path / "results"
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(data / "grey" / "masks" / "002.png")
    result = evaluate(data, *TINY, "-o", out, "--corrections", "0", "--no-figures")
    assert "skipped 1" in result.stderr
    assert "grey/002" in result.stderr
    rows = pd.read_csv(out / "scores.csv", dtype={"image": str})
    assert set(zip(rows["dataset"], rows["image"], strict=True)) == {("grey", "001"), ("colour", "001")}


def start(*words):
    code = "from napari_medicosam.cli.evaluate import main; main()"
    command = [sys.executable, "-c", code, "interactive", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_it_goes_on_where_it_was(data, tmp_path):
    masks = data / "grey" / "masks"
    for number in range(3, 9):
        for folder in ("images", "masks"):
            source = data / "grey" / folder / "001.png"
            (data / "grey" / folder / f"00{number}.png").write_bytes(source.read_bytes())
    assert len(list(masks.iterdir())) == 8
    words = (data / "grey", *TINY, "--corrections", "6", "--no-figures")
    evaluate(*words, "-o", tmp_path / "whole")

    marks, scores = (tmp_path / "killed" / name for name in ("finished.csv", "scores.csv"))
    for _ in range(2):
        known = marks.read_text().count("\n") if marks.exists() else 1
        process = start(*words, "-o", tmp_path / "killed")
        while not (marks.exists() and marks.read_text().count("\n") > known) and still_runs(process):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, "it finished before it could be killed"
    kept = marks.read_bytes()
    evaluate(*words, "-o", tmp_path / "killed")
    assert marks.read_bytes().startswith(kept[: kept.rfind(b"\n")])
    assert scores.read_bytes() == (tmp_path / "whole" / "scores.csv").read_bytes()


def test_mistakes_are_one_line_and_exit_code_1(tmp_path, monkeypatch, capfd):
    words = (tmp_path / "missing", *TINY, "-o", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["medicosam-evaluate", "interactive", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed, notes = capfd.readouterr()
    assert (ended.value.code, printed) == (1, "")
    assert notes.startswith("medicosam-evaluate: ")
    assert "missing" in notes
    assert "Traceback" not in notes
    assert not (tmp_path / "results").exists()


def test_help_needs_no_torch():
    code = "import sys, napari_medicosam.cli.evaluate; print('torch' in sys.modules, 'pandas' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert answer.stdout == "False False\n"
