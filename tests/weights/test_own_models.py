"""The user's own models: added once, they are models like any other; nothing half, damaged or foreign gets in."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from napari_medicosam import load_model, save_model
from napari_medicosam.errors import CheckpointError, WeightsError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.specs import SPECS
from napari_medicosam.weights import adding
from napari_medicosam.weights.adding import ModelNotes, add_own_model, scaling_of
from napari_medicosam.weights.catalogue import find_entry, known_entries
from napari_medicosam.weights.fetch import fetch, local_path, status, verify
from napari_medicosam.weights.loading import load_weights
from napari_medicosam.weights.own_models import own_entries, own_models_folder, remove_own_model
from napari_medicosam.weights.registry import load_registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_MEDICOSAM_MODELS", str(tmp_path / "mine" / "models"))
    return tmp_path / "mine" / "models"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_model(build_model("sam_test", seed=3), tmp_path / "best.safetensors")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the good case


def test_an_added_model_is_found_listed_and_loaded_by_its_name(folder: Path, weights: Path) -> None:
    entry = add_own_model("liver_mr", weights, ModelNotes("Livers", "40 scans of ours", "CC0-1.0"))
    assert _names(folder) == ["liver_mr.json", "liver_mr.safetensors"]
    assert find_entry("liver_mr") == entry == known_entries()[-1]
    assert known_entries()[:-1] == load_registry().entries
    assert (entry.spec, entry.title, entry.trained_on, entry.licence) == (
        "sam_test", "Livers", "40 scans of ours", "CC0-1.0",
    )  # fmt: skip
    assert entry.size_bytes == weights.stat().st_size
    assert (status(entry), verify(entry)) == ("own", "ok")
    assert fetch("liver_mr") == local_path(entry) == folder / "liver_mr.safetensors"

    weights.unlink()  # the model is a copy
    model = load_weights("liver_mr", "cpu")
    assert (model.name, model.spec, model.window) == ("liver_mr", SPECS["sam_test"], "auto")
    expected = build_model("sam_test", seed=3).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.sam.state_dict().items())
    predictor = SamPredictor(load_model("liver_mr", "cpu"))
    predictor.set_image(np.zeros((20, 30, 3), np.uint8))
    assert predictor.predict(point_coords=np.array([[5, 5]]), point_labels=np.array([1]))[0].any() in (0, 1)


def test_embeddings_of_the_file_hold_for_the_model(folder: Path, weights: Path) -> None:
    """Cache keys are made of architecture and hash, so the bytes must be the very same."""
    by_path = load_weights(weights, "cpu")
    add_own_model("mine", weights)
    by_name = load_weights("mine", "cpu")
    assert (by_name.weights_sha256, by_name.spec) == (by_path.weights_sha256, by_path.spec)
    assert by_name.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_other_checkpoints_become_safetensors_of_the_same_tensors(folder: Path, tmp_path: Path) -> None:
    state = {
        f"sam.{name}": value.half() for name, value in build_model("sam_test", seed=5).state_dict().items()
    }
    torch.save({"model_state": state, "epoch": 7}, tmp_path / "checkpoint.pt")
    entry = add_own_model("mine", tmp_path / "checkpoint.pt")
    loaded = load_weights("mine", "cpu").sam.state_dict()
    assert all(torch.equal(loaded[name.removeprefix("sam.")], value.float()) for name, value in state.items())
    assert verify(entry) == "ok"
    # float16 stays float16
    assert (entry.size_bytes or 0) < 1.2 * sum(2 * value.numel() for value in state.values())


def test_what_is_not_said_is_filled_in(folder: Path, weights: Path) -> None:
    entry = add_own_model("mine", weights)
    assert (entry.trained_on, entry.licence, entry.window, entry.scaling) == (
        "not said", "not said", "auto", "imagenet",
    )  # fmt: skip
    assert "mine" in entry.title


def test_a_model_finetuned_from_medsam_keeps_its_input(folder: Path, weights: Path) -> None:
    add_own_model("plain", weights)
    add_own_model("from_medsam", weights, ModelNotes(scaling="unit", window="percentile"))
    plain, own = load_weights("plain", "cpu"), load_weights("from_medsam", "cpu")
    assert (scaling_of(plain.spec), scaling_of(own.spec)) == ("imagenet", "unit")
    pixels = torch.full((1, 3, 1, 1), 51.0)
    assert own.sam.preprocess(pixels)[0, :, 0, 0].tolist() == pytest.approx([0.2] * 3)
    assert own.window == "percentile"
    # What was finetuned from that one is told from its model.
    assert add_own_model("again", weights, ModelNotes(scaling=scaling_of(own.spec))).scaling == "unit"


def test_the_folder_is_users_data_unless_a_variable_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_MEDICOSAM_MODELS", "~/elsewhere")
    assert own_models_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("NAPARI_MEDICOSAM_MODELS")
    assert own_models_folder().parts[-2:] == ("napari-medicosam", "models")
    assert "cache" not in own_models_folder().parts
    assert own_entries() == ()


def test_listing_needs_no_torch() -> None:
    """The widget lists models while it opens; torch takes seconds."""
    code = "import sys, napari_medicosam.weights.fetch as f, napari_medicosam.weights.catalogue as c; c.known_entries()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


# --- adding what cannot be added


@pytest.mark.parametrize("name", ["Liver", "my-liver", "", "../liver", "a.safetensors", "liver\n"])
def test_names_are_as_in_the_registry(folder: Path, weights: Path, name: str) -> None:
    with pytest.raises(WeightsError, match="lower-case letters, digits and underscores"):
        add_own_model(name, weights)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["medicosam_lite", "vit_t_lite", "sam_test"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_names_and_aliases_of_the_registry_are_never_shadowed(
    folder: Path, weights: Path, name: str, overwrite: bool
) -> None:
    with pytest.raises(WeightsError, match="neither replace nor remove"):
        add_own_model(name, weights, overwrite=overwrite)
    assert not folder.exists()


def test_a_model_is_replaced_only_when_told_to(folder: Path, weights: Path, tmp_path: Path) -> None:
    first = add_own_model("mine", weights)
    other = save_model(build_model("sam_test", seed=4), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="already: choose another name, or say --overwrite"):
        add_own_model("mine", other)
    assert find_entry("mine") == first
    assert verify(first) == "ok"
    second = add_own_model("mine", other, ModelNotes(title="better"), overwrite=True)
    assert find_entry("mine") == second != first
    assert verify(second) == "ok"
    assert load_weights("mine", "cpu").weights_sha256 == second.hashes.sha256
    # A file that came here in another way is somebody's, too.
    (folder / "placed.safetensors").write_bytes(b"mine")
    with pytest.raises(WeightsError, match="already"):
        add_own_model("placed", weights)
    assert (folder / "placed.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("absent", "no checkpoint at .*best.safetensors"),
        ("noise", "cannot read .*best.safetensors as a checkpoint"),
        ("nan", "best.safetensors holds values that are not finite"),
        ("foreign", "best.safetensors looks like sam_test but"),
    ],
)
def test_a_file_that_is_no_model_leaves_nothing_behind(
    folder: Path, weights: Path, spoil: str, words: str
) -> None:
    before = add_own_model("mine", weights)
    weights.unlink()
    sam = build_model("sam_test")
    if spoil == "noise":
        weights.write_bytes(b"no weights")
    if spoil == "nan":
        sam.mask_decoder.iou_token.weight.data[0, 0] = torch.nan
        save_model(sam, weights)
    if spoil == "foreign":
        sam.mask_decoder.stray = torch.nn.Linear(2, 2)
        save_model(sam, weights)
    with pytest.raises(CheckpointError, match=words):
        add_own_model("mine", weights, overwrite=True)
    assert _names(folder) == ["mine.json", "mine.safetensors"]
    assert find_entry("mine") == before
    assert verify(before) == "ok"


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        (ModelNotes(title=" "), "title"),
        (ModelNotes(window="bright"), "window"),
        (ModelNotes(scaling="half"), "scaling"),
    ],
)
def test_notes_that_make_no_sense(folder: Path, weights: Path, notes: ModelNotes, words: str) -> None:
    with pytest.raises(WeightsError, match=f"mine cannot be added: {words}"):
        add_own_model("mine", weights, notes)
    assert _names(folder) == []


def test_an_architecture_that_takes_0_1_takes_nothing_else(folder: Path) -> None:
    medicosam_lite = local_path(find_entry("medicosam_lite"))
    assert medicosam_lite is not None
    with pytest.raises(WeightsError, match=r"vit_t_lite always takes 0\.\.1: wanted 'unit'"):
        add_own_model("mine", medicosam_lite, ModelNotes(scaling="imagenet"))
    assert add_own_model("mine", medicosam_lite).scaling == "unit"


def test_a_folder_that_is_none(folder: Path, weights: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("a file")
    assert own_entries() == ()
    with pytest.raises(WeightsError, match="Choose another folder with NAPARI_MEDICOSAM_MODELS"):
        add_own_model("mine", weights)


def test_stopped_before_the_record_there_is_no_model(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(adding, "_make_entry", stop)
    with pytest.raises(KeyboardInterrupt):
        add_own_model("mine", weights)
    assert _names(folder) == []
    assert own_entries() == ()


# --- what is wrong with what is there


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "bad.json is not valid: Invalid JSON"),
        ({"spec": "vit_x"}, "unknown spec"),
        ({"hashes": {}}, "needs a sha256"),
        ({"name": "other"}, "is of 'other'"),
        ({"aliases": ["medicosam_lite"]}, "1 aliases"),
        ({"source": {"kind": "url", "url": "https://example.org/x.pth"}}, "source 'url'"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_damaged_record_is_skipped_and_named(
    folder: Path,
    weights: Path,
    caplog: pytest.LogCaptureFixture,
    content: str | dict[str, object],
    words: str,
) -> None:
    for name in ("bad", "good"):
        add_own_model(name, weights)
    file = folder / "bad.json"
    if isinstance(content, str):
        file.write_text(content)
    else:
        file.write_text(json.dumps(json.loads(file.read_text()) | content))
    with caplog.at_level(logging.WARNING):
        assert [entry.name for entry in own_entries()] == ["good"]
    assert str(file) in caplog.text
    assert words in caplog.text
    with pytest.raises(WeightsError, match="unknown model 'bad'"):
        find_entry("bad")
    assert find_entry("good").name == "good"
    remove_own_model("bad")
    assert _names(folder) == ["good.json", "good.safetensors"]


def test_the_registrys_model_wins_over_an_own_one_of_the_same_name(
    folder: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an update of the package that brings a model with the name."""
    add_own_model("mine", weights)
    (folder / "mine.json").write_text(
        (folder / "mine.json").read_text().replace('"mine"', '"medicosam_lite"')
    )
    (folder / "mine.json").rename(folder / "medicosam_lite.json")
    with caplog.at_level(logging.WARNING):
        assert own_entries() == ()
    assert "medicosam_lite.json" in caplog.text
    assert find_entry("medicosam_lite").source.kind == "bundled"


def test_weights_that_were_changed_or_lost_are_not_loaded(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    entry = add_own_model("mine", weights)
    file = folder / "mine.safetensors"
    save_model(build_model("sam_test", seed=8), file, overwrite=True)
    assert verify(entry) == "bad"
    with pytest.raises(WeightsError, match="is not the file that was added as mine"):
        load_weights("mine", "cpu")
    file.unlink()
    assert (status(entry), verify(entry)) == ("own", "absent")
    with pytest.raises(WeightsError, match=r"mine.safetensors\. Add it again with --overwrite"):
        load_weights("mine", "cpu")


def test_an_unknown_name_lists_own_ones(folder: Path, weights: Path) -> None:
    add_own_model("liver_mr", weights)
    with pytest.raises(
        WeightsError, match=r"Did you mean liver_mr\? Wanted one of .*medicosam_lite.*liver_mr"
    ):
        find_entry("liver_mri")


# --- removing


def test_removing_takes_both_files_and_no_other(folder: Path, weights: Path) -> None:
    for name in ("mine", "mine_too"):
        add_own_model(name, weights)
    remove_own_model("mine")
    assert _names(folder) == ["mine_too.json", "mine_too.safetensors"]
    assert [entry.name for entry in own_entries()] == ["mine_too"]
    with pytest.raises(WeightsError, match=r"no model 'mine' of your own .*wanted one of mine_too"):
        remove_own_model("mine")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("medicosam_lite", "neither replace nor remove"),
        ("../best", "is no name"),
        ("nothing", "wanted one of none"),
    ],
)
def test_only_own_models_are_removed(weights: Path, folder: Path, name: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        remove_own_model(name)
    assert weights.is_file()
