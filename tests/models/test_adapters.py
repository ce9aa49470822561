from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.errors import CheckpointError
from napari_medicosam.models.adapters import AdapterBlock, is_adapter
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import load_checkpoint, recognise_spec, save_model
from napari_medicosam.models.specs import SPECS
from napari_medicosam.models.transfer import start_from

PLAIN, ADAPTED = SPECS["sam_test"], SPECS["sam_test_adapters"]
# A plain ViT of the same widths at twice the input size, as SAM's ViT-b is to SAM-Med2D.
LARGE = replace(PLAIN, name="sam_test_large", model_size=128, grid_size=8)


def randomised(spec, seed=0):
    """Position embeddings and adapters that a new model leaves at zero, too."""
    sam = build_model(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return sam


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def encode(sam, image):
    with torch.inference_mode():
        return sam.image_encoder(image)


@pytest.mark.parametrize("name", ["vit_b_med2d", "sam_test_adapters"])
def test_tensor_names_and_shapes_are_the_published_ones(name):
    """As listed in the published image_encoder.py for 256 px and `encoder_adapter=True`."""
    spec = SPECS[name]
    with torch.device("meta"):
        state, plain = build_model(spec).state_dict(), build_model(replace(spec, adapters=False)).state_dict()
    dim, hidden = spec.embed_dims[0], spec.embed_dims[0] // 4
    published = {
        "norm.weight": (dim,),
        "norm.bias": (dim,),
        "channel.0.weight": (hidden, dim),
        "channel.2.weight": (dim, hidden),
        "spatial.0.weight": (dim, dim, 3, 3),
        "spatial.2.weight": (dim, dim, 4, 4),
    }
    wanted = {
        f"image_encoder.blocks.{block}.Adapter.{part}": shape
        for block in range(spec.depths[0])
        for part, shape in published.items()
    }
    assert {key: tuple(state[key].shape) for key in state.keys() - plain.keys()} == wanted
    assert {key: state[key].shape for key in plain} == {key: value.shape for key, value in plain.items()}
    assert {key for key in state if is_adapter(key)} == wanted.keys()


def test_med2d_takes_256_px_into_a_grid_of_16():
    spec = SPECS["vit_b_med2d"]
    assert (spec.model_size, spec.grid_size, spec.low_res_size) == (256, 16, 64)
    with torch.device("meta"):
        sam = build_model(spec)
        assert sam.image_encoder(torch.empty(1, 3, 256, 256)).shape == (1, *spec.embedding_shape)
    encoder = sam.image_encoder
    assert encoder.pos_embed.shape == (1, 16, 16, 768)
    assert encoder.blocks[2].attn.rel_pos_h.shape == (31, 64)  # global: 2 * 16 - 1 offsets
    assert encoder.blocks[0].attn.rel_pos_h.shape == (27, 64)  # window of 14


def test_new_adapters_change_nothing_and_learn(image):
    plain = randomised(PLAIN)
    adapted = start_from(plain.state_dict(), ADAPTED, seed=5)
    torch.testing.assert_close(encode(adapted, image), encode(plain, image), rtol=0, atol=0)
    learning = [value for name, value in adapted.named_parameters() if is_adapter(name)]
    optimizer = torch.optim.Adam(learning, lr=1e-2)
    before = [value.detach().clone() for value in learning]
    target = torch.randn(2, *ADAPTED.embedding_shape, generator=torch.Generator().manual_seed(1))
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = (adapted.image_encoder(image) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not any(torch.equal(old, new) for old, new in zip(before, learning, strict=True))


@pytest.mark.parametrize("block", [0, 1], ids=["window", "global"])
def test_a_block_follows_its_formula(block):
    adapted = randomised(ADAPTED).image_encoder.blocks[block]
    assert isinstance(adapted, AdapterBlock)
    plain = build_model(PLAIN).image_encoder.blocks[block]
    plain.load_state_dict({k: v for k, v in adapted.state_dict().items() if not is_adapter(k)})
    weights = {k.removeprefix("Adapter."): v for k, v in adapted.state_dict().items() if is_adapter(k)}
    x = torch.randn(2, 4, 4, 16, generator=torch.Generator().manual_seed(2))
    seen = []
    plain.norm2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        expected = plain(x)  # what attention and MLP make of it
        normed = seen[0].permute(0, 3, 1, 2)
        hidden = functional.relu(normed.mean(dim=(2, 3)) @ weights["channel.0.weight"].T)
        channels = (hidden @ weights["channel.2.weight"].T).sigmoid()[:, :, None, None] * normed
        half = functional.relu(functional.conv2d(channels, weights["spatial.0.weight"], stride=2, padding=1))
        full = functional.conv_transpose2d(half, weights["spatial.2.weight"], stride=2, padding=1).relu()
        branch = (normed + full).permute(0, 2, 3, 1)
        expected = expected + functional.layer_norm(
            branch, (16,), weights["norm.weight"], weights["norm.bias"], eps=1e-5
        )
        torch.testing.assert_close(adapted(x), expected)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_round_trip_through_a_file(tmp_path, image, suffix):
    sam = randomised(ADAPTED)
    path = save_model(sam, tmp_path / f"weights{suffix}")
    loaded = load_checkpoint(path)
    assert recognise_spec(loaded.state_dict()) == ADAPTED
    torch.testing.assert_close(encode(loaded, image), encode(sam, image), rtol=0, atol=0)
    with pytest.raises(
        CheckpointError, match=r"holds sam_test_adapters \(.*with adapters\), wanted sam_test"
    ):
        load_checkpoint(path, PLAIN)


def test_a_checkpoint_as_sam_med2d_writes_it(tmp_path, image):
    """`model` beside the optimizer itself, pickled as an object."""
    sam = randomised(ADAPTED)
    optimizer = torch.optim.Adam(sam.parameters())
    torch.save({"model": sam.state_dict(), "optimizer": optimizer}, tmp_path / "sam-med2d_b.pth")
    loaded = load_checkpoint(tmp_path / "sam-med2d_b.pth", ADAPTED)
    torch.testing.assert_close(encode(loaded, image), encode(sam, image), rtol=0, atol=0)


def test_adapters_of_another_kind_are_not_taken_for_these(tmp_path):
    state = build_model(PLAIN, seed=0).state_dict()
    state["image_encoder.blocks.0.MLP_Adapter.D_fc1.weight"] = torch.zeros(4, 16)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"12 tensors are missing.*1 do not belong.*MLP_Adapter"):
        load_checkpoint(tmp_path / "other.pth")


def test_a_smaller_grid_gets_interpolated_positions():
    plain = randomised(LARGE)
    state = plain.state_dict()
    # a slope along each axis stays that slope, token centre by token centre
    rows = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 8, 8)
    columns = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 8, 8, 8)
    state["image_encoder.pos_embed"] = torch.cat([rows, columns], dim=3)
    offsets = torch.arange(-7.0, 8.0)[:, None].expand(15, 8)
    state["image_encoder.blocks.1.attn.rel_pos_h"] = offsets
    started = start_from(state, ADAPTED).state_dict()
    position = started["image_encoder.pos_embed"][0]
    centres = torch.tensor([0.5, 2.5, 4.5, 6.5])
    torch.testing.assert_close(position[..., 0], centres[:, None].expand(4, 4))
    torch.testing.assert_close(position[..., -1], centres[None].expand(4, 4))
    relative = started["image_encoder.blocks.1.attn.rel_pos_h"][:, 0]
    assert relative.shape == (7,)
    torch.testing.assert_close(relative[3], torch.tensor(0.0))
    torch.testing.assert_close(relative.diff(), torch.full((6,), 15 / 7))
    resized = {"image_encoder.pos_embed"} | {f"image_encoder.blocks.1.attn.rel_pos_{axis}" for axis in "hw"}
    for name, value in plain.state_dict().items():
        if name not in resized:
            assert torch.equal(started[name], value), name


def test_the_start_is_repeatable_and_leaves_torch_alone():
    state = randomised(LARGE).state_dict()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = (start_from(state, ADAPTED, seed=1).state_dict() for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_adapters_that_are_there_are_kept(image):
    sam = randomised(ADAPTED)
    torch.testing.assert_close(encode(start_from(sam.state_dict(), ADAPTED), image), encode(sam, image))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("sam_test", replace(ADAPTED, embed_dims=(32,)), "have another shape"),
        ("sam_test", replace(ADAPTED, depths=(3,)), "tensors are missing"),
        ("sam_test_adapters", PLAIN, "12 do not belong .*Adapter"),
    ],
)
def test_weights_of_another_model_are_no_start(source, target, message):
    with pytest.raises(CheckpointError, match=f"no start for {target.name}: .*{message}"):
        start_from(build_model(source, seed=0).state_dict(), target)


def test_stored_embeddings_of_models_without_adapters_keep_their_groups():
    assert "adapters" not in SPECS["vit_b"].as_record()
    assert SPECS["vit_b_med2d"].as_record()["adapters"] is True
    window = IntensityMapping("window", -160.0, 240.0, "ct-soft-tissue")
    groups = {
        name: EmbeddingKey(SPECS[name], "ab" * 32, window).group_name(0)
        for name in ("vit_b", "vit_t_lite", "sam_test", "sam_test_adapters")
    }
    assert groups == {  # the first three as they were before there was a field `adapters`
        "vit_b": "70d817d7c02361a0d9745d1fce6e3676",
        "vit_t_lite": "3162b518424d26060ecd8bc4938c86ad",
        "sam_test": "83b3f71b96bbfe94a6e2a71d5601b63a",
        "sam_test_adapters": "f87dbb69a19be40ad81b34f2816504c8",
    }
