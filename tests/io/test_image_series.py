"""A folder of images, stepped through: what is an item, how far it is, and what survives a kill."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from napari_medicosam.core.label_classes import LabelClass, LabelClasses
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io import series_state
from napari_medicosam.io.image_series import STATE_NAME, ImageSeries, SeriesItem
from napari_medicosam.io.series_files import label_name, natural_key
from napari_medicosam.io.series_state import SavedObject, SavedObjects
from napari_medicosam.io.volumes import FORMATS, read_volume, write_labels

SIZE = (5, 7)


def picture(path, value=100, size=SIZE):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)
    return path


def scan(path, value=100):
    path.parent.mkdir(exist_ok=True)
    nibabel.Nifti1Image(np.full((4, 3, 2), value, np.int16), np.diag([1.0, 2, 3, 1])).to_filename(path)
    return path


def save(item, value=1):
    """What a session does when it saves by itself."""
    volume = read_volume(item.image_path)
    labels = np.full(volume.geometry.shape_zyx, value, np.uint8)
    write_labels(item.label_path, labels, volume, overwrite=True)


def finish(series, item):
    series.mark_started(item)
    save(item)
    series.mark_done(item)


@pytest.fixture
def folder(tmp_path):
    for number in (10, 2, 1):
        picture(tmp_path / "images" / f"case{number}.png", number)
    return tmp_path / "images"


def names(items):
    return [item.name for item in items]


def statuses(series):
    return [series.status(item) for item in series]


def test_items_are_in_natural_order_with_their_label_paths(folder):
    series = ImageSeries(folder)
    assert names(series) == ["case1.png", "case2.png", "case10.png"]
    assert len(series) == 3
    assert series.items[0].label_path == folder / "case1_labels.png"
    assert series.items[0].initial_path is None
    assert series.skipped == ()
    assert series.report() == "3 images"


def test_natural_order_is_that_of_people():
    wanted = ["1.png", "A2.png", "a10.png", "a10b.png", "B1.png"]
    mixed = [wanted[place] for place in (3, 0, 4, 2, 1)]
    assert sorted(mixed, key=natural_key) == wanted


def test_labels_go_to_a_format_that_keeps_the_grid():
    wanted = {
        "a.nii.gz": "a_labels.nii.gz", "a.b.nii": "a.b_labels.nii.gz", "a.NRRD": "a_labels.nrrd",
        "a.mhd": "a_labels.mha", "a.TIFF": "a_labels.tif", "a.jpeg": "a_labels.png", "a.png": "a_labels.png",
    }  # fmt: skip
    assert {name: label_name(name) for name in wanted} == wanted
    for suffix in FORMATS:
        written = FORMATS[label_name(f"a{suffix}").removeprefix("a_labels")]
        assert written.write is not None


@pytest.mark.parametrize("name", ["a.png", "a.nii", "a.nii.gz"])
def test_labels_are_written_and_finished_in_2d_and_3d(tmp_path, name):
    (picture if name.endswith("png") else scan)(tmp_path / "images" / name)
    series = ImageSeries(tmp_path / "images", tmp_path / "out")
    finish(series, series.items[0])
    assert statuses(ImageSeries(tmp_path / "images", tmp_path / "out")) == ["done"]


def test_what_is_no_image_is_reported_with_its_reason(folder, tmp_path):
    for name in (
        ".hidden.png",
        "notes.txt",
        "case2_mask.png",
        "other_labels.nii.gz",
        "photo_mask.png",
        "x.png",
    ):
        picture(folder / "p.png").rename(folder / name)
    (folder / "deeper").mkdir()
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    series = ImageSeries(folder, pattern="[CP]*")
    assert names(series) == ["case1.png", "case2.png", "case10.png", "photo_mask.png"]
    reasons = {item.name: item.reason.split(":")[0] for item in series.skipped}
    assert reasons == {
        ".hidden.png": "hidden",
        "notes.txt": "no image file",
        "case2_mask.png": "a mask of the image beside it",
        "other_labels.nii.gz": "a label file",
        "x.png": "not in the pattern [CP]*",
        "deeper": "a folder",
        "gone.png": "a link that leads nowhere",
    }
    assert series.report().startswith("4 images; not used: 1 x hidden, ")


def test_own_label_and_state_files_are_neither_images_nor_reported(folder):
    series = ImageSeries(folder)
    finish(series, series.items[0])
    again = ImageSeries(folder)
    assert names(again) == names(series)
    assert again.skipped == ()
    assert {p.name for p in folder.iterdir()} - set(names(again)) == {"case1_labels.png", STATE_NAME}


def test_status_goes_from_todo_over_started_to_done_and_back(folder):
    series = ImageSeries(folder)
    first, second, last = series
    assert statuses(series) == ["todo"] * 3
    series.mark_started(first)
    assert series.status(first) == "todo"  # nothing was saved yet
    save(first)
    assert series.status(first) == "started"
    series.mark_done(first)
    finish(series, last)
    assert statuses(series) == ["done", "todo", "done"]
    assert str(series.progress()) == "2 of 3 done"
    save(second)
    assert str(series.progress()) == "2 of 3 done, 1 started"
    series.mark_started(first)
    assert statuses(series) == ["started", "started", "done"]
    assert (series.progress().done, series.progress().started, series.progress().todo) == (1, 2, 0)


def test_stepping(folder):
    series = ImageSeries(folder)
    first, second, last = series
    assert series.next_todo() is first
    finish(series, first)
    assert series.next_todo() is second
    assert series.next_todo(after=second) is last
    assert series.next_todo(after=last) is second  # from the beginning on
    finish(series, last)
    assert series.next_todo(after=second) is second  # nothing else is left
    finish(series, second)
    assert series.next_todo() is None
    assert series.next_todo(after=first) is None
    assert [series.previous(item) for item in series] == [None, first, second]
    assert [series.following(item) for item in series] == [second, last, None]


def test_everything_is_remembered_after_a_kill(folder, tmp_path):
    series = ImageSeries(folder, tmp_path / "out")
    first, second, _ = series
    finish(series, first)
    series.mark_started(second)
    save(second)
    del series  # a kill: nobody says goodbye
    again = ImageSeries(folder, tmp_path / "out")
    assert statuses(again) == ["done", "started", "todo"]
    assert again.next_todo() == second


def test_images_may_come_and_go(folder):
    series = ImageSeries(folder)
    finish(series, series.items[0])
    finish(series, series.items[1])
    (folder / "case1.png").rename(folder.parent / "away.png")
    picture(folder / "case5.png")
    again = ImageSeries(folder)
    assert names(again) == ["case2.png", "case5.png", "case10.png"]
    assert statuses(again) == ["done", "todo", "todo"]
    finish(again, again.items[1])
    (folder.parent / "away.png").rename(folder / "case1.png")
    assert statuses(ImageSeries(folder)) == ["done", "done", "done", "todo"]


def test_an_image_that_went_away_during_work_is_passed_over(folder):
    series = ImageSeries(folder)
    series.items[0].image_path.unlink()
    assert series.next_todo() is series.items[1]
    with pytest.raises(FileError, match=r"cannot read .*case1\.png"):
        series.mark_started(series.items[0])


def test_a_folder_that_was_moved_is_still_finished(folder):
    finish(ImageSeries(folder), ImageSeries(folder).items[0])
    moved = folder.rename(folder.parent / "moved")
    assert statuses(ImageSeries(moved)) == ["done", "todo", "todo"]


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda path: path.unlink(), "todo"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "started"),
        (lambda path: path.write_bytes(b""), "started"),
        (lambda path: picture(path, 1, (7, 5)), "started"),
        (lambda path: picture(path, 2), "done"),  # corrected by another program
    ],
    ids=["removed", "truncated", "empty", "another size", "edited"],
)
def test_only_a_sound_label_file_is_done(folder, damage, status):
    series = ImageSeries(folder)
    finish(series, series.items[0])
    damage(series.items[0].label_path)
    assert series.status(series.items[0]) == status
    assert ImageSeries(folder).status(series.items[0]) == status


def test_only_labels_that_are_there_and_fit_can_be_finished(folder):
    series = ImageSeries(folder)
    item = series.items[0]
    with pytest.raises(
        FileError, match=r"case1_labels\.png does not exist: save the labels of case1\.png first"
    ):
        series.mark_done(item)
    picture(item.label_path, 1, (3, 3))
    with pytest.raises(
        FileError, match=r"another size than case1\.png: got .* \(1, 3, 3\), wanted \(1, 5, 7\)"
    ):
        series.mark_done(item)
    with pytest.raises(FileError, match=r"wanted \(1, 4, 4\)"):
        series.mark_done(item, (1, 4, 4))
    item.label_path.write_bytes(b"no picture")
    with pytest.raises(FileError, match="cannot read"):
        series.mark_done(item)
    assert series.status(item) == "started"


def test_a_known_shape_spares_reading_the_image(folder, monkeypatch):
    series = ImageSeries(folder)
    save(series.items[0])
    monkeypatch.setattr("napari_medicosam.io.image_series.read_volume", None)
    series.mark_done(series.items[0], (1, *SIZE))
    assert series.status(series.items[0]) == "done"


def test_the_state_file_holds_names_and_nothing_of_where_and_who(folder, tmp_path):
    series = ImageSeries(folder, tmp_path / "out")
    finish(series, series.items[0])
    text = (tmp_path / "out" / STATE_NAME).read_text(encoding="utf-8")
    state = json.loads(text)
    assert state["version"] == 1
    assert set(state["items"]) == {"case1.png"}
    assert set(state["items"]["case1.png"]) == {"finished", "image", "labels", "shape_zyx"}
    assert "/" not in text
    assert "images" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"version": 1, "items": {"case1.png": {"fin', "EOF"),
        (b"", "EOF"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"[]", "object"),
        (b'{"items": {}}', "version: Field required"),
        (b'{"version": 2, "items": {}}', "version: Input should be 1"),
        (b'{"version": 1, "items": {"a": {"finished": true}}}', "items.a.image: Field required"),
        (b'{"version": 1, "items": {"a": {"finished": true, "image": "", "x": 1}}}', "items.a.x"),
        (
            b'{"version": 1, "items": {}, "classes": {"classes": [{"class_id": 0, "name": "a"}]}}',
            "a class id",
        ),
    ],
)
def test_a_damaged_state_file_is_said_and_left_alone(folder, content, reason):
    series = ImageSeries(folder)
    (folder / STATE_NAME).write_bytes(content)
    message = rf"(?s){STATE_NAME} is damaged or of another version.*{reason}.*Repair it, or move it away"
    with pytest.raises(FileError, match=message):
        ImageSeries(folder)
    with pytest.raises(FileError, match=message):  # nor does a series that is open write over it
        series.mark_started(series.items[0])
    assert (folder / STATE_NAME).read_bytes() == content


def test_what_a_label_file_cannot_say_is_remembered(folder):
    series, objects = (
        ImageSeries(folder),
        SavedObjects(
            objects=(SavedObject(object_id=3, name="läsion/1", class_id=2, is_locked=True),),
            locked_classes=(7,),
        ),
    )
    first, second, _ = series.items
    classes = LabelClasses(tuple(LabelClass(number, f"class {number}") for number in (1, 2, 7)))
    series.mark_started(first, objects, classes)
    assert series.classes == classes
    other, fewer = ImageSeries(folder), LabelClasses((LabelClass(5, "new"),))
    assert other.objects_of(first) == objects
    assert other.objects_of(second) == SavedObjects()
    finish(other, first)
    other.mark_started(second, SavedObjects(), fewer)
    finish(series, second)
    again = ImageSeries(folder)
    assert again.objects_of(first) == objects, "marks leave it alone"
    assert again.classes.ids == (5, 2, 7), "of the old classes those that objects have"


def test_the_open_image_is_remembered_until_it_is_left(folder):
    series = ImageSeries(folder)
    first, second, _last = series
    assert series.left_open is None
    series.mark_open(first)
    series.mark_open(second)
    assert ImageSeries(folder).left_open == second
    series.mark_open(None)
    assert not (folder / STATE_NAME).exists(), "nothing is left to be said"
    series.mark_open(second)
    finish(series, first)
    assert ImageSeries(folder).left_open == second, "saving forgets nothing"
    series.mark_open(None)
    again = ImageSeries(folder)
    assert again.left_open is None
    assert again.status(first) == "done"
    series.mark_open(second)
    second.image_path.unlink()
    assert ImageSeries(folder).left_open is None


def test_a_failed_write_keeps_the_old_state(folder, monkeypatch):
    series = ImageSeries(folder)
    finish(series, series.items[0])
    before = (folder / STATE_NAME).read_bytes()

    def half(path, data):
        path.write_bytes(data[:20])
        raise KeyboardInterrupt

    monkeypatch.setattr(series_state, "_write", half)
    with pytest.raises(KeyboardInterrupt):
        finish(series, series.items[1])
    assert (folder / STATE_NAME).read_bytes() == before
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
    assert statuses(ImageSeries(folder)) == ["done", "todo", "todo"]


def test_two_annotators_keep_each_others_marks(folder):
    one, other = ImageSeries(folder), ImageSeries(folder)
    finish(one, one.items[0])
    finish(other, other.items[1])
    assert statuses(other) == ["done", "done", "todo"]
    assert statuses(ImageSeries(folder)) == ["done", "done", "todo"]


def test_images_that_would_share_a_label_file_are_refused(folder):
    picture(folder / "case2.jpg")
    with pytest.raises(
        FileError, match=r"case2\.jpg and case2\.png would both be case2_labels\.png.* Rename one"
    ):
        ImageSeries(folder)
    assert names(ImageSeries(folder, pattern="*.png")) == ["case1.png", "case2.png", "case10.png"]


def test_names_that_differ_in_case_alone_are_refused(folder):
    picture(folder / "CASE2.png")
    if len(list(folder.iterdir())) == 3:
        pytest.skip("this file system does not tell upper and lower case apart")
    with pytest.raises(FileError, match=r"CASE2\.png and case2\.png would both be"):
        ImageSeries(folder)


def test_labels_are_never_laid_over_those_of_another_image(tmp_path):
    for patient, value in (("p1", 1), ("p2", 2)):
        picture(tmp_path / patient / "ct.png", value)
    series = ImageSeries(tmp_path / "p1", tmp_path / "out")
    series.mark_started(series.items[0])
    save(series.items[0])
    with pytest.raises(FileError, match=r"ct_labels\.png was made on another image than .*ct\.png.*move its"):
        ImageSeries(tmp_path / "p2", tmp_path / "out")
    series.items[0].label_path.unlink()
    assert statuses(ImageSeries(tmp_path / "p2", tmp_path / "out")) == ["todo"]


def test_initial_masks_are_paired_by_name(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("a.png", "b.png", "c_image.png", "d_0000.png", "e.png", "f.png", "g.png"):
        picture(images / name)
    for name in (
        "a.png",
        "b_seg.png",
        "c_labels.tif",
        "d.png",
        "e.png",
        "e_mask.png",
        "f.jpg",
        ".g.png",
        "z.png",
    ):
        picture(masks / name)
    (masks / "g.txt").touch()
    series = ImageSeries(images, tmp_path / "out", masks)
    found = {item.name: item.initial_path and item.initial_path.name for item in series}
    assert found == {
        "a.png": "a.png", "b.png": "b_seg.png", "c_image.png": "c_labels.tif", "d_0000.png": "d.png",
        "e.png": None, "f.png": None, "g.png": None,
    }  # fmt: skip
    reasons = {item.name: item.reason for item in series.skipped}
    assert set(reasons) == {"e.png", "f.jpg"}
    assert reasons["e.png"].endswith("which counts? e.png, e_mask.png")
    assert series.report().startswith("7 images, 4 with an initial mask; not used: ")


def test_masks_may_lie_beside_their_images(folder):
    picture(folder / "case1_mask.png")
    picture(folder / "case2_labels.png")
    series = ImageSeries(folder, initial_masks=folder)
    assert names(series) == ["case1.png", "case2.png", "case10.png"]
    assert [item.initial_path and item.initial_path.name for item in series] == ["case1_mask.png", None, None]
    assert series.status(series.items[1]) == "started"  # its label file is what to go on from


def test_folders_that_are_none(folder, tmp_path):
    with pytest.raises(FileError, match="nowhere is no folder"):
        ImageSeries(tmp_path / "nowhere")
    with pytest.raises(FileError, match="nowhere is no folder"):
        ImageSeries(folder, initial_masks=tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"cannot make the folder .*wanted a folder"):
        ImageSeries(folder, tmp_path / "no" / "where")
    with pytest.raises(FileError, match="cannot make the folder"):
        ImageSeries(folder, folder / "case1.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match=r"holds no image .*: it is empty"):
        ImageSeries(tmp_path / "empty")
    with pytest.raises(FileError, match=r"holds no image .*: not used: 3 x not in the pattern \*\.nii"):
        ImageSeries(folder, pattern="*.nii")


def test_an_item_of_another_series_is_refused(folder, tmp_path):
    series = ImageSeries(folder)
    other = SeriesItem(tmp_path / "case1.png", tmp_path / "case1_labels.png")
    for call in (series.status, series.previous, series.following, series.mark_done, series.next_todo):
        with pytest.raises(InputError, match=r"case1\.png is no image of this series"):
            call(other)
