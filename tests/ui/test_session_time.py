"""Volumes over time: each time point has prompts and masks of its own, and they share objects and layers."""

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.volumes import read_labels
from napari_medicosam.ui.layers import BOXES_NAME, LABELS_NAME, OBJECT_NAME, POINTS_NAME


@pytest.fixture
def beating(make_session):
    """A viewer with three volumes over time, and its session, at time 0, slice 2."""
    data = np.random.default_rng(0).integers(0, 255, (3, 6, 40, 50), dtype=np.uint8)
    viewer, session = make_session(data, scale=(1, 3, 1, 1))
    viewer.dims.set_current_step(0, 0)
    viewer.dims.set_current_step(1, 2)
    return viewer, session, data


def test_prompts_and_masks_belong_to_their_time(beating, service):
    viewer, session, data = beating
    session.add_box(2, (5, 5, 15, 15))
    np.testing.assert_array_equal(service.requests[-1].image_slice, data[0, 2])
    viewer.dims.set_current_step(0, 2)
    assert session.time == 2
    assert not session.prompts.all
    assert len(viewer.layers[BOXES_NAME].data) == 0
    viewer.layers[POINTS_NAME].add((2, 4, 20, 30))  # what a click does
    np.testing.assert_array_equal(service.requests[-1].image_slice, data[2, 4])
    edited = viewer.layers[OBJECT_NAME].data
    assert edited.shape == (3, 6, 40, 50)
    assert sorted(map(tuple, np.unique(np.argwhere(edited)[:, :2], axis=0).tolist())) == [(0, 2), (2, 4)]
    viewer.dims.set_current_step(0, 0)
    assert session.prompts.planes == {SlicePlane(0, 2)}
    np.testing.assert_allclose(viewer.layers[BOXES_NAME].data[0].min(axis=0), (0, 2, 4.5, 4.5))


def test_a_position_may_say_its_time(beating):
    viewer, session, _ = beating
    viewer.dims.set_current_step(0, 2)
    session.add_point((2, 4, 20, 30))
    assert [point.position_zyx for point in session.prompts.points] == [(4, 20, 30)]
    with pytest.raises(InputError, match=r"shows time point 2, the position is at 0"):
        session.add_point((0, 4, 20, 30))


def test_objects_are_the_same_at_all_times(beating):
    viewer, session, _ = beating
    session.new_object("ventricle", class_id=3)
    session.add_box(2, (5, 5, 15, 15))
    session.commit()
    viewer.dims.set_current_step(0, 1)
    assert [(record.name, record.class_id, record.num_voxels) for record in session.objects] == [
        ("ventricle", 3, 0)
    ]
    session.add_box(3, (5, 5, 15, 15))
    session.commit()
    assert np.unique(viewer.layers[LABELS_NAME].data[:2].reshape(2, -1), axis=1).max(axis=1).tolist() == [
        1,
        1,
    ]
    session.commit_policy = CommitPolicy(overwrite=True)
    session.change_object(1, name="atrium", is_locked=True)
    viewer.dims.set_current_step(0, 0)
    assert session.objects[0].name == "atrium"
    assert session.commit_policy.overwrite
    assert session.objects[0].is_locked
    viewer.dims.set_current_step(0, 1)
    session.undo()
    viewer.dims.set_current_step(0, 0)
    assert session.objects[0].name == "ventricle"


def test_propagation_and_undo_stay_in_their_time(beating):
    viewer, session, _ = beating
    session.add_box(2, (5, 5, 15, 15))
    viewer.dims.set_current_step(0, 1)
    session.add_box(3, (8, 8, 30, 30))
    session.propagate(mode="box", box_extension=0.0)
    edited = viewer.layers[OBJECT_NAME].data
    assert edited[1].any(axis=(1, 2)).all()
    assert np.flatnonzero(edited[0].any(axis=(1, 2))).tolist() == [2]
    assert not edited[2].any()
    session.undo()
    assert np.flatnonzero(edited[1].any(axis=(1, 2))).tolist() == [3]
    assert np.flatnonzero(edited[0].any(axis=(1, 2))).tolist() == [2]


def test_an_answer_is_written_to_the_time_that_asked(beating, make_session, service):
    data = np.zeros((3, 6, 40, 50), np.uint8)
    viewer, session = make_session(data, synchronous=False)
    viewer.dims.set_current_step(0, 0)
    service.hold()
    session.add_box(2, (5, 5, 15, 15))
    assert service.entered.wait(60)
    viewer.dims.set_current_step(0, 2)
    service.gate.set()
    assert session.wait(60)
    edited = viewer.layers[OBJECT_NAME].data
    assert edited[0, 2, 10, 10] == 1
    assert not edited[1:].any()


def test_the_brush_paints_one_time(beating):
    viewer, session, _ = beating
    session.add_box(2, (5, 5, 15, 15))
    viewer.dims.set_current_step(0, 1)
    edited = viewer.layers[OBJECT_NAME]
    before = edited.data.copy()
    edited.paint((1, 2, 30, 30), 1)
    assert session.review[0].is_anchor
    session.undo()
    np.testing.assert_array_equal(edited.data, before)


def test_other_planes_of_a_time(beating, service):
    viewer, session, data = beating
    viewer.dims.order = (0, 2, 1, 3)
    viewer.dims.set_current_step(2, 20)
    viewer.dims.set_current_step(0, 1)
    viewer.layers["scan"].visible = True
    session.tool = "point+"
    viewer.layers[POINTS_NAME].add((1, 3, 20, 25))
    assert service.requests[-1].plane == SlicePlane(1, 20)
    np.testing.assert_array_equal(service.requests[-1].image_slice, data[1, :, 20])
    session.go_to(22)
    assert session.slice_index == 22
    assert session.time == 1


@pytest.mark.parametrize("ending", [".nii.gz", ".ome.zarr"])
def test_all_times_are_saved_to_one_file(beating, tmp_path, ending):
    viewer, session, _ = beating
    session.add_box(2, (5, 5, 15, 15))
    viewer.dims.set_current_step(0, 2)
    session.add_box(3, (8, 8, 15, 15))
    for _ in range(2):  # the second replaces the first
        session.save_labels(tmp_path / f"heart{ending}")
    volumes = read_over_time(tmp_path / f"heart{ending}")
    edited = viewer.layers[OBJECT_NAME].data
    np.testing.assert_array_equal([np.asarray(one.array) for one in volumes], edited)
    assert volumes[0].geometry.spacing_zyx == (3, 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [f"heart{ending}"]


def test_each_time_is_saved_to_a_file_of_its_own_where_one_cannot_hold_them(beating, tmp_path, notices):
    viewer, session, _ = beating
    session.add_box(2, (5, 5, 15, 15))
    viewer.dims.set_current_step(0, 2)
    session.add_box(3, (8, 8, 15, 15))
    saved = []
    session.events.saved.connect(saved.append)
    session.save_labels(tmp_path / "heart.nrrd")
    assert saved
    edited = viewer.layers[OBJECT_NAME].data
    for time in range(3):
        volume = read_labels(tmp_path / f"heart_t{time}.nrrd")
        np.testing.assert_array_equal(volume.array, edited[time])
        assert volume.geometry.spacing_zyx == (3, 1, 1)
    session.save_labels(tmp_path / "heart.nrrd")
    assert "heart_t0.nrrd, heart_t1.nrrd, heart_t2.nrrd exists" in notices[-1]
