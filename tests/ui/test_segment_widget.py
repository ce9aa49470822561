"""The dock widget in a real viewer, opened as users open it and driven with mouse and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QFileDialog, QSpinBox
from ui_helpers import canvas_position, drag

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
    assert widget.minimumSizeHint().width() <= 250
    widget.close()


def test_a_fold_is_found_as_it_was_left(make_session, make_napari_viewer, qtbot):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    qtbot.addWidget(widget)
    widget.resize(400, 800)
    widget.show()
    fold = widget._image_box
    assert not fold._model.isVisible(), "an image is there"
    assert "scan, sam_test" in fold.heading.text()
    fold.heading.click()
    assert fold._model.isVisible()
    assert "Image and model" in fold.heading.text()
    viewer = make_napari_viewer()
    other = SegmentWidget(session=session_of(viewer))
    qtbot.addWidget(other)
    assert other._image_box.is_open
    assert not other._more.is_open
    other._image_box.heading.click()
    again = SegmentWidget(session=session_of(viewer))
    qtbot.addWidget(again)
    assert not again._image_box.is_open, "the user's word counts, with an image or without"


def test_without_an_image_it_is_seen_what_can_be_chosen(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    widget = SegmentWidget(session=session_of(viewer))
    qtbot.addWidget(widget)
    assert widget._image_box.is_open
    viewer.add_image(np.zeros((3, 9, 9), np.uint8) + np.arange(9, dtype=np.uint8))
    assert not widget._image_box.is_open


def test_all_that_a_first_object_needs_is_in_sight(make_session, plugin):
    viewer, session = make_session(show=True)
    widget = open_dock(viewer)
    session.add_point((3, 10, 10))
    session.propagate()
    content = widget._column.widget()
    content.ensurePolished()
    assert content.minimumSizeHint().height() < 680, "what a window of 860 pixels leaves for it"


def test_a_failed_save_is_said_until_the_user_goes_on(make_session, monkeypatch, tmp_path, notices):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_point((3, 10, 10))
    for path in (tmp_path / "nowhere" / "mine.nii.gz", tmp_path / "mine.unknown"):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        widget._save.click()
        assert len(notices) == 1
        assert widget._status.text() in notices.pop()
        session.go_to(session.slice_index + 1)
        assert path.name in widget._status.text(), "looking at another slice is no answer"
        session.add_point((4, 10, 10))
        assert "Propagate" in widget._status.text()
    widget.close()


def test_a_mask_that_cannot_be_seen_is_told_of(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    session.change_object(1, name="liver", is_visible=False)
    session.add_box(2, (5, 5, 15, 15))
    assert widget._status.text() == "liver is hidden: tick Show in the list."
    session.change_object(1, is_visible=True)
    for name in (OBJECT_NAME, LABELS_NAME):
        viewer.layers[name].visible = False
        assert widget._status.text() == f"The layer {name} is hidden: click its eye."
        viewer.layers[name].visible = True
        assert "hidden" not in widget._status.text()
        session.commit() if name == OBJECT_NAME else None
    widget.close()


def test_after_a_propagation_its_ends_are_to_be_checked(make_session, service, monkeypatch):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    for index in (1, 4, 10):
        session.add_box(index, (5, 5, 25, 25))
    assert "Correct with" in widget._status.text(), "nothing was propagated yet"
    session.set_propagation(mode="box", box_extension=0.0, min_confidence=0, iou_threshold=0.0)
    session.propagate(z_range=(1, 11))
    assert "Slices 1 to 10. Check both ends" in widget._status.text()
    session.propagate(z_range=(1, 12))
    assert "Slices 1 to 11, where the scan ends. Check the end at slice 1 and" in widget._status.text()
    session.propagate()
    assert "Slices 0 to 11, all of the scan. Scroll through them" in widget._status.text()
    answer = service.segment
    monkeypatch.setattr(service, "segment", lambda request: replace(answer(request), iou_prediction=0.2))
    session.propagate(z_range=(0, 11))
    session.go_to(4)
    assert widget._status.text().startswith("8 slices look doubtful: press Next doubtful")
    widget.close()


def test_one_click_offers_its_other_masks(make_session, monkeypatch):
    _, session = make_session(real=True)
    widget = SegmentWidget(session=session)
    session.add_box(2, (5, 5, 25, 25))
    session.go_to(3)
    assert not widget._another.isEnabled()
    session.add_point((3, 20, 20))
    assert widget._another.isEnabled()
    assert widget._another.text() == "Another mask (W)"
    assert "Press W" in widget._status.text()
    before = session.label_map()
    widget._another.click()
    assert (session.label_map() != before).any()
    session.go_to(2)
    assert not widget._another.isEnabled(), "a box means one thing"
    assert "Press W" not in widget._status.text()
    session.go_to(3)
    assert widget._another.isEnabled()
    session.add_point((3, 30, 30))
    assert not widget._another.isEnabled()
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
    assert widget._image_box._image.currentText() == "scan"
    other = viewer.add_image(np.ones((3, 9, 9), np.uint8), name="other")
    other.name = "second"
    texts = [widget._image_box._image.itemText(i) for i in range(widget._image_box._image.count())]
    assert sorted(texts) == ["scan", "second"]
    widget._image_box._image.setCurrentIndex(texts.index("second"))
    widget._image_box._image.activated.emit(texts.index("second"))
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
    assert through._propagate.text() == "Propagate 4 to 7", "though the range may be folded away"
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
    assert widget._more._zoom.currentText() == session.zoom.policy
    for policy in ("never", "always", "auto"):
        widget._more._zoom.setCurrentText(policy)
        widget._more._zoom.activated.emit(widget._more._zoom.currentIndex())
        assert session.zoom.policy == policy
    session.set_zoom("never")
    assert widget._more._zoom.currentText() == "never"


def test_a_wrong_window_is_a_notification_and_goes_back(make_session, notices):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    widget._image_box._window._preset.setEditText("bright please")
    widget._image_box._window._preset.lineEdit().editingFinished.emit()
    assert len(notices) == 1
    assert "unknown intensity window" in notices[0]
    assert widget._image_box._window._preset.currentText() == session.window == "auto"
    widget._image_box._window._preset.setEditText("-100,240")
    widget._image_box._window._preset.lineEdit().editingFinished.emit()
    assert session.window == "-100,240"
    widget.close()


def test_save_goes_where_the_dialog_says(make_session, monkeypatch, tmp_path):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    session.add_point((3, 10, 10))
    offered = []

    def answer(parent, title, name, filters, chosen):
        assert chosen in filters.split(";;")
        offered.append((name, chosen.split(" (")[0]))
        return str(tmp_path / "mine.nii.gz"), filters

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    widget._save.click()
    assert offered == [("scan_labels.nii.gz", "NIfTI")]
    assert (tmp_path / "mine.nii.gz").is_file()
    picture = tmp_path / "skin.jpg"
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(picture)
    (image,) = viewer.open(picture, plugin="napari")
    session.set_image(image)
    session.add_point((0, 10, 10))
    widget._save.click()
    assert offered[1] == ("skin_labels.png", "PNG")
    widget.close()


def test_test_weights_are_not_offered(make_session):
    _, session = make_session()
    widget = SegmentWidget(session=session)
    names = [widget._image_box._model.itemData(i) for i in range(widget._image_box._model.count())]
    assert names[0] == "medicosam_lite"
    assert "sam_test" not in names
    assert "bundled" in widget._image_box._model.itemText(names.index("medicosam_lite"))
    widget.close()


def model_texts(widget):
    box = widget._image_box._model
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
    index = widget._image_box._model.findData("livers")
    assert "title of livers\nTrained on: 40 scans" in widget._image_box._model.itemData(
        index, Qt.ItemDataRole.ToolTipRole
    )
    widget._image_box._model.activated.emit(index)
    assert session.model == "livers"
    assert widget._image_box._model.currentText() == "livers  (yours)"
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
    widget._image_box.is_open = True
    QTest.mouseClick(widget._image_box._model, Qt.MouseButton.LeftButton)
    after = model_texts(widget)
    widget._image_box._model.hidePopup()
    assert after == before | {"livers": "livers  (yours)"}
    assert list(after)[-2:] == ["livers", ""], "the way to a file stays last"
    assert session.model == widget._image_box._model.currentData() == "medicosam_lite"

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
        widget._image_box._model.activated.emit(widget._image_box._model.findData(""))
    assert session.model == widget._image_box._model.currentData() == path
    add_model(tmp_path, "livers")
    widget._image_box._model.opening.emit()
    texts = [widget._image_box._model.itemText(i) for i in range(widget._image_box._model.count())]
    assert texts[-3:] == ["livers  (yours)", "best.safetensors", "From file …"]
    assert texts.count("best.safetensors") == 1
    assert widget._image_box._model.currentData() == path
    widget.close()


def test_the_range_follows_the_axis_that_is_shown(make_session):
    viewer, session = make_session()
    widget = SegmentWidget(session=session)
    assert widget._propagation._last.value() == 11
    viewer.dims.order = (1, 0, 2)
    assert widget._propagation._last.value() == 39
    widget.close()
