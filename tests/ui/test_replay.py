"""A session that was saved is done again without a window, and comes to the same labels, bit for bit."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from napari_medicosam.cli.app import app
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.mask_log import Answered
from napari_medicosam.errors import FileError, WeightsError
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.session_files import read_session, write_session
from napari_medicosam.predict import runtimes
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME


@pytest.fixture
def scan(tmp_path):
    """A scan (z, y, x) = (12, 40, 50) with two balls, as a file; its pixels."""
    z, y, x = np.mgrid[:12, :40, :50]
    array = np.random.default_rng(0).normal(100, 10, (12, 40, 50))
    array[((z - 6) * 3) ** 2 + (y - 20) ** 2 + (x - 15) ** 2 < 10**2] += 300
    array[((z - 6) * 3) ** 2 + (y - 20) ** 2 + (x - 36) ** 2 < 9**2] += 200
    array = array.astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), tmp_path / "scan.nii.gz")
    return array


def paint(viewer, name, position, label):
    layer = viewer.layers[name]
    layer.brush_size = 8
    layer.paint(position, label)


def ask(viewer, session):
    """Clicks with a candidate and what was fed back, a box, a propagation: all of it from the model."""
    session.commit_policy = CommitPolicy(overwrite=True)
    viewer.dims.set_point(0, 6)
    session.add_point((6, 20, 15))
    assert session.next_candidate()
    session.add_point((6, 14, 15))
    session.add_box(5, (11, 6, 29, 24))
    session.add_point((5, 20, 23), positive=False)
    session.propagate(z_range=(2, 11))


def work(viewer, session):
    """Brush and clean-up, commits, undo and redo, objects that meet and are propagated together."""
    paint(viewer, OBJECT_NAME, (4, 10, 25), session.object_id)
    session.add_point((4, 20, 15))
    session.undo()
    session.propagate(z_range=(1, 11))
    session.undo()
    session.redo()
    session.clean_up(fill_holes="slices")
    session.commit()
    session.new_object("second")
    session.set_zoom("always")
    session.add_box(6, (12, 20, 28, 44))
    session.new_object("third")
    session.add_lasso(2, [(2, 2), (2, 12), (12, 12)])
    session.propagate(objects="all", z_range=(0, 12))
    paint(viewer, LABELS_NAME, (1, 30, 40), 2)
    session.select(1)
    session.interpolate()
    session.delete_object()
    session.undo()
    session.new_object("open")
    session.add_box(8, (2, 2, 12, 22))


def nest(session):
    """An object inside another one, committed and opened again, on a slice of the other and on one without."""
    session.change_object(session.object_id, class_id=5)
    session.new_object("inside")
    session.commit_policy = CommitPolicy(inside_class=5)
    session.add_box(8, (3, 3, 10, 15))
    session.commit()
    session.add_point((8, 8, 8))
    session.next_candidate()
    session.add_point((9, 8, 8))
    session.propagate(z_range=(6, 12))


def replay(*words):
    return CliRunner().invoke(app, ["replay", *map(str, words)], catch_exceptions=False)


def read(path):
    return np.asarray(nibabel.load(path).dataobj).T


@pytest.fixture
def saved(make_session, scan, tmp_path):
    """Sessions saved in the middle, gone on with, and saved; the labels that there were then."""
    viewer, session = make_session(scan, real=True)
    ask(viewer, session)
    session.save(tmp_path / "asked.zip")
    asked = session.label_map()
    work(viewer, session)
    session.save(tmp_path / "middle.zip")
    session.load(tmp_path / "middle.zip", overwrite=True)
    session.add_point((8, 8, 8))
    session.commit()
    nest(session)
    session.save(tmp_path / "session.zip")
    return {"asked.zip": asked, "session.zip": session.label_map()}


def test_the_same_labels_from_the_log_alone_or_the_slice_and_the_object_that_differ(saved, tmp_path):
    for name, labels in saved.items():
        out = tmp_path / f"{name}.nii.gz"
        result = replay(tmp_path / name, "--image", tmp_path / "scan.nii.gz", "-o", out)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(read(out), labels)
    kinds = {type(one).__name__ for one in read_session(tmp_path / "asked.zip").log}
    assert kinds == {"Answered", "Chosen", "Propagated", "PropagatedSlice"}  # no answer is stored
    assert len(np.unique(labels)) > 3

    session = read_session(tmp_path / "session.zip")
    labels = session.labels.copy()
    labels[0, 3, 20, 15:18] = 9
    write_session(tmp_path / "other.zip", replace(session, labels=labels))
    out = tmp_path / "other.nii.gz"
    result = replay(tmp_path / "other.zip", "--image", tmp_path / "scan.nii.gz", "-o", out)
    assert result.exit_code == 1
    assert "3 voxels on 1 slices" in result.output
    assert "slice 3: 3 voxels (objects " in result.output
    assert "9)" in result.output
    np.testing.assert_array_equal(read(out), saved["session.zip"])


def test_what_was_lassoed_away_is_away_in_a_replay_too(make_session, scan, tmp_path):
    _, session = make_session(scan, real=True)
    session.add_box(6, (11, 6, 29, 24))
    y, x = np.median(np.argwhere(session.label_map()[6]), axis=0).astype(int)
    away = slice(y - 4, y + 5), slice(x - 4, x + 5)
    before = np.count_nonzero(session.label_map()[6][away])
    session.add_lasso(6, [(y - 4, x - 4), (y - 4, x + 4), (y + 4, x + 4), (y + 4, x - 4)], positive=False)
    session.add_point((6, 20, 24))
    session.propagate(z_range=(6, 9))
    labels = session.label_map()
    assert before
    assert labels[6].any()
    assert not labels[6][away].any()
    session.save(tmp_path / "session.zip")
    out = tmp_path / "labels.nii.gz"
    result = replay(tmp_path / "session.zip", "--image", tmp_path / "scan.nii.gz", "-o", out)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read(out), labels)


def test_what_cannot_be_the_same_is_refused(make_session, scan, tmp_path):
    session, out = tmp_path / "session.zip", tmp_path / "labels.nii.gz"
    _, annotating = make_session(scan, real=True)
    annotating.add_box(6, (11, 6, 29, 24))
    annotating.save(session)
    known = read_session(session)
    with pytest.raises(FileError, match="give it with --image"):
        replay(session, "-o", out)
    nibabel.save(nibabel.Nifti1Image((scan + 1).T, np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(FileError, match="another digest"):
        replay(session, "--image", tmp_path / "other.nii.gz", "-o", out)
    log = tuple(
        replace(one, model=replace(one.model, weights_sha256="0" * 64)) if isinstance(one, Answered) else one
        for one in known.log
    )
    write_session(tmp_path / "weights.zip", replace(known, log=log))
    with pytest.raises(WeightsError, match="made with weights 000000000000 of sam_test"):
        replay(tmp_path / "weights.zip", "--image", tmp_path / "scan.nii.gz", "-o", out)
    asked_for = ("--image", tmp_path / "scan.nii.gz", "--other-weights", "-o", tmp_path / "others.nii.gz")
    result = replay(tmp_path / "weights.zip", *asked_for)
    assert result.exit_code == 0, result.output
    assert "weights 000000000000 of sam_test, but here sam_test has" in " ".join(result.output.split())
    write_session(tmp_path / "without.zip", replace(known, log=()))
    with pytest.raises(FileError, match="has no log"):
        replay(tmp_path / "without.zip", "--image", tmp_path / "scan.nii.gz", "-o", out)
    assert not out.exists()

    annotating.load(tmp_path / "without.zip", overwrite=True)  # its log begins with what it holds
    annotating.new_object()
    annotating.add_box(9, (20, 20, 30, 30))
    annotating.save(tmp_path / "again.zip")
    result = replay(tmp_path / "again.zip", "--image", tmp_path / "scan.nii.gz", "-o", out)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read(out), annotating.label_map())


def test_volumes_over_time_come_to_one_file_with_the_same_labels(make_session, scan, tmp_path):
    scans = np.stack([scan, scan[::-1]])
    nibabel.save(nibabel.Nifti1Image(scans.T, np.eye(4)), tmp_path / "heart.nii.gz")
    viewer, session = make_session(scans, real=True)
    viewer.dims.set_current_step(0, 0)
    session.add_box(6, (11, 6, 29, 24))
    session.propagate(z_range=(4, 8))
    session.commit()
    viewer.dims.set_current_step(0, 1)
    session.add_box(5, (11, 6, 29, 24))
    session.save(tmp_path / "session.zip")
    for out in (tmp_path / "labels.nii.gz", tmp_path / "labels.ome.zarr"):
        result = replay(tmp_path / "session.zip", "--image", tmp_path / "heart.nii.gz", "-o", out)
        assert result.exit_code == 0, result.output
        labels = np.stack([np.asarray(one.array) for one in read_over_time(out)])
        np.testing.assert_array_equal(labels, session.label_map())
        assert labels.any(axis=(1, 2, 3)).all()
    with pytest.raises(FileError, match="NRRD takes one volume"):
        replay(tmp_path / "session.zip", "--image", tmp_path / "heart.nii.gz", "-o", tmp_path / "labels.nrrd")


def test_the_runtime_is_known_and_taken_again(make_session, scan, tmp_path, monkeypatch):
    session = tmp_path / "session.zip"
    monkeypatch.setenv(runtimes.RUNTIME_VARIABLE, "eager")
    _, annotating = make_session(scan, real=True)
    annotating.add_box(6, (11, 6, 29, 24))
    annotating.save(session)
    monkeypatch.delenv(runtimes.RUNTIME_VARIABLE)
    known = read_session(session)
    assert known.state.model.runtime == "eager"
    opened, open_runtime = [], runtimes.open_runtime
    monkeypatch.setattr(
        runtimes, "open_runtime", lambda m, name: opened.append(name) or open_runtime(m, name)
    )
    image = tmp_path / "scan.nii.gz"
    result = replay(session, "--image", image, "-o", tmp_path / "labels.nii.gz")
    assert (result.exit_code, opened) == (0, ["eager"])
    assert "encodes instead" not in result.output

    for runtime, said in (("", None), ("of tomorrow", "unknown encoder runtime 'of tomorrow'")):
        model = replace(known.state.model, runtime=runtime)
        other = tmp_path / f"other{len(runtime)}.zip"
        write_session(other, replace(known, state=replace(known.state, model=model)))
        result = replay(other, "--image", image, "-o", tmp_path / "labels.nii.gz", "--overwrite")
        assert ("encodes instead" in result.output) == (said is not None)
        assert said is None or said in result.output
    assert opened == ["eager", "eager", "of tomorrow", "torch"]  # sessions that do not say it were eager
