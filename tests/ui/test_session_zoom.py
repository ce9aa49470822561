from dataclasses import replace

import numpy as np

from napari_medicosam.core.results import Region
from napari_medicosam.predict.zoom import ZoomRule
from napari_medicosam.ui.engine import Engine, ServiceSettings
from napari_medicosam.ui.layers import OBJECT_NAME
from napari_medicosam.weights.loading import load_weights

VIEW = Region(0, 4, 20, 24)


def test_logits_and_their_view_are_fed_back_together(make_session, service, monkeypatch):
    answer = service.segment
    monkeypatch.setattr(service, "segment", lambda request: replace(answer(request), view=VIEW))
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    assert service.requests[-1].previous_view is None
    session.add_point((2, 10, 10), positive=False)
    assert service.requests[-1].previous_logits is not None
    assert service.requests[-1].previous_view == VIEW
    viewer.layers[OBJECT_NAME].data[2, 30:33, 30:33] = 1  # painted: a mask is in the slice's frame
    session.add_point((2, 7, 7))
    assert service.requests[-1].previous_logits is None
    assert service.requests[-1].previous_view is None


def test_the_sessions_zoom_reaches_the_service(make_session):
    viewer, session = make_session(
        np.random.default_rng(0).integers(0, 255, (3, 120, 150), np.uint8), real=True
    )
    session.set_zoom(ZoomRule("never"))
    session.add_box(1, (50, 60, 70, 84))
    whole = viewer.layers[OBJECT_NAME].data[1].copy()
    session.set_zoom(ZoomRule(max_share=0.2))
    session.add_point((1, 60, 70))
    zoomed = np.argwhere(viewer.layers[OBJECT_NAME].data[1])
    assert len(zoomed)
    assert np.all(zoomed >= (36, 48))
    assert np.all(zoomed < (84, 96))
    assert whole.any()


def test_a_service_is_kept_for_one_zoom():
    engine = Engine(lambda name, progress: load_weights(name, "cpu"))
    volume = np.arange(4000, dtype=np.int16).reshape(2, 40, 50)
    settings = ServiceSettings("sam_test", "auto", volume, None, ZoomRule("never"))
    service = engine.service(settings, lambda *_: None)
    assert service.zoom.policy == "never"
    assert engine.service(replace(settings), lambda *_: None) is service
    other = engine.service(replace(settings, zoom=ZoomRule("auto")), lambda *_: None)
    assert other.zoom.policy == "auto"
