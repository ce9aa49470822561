"""The bar that says that napari draws a scan squeezed, and lays it so that it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from napari_medicosam.ui.controls import NOTICE_STYLE, button, close_together, told
from napari_medicosam.ui.laying import squeeze_of

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_LEAST = 0.01
"""Of the area of a slice, which 8 degrees cost: nobody sees less."""


class TiltBar(QWidget):
    """Offers to show an oblique scan as it was recorded; not there where 2D does.

    Args:
        session: of the image.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setStyleSheet(NOTICE_STYLE)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._lay = button(
            "As recorded",
            "Lay the scan along its own axes, so that its slices look as the scanner made them. Other scans "
            "then lie elsewhere.\nNothing is resampled, and saved files are the same. Back: menu Layers, Transform",
        )
        row = QHBoxLayout(self)
        close_together(row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._text, stretch=1)
        row.addWidget(self._lay)
        self._lay.clicked.connect(self._on_lay_clicked)
        session.events.changed.connect(self.refresh)
        self._dims: Any = session.viewer.dims.events
        for event in (self._dims.order, self._dims.ndisplay):
            event.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Say what 2D does to the slices that are shown."""
        image = self._session.image
        share = 0.0 if image is None else squeeze_of(self._session.viewer, image)
        self.setVisible(share >= _LEAST)
        if share >= _LEAST:
            self._text.setText(f"An oblique scan: napari draws its slices squeezed by {100 * share:.0f} %.")

    def _on_lay_clicked(self) -> None:
        with told():
            self._session.lay("own")
