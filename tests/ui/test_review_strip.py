from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QImage, QPalette
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel

from napari_medicosam.core.review import SliceReview
from napari_medicosam.errors import InputError
from napari_medicosam.ui.object_list import ObjectList
from napari_medicosam.ui.review_chart import ReviewChart, shown_slices
from napari_medicosam.ui.review_looks import CURVES, DOUBT
from napari_medicosam.ui.review_strip import ReviewStrip


@pytest.fixture
def doubtful_at(service, monkeypatch):
    """The service does not trust its masks on these slices."""
    slices = set()
    answer = service.segment

    def segment(request):
        result = answer(request)
        return replace(result, iou_prediction=0.2) if result.plane.index in slices else result

    monkeypatch.setattr(service, "segment", segment)
    return slices


def test_the_session_knows_its_doubtful_slices_and_goes_there(make_session, doubtful_at):
    viewer, session = make_session(scale=(3, 1, 1), translate=(5, 0, 0))
    doubtful_at |= {3, 9}
    assert session.review == ()
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    assert [review.index for review in session.review if review.reasons] == [3, 9]
    assert session.review[6].is_anchor
    viewer.dims.set_current_step(0, 5)
    assert session.go_to_doubtful() == 9
    assert session.slice_index == 9
    assert session.go_to_doubtful() == 3
    session.add_point((3, 30, 30))
    assert session.go_to_doubtful() == 9
    session.commit()
    assert [review.index for review in session.review if review.reasons] == [9]
    with pytest.raises(InputError, match="outside the volume"):
        session.go_to(12)


def test_what_the_model_thought_of_a_mask_comes_back_with_it(make_session, doubtful_at, tmp_path):
    _, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    doubtful_at |= {3}
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    predicted = [one.iou_prediction for one in session.review]
    assert predicted[3] == 0.2
    doubtful_at.clear()
    session.add_point((3, 8, 8), positive=False)
    session.undo()
    session.save(tmp_path / "scan.zip")
    assert [one.iou_prediction for one in session.review] == predicted
    session.undo()
    session.redo()
    assert [one.iou_prediction for one in session.review] == predicted
    session.load(tmp_path / "scan.zip", overwrite=True)
    assert [one.iou_prediction for one in session.review] == predicted, "of the mask that was there"


def test_of_many_masks_of_a_slice_the_newest_scores_are_kept(make_session):
    _, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    for column in range(6, 20, 6):
        for row in range(6, 20, 6):
            session.add_point((6, row, column), positive=False)
    (known,) = session._annotation.scores.values()
    assert len(known) == 4


def test_a_mask_that_was_painted_over_is_not_the_one_that_was_predicted(make_session, doubtful_at):
    viewer, session = make_session()
    doubtful_at |= {3}
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    viewer.layers["MedicoSAM object"].data[3, 20:22, 20:22] = 0
    assert session.review[3].iou_prediction is None
    assert session.review[2].iou_prediction == pytest.approx(0.9)


@pytest.fixture
def chart(qtbot):
    """The curves alone, of a viewer that shows no slice."""
    made = ReviewChart(session=SimpleNamespace(slice_index=None))
    qtbot.addWidget(made)
    made.resize(240, 110)
    return made


@pytest.fixture
def make_strip(qtbot):
    def make(session, width=240):
        strip = ReviewStrip(session=session)
        qtbot.addWidget(strip)
        strip.resize(width, 180)
        strip.show()
        return strip

    return make


def curved(count, first=0, **of):
    """A review a slice; `of` gives a field its value by number of the slice, or one for all."""

    def value(field, index):
        given = of.get(field)
        return given(index) if callable(given) else given

    return tuple(
        SliceReview(
            index,
            value("area", index) or 100,
            value("iou_prediction", index),
            value("neighbour_iou", index),
            bool(value("is_anchor", index)),
            value("agreement", index),
            value("reasons", index) or (),
        )
        for index in range(first, first + count)
    )


def drawn(chart, reviews, num_slices):
    """The chart as colours, (y, x, 3)."""
    chart.show_reviews(reviews, num_slices)
    image = chart.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def height_of(pixels, colour):
    """Mean row of the pixels of about this colour; None without any."""
    wanted = np.array([colour.red(), colour.green(), colour.blue()])
    rows, _ = np.nonzero(np.abs(pixels - wanted).max(axis=2) < 40)
    return None if rows.size < 5 else rows.mean()


def test_the_strip_counts_and_goes_where_it_is_clicked(make_session, doubtful_at, make_strip, qtbot):
    _, session = make_session()
    doubtful_at |= {3, 9}
    strip = make_strip(session)
    assert not strip._next.isEnabled()
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    qtbot.waitUntil(lambda: "(2)" in strip._next.text())
    strip._next.click()
    assert session.slice_index == 9
    chart = strip._chart
    QTest.mouseClick(chart, Qt.MouseButton.LeftButton, pos=QPoint(round(chart._x(2.5)), 10))
    assert session.slice_index == 2
    QTest.mouseClick(chart, Qt.MouseButton.LeftButton, pos=QPoint(0, 10))
    assert session.slice_index == 0


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.field)
def test_each_curve_is_as_high_as_its_value(chart, curve):
    colour = curve.ink.on(chart.palette())
    ious, _ = chart._lanes()
    for value in (0.3, 0.8):
        pixels = drawn(chart, curved(12, **{curve.field: value}), 12)
        wanted = ious.bottom() - value * ious.height()
        assert height_of(pixels, colour) == pytest.approx(wanted, abs=1.5)
    assert height_of(drawn(chart, curved(12), 12), colour) is None


def test_area_marks_and_doubt_are_drawn(chart):
    ious, areas = chart._lanes()
    pixels = drawn(
        chart,
        curved(
            12,
            area=lambda index: 200 if index < 6 else 100,
            reasons=lambda index: ("why",) if index == 8 else (),
            is_anchor=lambda index: index == 2,
        ),
        12,
    )
    quarter = round(areas.top() + areas.height() / 4)
    column = {index: round(chart._x(index + 0.5)) for index in range(12)}
    assert (pixels[quarter, column[3]] != pixels[quarter, column[10]]).any()
    marks = round(ious.top() / 2)
    assert (pixels[marks, column[8]] != pixels[marks, column[2]]).any()
    assert (pixels[marks, column[2]] != pixels[marks, column[4]]).any()
    inside = round(ious.center().y()) + 4
    assert (pixels[inside, column[8]] != pixels[inside, column[10]]).any()


def test_a_dip_of_one_slice_among_a_thousand_is_seen(chart):
    reviews = curved(1000, iou_prediction=lambda index: 0.1 if index == 503 else 0.9)
    pixels = drawn(chart, reviews, 1000)
    ious, _ = chart._lanes()
    low = pixels[round(ious.bottom() - 0.35 * ious.height()) :]
    assert height_of(low, CURVES[0].ink.on(chart.palette())) is not None


def test_only_the_slices_around_the_object_are_drawn():
    assert shown_slices((), 300) == range(300)
    assert shown_slices(curved(15, first=102), 300) == range(100, 120)
    assert shown_slices(curved(12), 12) == range(12)
    assert shown_slices(curved(18, first=101), 300) == range(90, 130)


def test_a_step_through_the_slices_paints_no_curve(make_session, make_strip):
    _, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    strip = make_strip(session)
    strip.refresh()
    strip._chart.grab()
    picture = strip._chart._picture
    for index in (2, 9, 6):
        session.go_to(index)
        strip._chart.grab()
    strip.refresh()
    assert strip._chart._picture is picture
    session.add_box(7, (5, 5, 25, 25))
    strip.refresh()
    strip._chart.grab()
    assert strip._chart._picture is not picture


def test_numbers_are_said_in_words_too(make_session, doubtful_at, make_strip):
    _, session = make_session()
    doubtful_at |= {3}
    strip = make_strip(session)
    assert "no mask yet" in strip._chart.accessibleDescription()
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    session.go_to(3)
    strip.refresh()
    said = strip._chart.accessibleDescription()
    assert "slices 0 to 11. Doubtful: 3." in said
    assert "Slice 3: 400 pixels" in said
    assert "predicted IoU 0.20" in said
    shown = [label.text() for label in strip._legend.findChildren(QLabel)]
    assert "predicted IoU <b>0.20</b>" in shown
    assert "neighbour IoU <b>1.00</b>" in shown
    assert "area <b>400 px</b>" in shown
    session.go_to(6)
    assert "yours" in strip._chart.accessibleDescription()
    shown = [label.text() for label in strip._legend.findChildren(QLabel)]
    assert "predicted IoU <b>yours</b>" in shown


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_curves_are_seen_on_every_theme(theme):
    """At least 3 to 1, as WCAG wants it of what is not text."""

    def luminance(colour):
        parts = [
            part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.getRgbF()[:3]
        ]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    looks = get_theme(theme)
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.WindowText, QColor(looks.text.as_hex()))
    behind = luminance(QColor(looks.background.as_hex()))
    for ink in (*(curve.ink for curve in CURVES), DOUBT):
        low, high = sorted((behind, luminance(ink.on(palette))))
        assert (high + 0.05) / (low + 0.05) >= 3


def test_the_strip_lies_under_the_table_and_fits_a_narrow_dock(make_session, qtbot):
    _, session = make_session()
    objects = ObjectList(session=session)
    qtbot.addWidget(objects)
    objects.resize(290, 500)
    objects.show()
    assert objects.review.geometry().top() - objects._table.geometry().bottom() < 10
    assert objects.review.minimumSizeHint().width() <= 290


def test_a_2d_image_has_no_strip(make_session, qtbot):
    _, session = make_session(np.zeros((30, 40), np.uint8))
    strip = ReviewStrip(session=session)
    qtbot.addWidget(strip)
    assert not strip.isVisible()
    session.add_point((10, 10))
    strip.refresh()
    assert not strip.isVisible()


def test_the_strip_is_of_the_plane_that_is_shown(make_session, make_strip, qtbot):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    strip = make_strip(session)
    qtbot.waitUntil(lambda: strip._chart.review_of(6) is not None)
    viewer.dims.order = (1, 0, 2)
    qtbot.waitUntil(lambda: strip._chart.review_of(24) is not None and strip._chart.review_of(30) is None)
