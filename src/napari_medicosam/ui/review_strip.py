"""The strip under the object table: the curves of the current object, their legend, and the next doubtful slice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, QSize, QTimer
from qtpy.QtGui import QPainter, QPen
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_medicosam.ui.controls import button, keyed, told
from napari_medicosam.ui.review_chart import ReviewChart, described
from napari_medicosam.ui.review_looks import (
    AGREEMENT,
    AREA_EDGE,
    AREA_FILL,
    NEIGHBOUR,
    PREDICTED,
    Curve,
    ground,
    paint_anchor,
    paint_doubt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QPalette

    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.ui.session import AnnotationSession

    _Paint = Callable[[QPainter, QPalette, QRectF], None]

_REFRESH_MS = 200
"""Propagation changes many slices a second; the strip need not follow each."""

_COUNT_SECONDS = 0.01
"""Of counting voxels before the window gets its turn again."""

_NAMED = 12
"""So many doubtful slices are named to a screen reader."""

_AREA_TIP = "Pixels of the mask; the profile is as high as its lane where the mask is largest"
_DOUBT_TIP = "A low predicted IoU, a mask unlike those beside it, or none between two: point at it to see why"
_ANCHOR_TIP = "Slices that you prompted or painted: propagation does not change them"


class ReviewStrip(QWidget):
    """Curves, legend with the numbers of the slice on show, and the buttons that belong to them.

    Args:
        session: its current object is drawn.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._chart = ReviewChart(session=session)
        self._legend = _Legend()
        self._summary = ""
        self._next = keyed(
            button("Next doubtful", "Go to the next slice that deserves a second look"), "next_doubtful"
        )
        self._absent = keyed(
            button(
                "Not here", "The object is not on this slice: remove it here, and let propagation stop here"
            ),
            "mark_absent",
        )
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        row = QHBoxLayout()
        row.addWidget(self._next, stretch=2)
        row.addWidget(self._absent, stretch=1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._chart)
        layout.addWidget(self._legend)
        layout.addLayout(row)
        self._timer.timeout.connect(self.refresh)
        self._next.clicked.connect(self._on_next_clicked)
        self._absent.clicked.connect(self._on_absent_clicked)
        session.events.changed.connect(self._on_changed)
        session.events.tool_changed.connect(self._on_changed)  # another plane may be shown
        session.events.mask_changed.connect(self._on_changed)
        session.viewer.dims.events.current_step.connect(self._on_step)
        self.refresh()

    def refresh(self) -> None:
        """Draw what the session knows now."""
        session = self._session
        reviews = session.review_within(_COUNT_SECONDS) if session.image is not None and session.is_3d else ()
        if reviews is None:  # of a large object that nobody has looked at yet
            self._timer.start(0)
            return
        self._chart.show_reviews(reviews, session.num_slices)
        self._legend.show_agreement(any(review.agreement is not None for review in reviews))
        doubtful = [review.index for review in reviews if review.reasons]
        self._summary = _summary(reviews, doubtful)
        self._next.setEnabled(bool(doubtful))
        is_there = session.record is not None and session.has_user_slices(session.object_id)
        self._absent.setEnabled(is_there and session.can_prompt)
        self._next.setText(f"Next doubtful ({len(doubtful)})" if doubtful else "Next doubtful")
        self.setVisible(session.is_3d)
        self._on_step()

    def _on_changed(self, *_: Any) -> None:
        if not self._timer.isActive():
            self._timer.start(_REFRESH_MS)

    def _on_step(self) -> None:
        """The picture of the curves stays; only what is said about the slice on show is new."""
        self._chart.move_cursor()
        review = self._chart.review_of(self._session.slice_index)
        self._legend.show_numbers(review)
        here = "" if review is None else f" {described(review)}"
        self._chart.setAccessibleDescription(f"{self._summary}{here}")

    def _on_absent_clicked(self) -> None:
        with told():
            self._session.mark_absent()

    def _on_next_clicked(self) -> None:
        with told():
            self._session.go_to_doubtful()


class _Legend(QWidget):
    """What the curves and marks mean, and the numbers of the slice on show."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[str, tuple[str, QLabel]] = {}
        cells = QGridLayout(self)
        cells.setContentsMargins(0, 0, 0, 0)
        cells.setSpacing(2)
        self._votes = self._curve(AGREEMENT)
        self._votes.hide()
        area = self._entry(_area, "area", _AREA_TIP, "area")
        for row, part in enumerate((self._curve(PREDICTED), self._curve(NEIGHBOUR), area, self._votes)):
            cells.addWidget(part, row, 0)
        cells.addWidget(self._entry(_doubt, "doubt", _DOUBT_TIP), 0, 1)
        cells.addWidget(self._entry(_anchor, "yours", _ANCHOR_TIP), 1, 1)
        cells.setColumnStretch(0, 1)

    def show_agreement(self, is_voted: bool) -> None:
        """Explain the line of the votes where there is one."""
        self._votes.setVisible(is_voted)

    def show_numbers(self, review: SliceReview | None) -> None:
        """Of this slice."""
        for field, (name, label) in self._numbers.items():
            label.setText(f"{name} <b>{_number(review, field)}</b>")

    def _curve(self, curve: Curve) -> QWidget:
        return self._entry(partial(_line, curve), curve.name, curve.tip, curve.field)

    def _entry(self, paint: _Paint, name: str, tip: str, field: str = "") -> QWidget:
        label = QLabel(name)
        if field:
            self._numbers[field] = name, label
        entry = _row(_Sample(paint, 1.0 if field else 0.7), label)
        entry.setToolTip(tip)
        return entry


class _Sample(QWidget):
    """A small piece of what is explained, as it is drawn now.

    Args:
        paint: draws it into a rectangle, in the colours of a palette.
        width: in lines of text.
    """

    def __init__(self, paint: _Paint, width: float) -> None:
        super().__init__()
        self._paint = paint
        line = self.fontMetrics().height()
        self.setFixedSize(QSize(round(width * line), line))

    def paintEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint(painter, self.palette(), QRectF(self.rect()).adjusted(1, 3, -1, -3))
        painter.end()


def _number(review: SliceReview | None, field: str) -> str:
    """One number of a slice in a word."""
    value = None if review is None else getattr(review, field)
    if value is not None:
        return f"{value} px" if field == "area" else f"{value:.2f}"
    is_yours = review is not None and review.is_anchor and field == PREDICTED.field
    return "yours" if is_yours else "–"


def _row(*parts: QWidget) -> QWidget:
    made = QWidget()
    row = QHBoxLayout(made)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(3)
    for part in parts:
        row.addWidget(part)
    row.setStretch(len(parts) - 1, 1)
    return made


def _line(curve: Curve, painter: QPainter, palette: QPalette, place: QRectF) -> None:
    painter.setPen(curve.pen(palette))
    y = place.center().y()
    painter.drawLine(QPointF(place.left(), y), QPointF(place.right(), y))


def _area(painter: QPainter, palette: QPalette, place: QRectF) -> None:
    painter.fillRect(place, ground(palette, AREA_FILL))
    painter.setPen(QPen(ground(palette, AREA_EDGE), 1))
    painter.drawLine(place.topLeft(), place.topRight())


def _doubt(painter: QPainter, palette: QPalette, place: QRectF) -> None:
    paint_doubt(painter, palette, QPointF(place.center().x(), place.bottom()), place.height())


def _anchor(painter: QPainter, palette: QPalette, place: QRectF) -> None:
    paint_anchor(painter, palette, QPointF(place.center().x(), place.bottom()), place.height())


def _summary(reviews: tuple[SliceReview, ...], doubtful: list[int]) -> str:
    """What the curves show, for who cannot see them."""
    if not reviews:
        return "The object has no mask yet."
    said = f"The object is on slices {reviews[0].index} to {reviews[-1].index}."
    if not doubtful:
        return f"{said} None of them is doubtful."
    named = ", ".join(str(index) for index in doubtful[:_NAMED])
    return f"{said} Doubtful: {named}{' and more' if len(doubtful) > _NAMED else ''}."
