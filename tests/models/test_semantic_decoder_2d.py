from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_medicosam.errors import CheckpointError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.semantic_decoder_2d import (
    SemanticDecoder2D,
    SemanticDecoderSpec,
    Upsample,
    build_semantic_decoder,
    load_semantic_decoder,
    save_semantic_decoder,
)
from napari_medicosam.models.specs import SPECS

TINY = SemanticDecoderSpec.for_encoder(SPECS["sam_test"], num_classes=2)


def randomised(spec, seed=0):
    """Batch norm's statistics, which a new decoder has at 0 and 1, too."""
    decoder = build_semantic_decoder(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return decoder


def embedding(spec=TINY, seed=0):
    return torch.randn(2, spec.in_channels, 4, 4, generator=torch.Generator().manual_seed(seed))


def decode(decoder, embedding_BChw):
    with torch.inference_mode():
        return decoder(embedding_BChw)


@pytest.mark.parametrize("name", list(SPECS))
def test_every_encoder_gets_logits_at_its_input_size(name):
    spec = SPECS[name]
    with torch.device("meta"):
        decoder = SemanticDecoder2D(SemanticDecoderSpec.for_encoder(spec, num_classes=3))
        logits = decoder(torch.empty(2, *spec.embedding_shape))
    assert logits.shape == (2, 3, spec.model_size, spec.model_size)


def test_widths_are_the_references_and_follow_the_encoder():
    assert SemanticDecoderSpec.for_encoder(SPECS["vit_b"]).features == (512, 256, 128, 64)
    assert SemanticDecoderSpec.for_encoder(SPECS["vit_b_med2d"]).features == (512, 256, 128, 64)
    assert SemanticDecoderSpec.for_encoder(SPECS["vit_t_lite"]).features == (128, 64)  # grid at 1/4 of 256 px
    assert TINY.features == (64, 32, 16, 8)


@pytest.mark.parametrize("model_size", [192, 16, 100])
def test_sizes_that_no_doubling_connects(model_size):
    spec = replace(SPECS["sam_test"], model_size=model_size, grid_size=16)
    with pytest.raises(CheckpointError, match=rf"input of {model_size} px must be the grid \(16\) times"):
        SemanticDecoderSpec.for_encoder(spec)


def test_it_takes_what_an_encoder_gives():
    sam = build_model("sam_test", seed=0)
    decoder = build_semantic_decoder(TINY, seed=0)
    with torch.inference_mode():
        logits = decoder(sam.image_encoder(torch.rand(1, 3, 64, 64)))
    assert logits.shape == (1, 2, 64, 64)
    assert logits.std() > 0


def convolution(dim_in, dim_out, kernel=3):
    return {"weight": (dim_out, dim_in, kernel, kernel), "bias": (dim_out,)}


def published(num_classes, transposed):
    """Names and shapes of torch-em's UNETR(use_skip_connection=False) behind SAM's neck, without the encoder."""
    parts, dims = {}, (256, 512, 256, 128, 64)

    def upsampling(name, dim_in, dim_out):
        shape = (dim_in, dim_out, 2, 2) if transposed else (dim_out, dim_in, 1, 1)
        parts[f"{name}.{'block' if transposed else 'conv'}"] = {"weight": shape, "bias": (dim_out,)}

    def block(name, dim_in, dim_out):
        parts[f"{name}.block.1"] = convolution(dim_in, dim_out)
        parts[f"{name}.block.4"] = convolution(dim_out, dim_out)

    for step in range(1, 5):
        dim = dims[step]
        upsampling(f"deconv{step}.block.0", dims[step - 1], dim)
        parts[f"deconv{step}.block.1.block"] = convolution(dim, dim)
        parts[f"deconv{step}.block.2"] = {
            **dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (dim,)),
            "num_batches_tracked": (),
        }
    block("base", 256, 512)
    for i in range(3):
        block(f"decoder.blocks.{i}", dims[i + 1], dims[i + 2])  # half of it from the skip
        upsampling(f"decoder.samplers.{i}", dims[i + 1], dims[i + 2])
    upsampling("deconv_out", 64, 64)
    block("decoder_head", 128, 64)
    parts["out_conv"] = convolution(64, num_classes, 1)
    return {f"{part}.{name}": shape for part, names in parts.items() for name, shape in names.items()}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model_state": {"sam.x": torch.zeros(1)}, "decoder_state": state},
        lambda state: {
            "unetr_state": {
                **{f"module.{k}": v for k, v in state.items()},
                "module.encoder.neck.0.weight": torch.zeros(1),
            }
        },
    ],
    ids=["plain", "exported", "training"],
)
def test_published_tensors_load_by_name(tmp_path, transposed, wrap):
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.rand(shape, generator=generator) for name, shape in published(2, transposed).items()}
    torch.save(wrap(state), tmp_path / "decoder.pt")
    decoder = load_semantic_decoder(tmp_path / "decoder.pt")
    assert decoder.spec == SemanticDecoderSpec(256, 2, 4, 64, transposed=transposed, cropped_skips=True)
    assert not decoder.training
    loaded = decoder.state_dict()
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        torch.testing.assert_close(loaded[name], value.to(loaded[name].dtype), msg=name)


@pytest.mark.parametrize("transposed", [False, True])
def test_decoder_follows_the_reference_with_cropped_skips(transposed):
    spec = replace(TINY, transposed=transposed, cropped_skips=True)
    decoder = randomised(spec)
    weights = decoder.state_dict()

    def conv(x, name, **options):
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def up(x, name):
        if transposed:
            return functional.conv_transpose2d(
                x, weights[f"{name}.block.weight"], weights[f"{name}.block.bias"], stride=2
            )
        larger = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return conv(larger, f"{name}.conv")

    def block(x, name):
        for number in (1, 4):
            x = conv(functional.instance_norm(x), f"{name}.block.{number}", padding=1).relu()
        return x

    def deconv(x, name):
        norm = [
            weights[f"{name}.block.2.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        x = conv(up(x, f"{name}.block.0"), f"{name}.block.1.block", padding=1)
        return functional.batch_norm(x, *norm).relu()

    z = embedding()
    z9 = deconv(z, "deconv1")
    z6 = deconv(z9, "deconv2")
    z3 = deconv(z6, "deconv3")
    z0 = deconv(z3, "deconv4")
    x = block(z, "base")
    for number, (skip, dim) in enumerate(((z9, 32), (z6, 16), (z3, 8))):
        middle = skip[:, dim // 2 : dim // 2 + dim]
        x = block(torch.cat([up(x, f"decoder.samplers.{number}"), middle], dim=1), f"decoder.blocks.{number}")
    expected = conv(block(torch.cat([up(x, "deconv_out"), z0], dim=1), "decoder_head"), "out_conv")
    torch.testing.assert_close(decode(decoder, z), expected)


def test_a_new_decoder_uses_every_channel_of_its_skips():
    decoder = build_semantic_decoder(TINY, seed=0).train()
    decoder(embedding()).square().sum().backward()
    merging = decoder.decoder.blocks[0].block[1].weight
    assert merging.shape[1] == 32 + 64
    assert (merging.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_interpolating_after_the_convolution_gives_what_the_reference_gives():
    layer, x = Upsample(5, 3), torch.randn(1, 5, 4, 6)
    with torch.inference_mode():
        larger = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(layer(x), layer.conv(larger))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "spec",
    [
        TINY,
        replace(TINY, cropped_skips=True),
        replace(TINY, transposed=True),
        replace(TINY, num_steps=2),
        replace(TINY, num_steps=1),
    ],
    ids=["all channels", "cropped", "transposed", "two steps", "one step"],
)
def test_round_trip_recognises_sizes_from_tensors(tmp_path, spec, suffix):
    decoder = randomised(spec)
    path = save_semantic_decoder(decoder, tmp_path / f"decoder{suffix}")
    loaded = load_semantic_decoder(path)
    assert loaded.spec == spec
    assert torch.equal(decode(loaded, embedding()), decode(decoder, embedding()))
    with pytest.raises(CheckpointError, match="already there"):
        save_semantic_decoder(decoder, path)


def test_another_number_of_classes_gets_a_new_last_layer(tmp_path):
    decoder = randomised(TINY)
    path = save_semantic_decoder(decoder, tmp_path / "decoder.pth")
    loaded = load_semantic_decoder(path, num_classes=5)
    assert decode(loaded, embedding()).shape == (2, 5, 64, 64)
    assert loaded.spec == replace(TINY, num_classes=5)
    assert torch.equal(loaded.base.block[1].weight, decoder.base.block[1].weight)
    assert torch.equal(load_semantic_decoder(path, num_classes=2).out_conv.weight, decoder.out_conv.weight)


def test_a_seed_gives_the_same_decoder_and_leaves_torch_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = (build_semantic_decoder(TINY, seed=1).state_dict() for _ in range(2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("out_conv.weight"), "no semantic decoder: wanted base"),
        (lambda s: s.pop("decoder_head.block.1.bias"), "1 tensors are missing"),
        (lambda s: s.update({"deconv2.0.block.weight": torch.zeros(1)}), "1 do not belong"),
        (lambda s: s["base.block.1.weight"].fill_(torch.nan), "not finite"),
    ],
)
def test_files_that_are_no_such_decoder(tmp_path, change, message):
    state = {name: value.clone() for name, value in build_semantic_decoder(TINY).state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "decoder.pt")
    with pytest.raises(CheckpointError, match=message):
        load_semantic_decoder(tmp_path / "decoder.pt")


def test_a_sam_is_no_decoder(tmp_path):
    torch.save(build_model("sam_test").state_dict(), tmp_path / "sam.pt")
    with pytest.raises(CheckpointError, match="holds no semantic decoder"):
        load_semantic_decoder(tmp_path / "sam.pt")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_semantic_decoder(tmp_path / "nothing.pt")
