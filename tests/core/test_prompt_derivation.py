import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompt_derivation import (
    PromptMode,
    box_around,
    box_beside,
    derive_box,
    derive_prompts,
)
from napari_medicosam.core.prompts import PointPrompt
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError

PLANE = SlicePlane(0, 0)


def blob(centre=(30, 40), radius=12, shape=(64, 80)):
    mask = np.zeros(shape, bool)
    mask[disk(centre, radius, shape=shape)] = True
    return mask


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("box", "box"),
        ("mask", "box+mask"),
        ("points", "points"),
        ("points_and_mask", "mask+points"),
        ("single_point", "single_point"),
        ("box+points", "box+points"),
        ("mask+single_point", "mask+single_point"),
    ],
)
def test_modes(text, parts):
    assert str(PromptMode.parse(text)) == parts


@pytest.mark.parametrize("text", ["", "boxes", "box+", "points+single_point", "box,mask"])
def test_unknown_modes(text):
    with pytest.raises(InputError, match="unknown propagation mode"):
        PromptMode.parse(text)


@given(st.floats(0, 3), st.integers(5, 30), st.integers(5, 50), st.integers(2, 9))
def test_boxes_hold_the_mask_and_stay_inside(extension, y, x, radius):
    mask = blob((y, x), radius)
    box = derive_box(mask, extension)
    tight = Region.of_mask(mask)
    assert 0 <= box.y0 <= tight.y0 < tight.y1 <= box.y1 <= mask.shape[0]
    assert 0 <= box.x0 <= tight.x0 < tight.x1 <= box.x1 <= mask.shape[1]


def test_extension_is_pixels_from_one_and_a_fraction_below():
    mask = np.zeros((60, 60), bool)
    mask[20:30, 20:40] = True
    assert derive_box(mask, 0).bounds == (20, 20, 30, 40)
    assert derive_box(mask, 2).bounds == (18, 18, 32, 42)
    assert derive_box(mask, 0.1).bounds == (19, 18, 31, 42)


def test_the_single_point_is_the_innermost():
    prompts = derive_prompts(blob((30, 40), 12), PLANE, PromptMode.parse("single_point"))
    assert [p.position_yx for p in prompts.points] == [(30, 40)]
    assert prompts.points[0].positive
    assert prompts.box is None
    assert prompts.mask is None


def test_points_lie_in_and_around_the_object():
    mask = blob((20, 20), 9) | blob((40, 55), 9)
    prompts = derive_prompts(mask, PLANE, PromptMode.parse("points"))
    positive = [p.position_yx for p in prompts.points if p.positive]
    negative = [p.position_yx for p in prompts.points if not p.positive]
    assert any(np.hypot(y - 20, x - 20) < 4 for y, x in positive)
    assert any(np.hypot(y - 40, x - 55) < 4 for y, x in positive)
    assert negative
    assert all(mask[int(y), int(x)] for y, x in positive)
    assert not any(mask[int(y), int(x)] for y, x in negative)
    box = derive_box(mask)
    assert all(box.y0 <= y < box.y1 and box.x0 <= x < box.x1 for y, x in negative)


@pytest.mark.parametrize("mode", ["points", "single_point", "points_and_mask"])
def test_one_pixel_still_gives_a_positive_point(mode):
    mask = np.zeros((20, 20), bool)
    mask[0, 19] = True
    points = derive_prompts(mask, PLANE, PromptMode.parse(mode)).points
    assert [p.position_yx for p in points if p.positive] == [(0, 19)]


def test_mask_modes_hand_the_mask_on():
    mask = blob()
    prompts = derive_prompts(mask, PLANE, PromptMode.parse("mask"), 0.05)
    assert np.array_equal(prompts.mask, mask)
    assert prompts.box == derive_box(mask, 0.05)


def test_nothing_comes_from_nothing():
    with pytest.raises(InputError, match="empty mask"):
        derive_prompts(np.zeros((5, 5), bool), PLANE, PromptMode.parse("box"))
    with pytest.raises(InputError, match="0 or more"):
        derive_box(blob(), -1)


def test_a_pair_is_pixels_of_rows_and_of_columns():
    mask = np.zeros((60, 60), bool)
    mask[20:30, 20:40] = True
    assert derive_box(mask, (0.5, 3)).bounds == (19.5, 17, 30.5, 43)
    assert derive_box(mask, (0, 30)).bounds == (20, 0, 30, 60)
    with pytest.raises(InputError, match="0 or more"):
        derive_box(mask, (1, -0.5))


def test_the_box_beside_is_that_of_the_nearest_mask_and_holds_the_clicks():
    masks = np.zeros((9, 20, 30), bool)
    masks[2, 4:8, 10:20] = True
    masks[5, 5:15, 5:15] = True
    click = PointPrompt((18, 12))
    found = box_beside(masks.__getitem__, 4, 9, [click])
    assert found == box_around(masks[5], [click])
    assert found.y1 == 19
    assert box_beside(masks.__getitem__, 3, 9, []) == box_around(masks[2], [])
    assert box_beside(masks.__getitem__, 8, 9, []) == box_around(masks[5], []), "three slices are near"
    masks[5] = False
    assert box_beside(masks.__getitem__, 6, 9, []) is None
    assert box_beside(masks.__getitem__, 0, 9, []) == box_around(masks[2], [])
