"""Small things that all our forms are made of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy import QtCore
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QWidget,
)

from napari_medicosam.errors import MedicoSamError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class OpeningComboBox(QComboBox):
    """A combo box that says when its list is about to be shown, so that the list can be brought up to date."""

    opening = QtCore.Signal()  # type: ignore[attr-defined]  # Qt bindings call it differently

    def showPopup(self) -> None:  # noqa: N802  Qt's name
        """Show the list."""
        self.opening.emit()
        super().showPopup()


class ScrollColumn(QScrollArea):
    """Scrolls its content up and down where the window is low, and is never narrower than the content."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)
        content.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """The content may need more width than before, of longer words or of another style."""
        if event.type() in (QtCore.QEvent.Type.LayoutRequest, QtCore.QEvent.Type.Resize):
            bar: Any = self.verticalScrollBar()
            self.setMinimumWidth(watched.minimumSizeHint().width() + bar.sizeHint().width())
        return False


def close_together(layout: QLayout) -> None:
    """Little room around and between: a dock has to fit beside the image on a small screen."""
    layout.setContentsMargins(6, 4, 6, 4)
    layout.setSpacing(4)


def combo(tip: str) -> OpeningComboBox:
    """A combo box that long names do not widen."""
    box = OpeningComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def button(text: str, tip: str, *, checkable: bool = False) -> QPushButton:
    """A push button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    return made


def number_box(tip: str, ends: tuple[float, float], step: float) -> QDoubleSpinBox:
    """A box for a number of two decimals, which counts once it is typed to the end."""
    box = QDoubleSpinBox()
    box.setToolTip(tip)
    box.setRange(*ends)
    box.setSingleStep(step)
    box.setDecimals(2)
    box.setKeyboardTracking(False)
    return box


def swatch(colour: Sequence[float] | None) -> QIcon:
    """A small square of a colour (red, green, blue; 0..1); black for None."""
    pixels = QPixmap(12, 12)
    red, green, blue = (round(255 * float(v)) for v in (colour if colour is not None else (0, 0, 0))[:3])
    pixels.fill(QColor(red, green, blue))
    return QIcon(pixels)


@contextmanager
def told() -> Iterator[None]:
    """What the user got wrong in here becomes a notification."""
    try:
        yield
    except MedicoSamError as error:
        show_error(str(error))
