"""The dock widget of an image series in a real viewer, driven by its buttons."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QCoreApplication, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QFileDialog, QLineEdit, QProgressBar, QTableWidget
from series_helpers import labels_in, make_series_session, on_disk, pictures

from napari_medicosam.ui.controls import ScrollColumn
from napari_medicosam.ui.factory import SegmentDock, SeriesDock
from napari_medicosam.ui.series_widget import SeriesWidget


@pytest.fixture
def widget(make_napari_viewer, service, qtbot):
    """The widget in the dock of a viewer, with a worker thread and a fake service."""
    viewer = make_napari_viewer()
    made = SeriesWidget(series=make_series_session(viewer, service, synchronous=False))
    viewer.window.add_dock_widget(made, name="Image series")
    return made


def click(button):
    assert button.isEnabled(), button.text()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def open_folder(widget, folder, output=""):
    widget._folder.edit.setText(str(folder))
    widget._output.edit.setText(str(output))
    click(widget._open)
    assert widget._series.wait(30)


def shown(widget):
    table = widget._table
    return [tuple(table.item(row, column).text() for column in (0, 1)) for row in range(table.rowCount())]


def said(widget):
    return widget._status.text().replace("\u200b", "")


def test_without_a_folder_it_says_what_to_do(widget):
    assert "Choose a folder" in said(widget)
    click(widget._open)
    assert "Choose a folder" in said(widget)
    assert not any(
        one.isEnabled() for one in (widget._previous, widget._next, widget._done, widget._done_next)
    )


def test_every_control_has_a_tooltip(widget):
    controls = [
        one
        for kind in (QAbstractButton, QLineEdit, QProgressBar, QTableWidget)
        for one in widget.findChildren(kind)
    ]
    controls = [one for one in controls if one.objectName() != "qt_toolbar_ext_button"]
    assert len(controls) > 12
    assert [one for one in controls if not one.toolTip() and one.parent() is not widget._table] == []


def test_shows_the_images_and_how_far_they_are(widget, tmp_path):
    pictures(tmp_path / "images", 11)
    (tmp_path / "images" / "a2.png").write_bytes(b"no picture")
    open_folder(widget, tmp_path / "images", tmp_path / "labels")
    assert [name for name, _ in shown(widget)][:3] == ["a1.png", "a2.png", "a3.png"]
    assert shown(widget)[-1] == ("a11.png", "to do")
    assert widget._table.currentRow() == 0
    assert not widget._previous.isEnabled()
    click(widget._done_next)
    assert not widget._next.isEnabled(), "one thing at a time"
    assert widget._series.wait(30)
    assert shown(widget)[:3] == [("a1.png", "done"), ("a2.png", "unreadable"), ("a3.png", "to do")]
    assert "a2.png" in widget._table.item(1, 1).toolTip()
    assert widget._table.currentRow() == 2
    assert widget._bar.text() == "1 of 11 done"
    assert (widget._bar.value(), widget._bar.maximum()) == (1, 11)
    assert "a3.png is open" in said(widget) or "a2.png" in said(widget)


def test_buttons_save_and_step(widget, tmp_path):
    series, session = widget._series, widget._series.session
    open_folder(widget, pictures(tmp_path, 3))
    session.add_box(0, (5, 5, 15, 15))
    click(widget._next)
    assert series.wait(30)
    assert series.item.name == "a2.png"
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100
    click(widget._previous)
    assert series.wait(30)
    click(widget._done)
    assert series.wait(30)
    assert shown(widget)[0] == ("a1.png", "done")
    assert widget._done.text() == "Not done"
    click(widget._done)
    assert series.wait(30)
    assert on_disk(tmp_path)["a1.png"] == "started"
    assert widget._done.text() == "Mark done"


def test_a_double_click_opens_an_image_and_a_click_does_not(widget, tmp_path):
    series = widget._series
    open_folder(widget, pictures(tmp_path, 3))
    table = widget._table
    place = table.visualItemRect(table.item(2, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert series.wait(30)
    assert series.item.name == "a1.png"
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert series.wait(30)
    assert series.item.name == "a3.png"


def test_skips_done_ones_unless_told_otherwise(widget, tmp_path):
    series = widget._series
    open_folder(widget, pictures(tmp_path, 3))
    click(widget._done_next)
    assert series.wait(30)
    widget._skip.setChecked(False)
    assert not series.skip_done
    click(widget._previous)
    assert series.wait(30)
    assert series.item.name == "a1.png"


def test_what_goes_wrong_is_shown(widget, tmp_path, notices):
    open_folder(widget, tmp_path / "nowhere")
    assert "is no folder" in said(widget)
    assert "is no folder" in notices[-1]
    assert widget._open.isEnabled()


def test_the_dialog_fills_the_line(widget, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_args: str(tmp_path))
    click(widget._masks.browse)
    assert widget._masks.path == str(tmp_path)


def test_long_names_leave_the_dock_narrow(widget, tmp_path):
    assert widget.minimumSizeHint().width() <= 300
    pictures(tmp_path, 1)
    (tmp_path / "a1.png").rename(tmp_path / ("patient_with_a_very_long_name_and_contrast_agent" * 2 + ".png"))
    open_folder(widget, tmp_path)
    assert widget.minimumSizeHint().width() <= 300


def test_the_dock_fits_a_low_window(widget, tmp_path):
    dock = widget.parent()
    open_folder(widget, pictures(tmp_path, 3))
    QCoreApplication.processEvents()
    assert 100 < dock.minimumSizeHint().height() < 320
    dock.setFloating(True)
    dock.resize(300, 300)
    dock.show()
    QCoreApplication.processEvents()
    assert dock.height() == 300
    for part in (widget._status, widget._next, widget._done_next):  # always in sight
        assert not part.visibleRegion().isEmpty()
    assert widget._status.geometry().bottom() < widget._folder.mapTo(widget, widget._folder.pos()).y()
    assert widget._skip.visibleRegion().isEmpty()
    widget.findChild(ScrollColumn).ensureWidgetVisible(widget._skip)
    assert not widget._skip.visibleRegion().isEmpty()


def test_enter_and_then_the_button_open_a_series_once(widget, tmp_path):
    series, session = widget._series, widget._series.session
    widget._folder.edit.setText(str(pictures(tmp_path, 3)))
    QTest.keyClick(widget._folder.edit, Qt.Key.Key_Return)
    assert series.wait(30)
    session.add_box(0, (5, 5, 15, 15))
    click(widget._open)
    assert series.wait(30)
    assert [one.is_committed for one in session.objects] == [False]
    assert session.can_undo
    assert said(widget) == "This series is open already; listed again: 3 images"


def fields(widget):
    return [widget._folder.path, widget._output.path, widget._masks.path, widget._pattern.text()]


def test_the_fields_follow_a_series_that_a_script_opened(widget, tmp_path):
    series, folder = widget._series, pictures(tmp_path / "images", 2)
    series.open_folder(folder, tmp_path / "out", pattern="a*.png")
    assert series.wait(30)
    assert fields(widget) == [str(folder), str(tmp_path / "out"), "", "a*.png"]
    widget._folder.edit.setText("typed since")
    series.next()
    assert series.wait(30)
    assert widget._folder.path == "typed since"
    series.open_folder(folder)
    assert series.wait(30)
    assert fields(widget) == [str(folder), "", "", ""]


def test_a_second_dock_shows_the_same_series(widget, tmp_path):
    open_folder(widget, pictures(tmp_path, 2))
    other = SeriesWidget(series=widget._series)
    assert shown(other) == shown(widget)
    assert fields(other) == fields(widget)
    other.close()


def test_docks_of_ours_in_one_area_are_tabs(make_napari_viewer, plugin, qtbot):
    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    segment, _ = viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    series, _ = viewer.window.add_plugin_dock_widget("napari-medicosam", "Image series")
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(series) == [segment])
    for area in (Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea):
        window.addDockWidget(area, series)  # as a user may drag it
    series.hide()
    series.show()
    QCoreApplication.processEvents()
    assert window.tabifiedDockWidgets(series) == [], "where the user has put it"


def test_docks_in_two_areas_stay_there(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    docks = [
        viewer.window.add_dock_widget(dock(viewer), name=dock.__name__, area=area)
        for dock, area in ((SegmentDock, "left"), (SeriesDock, "right"))
    ]
    QCoreApplication.processEvents()
    assert [viewer.window._qt_window.tabifiedDockWidgets(dock) for dock in docks] == [[], []]
