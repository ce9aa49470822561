"""The dock widget in a real viewer, opened as users open it and driven with mouse and keys."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QFileDialog, QSpinBox
from ui_helpers import canvas_position

from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import save_model
from napari_medicosam.ui.factory import session as session_of
from napari_medicosam.ui.layers import BOXES_NAME, LABELS_NAME, OBJECT_NAME, POINTS_NAME
from napari_medicosam.ui.segment_widget import SegmentWidget
from napari_medicosam.weights.adding import ModelNotes, add_own_model
from napari_medicosam.weights.own_models import remove_own_model


def open_dock(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    assert isinstance(widget, SegmentWidget)
    return widget


def drag(native, begin, end):
    QTest.mouseMove(native, begin)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, begin)
    for part in (0.3, 0.6, 1.0):
        QTest.mouseMove(native, begin + (end - begin) * part)
        QApplication.processEvents()  # else Qt makes one move of them
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, end)


def test_opens_through_the_manifest_without_an_image(make_napari_viewer, plugin):
    viewer = make_napari_viewer()
    widget = open_dock(viewer)
    assert widget._session is session_of(viewer)
    assert not any(button.isEnabled() for button in widget._tools.values())
    assert "Open a scan" in widget._status.text()


def test_manifest_offers_what_it_says(plugin):
    manifest = plugin.get_manifest("napari-medicosam")
    assert manifest.display_name == "MedicoSAM"
    readers = manifest.contributions.readers[0].filename_patterns
    assert {"*.nii.gz", "*.nrrd", "*.mha"} <= set(readers)
    assert not {"*.tif", "*.png"} & set(readers), "napari reads these itself"
    for command in ("segment", "read", "write_labels"):
        assert callable(plugin.commands.get(f"napari-medicosam.{command}"))


def test_every_control_has_a_tooltip(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    kinds = (QAbstractButton, QComboBox, QSpinBox)
    controls = [child for kind in kinds for child in widget.findChildren(kind)]
    assert len(controls) > 12
    assert [child for child in controls if not child.toolTip()] == []
    widget.close()


def test_fits_a_narrow_dock(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    assert widget.minimumSizeHint().width() <= 300
    widget.close()


def test_a_real_click_and_a_real_drag_become_masks(make_session, qtbot):
    viewer, session = make_session(show=True)
    widget = SegmentWidget(session=session)
    viewer.window.add_dock_widget(widget)
    viewer.window.resize(1400, 900)
    viewer.dims.set_current_step(0, 4)
    viewer.reset_view()
    qtbot.wait(50)
    native = viewer.window._qt_viewer.canvas.native
    image = viewer.layers["scan"]

    QTest.mouseClick(widget._tools["point+"], Qt.MouseButton.LeftButton)
    points = viewer.layers[POINTS_NAME]
    assert viewer.layers.selection.active is points
    where = canvas_position(viewer, image, (4, 20, 30))
    QTest.mouseMove(native, where)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
    qtbot.waitUntil(lambda: len(points.data) == 1)
    np.testing.assert_allclose(points.data[0], (4, 20, 30), atol=0.5)
    labels = viewer.layers[OBJECT_NAME].data
    assert labels[4, 20, 30] == 1
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [4]

    QTest.keyClick(native, Qt.Key.Key_Q)
    assert widget._tools["point-"].isChecked()
    assert not widget._tools["point+"].isChecked()

    viewer.dims.set_current_step(0, 7)
    QTest.mouseClick(widget._tools["box"], Qt.MouseButton.LeftButton)
    begin, end = (canvas_position(viewer, image, (7, *corner)) for corner in ((5, 8), (25, 33)))
    drag(native, begin, end)
    boxes = viewer.layers[BOXES_NAME]
    qtbot.waitUntil(lambda: len(session.prompts.boxes) == 1)
    np.testing.assert_allclose(np.min(boxes.data[0], axis=0), (7, 5, 8), atol=0.6)
    mask = labels[7] == 1
    assert mask[15, 20]
    assert abs(int(mask.sum()) - 20 * 25) < 100


def test_image_combo_follows_the_layer_list(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    assert widget._image.currentText() == "scan"
    other = viewer.add_image(np.ones((3, 9, 9), np.uint8), name="other")
    other.name = "second"
    texts = [widget._image.itemText(i) for i in range(widget._image.count())]
    assert sorted(texts) == ["scan", "second"]
    widget._image.setCurrentIndex(texts.index("second"))
    widget._image.activated.emit(texts.index("second"))
    assert session.image is other
    viewer.layers.remove(other)
    assert session.image.name == "scan", "the image that is left is taken"
    widget.close()


def test_buttons_do_what_they_say(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    assert not widget._undo.isEnabled()
    session.add_box(6, (5, 5, 25, 25))
    assert widget._undo.isEnabled()
    through = widget._propagation
    through._limit.setChecked(True)
    through._first.setValue(4)
    through._last.setValue(7)
    through._propagate.click()
    labels = viewer.layers[OBJECT_NAME].data
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [4, 5, 6, 7]
    widget._undo.click()
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [6]
    widget._redo.click()
    assert np.flatnonzero(labels.any(axis=(1, 2))).tolist() == [4, 5, 6, 7]
    widget._undo.click()
    widget._objects._new.click()
    assert session.object_id == 2
    viewer.dims.set_current_step(0, 6)
    session.add_point((6, 30, 40))
    assert labels.any()
    widget._clear.click()
    assert not labels.any()
    assert np.unique(viewer.layers[LABELS_NAME].data).tolist() == [0, 1]
    widget.close()


def test_the_zoom_is_chosen_in_the_form(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    assert widget._zoom.currentText() == session.zoom.policy
    for policy in ("never", "always", "auto"):
        widget._zoom.setCurrentText(policy)
        widget._zoom.activated.emit(widget._zoom.currentIndex())
        assert session.zoom.policy == policy
    session.set_zoom("never")
    assert widget._zoom.currentText() == "never"


def test_a_wrong_window_is_a_notification_and_goes_back(make_session, notices):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    widget._window._preset.setEditText("bright please")
    widget._window._preset.lineEdit().editingFinished.emit()
    assert len(notices) == 1
    assert "unknown intensity window" in notices[0]
    assert widget._window._preset.currentText() == session.window == "auto"
    widget._window._preset.setEditText("-100,240")
    widget._window._preset.lineEdit().editingFinished.emit()
    assert session.window == "-100,240"
    widget.close()


def test_save_goes_where_the_dialog_says(make_session, monkeypatch, tmp_path):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_point((3, 10, 10))
    offered = []

    def answer(parent, title, name, filters):
        offered.append(name)
        return str(tmp_path / "mine.nii.gz"), filters

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    widget._save.click()
    assert offered == ["scan_labels.nii.gz"]
    assert (tmp_path / "mine.nii.gz").is_file()
    widget.close()


def test_test_weights_are_not_offered(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    names = [widget._model.itemData(i) for i in range(widget._model.count())]
    assert names[0] == "medicosam_lite"
    assert "sam_test" not in names
    assert "bundled" in widget._model.itemText(names.index("medicosam_lite"))
    widget.close()


def model_texts(widget):
    box = widget._model
    return {box.itemData(i): box.itemText(i) for i in range(box.count())}


def add_model(tmp_path, name):
    weights = save_model(build_model("sam_test", seed=3), tmp_path / f"{name}.safetensors")
    add_own_model(name, weights, ModelNotes(title=f"title of {name}", trained_on="40 scans"))
    return weights


def test_own_models_are_in_the_list(make_session, tmp_path):
    add_model(tmp_path, "livers")
    _, session = make_session()
    widget = SegmentWidget(session=session)
    assert model_texts(widget)["livers"] == "livers  (yours)"
    index = widget._model.findData("livers")
    assert "title of livers\nTrained on: 40 scans" in widget._model.itemData(
        index, Qt.ItemDataRole.ToolTipRole
    )
    widget._model.activated.emit(index)
    assert session.model == "livers"
    assert widget._model.currentText() == "livers  (yours)"
    widget.close()


def test_a_model_added_while_napari_is_open_is_in_the_list_that_opens(make_session, tmp_path, qtbot):
    _, session = make_session()
    session.set_model("medicosam_lite")
    widget = SegmentWidget(session=session)
    qtbot.addWidget(widget)
    widget.show()
    before = model_texts(widget)
    add_model(tmp_path, "livers")
    assert "livers" not in model_texts(widget)
    QTest.mouseClick(widget._model, Qt.MouseButton.LeftButton)
    after = model_texts(widget)
    widget._model.hidePopup()
    assert after == before | {"livers": "livers  (yours)"}
    assert list(after)[-2:] == ["livers", ""], "the way to a file stays last"
    assert session.model == widget._model.currentData() == "medicosam_lite"

    remove_own_model("livers")
    widget.hide()
    add_model(tmp_path, "spleens")
    widget.show()
    assert model_texts(widget) == before | {"spleens": "spleens  (yours)"}


def test_a_chosen_file_stays_in_the_list(make_session, monkeypatch, tmp_path):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    path = str(save_model(build_model("sam_test"), tmp_path / "best.safetensors"))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *arguments: (path, ""))
    for _ in range(2):  # a file that is chosen again is there once
        widget._model.activated.emit(widget._model.findData(""))
    assert session.model == widget._model.currentData() == path
    add_model(tmp_path, "livers")
    widget._model.opening.emit()
    texts = [widget._model.itemText(i) for i in range(widget._model.count())]
    assert texts[-3:] == ["livers  (yours)", "best.safetensors", "From file …"]
    assert texts.count("best.safetensors") == 1
    assert widget._model.currentData() == path
    widget.close()


def test_the_range_follows_the_axis_that_is_shown(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    assert widget._propagation._last.value() == 11
    viewer.dims.order = (1, 0, 2)
    assert widget._propagation._last.value() == 39
    widget.close()
