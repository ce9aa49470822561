import numpy as np
import pytest

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt, ObjectPrompts, PointPrompt, PromptSet
from napari_medicosam.core.results import Region, SegmentRequest
from napari_medicosam.errors import InputError

PLANE = SlicePlane(0, 3)
HERE, NOT_HERE = PointPrompt((2, 3)), PointPrompt((5, 5), positive=False)


def test_what_kind_of_set_it_is():
    mask = np.eye(8, dtype=bool)
    assert PromptSet(PLANE).is_empty
    assert PromptSet(PLANE, (NOT_HERE,)).is_stop
    assert not PromptSet(PLANE, (NOT_HERE,), mask=mask).is_stop
    assert PromptSet(PLANE, (HERE,)).is_ambiguous
    assert not PromptSet(PLANE, (HERE, NOT_HERE)).is_ambiguous
    assert not PromptSet(PLANE, (HERE,), BoxPrompt(0, 0, 4, 4)).is_ambiguous


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (PromptSet(PLANE), "no prompt"),
        (PromptSet(PLANE, (PointPrompt((10, 3)),)), "outside slice 3"),
        (PromptSet(PLANE, (PointPrompt((3, -0.6)),)), "outside"),
        (PromptSet(PLANE, box=BoxPrompt(10, 0, 12, 4)), "outside"),
        (PromptSet(PLANE, mask=np.ones((8, 8), bool)), "mask prompt has shape"),
        (PromptSet(PLANE, (HERE,), excluded=np.ones((8, 8), bool)), "excluded area has shape"),
    ],
)
def test_prompts_outside_the_slice(prompts, message):
    with pytest.raises(InputError, match=message):
        prompts.check((10, 12))


def test_a_box_may_stick_out():
    PromptSet(PLANE, box=BoxPrompt(-5, -5, 3, 30)).check((10, 12))


@pytest.mark.parametrize("bounds", [(4, 0, 4, 5), (5, 0, 4, 5), (0, 0, float("nan"), 5), (0, 5, 3, 5)])
def test_boxes_without_area(bounds):
    with pytest.raises(InputError, match="box needs"):
        BoxPrompt(*bounds)


def test_masks_are_copied_checked_and_frozen():
    mask = np.zeros((4, 4), bool)
    with pytest.raises(InputError, match="empty"):
        PromptSet(PLANE, mask=mask)
    mask[1, 1] = True
    prompts = PromptSet(PLANE, mask=mask)
    mask[1, 1] = False
    assert prompts.mask[1, 1]
    with pytest.raises(ValueError, match="read-only"):
        prompts.mask[0, 0] = True


def test_requests_copy_the_slice():
    pixels = np.zeros((10, 12), np.int16)
    request = SegmentRequest(pixels, PromptSet(PLANE, (HERE,)))
    pixels[:] = 7
    assert request.image_slice.max() == 0
    assert not request.image_slice.flags.writeable


@pytest.mark.parametrize("shape", [(0, 4), (4, 4, 4), (4,), (2, 4, 4, 3)])
def test_requests_refuse_what_is_no_slice(shape):
    with pytest.raises(InputError, match="image slice must be"):
        SegmentRequest(np.zeros(shape), PromptSet(PLANE, (PointPrompt((0, 0)),)))


def test_requests_take_one_mask_prompt():
    prompts = PromptSet(PLANE, mask=np.ones((10, 12), bool))
    with pytest.raises(InputError, match="one mask prompt"):
        SegmentRequest(np.zeros((10, 12)), prompts, previous_logits=np.zeros((16, 16), np.float32))


def test_objects_need_a_positive_prompt_and_one_set_a_slice():
    with pytest.raises(InputError, match=r"object 2 \(cyst\) has no prompt that says where"):
        ObjectPrompts(2, (PromptSet(PLANE, (NOT_HERE,)),), "cyst")
    twice = (PromptSet(PLANE, (HERE,)), PromptSet(PLANE, box=BoxPrompt(0, 0, 2, 2)))
    with pytest.raises(InputError, match="one set a slice"):
        ObjectPrompts(1, twice)
    stop = PromptSet(SlicePlane(0, 5), (NOT_HERE,))
    assert ObjectPrompts(1, (twice[0], stop)).stops == {5}


def test_regions():
    mask = np.zeros((6, 7), bool)
    assert Region.of_mask(mask).is_empty
    mask[1:3, 2:5] = True
    region = Region.of_mask(mask)
    assert region == Region(1, 2, 3, 5)
    assert mask[region.slices_yx].all()
    assert region.union(Region(0, 6, 1, 7)) == Region(0, 2, 3, 7)
    assert region.union(Region(0, 0, 0, 0)) == region
