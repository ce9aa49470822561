import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from predict_helpers import DictStore

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.cache.store import TieredEmbeddingStore, ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.core.views import logits_between_views, mask_in_slice, prompts_in_view
from napari_medicosam.errors import InputError
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.predictor import Embedding, Prediction, Predictor
from napari_medicosam.predict.propagation import PropagationSettings, propagate
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.zoom import ZoomRule, bounds_of_found, choose_view, object_bounds

AUTO = ZoomRule("auto", max_share=0.2)  # what these small slices need; the default is for smaller objects
PLANE = SlicePlane(0, 1)
VOLUME = np.random.default_rng(1).integers(0, 1000, (4, 120, 150)).astype(np.int16)
MAPPING = resolve_intensity("minmax", VOLUME)
SMALL, LARGE = BoxPrompt(50, 60, 70, 84), BoxPrompt(10, 10, 100, 120)


def sides(view):
    return view.size_yx


# ------------------------------------------------------------------ the rule and the geometry


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "sometimes"},
        {"context": 1.0},
        {"context": float("nan")},
        {"max_share": 0},
        {"max_share": 1.5},
        {"max_side": 0},
        {"min_pixels": 2},
    ],
    ids=str,
)
def test_a_rule_that_makes_no_sense(wrong):
    with pytest.raises(InputError, match="zoom"):
        ZoomRule(**wrong)


def test_the_view_is_a_square_twice_the_box():
    assert choose_view(AUTO, Region(200, 200, 220, 250), (), (512, 512)) == Region(160, 176, 264, 280)


def test_a_view_at_the_border_is_moved_into_the_slice_and_keeps_its_size():
    assert choose_view(AUTO, Region(0, 480, 40, 512), (), (512, 512)) == Region(0, 432, 80, 512)


def test_tiny_boxes_are_seen_with_their_surroundings():
    view = choose_view(AUTO, Region(100, 100, 102, 103), (), (512, 512))
    assert sides(view) == (32, 32)
    assert sides(choose_view(ZoomRule(min_pixels=64), Region(100, 100, 102, 103), (), (512, 512))) == (64, 64)


def test_small_slices_gain_as_well():
    assert sides(choose_view(AUTO, Region(20, 20, 40, 36), (), (100, 90))) == (40, 40)


def test_no_view_where_it_gains_nothing():
    assert choose_view(AUTO, Region(20, 20, 60, 60), (), (100, 100)) is None
    assert choose_view(ZoomRule("always"), Region(20, 20, 60, 60), (), (100, 100)) is None
    assert sides(
        choose_view(ZoomRule(max_share=0.2, max_side=1), Region(20, 20, 60, 60), (), (100, 100))
    ) == (80, 80)
    assert choose_view(AUTO, Region(5, 5, 9, 9), (), (40, 40)) is None  # 32 pixels are four fifths of them


def test_in_a_long_slice_a_view_is_as_square_as_it_can_be():
    assert sides(choose_view(AUTO, Region(5, 200, 35, 260), (), (40, 500))) == (40, 120)


def test_objects_above_the_share_are_seen_whole_unless_always_is_asked():
    bounds, size = Region(20, 20, 50, 50), (100, 100)
    assert choose_view(ZoomRule(max_share=0.08), bounds, (), size) is None
    assert choose_view(ZoomRule("always", max_share=0.08), bounds, (), size) is not None
    assert choose_view(ZoomRule(max_share=0.1), bounds, (), size) is not None


def test_never_is_never_not_even_where_it_was_before():
    assert (
        choose_view(ZoomRule("never"), Region(20, 20, 30, 30), (), (512, 512), Region(0, 0, 64, 64)) is None
    )


def test_a_click_far_off_makes_the_view_grow_or_shows_the_whole_slice():
    bounds, size = Region(200, 200, 230, 230), (512, 512)
    assert sides(choose_view(AUTO, bounds, (), size)) == (60, 60)
    far = PointPrompt((215, 300), positive=False)
    grown = choose_view(AUTO, bounds, (far,), size)
    assert grown.x0 < 200
    assert 305 <= grown.x1 <= 330
    assert choose_view(AUTO, bounds, (PointPrompt((215, 450)),), size) is not None
    assert choose_view(AUTO, bounds, (PointPrompt((5, 505)), PointPrompt((505, 5))), size) is None


@st.composite
def questions(draw):
    rows, columns = draw(st.integers(1, 600)), draw(st.integers(1, 600))
    y0, x0 = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    bounds = Region(
        y0,
        x0,
        draw(st.integers(y0 + 1, min(rows, y0 + 200))),
        draw(st.integers(x0 + 1, min(columns, x0 + 200))),
    )
    near_y = st.floats(max(y0 - 60, -0.5), min(bounds.y1 + 60, rows - 0.5))
    near_x = st.floats(max(x0 - 60, -0.5), min(bounds.x1 + 60, columns - 0.5))
    points = draw(st.lists(st.builds(lambda y, x: PointPrompt((y, x)), near_y, near_x), max_size=4))
    return (rows, columns), bounds, tuple(points)


rules = st.builds(
    ZoomRule,
    policy=st.sampled_from(["auto", "always"]),
    context=st.floats(1.25, 4),
    max_share=st.floats(0.01, 1),
    max_side=st.floats(0.3, 1),
    min_pixels=st.integers(8, 80),
)


@settings(deadline=None)
@given(questions(), rules)
def test_a_view_lies_in_the_slice_and_holds_the_object_and_every_point(question, rule):
    size_yx, bounds, points = question
    view = choose_view(rule, bounds, points, size_yx)
    assume(view is not None)
    view.check_view(size_yx)
    assert view.union(bounds) == view
    inside = prompts_in_view(PromptSet(PLANE, points, BoxPrompt(*dataclasses.astuple(bounds))), view)
    assert len(inside.points) == len(points)  # and none of them was refused
    assert max(sides(view)) < rule.max_side * max(size_yx)
    long = max(sides(view))
    assert all(side in (long, n) for side, n in zip(sides(view), size_yx, strict=True))


@settings(deadline=None)
@given(questions(), rules)
def test_a_mask_that_does_not_change_keeps_its_view(question, rule):
    size_yx, bounds, points = question
    view = choose_view(rule, bounds, points, size_yx)
    assert choose_view(rule, bounds, points, size_yx, view) == view


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(0, 300)] * 2),
    st.tuples(*[st.integers(20, 120)] * 2),
    st.tuples(*[st.integers(-3, 3)] * 4),
)
def test_a_mask_that_changes_a_little_keeps_its_view(corner, size, change):
    slice_size = (512, 460)
    bounds = Region(*corner, corner[0] + size[0], corner[1] + size[1])
    view = choose_view(AUTO, bounds, (), slice_size)
    y0, x0, y1, x1 = np.add(dataclasses.astuple(bounds), change).clip(0, (*slice_size, *slice_size)).tolist()
    corrected, click = Region(y0, x0, y1, x1), PointPrompt((y0, x1 - 1))
    assert choose_view(AUTO, corrected, (click,), slice_size, view) == view


def test_a_view_is_left_when_it_is_too_narrow_or_far_too_wide():
    size, view = (512, 512), Region(192, 192, 256, 256)
    assert choose_view(AUTO, Region(210, 210, 240, 251), (), size, view) == view
    assert choose_view(AUTO, Region(210, 210, 240, 254), (), size, view) != view  # no margin is left
    assert choose_view(AUTO, Region(210, 210, 240, 240), (PointPrompt((210, 260)),), size, view) != view
    wide = Region(100, 100, 300, 300)
    assert choose_view(AUTO, Region(190, 190, 250, 250), (), size, wide) == wide
    assert sides(choose_view(AUTO, Region(190, 190, 230, 230), (), size, wide)) == (80, 80)


def test_a_view_against_the_border_of_the_slice_needs_no_margin_there():
    view = Region(0, 0, 64, 64)
    assert choose_view(AUTO, Region(0, 0, 30, 34), (), (512, 512), view) == view


# ------------------------------------------------------------------ where the object is


def test_bounds_come_from_the_box_and_the_mask():
    mask = np.zeros((120, 150), bool)
    mask[60:75, 70:80] = True
    box = BoxPrompt(50.5, -3, 62.2, 72)
    assert object_bounds(PromptSet(PLANE, box=box), (120, 150)) == Region(50, 0, 63, 72)
    assert object_bounds(PromptSet(PLANE, mask=mask), (120, 150)) == Region(60, 70, 75, 80)
    assert object_bounds(PromptSet(PLANE, box=box, mask=mask), (120, 150)) == Region(50, 0, 75, 80)
    assert object_bounds(PromptSet(PLANE, (PointPrompt((60, 70)),)), (120, 150)) is None


def test_bounds_come_from_the_last_logits_in_their_own_view():
    logits = np.full((16, 16), -5, np.float32)
    logits[4:8, 2:6] = 5
    clicked = PromptSet(PLANE, (PointPrompt((60, 70)),))
    whole = object_bounds(clicked, (120, 160), logits, None)
    assert whole == Region(40, 20, 80, 60)
    assert object_bounds(clicked, (120, 160), logits, Region(40, 60, 72, 92)) == Region(48, 64, 56, 72)
    assert object_bounds(clicked, (120, 160), np.full((16, 16), -5, np.float32), None) is None
    assert object_bounds(PromptSet(PLANE, box=SMALL), (120, 160), logits) == Region(50, 60, 70, 84)


def test_specks_do_not_say_where_the_object_is_unless_they_were_clicked_on():
    mask = np.zeros((100, 100), bool)
    mask[40:50, 40:50] = mask[60:64, 60:64] = mask[5:7, 90:92] = True
    assert bounds_of_found(mask, ()) == Region(40, 40, 64, 64)
    assert bounds_of_found(mask, (PointPrompt((6, 90)),)) == Region(5, 40, 64, 92)
    assert bounds_of_found(mask, (PointPrompt((6, 90), positive=False),)) == Region(40, 40, 64, 64)
    assert bounds_of_found(np.zeros((9, 9), bool), ()) is None


def test_a_click_outside_the_view_makes_no_speck_at_its_border_count():
    logits = np.full((16, 16), -5, np.float32)
    logits[6:12, 4:10] = logits[6, 15] = 5
    view, click = Region(0, 0, 64, 64), PointPrompt((26, 90))
    assert object_bounds(PromptSet(PLANE, (click,)), (120, 160), logits, view) == Region(24, 16, 48, 40)
    inside = PointPrompt((26, 62))
    assert object_bounds(PromptSet(PLANE, (inside,)), (120, 160), logits, view) == Region(24, 16, 48, 64)


# ------------------------------------------------------------------ the service


@pytest.fixture
def encoded(monkeypatch):
    """Shapes of what the encoder was asked for."""
    shapes, encode = [], SliceEncoder.encode
    monkeypatch.setattr(
        SliceEncoder, "encode", lambda self, image: shapes.append(image.shape) or encode(self, image)
    )
    return shapes


def request(*points, box=None, mask=None, **more):
    prompts = PromptSet(PLANE, tuple(PointPrompt(p) for p in points), box, mask)
    return SegmentRequest(PLANE.cut(VOLUME), prompts, **more)


def make_service(tiny, zoom=AUTO, store=None):
    return SegmentationService(tiny, MAPPING, store or DictStore(), zoom)


def test_a_small_box_is_looked_at_in_its_view(tiny, encoded):
    service = make_service(tiny)
    result = service.segment(request(box=SMALL, object_id=3, generation=17))
    view = choose_view(AUTO, Region(50, 60, 70, 84), (), (120, 150))
    assert result.view == view
    assert sides(view) == (48, 48)
    assert encoded == [(48, 48)]
    assert (result.object_id, result.generation, result.plane) == (3, 17, PLANE)
    crop = VOLUME[1][view.slices_yx]
    embedding = Embedding(SliceEncoder(tiny, MAPPING).encode(crop), crop.shape)
    moved = PromptSet(PLANE, box=BoxPrompt(50 - view.y0, 60 - view.x0, 70 - view.y0, 84 - view.x0))
    alone = Predictor(tiny).predict(embedding, moved)
    assert 0 < alone.masks[0].sum() < alone.masks[0].size, "the seeded model shows nothing here"
    np.testing.assert_array_equal(result.mask, mask_in_slice(alone.masks[0], view, (120, 150)))
    np.testing.assert_array_equal(result.low_res_logits, alone.low_res_logits[0])
    assert result.region == Region.of_mask(result.mask)
    assert not result.mask.flags.writeable


def test_a_large_box_and_no_zoom_are_what_they_were(tiny):
    plain = make_service(tiny, ZoomRule("never"))
    for box, service in [
        (LARGE, make_service(tiny)),
        (SMALL, SegmentationService(tiny, MAPPING, DictStore())),
    ]:
        result, wanted = service.segment(request(box=box)), plain.segment(request(box=box))
        assert result.view is None
        np.testing.assert_array_equal(result.low_res_logits, wanted.low_res_logits)


def test_views_are_encoded_once_and_never_replace_the_slice_in_its_store(tiny, tmp_path, encoded):
    key = EmbeddingKey(tiny.spec, tiny.weights_sha256, MAPPING)
    disk = ZarrEmbeddingStore(tmp_path, key, VOLUME.shape)
    service = make_service(tiny, store=TieredEmbeddingStore(MemoryEmbeddingStore(10**7).bind(key), disk))
    service.segment(request(box=SMALL))
    assert encoded == [(48, 48)]
    assert not service.is_embedded(PLANE, VOLUME[1])
    assert not list(tmp_path.iterdir())
    service.embed(PLANE, VOLUME[1])
    for _ in range(2):
        service.segment(request(box=SMALL))
        service.segment(request(box=LARGE))
    assert encoded == [(48, 48), (120, 150)]
    assert service.is_embedded(PLANE, VOLUME[1])


def test_corrections_stay_in_the_view_and_feed_its_logits_back_untouched(tiny, encoded, monkeypatch):
    service = make_service(tiny)
    first = service.segment(request(box=SMALL))
    asked = spy(monkeypatch)
    second = service.segment(
        request((61, 70), box=SMALL, previous_logits=first.low_res_logits, previous_view=first.view)
    )
    assert second.view == first.view
    assert encoded == [(48, 48)]
    np.testing.assert_array_equal(asked[-1], first.low_res_logits)


def test_logits_of_another_view_are_moved_into_the_one_at_hand(tiny, monkeypatch):
    service = make_service(tiny)
    whole = make_service(tiny, ZoomRule("never")).segment(request(box=SMALL))
    asked = spy(monkeypatch)
    zoomed = service.segment(request(box=SMALL, previous_logits=whole.low_res_logits))
    assert zoomed.view is not None
    np.testing.assert_array_equal(
        asked[-1], logits_between_views(whole.low_res_logits, None, zoomed.view, (120, 150))
    )
    for policy in ("auto", "never"):
        back = make_service(tiny, ZoomRule(policy, max_share=0.2)).segment(
            request(box=LARGE, previous_logits=zoomed.low_res_logits, previous_view=zoomed.view)
        )
        assert back.view is None
        np.testing.assert_array_equal(
            asked[-1], logits_between_views(zoomed.low_res_logits, zoomed.view, None, (120, 150))
        )


def spy(monkeypatch):
    """The previous logits that the predictor is asked with."""
    asked, predict_batch = [], Predictor.predict_batch

    def watched(self, embedding, questions, **more):
        asked.extend(question.previous_logits for question in questions)
        return predict_batch(self, embedding, questions, **more)

    monkeypatch.setattr(Predictor, "predict_batch", watched)
    return asked


class Finds:
    """Stands for the predictor: finds a disk around the first point, or nothing where it is told so."""

    def __init__(self, monkeypatch, radius, nothing_in=(), iou_in_views=0.8):
        self.calls = []

        def predict(embedding, prompts, previous_logits):
            self.calls.append((embedding.original_size, prompts, previous_logits))
            rows, columns = embedding.original_size
            y, x = prompts.points[0].position_yx
            mask = np.hypot(np.arange(rows)[:, None] - y, np.arange(columns) - x) < radius
            mask &= embedding.original_size not in nothing_in
            logits = np.full((1, 16, 16), 5.0 if mask.any() else -5.0, np.float32)
            iou = 0.8 if embedding.original_size == (120, 150) else iou_in_views
            return Prediction(mask[None], np.array([iou], np.float32), logits)

        monkeypatch.setattr(
            Predictor,
            "predict_batch",
            lambda predictor, embedding, questions, **more: [
                predict(embedding, one.prompts, one.previous_logits) for one in questions
            ],
        )


def test_a_point_is_asked_on_the_slice_and_again_in_the_view_of_what_was_found(tiny, encoded, monkeypatch):
    model = Finds(monkeypatch, radius=8)
    result = make_service(tiny).segment(request((60, 70)))
    assert encoded == [(120, 150), (32, 32)]
    assert result.view == choose_view(AUTO, Region(53, 63, 68, 78), (), (120, 150))
    assert result.region == Region(53, 63, 68, 78)
    (_, _, first_logits), (size, prompts, logits) = model.calls
    assert size == (32, 32)
    assert len(prompts.points) == 1
    assert first_logits is logits is None  # the second look is the point and nothing else


def test_the_mask_of_the_first_look_can_be_a_prompt_of_the_second(tiny, monkeypatch):
    model = Finds(monkeypatch, radius=8)
    result = make_service(tiny, ZoomRule(max_share=0.2, reuse_first_mask=True)).segment(request((60, 70)))
    np.testing.assert_array_equal(
        model.calls[-1][2],
        logits_between_views(np.full((16, 16), 5, np.float32), None, result.view, (120, 150)),
    )


def test_a_point_on_a_large_object_is_asked_once(tiny, encoded, monkeypatch):
    Finds(monkeypatch, radius=50)
    assert make_service(tiny).segment(request((60, 70))).view is None
    assert encoded == [(120, 150)]


def test_what_the_second_look_loses_the_first_one_keeps(tiny, monkeypatch):
    Finds(monkeypatch, radius=8, nothing_in=[(32, 32)])
    result = make_service(tiny).segment(request((60, 70)))
    assert result.view is None
    assert result.region == Region(53, 63, 68, 78)


def test_of_two_looks_from_points_the_one_counts_that_the_model_trusts_more(tiny, monkeypatch):
    Finds(monkeypatch, radius=8, iou_in_views=0.79)
    assert make_service(tiny).segment(request((60, 70))).view is None
    Finds(monkeypatch, radius=8, iou_in_views=0.81)
    assert make_service(tiny).segment(request((60, 70))).view is not None


def test_points_that_find_nothing_give_an_empty_mask_of_the_whole_slice(tiny, monkeypatch):
    Finds(monkeypatch, radius=8, nothing_in=[(120, 150)])
    result = make_service(tiny).segment(request((60, 70), previous_logits=np.full((16, 16), -5, np.float32)))
    assert result.view is None
    assert result.region.is_empty


def test_a_correction_outside_the_view_is_seen(tiny, monkeypatch):
    model, view = Finds(monkeypatch, radius=8), Region(44, 54, 76, 86)
    logits = np.full((16, 16), -MASK_PROMPT_LOGIT, np.float32)
    logits[5:11, 5:11] = MASK_PROMPT_LOGIT
    result = make_service(tiny).segment(
        request((60, 70), (60, 99), previous_logits=logits, previous_view=view)
    )
    assert result.view != view
    assert result.view.x1 > 99
    assert all(0 <= p.position_yx[1] < result.view.size_yx[1] for p in model.calls[-1][1].points)


def test_not_here_is_no_view(tiny):
    stop = PromptSet(PLANE, (PointPrompt((5, 5), positive=False),))
    assert make_service(tiny).segment(SegmentRequest(VOLUME[1], stop)).view is None


def test_rgb_slices_have_views(tiny):
    image = np.random.default_rng(0).integers(0, 255, (120, 150, 3)).astype(np.uint8)
    service = SegmentationService(
        tiny, resolve_intensity("auto", image[None], is_rgb=True), DictStore(), AUTO
    )
    result = service.segment(SegmentRequest(image, PromptSet(PLANE, box=SMALL)))
    assert result.view is not None
    assert result.mask.shape == (120, 150)


def test_propagation_looks_at_every_slice_in_a_view_of_its_own(tiny):
    mask = np.zeros((120, 150), bool)
    mask[50:70, 60:84] = True
    anchor = SegmentResult(PLANE, mask, Region.of_mask(mask), 1.0, np.zeros((16, 16), np.float32))
    follow = PropagationSettings(iou_threshold=0, min_confidence=0, box_extension=0.05)
    results = list(propagate(make_service(tiny), SliceStack(VOLUME, 0), [anchor], follow))
    neighbours = [result for result in results if abs(result.plane.index - PLANE.index) == 1]
    assert len(neighbours) == 2
    view = choose_view(AUTO, Region(49, 58, 71, 86), (), (120, 150))  # the box grows by a twentieth a side
    assert [result.view for result in neighbours] == [view, view]
    assert len({result.mask.tobytes() for result in neighbours}) == 2


def test_an_embedding_of_a_view_that_is_not_finite_is_an_error(tiny, monkeypatch):
    monkeypatch.setattr(
        SliceEncoder, "encode", lambda self, image: np.full(tiny.spec.embedding_shape, np.inf, np.float32)
    )
    with pytest.raises(InputError, match="not finite"):
        make_service(tiny).segment(request(box=SMALL))
