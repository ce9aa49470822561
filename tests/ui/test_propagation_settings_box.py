"""What propagation is told by the fields of *How to follow*, in a real viewer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medicosam.predict.propagation import PropagationSettings


@pytest.fixture
def opened(make_session, plugin):
    viewer, session = make_session()
    _, widget = viewer.window.add_plugin_dock_widget("napari-medicosam", "Segment")
    return session, widget._propagation._settings


def looked_at(service):
    return {request.plane.index: request.appearance is not None for request in service.requests}


def test_the_brightness_field_decides_what_propagation_looks_at(opened, service):
    session, form = opened
    session.add_box(5, (5, 5, 30, 30))
    session.propagate(z_range=(5, 8), mode="box", box_extension=0.0, min_confidence=0)
    assert looked_at(service)[6]
    session.new_object()
    session.add_box(5, (5, 32, 20, 45))
    service.requests.clear()
    form._brightness.setValue(0)
    assert form._brightness.text() == "off"
    session.propagate(z_range=(5, 8), mode="box", box_extension=0.0, min_confidence=0)
    assert not looked_at(service)[6]
    form._brightness.setValue(1.5)
    assert session.propagation_settings == PropagationSettings(appearance=1.5)


def test_the_brightness_field_follows_the_session_and_its_file(opened, tmp_path):
    session, form = opened
    session.add_box(5, (5, 5, 30, 30))
    session.set_propagation(appearance=0.8)
    assert form._brightness.value() == 0.8
    session.save(tmp_path / "mine.zip")
    form._reset.click()
    assert session.propagation_settings == PropagationSettings()
    session.load(tmp_path / "mine.zip", overwrite=True)
    assert session.propagation_settings.appearance == form._brightness.value() == 0.8


def test_the_likeness_field_decides_what_a_mask_is_compared_by(opened, service):
    session, form = opened
    assert form._likeness.value() == PropagationSettings().likeness
    service.features = lambda plane, pixels, view=None: np.array([1, abs(plane.index - 5)], float)[
        :, None, None
    ]
    session.add_box(5, (5, 5, 30, 30))
    session.propagate(z_range=(5, 9), mode="box", box_extension=0.0)
    assert [review.index for review in session.review] == [5]
    form._likeness.setValue(0)
    session.propagate(z_range=(5, 9), mode="box", box_extension=0.0)
    assert [review.index for review in session.review] == [5, 6, 7, 8]


def test_one_field_leaves_what_the_others_round(opened):
    session, form = opened
    exact = {"iou_threshold": 0.123456, "min_confidence": 0.654321, "box_extension": 0.0123456}
    session.set_propagation(**exact)
    form._brightness.setValue(0.7)
    assert session.propagation_settings == PropagationSettings(**exact, appearance=0.7)


@pytest.mark.parametrize(
    ("unit", "growth"),
    [("%", {"box_extension": 0.4}), ("px", {"box_extension": 40}), ("mm", {"box_extension_mm": 40})],
)
def test_the_growth_is_in_the_unit_beside_it(opened, unit, growth):
    session, form = opened
    session.set_propagation(box_extension_mm=1)
    form._unit.setCurrentText(unit)
    form._unit.activated.emit(form._unit.currentIndex())
    form._growth.setValue(40)
    wanted = {"box_extension_mm": None, **growth}
    assert {name: getattr(session.propagation_settings, name) for name in wanted} == wanted
