"""The bar that says that napari draws a scan squeezed, and lays it so that it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medicosam.ui.controls import NoticeBar, button, told
from napari_medicosam.ui.laying import squeeze_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medicosam.ui.session import AnnotationSession

_LEAST = 0.01
"""Of the area of a slice, which 8 degrees cost: nobody sees less."""


class TiltBar(NoticeBar):
    """Offers to show an oblique scan as it was recorded; not there where 2D does.

    Args:
        session: of the image.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        lay = button(
            "As recorded",
            "Lay the scan along its own axes, so that its slices look as the scanner made them. Other scans "
            "then lie elsewhere.\nNothing is resampled, and saved files are the same. Back: menu Layers, Transform",
        )
        super().__init__(lay, parent=parent)
        self._session, self._lay = session, lay
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
        said = f"An oblique scan: napari draws its slices squeezed by {100 * share:.0f} %."
        self.say(said if share >= _LEAST else "")

    def _on_lay_clicked(self) -> None:
        with told():
            self._session.lay("own")
