import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from napari_medicosam.core.label_classes import LabelClasses, default_colour
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.object_list import ObjectList
from napari_medicosam.ui.segment_widget import SegmentWidget


def rows(shown):
    table = shown._table
    return [[table.item(row, column).text() for column in range(2)] for row in range(table.rowCount())]


def test_the_list_shows_what_there_is_and_how_large(make_session):
    _, session = make_session(scale=(5, 2, 2), units="mm")
    widget = SegmentWidget(session=session)
    shown = widget._objects
    assert rows(shown) == [["object 1", "–"]]
    assert not shown._commit.isEnabled()
    session.add_box(2, (5, 5, 15, 15))  # 100 voxels of 20 mm3
    assert rows(shown) == [["object 1", "2 mL"]]
    shown._commit.click()
    assert rows(shown) == [["object 1", "2 mL"]]
    shown._new.click()
    assert rows(shown) == [["object 1", "2 mL"], ["object 2", "–"]]
    assert shown._table.currentRow() == 1
    widget.close()


def test_without_a_unit_sizes_are_voxels(make_session):
    _, session = make_session()
    shown = ObjectList(session=session)
    session.add_box(2, (5, 5, 15, 15))
    shown.refresh()
    assert rows(shown) == [["object 1", "100 px"]]


def test_a_click_on_a_row_goes_back_to_its_object(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_box(2, (5, 5, 15, 15))
    session.new_object()
    session.add_box(4, (5, 5, 15, 15))
    widget._objects._table.setCurrentCell(0, 0)
    assert session.object_id == 1
    assert np.unique(viewer.layers[OBJECT_NAME].data).tolist() == [0, 1]
    assert np.unique(viewer.layers[LABELS_NAME].data).tolist() == [0, 2]
    widget.close()


def test_a_row_takes_the_viewer_to_its_object_and_opens_it(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    table = widget._objects._table
    session.add_box(2, (5, 5, 15, 15))
    session.add_box(9, (5, 5, 15, 15))
    session.new_object()
    session.add_box(4, (20, 20, 30, 30))

    def click(row, column=0):
        place = table.visualItemRect(table.item(row, column)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)

    session.go_to(6)
    click(0)
    assert (session.object_id, session.slice_index) == (1, 9), "the nearest of the user's slices"
    session.go_to(0)
    click(0)
    assert session.slice_index == 0, "it is open, and what is being done here goes on"
    session.commit()
    click(0, 2)
    assert session.record.is_committed, "a tick opens nothing"
    click(0)
    assert not session.record.is_committed
    assert session.slice_index == 2
    assert viewer.layers[OBJECT_NAME].data[9].any()
    session.undo()
    assert session.record.is_committed
    session.select(1)
    assert not session.record.is_committed
    widget.close()


def test_of_an_object_that_nobody_prompted_the_middle_is_shown(make_session):
    viewer, session = make_session()
    labels = np.zeros((12, 40, 50), np.uint16)
    labels[5:10, 10:20, 10:20] = 7
    session.add_labels(labels)
    session.select(7)
    session.go_to(1)
    assert session.go_to_object() == session.slice_index == 7
    assert session.go_to_object() is None
    session.new_object()
    session.go_to(1)
    assert session.go_to_object() is None, "it has no mask"
    viewer.dims.ndisplay = 3
    session.select(7)
    assert session.go_to_object() is None


def test_names_and_locks_are_changed_in_the_table(make_session, notices):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_box(2, (5, 5, 15, 15))
    table = widget._objects._table
    table.item(0, 0).setText("liver")
    assert session.objects[0].name == "liver"
    table.item(0, 0).setText("  ")
    assert session.objects[0].name == "liver"
    assert rows(widget._objects)[0][0] == "liver"
    assert "name" in notices[-1]
    table.item(0, 3).setCheckState(Qt.CheckState.Checked)
    assert session.objects[0].is_locked
    assert not widget._objects._delete.isEnabled()
    table.item(0, 3).setCheckState(Qt.CheckState.Unchecked)
    widget._objects._delete.click()
    assert rows(widget._objects) == [["object 1", "–"]]
    session.undo()
    assert rows(widget._objects) == [["liver", "100 px"]]
    widget.close()


def test_an_object_is_hidden_and_shown(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_box(2, (5, 5, 15, 15))
    session.new_object()
    session.add_box(2, (20, 20, 30, 30))
    labels = viewer.layers[LABELS_NAME]
    before = labels.get_color(1)
    tick = widget._objects._table.item(0, 2)
    tick.setCheckState(Qt.CheckState.Unchecked)
    assert labels.get_color(1)[3] == 0
    assert viewer.layers[OBJECT_NAME].get_color(2)[3] == 1
    widget._objects._table.item(0, 2).setCheckState(Qt.CheckState.Checked)
    np.testing.assert_allclose(labels.get_color(1), before)
    assert (labels.data[2] == 1).sum() == 100
    widget.close()


def test_the_policy_is_chosen_in_the_form(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    policy = widget._objects._classes._policy
    policy.setCurrentIndex(1)
    policy.activated.emit(1)
    assert session.commit_policy.overwrite
    widget.close()


def choose(box, text):
    index = box.findText(text)
    assert index >= 0, [box.itemText(i) for i in range(box.count())]
    box.setCurrentIndex(index)
    box.activated.emit(index)


def test_classes_from_a_file_name_and_colour_objects(make_session, tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("id,name,color\n3,liver,#ff0000\n7,tumour,#00ff00\n")
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    shown = widget._objects._classes
    assert not shown._class.isEnabled()
    session.load_classes(path)
    choose(shown._class, "liver")
    assert session.objects[0].class_id == 3
    assert session.objects[0].name == "liver"
    session.add_box(2, (5, 5, 25, 25))
    np.testing.assert_allclose(session.colour_of(1), (1, 0, 0, 1))
    np.testing.assert_allclose(viewer.layers[LABELS_NAME].get_color(1), (1, 0, 0, 1))
    session.new_object(class_id=7)
    assert session.objects[1].name == "tumour"
    choose(shown._policy, "only inside liver")
    assert session.commit_policy.inside_class == 3
    session.add_box(2, (15, 15, 35, 35))
    assert session.commit() == 100
    assert shown._policy.currentText() == "only inside liver"
    choose(shown._class, "none")
    np.testing.assert_allclose(session.colour_of(1), (1, 0, 0, 1))
    assert not np.allclose(session.colour_of(2), (0, 1, 0, 1))
    session.undo()
    np.testing.assert_allclose(session.colour_of(2), (0, 1, 0, 1))
    widget.close()


def test_a_class_names_an_object_that_nobody_has_named(make_session):
    _, session = make_session()
    session.set_classes(LabelClasses.from_names(["liver", "tumour"]))
    box = SegmentWidget(session=session)._objects._classes._class
    for text, name in (("liver", "liver"), ("tumour", "tumour"), ("none", "object 1")):
        choose(box, text)
        assert session.record.name == name
    session.change_object(1, name="my own")
    choose(box, "liver")
    assert session.record.name == "my own"


def test_objects_without_a_class_have_bright_colours_of_their_own(make_session):
    viewer, session = make_session()
    for object_id in (1, 2, 3):
        session.add_box(2, (object_id * 8, 5, object_id * 8 + 7, 25))
        session.new_object()
    expected = [(*(value / 255 for value in default_colour(object_id)), 1) for object_id in (1, 2, 3)]
    np.testing.assert_allclose([session.colour_of(object_id) for object_id in (1, 2, 3)], expected, atol=1e-6)
    shown = [viewer.layers[LABELS_NAME].get_color(object_id) for object_id in (1, 2, 3)]
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_a_class_is_locked_as_a_whole(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    session.set_classes(LabelClasses.from_names(["lesion", "organ"]))
    for index in (2, 4, 6):
        session.new_object(class_id=2 if index == 4 else 1)
        session.add_box(index, (5, 5, 15, 15))
    shown = widget._objects._classes
    assert shown._class.currentText() == "lesion"
    shown._lock.click()
    assert [record.is_locked for record in session.objects] == [True, False, True]
    assert shown._lock.isChecked()
    shown._lock.click()
    assert not any(record.is_locked for record in session.objects)
    widget.close()


def test_a_file_that_holds_no_classes_is_a_notification(make_session, tmp_path, notices):
    path = tmp_path / "classes.json"
    path.write_text("{")
    _, session = make_session()
    session.load_classes(path)
    assert "classes.json" in notices[-1]
    assert not len(session.classes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({}, "12.7 px"), ({"scale": (2, 2), "units": "mm"}, "25.5 mm"), ({"scale": (2, 2)}, "25.5")],
)
def test_a_length_has_its_unit_where_there_is_one(make_session, arguments, said):
    _, session = make_session(np.zeros((30, 40), np.uint8), **arguments)
    shown = ObjectList(session=session)
    session.add_box(0, (5, 5, 15, 15))
    session._sizes.measure_all()
    shown.refresh()
    assert shown._table.item(0, 5).text() == said


def test_a_wide_list_says_how_long_an_object_is_and_on_how_many_slices(make_session, qtbot):
    _, session = make_session(scale=(5, 2, 2), units="mm")
    shown = ObjectList(session=session)
    session.add_box(2, (5, 5, 15, 15))
    session.add_box(4, (5, 5, 15, 15))
    assert session.size_of(1) is None
    with qtbot.waitSignal(session.events.sizes_changed):
        pass
    assert session.size_of(1).num_slices == 2
    assert session.size_of(1).longest_mm == np.sqrt(18**2 + 18**2 + 10**2)
    shown.refresh()
    table = shown._table

    def visible():
        places = sorted(range(8), key=table.horizontalHeader().visualIndex)
        return {
            table.horizontalHeaderItem(column).text(): table.item(0, column).text()
            for column in places
            if not table.isColumnHidden(column)
        }

    shown.show()
    shown.resize(280, 200)
    assert list(visible()) == ["Object", "Size", "Show", "Lock"]
    assert "Longest: 27.3 mm" in table.item(0, 0).toolTip()
    shown.resize(800, 200)
    assert visible() == {
        "Object": "object 1", "Class": "", "Size": "4 mL", "Longest": "27.3 mm", "Slices": "2",
        "State": "open", "Show": "", "Lock": "",
    }  # fmt: skip
    session.commit()
    shown.refresh()
    assert visible()["State"] == "committed"
    assert visible()["Longest"] == "–", "not measured as it is now"
    with qtbot.waitSignal(session.events.sizes_changed):
        pass
    assert visible()["Longest"] == "27.3 mm"
    shown.close()


def test_a_double_click_on_the_row_of_another_object_edits_its_name(make_session, qtbot):
    viewer, session = make_session(show=True)
    widget = SegmentWidget(session=session)
    viewer.window.add_dock_widget(widget)
    session.add_box(2, (5, 5, 15, 15))
    session.new_object()
    session.add_box(2, (20, 20, 30, 30))
    table = widget._objects._table
    place = table.visualItemRect(table.item(0, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert session.object_id == 1
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    (editor,) = table.findChildren(QLineEdit)
    QTest.keyClicks(editor, "liver")
    session.events.sizes_changed.emit()
    session.change_object(2, name="spleen")
    assert editor.text() == "liver", "what is being typed is left alone"
    QTest.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: rows(widget._objects) == [["liver", "100 px"], ["spleen", "100 px"]])


def test_tab_leaves_the_table_and_larger_letters_have_room(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    table = widget._objects._table
    assert not table.tabKeyNavigation()
    before = table.height()
    font = widget.font()
    font.setPointSize(2 * font.pointSize())
    widget.setFont(font)
    assert table.height() > before
    assert table.rowHeight(0) >= table.fontMetrics().height()
    assert table.height() >= table.rowHeight(0) + table.horizontalHeader().height()
    widget.close()
