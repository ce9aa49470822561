"""The part of the dock widget that chooses image, model and window; one line while it is folded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QFormLayout

from napari_medicosam.ui.controls import close_together, combo, told
from napari_medicosam.ui.folds import Fold
from napari_medicosam.ui.model_choices import model_choices
from napari_medicosam.ui.window_box import WindowBox

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_OTHER_FILE = "From file …"
_CHECKPOINTS = "Checkpoints (*.pth *.pt *.safetensors)"


class ImageBox(Fold):
    """Image, model and window of a session. Open until there is an image, unless the user decided otherwise.

    Args:
        session: the box shows what it has and calls its methods, nothing else.
    """

    def __init__(self, *, session: AnnotationSession) -> None:
        super().__init__("Image and model", name="image", tip="Choose the image, the model and the window")
        self._session = session
        self._model_files: list[str] = []
        self._image = combo("The image or volume to segment")
        self._model = combo("The model; large ones are downloaded when first used")
        self._window = WindowBox(session=session, windowing=session.windowing)
        form = QFormLayout(self.content)
        close_together(form)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for text, row in (("Image", self._image), ("Model", self._model), ("Window", self._window)):
            form.addRow(text, row)
            row.setAccessibleName(text)
        self._image.activated.connect(self._on_image_activated)
        self._model.opening.connect(self.refresh_models)
        self._model.activated.connect(self._on_model_activated)
        session.events.changed.connect(self.refresh)
        self.refresh_models()
        self.refresh()

    def refresh(self) -> None:
        """The combo follows the layer list; the first image that can be segmented is taken by itself."""
        images = [layer for layer in self._session.viewer.layers if isinstance(layer, Image)]
        known = [(self._image.itemText(i), self._image.itemData(i)) for i in range(self._image.count())]
        if known != [(layer.name, layer) for layer in images]:
            self._image.clear()
            for layer in images:
                self._image.addItem(layer.name, layer)
                layer.events.name.connect(self.refresh)
        if self._session.image is None:
            # Four axes may be channels, too: taken only where there is nothing else.
            wanted = sorted(
                (layer for layer in images if layer.ndim in (2, 3, 4)), key=lambda one: one.ndim == 4
            )
            if wanted:
                self._choose_image(wanted[0])
        self._image.setCurrentIndex(self._image.findData(self._session.image))
        self._sum_up()

    def refresh_models(self) -> None:
        """The combo follows the list of models, to which a finetuning run or a command may have added one."""
        files = [(path, Path(path).name, path) for path in self._model_files]
        choices = [*model_choices(), *files, ("", _OTHER_FILE, "")]
        box = self._model
        if [(name, text) for name, text, _ in choices] != [
            (box.itemData(i), box.itemText(i)) for i in range(box.count())
        ]:
            box.clear()
            for name, text, tip in choices:
                box.addItem(text, name)
                box.setItemData(box.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        box.setCurrentIndex(box.findData(self._session.model))
        self._sum_up()

    def _sum_up(self) -> None:
        session = self._session
        image, model = session.image, Path(session.model).name
        self.summarise("" if image is None else f"{image.name}, {model}, window {session.window}")
        self.suggest(image is None)

    def _choose_image(self, layer: Any) -> None:
        with told():
            self._session.set_image(layer)
            self._session.prepare()

    def _on_image_activated(self, index: int) -> None:
        self._choose_image(self._image.itemData(index))
        self.refresh()

    def _on_model_activated(self, index: int) -> None:
        name = self._model.itemData(index)
        if not name:
            name, _ = QFileDialog.getOpenFileName(self, "Weights of a model", "", _CHECKPOINTS)
            if name and name not in self._model_files:
                self._model_files.append(name)
        if name:
            with told():
                self._session.set_model(name)
                self._session.prepare()
        self.refresh_models()
