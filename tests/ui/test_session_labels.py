"""Labels that were made before come into a session, and go out of it."""

import numpy as np
import pytest
from qtpy.QtWidgets import QInputDialog

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.object_table import ObjectRecord
from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.segment_widget import SegmentWidget


def made_before():
    label_map = np.zeros((12, 40, 50), np.int32)
    label_map[2:5, 5:15, 5:15] = 1
    label_map[3:6, 20:30, 5:15] = 300
    return label_map


def test_labels_become_committed_objects_in_one_step(make_session):
    viewer, session = make_session()
    label_map = made_before()
    assert session.add_labels(label_map, {300: "spleen"}) == (1, 300)
    names = {
        record.object_id: (record.name, record.num_voxels)
        for record in session.objects
        if record.is_committed
    }
    assert names == {1: ("object 1", 300), 300: ("spleen", 300)}
    assert session.object_id not in (1, 300), "prompts are for a new object"
    np.testing.assert_array_equal(viewer.layers[LABELS_NAME].data, label_map)
    np.testing.assert_array_equal(session.label_map(), label_map)
    session.select(300)
    session.add_point((4, 35, 35))
    assert viewer.layers[OBJECT_NAME].data[4, 25, 10] == 300, "it can be corrected like any other"
    session.commit()
    assert [review.index for review in session.review] == [3, 4, 5]
    corrected = session.label_map()
    for _ in range(4):
        session.undo()
    assert not viewer.layers[LABELS_NAME].data.any()
    assert [record.object_id for record in session.objects] == [1]
    for _ in range(4):
        session.redo()
    np.testing.assert_array_equal(session.label_map(), corrected)


def test_labels_to_begin_with_are_no_step_and_nobodys_effort(make_session, tmp_path):
    _, session = make_session()
    objects = [ObjectRecord(300, "spleen", 4, is_locked=True), ObjectRecord(301, "vessel", is_locked=True)]
    session.begin_with(made_before(), objects, frozenset({4}))
    assert [(one.object_id, one.name, one.class_id, one.is_locked) for one in session.objects] == [
        (1, "object 1", None, False), (300, "spleen", 4, True), (301, "vessel", None, True),
        (302, "object 302", None, False),
    ]  # fmt: skip
    assert (session.object_id, session.locked_classes) == (302, {4})
    assert not session.can_undo
    with pytest.raises(InputError, match="nothing to save"):
        session.save_effort(tmp_path / "effort.csv")
    session.add_box(4, (15, 0, 25, 10))
    for _ in range(2):
        session.undo()
    np.testing.assert_array_equal(session.label_map(), made_before())


def test_what_is_there_already_stays(make_session):
    _, session = make_session()
    session.add_box(3, (0, 0, 10, 40))
    session.new_object()
    session.add_box(4, (0, 0, 10, 10))
    label_map = made_before()
    label_map[label_map == 1] = 7
    session.add_labels(label_map)
    after = session.label_map()
    assert np.count_nonzero(after == 1) == 400
    assert np.count_nonzero(after == 2) == 100
    assert np.count_nonzero(after == 7) == 300 - 2 * 25 - 25
    assert {record.object_id: record.num_voxels for record in session.objects} == {
        1: 400,
        2: 0,
        7: 225,
        300: 300,
    }
    before = session.objects
    with pytest.raises(InputError, match="object 300 is there already"):
        session.add_labels(made_before() // 300 * 300)
    assert session.objects == before


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        (np.zeros((12, 40, 49), int), "wanted integer labels of shape"),
        (np.zeros((40, 50), int), "wanted integer labels of shape|got one slice"),
        (np.zeros((12, 40, 50)), "got float64"),
        (np.full((12, 40, 50), -1), "1 to 65535, got -1"),
        (np.full((12, 40, 50), 70000), "1 to 65535, got 70000"),
    ],
)
def test_what_are_no_labels_is_refused_and_nothing_has_happened(make_session, label_map, message):
    _, session = make_session()
    with pytest.raises(InputError, match=message):
        session.add_labels(label_map)
    assert not session.can_undo
    assert [record.object_id for record in session.objects] == [1]


def test_labels_of_a_2d_image(make_session):
    _, session = make_session(np.zeros((40, 50), np.uint8))
    label_map = np.zeros((40, 50), bool)
    label_map[5:10] = True
    assert session.add_labels(label_map) == (1,)
    np.testing.assert_array_equal(session.label_map(), label_map)


def test_an_object_inside_another_and_outside_it_after_it_was_loaded(make_session):
    _, session = make_session()
    session.add_labels(made_before())
    session.change_object(300, class_id=4)
    session.commit_policy = CommitPolicy(inside_class=4)
    session.add_box(4, (15, 0, 25, 10))
    assert session.commit() == 25
    assert np.count_nonzero(session.label_map() == 300) == 275
    session.undo()
    assert np.count_nonzero(session.label_map() == 300) == 300 - 25, "the open object shows where it will win"


def test_the_window_of_the_model_is_known_once_it_was_measured(make_session):
    _, session = make_session(real=True)
    assert session.window_range is None
    session.set_window("percentile")
    session.add_box(4, (5, 5, 20, 20))
    low, high = session.window_range
    assert 0 <= low < 5
    assert 250 < high <= 255
    session.set_window("-100,300")
    assert session.window_range is None
    session.prepare()
    assert session.window_range == (-100, 300)


def test_a_task_of_ones_own_runs_on_the_worker(make_session, notices):
    import threading

    _, session = make_session(synchronous=False)
    found = []
    session.run(lambda report: threading.current_thread().name, found.append, key="mine")
    assert session.wait(30)
    assert found == ["medicosam-worker"]

    def fail(report):
        raise InputError("wanted something else")

    session.run(fail, found.append, key="mine")
    assert session.wait(30)
    assert len(found) == 1
    assert any("wanted something else" in said for said in notices)


def test_own_layers_are_those_of_the_image(make_session):
    viewer, session = make_session()
    assert session.own_layers == ()
    session.add_box(4, (5, 5, 20, 20))
    assert set(session.own_layers) == {layer for layer in viewer.layers if layer.name.startswith("MedicoSAM")}
    assert len(session.own_layers) == 5


def test_what_another_layer_has_on_a_slice_is_a_prompt(make_session, service):
    viewer, session = make_session()
    other = viewer.add_labels(made_before(), name="of another tool")
    viewer.dims.set_current_step(0, 4)
    session.add_mask_of(other)
    asked = service.requests[-1].prompts
    np.testing.assert_array_equal(asked.mask, made_before()[4] != 0)
    assert asked.box is not None
    viewer.dims.set_current_step(0, 9)
    with pytest.raises(InputError, match="not 0"):
        session.add_mask_of(other)
    small = viewer.add_labels(made_before()[:, 1:], name="small")
    with pytest.raises(InputError, match="'small' has shape"):
        session.add_mask_of(small)


def test_the_menu_takes_labels_of_another_layer(make_session, monkeypatch, notices):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    entries = {action.text(): action for action in widget._refine.menu().actions()}
    assert widget._refine.isEnabled()
    assert not entries["Clean up …"].isEnabled()
    entries["Labels of a layer as objects …"].trigger()
    assert "no labels layer beside ours" in notices[-1]
    viewer.add_labels(made_before(), name="of another tool")
    offered = []

    def choose(parent, title, label, names, *rest):
        offered.extend(names)
        return names[0], True

    monkeypatch.setattr(QInputDialog, "getItem", choose)
    entries["Labels of a layer as objects …"].trigger()
    assert [record.object_id for record in session.objects if record.is_committed] == [1, 300]
    viewer.dims.set_current_step(0, 5)
    entries["Mask of a layer as a prompt …"].trigger()
    assert offered == ["of another tool"] * 2, "our own layers are not offered"
    assert session.prompts.masks
    widget.close()


def test_a_free_label_that_is_painted_is_an_object(make_session):
    viewer, session = make_session()
    session.add_box(3, (5, 5, 15, 15))
    session.commit()
    labels = viewer.layers[LABELS_NAME]
    labels.brush_size = 1
    labels.data_setitem((np.array([3, 3]), np.array([30, 31]), np.array([7, 7])), 77)
    (record,) = [one for one in session.objects if one.object_id == 77]
    assert (record.name, record.num_voxels, record.is_committed) == ("object 77", 2, True)
    session.select(77)
    assert session.num_open_voxels == 2
    session.undo()
    session.undo()
    assert [one.object_id for one in session.objects] == [1]
    assert not (labels.data == 77).any()
