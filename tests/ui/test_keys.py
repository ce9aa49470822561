import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medicosam.ui import keys
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.segment_widget import SegmentWidget


def test_our_keys_are_free_in_napari():
    napari_s = {
        coerce_keybinding(key)
        for name, bound in get_settings().shortcuts.shortcuts.items()
        if name.startswith("napari:")
        for key in bound
    }
    assert len(napari_s) > 50
    ours = [coerce_keybinding(key) for key, _, _ in keys.ACTIONS.values()]
    assert not napari_s.intersection(ours)
    assert len(set(ours)) == len(ours)


def test_our_keys_are_no_shortcuts_of_napari_s_menus(make_session):
    make_session()
    in_menus = {entry.keybinding for entry in get_app_model().keybindings}
    assert len(in_menus) > 10
    assert not in_menus.intersection(coerce_keybinding(key) for key, _, _ in keys.ACTIONS.values())


def test_keys_do_what_they_say_in_the_canvas(make_session, qtbot):
    viewer, session = make_session(show=True)
    native = viewer.window._qt_viewer.canvas.native
    session.add_box(6, (5, 5, 25, 25))
    session.tool = "scribble+"

    def press(key, modifier=Qt.KeyboardModifier.NoModifier):
        QTest.keyClick(native, key, modifier)

    press(Qt.Key.Key_Q)
    assert session.tool == "scribble-"
    press(Qt.Key.Key_G)
    assert viewer.layers[OBJECT_NAME].data.any(axis=(1, 2)).all()
    press(Qt.Key.Key_K)
    assert session.objects[0].is_committed
    press(Qt.Key.Key_U)
    assert not viewer.layers[LABELS_NAME].data.any()
    press(Qt.Key.Key_U, Qt.KeyboardModifier.ShiftModifier)
    assert session.objects[0].is_committed
    press(Qt.Key.Key_N)
    assert session.object_id == 2


def test_a_key_that_cannot_is_a_notification(make_session, notices):
    viewer, session = make_session(show=True)
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_G)
    assert "nothing to propagate" in notices[-1]
    assert not session.is_busy


def test_the_preferences_list_them(make_session):
    make_session()
    listed = {name: action.description for name, action in action_manager._actions.items()}
    for name, (_, text, _) in keys.ACTIONS.items():
        assert text in listed[f"napari-medicosam:{name}"]


def test_one_click_goes_through_the_three_masks_it_may_mean(make_session):
    viewer, session = make_session(real=True)
    viewer.dims.set_current_step(0, 3)
    session.add_point((3, 20, 25))
    edited = viewer.layers[OBJECT_NAME].data
    first = edited.copy()
    seen = [first[3]]
    for _ in range(3):
        assert session.next_candidate()
        seen.append(edited[3].copy())
    np.testing.assert_array_equal(seen[0], seen[3])
    assert len({mask.tobytes() for mask in seen}) == 3, (
        "the seeded model gives equal masks here: choose another point"
    )
    areas = [int((mask != 0).sum()) for mask in seen[:3]]
    largest = areas.index(max(areas))
    assert sorted(areas, reverse=True) == areas[largest:] + areas[:largest]
    session.undo()
    np.testing.assert_array_equal(edited[3], seen[2])
    session.undo()
    session.undo()
    np.testing.assert_array_equal(edited, first)
    session.add_point((3, 10, 10), positive=False)
    assert not session.next_candidate()


def test_a_mask_that_was_painted_is_kept(make_session):
    viewer, session = make_session(real=True)
    session.add_point((3, 20, 25))
    viewer.dims.set_current_step(0, 3)
    viewer.layers[OBJECT_NAME].paint((3, 35, 45), 1)
    before = viewer.layers[OBJECT_NAME].data.copy()
    assert not session.next_candidate()
    np.testing.assert_array_equal(viewer.layers[OBJECT_NAME].data, before)


@pytest.mark.parametrize("image", [np.zeros((30, 40), np.uint8), np.zeros((4, 30, 40), np.uint8)])
def test_keys_without_an_image_of_ours_do_nothing(make_session, image, notices):
    viewer, session = make_session(image)
    session.set_image(None)
    keys._run(lambda _: session, lambda known: known.commit(), viewer)
    assert not notices


@pytest.mark.parametrize("tool", ["point+", "box", "scribble+"])
def test_ctrl_z_takes_a_step_back_whatever_the_tool_is_and_in_the_dock(make_session, tool, qtbot):
    viewer, session = make_session(show=True)
    widget = SegmentWidget(session=session)
    viewer.window.add_dock_widget(widget)
    session.add_box(6, (5, 5, 25, 25))
    session.add_box(8, (5, 5, 25, 25))
    session.tool = tool
    native, control = viewer.window._qt_viewer.canvas.native, Qt.KeyboardModifier.ControlModifier
    QTest.keyClick(native, Qt.Key.Key_Z, control)
    assert len(session.prompts.boxes) == 1
    QTest.keyClick(native, Qt.Key.Key_Z, control | Qt.KeyboardModifier.ShiftModifier)
    assert len(session.prompts.boxes) == 2
    table = widget._objects._table
    viewer.window._qt_window.activateWindow()
    table.setFocus()
    QTest.keyClick(table, Qt.Key.Key_Z, control)
    assert len(session.prompts.boxes) == 1


def test_tooltips_name_the_keys_and_follow_them(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    assert widget._undo.toolTip().endswith("(U)")
    assert widget._objects._new.toolTip().endswith("(N)")
    action_manager.unbind_shortcut("napari-medicosam:undo")
    assert widget._undo.toolTip().endswith("…")
    action_manager.bind_shortcut("napari-medicosam:undo", "U")
    assert widget._undo.toolTip().endswith("(U)")
    widget.close()


def test_masks_are_outlines_at_a_key_on_layers_made_later_too(make_session, qtbot):
    viewer, session = make_session(show=True)
    native = viewer.window._qt_viewer.canvas.native
    session.add_box(6, (5, 5, 25, 25))
    assert viewer.layers[OBJECT_NAME].contour == 0
    QTest.keyClick(native, Qt.Key.Key_O, Qt.KeyboardModifier.ShiftModifier)
    assert [viewer.layers[name].contour for name in (OBJECT_NAME, LABELS_NAME)] == [1, 1]
    session.set_image(viewer.add_image(np.zeros((3, 900, 900), np.uint8)))
    session.add_box(1, (5, 5, 25, 25))
    assert [layer.contour for layer in session.own_layers[:2]] == [2, 2]
    QTest.keyClick(native, Qt.Key.Key_O, Qt.KeyboardModifier.ShiftModifier)
    assert [layer.contour for layer in session.own_layers[:2]] == [0, 0]
    session.own_layers[0].contour = 3
    session.commit()
    assert session.own_layers[0].contour == 3, "what the user has set in napari stays"
