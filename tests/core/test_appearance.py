"""Masks that agree with what an object looked like on annotated slices."""

import numpy as np
import pytest

from napari_medicosam.core.appearance import Appearance
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.results import Region

MAPPING = IntensityMapping("window", 0, 1000)
SIZE = (40, 60)


def shown(inside=700, outside=300, seed=0):
    """A bright square on dark ground, and its mask."""
    mask = np.zeros(SIZE, bool)
    mask[10:26, 20:36] = True
    noise = np.random.default_rng(seed).normal(0, 40, SIZE)
    return np.where(mask, inside, outside) + noise, mask


def logits_of(wide, sure=1.0):
    """Of a mask of the slice, on a grid of 60: what `SliceFrame` makes of a slice with a longer side of 60."""
    logits = np.full((60, 60), -20, np.float32)
    logits[: SIZE[0]] = np.where(wide, sure, -6)
    return logits


@pytest.fixture
def leaked():
    """The model takes 8 columns too many."""
    _, mask = shown()
    wide = mask.copy()
    wide[10:26, 36:44] = True
    return wide


def test_a_leak_into_what_looks_like_the_surroundings_is_cut_off(leaked):
    pixels, mask = shown()
    found = Appearance([(pixels, mask)], 0.5).mask_of(logits_of(leaked), None, shown(seed=1)[0], MAPPING)
    assert np.count_nonzero(found ^ mask) < 0.1 * np.count_nonzero(mask)
    sure = Appearance([(pixels, mask)], 0.5).mask_of(logits_of(leaked, 5), None, pixels, MAPPING)
    np.testing.assert_array_equal(sure, leaked, "intensities do not overrule a model that is sure")


def test_where_object_and_surroundings_look_alike_the_mask_is_the_models(leaked):
    pixels, mask = shown(inside=500, outside=500)
    found = Appearance([(pixels, mask)], 0.5).mask_of(logits_of(leaked), None, pixels, MAPPING)
    np.testing.assert_array_equal(found, leaked)


def test_nothing_around_says_nothing(leaked):
    pixels, _ = shown()
    all_of_it = Appearance([(pixels, np.ones(SIZE, bool))], 0.5)
    assert not all_of_it.log_odds(MAPPING).any()
    np.testing.assert_array_equal(all_of_it.mask_of(logits_of(leaked), None, pixels, MAPPING), leaked)
    assert not all_of_it.mask_of(logits_of(np.zeros(SIZE, bool)), None, pixels, MAPPING).any()


def test_a_view_is_read_where_it_lies(leaked):
    pixels, mask = shown()
    view = Region(4, 14, 34, 44)
    logits = np.where(leaked[view.slices_yx], 1, -6).astype(np.float32)
    found = Appearance([(pixels, mask)], 0.5).mask_of(logits, view, pixels, MAPPING)
    assert np.count_nonzero(found ^ mask) < 0.1 * np.count_nonzero(mask)
    outside = found.copy()
    outside[view.slices_yx] = False
    assert not outside.any()


def test_finer_logits_are_sampled_at_the_centres_of_pixels():
    pixels, mask = shown(inside=500, outside=500)
    fine = np.full((120, 120), -20, np.float32)
    fine[:80] = np.where(np.kron(mask, np.ones((2, 2))), 4, -4)
    found = Appearance([(pixels, mask)], 0.5).mask_of(fine, None, pixels, MAPPING)
    np.testing.assert_array_equal(found, mask)


def test_several_slices_have_the_same_say_and_colours_are_seen_as_grey():
    bright, mask = shown(inside=900)
    dark, _ = shown(inside=600)
    both = Appearance([(bright, mask), (dark, mask)], 1.0).log_odds(MAPPING)
    assert both[900 * 64 // 1000] > 1
    assert both[600 * 64 // 1000] > 1
    assert both[300 * 64 // 1000] < -1
    in_colour = [(np.repeat(pixels[..., None], 3, axis=-1), mask) for pixels in (bright, dark)]
    np.testing.assert_allclose(Appearance(in_colour, 1.0).log_odds(MAPPING), both, atol=1e-6)


def test_another_window_is_counted_anew():
    pixels, mask = shown()
    appearance = Appearance([(pixels, mask)], 1.0)
    first = appearance.log_odds(MAPPING)
    assert not np.array_equal(appearance.log_odds(IntensityMapping("window", 0, 400)), first)
    np.testing.assert_array_equal(appearance.log_odds(MAPPING), first)
