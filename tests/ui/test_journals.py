"""A journal is written while the user works: what a kill leaves behind comes back, a clean end leaves nothing."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.errors import InputError
from napari_medicosam.io.session_journal import read_journal
from napari_medicosam.ui.layers import OBJECT_NAME
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.segment_widget import SegmentWidget
from napari_medicosam.ui.session import AnnotationSession

DATA = np.random.default_rng(0).integers(0, 255, (6, 40, 50), dtype=np.uint8)

WORK = """
import sys
import numpy as np
from napari import Viewer
from pathlib import Path
from qtpy.QtWidgets import QApplication
from napari_medicosam.io.session_journal import read_journal
from napari_medicosam.ui.session import AnnotationSession

folder = Path(sys.argv[1])
viewer = Viewer(show=False)
session = AnnotationSession(viewer, journals=folder)
data = np.random.default_rng(0).integers(0, 255, (6, 40, 50), dtype=np.uint8)
session.set_image(viewer.add_image(data))
session.new_object("lesion")
session.add_labels(np.pad(np.full((2, 5, 5), 7, np.uint8), ((1, 3), (10, 25), (10, 35))), {7: "done"})
session.tool = "box"
brush = viewer.layers["MedicoSAM object"]
brush.brush_size = 6
brush.mode = "paint"
brush.paint((3, 20, 20), session.object_id)

def is_written():
    for path in folder.glob("*.journal"):
        try:
            return read_journal(path).edited.any()
        except Exception:  # half of the first record
            return False

while not is_written():  # nothing else than events, as in a window
    QApplication.processEvents()
print("written", int((brush.data > 0).sum()), flush=True)
while True:
    QApplication.processEvents()
"""


@pytest.fixture
def journaled(make_napari_viewer, tmp_path):
    """Sessions with a journal in `tmp_path / "journals"`, one after the other in a viewer that has no layers."""
    viewer, made = make_napari_viewer(show=False), []

    def make(data=DATA):
        for session in made:
            session.close()
        viewer.layers.clear()
        session = AnnotationSession(viewer, runner=Runner(synchronous=True), journals=tmp_path / "journals")
        session.set_image(viewer.add_image(data, name="scan"))
        made.append(session)
        return viewer, session

    yield make
    for session in made:
        session.close()


def paint(session, position):
    session.tool = "box"
    brush = session.viewer.layers[OBJECT_NAME]
    brush.brush_size = 6
    brush.paint(position, session.object_id)


def journals(folder):
    return sorted((folder / "journals").glob("*.journal"))


def test_work_survives_a_kill(journaled, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(tmp_path / "journals")], stdout=subprocess.PIPE, text=True
    )
    told = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.communicate()
    assert told[0] == "written"

    viewer, session = journaled()
    session.restore()
    assert int((viewer.layers[OBJECT_NAME].data > 0).sum()) == int(told[1])
    assert [(one.object_id, one.name, one.num_voxels) for one in session.objects] == [
        (1, "lesion", 0),
        (7, "done", 50),
    ]
    assert not session.restorable()
    (own,) = journals(tmp_path)
    np.testing.assert_array_equal(read_journal(own).edited[0], viewer.layers[OBJECT_NAME].data > 0)


def test_the_widget_offers_what_was_not_saved(journaled, tmp_path, monkeypatch, qtbot):
    _, session = journaled()
    paint(session, (3, 20, 20))
    before = session.label_map()
    session.close()
    assert len(journals(tmp_path)) == 1  # a clean end, but nothing was saved

    viewer, session = journaled()
    widget = SegmentWidget(session=session)
    qtbot.addWidget(widget)
    bar = widget._restore_bar
    assert bar.isVisibleTo(widget)
    paint(session, (1, 20, 20))
    asked = []
    monkeypatch.setattr(
        QMessageBox, "question", lambda *args: asked.append(args[2]) or QMessageBox.StandardButton.Cancel
    )
    with pytest.raises(InputError, match="has objects already"):
        session.restore()
    bar._restore.click()
    bar._discard.click()
    assert len(asked) == 2
    assert viewer.layers[OBJECT_NAME].data[1].any()
    monkeypatch.setattr(QMessageBox, "question", lambda *args: QMessageBox.StandardButton.Yes)
    bar._restore.click()
    np.testing.assert_array_equal(session.label_map(), before)
    assert not bar.isVisibleTo(widget)
    assert len(journals(tmp_path)) == 1

    _, other = journaled(DATA[::-1])
    assert not other.restorable()
    _, again = journaled()
    assert len(again.restorable()) == 1
    again.forget_restorable()
    assert not again.restorable()
    assert not journals(tmp_path)


def test_saved_work_leaves_no_journal(journaled, tmp_path):
    ways = (
        lambda session: session.save(tmp_path / "scan.zip"),
        lambda session: session.save_labels(tmp_path / "scan.nii.gz"),
        lambda session: session.mark_saved(session.image),
    )
    for save in ways:
        _, session = journaled()
        paint(session, (3, 20, 20))
        session._journals.record()
        assert len(journals(tmp_path)) == 1
        save(session)
        session.label_map()  # looks at the masks, changes nothing
        session.close()
        assert not journals(tmp_path)


def test_what_was_undone_does_not_come_back_and_a_removed_layer_takes_nothing_with_it(journaled, tmp_path):
    viewer, session = journaled()
    paint(session, (3, 20, 20))
    paint(session, (1, 20, 20))
    session._journals.record()
    session.undo()
    session._journals.record()
    found = read_journal(journals(tmp_path)[0])
    np.testing.assert_array_equal(found.edited[0], viewer.layers[OBJECT_NAME].data > 0)
    assert found.state.times[0].table == session._annotation.table
    viewer.layers.remove(OBJECT_NAME)
    session._journals.record()
    np.testing.assert_array_equal(read_journal(journals(tmp_path)[0]).edited, found.edited)


def test_other_pixels_begin_another_journal_and_undone_work_leaves_none(journaled, tmp_path):
    viewer, session = journaled()
    paint(session, (3, 20, 20))
    session._journals.record()
    (before,) = journals(tmp_path)
    session.image.data = DATA[::-1]
    session._journals.record()
    (after,) = set(journals(tmp_path)) - {before}
    assert read_journal(after).state.image.sha256 == image_digest([DATA[::-1]])
    assert read_journal(before).state.image.sha256 == image_digest([DATA])
    np.testing.assert_array_equal(read_journal(after).edited[0], viewer.layers[OBJECT_NAME].data > 0)
    session.undo()
    session.close()
    assert journals(tmp_path) == [before]


def test_an_image_that_is_removed_while_questions_wait_is_recorded_no_more(make_session, tmp_path, service):
    viewer, session = make_session(synchronous=False, journals=tmp_path / "journals")
    service.hold()
    session.add_box(1, (5, 5, 15, 15))
    assert service.entered.wait(60)
    session.add_box(2, (5, 5, 15, 15))  # waits for the first one
    viewer.layers.remove(session.image)
    session._journals.record()
    service.gate.set()
    assert session.wait(60)
    session.close()
    assert not journals(tmp_path)


def test_a_disk_that_takes_nothing_is_said_once(journaled, tmp_path, notices):
    (tmp_path / "journals").write_text("in the way")
    _, session = journaled()
    for z in (2, 3):
        paint(session, (z, 20, 20))
        session._journals.record()
    assert len([one for one in notices if "no journal can be written" in one]) == 1
    assert session.label_map()[3].any()
