import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from segment_anything import SamPredictor

from napari_medicosam import load_model, save_model
from napari_medicosam.errors import CheckpointError, WeightsError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.specs import SPECS
from napari_medicosam.weights import loading
from napari_medicosam.weights.adding import add_own_model
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.loading import load_weights, resolve_device
from napari_medicosam.weights.registry import DEFAULT_MODEL


def test_the_default_works_offline_under_both_its_names(monkeypatch):
    monkeypatch.setenv("NAPARI_MEDICOSAM_OFFLINE", "1")
    default, alias = load_weights(DEFAULT_MODEL, "cpu"), load_weights("vit_t_lite", "cpu")
    assert default.name == alias.name == "medicosam_lite"
    assert default.spec == SPECS["vit_t_lite"]
    assert default.weights_sha256 == find_entry("medicosam_lite").hashes.sha256
    assert not default.sam.training
    assert {p.dtype for p in default.sam.parameters()} == {torch.float32}


def test_inputs_of_the_light_model_are_stretched_to_0_1():
    sam = load_model("medicosam_lite", "cpu")
    pixels = torch.tensor([0.0, 51.0, 255.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    assert sam.preprocess(pixels)[0, 0, 0, :3].tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_seeded_weights_are_the_same_every_time_and_have_an_identity():
    first, second = load_weights("sam_test", "cpu"), load_weights("sam_test", "cpu")
    assert first.weights_sha256 == second.weights_sha256
    assert len(first.weights_sha256) == 64
    first.sam.mask_decoder.iou_token.weight.data += 1
    assert loading._sha256_of_tensors(first.sam) != second.weights_sha256


def test_a_file_is_a_model(tmp_path):
    path = save_model(build_model("sam_test", seed=9), tmp_path / "mine.safetensors")
    model = load_weights(path, "cpu")
    assert (model.name, model.spec.name) == ("mine.safetensors", "sam_test")
    assert model.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    predictor = SamPredictor(load_model(str(path), "cpu"))
    predictor.set_image(np.zeros((20, 30, 3), np.uint8))
    assert predictor.predict(point_coords=np.array([[5, 5]]), point_labels=np.array([1]))[0].shape == (
        3,
        20,
        30,
    )


def test_a_stray_file_does_not_shadow_a_name(tmp_path, monkeypatch):
    (tmp_path / "sam_test").write_text("not a model")
    monkeypatch.chdir(tmp_path)
    assert load_weights("sam_test", "cpu").name == "sam_test"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("sam_tset", WeightsError, "sam_test"),
        ("nowhere/weights.pth", CheckpointError, "no checkpoint at"),
        ("medicosam_vit_b_semantic_decoder", WeightsError, "belongs to medicosam_vit_b"),
        ("ft_sam_vit_b", WeightsError, "not built by this version"),
    ],
)
def test_what_cannot_be_loaded_says_why(name, error, message):
    with pytest.raises(error, match=message):
        load_weights(name, "cpu")


def test_weights_that_take_other_inputs_than_their_architecture(tmp_path, monkeypatch):
    """MedSAM is a ViT-b that takes 0..1; here with the tiny architecture in its place."""
    path = save_model(build_model("sam_test", seed=1), tmp_path / "medsam.pth")
    entry = find_entry("medsam_vit_b").model_copy(update={"spec": "sam_test"})
    monkeypatch.setattr(loading, "find_entry", lambda name: entry)
    monkeypatch.setattr(loading, "fetch", lambda entry, progress=None: path)
    model = load_weights("medsam_vit_b", "cpu")
    assert model.spec.pixel_std == (255.0, 255.0, 255.0)
    assert model.sam.pixel_mean.flatten().tolist() == [0.0, 0.0, 0.0]
    assert model.sam.pixel_std.flatten().tolist() == [255.0, 255.0, 255.0]
    monkeypatch.setattr(loading, "find_entry", lambda name: entry.model_copy(update={"spec": "vit_t_lite"}))
    with pytest.raises(CheckpointError, match=r"holds sam_test .*wanted vit_t_lite"):
        load_weights("medsam_vit_b", "cpu")


@pytest.mark.parametrize("device", ["tpu", *([] if torch.cuda.is_available() else ["cuda"])])
def test_devices_that_are_not_here(device):
    with pytest.raises(WeightsError, match=device):
        resolve_device(device)


def test_without_a_wish_there_is_always_a_device():
    assert resolve_device(None).type in ("cpu", "cuda", "mps")


def test_what_was_finetuned_from_medsam_keeps_its_input(tmp_path):
    """A ViT that takes 0..1 has SAM's very tensors: our own files say what its input is."""
    sam = build_model("sam_test", seed=0)
    sam.pixel_mean.zero_()
    sam.pixel_std.fill_(255.0)
    loaded = load_weights(save_model(sam, tmp_path / "finetuned.safetensors"), "cpu")
    assert loaded.spec == replace(SPECS["sam_test"], pixel_mean=(0.0,) * 3, pixel_std=(255.0,) * 3)
    assert loaded.sam.preprocess(torch.full((1, 3, 64, 64), 51.0)).unique().tolist() == pytest.approx([0.2])
    assert add_own_model("mine", tmp_path / "finetuned.safetensors").scaling == "unit"
    plain = save_model(build_model("sam_test", seed=0), tmp_path / "plain.safetensors")
    assert load_weights(plain, "cpu").spec == SPECS["sam_test"]


@pytest.mark.parametrize("text", ["[1, 2]", "[0, 1, 1]", '["a", 1, 1]', "nonsense", "[NaN, 1, 1]"])
def test_an_input_that_makes_no_sense_is_refused(tmp_path, text):
    path = tmp_path / "odd.safetensors"
    save_file(dict(build_model("sam_test", seed=0).state_dict()), path, metadata={"pixel_std": text})
    with pytest.raises(CheckpointError, match="pixel_std must be three"):
        load_weights(path, "cpu")
