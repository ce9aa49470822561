import numpy as np
import pytest
import torch

from napari_medicosam.errors import InputError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.frames import check_input_size, input_size
from napari_medicosam.models.specs import ModelSpec

TINY = ModelSpec("tiny", "tiny_vit", 32, 8, 32, (8,) * 4, (1,) * 4, (2,) * 4, (), (4,) * 4, patch_stride=1)


@pytest.fixture(scope="module")
def sam():
    return build_model(TINY, seed=0)


def shapes(sam):
    """Of embedding, position encoding, dense embeddings of a mask prompt, and low-res logits."""
    with torch.no_grad():
        embedding = sam.image_encoder(sam.preprocess(torch.zeros(1, 3, 12, 16)))
        pe = sam.prompt_encoder.get_dense_pe()
        side = sam.prompt_encoder.mask_input_size[0]
        sparse, dense = sam.prompt_encoder(
            points=None, boxes=torch.ones(1, 4), masks=torch.zeros(1, 1, side, side)
        )
        low_res, _ = sam.mask_decoder(embedding, pe, sparse, dense, multimask_output=False)
    return [tuple(value.shape[-2:]) for value in (embedding, pe, dense, low_res)]


def test_everything_follows_the_input_size_and_comes_back(sam):
    full = [(8, 8), (8, 8), (8, 8), (32, 32)]
    assert shapes(sam) == full
    with input_size(sam, 16):
        assert shapes(sam) == [(4, 4), (4, 4), (4, 4), (16, 16)]
    assert shapes(sam) == full


def test_points_are_placed_by_the_size_that_holds(sam):
    def token(x):
        points = torch.tensor([[[x, x]]]), torch.ones(1, 1)
        return sam.prompt_encoder(points=points, boxes=None, masks=None)[0][0, 0].detach().numpy()

    expected = token(19.5)  # (19.5 + 0.5) of 32 is (9.5 + 0.5) of 16
    with input_size(sam, 16):
        np.testing.assert_allclose(token(9.5), expected, atol=1e-5)


@pytest.mark.parametrize("size", [0, 8, 24])
def test_a_size_that_does_not_fit_the_grid_is_refused(sam, size):
    with pytest.raises(InputError, match=f"multiple of 16 px, got {size}"):
        check_input_size(sam, size)


def test_a_vit_keeps_its_size():
    vit = build_model("sam_test", seed=0)
    check_input_size(vit, 64)
    with pytest.raises(InputError, match="an input of 32 px is for TinyViT models"):
        check_input_size(vit, 32)
