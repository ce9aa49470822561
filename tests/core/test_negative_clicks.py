import numpy as np

from napari_medicosam.core.negative_clicks import without_negative_clicks
from napari_medicosam.core.prompts import PointPrompt


def body_with_lobe():
    mask = np.zeros((60, 80), bool)
    mask[10:50, 10:50] = True
    mask[26:34, 50:64] = True
    return mask


def no(y, x):
    return PointPrompt((y, x), positive=False)


def test_a_click_on_a_lobe_takes_the_lobe_there_and_nothing_of_the_body():
    mask = body_with_lobe()
    cut = without_negative_clicks(mask, [no(30, 58)])
    assert not cut[27:33, 56:61].any()
    assert cut[10:50, 10:50].all()
    assert mask[30, 58], "the mask that was given is left alone"


def test_a_click_in_the_middle_never_takes_all():
    mask = body_with_lobe()
    cut = without_negative_clicks(mask, [no(30, 30)])
    assert not cut[30, 30]
    assert 0.85 * mask.sum() < cut.sum() < mask.sum()


def test_a_click_on_a_small_mask_takes_two_pixels_at_least():
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    cut = without_negative_clicks(mask, [no(5, 5)])
    assert not cut[5:7, 5:7].any()
    assert cut[9, 9]


def test_what_changes_nothing_gives_the_mask_back():
    mask = body_with_lobe()
    for points in ([], [PointPrompt((30, 30))], [no(2, 2)], [no(59.6, 79.6)], [no(-0.4, 0)]):
        assert without_negative_clicks(mask, points) is mask


def test_several_clicks():
    mask = body_with_lobe()
    cut = without_negative_clicks(mask, [no(30, 58), no(12.4, 11.6)])
    assert not cut[30, 58]
    assert not cut[12, 12]
