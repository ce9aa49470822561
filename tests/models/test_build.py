import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from napari_medicosam.errors import CheckpointError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.image_encoder_tiny_vit import ImageEncoderTinyViT, WindowAttention
from napari_medicosam.models.specs import SPECS


@pytest.mark.parametrize("name", ["sam_test", "vit_t_lite"])
def test_models_answer_through_the_real_sam_predictor(name):
    sam = build_model(name, seed=0)
    assert isinstance(sam, Sam)
    assert not sam.training
    predictor = SamPredictor(sam)
    predictor.set_image(np.random.default_rng(0).integers(0, 255, (40, 70, 3)).astype(np.uint8))
    assert predictor.features.shape == (1, *SPECS[name].embedding_shape)
    masks, scores, logits = predictor.predict(box=np.array([5, 5, 30, 30]), multimask_output=True)
    assert masks.shape == (3, 40, 70)
    assert scores.shape == (3,)
    assert logits.shape == (3, SPECS[name].low_res_size, SPECS[name].low_res_size)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vit_b", 93.7), ("vit_l", 312.3), ("vit_h", 641.1), ("vit_t", 10.1), ("vit_t_lite", 9.8)],
)
def test_sizes_are_the_published_ones(name, millions):
    with torch.device("meta"):
        sam = build_model(name)
    assert sum(p.numel() for p in sam.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_a_seed_gives_the_same_weights_and_leaves_torch_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = build_model("sam_test", seed=1), build_model("sam_test", seed=1)
    assert torch.equal(torch.rand(3), expected)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    other = build_model("sam_test", seed=2).state_dict()
    assert not torch.equal(
        other["mask_decoder.iou_token.weight"], first.state_dict()["mask_decoder.iou_token.weight"]
    )


def test_unknown_architecture():
    with pytest.raises(CheckpointError, match="wanted one of vit_b"):
        build_model("vit_x")


def test_tiny_vit_at_1024_keeps_sams_grid():
    with torch.device("meta"):
        encoder = ImageEncoderTinyViT(SPECS["vit_t"])
        assert encoder(torch.empty(1, 3, 1024, 1024)).shape == (1, 256, 64, 64)


def test_window_attention_equals_its_formula():
    torch.manual_seed(0)
    attention = WindowAttention(8, num_heads=2, window=3)
    torch.nn.init.normal_(attention.attention_biases)
    x = torch.randn(2, 9, 8)
    qkv = attention.qkv(attention.norm(x)).view(2, 9, 2, 12)
    tokens = [(y, x) for y in range(3) for x in range(3)]
    offsets = list(dict.fromkeys((abs(a[0] - b[0]), abs(a[1] - b[1])) for a in tokens for b in tokens))
    number = [[offsets.index((abs(a[0] - b[0]), abs(a[1] - b[1]))) for b in tokens] for a in tokens]
    bias = attention.attention_biases[:, torch.tensor(number)]
    heads = []
    for head in range(2):
        q, k, v = qkv[:, :, head].split(4, dim=-1)
        scores = q @ k.transpose(1, 2) / 2 + bias[head]
        heads.append(scores.softmax(-1) @ v)
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, dim=-1)))


def test_weights_loaded_after_eval_count():
    """The published encoder caches its attention biases in eval() and then ignores loaded ones."""
    source, target = build_model("vit_t_lite", seed=0), build_model("vit_t_lite", seed=1).eval()
    for name, value in source.state_dict().items():
        if name.endswith("attention_biases"):
            value.copy_(torch.randn_like(value))
    target.load_state_dict(source.state_dict())
    x = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        torch.testing.assert_close(target.image_encoder(x), source.image_encoder(x))
