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
    prompts_to_correct,
)
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
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


def test_a_correction_is_asked_with_the_mask_in_the_box_around_it():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    click = PointPrompt((45, 30))
    asked = prompts_to_correct(PromptSet(PLANE, (click,)), mask)
    assert asked.points == (click,)
    assert asked.box == box_around(mask, [click])
    assert np.array_equal(asked.mask, mask)
    off = prompts_to_correct(PromptSet(PLANE, (PointPrompt((50, 30), positive=False),)), mask)
    assert off.box == box_around(mask, []), "a negative click off the mask says nothing about its box"
    assert np.array_equal(off.mask, mask)


@pytest.mark.parametrize("turns", range(4))
def test_box_and_mask_end_before_a_negative_click(turns):
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    click = np.zeros_like(mask)
    click[30, 44] = True  # six pixels from the border of the mask: half of them is kept free
    mask, click = np.rot90(mask, turns), np.rot90(click, turns)
    point = PointPrompt(tuple(float(v) for v in np.argwhere(click)[0]), positive=False)
    asked = prompts_to_correct(PromptSet(PLANE, (point,)), mask)
    kept = np.zeros((60, 60), bool)
    kept[20:40, 10:41] = True
    np.testing.assert_array_equal(np.rot90(asked.mask, -turns), kept)
    y0, x0, y1, x1 = asked.box.bounds
    assert y1 - y0 == pytest.approx((22, 33)[turns % 2])
    assert x1 - x0 == pytest.approx((33, 22)[turns % 2])


def test_a_negative_click_takes_no_side_with_a_positive_one():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    wrong = PointPrompt((30, 44), positive=False)
    asked = prompts_to_correct(PromptSet(PLANE, (wrong, PointPrompt((30, 48)))), mask)
    assert asked.mask[30, 48]
    assert asked.box.x1 > 48
    around = [PointPrompt(at) for at in ((22, 44), (38, 44), (30, 12), (30, 48))]
    asked = prompts_to_correct(PromptSet(PLANE, (wrong, *around)), mask)
    assert asked.box == box_around(mask, around)
    assert np.array_equal(asked.mask, mask)


def test_a_drawn_box_stays():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:50] = True
    drawn = PromptSet(PLANE, (PointPrompt((30, 44), positive=False),), BoxPrompt(0, 0, 60, 60))
    asked = prompts_to_correct(drawn, mask)
    assert asked.box == drawn.box
    assert np.array_equal(asked.mask, mask)


@pytest.mark.parametrize(
    ("rows", "columns", "x"), [((2, 58), (10, 50), 48), ((20, 40), (10, 50), 30)], ids=["little", "most"]
)
def test_a_negative_click_takes_no_more_than_it_can_mean(rows, columns, x):
    """Near the border of a large mask it is about a little of it, and in its middle about none of its sides."""
    mask = np.zeros((60, 60), bool)
    mask[slice(*rows), slice(*columns)] = True
    asked = prompts_to_correct(PromptSet(PLANE, (PointPrompt((30, x), positive=False),)), mask)
    assert asked.box == box_around(mask, [])
    assert np.array_equal(asked.mask, mask)
