"""A clean-up is looked at before it is done, and nothing stays behind of one that is not."""

from __future__ import annotations

import threading
import zipfile

import numpy as np
import pytest
from qtpy.QtCore import QCoreApplication, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_medicosam.core.clean_up_effect import COMES, GOES, effect_of
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.post_processing import CleanUp, clean_up
from napari_medicosam.errors import InputError
from napari_medicosam.ui import clean_up_preview
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME, PREVIEW_NAME, preview_colours
from napari_medicosam.ui.segment_widget import SegmentWidget

WANTED = {"largest_component": True, "fill_holes": "slices"}


def make_rough(make, **how):
    """A session whose object has a hole on slice 2 and a crumb on slice 4."""
    viewer, session = make(scale=(5, 1, 1), units="mm", **how)
    session.add_box(2, (5, 5, 15, 15))
    assert session.wait(60)
    edited = viewer.layers[OBJECT_NAME]
    edited.data_setitem((np.array([2]), np.array([9]), np.array([9])), 0)
    edited.data_setitem((np.array([4, 4]), np.array([30, 30]), np.array([30, 31])), 1)
    viewer.dims.set_current_step(0, 2)
    return viewer, session


@pytest.fixture
def rough(make_session):
    return make_rough(make_session)


def turn():
    """Let the event loop get to what was put off."""
    for _ in range(3):
        QCoreApplication.processEvents()


def names(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


def previews(viewer):
    return [layer for layer in viewer.layers if layer.name.startswith(PREVIEW_NAME)]


def voxels(viewer):
    return {
        layer.name: layer.data.copy() for layer in viewer.layers if layer.name in (OBJECT_NAME, LABELS_NAME)
    }


def written(session, path):
    session.save(path)
    assert session.wait(60)
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist() if name != "session.json"}


def test_it_shows_what_goes_and_comes_and_nothing_of_it_is_kept(rough, tmp_path):
    viewer, session = rough
    order, active, before, undo = (
        names(viewer),
        viewer.layers.selection.active,
        voxels(viewer),
        session.can_undo,
    )
    saved = written(session, tmp_path / "before.zip")
    session.preview_clean_up(**WANTED)
    shown = viewer.layers[PREVIEW_NAME]
    assert [tuple(at) for at in np.argwhere(shown.data == COMES)] == [(2, 9, 9)]
    assert [tuple(at) for at in np.argwhere(shown.data == GOES)] == [(4, 30, 30), (4, 30, 31)]
    assert names(viewer).index(PREVIEW_NAME) == names(viewer).index(OBJECT_NAME) + 1, (
        "above the mask, below clicks"
    )
    assert shown in session.own_layers, "and is not offered as somebody else's labels"
    effect = session.preview
    assert (effect.num_voxels, effect.num_pieces) == ((101, 100), (2, 1))
    assert session.preview_slices == (2, 4)
    assert (session.go_to_change(), session.slice_index) == (4, 4)
    assert session.go_to_change() == 2, "from the last to the first"
    assert written(session, tmp_path / "during.zip") == saved
    session.preview_clean_up(min_size_mm3=11)
    assert sorted(np.unique(shown.data)) == [0, GOES], "other settings, other voxels"
    session.drop_preview()
    turn()
    assert (names(viewer), viewer.layers.selection.active, session.can_undo) == (order, active, undo)
    for name, data in voxels(viewer).items():
        np.testing.assert_array_equal(data, before[name])
    assert session.previewed is session.preview is session.go_to_change() is None
    assert not shown.data.any(), "hidden, and nothing in it"
    session.undo()
    assert not viewer.layers[OBJECT_NAME].data[4].any(), "the last step is the user's"


def test_to_apply_is_one_step_and_gives_what_was_seen(rough):
    viewer, session = rough
    before = voxels(viewer)
    session.preview_clean_up(**WANTED)
    seen = session.preview.after.unpacked((12, 40, 50))
    session.apply_preview()
    turn()
    np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data != 0, seen)
    assert PREVIEW_NAME not in names(viewer)
    session.undo()
    np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data, before[OBJECT_NAME])
    session.redo()
    np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data != 0, seen)
    session.preview_clean_up(**WANTED)
    assert session.preview.box.is_empty
    session.apply_preview()
    session.undo()
    (
        np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data, before[OBJECT_NAME]),
        "no change is no step",
    )


def test_what_makes_no_sense_is_said_at_once(make_session):
    _, session = make_session()
    with pytest.raises(InputError, match="segment the object first"):
        session.preview_clean_up(**WANTED)
    with pytest.raises(InputError, match="nothing to apply"):
        session.apply_preview()
    session.add_box(2, (5, 5, 15, 15))
    with pytest.raises(InputError, match="fill_holes"):
        session.preview_clean_up(holes="slices")
    session.change_object(1, is_locked=True)
    with pytest.raises(InputError, match="locked"):
        session.preview_clean_up(**WANTED)
    assert session.previewed is None


def test_the_newest_settings_win(make_session, monkeypatch):
    """Also over those that the worker is busy with, and when they are applied before they were seen."""
    viewer, session = make_rough(make_session, synchronous=False)
    entered, gate, asked = threading.Event(), threading.Event(), []

    def slow(packed, shape, spacing, settings, closed):
        asked.append(settings)
        entered.set()
        assert gate.wait(60)
        return effect_of(packed, shape, spacing, settings, closed)

    monkeypatch.setattr(clean_up_preview, "effect_of", slow)
    seen = []
    session.events.preview_changed.connect(lambda: seen.append(session.preview))
    session.preview_clean_up(min_size_mm3=11)
    assert entered.wait(60)
    session.preview_clean_up(min_size_mm3=1000)
    session.preview_clean_up(fill_holes="slices")
    gate.set()
    assert session.wait(60)
    assert [one for one in asked if one.min_size_mm3 == 1000] == [], "nobody waits for those in between"
    assert [effect.num_coming for effect in seen if effect is not None] == [1]
    gate.clear()
    session.preview_clean_up(largest_component=True)
    session.apply_preview()
    gate.set()
    assert session.wait(60)
    assert viewer.layers[OBJECT_NAME].data[2, 9, 9] == 0
    assert not viewer.layers[OBJECT_NAME].data[4].any()


def test_nothing_stays_behind_whatever_ends_it(rough):
    viewer, session = rough

    def look_and(end):
        session.select(1)
        session.preview_clean_up(**WANTED)
        assert PREVIEW_NAME in names(viewer)
        end()
        turn()
        assert session.previewed is session.preview is None
        assert not [name for name in names(viewer) if name.startswith(PREVIEW_NAME)]
        assert not any(layer.data.any() for layer in previews(viewer))

    look_and(lambda: viewer.layers.remove(PREVIEW_NAME))
    look_and(session.new_object)
    look_and(lambda: session.change_object(1, is_locked=True))
    session.change_object(1, is_locked=False)
    look_and(session.delete_object)
    session.undo()
    scan, other = session.image, viewer.add_image(np.zeros((12, 40, 50), np.uint8), name="other")
    look_and(lambda: session.set_image(other))
    session.set_image(scan)
    assert len(previews(viewer)) == 1
    look_and(lambda: viewer.layers.remove(scan))
    assert previews(viewer) == []


def test_no_layer_is_removed_when_it_ends(make_session, qtbot):
    """Napari collects all garbage then, which holds up the window; the next preview is shown in the same layer."""
    viewer, session = make_rough(make_session)
    removed = []
    viewer.layers.events.removed.connect(lambda event: removed.append(event.value))
    session.preview_clean_up(**WANTED)
    shown = viewer.layers[PREVIEW_NAME]
    for end, least in ((session.drop_preview, 11), (session.apply_preview, 1000)):
        end()
        turn()
        assert (shown.visible, shown.data.any(), removed) == (False, False, [])
        other = viewer.add_labels(np.zeros((12, 40, 50), np.uint8), name="on top")
        viewer.layers.move(viewer.layers.index(other), viewer.layers.index(shown))
        session.preview_clean_up(min_size_mm3=least)
        assert (shown.visible, shown.data.any(), previews(viewer)) == (True, True, [shown])
        assert viewer.layers.index(shown) == viewer.layers.index(viewer.layers[OBJECT_NAME]) + 1
    scan, other = session.image, viewer.add_image(np.zeros((12, 40, 50), np.uint8), name="other")
    session.set_image(other)
    session.set_image(scan)
    assert not shown.visible
    viewer.layers.remove(shown)
    session.preview_clean_up(min_size_mm3=1000)
    assert viewer.layers[PREVIEW_NAME] is not shown


def test_nothing_stays_behind_in_a_closed_session(rough):
    viewer, session = rough
    session.preview_clean_up(**WANTED)
    session.drop_preview()
    session.close()
    assert previews(viewer) == []


def test_cancel_ends_one_that_is_on_its_way(make_session, service):
    viewer, session = make_rough(make_session, synchronous=False)
    service.hold()
    session.add_box(6, (5, 5, 15, 15))  # keeps the worker busy
    session.preview_clean_up(**WANTED)
    session.cancel()
    service.gate.set()
    assert session.wait(60)
    assert session.previewed is None
    assert PREVIEW_NAME not in names(viewer)


def test_when_the_mask_changes_it_is_made_again(rough, qtbot):
    viewer, session = rough
    session.preview_clean_up(**WANTED)
    shown = viewer.layers[PREVIEW_NAME]
    viewer.layers[OBJECT_NAME].data_setitem((np.array([5]), np.array([20]), np.array([20])), 1)
    assert session.preview is None
    assert not shown.data.any(), "what is shown is never about another mask"
    qtbot.waitUntil(lambda: session.preview is not None)
    assert session.preview.num_going == 3
    assert shown.data[5, 20, 20] == GOES
    session.undo()
    qtbot.waitUntil(lambda: session.preview is not None)
    assert session.preview.num_going == 2


def test_a_committed_object_is_kept_out_of_others_and_edited_when_it_is_applied(make_session):
    viewer, session = make_session()
    session.add_box(2, (10, 10, 12, 12))
    session.new_object()
    session.add_box(2, (5, 5, 20, 20))  # around the other
    session.commit()
    viewer.layers.remove(OBJECT_NAME)
    session.preview_clean_up(fill_holes="slices")
    assert session.preview.box.is_empty, "the hole is another object"
    session.commit_policy = CommitPolicy(overwrite=True)
    session.preview_clean_up(fill_holes="slices")
    assert session.preview.num_coming == 4
    assert session.record.is_committed
    session.apply_preview()
    assert not session.record.is_committed
    assert (viewer.layers[OBJECT_NAME].data[2, 10:12, 10:12] == 2).all()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)])
def test_holes_are_filled_in_the_slices_that_are_shown(make_session, order):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    edited = viewer.layers[OBJECT_NAME].data
    edited[2:5, 5:15, 5:15] = 1
    edited[:, 9, 9] = 0  # a tunnel: a hole of axial slices alone
    viewer.dims.order = order
    session.preview_clean_up(fill_holes="slices")
    wanted = clean_up(edited != 0, (1, 1, 1), CleanUp(fill_holes="slices", fill_axis=order[0]))
    np.testing.assert_array_equal(session.preview.after.unpacked(edited.shape), wanted)
    assert session.previewed.fill_axis == order[0]
    assert len(session.preview_slices) == (3 if order[0] == 0 else 0)


def test_of_volumes_over_time_it_is_about_the_one_on_show(make_session):
    viewer, session = make_session(np.zeros((2, 6, 20, 20), np.uint8))
    viewer.dims.set_current_step(0, 1)
    session.add_box(2, (5, 5, 15, 15))
    viewer.layers[OBJECT_NAME].data_setitem((np.array([1]), np.array([2]), np.array([9]), np.array([9])), 0)
    session.preview_clean_up(fill_holes="slices")
    assert [tuple(at) for at in np.argwhere(viewer.layers[PREVIEW_NAME].data)] == [(1, 2, 9, 9)]
    viewer.dims.set_current_step(0, 0)
    turn()
    assert session.previewed is None
    assert PREVIEW_NAME not in names(viewer)


def test_the_form_is_there_as_long_as_the_preview(rough):
    viewer, session = rough
    widget = SegmentWidget(session=session)
    form, entries = widget._clean_up, {one.text(): one for one in widget._refine.menu().actions()}
    assert form.isHidden()
    entries["Clean up …"].trigger()
    assert not form.isHidden()
    assert form._said.text() == "Nothing changes: 0.5050 mL, 2 pieces"
    assert not form._apply.isEnabled()
    form._largest.click()
    form._smooth.setValue(1.0)
    form._smooth.setValue(0.0)
    form._holes.setCurrentIndex(form._holes.findData("slices"))
    form._holes.activated.emit(form._holes.currentIndex())
    assert session.previewed == CleanUp(largest_component=True, fill_holes="slices")
    assert (form._going.text(), form._coming.text()) == ("0.01000 mL removed", "0.005000 mL added")
    assert form._said.text() == "0.5050 mL → 0.5000 mL (−1.0 %)\n2 → 1 piece; 2 slices change"
    form._drop.click()
    assert form.isHidden()
    assert viewer.layers[OBJECT_NAME].data[4].any()
    entries["Clean up …"].trigger()
    assert session.previewed == CleanUp(largest_component=True, fill_holes="slices"), "as it was left"
    form._next.click()
    assert session.slice_index == 4
    form._apply.click()
    assert form.isHidden()
    assert not viewer.layers[OBJECT_NAME].data[4].any()
    session.preview_clean_up(smooth_mm=2.5)
    assert (form.isHidden(), form._smooth.value(), form._largest.isChecked()) == (False, 2.5, False)
    widget.close()


def test_enter_applies_and_escape_leaves_it(rough):
    viewer, session = rough
    widget, before = SegmentWidget(session=session), voxels(viewer)
    form = widget._clean_up
    for control in (form._largest, form._holes, form._least):
        form.open()
        QTest.keyClick(control, Qt.Key.Key_Escape)
        assert session.previewed is None
    assert form.focusWidget() is None
    np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data, before[OBJECT_NAME])
    form.open()
    form._drop.setFocus()
    QTest.keyClick(form._drop, Qt.Key.Key_Return)
    assert session.previewed is None, "a button is pressed"
    np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data, before[OBJECT_NAME])
    form.open()
    form._least.setFocus()
    form._least.lineEdit().setText("11 mm³")
    QTest.keyClick(form._least, Qt.Key.Key_Return)
    assert session.previewed is None
    assert not viewer.layers[OBJECT_NAME].data[4].any(), "what was typed counts"
    assert viewer.layers[OBJECT_NAME].data[2].any()
    controls = [one for one in form.findChildren(QWidget) if one.focusPolicy() and one.parent() is form]
    assert [one for one in controls if not one.toolTip()] == []
    widget.close()


def test_colours_can_be_told_from_the_mask():
    for mask in ((1, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 1), (0.9, 0.6, 0)):
        for colour in preview_colours((*mask, 1.0)):
            assert np.abs(colour[:3] - mask).sum() > 0.9, mask
