"""Scripts that write in the array of a layer itself, of which napari tells nobody."""

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_medicosam.ui.layers import LABELS_NAME


def two_objects(session):
    session.add_box(3, (0, 0, 10, 40))
    session.new_object()
    session.add_box(4, (20, 5, 30, 25))
    session.commit()
    return session.label_map()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_a_locked_object_is_put_back_as_soon_as_it_is_shown(make_session, order):
    viewer, session = make_session()
    before = two_objects(session)
    session.change_object(1, is_locked=True)
    viewer.dims.order = order
    labels = viewer.layers[LABELS_NAME]
    viewer.dims.current_step = (3, 5, 5)
    told = len(notification_manager.records)
    labels.data[:, 5, :] = 2
    labels.data[3, :, 5] = 2
    labels.data[3, 2, 2] = 0
    labels.data[3, 30, 30] = 1
    labels.refresh()
    np.testing.assert_array_equal(labels.data == 1, before == 1)
    assert labels.data[4, 5, 5] == 2, "what is free can be written"
    labels.refresh()
    assert [one.message for one in notification_manager.records[told:]] == [
        "A locked object was painted over and put back: unlock it to change it"
    ]


def test_a_slice_that_is_not_shown_is_put_back_when_it_is_or_when_it_is_saved(make_session):
    viewer, session = make_session()
    before = two_objects(session)
    session.change_object(1, is_locked=True)
    labels = viewer.layers[LABELS_NAME]
    viewer.dims.current_step = (7, 5, 5)
    labels.data[3] = 0
    labels.refresh()
    viewer.dims.set_current_step(0, 3)
    np.testing.assert_array_equal(labels.data, before)
    viewer.dims.set_current_step(0, 7)
    labels.data[3] = 0
    np.testing.assert_array_equal(session.label_map(), before)
    np.testing.assert_array_equal(labels.data, before)


def test_what_is_unlocked_may_be_written_and_steps_back_over_the_lock_stay_right(make_session):
    viewer, session = make_session()
    before = two_objects(session)
    labels = viewer.layers[LABELS_NAME]
    viewer.dims.current_step = (3, 5, 5)
    session.change_object(1, is_locked=True)
    session.undo()
    labels.data[3, 0, 0] = 0
    labels.refresh()
    assert labels.data[3, 0, 0] == 0
    session.redo()
    labels.data[3, 0] = 0
    labels.refresh()
    np.testing.assert_array_equal(np.flatnonzero((labels.data == 1) != (before == 1)), [3 * 40 * 50])
    session.change_object(1, is_locked=False)
    session.select(1)
    session.add_box(3, (0, 0, 10, 20))
    session.change_object(1, is_locked=True)  # commits it
    after = labels.data.copy()
    for _ in range(3):
        session.undo()
    session.undo()  # the lock
    for _ in range(4):
        session.redo()
    np.testing.assert_array_equal(labels.data, after)
