"""A session is a file: what is saved comes back as it was, on the image it was made on and on no other."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.errors import InputError
from napari_medicosam.io.session_files import read_session, write_session
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.weights.digests import sha256_of_weights


def save_nifti(path, data):
    nibabel.save(nibabel.Nifti1Image(data.T, np.eye(4)), path)


def known(session):
    """What a session knows, for comparison: voxel bounds may be wider than needed."""
    state = session._state_of(session.image)
    times = [
        replace(
            one,
            table=replace(
                one.table,
                records={key: replace(record, bounds=None) for key, record in one.table.records.items()},
                filled={},
            ),
        )
        for one in state.times
    ]
    return replace(state, times=tuple(times))


def work(session):
    """Two committed objects, one of them locked, and one that is being edited."""
    session.set_classes(LabelClasses.from_names(["liver", "spleen"]))
    session.commit_policy = CommitPolicy(overwrite=True)
    session.set_propagation(mode="mask", iou_threshold=0.25)
    session.set_window("1,200")
    session.set_zoom("never")
    session.new_object("my liver", 1)
    session.add_box(3, (5, 5, 15, 15))
    session.add_point((3, 8, 8), positive=False)
    session.propagate(z_range=(2, 6))
    session.new_object(class_id=2)
    session.add_lasso(7, [(20, 20), (20, 30), (30, 30)])
    session.add_scribble(7, [(20, 22), (21, 25)])
    session.lock_class(2)
    session.new_object("rest")
    mask = np.zeros((40, 50), bool)
    mask[3:9, 30:41] = True
    session.add_mask(9, mask)
    session.mark_absent()


def test_all_comes_back_on_the_same_pixels(make_session, tmp_path):
    viewer, session = make_session(scale=(3, 1, 1), units="mm")
    work(session)
    saved = []
    session.events.saved.connect(saved.append)
    session.save(tmp_path / "scan.zip")
    assert saved == [str(tmp_path / "scan.zip")]

    before = known(session)
    masks = {name: viewer.layers[name].data.copy() for name in (LABELS_NAME, OBJECT_NAME)}
    review = session.review
    again = viewer.add_image(session.image.data.copy(), name="again", scale=(3, 1, 1), units="mm")
    viewer.layers.remove(session.image)
    for name in masks:
        viewer.layers.remove(name)
    session.set_classes(LabelClasses())
    session.set_propagation(mode="box", iou_threshold=0.5)
    session.set_window("auto")
    session.set_zoom("always")
    session.load(tmp_path / "scan.zip")
    assert session.image is again
    assert not session.is_untouched
    assert known(session) == before
    for name, mask in masks.items():
        np.testing.assert_array_equal(viewer.layers[name].data, mask)
    assert session.review == review
    assert not session.can_undo
    session.add_point((9, 20, 20))
    session.commit()
    assert session.label_map()[9, 20, 20] == session.object_id


@pytest.mark.parametrize("name", ["medicosam_lite", "own.pth"])
def test_other_weights_than_a_session_was_made_with_are_told(make_session, tmp_path, notices, name):
    _, session = make_session()
    session.add_box(3, (5, 5, 15, 15))
    session.save(tmp_path / "scan.zip")
    saved = read_session(tmp_path / "scan.zip")
    (tmp_path / "own.pth").write_bytes(b"weights")
    model = str(tmp_path / name) if name.endswith(".pth") else name
    session.set_model(model)
    for digest, is_other in ((sha256_of_weights(model), False), ("0" * 64, True)):
        made_with = replace(saved.state.model, name=name, weights_sha256=digest)
        write_session(
            tmp_path / "scan.zip",
            replace(saved, state=replace(saved.state, model=made_with)),
            overwrite=True,
        )
        session.load(tmp_path / "scan.zip", overwrite=True)
        assert session.model == model
        told = [notice for notice in notices if f"other weights of {name} (000000000000)" in notice]
        assert bool(told) is is_other


def test_a_session_goes_to_its_own_image_and_replaces_nothing_unasked(make_session, tmp_path, notices):
    viewer, session = make_session()
    scan = session.image
    session.add_box(3, (5, 5, 15, 15))
    before = session.label_map()
    session.save(tmp_path / "scan.zip")
    session.add_box(4, (5, 5, 15, 15))
    session.load(tmp_path / "scan.zip")
    assert "has objects already" in notices[-1]
    assert session.num_open_voxels == 200
    other = viewer.add_image(np.zeros_like(scan.data), name="of another patient")
    session.set_image(other)
    session.load(tmp_path / "scan.zip", overwrite=True)
    assert session.image is scan
    np.testing.assert_array_equal(session.label_map(), before)
    viewer.layers.remove(scan)
    session.load(tmp_path / "scan.zip")
    assert "1 of this shape with other pixels" in notices[-1]
    assert session.image is not scan


def test_the_image_is_opened_from_the_file_that_a_session_may_name(make_session, tmp_path, notices):
    data = np.random.default_rng(1).integers(0, 255, (5, 20, 30), dtype=np.int16)
    image = tmp_path / "scan.nii.gz"
    save_nifti(image, data)
    viewer, session = make_session(data)
    session.add_box(3, (5, 5, 15, 15))
    with pytest.raises(InputError, match="not opened from a file"):
        session.save(tmp_path / "scan.zip", keep_paths=True)
    viewer.layers.clear()
    (layer,) = viewer.open(image, plugin="napari-medicosam")
    session.set_image(layer)
    session.add_box(2, (5, 5, 15, 15))
    session.save(tmp_path / "secret.zip")
    session.save(tmp_path / "open.zip", keep_paths=True)
    viewer.layers.clear()
    session.load(tmp_path / "secret.zip")
    assert "open the scan of this session first" in notices[-1]
    assert session.image is None
    session.load(tmp_path / "open.zip")
    assert session.image is viewer.layers["scan"]
    assert session.prompts.planes == {SlicePlane(0, 2)}
    viewer.layers.clear()
    save_nifti(image, data[::-1])
    session.load(tmp_path / "open.zip")
    assert "another image than" in notices[-1]
    assert session.image is None


def test_all_time_points_come_back(make_session, tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (3, 6, 40, 50), dtype=np.uint8)
    viewer, session = make_session(data)
    for time, name in ((0, "systole"), (2, None)):
        viewer.dims.set_current_step(0, time)
        session.change_object(1, name=name or "diastole")
        session.add_box(time, (5, 5, 15, 15 + time))
    before = session.label_map()
    session.save(tmp_path / "heart.zip")
    viewer.dims.set_current_step(0, 0)
    session.clear_prompts(everywhere=True)
    session.change_object(1, name="nothing")
    session.load(tmp_path / "heart.zip", overwrite=True)
    np.testing.assert_array_equal(session.label_map(), before)
    assert session.time == 0
    assert session.prompts.planes == {SlicePlane(0, 0)}
    assert session.record.name == "diastole"
    viewer.dims.set_current_step(0, 2)
    assert session.prompts.planes == {SlicePlane(0, 2)}
    session.add_point((2, 30, 30))
    assert session.label_map()[2, 2, 30, 30] == 1
