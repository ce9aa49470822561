"""The curves of the review strip: area, predicted IoU and IoU with the neighbour, slice by slice."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QFont, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_medicosam.ui.controls import told
from napari_medicosam.ui.review_looks import (
    AREA_EDGE,
    AREA_FILL,
    CURVES,
    DOUBT,
    LINE_WIDTH,
    Curve,
    fill,
    ground,
    paint_anchor,
    paint_doubt,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.ui.session import AnnotationSession

_MARKS, _IOUS, _GAP, _AREAS, _NUMBERS = 0.75, 3.0, 0.35, 1.75, 1.0
"""Heights from above, in lines of text, so that they grow with the font: marks, IoUs, nothing, areas, slice numbers."""

_SMALL = 0.8
"""Size of the numbers beside the curves, of the font."""

_ROUND = 10
"""The slices that are shown begin and end at multiples of it: a propagation that grows moves the curves seldom."""

_MARGIN = 2
"""Slices that are shown beyond the ends of the object, at least, where there are such."""

_CURSOR = 5
"""Pixels to the left and right that the cursor may touch."""

_CLOSE = 1.5
"""Pixels from one value to the next, at least: of a thousand slices nobody would see each, but drawing takes long."""

_HINT = "Area and IoU of each slice appear here"


def shown_slices(reviews: tuple[SliceReview, ...], num_slices: int) -> range:
    """Which slices to draw: those of the object and a few around, not hundreds that say nothing."""
    if not reviews:
        return range(max(num_slices, 1))
    begin = (reviews[0].index - _MARGIN) // _ROUND * _ROUND
    end = -(-(reviews[-1].index + 1 + _MARGIN) // _ROUND) * _ROUND
    return range(max(begin, 0), min(end, num_slices))


def described(review: SliceReview) -> str:
    """All that is known about a slice, in words."""
    said = [f"Slice {review.index}: {review.area} pixels"]
    if review.is_anchor:
        said.append("yours: propagation does not change it")
    if review.iou_prediction is not None:
        said.append(f"predicted IoU {review.iou_prediction:.2f}")
    if review.neighbour_iou is not None:
        said.append(f"IoU {review.neighbour_iou:.2f} with a slice beside it")
    if review.agreement is not None:
        said.append(f"the three planes agree by {review.agreement:.2f} (1: entirely)")
    return "\n".join([*said, *(f"Doubtful: {reason}" for reason in review.reasons)])


class ReviewChart(QWidget):
    """The curves above a line of slice numbers, and where the viewer is; a click goes there.

    Curves are kept as a picture until they change: a step through the slices paints the cursor and nothing else.

    Args:
        session: its viewer is followed and moved.
    """

    def __init__(self, *, session: AnnotationSession) -> None:
        super().__init__()
        self._session = session
        self._reviews: tuple[SliceReview, ...] = ()
        self._shown = range(1)
        self._here: int | None = None
        self._picture: QPixmap | None = None
        self._left = self._step = 0.0
        self._paint_anew()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setToolTip("What is known about each slice of the object. Click or drag to go there.")
        self.setAccessibleName("Review of slices")

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Some lines of text high."""
        lines = _MARKS + _IOUS + _GAP + _AREAS + _NUMBERS
        return QSize(200, round(lines * self.fontMetrics().height()))

    def show_reviews(self, reviews: tuple[SliceReview, ...], num_slices: int) -> None:
        """Draw these, of a volume of so many slices."""
        shown = shown_slices(reviews, num_slices)
        if (reviews, shown) != (self._reviews, self._shown):
            self._reviews, self._shown = reviews, shown
            self._paint_anew()
        self.move_cursor()

    def move_cursor(self) -> None:
        """Follow the viewer to another slice."""
        before, self._here = self._here, self._session.slice_index
        if self._here != before:
            for index in (before, self._here):
                if index is not None:
                    self.update(self._cursor_area(index))

    def review_of(self, index: int | None) -> SliceReview | None:
        """What is known about a slice; None for one without."""
        if index is None or not self._reviews:
            return None
        place = index - self._reviews[0].index
        return self._reviews[place] if 0 <= place < len(self._reviews) else None

    # ------------------------------------------------------------------ events

    def paintEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Show the picture, painted anew where it is out of date, and the cursor."""
        ratio = self.devicePixelRatioF()
        if self._picture is None or self._picture.devicePixelRatio() != ratio:
            self._picture = QPixmap(self.size() * ratio)
            self._picture.setDevicePixelRatio(ratio)
            self._picture.fill(Qt.GlobalColor.transparent)
            painter = QPainter(self._picture)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_picture(painter)
            painter.end()
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._picture)
        self._paint_cursor(painter)
        painter.end()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """The picture has another size."""
        self._paint_anew()

    def changeEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Another theme or font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self.updateGeometry()
            self._paint_anew()

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Go to the slice."""
        with told():
            self._session.go_to(self._index_at(event))

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Say what is known about the slice; drag through the slices."""
        index = self._index_at(event)
        if event.buttons() & Qt.MouseButton.LeftButton:
            with told():
                self._session.go_to(index)
        review = self.review_of(index)
        text = described(review) if review is not None else f"Slice {index}: no mask\n{self.toolTip()}"
        QToolTip.showText(event.globalPosition().toPoint(), text, self)

    def _index_at(self, event: Any) -> int:
        shown = self._shown
        index = shown.start + int((event.position().x() - self._left) / self._step)
        return min(max(index, shown.start), shown.stop - 1)

    # ------------------------------------------------------------------ where things are

    def _x(self, index: float) -> float:
        return self._left + (index - self._shown.start) * self._step

    def _lanes(self) -> tuple[QRectF, QRectF]:
        """Of the IoUs and of the areas."""
        line, wide = self.fontMetrics().height(), self.width() - self._left
        ious = QRectF(self._left, _MARKS * line, wide, _IOUS * line)
        return ious, QRectF(self._left, ious.bottom() + _GAP * line, wide, _AREAS * line)

    def _cursor_area(self, index: int) -> QRect:
        shown = self._shown
        x = round(self._x(min(max(index, shown.start), shown.stop - 1) + 0.5))
        return QRect(x - 2 * _CURSOR, 0, 4 * _CURSOR, self.height())

    # ------------------------------------------------------------------ painting

    def _paint_anew(self) -> None:
        """After another size, font, or range of slices: where the curves begin, and how wide a slice is."""
        self._picture = None
        self._left = self.fontMetrics().horizontalAdvance("0.5") + 2.0
        self._step = max(self.width() - self._left, 1.0) / len(self._shown)
        self.update()

    def _paint_cursor(self, painter: QPainter) -> None:
        here, shown = self._here, self._shown
        if here is None or not self._reviews:  # the hint is to be read
            return
        _, areas = self._lanes()
        colour = ground(self.palette(), 230)
        if here in shown:
            painter.fillRect(QRectF(self._x(here + 0.5) - 1, 0, 2, areas.bottom()), colour)
            return
        # Beyond the slices that are shown: an arrow that points there.
        outwards = -1 if here < shown.start else 1
        tip = QPointF(self._left if outwards < 0 else self.width(), areas.center().y())
        back = QPointF(-outwards * _CURSOR, _CURSOR)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        fill(painter, colour, tip, tip + back, tip + QPointF(back.x(), -back.y()))

    def _paint_picture(self, painter: QPainter) -> None:
        ious, areas = self._lanes()
        for lane in (ious, areas):
            painter.fillRect(lane, ground(self.palette(), 20))
        if not self._reviews:
            painter.setPen(ground(self.palette(), 160))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, _HINT)
            return
        self._paint_scales(painter, ious, areas)
        self._paint_areas(painter, areas)
        self._paint_marks(painter, ious, areas)
        for curve in CURVES:
            self._paint_curve(painter, curve, ious)

    def _gathered(self, field: str, worst: Callable[[list[Any]], Any]) -> Iterator[tuple[int, int, Any]]:
        """First slice, the one after the last, and the `worst` value: of one slice each, or of some close together."""
        reviews, every = self._reviews, max(math.ceil(_CLOSE / self._step), 1)
        for place in range(0, len(reviews), every):
            part = reviews[place : place + every]
            known = [value for value in (getattr(one, field) for one in part) if value is not None]
            yield part[0].index, part[-1].index + 1, worst(known) if known else None

    def _paint_scales(self, painter: QPainter, ious: QRectF, areas: QRectF) -> None:
        font = QFont(self.font())
        if font.pointSizeF() > 0:
            font.setPointSizeF(_SMALL * font.pointSizeF())
        else:
            font.setPixelSize(max(round(_SMALL * font.pixelSize()), 1))
        painter.setFont(font)
        line = painter.fontMetrics().height()
        for value, text in ((1.0, "1"), (0.5, "0.5"), (0.0, "0")):
            y = ious.bottom() - value * ious.height()
            painter.setPen(QPen(ground(self.palette(), 60), 1))
            painter.drawLine(QPointF(ious.left(), y), QPointF(ious.right(), y))
            painter.setPen(ground(self.palette(), 200))
            beside = QRectF(0, y - line / 2, self._left - 3, line)
            painter.drawText(beside, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
        below = QRectF(areas.left(), areas.bottom(), areas.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, str(self._shown.start))
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, str(self._shown.stop - 1))

    def _paint_areas(self, painter: QPainter, lane: QRectF) -> None:
        areas = list(self._gathered("area", max))
        largest = max(max(area for _, _, area in areas), 1)
        outline = [QPointF(self._x(areas[0][0]), lane.bottom())]
        for begin, end, area in areas:
            y = lane.bottom() - lane.height() * area / largest
            outline += QPointF(self._x(begin), y), QPointF(self._x(end), y)
        outline.append(QPointF(self._x(areas[-1][1]), lane.bottom()))
        painter.setPen(QPen(ground(self.palette(), AREA_EDGE), 1))
        painter.setBrush(ground(self.palette(), AREA_FILL))
        painter.drawPolygon(QPolygonF(outline))

    def _paint_marks(self, painter: QPainter, ious: QRectF, areas: QRectF) -> None:
        size, wide = ious.top() - 3, max(self._step, 1.0)
        band = DOUBT.on(self.palette())
        band.setAlpha(60)
        for review in self._reviews:
            tip = QPointF(self._x(review.index + 0.5), ious.top() - 1)
            if review.reasons:
                left = self._x(review.index)
                painter.fillRect(QRectF(left, ious.top(), wide, areas.bottom() - ious.top()), band)
                paint_doubt(painter, self.palette(), tip, size)
            elif review.is_anchor:
                paint_anchor(painter, self.palette(), tip, size)

    def _paint_curve(self, painter: QPainter, curve: Curve, lane: QRectF) -> None:
        """Through the middle of each slice; broken where there is no value."""
        pen = curve.pen(self.palette())
        for is_there, run in groupby(self._gathered(curve.field, min), lambda one: one[2] is not None):
            if not is_there:
                continue
            points = [
                QPointF(self._x((begin + end) / 2), lane.bottom() - value * lane.height())
                for begin, end, value in run
            ]
            if len(points) > 1:
                painter.setPen(pen)
                painter.drawPolyline(QPolygonF(points))
            else:  # a line of no length would not be seen
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(pen.color())
                painter.drawEllipse(points[0], LINE_WIDTH, LINE_WIDTH)
