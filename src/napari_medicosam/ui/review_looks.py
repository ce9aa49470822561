"""How the review strip looks: colours, lines and marks, for its curves and their legend.

Colours are those of Okabe and Ito, which colour-blind people tell apart, darker on light themes; the lines differ in
their dashes, too, and the marks in their shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF

LINE_WIDTH = 1.6


@dataclass(frozen=True, slots=True)
class Ink:
    """A colour as dark and as light themes need it."""

    on_dark: str
    on_light: str

    def on(self, palette: QPalette) -> QColor:
        """The one for a palette."""
        is_dark = palette.color(QPalette.ColorRole.WindowText).lightness() > 127
        return QColor(self.on_dark if is_dark else self.on_light)


@dataclass(frozen=True, slots=True)
class Curve:
    """One of the lines.

    Attributes:
        field: of `SliceReview`, from 0 to 1, or None where nothing is drawn.
        name, tip: in the legend.
        ink, dashes: of the line.
    """

    field: str
    name: str
    tip: str
    ink: Ink
    dashes: Qt.PenStyle

    def pen(self, palette: QPalette) -> QPen:
        """To draw it with."""
        pen = QPen(self.ink.on(palette), LINE_WIDTH, self.dashes)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        return pen


PREDICTED = Curve(
    "iou_prediction",
    "predicted IoU",
    "How good the model thinks its mask is, 0 to 1; nothing where the mask is yours",
    Ink("#56b4e9", "#0072b2"),
    Qt.PenStyle.SolidLine,
)
NEIGHBOUR = Curve(
    "neighbour_iou",
    "neighbour IoU",
    "How like the mask is to that of a slice beside it, 0 to 1: the higher of the two; nothing without one",
    Ink("#e69f00", "#9a5b00"),
    Qt.PenStyle.DashLine,
)
AGREEMENT = Curve(
    "agreement",
    "planes agree",
    "How far the three planes that voted on the mask agree, 0 to 1",
    Ink("#cc79a7", "#a03a74"),
    Qt.PenStyle.DotLine,
)
CURVES = (PREDICTED, NEIGHBOUR, AGREEMENT)
DOUBT = Ink("#ff7043", "#c43a00")
AREA_FILL, AREA_EDGE = 80, 150
"""How opaque the colour of text is in the profile of areas."""


def ground(palette: QPalette, alpha: int) -> QColor:
    """The colour of text, more or less transparent: fits every theme."""
    colour = QColor(palette.color(QPalette.ColorRole.WindowText))
    colour.setAlpha(alpha)
    return colour


def paint_doubt(painter: QPainter, palette: QPalette, tip: QPointF, size: float) -> None:
    """A triangle that points down to `tip`."""
    aside, up = QPointF(size / 2, 0), QPointF(0, size)
    fill(painter, DOUBT.on(palette), tip, tip - aside - up, tip + aside - up)


def paint_anchor(painter: QPainter, palette: QPalette, tip: QPointF, size: float) -> None:
    """A diamond that stands on `tip`."""
    aside, up = QPointF(size / 2, 0), QPointF(0, size / 2)
    fill(painter, ground(palette, 255), tip, tip - aside - up, tip - up - up, tip + aside - up)


def fill(painter: QPainter, colour: QColor, *corners: QPointF) -> None:
    """A shape without an outline."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawPolygon(QPolygonF(corners))
