"""The panel of keys: it says what the keys are now, and every action is in it."""

from __future__ import annotations

import re

import pytest
from napari.utils.action_manager import action_manager
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QLabel

from napari_medicosam.ui import keys
from napari_medicosam.ui.help_panel import HelpPanel, how, toggle_help
from napari_medicosam.ui.help_texts import SECTIONS, Hint
from napari_medicosam.ui.key_map import PACKAGE, keys_of


def open_panel(session):
    toggle_help(session)
    return session.viewer.window._qt_window.findChild(HelpPanel)


def texts(panel):
    return [re.sub("<.*?>", "", label.text()) for label in panel.findChildren(QLabel)]


def key_beside(panel, does):
    shown = texts(panel)
    return shown[shown.index(does) - 1]


@pytest.fixture
def remap():
    """Binds an action to another key, as the preferences do; put back afterwards."""
    before = {}

    def change(name, key):
        before.setdefault(name, list(action_manager._shortcuts.get(name, ())))
        action_manager.unbind_shortcut(name)
        if key:
            action_manager.bind_shortcut(name, key)

    yield change
    for name, bound in before.items():
        action_manager.unbind_shortcut(name)
        for key in bound:
            action_manager.bind_shortcut(name, key)


def test_every_action_of_ours_is_listed_with_its_key(make_session):
    _, session = make_session()
    panel = open_panel(session)
    for key, text, _ in keys.ACTIONS.values():
        assert key_beside(panel, text[0].upper() + text[1:]) == key.replace("-", "+")


def test_every_gesture_is_listed(make_session):
    _, session = make_session()
    shown = texts(open_panel(session))
    for section in SECTIONS:
        assert section.heading in shown
        for hint in section.hints:
            assert hint.does in shown


def test_actions_of_napari_exist_and_have_a_key(make_session):
    make_session()
    named = [hint for section in SECTIONS for hint in section.hints if hint.action]
    assert len(named) > 15
    for hint in named:
        assert hint.action in default_shortcuts
        assert hint.action in action_manager._actions
        assert keys_of(hint.action)
    assert all(hint.gesture or hint.action for section in SECTIONS for hint in section.hints)


def test_keys_are_in_words(make_session):
    make_session()
    assert keys_of("napari:hold_for_pan_zoom") == ("Space",)
    assert keys_of(f"{PACKAGE}:redo") == ("Shift+U",)
    assert keys_of("napari:no_such_action") == ()
    assert how(Hint("x", "then drag", "napari:activate_labels_paint_mode")) == "2 or P, then drag"


def test_a_changed_key_is_shown_at_once(make_session, remap):
    _, session = make_session()
    panel = open_panel(session)
    remap(f"{PACKAGE}:commit", "Control-Shift-K")
    remap("napari:decrease_brush_size", "Alt-J")
    assert key_beside(panel, "Commit the object") == "Ctrl+Shift+K"
    assert key_beside(panel, "Smaller brush") == "Alt+J"
    remap(f"{PACKAGE}:commit", "")
    assert key_beside(panel, "Commit the object") == "no key"
    toggle_help(session)
    remap(f"{PACKAGE}:commit", "Y")
    assert open_panel(session) is panel
    assert key_beside(panel, "Commit the object") == "Y"


def test_the_key_shows_and_hides_it_without_an_image_too(make_session):
    viewer, session = make_session(show=True)
    native = viewer.window._qt_viewer.canvas.native
    window = viewer.window._qt_window
    for image in (session.image, None):
        session.set_image(image)
        QTest.keyClick(native, Qt.Key.Key_H)
        assert window.findChild(HelpPanel).isVisible()
        assert len(window.findChildren(HelpPanel)) == 1
        QTest.keyClick(native, Qt.Key.Key_H)
        assert not window.findChild(HelpPanel).isVisible()


def test_the_same_key_closes_it_when_it_has_the_focus(make_session, qtbot, remap):
    _, session = make_session(show=True)
    remap(f"{PACKAGE}:help", "Y")
    panel = open_panel(session)
    panel.activateWindow()
    qtbot.waitUntil(panel.isActiveWindow)
    QTest.keyClick(panel, Qt.Key.Key_Y)
    assert not panel.isVisible()


def test_it_is_modeless_narrow_and_has_tooltips(make_session):
    _, session = make_session()
    panel = open_panel(session)
    assert not panel.isModal()
    assert panel.testAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
    panel.resize(260, 500)
    page = panel._scroll.widget()
    assert page.minimumSizeHint().width() <= panel._scroll.viewport().width()
    buttons = [one for one in panel.findChildren(QAbstractButton) if one.isVisible()]
    assert buttons
    assert all(one.toolTip() for one in buttons)


def test_two_viewers_have_a_panel_each(make_session):
    _, one = make_session()
    _, other = make_session()
    first = open_panel(one)
    assert other.viewer.window._qt_window.findChild(HelpPanel) is None
    second = open_panel(other)
    assert first is not second
    assert first.isVisible()


def test_the_button_opens_napari_s_preferences_at_shortcuts(make_session, monkeypatch):
    _, session = make_session()
    asked = []
    monkeypatch.setattr(action_manager, "trigger", asked.append)  # the dialog itself takes long to build
    open_panel(session)._change.click()
    assert asked == ["napari:show_shortcuts"]
    assert asked[0] in action_manager._actions


def test_keys_that_change_after_the_window_is_gone(make_session, remap, qtbot):
    viewer, session = make_session()
    panel = open_panel(session)
    with qtbot.waitSignal(panel.destroyed):
        panel.deleteLater()
    remap(f"{PACKAGE}:commit", "Y")
    assert viewer.window._qt_window.findChild(HelpPanel) is None
