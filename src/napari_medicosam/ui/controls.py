"""Small things that all our forms are made of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from napari.utils.notifications import show_error
from qtpy import QtCore
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

from napari_medicosam.errors import MedicoSamError
from napari_medicosam.ui.key_map import on_keys_changed, with_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


_LEAST_WIDTH = 76
"""Of a box in a narrow dock, in pixels: room for its arrows or signs, and for a few letters or a number."""

_ICON_GAP, _TEXT_GAP = 4, 2
"""Pixels that Qt leaves beside the icon of a combo box, and around its text."""


_STATUS_STYLE = "QLabel { border-left: 3px solid #4c72e0; padding-left: 6px; font-weight: bold; }"
"""A blue that can be seen on the ground of light and dark themes."""

_STATUS_ROOM = 10

_SWATCH = 12
TICKED_SWATCH = QtCore.QSize(25, _SWATCH)
"""Pixels of a swatch with room for a tick."""

_TICK = "#6dbb63"
"""A green that can be seen on the ground of light and dark themes."""

_NOTICE_STYLE = "QLabel { border-left: 3px solid #d58e00; padding-left: 6px; }"
"""An orange that can be seen on the ground of light and dark themes."""


_Widget = TypeVar("_Widget", bound=QWidget)


class OpeningComboBox(QComboBox):
    """A combo box that says when its list is about to be shown, so that the list can be brought up to date.

    Where it is too narrow for what is chosen, that ends in an ellipsis.
    """

    opening = QtCore.Signal()  # type: ignore[attr-defined]  # Qt bindings call it differently

    def showPopup(self) -> None:  # noqa: N802  Qt's name
        """Show the list."""
        self.opening.emit()
        super().showPopup()

    def paintEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """As Qt does, which only cuts a text that is too long."""
        if self.isEditable():
            super().paintEvent(event)
            return
        shown: Any = QStyleOptionComboBox()
        self.initStyleOption(shown)
        style: Any = self.style()
        kind = QStyle.ComplexControl.CC_ComboBox
        place = style.subControlRect(kind, shown, QStyle.SubControl.SC_ComboBoxEditField, self)
        room = place.width() - (0 if shown.currentIcon.isNull() else shown.iconSize.width() + _ICON_GAP)
        shown.currentText = self.fontMetrics().elidedText(
            shown.currentText, QtCore.Qt.TextElideMode.ElideRight, room - _TEXT_GAP
        )
        painter = QStylePainter(self)
        painter.drawComplexControl(kind, shown)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, shown)
        painter.end()


class NoticeBar(QWidget):
    """What the user should know, with buttons to act on it; not there while there is nothing to be said.

    Args:
        buttons: from left to right.
    """

    def __init__(self, *buttons: QPushButton, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setStyleSheet(_NOTICE_STYLE)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout(self)
        close_together(row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._text, stretch=1)
        for one in buttons:
            row.addWidget(one)

    def say(self, text: str) -> None:
        """Show the bar with these words; "" hides it."""
        self._text.setText(text)
        self.setVisible(bool(text))


class ScrollColumn(QScrollArea):
    """Scrolls its content up and down where the window is low, and is never narrower than the content."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._content = content
        self.setWidget(content)
        content.installEventFilter(self)
        self._opened: QWidget | None = None
        self._soon = QtCore.QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._show_opened)

    def reveal(self, part: QWidget) -> None:
        """Scroll to a part of the content that was just opened, as soon as it has its place."""
        self._opened = part
        self._soon.start(0)

    def _show_opened(self) -> None:
        if self._opened is not None:
            self.ensureWidgetVisible(self._opened, 0, 0)
            self._opened = None

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """The content may need more width than before: of longer words, or of another style, as when first shown."""
        kinds = QtCore.QEvent.Type
        if watched is self._content and event.type() in (kinds.LayoutRequest, kinds.Resize, kinds.Show):
            bar: Any = self.verticalScrollBar()
            self.setMinimumWidth(watched.minimumSizeHint().width() + bar.sizeHint().width())
        return super().eventFilter(watched, event)


def close_together(layout: QLayout) -> None:
    """Little room around and between: a dock has to fit beside the image on a small screen."""
    layout.setContentsMargins(4, 4, 4, 4)
    layout.setSpacing(4)


def status_label() -> QLabel:
    """For the top of a dock: what to do next, with room for two lines, so that what lies below stays in its place."""
    label = QLabel()
    label.setWordWrap(True)
    label.setAlignment(QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft)
    label.setMinimumHeight(2 * label.fontMetrics().lineSpacing() + _STATUS_ROOM)
    label.setStyleSheet(_STATUS_STYLE)
    return label


def combo(tip: str) -> OpeningComboBox:
    """A combo box that long names do not widen."""
    box = OpeningComboBox()
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setMinimumWidth(_LEAST_WIDTH)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def button(text: str, tip: str, *, checkable: bool = False) -> QPushButton:
    """A push button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    return made


class _KeyTip(QtCore.QObject):
    """Keeps the keys of an action in the tooltip of a widget."""

    def __init__(self, widget: QWidget, name: str) -> None:
        super().__init__(widget)
        self._widget, self._name, self._tip = widget, name, widget.toolTip()
        on_keys_changed(self._show)
        self._show()

    def _show(self) -> None:
        self._widget.setToolTip(with_keys(self._tip, self._name))


def keyed(made: _Widget, name: str, tip: str = "") -> _Widget:
    """A widget whose tooltip (given, or its own) ends with the keys that an action of ours has now."""
    made.setToolTip(tip or made.toolTip())
    _KeyTip(made, name)
    return made


def number_box(tip: str, ends: tuple[float, float], step: float) -> QDoubleSpinBox:
    """A box for a number of two decimals, which counts once it is typed to the end."""
    box = QDoubleSpinBox()
    box.setToolTip(tip)
    box.setRange(*ends)
    box.setSingleStep(step)
    box.setMinimumWidth(_LEAST_WIDTH)
    box.setDecimals(2)
    box.setKeyboardTracking(False)
    return box


def millilitres(volume_mm3: float) -> str:
    """A volume as people read it: three digits that count, and never an exponent."""
    volume = volume_mm3 / 1000
    if volume < 0.001:
        return "< 0.001 mL"
    return f"{volume:.0f} mL" if volume >= 100 else f"{volume:.3g} mL"


def swatch(colour: Sequence[float] | None, *, is_ticked: bool | None = None) -> QIcon:
    """A small square of a colour (red, green, blue; 0..1), clear for None; room for a tick beside it (None: none)."""
    pixels = QPixmap(_SWATCH if is_ticked is None else TICKED_SWATCH.width(), _SWATCH)
    pixels.fill(QColor(0, 0, 0, 0))
    painter = QPainter(pixels)
    if colour is not None:
        red, green, blue = (round(255 * float(v)) for v in colour[:3])
        painter.fillRect(0, 0, _SWATCH, _SWATCH, QColor(red, green, blue))
    if is_ticked:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(_TICK), 2))
        tick = ((3, 7), (6, 10), (11, 2))
        painter.drawPolyline(QPolygonF([QtCore.QPointF(_SWATCH + x, y) for x, y in tick]))
    painter.end()
    icon = QIcon(pixels)
    icon.addPixmap(pixels, QIcon.Mode.Selected)  # Qt would tint it
    return icon


@contextmanager
def told(also: Callable[[str], None] | None = None) -> Iterator[None]:
    """What the user got wrong in here becomes a notification, and is said by `also`."""
    try:
        yield
    except MedicoSamError as error:
        show_error(str(error))
        if also is not None:
            also(str(error))
