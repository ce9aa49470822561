"""The objective against Algorithm 1 written down plainly: stock modules, one object a call, one backward at the end."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_medicosam.core.simulated_prompts import draw_correction, random_point, tight_box
from napari_medicosam.models.build import build_model
from napari_medicosam.training import objective as objective_module
from napari_medicosam.training.config import ObjectiveConfig
from napari_medicosam.training.objective import InteractiveObjective
from napari_medicosam.training.trajectories import Trajectory, draws_mask_for_step, plan_trajectories
from napari_medicosam.training.views import TrainingView

SIZE_YX = (48, 64)  # the padded square has 64 x 64 pixels


@pytest.fixture
def sam():
    return build_model("sam_test", seed=0)


@pytest.fixture
def embedding():
    return torch.randn(32, 4, 4, generator=torch.Generator().manual_seed(5))


def discs(count=4):
    y, x = np.mgrid[: SIZE_YX[0], : SIZE_YX[1]]
    return [(y - 14 - 5 * n) ** 2 + (x - 12 - 9 * n) ** 2 < (5 + 2 * n) ** 2 for n in range(count)]


def plain_algorithm_1(sam, embedding, truths, config):
    """Losses as one list, (objects * rounds) of (mask loss, IoU loss), and the Dice that is corrected next."""
    terms, dices, three = [], [], []
    for number, truth in enumerate(truths):
        rng = np.random.default_rng([9, number])
        points, box, fed_back = [], None, None
        if rng.random() < config.box_probability:
            box = tight_box(truth)
        else:
            points = [random_point(truth, rng)]
        target = torch.from_numpy(truth)
        for step in range(config.num_corrections + 1):
            coords = torch.tensor([[p.position_yx[::-1] for p in points]], dtype=torch.float32)
            labels = torch.tensor([[int(p.positive) for p in points]])
            sparse, dense = sam.prompt_encoder(
                points=(coords, labels) if points else None,
                boxes=None if box is None else torch.tensor([[box.x0, box.y0, box.x1, box.y1]]).float(),
                masks=None if fed_back is None else fed_back[None, None],
            )
            if step > 0 and config.prompt_encoder_gradient == "start":
                sparse, dense = sparse.detach(), dense.detach()
            low_res, iou = sam.mask_decoder(
                image_embeddings=embedding[None],
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=len(points) == 1 and box is None,
            )
            logits = functional.interpolate(low_res, (64, 64), mode="bilinear", align_corners=False)
            logits = logits[0, :, : SIZE_YX[0], : SIZE_YX[1]]
            losses, true_iou, dice = [], [], []
            for mask in logits:
                p, g = mask.sigmoid(), target.float()
                loss = 1 - 2 * (p * g).sum() / ((p * p).sum() + (g * g).sum())
                bce = functional.binary_cross_entropy(p.clamp(1e-7, 1 - 1e-7), g)
                losses.append(loss + config.bce_weight * bce)
                found = mask > 0
                true_iou.append((found & target).sum() / (found | target).sum())
                dice.append(float(2 * (found & target).sum() / (found.sum() + target.sum())))
            best = int(iou[0].argmax())
            terms.append((torch.stack(losses).min(), ((iou[0] - torch.stack(true_iou)) ** 2).mean()))
            dices.append(dice[best])
            if len(losses) == 3:
                three.append((best, int(torch.stack(losses).argmin())))
            if step == config.num_corrections:
                break
            count = config.clicks[int(rng.integers(len(config.clicks)))]
            points = [*points, *draw_correction(truth, (logits[best] > 0).numpy(), rng, count)]
            fed_back = low_res[0, best].detach() if rng.random() < config.mask_probability else None
    return terms, dices, three


def our_trajectories(truths, config):
    trajectories = []
    for number, truth in enumerate(truths):
        one = Trajectory(truth, np.random.default_rng([9, number]))
        one.start(config, one.rng.random() < config.box_probability)
        trajectories.append(one)
    return trajectories


def gradients_of(sam):
    learners = [*sam.prompt_encoder.named_parameters(), *sam.mask_decoder.named_parameters()]
    found = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in learners}
    sam.zero_grad()
    return found


@pytest.mark.parametrize("objects_per_call", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"num_corrections": 2},
        {"num_corrections": 0, "box_probability": 1.0},
        {"num_corrections": 2, "mask_probability": 0.5, "bce_weight": 0.7, "iou_weight": 0.4},
        {"num_corrections": 2, "clicks": (1, 3)},
        {"num_corrections": 2, "mask_probability": 1.0, "prompt_encoder_gradient": "start"},
    ],
    ids=["clicks", "box-only", "mask-prompts-bce", "several-clicks", "prompt-encoder-at-start"],
)
def test_losses_and_gradients_are_those_of_the_plain_algorithm(sam, embedding, settings, objects_per_call):
    config = ObjectiveConfig(objects_per_call=objects_per_call, **settings)
    truths = [*discs(), np.ones(SIZE_YX, dtype=bool)]  # what fills its slice gets no negative click
    plain_leaf, our_leaf = (embedding.clone().requires_grad_() for _ in range(2))

    terms, dices, three = plain_algorithm_1(sam, plain_leaf, truths, config)
    torch.stack([mask + config.iou_weight * iou for mask, iou in terms]).mean().backward()
    expected = gradients_of(sam)
    if config.box_probability < 1:
        assert any(best != lowest for best, lowest in three)  # else the two could be confused

    rounds = config.num_corrections + 1
    sums = InteractiveObjective(sam, config, seed=0).run(
        our_leaf,
        our_trajectories(truths, config),
        0,
        lambda loss: (loss / (len(truths) * rounds)).backward(),
    )
    found = gradients_of(sam)

    assert sums.count == len(truths)
    for got, place in ((sums.mask, 0), (sums.iou, 1)):
        wanted = np.array([term[place].item() for term in terms]).reshape(len(truths), rounds).sum(axis=0)
        np.testing.assert_allclose(got, wanted, rtol=1e-4)
    np.testing.assert_allclose(sums.dice, np.reshape(dices, (len(truths), rounds)).sum(axis=0), atol=1e-5)
    torch.testing.assert_close(our_leaf.grad, plain_leaf.grad, atol=1e-6, rtol=1e-3)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, atol=1e-6, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.fixture
def calls(sam, monkeypatch):
    """What the prompt encoder and the decoder were asked: points, box, masks; whether three masks."""
    seen = SimpleNamespace(prompts=[], multimask=[])
    encode, decode = sam.prompt_encoder.forward, objective_module.decode

    def spy_encode(points, boxes, masks):
        seen.prompts.append((points, boxes, masks))
        return encode(points=points, boxes=boxes, masks=masks)

    def spy_decode(*arguments, multimask, **others):
        seen.multimask.append(multimask)
        return decode(*arguments, multimask=multimask, **others)

    monkeypatch.setattr(sam.prompt_encoder, "forward", spy_encode)
    monkeypatch.setattr(objective_module, "decode", spy_decode)
    return seen


def run(sam, embedding, config, step, truths):
    view = TrainingView(torch.zeros(3, *SIZE_YX, dtype=torch.uint8), np.stack(truths))
    trajectories = plan_trajectories([view], [step], step, config, seed=3)[0]
    InteractiveObjective(sam, config, seed=3).run(embedding, trajectories, step, lambda loss: None)
    return trajectories


def test_objects_of_one_layout_share_calls_of_the_size_asked_for(sam, embedding, calls):
    config = ObjectiveConfig(num_corrections=1, box_probability=1.0, objects_per_call=3)
    run(sam, embedding, config, 0, discs(4))
    assert [len(boxes) for _, boxes, _ in calls.prompts] == [3, 1, 3, 1]


def test_only_a_single_point_asks_for_three_masks(sam, embedding, calls):
    run(sam, embedding, ObjectiveConfig(num_corrections=2, box_probability=0.0), 0, discs(2))
    assert calls.multimask == [True, False, False]
    calls.multimask.clear()
    run(sam, embedding, ObjectiveConfig(num_corrections=2, box_probability=1.0), 0, discs(2))
    assert calls.multimask == [False, False, False]


def test_reference_alternates_whole_batches_between_point_and_box():
    config = ObjectiveConfig(variant="reference")
    view = TrainingView(torch.zeros(3, *SIZE_YX), np.stack(discs()))
    for step in range(4):
        planned = plan_trajectories([view] * 2, [0, 1], step, config, 0)
        assert [len(of_image) for of_image in planned] == [4, 4]
        assert {one.box is not None for of_image in planned for one in of_image} == {step % 2 == 1}


def test_reference_takes_as_many_objects_as_the_poorest_image_has():
    views = [TrainingView(torch.zeros(3, *SIZE_YX), np.stack(discs(n))) for n in (4, 2, 3)]
    empty = TrainingView(torch.zeros(3, *SIZE_YX), np.zeros((0, *SIZE_YX), bool))

    def counts(variant):
        planned = plan_trajectories([*views, empty], range(4), 0, ObjectiveConfig(variant=variant), 0)
        return [len(trajectories) for trajectories in planned]

    assert counts("paper") == [4, 2, 3, 0]
    assert counts("reference") == [2, 2, 2, 0]


def test_reference_pushes_box_sides_outward_a_little():
    truth = np.zeros((200, 300), bool)
    truth[60:140, 50:250] = True
    view = TrainingView(torch.zeros(3, 200, 300), truth[None])
    boxes = [
        plan_trajectories([view], [place], 1, ObjectiveConfig(variant="reference"), 0)[0][0].box
        for place in range(20)
    ]
    moves = np.array([[60 - b.y0, 50 - b.x0, b.y1 - 140, b.x1 - 250] for b in boxes])
    assert (moves >= 0).all()
    assert (moves <= 0.025 * np.array([80, 200, 80, 200])).all()
    assert len(np.unique(moves)) == moves.size


def test_reference_draws_the_mask_prompt_once_a_step_and_starts_with_an_empty_one(sam, embedding, calls):
    config = ObjectiveConfig(variant="reference", num_corrections=2, mask_probability=0.5, objects_per_call=9)
    drawn = [draws_mask_for_step(step, config, 3) for step in range(20)]
    assert 0 < sum(drawn) < 20
    with_masks = next(step for step in range(0, 20, 2) if drawn[step])
    run(sam, embedding, config, with_masks, discs(2))
    masks = [given for _, _, given in calls.prompts if given is not None]
    assert [given.shape for given in masks] == [(2, 1, 16, 16)] * 3
    assert not masks[0].any()
    assert masks[1].any()
    assert calls.multimask == [True, False, False]  # a point beside an empty mask still is a single point
    calls.prompts.clear()
    run(sam, embedding, config, drawn.index(False), discs(2))
    assert all(given is None for _, _, given in calls.prompts)


def test_paper_never_starts_with_a_mask_prompt_and_draws_it_for_each_object(sam, embedding, calls):
    config = ObjectiveConfig(num_corrections=1, mask_probability=0.5, box_probability=1.0, objects_per_call=9)
    numbers = set()
    for step in range(6):
        calls.prompts.clear()
        run(sam, embedding, config, step, discs(4))
        masks = [given for _, _, given in calls.prompts if given is not None]
        assert len(masks) <= 1
        numbers.add(len(masks[0]) if masks else 0)
    assert numbers & {1, 2, 3}


def test_clicks_on_errors_are_so_many_in_all_and_say_what_is_right():
    config = ObjectiveConfig(clicks=(5,), click_rule="errors")
    truth = discs()[1]
    mask = np.roll(truth, 4, axis=1)
    one = Trajectory(truth, np.random.default_rng(0))
    one.correct(mask, config)
    one.correct(truth, config)  # nothing is wrong: clicks confirm the object
    places = [tuple(int(v) for v in point.position_yx) for point in one.points]
    assert len(places) == 10
    assert all(truth[p] != mask[p] for p in places[:5])
    assert {point.positive for point in one.points[:5]} == {True, False}
    assert [point.positive for point in one.points] == [bool(truth[p]) for p in places]


def test_the_same_place_in_a_run_gets_the_same_draws_whatever_is_beside_it():
    view = TrainingView(torch.zeros(3, *SIZE_YX), np.stack(discs()))
    config = ObjectiveConfig(num_objects=2)

    def drawn(places, which, seed=0):
        planned = plan_trajectories([view] * len(places), places, 0, config, seed)[which]
        return [(one.box, tuple(one.points), one.truth.sum()) for one in planned]

    assert drawn([4, 5], 1) == drawn([5], 0)
    assert drawn([5], 0) != drawn([5], 0, seed=1)
    assert len({str(drawn([place], 0)) for place in range(10)}) > 5
