import errno
import pickle
import tempfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry

from napari_medicosam.errors import CheckpointError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import load_checkpoint, read_state, recognise_spec, save_model
from napari_medicosam.models.specs import SPECS


@pytest.fixture(scope="module")
def sam():
    return build_model("sam_test", seed=3)


def same(a, b, **tolerance):
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, msg=name, **(tolerance or {"rtol": 0, "atol": 0}))
    return True


class Loader:
    """Stands for what training code pickles beside its tensors."""

    def __init__(self, path="/data/patient", sizes=(1, 2)):
        self.path, self.sizes = path, sizes


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {
            "model_state": {f"sam.{k}": v for k, v in state.items()},
            "epoch": 3,
            "init": Loader(),
        },
        lambda state: {"model_state": {f"module.sam.{k}": v for k, v in state.items()}},
        lambda state: {"model": {**state, "decoder.weight": torch.zeros(3)}, "optimizer": {"state": {}}},
        lambda state: {"state_dict": OrderedDict((f"module.{k}", v) for k, v in state.items())},
        lambda state: {k: v.half() for k, v in state.items()},
        lambda state: {**state, "image_encoder.blocks.0.attn.attention_bias_idxs": torch.zeros(2)},
    ],
    ids=["plain", "micro-sam", "ddp", "model", "lightning", "half", "derived buffers"],
)
def test_the_ways_checkpoints_are_wrapped(sam, tmp_path, wrap):
    path = tmp_path / "weights.pt"
    torch.save(wrap(sam.state_dict()), path)
    assert same(load_checkpoint(path), sam, rtol=1e-3, atol=1e-4)


def test_foreign_classes_are_never_made(sam, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pathlib_touch, (str(tmp_path / "exploded"),))

    path = tmp_path / "bomb.pt"
    torch.save({"model_state": sam.state_dict(), "init": Bomb()}, path)
    assert same(load_checkpoint(path), sam)
    assert not (tmp_path / "exploded").exists()


def pathlib_touch(path):
    from pathlib import Path

    Path(path).touch()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not a zip", pickle.dumps({"a": 1}), b"\x80\x04garbage"]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"cannot read|holds"):
        load_checkpoint(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(sam, tmp_path, suffix):
    path = save_model(sam, tmp_path / f"weights{suffix}")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="cannot read"):
        load_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nothing.pth")


def test_a_mismatch_names_both_sides(sam, tmp_path):
    path = save_model(sam, tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"holds sam_test \(a ViT encoder with 16 channels.*wanted vit_b"
    ):
        load_checkpoint(path, SPECS["vit_b"])


def test_what_is_no_sam_says_what_it_holds(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"holds no SAM model.*'conv1.weight'"):
        load_checkpoint(path)


def test_unknown_sizes_and_adapters_are_named(sam, tmp_path):
    state = sam.state_dict()
    state["image_encoder.pos_embed"] = torch.zeros(1, 8, 8, 16)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="8 x 8 grid, which is none of"):
        load_checkpoint(tmp_path / "other.pth")
    state["image_encoder.blocks.0.Adapter.channel.0.weight"] = torch.zeros(2)
    torch.save({"model": state}, tmp_path / "med2d.pth")
    with pytest.raises(CheckpointError, match="8 x 8 grid, with adapters, which is none of"):
        load_checkpoint(tmp_path / "med2d.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("mask_decoder.iou_token.weight"), "1 tensors are missing"),
        (lambda s: s.update({"mask_decoder.extra": torch.zeros(1)}), "1 do not belong"),
        (lambda s: s.update({"mask_decoder.iou_token.weight": torch.zeros(2, 2)}), "another shape"),
        (lambda s: s["mask_decoder.iou_token.weight"].fill_(np.nan), "not finite"),
    ],
)
def test_almost_right_files(sam, tmp_path, change, message):
    state = {name: value.clone() for name, value in sam.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "almost.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "almost.pth")


@pytest.mark.parametrize("name", list(SPECS))
def test_every_architecture_is_recognised_from_its_tensors(name):
    with torch.device("meta"):
        state = build_model(name).state_dict()
    assert recognise_spec(state) == SPECS[name]


def test_a_read_only_disk_is_said(tmp_path, monkeypatch):
    def refuse(*args, **more):
        raise OSError(errno.EROFS, "Read-only file system")

    model = build_model("sam_test")
    monkeypatch.setattr(torch, "save", refuse)
    monkeypatch.setattr(type(tmp_path), "unlink", refuse)
    with pytest.raises(CheckpointError, match=r"cannot write .*mine\.pth: .*Read-only file system"):
        save_model(model, tmp_path / "mine.pth")
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(CheckpointError, match=r"cannot write .*mine\.pth: Read-only file system"):
        save_model(model, tmp_path / "mine.pth")


def test_saved_vits_load_in_the_original_registry(tmp_path):
    sam = build_model("vit_b", seed=0)
    path = save_model(sam, tmp_path / "sam_vit_b.pth")
    assert same(sam_model_registry["vit_b"](checkpoint=str(path)), sam)


def test_half_precision_spares_norms_and_position_encoding(sam, tmp_path):
    path = save_model(sam, tmp_path / "weights.safetensors", half=True)
    stored = read_state(path)
    assert stored["image_encoder.patch_embed.proj.weight"].dtype == torch.float16
    assert stored["image_encoder.blocks.0.norm1.weight"].dtype == torch.float32
    assert stored["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].dtype == torch.float32
    assert same(load_checkpoint(path), sam, rtol=1e-3, atol=1e-4)


def test_saving_asks_before_it_replaces_and_leaves_no_half_file(sam, tmp_path, monkeypatch):
    path = save_model(sam, tmp_path / "weights.pth")
    old = path.read_bytes()
    with pytest.raises(CheckpointError, match="already there"):
        save_model(sam, path)
    with pytest.raises(CheckpointError, match="wanted a name that ends in"):
        save_model(sam, tmp_path / "weights.onnx")
    with pytest.raises(CheckpointError, match="no folder"):
        save_model(sam, tmp_path / "nowhere" / "weights.pth")

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_model(sam, path, overwrite=True)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]
