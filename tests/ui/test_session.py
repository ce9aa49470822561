"""The session through its scripting face, synchronously: the same path as with a thread."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medicosam.cache.keys import EmbeddingKey
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompts import BoxPrompt, PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.errors import InputError, WeightsError
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.ui.layers import BOXES_NAME, LABELS_NAME, OBJECT_NAME, POINTS_NAME, SCRIBBLES_NAME
from napari_medicosam.ui.session import AnnotationSession
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.fetch import status
from napari_medicosam.weights.loading import load_weights


def labels_of(viewer):
    """The object being edited."""
    return viewer.layers[OBJECT_NAME].data


def committed_of(viewer):
    return viewer.layers[LABELS_NAME].data


def changed_slices(labels):
    return np.flatnonzero(labels.any(axis=(1, 2))).tolist()


def test_the_default_model_needs_no_download(make_napari_viewer):
    session = AnnotationSession(make_napari_viewer())
    assert status(find_entry(session.model)) == "bundled"
    session.close()


def test_a_point_becomes_a_mask_on_its_slice_only(make_session):
    viewer, session = make_session()
    session.add_point((4, 20, 30))
    labels = labels_of(viewer)
    assert labels.dtype == np.uint16
    assert changed_slices(labels) == [4]
    assert np.argwhere(labels[4] == 1).min(axis=0).tolist() == [18, 28]
    assert np.argwhere(labels[4] == 1).max(axis=0).tolist() == [22, 32]


def test_real_model_end_to_end(make_session):
    viewer, session = make_session(real=True)
    session.add_box(3, (5, 5, 35, 45))
    labels = labels_of(viewer)
    assert set(changed_slices(labels)) <= {3}
    image = viewer.layers["scan"].data
    model = load_weights("sam_test")
    mapping = resolve_intensity(model.window, image)
    store = MemoryEmbeddingStore(1 << 20).bind(EmbeddingKey(model.spec, model.weights_sha256, mapping))
    prompts = PromptSet(SlicePlane(0, 3), box=BoxPrompt(5, 5, 35, 45))
    direct = SegmentationService(model, mapping, store).segment(SegmentRequest(image[3], prompts))
    assert 0 < direct.mask.sum() < direct.mask.size, "the seeded model shows nothing here: choose another box"
    np.testing.assert_array_equal(labels[3] == 1, direct.mask)


def test_box_is_half_open_in_pixels(make_session, service):
    viewer, session = make_session()
    session.add_box(2, (10, 12, 20, 25))
    assert service.requests[-1].prompts.box.bounds == (10, 12, 20, 25)
    mask = labels_of(viewer)[2] == 1
    assert mask.sum() == 10 * 13
    assert mask[10, 12]
    assert not mask[20, 25]
    np.testing.assert_allclose(viewer.layers[BOXES_NAME].data[0].min(axis=0), (2, 9.5, 11.5))


def test_a_second_box_on_a_slice_replaces_the_first(make_session, service):
    viewer, session = make_session()
    session.add_box(2, (1, 1, 9, 9))
    session.add_box(2, (20, 20, 30, 30))
    assert len(viewer.layers[BOXES_NAME].data) == 1
    assert service.requests[-1].prompts.box.bounds == (20, 20, 30, 30)


def test_correction_feeds_back_logits_and_a_removal_does_not(make_session, service):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    assert service.requests[-1].previous_logits is None
    session.add_point((2, 10, 10), positive=False)
    np.testing.assert_array_equal(service.requests[-1].previous_logits, np.full((4, 4), 1.5))
    viewer.layers[POINTS_NAME].remove([0])
    assert service.requests[-1].previous_logits is None
    assert service.requests[-1].prompts.mask is None


def test_a_mask_painted_by_hand_is_the_hint(make_session, service):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    labels_of(viewer)[2, 30:33, 30:33] = 1
    session.add_point((2, 7, 7))
    request = service.requests[-1]
    assert request.previous_logits is None
    assert request.prompts.mask[31, 31]
    assert request.prompts.mask[10, 10]


def test_only_changed_slices_are_asked_about(make_session, service):
    viewer, session = make_session()
    session.add_point((1, 10, 10))
    session.add_point((5, 10, 10))
    session.add_point((9, 10, 10))
    service.requests.clear()
    points = viewer.layers[POINTS_NAME]
    moved = points.data.copy()
    moved[1, 1:] = (20, 20)
    points.data = moved
    assert [request.plane for request in service.requests] == [SlicePlane(0, 5)]


def test_2d_rgb_image(make_session, service):
    viewer, session = make_session(np.zeros((30, 40, 3), np.uint8), rgb=True)
    session.add_point((10, 20))
    assert labels_of(viewer).shape == (30, 40)
    assert labels_of(viewer)[10, 20] == 1
    assert service.requests[-1].image_slice.shape == (30, 40, 3)
    assert not session.is_3d


def test_rgba_volume_drops_alpha(make_session, service):
    _, session = make_session(np.zeros((3, 30, 40, 4), np.uint8), rgb=True)
    session.add_point((1, 10, 20))
    assert service.requests[-1].image_slice.shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("order", "axis"),
    [((1, 0, 2), 1), ((2, 0, 1), 2), ((0, 2, 1), 0), ((1, 2, 0), 1)],
)
def test_prompts_follow_the_displayed_plane(make_session, service, order, axis):
    viewer, session = make_session(scale=(3, 1, 0.5))
    viewer.dims.order = order
    viewer.dims.set_current_step(axis, 7)
    session.tool = "point+"
    assert session._layers.plane() == SlicePlane(axis, 7)
    position = [5, 15, 25]
    position[axis] = 7
    viewer.layers[POINTS_NAME].add(position)  # what a click does
    request = service.requests[-1]
    assert request.plane == SlicePlane(axis, 7)
    assert request.prompts.points[0].position_yx == tuple(v for a, v in enumerate(position) if a != axis)
    labels = labels_of(viewer)
    assert labels[tuple(position)] == 1
    assert np.unique(np.argwhere(labels)[:, axis]).tolist() == [7]


def test_layers_lie_on_the_grid_of_the_image(make_session):
    grid = {"scale": (3, 0.7, 0.7), "translate": (10, -4, 2), "rotate": 30.0}
    viewer, session = make_session(**grid, metadata={"medicosam": {"record": "geometry"}, "patient": "x"})
    session.tool = "point+"
    image = viewer.layers["scan"]
    for name in (POINTS_NAME, BOXES_NAME, SCRIBBLES_NAME, OBJECT_NAME, LABELS_NAME):
        np.testing.assert_allclose(
            viewer.layers[name].data_to_world((1, 2, 3)), image.data_to_world((1, 2, 3))
        )
    assert viewer.layers[LABELS_NAME].metadata == {"medicosam": {"record": "geometry"}}


def test_two_viewers_know_nothing_of_each_other(make_session):
    one, first = make_session()
    two, second = make_session()
    first.add_point((4, 20, 30))
    assert LABELS_NAME not in two.layers
    second.add_point((7, 20, 30))
    assert changed_slices(labels_of(one)) == [4]
    assert changed_slices(labels_of(two)) == [7]


def test_undo_takes_back_prompts_and_masks(make_session):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    before = labels_of(viewer).copy()
    session.add_point((2, 10, 10), positive=False)
    assert not np.array_equal(labels_of(viewer), before)
    session.undo()
    np.testing.assert_array_equal(labels_of(viewer), before)
    assert len(viewer.layers[POINTS_NAME].data) == 0
    session.undo()
    assert not labels_of(viewer).any()
    assert len(viewer.layers[BOXES_NAME].data) == 0
    assert not session.can_undo


def test_a_drag_is_one_step_to_undo(make_session):
    viewer, session = make_session()
    session.add_point((2, 10, 10))
    before = labels_of(viewer).copy()
    points = viewer.layers[POINTS_NAME]
    for x in (11, 14, 20):
        points._move([0], (2, 10, x))
    assert labels_of(viewer)[2, 10, 20] == 1
    session.undo()
    np.testing.assert_array_equal(labels_of(viewer), before)
    np.testing.assert_array_equal(points.data, [(2, 10, 10)])


def test_removing_the_last_prompt_removes_the_mask(make_session):
    viewer, session = make_session()
    session.add_point((2, 10, 10))
    viewer.layers[POINTS_NAME].remove([0])
    assert not labels_of(viewer).any()


def test_objects_do_not_overwrite_each_other(make_session):
    viewer, session = make_session()
    assert session.new_object("liver") == 1
    session.add_box(2, (5, 5, 15, 15))
    assert session.new_object() == 2
    session.add_box(2, (10, 10, 25, 25))
    assert (committed_of(viewer)[2, 5:15, 5:15] == 1).all()
    assert (labels_of(viewer)[2] == 2).sum() == 15 * 15 - 5 * 5
    assert [known.name for known in session.objects] == ["liver", "object 2"]
    session.select(1)
    assert viewer.layers[BOXES_NAME].data[0].min() == 2
    np.testing.assert_allclose(viewer.layers[BOXES_NAME].data[0].max(axis=0), (2, 14.5, 14.5))
    assert session.new_object() == 3


def test_new_ids_leave_painted_labels_alone(make_session):
    viewer, session = make_session()
    session.add_point((2, 10, 10))
    committed_of(viewer)[0, 0, 0] = 9
    assert session.new_object() == 10


def test_clear_slice_and_its_undo(make_session):
    viewer, session = make_session()
    session.add_point((2, 10, 10))
    session.add_point((5, 10, 10))
    before = labels_of(viewer).copy()
    viewer.dims.set_current_step(0, 5)
    session.clear_prompts()
    assert changed_slices(labels_of(viewer)) == [2]
    session.undo()
    np.testing.assert_array_equal(labels_of(viewer), before)
    session.clear_prompts(everywhere=True)
    assert not labels_of(viewer).any()
    assert not session.prompts.planes


def test_propagate_fills_the_volume_but_not_prompted_slices(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    anchor = labels_of(viewer)[6].copy()
    session.propagate(mode="box", box_extension=0.0)
    assert changed_slices(labels_of(viewer)) == list(range(12))
    np.testing.assert_array_equal(labels_of(viewer)[6], anchor)
    session.undo()
    assert changed_slices(labels_of(viewer)) == [6]


@pytest.mark.parametrize(
    ("arguments", "slices"),
    [
        ({"direction": "up"}, range(6, 12)),
        ({"direction": "down"}, range(7)),
        ({"z_range": (4, 9)}, range(4, 9)),
        ({"direction": "up", "z_range": (4, 9)}, range(6, 9)),
    ],
)
def test_propagation_keeps_to_its_range(make_session, arguments, slices):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    session.propagate(**arguments)
    assert changed_slices(labels_of(viewer)) == list(slices)


def test_a_negative_point_alone_stops_propagation(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    session.add_point((9, 10, 10), positive=False)
    session.propagate()
    assert changed_slices(labels_of(viewer)) == list(range(9))


def test_cancel_in_mid_propagation_keeps_what_is_done(make_session):
    viewer, session = make_session()
    session.add_box(6, (5, 5, 25, 25))
    done = []

    def count(object_id, plane):
        done.append(plane.index)
        if len(done) == 3:
            session.cancel()

    session.events.mask_changed.connect(count)
    session.propagate("up")
    assert changed_slices(labels_of(viewer)) == [6, 7, 8, 9]
    assert not session.is_busy
    session.undo()
    assert changed_slices(labels_of(viewer)) == [6]


def test_bad_arguments_are_input_errors(make_session):
    viewer, session = make_session()
    with pytest.raises(InputError, match="outside"):
        session.add_point((50, 1, 1))
    with pytest.raises(InputError, match="slice 99 along axis 0 is outside the image: wanted 0 to 11"):
        session.add_box(99, (5, 5, 15, 15))
    with pytest.raises(InputError, match="less than a pixel"):
        session.add_box(3, (5, 5, 5.5, 9))
    with pytest.raises(InputError, match="window"):
        session.set_window("bright")
    with pytest.raises(WeightsError, match="unknown model"):
        session.set_model("no_such_model")
    with pytest.raises(InputError, match="nothing to propagate"):
        session.propagate()
    with pytest.raises(InputError, match="no object 4"):
        session.select(4)
    session.add_point((3, 9, 9))
    with pytest.raises(InputError, match="direction"):
        session.propagate("sideways")
    with pytest.raises(InputError, match="5 dimensions"):
        session.set_image(viewer.add_image(np.zeros((2, 2, 3, 8, 8)), name="movie"))
    assert session.image.name == "scan"


def test_a_click_outside_or_in_3d_is_taken_back_with_a_word(make_session, service, notices, qtbot):
    viewer, session = make_session()
    session.tool = "point+"
    points = viewer.layers[POINTS_NAME]
    points.add((3, 100, 100))
    qtbot.waitUntil(lambda: len(points.data) == 0)
    assert "outside the image" in notices[-1]
    viewer.dims.ndisplay = 3
    points.add((3, 10, 10))
    qtbot.waitUntil(lambda: len(points.data) == 0)
    assert "switch to 2D" in notices[-1]
    assert not service.requests


def test_layers_removed_or_renamed_by_the_user(make_session):
    viewer, session = make_session()
    session.add_point((3, 10, 10))
    viewer.layers[POINTS_NAME].name = "my clicks"
    viewer.layers[OBJECT_NAME].name = "organs"
    session.add_point((4, 10, 10))
    assert changed_slices(viewer.layers["organs"].data) == [3, 4]
    viewer.layers.remove("my clicks")
    viewer.layers.remove("organs")
    session.add_point((5, 10, 10))
    assert len(viewer.layers[POINTS_NAME].data) == 3
    assert changed_slices(labels_of(viewer)) == [3, 4, 5]


def test_a_removed_layer_is_told_of_and_a_closed_viewer_is_not(make_session, notices, qtbot):
    viewer, session = make_session()
    session.add_box(2, (5, 5, 15, 15))
    viewer.layers.remove(OBJECT_NAME)
    qtbot.waitUntil(lambda: bool(notices))
    session.add_box(2, (5, 5, 20, 20))
    viewer.close()
    qtbot.wait(1)
    assert len(notices) == 1
    assert OBJECT_NAME in notices[0]


def test_switching_images_keeps_both(make_session):
    viewer, session = make_session()
    session.add_point((3, 10, 10))
    first = viewer.layers[OBJECT_NAME]
    other = viewer.add_image(np.ones((4, 20, 20), np.uint8), name="other")
    session.set_image(other)
    assert not first.visible
    assert session.prompts.planes == frozenset()
    session.add_point((1, 5, 5))
    session.set_image(viewer.layers["scan"])
    assert first.visible
    assert session.prompts.planes == {SlicePlane(0, 3)}
    session.add_point((4, 10, 10))
    assert changed_slices(first.data) == [3, 4]


def test_removed_image_resets_and_keeps_labels(make_session, qtbot):
    viewer, session = make_session()
    session.add_point((3, 10, 10))
    viewer.layers.remove("scan")
    assert session.image is None
    qtbot.waitUntil(lambda: POINTS_NAME not in viewer.layers and BOXES_NAME not in viewer.layers)
    assert labels_of(viewer).any()
    with pytest.raises(InputError, match="no image"):
        session.add_point((3, 10, 10))


def test_replaced_pixels_are_used(make_session, service):
    viewer, session = make_session()
    session.add_point((3, 10, 10))
    viewer.layers["scan"].data = np.full((12, 40, 50), 7, np.uint8)
    session.add_point((3, 12, 12))
    assert (service.requests[-1].image_slice == 7).all()


def test_saving_goes_through_the_writer(make_session, tmp_path):
    viewer, session = make_session(scale=(3, 1, 1))
    with pytest.raises(InputError, match="nothing to save"):
        session.save_labels(tmp_path / "labels.nii.gz")
    session.add_point((3, 10, 10))
    saved = []
    session.events.saved.connect(saved.append)
    session.save_labels(tmp_path / "labels.nii.gz")
    assert saved == [str(tmp_path / "labels.nii.gz")]
    from napari_medicosam.io.volumes import read_labels

    volume = read_labels(saved[0])
    np.testing.assert_array_equal(volume.array, labels_of(viewer))
    assert volume.geometry.spacing_zyx == (3, 1, 1)
