"""Masks are the user's, whatever happens to the layers that show them: removed, or given other data by others."""

import numpy as np
import pytest

from napari_medicosam.ui.layers import (
    BOXES_NAME,
    LABELS_NAME,
    OBJECT_NAME,
    POINTS_NAME,
    SCRIBBLES_NAME,
)

NAMES = (LABELS_NAME, OBJECT_NAME, BOXES_NAME, SCRIBBLES_NAME, POINTS_NAME)


def work(session):
    """A locked object, a committed one, and a third that is being edited, with all kinds of prompts."""
    session.add_box(2, (5, 5, 15, 15))
    first = session.object_id
    session.new_object()
    session.change_object(first, is_locked=True)
    session.add_box(3, (5, 20, 15, 30))
    second = session.object_id
    session.new_object()
    session.add_point((4, 30, 30))
    session.add_scribble(5, [(25, 20), (25, 30)])
    session.add_box(6, (20, 20, 35, 35))
    return first, second, session.object_id


def masks_of(viewer):
    return {name: viewer.layers[name].data.copy() for name in (LABELS_NAME, OBJECT_NAME)}


def check_same(masks, others):
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, others[name])


@pytest.mark.parametrize("name", [LABELS_NAME, OBJECT_NAME, POINTS_NAME])
def test_what_is_in_a_layer_stays_when_the_layer_goes(make_session, notices, qtbot, name):
    viewer, session = make_session(scale=(3, 1, 1))
    work(session)
    before, prompts, labels = masks_of(viewer), session.prompts, session.label_map()
    order = [layer.name for layer in viewer.layers]
    num_steps = len(session._annotation.history.done)
    viewer.layers.remove(name)
    np.testing.assert_array_equal(session.label_map(), labels)
    assert session.prompts == prompts
    if name in before:
        qtbot.waitUntil(lambda: any("masks are kept" in notice for notice in notices))
    else:
        assert not notices
    assert len(session._annotation.history.done) == num_steps
    states = [masks_of(viewer)] if name not in before else []
    while session.can_undo:
        session.undo()
        states.append(masks_of(viewer))
    assert not any(mask.any() for mask in states[-1].values())
    assert [layer.name for layer in viewer.layers] == order
    for state in states[-2::-1]:
        session.redo()
        check_same(masks_of(viewer), state)
    while session.can_redo:
        session.redo()
    check_same(masks_of(viewer), before)
    assert session.prompts == prompts
    assert [len(viewer.layers[one].data) for one in NAMES[2:]] == [1, 1, 1]
    assert np.array_equal(viewer.layers[name].scale, (3, 1, 1))


def test_work_goes_on_in_a_new_layer(make_session):
    viewer, session = make_session()
    _, second, third = work(session)
    before = masks_of(viewer)
    for name in NAMES:
        viewer.layers.remove(name)
    session.add_point((8, 30, 30))
    after = masks_of(viewer)
    assert after[OBJECT_NAME][8].any()
    after[OBJECT_NAME][8] = 0
    check_same(after, before)
    viewer.layers.remove(OBJECT_NAME)
    viewer.layers.remove(LABELS_NAME)
    assert session.commit() == np.count_nonzero(session.label_map() == third)
    session.select(second)
    assert (viewer.layers[OBJECT_NAME].data == second).sum() == 100
    assert not (viewer.layers[LABELS_NAME].data == second).any()


def test_locked_objects_stay_when_the_labels_are_given_other_data(make_session, notices):
    viewer, session = make_session()
    first, second, third = work(session)
    labels = viewer.layers[LABELS_NAME]
    kept, before = labels.data, masks_of(viewer)
    given = np.zeros_like(kept)
    given[3, 5:15, 5:15] = first  # the locked one where it is not, and not where it is
    given[9, 5:7, 5:7] = second
    given[10, 5:7, 5:7] = third
    labels.data = given
    assert "A locked object" in notices[-1]
    assert labels.data is kept
    assert np.array_equal(kept == first, before[LABELS_NAME] == first)
    assert np.argwhere(kept == second).tolist() == [[9, 5, 5], [9, 5, 6], [9, 6, 5], [9, 6, 6]]
    assert not (kept == third).any(), "it is being edited: its voxels are in the other layer"
    assert (viewer.layers[OBJECT_NAME].data[10, 5:7, 5:7] == third).all()
    assert session.objects[1].num_voxels == 4
    session.undo()
    check_same(masks_of(viewer), before)
    session.redo()
    assert (kept == second).sum() == 4
    steps = list(session._annotation.history.done)
    labels.data = np.where(kept == first, 0, kept)
    assert session._annotation.history.done == steps, "all of it was put back"


def test_an_edited_mask_that_is_given_is_painted(make_session, notices):
    viewer, session = make_session()
    _, _, third = work(session)
    layer = viewer.layers[OBJECT_NAME]
    before, given = masks_of(viewer), np.zeros(layer.data.shape, bool)
    given[4:8, 22:30, 22:30] = True
    layer.data = given
    np.testing.assert_array_equal(layer.data, given * third)
    assert {4, 5, 6, 7} <= {plane.index for plane in session._annotation.table.anchors_of(third)}
    session.undo()
    check_same(masks_of(viewer), before)
    session.commit()
    session.change_object(third, is_locked=True)
    committed = masks_of(viewer)
    layer.data = given
    assert "is locked" in notices[-1]
    check_same(masks_of(viewer), committed)


@pytest.mark.parametrize("name", [LABELS_NAME, OBJECT_NAME])
def test_data_that_cannot_be_is_put_back(make_session, notices, name):
    viewer, session = make_session(scale=(3, 1, 1), translate=(5, 6, 7))
    work(session)
    layer = viewer.layers[name]
    before, kept = masks_of(viewer), layer.data
    wide = kept.astype(int)
    for given, said in (
        (kept[3], "has shape"),
        (kept[:, 5:], "has shape"),
        (kept[None], "has shape"),
        (wide - 1, "got -1 to"),
        (wide * 70000, "got 0 to"),
    ):
        layer.data = given
        assert said in notices[-1]
        assert layer.data is kept
        assert viewer.dims.ndim == 3
        assert np.array_equal((layer.scale, layer.translate), ((3, 1, 1), (5, 6, 7)))
    check_same(masks_of(viewer), before)


def test_labels_over_time_are_set_one_volume_at_a_time(make_session, notices):
    viewer, session = make_session(np.zeros((2, 6, 40, 50), np.uint8) + np.arange(50, dtype=np.uint8))
    viewer.dims.set_point(0, 1)
    session.add_box(2, (5, 5, 15, 15))
    session.commit()
    labels = viewer.layers[LABELS_NAME]
    given = labels.data.copy()
    given[1, 3, 2:4, 2:4] = 1
    labels.data = given
    assert session.objects[0].num_voxels == 104
    before, given = labels.data.copy(), given + 1
    labels.data = given
    assert "time point that is shown" in notices[-1]
    np.testing.assert_array_equal(labels.data, before)


def test_the_labels_of_another_image_are_put_back(make_session, notices):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    session.commit()
    labels = viewer.layers[LABELS_NAME]
    before = labels.data.copy()
    session.set_image(viewer.add_image(np.ones((4, 20, 20), np.uint8), name="other"))
    labels.data = np.zeros_like(before)
    assert "choose its image, 'scan', first" in notices[-1]
    np.testing.assert_array_equal(labels.data, before)
    viewer.layers.remove("scan")
    labels.data = np.zeros_like(before)
    assert not labels.data.any(), "nobody's but the user's from here on"
