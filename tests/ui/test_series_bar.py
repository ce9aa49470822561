"""The line of an image series in the widget `Segment`, and the keys of the series."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from series_helpers import labels_in, make_series_session, on_disk, picture, pictures

from napari_medicosam.ui.factory import series as series_of
from napari_medicosam.ui.factory import session as session_of
from napari_medicosam.ui.segment_widget import SegmentWidget
from napari_medicosam.ui.series import SeriesSession
from napari_medicosam.ui.series_bar import SeriesBar


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def series(viewer, service):
    """Without a folder yet."""
    return make_series_session(viewer, service, synchronous=True)


def press(viewer, key):
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, key, Qt.KeyboardModifier.AltModifier)


def said(bar):
    return bar._text.toolTip()


def test_the_line_is_there_while_a_series_is(viewer, series, tmp_path, qtbot):
    widget = SegmentWidget(session=series.session)
    qtbot.addWidget(widget)
    widget.show()
    bar = widget.findChild(SeriesBar)
    assert not bar.isVisible()
    series.open_folder(pictures(tmp_path))
    assert bar.isVisible()
    assert said(bar) == "Image 1 of 3 – a1"
    assert "(Alt+Right)" in bar._next.toolTip()
    series.session.add_box(0, (5, 5, 25, 25))
    bar._next.click()
    assert said(bar) == "Image 2 of 3 – a2"
    assert labels_in(tmp_path / "a1_labels.png").any()
    assert bar._previous.isEnabled()
    bar._done.trigger()
    assert said(bar) == "Image 3 of 3 – a3"
    assert on_disk(tmp_path)["a2.png"] == "done"
    bar._previous.trigger()
    assert said(bar) == "Image 2 of 3, done – a2"


def test_a_series_that_is_made_later_is_followed_and_one_that_is_closed_is_not(
    viewer, series, qtbot, tmp_path
):
    session = series.session
    series.close()
    assert session.series is None
    bar = SeriesBar(session=session)
    qtbot.addWidget(bar)
    later = SeriesSession(session)
    later.open_folder(pictures(tmp_path))
    assert bar.isVisible()
    later.close()
    session.events.changed.emit()
    assert not bar.isVisible()


def test_beside_the_series_the_line_only_leads_back(viewer, series, tmp_path, qtbot):
    session = series.session
    bar = SeriesBar(session=session)
    qtbot.addWidget(bar)
    series.open_folder(pictures(tmp_path))
    series.next()
    shown = {one: one.isVisible() for one in (bar._next, bar._more, bar._back)}
    assert list(shown.values()) == [True, True, False]
    session.set_image(viewer.add_image(picture(9), name="mine"))
    assert said(bar) == "Not of the series"
    assert [one.isVisible() for one in shown] == [False, False, True]
    assert bar._back.text() == "Back to image 2"
    assert bar.minimumSizeHint().width() < 280
    bar._back.click()
    assert session.image is viewer.layers["a2"]
    assert said(bar) == "Image 2 of 3 – a2"
    assert {one: one.isVisible() for one in shown} == shown
    viewer.layers.remove("a2")
    bar._back.click()
    assert session.image is viewer.layers["a2"], "opened again"


def test_a_long_name_does_not_widen_the_dock(series, tmp_path, qtbot):
    bar = SeriesBar(session=series.session)
    qtbot.addWidget(bar)
    picture = pictures(tmp_path, 1) / "a1.png"
    name = f"{'patient_' * 12}t1.png"
    picture.rename(tmp_path / name)
    series.open_folder(tmp_path)
    assert bar.minimumSizeHint().width() < 280
    bar.resize(280, 30)
    shown = bar._text.text()
    assert shown.startswith("Image 1 of 1 – ")
    assert "…" in shown
    assert said(bar).endswith(name.removesuffix(".png"))


def test_keys_go_through_the_series(viewer, series, tmp_path):
    series.open_folder(pictures(tmp_path))
    series.session.add_box(0, (5, 5, 25, 25))
    press(viewer, Qt.Key.Key_Right)
    assert series.item.name == "a2.png"
    assert labels_in(tmp_path / "a1_labels.png").any()
    press(viewer, Qt.Key.Key_Return)
    assert series.item.name == "a3.png"
    press(viewer, Qt.Key.Key_Left)
    assert series.item.name == "a2.png"
    assert on_disk(tmp_path) == {"a1.png": "started", "a2.png": "done", "a3.png": "todo"}


def test_keys_without_a_series_say_what_to_do(make_session, notices):
    viewer, session = make_session(show=True)
    session.add_box(6, (5, 5, 25, 25))
    voxels = session.num_open_voxels
    for number, key in enumerate((Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Return), start=1):
        press(viewer, key)
        assert len(notices) == number
        assert "Image series" in notices[-1]
    assert session.series is None
    assert session.num_open_voxels == voxels > 0


def test_keys_and_line_know_the_series_of_their_own_viewer(make_napari_viewer, tmp_path):
    viewer, other = make_napari_viewer(), make_napari_viewer()
    series = series_of(viewer)
    assert session_of(viewer).series is series
    assert session_of(other).series is None
    assert series_of(other) is not series
    assert series_of(viewer) is series
