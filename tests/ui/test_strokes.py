from typing import NamedTuple

import numpy as np
import pytest
from napari.layers import Labels

from napari_medicosam.ui.strokes import before_stroke, edits_of, is_applied


class MaskEdit(NamedTuple):
    slice_key: tuple
    mask: np.ndarray | None
    old_values: np.ndarray
    new_value: int


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_lay_there_before_a_stroke_of_naparis_brush(ndim):
    shape = (6, 30, 40)[3 - ndim :]
    before = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint16)
    layer = Labels(before.copy())
    strokes = []
    layer.events.paint.connect(lambda event: strokes.append(event.value))
    layer.brush_size = 7
    with layer.block_history():
        for x in (10, 13, 16):
            layer.paint((3, 12, x)[3 - ndim :], 2)
        layer.paint((3, 12, 11)[3 - ndim :], 0)
    layer.data_setitem(tuple(np.array([v, v]) for v in (5, 1, 2)[3 - ndim :]), np.array([7, 7]))
    label_map, expected = layer.data.reshape(-1, 30, 40), before.reshape(-1, 30, 40)
    for told in reversed(strokes):
        edits = edits_of(told)
        assert is_applied(label_map, edits)
        box, lay = before_stroke(label_map, edits)
        label_map[box.index] = lay
    np.testing.assert_array_equal(label_map, expected)


def test_both_kinds_of_edits_and_one_that_is_still_to_come():
    label_map = np.zeros((2, 5, 5), np.uint16)
    whole = MaskEdit((slice(1, 2), slice(0, 2), slice(0, 2)), None, np.full((1, 2, 2), 3), 4)
    points = ((np.array([1, 1]), np.array([4, 4]), np.array([2, 3])), np.array([5, 6]), 9)
    assert not is_applied(label_map, edits_of([whole]))
    label_map[1, :2, :2] = 4
    assert is_applied(label_map, edits_of([whole]))
    label_map[1, 4, 2:4] = 9
    box, before = before_stroke(label_map, edits_of([whole, points]))
    assert (box.start_zyx, box.stop_zyx) == ((1, 0, 0), (2, 5, 4))
    assert before[0].tolist() == [[3, 3, 0, 0], [3, 3, 0, 0], [0] * 4, [0] * 4, [0, 0, 5, 6]]


def test_of_volumes_over_time_one_is_looked_at():
    before = np.random.default_rng(1).integers(0, 4, (3, 4, 20, 30)).astype(np.uint16)
    layer = Labels(before.copy())
    strokes = []
    layer.events.paint.connect(lambda event: strokes.append(event.value))
    layer.n_edit_dimensions = 4
    layer.brush_size = 5
    layer.paint((1, 2, 10, 10), 9)
    layer.data_setitem(tuple(np.array([v, v + 1]) for v in (1, 1, 2, 3)), np.array([7, 7]))
    for told in reversed(strokes):
        for time in range(3):
            box, lay = before_stroke(layer.data[time], edits_of(told, time))
            layer.data[time][box.index] = lay
    np.testing.assert_array_equal(layer.data, before)
    assert any(not edits_of(told, 0) for told in strokes)
