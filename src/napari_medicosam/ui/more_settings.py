"""The part of the dock widget that most never need, folded to one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QWidget

from napari_medicosam.ui.controls import close_together, combo, keyed, told
from napari_medicosam.ui.folds import Fold
from napari_medicosam.ui.model_choices import ZOOM_HELP

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession


class MoreSettings(Fold):
    """What was measured to be best as it is, or decides by itself.

    Args:
        session: its settings are shown and changed.
        overlap: controls of what objects may take of others.
        details: controls of how an object is followed.
    """

    def __init__(self, *, session: AnnotationSession, overlap: QWidget, details: QWidget) -> None:
        super().__init__(
            "More settings",
            name="more",
            tip="Overlap, zoom, outlines, live masks, encoding ahead, a range of slices, how to follow an object",
        )
        self._session = session
        self._zoom = combo(
            "How closely the model looks: a small object loses its shape when the whole slice is shown"
        )
        for name, tip in ZOOM_HELP.items():
            self._zoom.addItem(name)
            self._zoom.setItemData(self._zoom.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._live = QCheckBox("live")
        self._live.setToolTip(
            "The mask follows every prompt at once; without, it waits for Segment: for slow models"
        )
        self._ahead = QCheckBox("encode ahead")
        self._ahead.setToolTip(
            "While nothing else is to be done, the slices that come next as you scroll are encoded, so that they "
            "answer at once; without, a slice is encoded when it is first asked about"
        )
        self._outlines = keyed(
            QCheckBox("outlines"),
            "outlines",
            "Show masks by their outlines alone, so that the image at their margin can be seen",
        )
        ticks = QHBoxLayout()
        ticks.addWidget(self._live)
        ticks.addWidget(self._ahead)
        ticks.addStretch(1)
        form = QFormLayout(self.content)
        close_together(form)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Overlap", overlap)
        form.addRow("Zoom", self._zoom)
        form.addRow(ticks)
        form.addRow(self._outlines)
        form.addRow(details)
        self._zoom.activated.connect(self._on_zoom_activated)
        self._outlines.clicked.connect(self._on_outlines_clicked)
        self._live.clicked.connect(self._on_live_clicked)
        self._ahead.clicked.connect(self._on_ahead_clicked)

    def refresh(self) -> None:
        """Follow the session."""
        self._zoom.setCurrentText(self._session.zoom.policy)
        self._outlines.setChecked(self._session.shows_outlines)
        self._live.setChecked(self._session.is_live)
        self._ahead.setChecked(self._session.encodes_ahead)

    def _on_zoom_activated(self) -> None:
        self._session.set_zoom(self._zoom.currentText())

    def _on_live_clicked(self, checked: bool) -> None:
        with told():
            self._session.is_live = checked

    def _on_outlines_clicked(self, checked: bool) -> None:
        self._session.shows_outlines = checked

    def _on_ahead_clicked(self, checked: bool) -> None:
        self._session.encodes_ahead = checked
