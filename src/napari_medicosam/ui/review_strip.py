"""A strip that draws each slice of the current object: how large, how sure the model is, and which are doubtful.

Where three planes voted on the mask, what hangs from above is how far they disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from napari_medicosam.core.consensus import LOW_AGREEMENT
from napari_medicosam.ui.controls import button, told

if TYPE_CHECKING:
    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.ui.session import AnnotationSession

_REFRESH_MS = 200
"""Propagation changes many slices a second; the strip need not follow each."""

_COUNT_SECONDS = 0.01
"""Of counting voxels before the window gets its turn again."""

_ANCHOR, _SURE, _UNSURE, _DOUBTFUL = (
    QColor("#4c72e0"),
    QColor("#56b48c"),
    QColor("#c9b458"),
    QColor("#e0563c"),
)
_DISAGREEMENT = QColor("#a85be0")
_SURE_FROM = 0.8
_HEIGHT, _LANE = 44, 16
"""Of the bars, and of what hangs from above them where planes voted: all of it where they agree by a half or less."""

_TIP = (
    "Slices of the object: bar height is area; blue yours, green sure, yellow less so, red doubtful. "
    "Click to go there."
)
_VOTED_TIP = "From above: how far the three planes disagree, pale where little."


class ReviewStrip(QWidget):
    """The strip and the button that goes to the next doubtful slice.

    Args:
        session: its current object is drawn.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._bars = _Bars(session=session)
        self._legend = QLabel(
            f'<span style="color: {_DISAGREEMENT.name()}">■</span> from above: how far three planes disagree'
        )
        self._legend.setToolTip(_VOTED_TIP)
        self._legend.setWordWrap(True)
        self._legend.hide()
        self._next = button("Next doubtful slice", "Go to the next slice that deserves a second look")
        self._absent = button(
            "Not here", "The object is not on this slice: remove it here, and let propagation stop here"
        )
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        row = QHBoxLayout()
        row.addWidget(self._next, stretch=2)
        row.addWidget(self._absent, stretch=1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._bars)
        layout.addWidget(self._legend)
        layout.addLayout(row)
        self._timer.timeout.connect(self.refresh)
        self._next.clicked.connect(self._on_next_clicked)
        self._absent.clicked.connect(self._on_absent_clicked)
        session.events.changed.connect(self._on_changed)
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
        self._bars.show_reviews(reviews, session.num_slices)
        self._legend.setVisible(self._bars.is_voted)
        count = sum(bool(review.reasons) for review in reviews)
        self._next.setEnabled(count > 0)
        is_there = session.record is not None and session.has_user_slices(session.object_id)
        self._absent.setEnabled(is_there)
        self._next.setText(f"Next doubtful slice ({count})" if count else "Next doubtful slice")
        self.setVisible(session.is_3d)

    def _on_changed(self, *_: Any) -> None:
        if not self._timer.isActive():
            self._timer.start(_REFRESH_MS)

    def _on_step(self) -> None:
        self._bars.update()

    def _on_absent_clicked(self) -> None:
        with told():
            self._session.mark_absent()

    def _on_next_clicked(self) -> None:
        with told():
            self._session.go_to_doubtful()


class _Bars(QWidget):
    """One bar a slice: its height is the area, its colour what is thought of it; a click goes there.

    Attributes:
        is_voted: planes voted on some of the slices.
    """

    def __init__(self, *, session: AnnotationSession) -> None:
        super().__init__()
        self._session = session
        self._reviews: tuple[SliceReview, ...] = ()
        self._num_slices = 1
        self.is_voted = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setToolTip(_TIP)

    def sizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """A strip."""
        return QSize(200, _HEIGHT + self._lane)

    @property
    def _lane(self) -> int:
        return _LANE if self.is_voted else 0

    def show_reviews(self, reviews: tuple[SliceReview, ...], num_slices: int) -> None:
        """Draw these."""
        self._reviews, self._num_slices = reviews, max(num_slices, 1)
        is_voted = any(review.agreement is not None for review in reviews)
        if is_voted != self.is_voted:
            self.is_voted = is_voted
            self.setToolTip(f"{_TIP} {_VOTED_TIP}" if is_voted else _TIP)
            self.updateGeometry()
        self.update()

    def paintEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Draw the bars and where the viewer is."""
        painter = QPainter(self)
        height, lane, step = float(self.height()), float(self._lane), self.width() / self._num_slices
        ground = QColor(self.palette().color(self.foregroundRole()))
        ground.setAlpha(28)
        painter.fillRect(self.rect(), ground)
        largest = max((review.area for review in self._reviews), default=1)
        for review in self._reviews:
            left, wide = review.index * step, max(step - 0.5, 1.0)
            tall = max((height - lane) * review.area / max(largest, 1), 3.0)
            painter.fillRect(QRectF(left, height - tall, wide, tall), _colour(review))
            if review.agreement is not None:
                hanging = (lane - 2) * min(2 * (1 - review.agreement), 1.0)
                painter.fillRect(QRectF(left, 0.0, wide, hanging), _disagreement(review.agreement))
        here = self._session.slice_index
        if here is not None:
            ground.setAlpha(220)
            painter.fillRect(QRectF((here + 0.5) * step - 1, 0.0, 2.0, height), ground)
        painter.end()

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
        review = next((known for known in self._reviews if known.index == index), None)
        QToolTip.showText(
            event.globalPosition().toPoint(), self.toolTip() if review is None else _text(review), self
        )

    def _index_at(self, event: Any) -> int:
        index = int(event.position().x() / max(self.width(), 1) * self._num_slices)
        return min(max(index, 0), self._num_slices - 1)


def _colour(review: SliceReview) -> QColor:
    if review.is_anchor:
        return _ANCHOR
    if review.reasons:
        return _DOUBTFUL
    is_sure = review.iou_prediction is None or review.iou_prediction >= _SURE_FROM
    return _SURE if is_sure else _UNSURE


def _disagreement(agreement: float) -> QColor:
    colour = QColor(_DISAGREEMENT)
    if agreement >= LOW_AGREEMENT:
        colour.setAlpha(120)
    return colour


def _text(review: SliceReview) -> str:
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
