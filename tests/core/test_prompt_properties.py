"""What holds for all prompts, whatever they are: drawn by hypothesis, not chosen by us."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompt_derivation import PromptMode, derive_prompts
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.core.volume_prompts import (
    VolumeBox,
    VolumeLasso,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
    volume_mask,
)
from napari_medicosam.errors import InputError

SHAPE = (5, 9, 12)
MODES = ["box", "mask", "points", "points_and_mask", "single_point", "box+points", "mask+single_point"]
some = settings(max_examples=60, deadline=None, derandomize=True)

any_number = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-30, 30).map(float))
axes = st.integers(0, 2)
near = st.floats(-6, 18)  # inside the slice, on its border, and outside
paths = st.lists(st.tuples(near, near), min_size=1, max_size=6).map(tuple)


any_size = st.tuples(st.integers(1, 14), st.integers(1, 14))


@st.composite
def masks(draw, sizes=any_size):
    mask = draw(hnp.arrays(bool, draw(sizes)))
    mask[draw(st.integers(0, mask.shape[0] - 1)), draw(st.integers(0, mask.shape[1] - 1))] = True
    return mask


@st.composite
def masks_in_the_volume(draw):
    plane = SlicePlane(axis := draw(axes), draw(st.integers(0, SHAPE[axis] - 1)))
    return volume_mask(plane, draw(masks(st.just(plane.size_yx(SHAPE)))))


indices = st.integers(-2, 14)
prompts = st.one_of(
    st.builds(VolumePoint, st.tuples(near, near, near), st.booleans(), axes),
    st.builds(VolumeBox, axes, indices, st.tuples(near, near, near, near)),
    st.builds(VolumeScribble, axes, indices, paths, st.booleans()),
    st.builds(VolumeLasso, axes, indices, paths, st.booleans()),
    masks_in_the_volume(),
)


def gathered(listed):
    found = VolumePrompts()
    for prompt in listed:
        found = found.with_prompt(prompt)
    return found


@some
@given(st.tuples(any_number, any_number))
def test_a_point_is_two_finite_numbers_or_an_error(position):
    if all(map(math.isfinite, position)):
        assert PointPrompt(position).position_yx == position
    else:
        with pytest.raises(InputError):
            PointPrompt(position)


@some
@given(st.tuples(*[any_number] * 4))
def test_a_box_has_an_area_or_is_an_error(bounds):
    y0, x0, y1, x1 = bounds
    if all(map(math.isfinite, bounds)) and y0 < y1 and x0 < x1:
        assert BoxPrompt(*bounds).bounds == bounds
    else:
        with pytest.raises(InputError):
            BoxPrompt(*bounds)


@some
@given(
    st.lists(st.tuples(near, near), min_size=1, max_size=4), st.tuples(st.integers(1, 12), st.integers(1, 12))
)
def test_points_are_refused_exactly_when_one_is_outside(positions, size):
    found = PromptSet(SlicePlane(0, 0), tuple(map(PointPrompt, positions)))
    inside = all(-0.5 <= v <= n - 0.5 for position in positions for v, n in zip(position, size, strict=True))
    if inside:
        found.check(size)
    else:
        with pytest.raises(InputError, match="outside"):
            found.check(size)


@some
@given(st.lists(prompts, max_size=8))
def test_cleaned_prompts_can_be_asked_with_and_stay_as_they_are(listed):
    cleaned, complaints = gathered(listed).cleaned(SHAPE)
    for plane in cleaned.planes:
        size = plane.size_yx(SHAPE)
        asked = cleaned.on(plane, size)
        if not asked.is_empty:  # a lasso may lie between pixels
            asked.check(size)
    again, more_complaints = cleaned.cleaned(SHAPE)
    assert again == cleaned
    assert not more_complaints
    assert not (complaints and cleaned == gathered(listed))


@some
@given(st.lists(prompts, max_size=6), prompts)
def test_a_prompt_that_is_added_is_on_its_slice_and_can_be_taken_away(listed, prompt):
    before = gathered(listed)
    after = before.with_prompt(prompt)
    plane = (prompt.axis, prompt.index)
    assert (prompt.axis, prompt.index) in {(found.axis, found.index) for found in after.all}
    assert after.without_prompt(prompt) == before
    if prompt.index >= 0 and all(found.index >= 0 for found in before.all):
        assert after.changed_planes(before) == [SlicePlane(*plane)]
        assert after.grew_from(before, SlicePlane(*plane))
        rest = after.without(SlicePlane(*plane))
        assert {(found.axis, found.index) for found in rest.all} == {
            (found.axis, found.index) for found in before.all
        } - {plane}


@some
@given(
    masks(), st.sampled_from(MODES), st.one_of(st.floats(0, 4), st.tuples(st.floats(0, 3), st.floats(0, 3)))
)
def test_derived_prompts_are_true_of_their_mask(mask, text, extension):
    mode = PromptMode.parse(text)
    found = derive_prompts(mask, SlicePlane(1, 3), mode, extension)
    found.check(mask.shape)
    for point in found.points:
        y, x = (round(v) for v in point.position_yx)
        assert mask[y, x] == point.positive
    assert any(point.positive for point in found.points) == (mode.points or mode.single_point)
    assert (found.box is not None) == mode.box
    if found.box is not None:
        inside = np.zeros_like(mask)
        y0, x0, y1, x1 = found.box.bounds
        inside[math.floor(y0) : math.ceil(y1), math.floor(x0) : math.ceil(x1)] = True
        assert not (mask & ~inside).any()
    assert (found.mask is not None) == mode.mask
    assert found.mask is None or np.array_equal(found.mask, mask)


@some
@given(st.tuples(st.integers(1, 700), st.integers(1, 700)), st.sampled_from([64, 256, 1024]), st.data())
def test_points_of_a_slice_stay_in_order_and_in_the_model_frame(size, model_size, data):
    frame = SliceFrame(size, model_size)
    assert max(frame.resized_size) == model_size
    ys = sorted(data.draw(st.lists(st.floats(0, size[0]), min_size=2, max_size=5)))
    xs = sorted(data.draw(st.lists(st.floats(0, size[1]), min_size=len(ys), max_size=len(ys))))
    found = frame.points_xy([PointPrompt((y, x)) for y, x in zip(ys, xs, strict=True)])
    assert (np.diff(found, axis=0) >= 0).all()
    assert found.min() >= 0
    assert (found <= np.array(frame.resized_size[::-1]) + 1e-9).all()
