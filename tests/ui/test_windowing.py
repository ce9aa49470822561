"""Which windows are offered, and how the window goes with the contrast of the viewer."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from napari_medicosam.core.intensity import WINDOW_PRESETS, resolve_intensity
from napari_medicosam.errors import InputError
from napari_medicosam.ui.session import AnnotationSession
from napari_medicosam.ui.windowing import Windowing, range_text

CT_FIRST, OTHERS_FIRST = ["auto", *WINDOW_PRESETS], ["auto", "percentile", "minmax"]


def ct_like(dtype=np.int16):
    """Air around water."""
    volume = np.full((12, 40, 50), -1000, dtype)
    volume[:, 10:35, 10:45] = np.random.default_rng(1).normal(40, 60, (12, 25, 35)).astype(dtype)
    return volume


def mr_like():
    return np.random.default_rng(2).gamma(2.0, 150.0, (12, 40, 50)).astype(np.int16)


def words(groups):
    return [[word for word, _ in group] for group in groups]


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Every window is measured; the worker does it in real life."""
    ranges = {}

    def window_range(session):
        if session.window not in ranges:
            mapping = resolve_intensity(session.window, np.asarray(session.image.data))
            ranges[session.window] = (mapping.low, mapping.high)
        return ranges[session.window]

    monkeypatch.setattr(AnnotationSession, "window_range", property(window_range), raising=False)
    return ranges


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_ct_presets_come_first_for_ct(make_session, dtype):
    _, session = make_session(ct_like(dtype))
    first, second = words(Windowing(session).choice_groups())
    assert first == CT_FIRST
    assert second == ["percentile", "minmax"]


def test_ct_presets_come_last_for_other_images(make_session):
    _, session = make_session(mr_like())
    first, second = words(Windowing(session).choice_groups())
    assert first == OTHERS_FIRST
    assert second == list(WINDOW_PRESETS)


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        (np.zeros((12, 40, 50), np.uint8), {}),
        (np.zeros((30, 40, 3), np.uint8), {"rgb": True}),
        (np.zeros((30, 40, 3), np.float32), {"rgb": True}),
    ],
)
def test_colour_and_8_bit_have_no_ct_presets(make_session, data, arguments):
    _, session = make_session(data, **arguments)
    assert words(Windowing(session).choice_groups()) == [[*OTHERS_FIRST, "identity"]]


@pytest.mark.parametrize(
    ("data", "modality", "expected"),
    [(mr_like(), "CT", CT_FIRST), (ct_like(), "MR", OTHERS_FIRST), (ct_like(), "", CT_FIRST)],
)
def test_the_modality_of_the_file_decides(make_session, data, modality, expected):
    _, session = make_session(data, metadata={"medicosam": {"modality": modality}})
    assert words(Windowing(session).choice_groups())[0] == expected


def test_volumes_over_time_and_one_value_only(make_session):
    _, session = make_session(np.stack([ct_like()] * 2))
    assert words(Windowing(session).choice_groups())[0] == CT_FIRST
    _, session = make_session(np.full((12, 40, 50), -1000, np.int16))
    assert words(Windowing(session).choice_groups())[0] == OTHERS_FIRST


@pytest.mark.parametrize(("limits", "expected"), [((-1024, 1800), CT_FIRST), ((0, 1800), OTHERS_FIRST)])
def test_voxels_on_disk_are_not_read(make_session, tmp_path, limits, expected, monkeypatch):
    np.save(tmp_path / "scan.npy", ct_like())
    _, session = make_session(np.load(tmp_path / "scan.npy", mmap_mode="r"), contrast_limits=limits)
    assert session.image.contrast_limits_range == list(limits)
    monkeypatch.setattr("napari_medicosam.ui.windowing.resolve_intensity", None)
    assert words(Windowing(session).choice_groups())[0] == expected


def test_the_contrast_slider_reaches_beyond_the_window_that_a_scan_is_opened_in(make_session):
    viewer, session = make_session(ct_like().astype(np.float32), contrast_limits=(-160, 240))
    layer, volume = viewer.layers["scan"], ct_like()
    assert layer.contrast_limits == [-160, 240]
    assert layer.contrast_limits_range == [volume.min(), max(volume.max(), 240)]
    layer.contrast_limits = layer.contrast_limits_range = (-50, 100)
    session.set_image(viewer.add_image(mr_like(), contrast_limits=(0, 900)))
    session.set_image(layer)
    session.events.changed.emit()
    assert layer.contrast_limits_range == [-50, 100], "as the user has set it"


def test_every_choice_is_known_and_explained(make_session):
    viewer, session = make_session()
    windowing = Windowing(session)
    for data in (ct_like(), mr_like()):
        session.set_image(viewer.add_image(data))
        for word, tip in windowing.choices():
            session.set_window(word)
            assert len(tip) > 10


def test_show_in_viewer_takes_the_window_of_the_model(make_session, measured):
    viewer, session = make_session(ct_like())
    windowing = Windowing(session)
    session.set_window("ct-liver")
    measured["ct-liver"] = None
    windowing.show_in_viewer()
    assert tuple(viewer.layers["scan"].contrast_limits) == (-45, 105)
    assert session.window == "ct-liver"
    measured["percentile"] = None
    session.set_window("percentile")
    with pytest.raises(InputError, match="not measured on 'scan' yet"):
        windowing.show_in_viewer()


def test_a_range_is_a_window(make_session):
    _, session = make_session(ct_like())
    windowing = Windowing(session)
    windowing.set_range(-150.0, 250.5)
    assert session.window == "-150,250.5"
    with pytest.raises(InputError, match="LOW < HIGH"):
        windowing.set_range(3, 3)
    assert session.window == "-150,250.5"


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.30000000000000004), (-1e-7, 1e9), (-1024.0, 3071.0)])
def test_range_text_loses_nothing(low, high):
    assert tuple(float(part) for part in range_text(low, high).split(",")) == (low, high)


def test_the_window_follows_the_contrast_once_it_rests(make_session, qtbot, monkeypatch):
    viewer, session = make_session(ct_like())
    layer, windowing = viewer.layers["scan"], Windowing(session)
    layer.contrast_limits = (-200, 300)
    windowing.follow_contrast = True
    assert session.window == "-200,300"

    asked = []
    set_window = session.set_window
    monkeypatch.setattr(session, "set_window", lambda text: (asked.append(text), set_window(text)))
    for high in (310, 350, 400.123456789):
        layer.contrast_limits = (-100, high)
    assert session.window == "-200,300"
    assert asked == []
    qtbot.waitUntil(lambda: bool(asked))
    assert asked == [session.window] == ["-100,400.1"], "once, without digits that nobody can see"

    windowing.follow_contrast = False
    layer.contrast_limits = (0, 10)
    assert not windowing._timer.isActive()
    assert session.window == "-100,400.1"


def test_the_visible_slice_is_encoded_anew_in_the_followed_window(make_session, service):
    viewer, session = make_session(ct_like())
    windowing = Windowing(session)
    session.prepare()
    before = len(session._worker.engine.settings)
    viewer.layers["scan"].contrast_limits = (-20, 80)
    windowing.follow_contrast = True
    assert [known.window for known in session._worker.engine.settings[before:]] == ["-20,80"]


def test_narrow_ranges_are_kept_apart(make_session):
    viewer, session = make_session(np.random.default_rng(0).normal(1.0, 1e-4, (6, 20, 20)))
    viewer.layers["scan"].contrast_limits = (0.99991234, 1.00012345)
    Windowing(session).follow_contrast = True
    low, high = (float(part) for part in session.window.split(","))
    np.testing.assert_allclose((low, high), (0.99991234, 1.00012345), atol=2e-7)


def test_another_window_ends_the_following(make_session):
    viewer, session = make_session(ct_like())
    windowing = Windowing(session)
    windowing.follow_contrast = True
    session.set_window("ct-bone")
    assert not windowing.follow_contrast
    viewer.layers["scan"].contrast_limits = (0, 10)
    assert not windowing._timer.isActive()
    assert session.window == "ct-bone"


def test_another_image_is_followed(make_session, qtbot):
    viewer, session = make_session(ct_like())
    windowing = Windowing(session)
    windowing.follow_contrast = True
    other = viewer.add_image(mr_like(), contrast_limits=(5, 205))
    session.set_image(other)
    qtbot.waitUntil(lambda: session.window == "5,205")
    viewer.layers["scan"].contrast_limits = (0, 10)
    assert not windowing._timer.isActive()
    assert windowing.follow_contrast
    viewer.layers.remove(other)
    assert not windowing.follow_contrast


def test_colour_and_no_image_cannot_be_followed(make_session):
    viewer, session = make_session(np.zeros((30, 40, 3), np.uint8), rgb=True)
    windowing = Windowing(session)
    with pytest.raises(InputError, match="'scan' is in colour"):
        windowing.follow_contrast = True
    with pytest.raises(InputError, match="colour"):
        windowing.show_in_viewer()
    assert not windowing.has_contrast
    session.set_image(viewer.add_image(ct_like(), name="ct"))
    windowing.follow_contrast = True
    session.set_image(viewer.layers["scan"])
    assert not windowing.follow_contrast
    session.set_image(None)
    with pytest.raises(InputError, match="no image"):
        windowing.follow_contrast = True


def test_a_closed_session_is_left_alone(make_session):
    viewer, session = make_session(ct_like())
    windowing = Windowing(session)
    windowing.follow_contrast = True
    window = session.window
    viewer.layers["scan"].contrast_limits = (0, 10)
    session.close()
    windowing._timer.timeout.emit()
    assert session.window == window


def test_nothing_keeps_it_alive(make_session):
    viewer, session = make_session(ct_like())
    windowing = Windowing(session)
    windowing.follow_contrast = True
    known = weakref.ref(windowing)
    del windowing
    gc.collect()
    assert known() is None
    viewer.layers["scan"].contrast_limits = (0, 10)
    session.set_window("auto")
