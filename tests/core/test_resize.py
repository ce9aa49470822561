import numpy as np
import pytest
import torch
from segment_anything.utils.transforms import ResizeLongestSide
from skimage.transform import resize
from torch.nn import functional

from napari_medicosam.core.prompts import BoxPrompt, PointPrompt
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT, SliceFrame

SIZES = [(100, 200), (200, 100), (64, 64), (91, 117), (1500, 33), (1, 40)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model_size", [64, 256, 1024])
def test_coordinates_are_those_of_segment_anything(size, model_size):
    if min(ResizeLongestSide.get_preprocess_shape(*size, model_size)) < 1:
        pytest.skip("segment-anything itself gives an image without pixels")
    frame, reference = SliceFrame(size, model_size), ResizeLongestSide(model_size)
    assert frame.resized_size == reference.get_preprocess_shape(*size, model_size)
    points_yx = [(0, 0), (size[0] - 1, size[1] - 1), (size[0] / 3, size[1] / 7)]
    got = frame.points_xy([PointPrompt(p) for p in points_yx])
    np.testing.assert_array_equal(got, reference.apply_coords(np.array(points_yx)[:, ::-1], size))
    box = BoxPrompt(0, 0, size[0] / 2, size[1])
    expected = reference.apply_boxes(np.array([[0, 0, size[1], size[0] / 2]]), size)[0]
    np.testing.assert_array_equal(frame.box_xyxy(box), expected)


def test_boxes_are_clipped_to_the_slice():
    frame = SliceFrame((50, 100), 200)
    assert frame.box_xyxy(BoxPrompt(-10, 20, 80, 130)).tolist() == [40, 0, 200, 100]


def test_mask_logits_lie_where_the_mask_is():
    mask = np.zeros((100, 200), bool)
    mask[20:60, 100:160] = True
    logits = SliceFrame((100, 200), 1024).mask_logits(mask, 256)
    assert logits.shape == (256, 256)
    assert set(np.unique(logits)) == {np.float32(-MASK_PROMPT_LOGIT), np.float32(MASK_PROMPT_LOGIT)}
    rows, columns = np.nonzero(logits > 0)
    scale = 256 / 200
    assert abs(rows.min() - 20 * scale) <= 1
    assert abs(rows.max() + 1 - 60 * scale) <= 1
    assert abs(columns.min() - 100 * scale) <= 1
    assert abs(columns.max() + 1 - 160 * scale) <= 1
    assert (logits[128:] < 0).all()  # padding


def test_a_thin_object_does_not_vanish_from_its_prompt():
    mask = np.zeros((1024, 1024), bool)
    mask[500, 700] = True
    logits = SliceFrame((1024, 1024), 1024).mask_logits(mask, 256)
    assert np.argwhere(logits > 0).tolist() == [[125, 175]]


@pytest.mark.parametrize("size", [(64, 64), (91, 117), (300, 40), (17, 20)])
@pytest.mark.parametrize("low_res_size", [16, 64])
def test_masks_are_resized_as_skimage_does(size, low_res_size):
    """Up and down, for blobs at the border and inside, and for straight edges, where many values are close to 0.5."""
    rng = np.random.default_rng(3)
    frame = SliceFrame(size, low_res_size)
    rows, columns = frame.resized_size
    for _ in range(6):
        mask = np.zeros(size, dtype=bool)
        y, x = rng.integers(0, size)
        mask[y // 2 : y // 2 + 12, x // 2 : x // 2 + 15] = True
        mask ^= np.hypot(*(np.indices(size) - np.array([y, x])[:, None, None])) < 9
        expected = resize(mask.astype(np.float32), (rows, columns), order=1, anti_aliasing=True) > 0.5
        if expected.any():
            found = frame.mask_logits(mask, low_res_size)[:rows, :columns] > 0
            np.testing.assert_array_equal(found, expected)


def upscaled(logits, frame):
    """As `Sam.postprocess_masks`."""
    square = functional.interpolate(
        torch.from_numpy(logits)[None, None], (frame.model_size,) * 2, mode="bilinear", align_corners=False
    )
    rows, columns = frame.resized_size
    cut = square[..., :rows, :columns]
    return functional.interpolate(cut, frame.original_size, mode="bilinear", align_corners=False)[
        0, 0
    ].numpy()


def blobs(side, *centres_yx):
    """Logits that are above 0 around a few places, down to a single pixel."""
    logits = np.full((side, side), -3, np.float32)
    for radius, centre in enumerate(centres_yx):
        distance = np.hypot(*(np.indices(logits.shape) - np.array(centre)[:, None, None]))
        logits = np.maximum(logits, (radius + 0.7 - distance).astype(np.float32))
    return logits + np.random.default_rng(side).normal(0, 0.05, logits.shape).astype(np.float32)


@pytest.mark.parametrize("size", [*SIZES, (1024, 1024), (1500, 700)], ids=str)
@pytest.mark.parametrize(("model_size", "side"), [(1024, 256), (64, 16)])
def test_masks_of_logits_are_those_of_segment_anything(size, model_size, side):
    frame = SliceFrame(size, model_size)
    last = side - 1
    for logits in (
        blobs(side, (0, 0)),
        blobs(side, (0, 3), (last // 2, 1), (2, 2)),
        blobs(side, (last // 5, last), (last, last // 3)),
        np.random.default_rng(5).normal(0, 9, (side, side)).astype(np.float32),
        blobs(side),
    ):
        expected = upscaled(logits, frame)
        decided = np.abs(expected) > 1e-3
        found = frame.mask_of_logits(logits)
        assert found.shape == size
        assert decided.mean() > 0.9
        np.testing.assert_array_equal(found[decided], expected[decided] > 0)
        assert found.any() == (expected > 0).any()


def test_masks_of_logits_at_another_threshold():
    frame, logits = SliceFrame((90, 60), 64), blobs(16, (4, 4), (9, 3), (7, 8))
    found = frame.mask_of_logits(logits, threshold=-0.5)
    np.testing.assert_array_equal(found, upscaled(logits, frame) > -0.5)
    assert found.sum() > frame.mask_of_logits(logits).sum() > 0


def test_logits_above_the_threshold_in_the_padding_alone_are_no_mask():
    logits = np.full((16, 16), -1, np.float32)
    logits[:, 12:] = 5
    assert not SliceFrame((64, 16), 64).mask_of_logits(logits).any()
