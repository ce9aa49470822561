from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_medicosam.errors import InputError
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


def test_a_mask_that_was_painted_over_is_not_the_one_that_was_predicted(make_session, doubtful_at):
    viewer, session = make_session()
    doubtful_at |= {3}
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    viewer.layers["MedicoSAM object"].data[3, 20:22, 20:22] = 0
    assert session.review[3].iou_prediction is None
    assert session.review[2].iou_prediction == pytest.approx(0.9)


def test_the_strip_counts_and_goes_where_it_is_clicked(make_session, doubtful_at, qtbot):
    _, session = make_session()
    doubtful_at |= {3, 9}
    strip = ReviewStrip(session=session)
    qtbot.addWidget(strip)
    strip.resize(240, 90)
    strip.show()
    assert not strip._next.isEnabled()
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(mode="box", box_extension=0.0, min_confidence=0)
    qtbot.waitUntil(lambda: "(2)" in strip._next.text())
    strip._next.click()
    assert session.slice_index == 9
    bars = strip._bars
    QTest.mouseClick(bars, Qt.MouseButton.LeftButton, pos=QPoint(round(2.5 * bars.width() / 12), 10))
    assert session.slice_index == 2
    drawn = bars.grab().toImage()
    colours = {
        drawn.pixelColor(round((i + 0.5) * drawn.width() / 12) - 3, drawn.height() - 3).name()
        for i in (0, 3, 6)
    }
    assert len(colours) == 3


def test_a_2d_image_has_no_strip(make_session, qtbot):
    _, session = make_session(np.zeros((30, 40), np.uint8))
    strip = ReviewStrip(session=session)
    qtbot.addWidget(strip)
    assert not strip.isVisible()
    session.add_point((10, 10))
    strip.refresh()
    assert not strip.isVisible()
