"""The dock `Segment` beside an image on a small screen: 250 pixels are enough, whatever it shows."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_medicosam.core.label_classes import LabelClasses

NARROW = 250


@pytest.fixture(params=["dark", "light"])
def dock(make_session, plugin, request):
    """A dock in a window, its widget and its session."""
    viewer, session = make_session(show=True)
    viewer.theme = request.param
    dock, widget = viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    settle()
    return dock, widget, session


def settle():
    for _ in range(20):
        QApplication.processEvents()


def least_width(dock):
    settle()
    assert dock.minimumSizeHint().width() == max(dock.minimumWidth(), dock.widget().minimumSizeHint().width())
    return dock.minimumSizeHint().width()


def test_all_that_the_dock_can_show_fits_a_narrow_one(dock):
    dock, widget, session = dock
    assert 150 < least_width(dock) <= NARROW
    session.add_box(5, (5, 5, 30, 30))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    session.go_to(5)
    for fold in (widget._image_box, widget._more):
        fold.is_open = True
    widget._objects.review.refresh()
    assert least_width(dock) <= NARROW, "folds open, and the numbers of a slice"
    widget._propagation._limit.setChecked(True)
    session.classes = LabelClasses.from_names(["liver with metastases in the left lobe"])
    session.change_object(session.object_id, class_id=1)
    session.new_object("a second object with a long name")
    session.is_live = False
    session.add_point((3, 10, 10))
    assert least_width(dock) <= NARROW, "a range of slices, classes, all objects, Segment"
    session.select(1)  # it has a mask already
    widget._clean_up.open()
    assert widget._clean_up.isVisible()
    assert least_width(dock) <= NARROW, "a clean-up"


def test_the_dock_is_narrow_again_after_something_wide(dock):
    dock, widget, _ = dock
    before = least_width(dock)
    widget._save.setMinimumWidth(2 * NARROW)
    assert least_width(dock) > 2 * NARROW
    widget._save.setMinimumWidth(0)
    assert least_width(dock) == before


def test_names_of_objects_are_read_in_a_narrow_one(dock):
    dock, widget, session = dock
    session.add_box(5, (5, 5, 30, 30))
    session.commit()
    table = widget._objects._table
    dock.parent().resizeDocks([dock], [NARROW], Qt.Orientation.Horizontal)
    settle()
    place = table.visualItemRect(table.item(0, 0))
    needed = table.fontMetrics().horizontalAdvance("object 1") + table.iconSize().width()
    assert place.width() >= needed
