import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import PointPrompt, PromptSet
from napari_medicosam.core.users_clicks import as_said


def body_with_lobe():
    mask = np.zeros((60, 80), bool)
    mask[10:50, 10:50] = True
    mask[26:34, 50:64] = True
    return mask


def body():
    mask = body_with_lobe()
    mask[:, 50:] = False
    return mask


def yes(y, x):
    return PointPrompt((y, x))


def no(y, x):
    return PointPrompt((y, x), positive=False)


def said(mask, *points, excluded=None):
    return as_said(mask, PromptSet(SlicePlane(0, 0), points, excluded=excluded))


def test_a_click_on_a_lobe_takes_the_lobe_there_and_nothing_of_the_body():
    mask = body_with_lobe()
    cut = said(mask, no(30, 58))
    assert not cut[27:33, 56:61].any()
    assert cut[10:50, 10:50].all()
    assert mask[30, 58], "the mask that was given is left alone"


def test_a_click_in_the_middle_never_takes_all():
    mask = body_with_lobe()
    cut = said(mask, no(30, 30))
    assert not cut[30, 30]
    assert 0.85 * mask.sum() < cut.sum() < mask.sum()


def test_a_click_on_a_small_mask_takes_two_pixels_at_least():
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    cut = said(mask, no(5, 5))
    assert not cut[5:7, 5:7].any()
    assert cut[9, 9]


def test_what_changes_nothing_gives_the_mask_back():
    mask = body_with_lobe()
    beside = ~mask
    for points in ([], [yes(30, 30)], [no(2, 2)], [no(59.4, 79.4)], [no(-0.4, 0)]):
        assert said(mask, *points, excluded=beside) is mask
    nothing = np.zeros_like(mask)
    assert said(nothing, yes(30, 30)) is nothing, "the model finds nothing, and nobody knows how large it is"


def test_several_clicks():
    cut = said(body_with_lobe(), no(30, 58), no(12.4, 11.6), yes(5, 30))
    assert not cut[30, 58]
    assert not cut[12, 12]
    assert cut[5, 30]


def test_a_click_beside_the_mask_adds_a_disc_that_reaches_it_and_no_more():
    mask = body()
    grown = said(mask, yes(30, 53))
    assert grown[30, 50:58].all()
    assert grown[mask].all()
    assert np.count_nonzero(grown & ~mask) < 80
    assert not mask[30, 53], "the mask that was given is left alone"


def test_a_click_far_from_the_mask_adds_a_share_of_its_size():
    far = said(body(), yes(30, 70)) & ~body()
    assert far[30, 65:76].all()
    assert np.count_nonzero(far) == pytest.approx(np.pi * (0.15 * 40) ** 2, rel=0.1)
    assert said(body(), yes(0, 79))[0, 79], "at the corner"


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_clicks_side_by_side_that_say_otherwise_both_count(apart):
    """Off the mask and in it: each has what is nearer to it."""
    outside = said(body(), yes(30, 54), no(30, 54 + apart))
    assert outside[30, 54]
    assert not outside[30, 54 + apart :].any()
    inside = said(body(), no(30, 46), yes(30, 46 + apart))
    assert not inside[30, 46]
    assert inside[30, 46 + apart :].sum() == 4 - apart


def test_of_two_clicks_on_one_pixel_the_later_counts():
    np.testing.assert_array_equal(said(body(), yes(30, 46), no(30.4, 45.6)), said(body(), no(30, 46)))
    np.testing.assert_array_equal(said(body(), no(30, 46), yes(30, 46)), body())
    np.testing.assert_array_equal(said(body(), no(30, 54), yes(30, 54)), said(body(), yes(30, 54)))
    np.testing.assert_array_equal(said(body(), yes(30, 54), no(30, 54)), body())


def test_what_was_lassoed_away_goes_and_nothing_else():
    mask, away = body_with_lobe(), np.zeros((60, 80), bool)
    away[20:40, 30:70] = True
    cut = said(mask, no(30, 60), no(30, 35), no(22, 31), yes(30, 45), yes(38, 66), excluded=away)
    np.testing.assert_array_equal(cut, mask & ~away)
    beside = said(mask, yes(41, 60), excluded=away)
    assert beside[41, 60]
    assert not (beside & away).any(), "a click beside it brings nothing of it back"
