import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import nn

from napari_medicosam.models import fast_ops
from napari_medicosam.models.build import build_model
from napari_medicosam.models.fast_decoder import decode, mask_tokens, tokens_of

GRID = (4, 6)  # not square, so that rows and columns cannot be confused
OBJECTS = 3
FEW, MANY = 2, 12
"""Prompt tokens. With SAM's own five, each in two heads, the many outnumber the 32 channels of an attention."""


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    transformer = TwoWayTransformer(depth=2, embedding_dim=64, num_heads=2, mlp_dim=48)
    decoder = MaskDecoder(transformer_dim=64, transformer=transformer)
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):  # zeros at first, some of them
            nn.init.normal_(parameter, std=0.3)
    return decoder


@pytest.fixture
def inputs(request):
    """Embedding, position encoding, sparse and dense embeddings; the dense ones shared or one an object."""
    torch.manual_seed(1)
    images, tokens = request.param
    dense = torch.randn(images, 64, *GRID, requires_grad=True)
    embedding = torch.randn(64, *GRID, requires_grad=True)
    sparse = torch.randn(OBJECTS, tokens, 64, requires_grad=True)
    return embedding, torch.randn(1, 64, *GRID), sparse, dense


def stock(decoder, embedding, image_pe, sparse, dense, multimask):
    return decoder(
        image_embeddings=embedding[None],
        image_pe=image_pe,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense.expand(OBJECTS, -1, -1, -1),
        multimask_output=multimask,
    )


def gradients(decoder, inputs, logits, iou):
    """Of a scalar that weighs every output differently."""
    torch.manual_seed(2)
    total = (logits * torch.randn_like(logits)).sum() + (iou * torch.randn_like(iou)).sum()
    leaves = [inputs[0], inputs[2], inputs[3], *decoder.parameters()]
    names = ["embedding", "sparse", "dense", *(name for name, _ in decoder.named_parameters())]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for name, leaf, gradient in zip(names, leaves, found, strict=True)
    }


@pytest.mark.parametrize(
    "inputs", [(1, FEW), (OBJECTS, FEW), (1, MANY), (OBJECTS, MANY)], indirect=True, ids=str
)
@pytest.mark.parametrize("multimask", [False, True])
def test_masks_and_gradients_are_those_of_segment_anything(decoder, inputs, multimask):
    expected = stock(decoder, *inputs, multimask)
    found = decode(decoder, *inputs, multimask=multimask)
    masks = 3 if multimask else 1
    assert found[0].shape == (OBJECTS, masks, 4 * GRID[0], 4 * GRID[1])
    assert found[1].shape == (OBJECTS, masks)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(decoder, inputs, *found), gradients(decoder, inputs, *expected)
    assert any(value.abs().max() > 1e-2 for value in theirs.values())
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("objects", [1, OBJECTS])
@pytest.mark.parametrize("inputs", [(1, FEW), (1, MANY)], indirect=True, ids=str)
def test_without_gradients_it_is_the_same_and_changes_nothing(decoder, inputs, objects, fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(fast_ops, "_FUSED", None)
    embedding, image_pe, sparse, dense = (value.detach() for value in inputs)
    given = embedding, image_pe, sparse[:objects], dense
    before = [value.clone() for value in (*given, *decoder.parameters())]
    with torch.inference_mode():
        found = decode(decoder, *given, multimask=True)
        expected = decoder(
            embedding[None], image_pe, sparse[:objects], dense.expand(objects, -1, -1, -1), True
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(before, (*given, *decoder.parameters()), strict=True))


def test_mask_prompts_are_embedded_as_segment_anything_does():
    torch.manual_seed(3)
    downscaling = build_model("sam_test", seed=0).prompt_encoder.mask_downscaling
    for parameter in downscaling.parameters():
        nn.init.normal_(parameter, std=0.5)
    logits = torch.randn(2, 1, 4 * GRID[0], 4 * GRID[1]) * 5
    with torch.inference_mode():
        expected = tokens_of(downscaling(logits))
        torch.testing.assert_close(mask_tokens(downscaling, logits), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inputs", [(OBJECTS, FEW)], indirect=True, ids=str)
def test_in_bfloat16_it_is_nearly_the_same_and_float32_comes_back(decoder, inputs):
    expected = stock(decoder, *inputs, True)
    found = decode(decoder, *inputs, multimask=True, dtype=torch.bfloat16)
    assert {value.dtype for value in found} == {torch.float32}
    for got, wanted in zip(found, expected, strict=True):
        assert not torch.equal(got, wanted)
        assert (got - wanted).abs().max() < 0.05 * wanted.abs().max() + 0.02
    (found[0].sum() + found[1].sum()).backward()
    found = [parameter.grad for parameter in decoder.parameters() if parameter.grad is not None]
    assert {gradient.dtype for gradient in found} == {torch.float32}
    decoder.zero_grad()
