"""Files of an image series without a window: what is saved with them, and the one that is read ahead."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from imageio.v3 import imwrite
from series_helpers import labels_in, picture, pictures

from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.errors import FileError
from napari_medicosam.io.image_series import STATE_NAME
from napari_medicosam.io.series_state import SavedObject, SavedObjects
from napari_medicosam.ui import series_work
from napari_medicosam.ui.series_ahead import THREAD_NAME
from napari_medicosam.ui.series_records import FolderChoice, LabelWork, joined_classes
from napari_medicosam.ui.series_work import SeriesFiles

CLASSES = LabelClasses.from_names(["liver", "tumour"])


def liver(**fields):
    return SavedObjects(objects=(SavedObject(object_id=1, name="liver", class_id=1, **fields),))


def silent(*_progress):
    pass


@pytest.fixture
def open_files(tmp_path):
    """Files of a folder of 4 pictures, as a session opens them."""
    made = []

    def make():
        folder = tmp_path if made else pictures(tmp_path, 4)
        made.append(SeriesFiles.resume(FolderChoice(folder), silent, skip_done=True).files)
        return made[-1]

    yield make
    for files in made:
        files.close()


def save(files, opened, objects, label_map=None, finished=None):
    labels = opened.known.labels if label_map is None else label_map
    return files.save(LabelWork(opened.item, opened.record, opened.known, labels, finished, objects, CLASSES))


def drawn():
    label_map = np.zeros((40, 50), np.uint8)
    label_map[5:15, 5:15] = 1
    return label_map


def test_a_name_alone_is_saved_and_looking_is_not(open_files, tmp_path):
    files = open_files()
    item = files.items[0]
    assert save(files, files.read(item), liver(), drawn(), finished=True).status == "done"
    files.leave()
    written, state = item.label_path.stat().st_mtime_ns, (tmp_path / STATE_NAME).read_bytes()
    files = open_files()
    opened = files.read(item)
    assert (opened.status, opened.known.objects, files.classes) == ("done", liver(), CLASSES)
    looked = save(files, opened, liver())
    assert (looked.status, looked.is_written) == ("done", False)
    files.leave()
    assert (tmp_path / STATE_NAME).read_bytes() == state
    renamed = save(files, opened, liver(is_locked=True))
    assert (renamed.status, renamed.is_written) == ("started", False), "changed since, so no longer done"
    assert renamed.known.objects == liver(is_locked=True)
    assert item.label_path.stat().st_mtime_ns == written
    assert open_files().read(item).known.objects == liver(is_locked=True)


def test_labels_that_were_moved_away_begin_anew(open_files):
    files = open_files()
    item = files.items[0]
    save(files, files.read(item), liver(), drawn())
    item.label_path.unlink()
    opened = files.read(item)
    assert opened.known.objects == SavedObjects()
    save(files, opened, SavedObjects(), drawn())
    assert files.read(item).known.objects == SavedObjects()


def test_without_labels_no_name_is_kept(open_files, tmp_path):
    files = open_files()
    save(files, files.read(files.items[0]), liver(), np.zeros((40, 50), np.uint8))
    files.leave()
    assert not (tmp_path / STATE_NAME).exists(), "an image that was only looked at leaves nothing"


@pytest.mark.parametrize(
    ("session", "series", "joined"),
    [
        (["liver"], [], ["liver"]),
        ([], ["liver"], ["liver"]),
        (["liver"], ["liver", "tumour"], ["liver", "tumour"]),
        (["liver", "tumour"], ["liver"], ["liver", "tumour"]),
        (["liver", "tumour"], ["kidney"], ["kidney"]),
    ],
)
def test_which_classes_there_are(session, series, joined):
    session, series = LabelClasses.from_names(session), LabelClasses.from_names(series)
    assert list(joined_classes(session, series).names) == joined


# ---------------------------------------------------------------------- read ahead


class Reads:
    """Which image files were read on which thread, what of them is alive, and a gate for each."""

    def __init__(self, monkeypatch):
        self.names, self.threads, self.arrays = [], [], {}
        self.gates = {}
        self._news = threading.Condition()
        self._original = series_work.read_layers
        monkeypatch.setattr(series_work, "read_layers", self._read)

    def _read(self, path):
        name = Path(path).name
        with self._news:
            self.names.append(name)
            self.threads.append(threading.current_thread().name.split("_")[0])
            self._news.notify_all()
        if name in self.gates:
            assert self.gates[name].wait(30)
        read = self._original(path)
        with self._news:
            self.arrays[name] = weakref.ref(read[0][0])
            self._news.notify_all()
        return read

    def wait_for(self, name, *, is_over=False):
        with self._news:
            assert self._news.wait_for(lambda: name in (self.arrays if is_over else self.names), 30)

    def is_alive(self, name):
        gc.collect()
        return self.arrays[name]() is not None


@pytest.fixture
def reads(monkeypatch):
    return Reads(monkeypatch)


def join(files):
    """Until the file that is being read is read."""
    files.close()
    for thread in threading.enumerate():
        if thread.name.startswith(THREAD_NAME):
            thread.join(30)


def test_what_was_read_ahead_is_not_read_again(open_files, reads):
    files = open_files()
    first, second, _, _ = files.items
    found = files.first_readable([first], silent, skip_done=True)
    assert found.following == second
    reads.gates["a2.png"] = gate = threading.Event()
    files.read_ahead(second)
    reads.wait_for("a2.png")
    gate.set()
    assert np.array_equal(files.read(second).array, picture(2)), "what has begun is waited for"
    assert reads.names.count("a2.png") == 1
    assert reads.threads[-1] == THREAD_NAME
    assert not reads.is_alive("a2.png"), "whoever asked for it has it alone"
    files.read(second)
    assert reads.names.count("a2.png") == 2


@pytest.mark.parametrize("what", ["image", "labels"])
def test_a_file_that_was_written_meanwhile_is_read_again(open_files, reads, what):
    files = open_files()
    item = files.items[1]
    files.read_ahead(item)
    reads.wait_for("a2.png", is_over=True)
    if what == "image":
        imwrite(item.image_path, picture(9)[:30])
        assert np.array_equal(files.read(item).array, picture(9)[:30])
    else:
        imwrite(item.label_path, drawn())
        opened = files.read(item)
        assert opened.status == "started"
        assert np.array_equal(opened.known.labels, labels_in(item.label_path))


def test_what_cannot_be_read_ahead_says_so_when_it_is_wanted(open_files, reads):
    files = open_files()
    item = files.items[1]
    item.image_path.write_bytes(b"no picture")
    files.read_ahead(item)
    reads.wait_for("a2.png")
    with pytest.raises(FileError, match=r"a2\.png"):
        files.read(item)


@pytest.mark.parametrize("way", ["elsewhere", "another", "nothing", "closed"])
@pytest.mark.parametrize("is_being_read", [True, False])
def test_what_was_read_ahead_is_let_go(open_files, reads, way, is_being_read):
    files = open_files()
    _, second, third, fourth = files.items
    reads.gates["a2.png"] = gate = threading.Event()
    if not is_being_read:
        gate.set()
    files.read_ahead(second)
    reads.wait_for("a2.png")
    if way == "elsewhere":
        assert np.array_equal(files.read(fourth).array, picture(4)), "and nobody waits for it"
    elif way == "closed":
        files.close()
        files.read_ahead(third)
    else:
        files.read_ahead(third if way == "another" else None)
    gate.set()
    if way == "another":
        assert np.array_equal(files.read(third).array, picture(3))
    join(files)
    assert not reads.is_alive("a2.png")
    assert ("a3.png" in reads.names) == (way == "another")


def test_who_waits_in_line_is_not_waited_for(open_files, reads):
    files = open_files()
    _, second, third, _ = files.items
    reads.gates["a2.png"] = gate = threading.Event()
    files.read_ahead(second)
    reads.wait_for("a2.png")
    files.read_ahead(third)
    assert np.array_equal(files.read(third).array, picture(3))
    assert reads.threads[-1] != THREAD_NAME
    gate.set()
