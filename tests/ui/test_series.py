"""Going through a folder of images in a real viewer: what is saved when, what is shown next, what is never lost."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import nibabel
import numpy as np
import pytest
from imageio.v3 import imwrite
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QMessageBox
from series_helpers import (
    labels_in,
    make_series_session,
    on_disk,
    picture,
    pictures,
    volumes,
)

from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.image_series import ImageSeries
from napari_medicosam.io.records import METADATA_KEY
from napari_medicosam.io.volumes import read_volume, write_labels
from napari_medicosam.ui import series_work
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME
from napari_medicosam.ui.series_ahead import THREAD_NAME


@pytest.fixture
def make_series(make_napari_viewer, service):
    """A viewer without images, its session, and its series; synchronous unless told otherwise."""

    def make(*, synchronous=True, show=False):
        viewer = make_napari_viewer(show=show)
        series = make_series_session(viewer, service, synchronous=synchronous)
        return viewer, series.session, series

    return make


def draw(session, box=(5, 5, 15, 15), slice_index=0):
    session.add_box(slice_index, box)
    assert session.wait(30)


def names_in(viewer):
    return [layer.name for layer in viewer.layers]


def test_opens_the_first_image_with_its_geometry(make_series, tmp_path):
    viewer, session, series = make_series()
    folder = volumes(tmp_path / "scans")
    series.open_folder(folder)
    assert series.wait(30)
    layer = viewer.layers["v1"]
    assert session.image is layer
    assert series.item.name == "v1.nii.gz"
    record = layer.metadata[METADATA_KEY]["record"]
    assert np.allclose(layer.scale, record.geometry.spacing_zyx)
    assert layer.scale[0] == pytest.approx(3.0)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert str(series.progress) == "0 of 2 done"
    assert not list(folder.glob("*labels*")), "looking at an image writes nothing"


@pytest.mark.parametrize("make_folder", [pictures, volumes])
def test_going_on_saves_and_takes_the_layers_away(make_series, tmp_path, make_folder):
    viewer, session, series = make_series()
    folder, output = make_folder(tmp_path / "images", 2), tmp_path / "labels"
    series.open_folder(folder, output)
    first = series.item
    draw(session)
    seen = []
    series.events.saved.connect(seen.append)
    series.next()
    assert names_in(viewer) == [series.items[1].name.partition(".")[0]], "nothing of the first one is left"
    assert seen == [str(first.label_path)]
    saved = labels_in(first.label_path)
    assert saved.sum() == 100
    assert saved.max() == 1
    geometry = read_volume(first.label_path).geometry
    assert geometry.equals(read_volume(first.image_path).geometry)
    assert on_disk(folder, output) == {first.name: "started", series.items[1].name: "todo"}
    assert series.status(first) == "started"


def test_comes_back_to_what_was_saved(make_series, tmp_path):
    viewer, session, series = make_series()
    series.open_folder(volumes(tmp_path))
    draw(session, slice_index=2)
    session.new_object()
    draw(session, (2, 20, 8, 28), slice_index=4)
    series.next()
    series.previous()
    assert series.item.name == "v1.nii.gz"
    labels = viewer.layers[LABELS_NAME].data
    assert labels[2, 10, 10] == 1
    assert labels[4, 4, 24] == 2
    assert session.object_id == 3, "the first prompt changes nothing of what was there"
    draw(session, (0, 0, 2, 2), slice_index=0)
    for _ in range(3):
        session.undo()
    assert set(np.unique(session.label_map())) == {0, 1, 2}, "undo ends where the image was opened"
    session.redo()
    series.next()
    assert set(np.unique(labels_in(series.items[0].label_path))) == {0, 1, 2, 3}


def table_of(session):
    """What a reader of the list of objects sees."""
    return [
        (
            one.object_id,
            one.name,
            one.class_id,
            one.is_locked,
            one.num_voxels,
            session.colour_of(one.object_id),
        )
        for one in session.objects
    ]


def test_objects_come_back_with_names_classes_locks_and_colours(make_series, tmp_path):
    viewer, session, series = make_series()
    folder, classes = pictures(tmp_path / "images"), LabelClasses.from_names(["liver", "tumour"])
    series.open_folder(folder)
    session.set_classes(classes)
    draw(session)
    session.change_object(1, name="the liver", class_id=1)
    session.new_object(class_id=2)
    draw(session, (20, 20, 26, 26))
    session.commit()
    session.lock_class(2)
    session.new_object("to be drawn")
    before = table_of(session)
    assert [row[:5] for row in before] == [
        (1, "the liver", 1, False, 100), (2, "tumour", 2, True, 36), (3, "to be drawn", None, False, 0)
    ]  # fmt: skip
    series.next()
    assert [one.name for one in session.objects] == ["object 1"]
    series.previous()
    assert table_of(session) == before
    assert session.locked_classes == {2}
    assert session.record.name == "to be drawn"
    viewer.close()
    _viewer, session, series = make_series()
    series.open_folder(folder)
    assert series.item.name == "a1.png"
    assert session.classes == classes
    assert table_of(session) == before


def test_classes_of_a_series_keep_their_meaning(make_series, tmp_path, notices):
    _viewer, session, series = make_series()
    saved = ImageSeries(pictures(tmp_path, 1))
    saved.mark_started(saved.items[0], classes=LabelClasses.from_names(["liver"]))
    session.set_classes(LabelClasses.from_names(["tumour"]))
    series.open_folder(tmp_path)
    assert session.class_name(1) == "liver"
    assert "those of this series" in notices[-1]


def test_untouched_images_are_not_written(make_series, tmp_path):
    _viewer, _session, series = make_series()
    folder = pictures(tmp_path / "images")
    masks = pictures(tmp_path / "masks", 0)
    imwrite(masks / "a1_mask.png", np.full((40, 50), 7, dtype=np.uint8))
    series.open_folder(folder, initial_masks=masks)
    series.next()
    series.next()
    series.save()
    assert not list(folder.glob("*labels*"))
    assert str(series.progress) == "0 of 3 done"


def test_begins_with_the_initial_mask_and_accepts_it(make_series, tmp_path, notices):
    viewer, session, series = make_series()
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[3:9, 4:12] = 2
    masks = pictures(tmp_path / "masks", 0)
    imwrite(masks / "a1_mask.png", mask)
    series.open_folder(pictures(tmp_path / "images"), tmp_path / "out", masks)
    assert np.array_equal(viewer.layers[LABELS_NAME].data, mask)
    assert 2 in [record.object_id for record in session.objects]
    series.mark_done()
    assert np.array_equal(labels_in(tmp_path / "out" / "a1_labels.png"), mask)
    assert series.status(series.item) == "done"
    assert notices == []


@pytest.mark.parametrize("shape", [(40, 49), (2, 40)])
def test_a_mask_of_another_size_is_said_and_left(make_series, tmp_path, notices, shape):
    _viewer, session, series = make_series()
    masks = pictures(tmp_path / "masks", 0)
    imwrite(masks / "a1.png", np.ones(shape, dtype=np.uint8))
    series.open_folder(pictures(tmp_path / "images"), initial_masks=masks)
    assert series.item.name == "a1.png"
    assert not session.has_labels
    assert "another size" in notices[0]
    assert "begins without an initial mask" in notices[0]


def test_a_mask_elsewhere_in_space_is_said_and_left(make_series, tmp_path, notices):
    _viewer, session, series = make_series()
    folder, masks = volumes(tmp_path / "images", 1), tmp_path / "masks"
    other = read_volume(folder / "v1.nii.gz")
    flipped = np.ascontiguousarray(other.geometry.affine_ras @ np.diag([-1, 1, 1, 1]))
    masks.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ones((30, 20, 6), np.uint8), flipped), masks / "v1.nii.gz")
    series.open_folder(folder, initial_masks=masks)
    assert not session.has_labels
    assert "lies elsewhere" in notices[0]


def test_an_image_named_like_a_mask_is_an_image(make_series, tmp_path):
    viewer, session, series = make_series()
    imwrite(tmp_path / "seg.png", picture(1))
    series.open_folder(tmp_path)
    assert session.image is viewer.layers["seg"]


def test_done_images_are_skipped_or_not(make_series, tmp_path):
    _viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 4))
    series.go_to("a2.png")
    draw(session)
    series.mark_done()
    assert series.item.name == "a2.png", "stays"
    series.go_to(0)
    series.next()
    assert series.item.name == "a3.png"
    series.previous()
    assert series.item.name == "a2.png", "going back shows what was done"
    series.go_to("a1.png")
    series.skip_done = False
    series.next()
    assert series.item.name == "a2.png"


def test_after_the_last_come_those_before_it(make_series, tmp_path, notices):
    _viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 3))
    series.mark_done(go_on=True)
    series.next()
    series.previous()
    series.go_to("a3.png")
    draw(session)
    del notices[:]
    series.mark_done(go_on=True)
    assert series.item.name == "a2.png"
    assert on_disk(tmp_path)["a3.png"] == "done"
    assert str(series.progress) == "2 of 3 done"
    assert notices == ["info: That was the last one; back to the first image that is not done: 2 of 3"]
    series.go_to("a3.png")
    series.go_to("a2.png")
    assert len(notices) == 1, "whoever goes back on purpose knows"


@pytest.mark.parametrize("go_on", [True, False])
def test_done_without_objects_is_said(make_series, tmp_path, notices, go_on):
    _viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path))
    draw(session)
    series.mark_done(go_on=True)
    assert notices == []
    series.mark_done(go_on=go_on)
    assert notices == ["info: a2.png is marked as done without objects"]
    assert on_disk(tmp_path)["a2.png"] == "done"


@pytest.mark.parametrize("tool", ["box", "point-", ""])
def test_the_tool_goes_on_to_the_next_image(make_series, tmp_path, tool):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path))
    draw(session)
    session.tool = tool
    series.next()
    assert session.tool == tool
    assert series.item.name == "a2.png"
    assert len(viewer.layers) == 1 or tool, "without a tool nobody has asked for our layers"
    series.next()
    assert session.tool == tool
    assert not (tmp_path / "a2_labels.png").exists(), "looking at an image with a tool writes nothing"


def test_in_3d_there_is_no_tool_to_go_on_with(make_series, tmp_path, notices):
    viewer, session, series = make_series()
    series.open_folder(volumes(tmp_path))
    session.tool = "point+"
    viewer.dims.ndisplay = 3
    assert session.tool == "point+", "napari keeps it"
    series.next()
    assert series.item.name == "v2.nii.gz"
    assert session.image is viewer.layers["v2"]
    assert notices == []


def test_the_end_is_said_and_the_image_stays(make_series, tmp_path, notices):
    _viewer, _session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    series.mark_done(go_on=True)
    series.next()
    assert "last image to do: 1 of 2 done" in notices[-1]
    series.mark_done(go_on=True)
    assert "All 2 images are done" in notices[-1]
    assert series.item.name == "a2.png"
    series.skip_done = False
    series.next()
    assert series.item.name == "a2.png"
    series.previous()
    series.previous()
    assert series.item.name == "a1.png"
    assert not series.is_busy


def test_resumes_where_the_last_work_was_saved(make_series, tmp_path):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 4))
    series.mark_done(go_on=True)
    draw(session)
    series.next()
    series.next()
    viewer.close()
    viewer, session, series = make_series()
    series.open_folder(tmp_path)
    assert series.item.name == "a2.png"
    assert viewer.layers[LABELS_NAME].data.sum() == 100
    series.mark_done()
    viewer.close()
    _viewer, _session, series = make_series()
    series.open_folder(tmp_path)
    assert series.item.name == "a3.png", "that one is done, so the next"
    assert str(series.progress) == "2 of 4 done"


def test_after_a_kill_the_image_that_was_open_comes_first(make_series, tmp_path):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 4))
    draw(session)
    series.next()
    series.next()
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    viewer.close()
    for name, content in left.items():  # the folder as a kill leaves it
        (tmp_path / name).write_bytes(content)
    _viewer, _session, series = make_series()
    series.open_folder(tmp_path)
    assert series.item.name == "a3.png"


def test_only_the_folder_that_is_open_has_an_open_image(make_series, tmp_path):
    _viewer, _session, series = make_series()
    first, second = pictures(tmp_path / "a", 2), pictures(tmp_path / "b", 2)
    series.open_folder(first)
    series.next()
    series.open_folder(first)  # once more
    assert ImageSeries(first).left_open.name == series.item.name
    series.open_folder(second)
    assert ImageSeries(first).left_open is None
    assert ImageSeries(second).left_open.name == "a1.png"


def work_on(session):
    """What is lost when an image is opened anew."""
    return session.image, session.prompts, session.objects, session.can_undo


def test_a_series_that_is_open_is_only_listed_again(make_series, tmp_path, notices):
    viewer, session, series = make_series()
    masks = pictures(tmp_path / "masks", 0)
    choice = pictures(tmp_path / "images"), tmp_path / "out", masks
    series.open_folder(*choice)
    series.next()
    draw(session)
    before = work_on(session)
    imwrite(tmp_path / "images" / "a4.png", picture(4))
    series.open_folder(*choice)
    assert work_on(session) == before
    assert series.item.name == "a2.png"
    assert len(series.items) == 4
    assert notices == ["info: This series is open already; listed again: 4 images"]
    assert series.status(series.item) == "started", "saved all the same"
    session.undo()
    assert not session.num_open_voxels
    viewer.layers.remove(before[0])
    series.open_folder(*choice)
    assert session.image is viewer.layers["a2"], "it was out of the viewer"
    (tmp_path / "images" / "a2.png").unlink()
    series.open_folder(*choice)
    assert series.item.name == "a1.png"
    shown = session.image
    series.open_folder(choice[0], choice[1])
    assert session.image is not shown, "other settings are another series"


def test_what_is_drawn_while_an_open_series_is_listed_stays(make_series, tmp_path, monkeypatch):
    _viewer, session, series = make_series(synchronous=False)
    series.open_folder(pictures(tmp_path))
    assert series.wait(30)
    listing, gate, original = threading.Event(), threading.Event(), ImageSeries

    def slow(*args):
        listed = original(*args)
        listing.set()
        assert gate.wait(60)
        return listed

    monkeypatch.setattr(series_work, "ImageSeries", slow)
    series.open_folder(tmp_path)
    assert listing.wait(30)
    session.add_box(0, (5, 5, 15, 15))
    gate.set()
    assert series.wait(30)
    assert session.prompts.boxes
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100
    assert series.status(series.item) == "started"


def test_when_all_is_done_nothing_is_opened(make_series, tmp_path, notices):
    _viewer, _session, series = make_series()
    series.open_folder(pictures(tmp_path, 1))
    series.mark_done()
    viewer, _session, series = make_series()
    series.open_folder(tmp_path)
    assert series.item is None
    assert not viewer.layers
    assert "All 1 images are done" in notices[-1]
    series.go_to("a1.png")
    assert names_in(viewer)[0] == "a1"


def test_an_unreadable_image_is_passed_over_and_said_once(make_series, tmp_path, notices):
    viewer, _session, series = make_series()
    pictures(tmp_path, 4)
    (tmp_path / "a2.png").write_bytes(b"no picture")
    (tmp_path / "a3.png").unlink()
    (tmp_path / "a3.png").write_bytes(b"")
    series.open_folder(tmp_path)
    series.next()
    assert series.item.name == "a4.png"
    assert names_in(viewer) == ["a4"]
    assert len(notices) == 2
    assert "a2.png" in notices[0]
    assert series.why_unreadable(series.items[2])
    series.previous()
    assert series.item.name == "a1.png"
    assert len(notices) == 2
    series.go_to("a2.png")
    assert series.item.name == "a1.png"
    assert len(notices) == 3
    imwrite(tmp_path / "a2.png", picture(2))
    series.next()
    assert series.item.name == "a2.png"
    assert not series.why_unreadable(series.item)


def test_after_a_failed_save_the_image_stays(make_series, tmp_path, notices, monkeypatch):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    draw(session)
    before = names_in(viewer)

    def fail(path, *_args, **_kwargs):
        raise FileError(f"cannot write {path}: no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(series_work, "write_labels", fail)
        for go in (series.next, lambda: series.go_to("a2.png"), lambda: series.mark_done(go_on=True)):
            go()
            assert series.item.name == "a1.png"
            assert names_in(viewer) == before
            assert "no space left" in notices[-1]
            assert not series.is_busy
    series.next()
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100
    assert series.item.name == "a2.png"


def test_labels_of_another_program_are_not_replaced(make_series, tmp_path, notices):
    _viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    draw(session)
    theirs = np.full((40, 50), 9, dtype=np.uint8)
    imwrite(tmp_path / "a1_labels.png", theirs)
    series.next()
    assert series.item.name == "a1.png"
    assert "written by another program" in notices[-1]
    assert np.array_equal(labels_in(tmp_path / "a1_labels.png"), theirs)
    (tmp_path / "a1_labels.png").rename(tmp_path / "theirs.txt")
    series.next()
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100


def test_saved_labels_that_are_damaged_are_not_replaced(make_series, tmp_path, notices):
    _viewer, session, series = make_series()
    pictures(tmp_path, 2)
    (tmp_path / "a1_labels.png").write_bytes(b"damaged")
    series.open_folder(tmp_path)
    assert series.item.name == "a2.png"
    assert "move it away" in notices[0]
    draw(session)
    series.next()
    assert (tmp_path / "a1_labels.png").read_bytes() == b"damaged"


def test_a_folder_that_cannot_be_used_leaves_the_series_as_it_is(make_series, tmp_path, notices):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path / "images", 2))
    draw(session)
    series.open_folder(tmp_path / "nowhere")
    assert "is no folder" in notices[-1]
    assert series.item.name == "a1.png"
    assert OBJECT_NAME in names_in(viewer)
    assert labels_in(tmp_path / "images" / "a1_labels.png").sum() == 100, "saved all the same"
    series.open_folder(volumes(tmp_path / "scans"))
    assert names_in(viewer)[0] == "v1"
    assert len(series.items) == 2


def test_done_and_not_done(make_series, tmp_path):
    _viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 1))
    series.mark_done()
    assert labels_in(tmp_path / "a1_labels.png").shape == (40, 50), "looked at, nothing is there"
    assert on_disk(tmp_path) == {"a1.png": "done"}
    series.mark_not_done()
    assert on_disk(tmp_path) == {"a1.png": "started"}
    draw(session)
    series.mark_done()
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100
    session.undo()
    series.save()
    assert series.status(series.item) == "started", "changed since, so no longer done"
    assert labels_in(tmp_path / "a1_labels.png").sum() == 0


def test_wrong_calls(make_series, tmp_path):
    _viewer, _session, series = make_series()
    with pytest.raises(InputError, match="open a folder first"):
        series.next()
    series.open_folder(pictures(tmp_path, 1))
    for wrong in ("a9.png", 1, -1):
        with pytest.raises(InputError, match=r"wanted a name such as 'a1\.png'"):
            series.go_to(wrong)


def test_another_image_that_is_looked_at_is_not_mistaken_for_it(make_series, tmp_path):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    draw(session)
    other = viewer.add_image(picture(9), name="mine")
    session.set_image(other)
    draw(session, (0, 0, 4, 4))
    series.next()
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100
    assert "mine" in names_in(viewer)
    assert viewer.layers.index("a2") >= 0
    session.set_image(other)
    assert session.has_labels, "what was made on it is still there"
    assert series.is_aside
    series.go_to("a2.png")
    assert session.image is viewer.layers["a2"]
    assert not series.is_aside


def test_labels_that_are_removed_by_hand_were_saved(make_series, tmp_path, qtbot):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    draw(session)
    viewer.layers.remove(OBJECT_NAME)
    qtbot.waitUntil((tmp_path / "a1_labels.png").exists)
    series.next()
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100, "not replaced by what was left"
    series.previous()
    assert series.status(series.item) == "started"


def test_an_image_that_is_removed_by_hand_can_be_opened_again(make_series, tmp_path, qtbot):
    viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    draw(session)
    viewer.layers.remove("a1")
    qtbot.waitUntil((tmp_path / "a1_labels.png").exists)
    with pytest.raises(InputError, match="go to one first"):
        series.mark_done()
    viewer.layers.clear()
    series.go_to("a1.png")
    assert viewer.layers[LABELS_NAME].data.sum() == 100


# ---------------------------------------------------------------------- with the worker thread


def test_files_are_touched_on_the_worker_alone(make_series, tmp_path, monkeypatch):
    _viewer, session, series = make_series(synchronous=False)
    threads = set()
    for name in ("read_layers", "write_labels", "read_labels", "ImageSeries"):
        original = getattr(series_work, name)

        def noted(*args, original=original, **kwargs):
            threads.add(threading.current_thread().name)
            return original(*args, **kwargs)

        monkeypatch.setattr(series_work, name, noted)
    series.open_folder(volumes(tmp_path))
    assert series.wait(30)
    draw(session)
    series.mark_done(go_on=True)
    assert series.wait(30)
    series.previous()
    assert series.wait(30)
    assert series.item.name == "v1.nii.gz"
    assert {name.split("_")[0] for name in threads} == {"medicosam-worker", THREAD_NAME}


def test_going_on_waits_for_masks_that_are_missing(make_series, service, tmp_path):
    _viewer, session, series = make_series(synchronous=False)
    series.open_folder(pictures(tmp_path, 2))
    assert series.wait(30)
    service.hold()
    session.add_box(0, (5, 5, 15, 15))
    series.next()
    assert "once the masks are there" in series.activity
    with pytest.raises(InputError, match="still at work"):
        series.previous()
    service.gate.set()
    assert series.wait(30)
    assert series.item.name == "a2.png"
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100


@pytest.fixture
def slow_reading(monkeypatch):
    """From the second image on: set when one is being read, and what to set for it to go on."""
    reading, gate, original = threading.Event(), threading.Event(), series_work.read_layers

    def slow(path):
        if "a1" not in str(path):
            reading.set()
            gate.wait(60)
        return original(path)

    monkeypatch.setattr(series_work, "read_layers", slow)
    return reading, gate


def test_what_is_drawn_while_the_next_image_is_read_is_saved(make_series, tmp_path, slow_reading):
    viewer, session, series = make_series(synchronous=False)
    series.open_folder(pictures(tmp_path, 2))
    assert series.wait(30)
    reading, gate = slow_reading
    series.next()
    assert reading.wait(30)
    session.add_box(0, (5, 5, 15, 15))
    gate.set()
    assert series.wait(30)
    assert names_in(viewer) == ["a2"]
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100


def test_cancelled_it_stays_and_can_go_on(make_series, tmp_path, slow_reading):
    _viewer, session, series = make_series(synchronous=False)
    series.open_folder(pictures(tmp_path, 2))
    assert series.wait(30)
    draw(session)
    reading, gate = slow_reading
    series.next()
    assert reading.wait(30)
    session.cancel()
    gate.set()
    assert series.wait(30)
    assert series.item.name == "a1.png"
    assert not series.is_busy
    series.next()
    assert series.wait(30)
    assert series.item.name == "a2.png"
    assert labels_in(tmp_path / "a1_labels.png").sum() == 100


def test_memory_does_not_grow_with_the_images(make_series, tmp_path):
    viewer, session, series = make_series(synchronous=False)
    series.open_folder(volumes(tmp_path, 6))
    assert series.wait(30)
    known = []
    for _ in range(5):
        known += [weakref.ref(layer) for layer in viewer.layers]
        known.append(weakref.ref(viewer.layers[0].data))
        session.tool = "box"
        draw(session)
        known += [
            weakref.ref(layer.data) for layer in viewer.layers if layer.name in (LABELS_NAME, OBJECT_NAME)
        ]
        series.next()
        assert series.wait(30)
    gc.collect()
    alive = [ref() for ref in known if ref() is not None]
    assert len(alive) <= 3, [type(one) for one in alive]


def test_a_question_does_not_wait_for_the_image_that_is_read_ahead(make_series, tmp_path, slow_reading):
    viewer, session, series = make_series(synchronous=False)
    series.open_folder(pictures(tmp_path, 2))
    assert series.wait(30)
    reading, gate = slow_reading
    assert reading.wait(30)
    draw(session)
    assert viewer.layers[OBJECT_NAME].data.sum() == 100
    gate.set()
    series.next()
    assert series.wait(30)
    assert np.array_equal(viewer.layers["a2"].data, picture(2))


@pytest.mark.parametrize("way", ["another folder", "switched off", "closed"])
def test_what_was_read_ahead_is_let_go(make_series, tmp_path, monkeypatch, qtbot, way):
    arrays, original = {}, series_work.read_layers

    def noted(path):
        read = original(path)
        arrays[Path(path).name] = weakref.ref(read[0][0])
        return read

    monkeypatch.setattr(series_work, "read_layers", noted)
    viewer, _session, series = make_series(synchronous=False)
    series.open_folder(pictures(tmp_path / "images", 2))
    assert series.wait(30)
    qtbot.waitUntil(lambda: "a2.png" in arrays)
    assert arrays["a2.png"]() is not None
    if way == "another folder":
        series.open_folder(volumes(tmp_path / "scans", 1))
    elif way == "switched off":
        series.reads_ahead = False
    else:
        viewer.close()
    assert series.wait(30)

    def is_gone():
        gc.collect()
        return arrays["a2.png"]() is None

    qtbot.waitUntil(is_gone)


# ---------------------------------------------------------------------- closing


@pytest.mark.parametrize("way", ["window", "viewer"])
@pytest.mark.parametrize("synchronous", [True, False])
def test_closing_saves(make_series, tmp_path, way, synchronous):
    viewer, session, series = make_series(synchronous=synchronous)
    series.open_folder(pictures(tmp_path, 2))
    assert series.wait(30)
    draw(session)
    session.new_object()
    draw(session, (20, 20, 30, 30))
    viewer.window._qt_window.close() if way == "window" else viewer.close()
    saved = labels_in(tmp_path / "a1_labels.png")
    assert (saved == 1).sum() == 100
    assert (saved == 2).sum() == 100
    assert on_disk(tmp_path)["a1.png"] == "started"


@pytest.mark.parametrize("answer", ["Discard", "Cancel"])
def test_closing_asks_when_saving_fails(make_series, tmp_path, monkeypatch, answer):
    _viewer, session, series = make_series()
    series.open_folder(pictures(tmp_path, 2))
    draw(session)
    asked = []

    def ask(_parent, _title, text, *_buttons):
        asked.append(text)
        return getattr(QMessageBox.StandardButton, answer)

    def fail(*_args, **_kwargs):
        raise FileError("no space left on device")

    class Event:
        ignored = False

        def type(self):
            return QEvent.Type.Close

        def spontaneous(self):
            return True

        def ignore(self):
            self.ignored = True

    monkeypatch.setattr(QMessageBox, "warning", ask)
    monkeypatch.setattr(series_work, "write_labels", fail)
    event = Event()
    kept = series._guard.eventFilter(None, event)
    assert "no space left" in asked[0]
    assert kept == event.ignored == (answer == "Cancel")
    monkeypatch.setattr(series_work, "write_labels", write_labels)
