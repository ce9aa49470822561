import pytest
import torch

from napari_medicosam.errors import TrainingError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.semantic_decoder_2d import SemanticDecoderSpec, build_semantic_decoder
from napari_medicosam.models.specs import SPECS
from napari_medicosam.training.losses import soft_dice_loss
from napari_medicosam.training.semantic_objective import SemanticTerm

SPEC = SPECS["sam_test"]


def make_term(seed=0):
    return SemanticTerm(build_semantic_decoder(SemanticDecoderSpec.for_encoder(SPEC), seed=seed)).train()


@pytest.fixture
def targets():
    """A square in one image and a corner in the other."""
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 10:40, 20:50] = True
    masks[1, :16, :16] = True
    return masks


def test_soft_dice_loss_is_the_papers_formula():
    logits = torch.tensor([[[0.0, 2.0], [-1.0, 4.0]]])
    target = torch.tensor([[[0, 1], [0, 1]]])
    p = logits.sigmoid()
    overlap, size = p[0, 0, 1] + p[0, 1, 1], p.square().sum() + 2
    torch.testing.assert_close(soft_dice_loss(logits, target), (1 - 2 * overlap / size)[None])


def test_soft_dice_loss_keeps_leading_axes_and_counts_each_mask_alone():
    logits, target = torch.randn(3, 2, 5, 4), torch.rand(3, 2, 5, 4) > 0.5
    together = soft_dice_loss(logits, target)
    assert together.shape == (3, 2)
    torch.testing.assert_close(together[1, 1], soft_dice_loss(logits[1, 1], target[1, 1]))


@pytest.mark.parametrize("level", [-200.0, 0.0, 200.0])
def test_soft_dice_loss_without_an_object_is_one_and_pulls_nowhere(level):
    logits = torch.full((4, 4), level, requires_grad=True)
    loss = soft_dice_loss(logits, torch.zeros(4, 4))
    loss.backward()
    assert loss.item() == 1
    assert torch.equal(logits.grad, torch.zeros(4, 4))


def test_soft_dice_loss_of_perfect_and_of_opposite_masks():
    target = torch.eye(6)
    assert soft_dice_loss(200 * target - 100, target).item() == pytest.approx(0)
    assert soft_dice_loss(100 - 200 * target, target).item() == pytest.approx(1)


def test_soft_dice_loss_sums_half_precision_in_float32():
    logits = torch.full((512, 512), 20.0).half()
    assert soft_dice_loss(logits, torch.ones(512, 512)).item() == pytest.approx(0, abs=1e-6)


def test_the_term_is_the_mean_dice_loss_of_the_decoder(targets):
    term = make_term().eval()
    embeddings = torch.randn(2, *SPEC.embedding_shape)
    with torch.inference_mode():
        each = soft_dice_loss(term.decoder(embeddings)[:, 0], targets)
        torch.testing.assert_close(term(embeddings, targets), each.mean())


def test_gradients_reach_decoder_and_encoder(targets):
    sam, term = build_model("sam_test", seed=0), make_term()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    term(sam.image_encoder(images), targets).backward()
    for name, parameter in (*sam.image_encoder.named_parameters(), *term.named_parameters()):
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert sam.image_encoder.patch_embed.proj.weight.grad.abs().sum() > 0


def test_a_few_steps_reduce_the_loss(targets):
    term = make_term()
    embeddings = torch.randn(2, *SPEC.embedding_shape, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(term.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = term(embeddings, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_restored_term_goes_on_where_it_was(targets):
    term, other = make_term(), make_term(seed=1)
    embeddings = torch.randn(2, *SPEC.embedding_shape)
    term(embeddings, targets)  # batch norm has seen a batch
    other.load_state_dict(term.state_dict())
    with torch.inference_mode():
        assert torch.equal(other.eval()(embeddings, targets), term.eval()(embeddings, targets))


def test_what_does_not_fit_is_named():
    with pytest.raises(TrainingError, match="1 class, got 3"):
        SemanticTerm(build_semantic_decoder(SemanticDecoderSpec.for_encoder(SPEC, num_classes=3)))
    with pytest.raises(TrainingError, match=r"shape \(2, 16, 16\), wanted \(2, 64, 64\)"):
        make_term()(torch.randn(2, *SPEC.embedding_shape), torch.zeros(2, 16, 16))
