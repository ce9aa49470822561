"""Who has a voxel that several objects claim, in whatever order their slices come."""

from itertools import permutations

import numpy as np
import pytest

from napari_medicosam.cli.label_canvas import LabelCanvas
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt, ObjectPrompts, PromptSet
from napari_medicosam.errors import InputError

PLANE = SlicePlane(0, 0)
LISTED = [
    ObjectPrompts(number, (PromptSet(PLANE, box=BoxPrompt(0, 0, 5, 5)),), name)
    for number, name in ((7, "liver"), (2, ""), (5, ""))
]
ROWS = {7: slice(0, 3), 2: slice(2, 5), 5: slice(1, 6)}


def rows(at):
    mask = np.zeros((6, 6), bool)
    mask[at] = True
    return mask


@pytest.mark.parametrize(("rule", "wanted"), [("first", [7, 7, 7, 2, 2, 5]), ("last", [7, 5, 5, 5, 5, 5])])
@pytest.mark.parametrize("order", list(permutations(ROWS)))
def test_the_list_decides_and_not_who_comes_first(rule, wanted, order):
    canvas = LabelCanvas((1, 6, 6), LISTED, rule)
    for object_id in order:
        canvas.write(object_id, PLANE, rows(ROWS[object_id]))
    assert canvas.labels[0, :, 0].tolist() == wanted


def test_two_objects_never_share_a_voxel_silently():
    canvas = LabelCanvas((1, 6, 6), LISTED)
    canvas.write(7, PLANE, rows(slice(0, 3)))
    canvas.write(7, PLANE, rows(slice(0, 2)))
    with pytest.raises(InputError, match=r"object 2 and object 7 \(liver\) overlap in 6 pixels of slice 0"):
        canvas.write(2, PLANE, rows(slice(2, 5)))
