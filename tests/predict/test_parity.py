"""With the same weights and prompts our masks are those of segment_anything.SamPredictor."""

import numpy as np
import pytest
from predict_helpers import IDENTITY
from segment_anything import SamPredictor

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.predictor import Embedding, Predictor, Question

PLANE = SlicePlane(0, 0)
RNG = np.random.default_rng(4)


def rgb_image():
    """Non-square, with shapes to find."""
    y, x = np.mgrid[:150, :220]
    image = np.stack([90 + 80 * np.sin(x / 23), 70 + 60 * np.cos(y / 17), 60 + x / 3], axis=-1)
    image[(y - 70) ** 2 + (x - 120) ** 2 < 40**2] += (70, 20, -40)
    return np.clip(image + RNG.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def grey_16_bit():
    y, x = np.mgrid[:180, :120]
    image = 900 + 300 * np.sin(y / 31) + 900 * ((y - 80) ** 2 + (x - 60) ** 2 < 30**2)
    return np.clip(image + RNG.normal(0, 40, image.shape), 0, 65535).astype(np.uint16)


POINT = PromptSet(PLANE, (PointPrompt((70, 80)),))
POINTS = PromptSet(PLANE, (PointPrompt((70, 80)), PointPrompt((20.5, 30.25), positive=False)))
BOX = PromptSet(PLANE, box=BoxPrompt(30, 25, 112, 101))
BOTH = PromptSet(PLANE, POINTS.points, BOX.box)


def ask_sam(predictor, prompts, mask_input, multimask, *, return_logits=False):
    points = {}
    if prompts.points:
        points["point_coords"] = np.array([p.position_yx[::-1] for p in prompts.points])
        points["point_labels"] = np.array([int(p.positive) for p in prompts.points])
    box = (
        None
        if prompts.box is None
        else np.array([prompts.box.x0, prompts.box.y0, prompts.box.x1, prompts.box.y1])
    )
    return predictor.predict(
        **points, box=box, mask_input=mask_input, multimask_output=multimask, return_logits=return_logits
    )


@pytest.fixture(
    scope="module",
    params=[("vit_b", "rgb"), ("lite", "rgb"), ("lite", "16 bit"), ("tiny", "rgb"), ("tiny", "16 bit")],
    ids="-".join,
)
def setting(request):
    """(our predictor, our float32 embedding, SamPredictor with the image set), encoded once."""
    name, kind = request.param
    model = request.getfixturevalue(name)
    image = rgb_image() if kind == "rgb" else grey_16_bit()
    mapping = IDENTITY if kind == "rgb" else resolve_intensity("percentile", image[None])
    sam = SamPredictor(model.sam)
    pixels = mapping.to_uint8(image)
    sam.set_image(pixels if kind == "rgb" else np.repeat(pixels[..., None], 3, axis=-1))
    features = SliceEncoder(model, mapping).encode(image)
    np.testing.assert_allclose(features, sam.features[0].numpy(), atol=1e-5)
    return Predictor(model), Embedding(features, image.shape[:2]), sam


@pytest.mark.parametrize("multimask", [False, True], ids=["one mask", "three masks"])
@pytest.mark.parametrize("feed_back", [False, True], ids=["no mask prompt", "mask prompt"])
@pytest.mark.parametrize(
    "prompts", [POINT, POINTS, BOX, BOTH], ids=["point", "points", "box", "point and box"]
)
def test_masks_and_logits_are_sams(setting, prompts, feed_back, multimask):
    ours, embedding, sam = setting
    previous = None
    if feed_back:
        previous = ask_sam(sam, BOX, None, False)[2]
    full_size, scores, logits = ask_sam(sam, prompts, previous, multimask, return_logits=True)
    got = ours.predict(embedding, prompts, None if previous is None else previous[0], multimask=multimask)
    assert got.masks.shape == full_size.shape
    # Logits may differ by 1e-4, as below: a pixel nearer to 0 may fall on either side, on another processor.
    decided = np.abs(full_size) > 1e-4
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(got.masks[decided], full_size[decided] > 0)
    np.testing.assert_allclose(got.low_res_logits, logits, atol=1e-4)
    np.testing.assert_allclose(got.iou_predictions, scores, atol=1e-4)


@pytest.mark.parametrize(
    "prompts", [POINT, POINTS, BOX, BOTH], ids=["point", "points", "box", "point and box"]
)
def test_float16_embeddings_hardly_change_a_mask(setting, prompts):
    ours, embedding, sam = setting
    masks, *_ = ask_sam(sam, prompts, None, False)
    rounded = Embedding(embedding.features.astype(np.float16), embedding.original_size)
    got = ours.predict(rounded, prompts, multimask=False)
    assert iou(got.masks[0], masks[0]) >= 0.995


def test_objects_in_one_batch_get_what_they_get_alone(setting):
    ours, embedding, _ = setting
    mask = np.zeros(embedding.original_size, bool)
    mask[40:90, 30:80] = True
    previous = ours.predict(embedding, BOX).low_res_logits[0]
    questions = [
        Question(BOX),
        Question(POINT),
        Question(PromptSet(PLANE, box=BoxPrompt(5, 5, 60, 70))),
        Question(PromptSet(PLANE, (PointPrompt((10, 10)),))),
        Question(PromptSet(PLANE, box=BOX.box, mask=mask)),
        Question(POINTS, previous),
    ]
    together = ours.predict_batch(embedding, questions)
    for question, got in zip(questions, together, strict=True):
        alone = ours.predict(embedding, question.prompts, question.previous_logits)
        np.testing.assert_allclose(got.low_res_logits, alone.low_res_logits, atol=1e-4)
        assert np.count_nonzero(got.masks != alone.masks) <= 2
    assert [len(got.masks) for got in together] == [1, 3, 1, 3, 1, 1]
