"""The line of the dock widget `Segment` that says which image of a series is open, and goes on to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QSizePolicy, QWidget

from napari_medicosam.io.sample_reading import stem_of
from napari_medicosam.ui.controls import button, told
from napari_medicosam.ui.key_map import on_keys_changed, with_keys

if TYPE_CHECKING:
    from napari_medicosam.ui.series import SeriesSession
    from napari_medicosam.ui.session import AnnotationSession

NEXT, PREVIOUS, DONE_NEXT = "next_image", "previous_image", "done_next_image"
"""Names of the actions, without the package."""

TIPS = {
    NEXT: "Save the labels if they are new, and open the next image",
    PREVIOUS: "Save the labels if they are new, and open the image before this one",
    DONE_NEXT: "Save the labels, mark the image as done, and open the next one",
}


class SeriesBar(QWidget):
    """Which image of how many, and on to the next without another tab; not there without a series.

    Args:
        session: of the viewer, whose series is followed.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._series: SeriesSession | None = None
        self._is_aside = False
        self._text = _ElidedLabel()
        self._next = button("Save and next", TIPS[NEXT])
        self._more = QPushButton()
        self._more.setToolTip("Mark the image as done, or go back to the one before")
        self._more.setAccessibleName("More about this image of the series")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self._done = _entry(menu, "Done and next")
        self._previous = _entry(menu, "Previous")
        self._more.setMenu(menu)
        self._more.setMaximumWidth(self._more.sizeHint().height())
        self._back = button("", "Go on with the open image of the series")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self._text, stretch=1)
        row.addWidget(self._next)
        row.addWidget(self._more)
        row.addWidget(self._back)
        self._next.clicked.connect(self._on_next_clicked)
        self._done.triggered.connect(self._on_done_triggered)
        self._previous.triggered.connect(self._on_previous_triggered)
        self._back.clicked.connect(self._on_back_clicked)
        session.events.changed.connect(self._on_session_changed)
        on_keys_changed(self._show_keys)
        self._show_keys()
        self.refresh()

    def refresh(self) -> None:
        """Show how far the series is."""
        series = self._session.series
        if series is not self._series:
            self._series = series
            if series is not None:
                series.events.changed.connect(self.refresh)
                series.events.opened.connect(self._on_opened)
        self.setVisible(series is not None and bool(series.items))
        if series is None or not series.items:
            return
        item, is_free, self._is_aside = series.item, not series.is_busy, series.is_aside
        for control in (self._next, self._more):
            control.setVisible(not self._is_aside)
        self._back.setVisible(self._is_aside)
        self._back.setEnabled(is_free)
        self._next.setEnabled(is_free)
        self._done.setEnabled(is_free and item is not None)
        self._previous.setEnabled(is_free and item is not None and item != series.items[0])
        if not is_free:
            self._text.show_text(series.activity)
        elif item is None:
            self._text.show_text(f"Image series: {series.progress}")
        elif self._is_aside:
            self._text.show_text("Not of the series")
            self._back.setText(f"Back to image {series.items.index(item) + 1}")
        else:
            said = f"Image {series.items.index(item) + 1} of {len(series.items)}"
            is_done = series.status(item) == "done"
            self._text.show_text(f"{said}{', done' if is_done else ''} – ", stem_of(item.image_path))

    def _on_session_changed(self) -> None:
        series = self._session.series
        if series is not self._series or (series is not None and series.is_aside != self._is_aside):
            self.refresh()

    def _on_opened(self, _name: str) -> None:
        self.refresh()

    def _show_keys(self) -> None:
        for control, name in ((self._next, NEXT), (self._done, DONE_NEXT), (self._previous, PREVIOUS)):
            control.setToolTip(with_keys(TIPS[name], name))

    def _on_next_clicked(self) -> None:
        if self._series is not None:
            with told():
                self._series.next()

    def _on_done_triggered(self) -> None:
        if self._series is not None:
            with told():
                self._series.mark_done(go_on=True)

    def _on_back_clicked(self) -> None:
        if self._series is not None and self._series.item is not None:
            with told():
                self._series.go_to(self._series.item.name)

    def _on_previous_triggered(self) -> None:
        if self._series is not None:
            with told():
                self._series.previous()


def _entry(menu: QMenu, text: str) -> Any:
    return menu.addAction(text)


class _ElidedLabel(QLabel):
    """One line that never widens the dock; what does not fit of a name is left out in its middle."""

    def __init__(self) -> None:
        super().__init__()
        self._before, self._name = "", ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """As wide as what comes before the name."""
        metrics = self.fontMetrics()
        return QSize(min(metrics.horizontalAdvance(self._before), 8 * metrics.height()), metrics.height())

    def show_text(self, before: str, name: str = "") -> None:
        """`before` and then as much of `name` as there is room for."""
        self._before, self._name = before, name
        self.setToolTip(f"{before}{name}")
        self.updateGeometry()
        self._elide()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Another width shows more or less."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        metrics = self.fontMetrics()
        room = self.contentsRect().width() - metrics.horizontalAdvance(self._before)
        self.setText(self._before + metrics.elidedText(self._name, Qt.TextElideMode.ElideMiddle, room))
