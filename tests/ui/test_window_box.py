"""The window in the form: a word, its numbers, and the tie to the viewer."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit

from napari_medicosam.core.intensity import WINDOW_PRESETS, resolve_intensity
from napari_medicosam.ui.session import AnnotationSession
from napari_medicosam.ui.window_box import WindowBox


@pytest.fixture
def is_measured():
    return [True]


@pytest.fixture
def measured(monkeypatch, is_measured):
    """What the worker measures in real life, once it has."""

    def window_range(session):
        if session.image is None or not is_measured[0]:
            return None
        mapping = resolve_intensity(session.window, np.asarray(session.image.data))
        return mapping.low, mapping.high

    monkeypatch.setattr(AnnotationSession, "window_range", property(window_range), raising=False)


@pytest.fixture
def make_real_box(make_session, qtbot):
    def make(*arguments, **options):
        viewer, session = make_session(*arguments, **options)
        box = WindowBox(session=session)
        qtbot.addWidget(box)
        box.show()
        return viewer, session, box

    return make


@pytest.fixture
def make_box(measured, make_real_box):
    return make_real_box


def ct_like():
    volume = np.full((12, 40, 50), -1000, np.int16)
    volume[:, 10:35, 10:45] = 40
    return volume


def grey_8_bit():
    return np.random.default_rng(0).integers(0, 255, (6, 20, 20), dtype=np.uint8)


def entries(box):
    preset = box._preset
    return [preset.itemText(i) for i in range(preset.count())]


def numbers(box):
    return box._low.text(), box._high.text()


def type_into(field, text):
    field.setFocus()
    field.selectAll()
    QTest.keyClicks(field, text)


def press_enter(field):
    QTest.keyClick(field, Qt.Key.Key_Return)


def test_every_control_has_a_tooltip_and_fits_a_narrow_dock(make_box):
    _, _, box = make_box()
    for kind in (QAbstractButton, QComboBox, QLineEdit):
        for child in box.findChildren(kind):
            assert child.toolTip() or isinstance(child.parent(), QComboBox)
    assert box.minimumSizeHint().width() <= 230


def test_presets_follow_the_image(make_box):
    viewer, session, box = make_box(ct_like())
    assert entries(box) == ["auto", *WINDOW_PRESETS, "", "percentile", "minmax"], "a separator between"
    assert "width 150, level 30 HU" in box._preset.itemData(
        box._preset.findText("ct-liver"), Qt.ItemDataRole.ToolTipRole
    )
    session.set_image(viewer.add_image(grey_8_bit()))
    assert entries(box) == ["auto", "percentile", "minmax", "identity"]


def test_a_preset_that_is_chosen_is_the_window_and_shown_as_numbers(make_box):
    _, session, box = make_box(ct_like())
    assert (box._preset.currentText(), numbers(box)) == ("auto", ("-160", "240"))
    index = box._preset.findText("ct-lung")
    box._preset.setCurrentIndex(index)
    box._preset.activated.emit(index)
    assert session.window == "ct-lung"
    assert numbers(box) == ("-1350", "150")
    assert [known.window for known in session._worker.engine.settings] == ["ct-lung"], "encoded ahead"


def test_the_box_follows_the_session(make_box):
    _, session, box = make_box(ct_like())
    session.set_window("-7,13.5")
    assert box._preset.currentText() == "-7,13.5"
    assert numbers(box) == ("-7", "13.5")


def test_a_window_may_be_typed(make_box, notices):
    _, session, box = make_box(ct_like())
    type_into(box._preset.lineEdit(), "-100,240")
    press_enter(box._preset.lineEdit())
    assert session.window == "-100,240"
    type_into(box._preset.lineEdit(), "bright please")
    press_enter(box._preset.lineEdit())
    assert "unknown intensity window" in notices[-1]
    assert box._preset.currentText() == session.window == "-100,240"


def test_each_number_may_be_typed(make_box, notices):
    _, session, box = make_box(ct_like())
    type_into(box._high, "300.5")
    press_enter(box._high)
    assert session.window == box._preset.currentText() == "-160,300.5"
    type_into(box._low, "high")
    press_enter(box._low)
    assert "is a number, got 'high'" in notices[-1]
    assert numbers(box) == ("-160", "300.5")
    type_into(box._low, "400")
    press_enter(box._low)
    assert "LOW < HIGH" in notices[-1]
    assert session.window == "-160,300.5"


def test_both_numbers_may_be_moved_beyond_the_old_range(make_box, notices, qtbot):
    _, session, box = make_box(ct_like())
    box.activateWindow()
    qtbot.waitUntil(box.isActiveWindow)
    type_into(box._low, "500")
    box._high.setFocus()
    assert not notices
    assert session.window == "auto"
    type_into(box._high, "900")
    press_enter(box._high)
    assert session.window == "500,900"
    assert not notices


def test_news_do_not_disturb_typing(make_box, qtbot):
    _, session, box = make_box(ct_like())
    box.activateWindow()
    qtbot.waitUntil(box.isActiveWindow)
    type_into(box._low, "-3")
    session.events.changed.emit()
    assert box._low.text() == "-3"
    assert box._high.text() == "240"


@pytest.mark.parametrize("synchronous", [True, False])
def test_the_worker_measures(make_real_box, qtbot, synchronous):
    data = np.random.default_rng(2).gamma(2.0, 150.0, (12, 40, 50)).astype(np.float32)
    _, session, box = make_real_box(data, real=True, synchronous=synchronous)
    assert numbers(box) == ("", "")
    session.set_window("minmax")
    session.prepare()
    assert session.wait(60)
    qtbot.waitUntil(lambda: numbers(box) != ("", ""))
    assert numbers(box) == (f"{data.min():.6g}", f"{data.max():.6g}")
    session.set_window("ct-bone")
    assert numbers(box) == ("-500", "1300"), "known without voxels"


def test_numbers_come_when_they_were_measured(make_box, is_measured):
    is_measured[0] = False
    _, session, box = make_box(ct_like())
    assert numbers(box) == ("", "")
    QTest.mouseClick(box._show, Qt.MouseButton.LeftButton)
    before = tuple(session.image.contrast_limits)
    assert before != (-160, 240)
    is_measured[0] = True
    session.events.changed.emit()
    assert numbers(box) == ("-160", "240")
    assert tuple(session.image.contrast_limits) == (-160, 240), "as soon as they are known"


def test_show_and_like_the_viewer(make_box, qtbot):
    viewer, session, box = make_box(ct_like())
    layer = viewer.layers["scan"]
    session.set_window("ct-brain")
    QTest.mouseClick(box._show, Qt.MouseButton.LeftButton)
    assert tuple(layer.contrast_limits) == (0, 80)
    session.set_window("ct-lung")
    assert tuple(layer.contrast_limits) == (-1350, 150), "each window that is chosen is shown"
    session.set_window("ct-brain")
    layer.contrast_limits = (-30, 170)
    session.add_box(3, (5, 5, 25, 25))
    assert tuple(layer.contrast_limits) == (-30, 170), "the user's own stay until another one is chosen"
    assert session.window == "ct-brain"
    QTest.mouseClick(box._follow, Qt.MouseButton.LeftButton)
    assert box._follow.isChecked()
    assert not box._show.isChecked()
    assert session.window == box._preset.currentText() == "-30,170"
    layer.contrast_limits = (-40, 160)
    qtbot.waitUntil(lambda: numbers(box) == ("-40", "160"))
    QTest.mouseClick(box._follow, Qt.MouseButton.LeftButton)
    assert session.window == "-40,160"
    QTest.mouseClick(box._follow, Qt.MouseButton.LeftButton)
    session.set_window("auto")
    assert not box._follow.isChecked(), "a window that was chosen ends it"


def test_colour_has_no_contrast(make_box):
    _, session, box = make_box(grey_8_bit()[..., :3], rgb=True)
    assert not box._follow.isEnabled()
    assert not box._show.isEnabled()
    session.set_image(None)
    assert not box._low.isEnabled()
    assert entries(box)[:3] == ["auto", "percentile", "minmax"]
