import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT, SliceFrame
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.core.views import logits_between_views, mask_in_slice, pixel_of, prompts_in_view
from napari_medicosam.errors import InputError

PLANE = SlicePlane(0, 0)
VIEW = Region(10, 20, 42, 60)


@st.composite
def slices_with_views(draw):
    rows, columns = draw(st.integers(4, 200)), draw(st.integers(4, 200))
    y0, x0 = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    view = Region(y0, x0, draw(st.integers(y0 + 1, rows)), draw(st.integers(x0 + 1, columns)))
    return (rows, columns), view


@settings(deadline=None)
@given(slices_with_views(), st.data())
def test_a_point_in_the_view_is_the_same_pixel(slice_and_view, data):
    size_yx, view = slice_and_view
    y = data.draw(st.floats(view.y0 - 0.5, view.y1 - 0.5, exclude_max=True))
    x = data.draw(st.floats(view.x0 - 0.5, view.x1 - 0.5, exclude_max=True))
    point = PointPrompt((y, x), positive=False)
    inside = prompts_in_view(PromptSet(PLANE, (PointPrompt((view.y0, view.x0)), point)), view)
    moved = inside.points[1]
    assert inside.points[0] == PointPrompt((0, 0))
    assert not moved.positive
    assert moved.position_yx[0] + view.y0 == pytest.approx(y)
    row, column = pixel_of(moved, view.size_yx)
    assert abs(row + view.y0 - pixel_of(point, size_yx)[0]) <= (abs(y % 1 - 0.5) < 1e-9)
    assert abs(column + view.x0 - pixel_of(point, size_yx)[1]) <= (abs(x % 1 - 0.5) < 1e-9)


def test_boxes_and_masks_move_into_the_view():
    mask = np.zeros((50, 70), bool)
    mask[12:20, 25:50] = True
    inside = prompts_in_view(PromptSet(PLANE, box=BoxPrompt(12.5, 5, 20, 50), mask=mask), VIEW)
    assert inside.box == BoxPrompt(2.5, 0, 10, 30)
    assert inside.plane == PLANE
    np.testing.assert_array_equal(inside.mask, mask[10:42, 20:60])


@pytest.mark.parametrize(
    "prompts",
    [
        PromptSet(PLANE, (PointPrompt((9, 30)),)),
        PromptSet(PLANE, (PointPrompt((20, 30)), PointPrompt((20, 60), positive=False))),
        PromptSet(PLANE, box=BoxPrompt(0, 0, 10, 20)),
        PromptSet(PLANE, mask=np.eye(50, 70, dtype=bool) & (np.arange(70) < 9)),
    ],
    ids=["above", "right", "box", "mask"],
)
def test_a_prompt_outside_the_view_is_an_error(prompts):
    with pytest.raises(InputError):
        prompts_in_view(prompts, VIEW)


@settings(deadline=None)
@given(slices_with_views(), st.randoms(use_true_random=False))
def test_a_mask_in_the_slice_is_that_of_the_view(slice_and_view, random):
    size_yx, view = slice_and_view
    mask = np.random.default_rng(random.randint(0, 99)).random(view.size_yx) > 0.5
    whole = mask_in_slice(mask, view, size_yx)
    assert whole.shape == size_yx
    np.testing.assert_array_equal(whole[view.slices_yx], mask)
    assert whole.sum() == mask.sum()


@settings(deadline=None)
@given(slices_with_views())
def test_logits_of_an_equal_view_stay_as_they_are(slice_and_view):
    size_yx, view = slice_and_view
    logits = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    whole = Region(0, 0, *size_yx)
    for source, target in [(view, view), (None, None), (None, whole), (whole, None)]:
        assert logits_between_views(logits, source, target, size_yx) is logits


def smooth_logits(view, size_yx, side=64):
    """Positive within 12 pixels of (y, x) = (26, 40) of the slice, as a model of that side would see it."""
    rows, columns = SliceFrame(view.size_yx, side).resized_size
    y = view.y0 + (np.arange(rows) + 0.5) * view.size_yx[0] / rows
    x = view.x0 + (np.arange(columns) + 0.5) * view.size_yx[1] / columns
    logits = np.full((side, side), -MASK_PROMPT_LOGIT, np.float32)
    logits[:rows, :columns] = np.clip(12 - np.hypot(y[:, None] - 26, x - 40), -MASK_PROMPT_LOGIT, 5)
    return logits


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (Region(0, 0, 80, 120), VIEW),
        (VIEW, Region(0, 0, 80, 120)),
        (VIEW, Region(5, 8, 69, 72)),
        (Region(5, 8, 69, 72), VIEW),
        (VIEW, Region(12, 22, 60, 60)),
    ],
    ids=["in", "out", "a little out", "a little in", "beside"],
)
def test_logits_say_the_same_places_in_another_view(source, target):
    size_yx = (80, 120)
    moved = logits_between_views(smooth_logits(source, size_yx), source, target, size_yx)
    assert moved.dtype == np.float32
    wanted = smooth_logits(target, size_yx)
    rows, columns = SliceFrame(target.size_yx, 64).resized_size
    step = max(max(source.size_yx), max(target.size_yx)) / 64  # slice pixels to a low-res one
    clear = np.abs(wanted) > 1.5 * step
    assert clear[:rows, :columns].sum() > 0.5 * rows * columns
    np.testing.assert_array_equal((moved > 0)[clear], (wanted > 0)[clear])
    assert np.all(moved[rows:] == np.float32(-MASK_PROMPT_LOGIT))
    assert np.all(moved[:, columns:] == np.float32(-MASK_PROMPT_LOGIT))


@pytest.mark.parametrize(
    ("source", "target"), [(None, Region(16, 16, 48, 48)), (None, Region(8, 24, 24, 40))]
)
def test_logits_are_moved_to_within_a_fraction_of_a_pixel(source, target):
    centres = (np.arange(16) + 0.5) * 4  # of low-res pixels in a slice of 64
    logits = (centres[:, None] + 100 * centres).astype(np.float32)
    moved = logits_between_views(logits, source, target, (64, 64))
    y, x = (start + (np.arange(16) + 0.5) * target.size_yx[0] / 16 for start in (target.y0, target.x0))
    np.testing.assert_allclose(moved, y[:, None] + 100 * x, rtol=1e-5)


def test_what_the_other_view_did_not_see_is_background():
    logits = np.full((16, 16), 3, np.float32)
    moved = logits_between_views(logits, Region(0, 0, 32, 32), Region(16, 16, 48, 48), (64, 64))
    assert np.all(moved[:8, :8] == 3)
    assert np.all(moved[8:] == np.float32(-MASK_PROMPT_LOGIT))
    assert np.all(moved[:, 8:] == np.float32(-MASK_PROMPT_LOGIT))
    assert not np.any(logits_between_views(logits, Region(0, 0, 8, 8), Region(32, 32, 48, 48), (64, 64)) > 0)


@settings(deadline=None)
@given(slices_with_views(), st.data())
def test_any_two_views_give_finite_logits_between_their_extremes(slice_and_view, data):
    size_yx, source = slice_and_view
    y0, x0 = data.draw(st.integers(0, size_yx[0] - 1)), data.draw(st.integers(0, size_yx[1] - 1))
    target = Region(y0, x0, data.draw(st.integers(y0 + 1, size_yx[0])), size_yx[1])
    logits = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32)
    moved = logits_between_views(logits, source, target, size_yx)
    assert moved.shape == logits.shape
    assert np.isfinite(moved).all()
    assert moved.min() >= -MASK_PROMPT_LOGIT - 1e-3
    assert moved.max() <= logits.max() + 1e-3


@pytest.mark.parametrize("view", [Region(0, 0, 11, 5), Region(-1, 0, 5, 5), Region(2, 2, 2, 5)])
def test_a_view_lies_inside_its_slice(view):
    box = PromptSet(PLANE, box=BoxPrompt(1, 1, 5, 5))
    with pytest.raises(InputError, match="inside its slice of 10 rows"):
        SegmentRequest(np.zeros((10, 12)), box, previous_view=view)
    with pytest.raises(InputError, match="inside its slice of 10 rows"):
        SegmentResult(
            PLANE, np.zeros((10, 12), bool), Region(0, 0, 0, 0), 1.0, np.zeros((4, 4), np.float32), view=view
        )
