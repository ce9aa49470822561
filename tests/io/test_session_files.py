"""Session files and journals without a window: what is written comes back, and what is damaged is said."""

import json
import os
import shutil
import time
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.effort import ObjectEffort
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.core.mask_log import Edit, MaskLog, Stamp
from napari_medicosam.core.object_table import ObjectRecord, ObjectTable
from napari_medicosam.core.packing import Content
from napari_medicosam.core.results import Region
from napari_medicosam.core.session_state import (
    ImageReference,
    ModelUse,
    SavedSession,
    SessionState,
    TimeState,
)
from napari_medicosam.core.volume_prompts import (
    VolumeBox,
    VolumeLasso,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
    volume_mask,
)
from napari_medicosam.errors import FileError
from napari_medicosam.io.session_files import read_session, read_state, write_session
from napari_medicosam.io.session_journal import (
    KEPT_DAYS,
    JournalWriter,
    Patch,
    find_journals,
    read_journal,
    remove_journal,
)
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.replay import Replay
from napari_medicosam.predict.zoom import ZoomRule

SHAPE = (2, 6, 12, 17)
VERSION_1 = Path(__file__).with_name("session_v1.zip")
VERSION_1_LOG = Path(__file__).with_name("session_v1_log.zip")


def example():
    """A session of every kind of thing: two time points, all prompts, one object being edited."""
    labels, edited = np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, bool)
    labels[0, 1:3, 2:9, 3:8] = 1
    labels[1, 4, 0, 0] = 700
    edited[1, 2:4, 5:11, 5:9] = True
    hint = np.zeros(SHAPE[2:], bool)
    hint[2:7, 3:6] = True
    hint[3, 4] = False
    prompts = VolumePrompts(
        (VolumePoint((1.0, 2.25, 3.0), True, 0), VolumePoint((1.0, 1 / 3, 16.0), False, 0)),
        (VolumeBox(0, 4, (1.0, 2.5, 12.0, 17.0)),),
        (VolumeScribble(1, 3, ((0.0, 1.0), (4.0, 5.0)), False),),
        (VolumeLasso(2, 3, ((0.0, 1.0), (4.0, 5.0), (5.0, 2.0))),),
        (volume_mask(SlicePlane(0, 2), hint),),
    )
    table = ObjectTable(locked_classes=frozenset({2}))
    for record in (
        ObjectRecord(1, "left kidney", 1, is_committed=True),
        ObjectRecord(7, "naïve", is_visible=False),
        ObjectRecord(700, "cyst", 2, is_locked=True, is_committed=True),
    ):
        table = table.with_record(record)
    table = table.with_current(7).with_prompts(7, prompts)
    table = table.with_anchors(1, frozenset([SlicePlane(0, 3), SlicePlane(2, 16)]))
    table = table.with_agreements(1, {SlicePlane(1, 4): 0.75})
    effort = ObjectEffort(12.125, corrections=1)
    effort.counts.update({"point": 3, "undo": 1})
    state = SessionState(
        ImageReference(SHAPE, "int16", (2.5, 0.7, 0.7), sha256="ab" * 32),
        ModelUse(
            "medicosam_lite",
            "auto",
            "cd" * 32,
            IntensityMapping("percentile", -3.5, 817.25),
            asdict(ZoomRule(max_share=0.1)),
            asdict(
                PropagationSettings(
                    box_extension=0.05, box_extension_mm=2.0, min_confidence=0.85, appearance=0, likeness=0
                )
            )
            | {"mode": "box+points"},
        ),
        (TimeState(1, table, {(1, SlicePlane(0, 3)): (0.9137, 35)}), TimeState(0, table.with_current(1))),
        LabelClasses.from_names(["kidney", "cyst"]),
        effort={7: effort},
    )
    return SavedSession(state, labels, edited).counted()


def check_same(found, wanted):
    assert found.state == wanted.state
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_array_equal(found.edited, wanted.edited)
    assert (found.labels.dtype, found.edited.dtype) == (np.uint16, bool)


@pytest.mark.parametrize("name", ["case.zip", "case"])
def test_a_session_comes_back_and_is_replaced_only_when_that_is_wanted(tmp_path, name):
    path, session = tmp_path / name, example()
    write_session(path, session)
    check_same(read_session(path), session)
    counted = read_session(path).state.times[0].table.records
    assert (counted[700].num_voxels, counted[700].bounds.start_zyx) == (1, (4, 0, 0))
    other = replace(
        session, labels=np.where(session.labels == 1, 9, session.labels).astype(np.uint16)
    ).counted()
    with pytest.raises(FileError, match="exists already"):
        write_session(path, other)
    write_session(path, other, overwrite=True)
    check_same(read_session(path), other)
    assert sorted(one.name for one in tmp_path.iterdir()) == [name]
    if path.is_dir():
        check_same(read_session(path / "session.json"), other)


@pytest.mark.parametrize("name", ["notes.zip", "notes"])
def test_nothing_but_a_session_is_replaced(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileError, match="no session"):
        write_session(path, example(), overwrite=True)
    assert (path / "thesis.txt").read_text() == "years of work"


def test_no_path_and_no_clock_time_is_in_a_session(tmp_path):
    write_session(tmp_path / "case", example())
    content = json.loads((tmp_path / "case" / "session.json").read_text())
    assert content["image"]["file"] is None
    assert str(tmp_path) not in json.dumps(content)
    assert set(content) == {
        "format", "version", "software", "image", "model", "classes", "policy", "times", "effort",
    }  # fmt: skip


def changed(session, place, value):
    """The text of `session.json` with one value changed."""
    path, *rest = place
    content = json.loads((session / "session.json").read_text())
    parent = content
    for key in (path, *rest)[:-1]:
        parent = parent[key]
    parent[(path, *rest)[-1]] = value
    (session / "session.json").write_text(json.dumps(content))


def part(content, stop_zyx):
    """A mask in a part of the volume."""
    return {"start_zyx": [0, 0, 0], "stop_zyx": list(stop_zyx), "content": content}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("version",), 3, "version 3"),
        (("times", 0, "own"), part("AAAA", (1, 1, 1)), "damaged"),
        (("times", 0, "own"), part("*", (1, 1, 1)), "damaged"),
        (("times", 0, "own"), part("", (99, 1, 1)), "in an image of shape"),
        (("times", 0, "objects", 0, "taken"), [{**part("", (0, 1, 1)), "label": 2}], "in an image of shape"),
        (("times", 0, "objects", 0, "taken"), [part("", (0, 0, 0))], "label"),
        (("format",), "a recipe", "format"),
        (("surname",), "Doe", "surname"),
        (("times", 0, "current"), 3, "no object 3"),
        (("times", 0, "time"), 2, "time point 2"),
        (("times", 0, "objects", 0, "id"), 7, "object 7 twice"),
        (("times", 0, "objects", 0, "anchors"), [[0, 6]], "slice 6"),
        (("times", 0, "objects", 1, "prompts", 0, "position_zyx"), [1, 2, 300], "outside the image"),
        (("times", 0, "objects", 1, "prompts", 5, "bits"), "AAAA", "3 bytes"),
        (("times", 0, "objects", 1, "prompts", 5, "region_yxyx"), [2, 3, 7, 60], "outside the image"),
        (("image", "shape_tzyx"), [2, 7, 12, 17], "damaged"),
    ],
)
def test_what_is_wrong_in_a_session_is_said(tmp_path, place, value, message):
    path = tmp_path / "case"
    write_session(path, example())
    changed(path, place, value)
    with pytest.raises(FileError, match=message):
        read_session(path)


def test_damaged_masks_are_noticed(tmp_path):
    path = tmp_path / "case"
    write_session(path, example())
    chunk = next(one for one in (path / "masks.zarr" / "labels" / "c").rglob("*") if one.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        read_session(path)


def test_what_unpacks_to_more_than_the_image_has_is_refused(tmp_path):
    shutil.copy(VERSION_1, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("masks.zarr/labels/c/9/0/0/0", bytes(4 << 20))
    with pytest.raises(FileError, match="unpacks to 4194304 bytes"):
        read_session(tmp_path / "a.zip")
    shutil.copy(VERSION_1, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        assert "log.jsonl" not in packed.namelist()
    with zipfile.ZipFile(tmp_path / "b.zip", "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("log.jsonl", bytes(18 << 20))
    with pytest.raises(FileError, match=r"a line of its log\.jsonl is longer than"):
        read_session(tmp_path / "b.zip")


@pytest.mark.parametrize(
    "make", [lambda path: path.write_bytes(b"PK no zip"), lambda path: path.mkdir(), None]
)
def test_what_is_no_session_is_refused(tmp_path, make):
    path = tmp_path / "case.zip"
    if make is not None:
        make(path)
    with pytest.raises(FileError, match="session"):
        read_state(path)


def test_version_1_stays_readable():
    """The file was written by the first version of this format, and is never written anew."""
    check_same(read_session(VERSION_1), example())
    with zipfile.ZipFile(VERSION_1) as packed:
        assert json.loads(packed.read("session.json"))["version"] == 1


def test_the_log_of_version_1_comes_to_the_same_masks():
    """As above: two objects that were painted, committed, undone and redone, by the last program that wrote it."""
    session = read_session(VERSION_1_LOG)
    assert {type(one) for one in session.log} == {Edit}
    assert set(np.unique(session.labels)) == {0, 1, 2}
    replay = Replay([np.zeros(session.labels.shape[1:], np.int16)], None, pytest.fail)
    assert list(replay.run(session.log))[-1] == len(session.log)
    np.testing.assert_array_equal(replay.labels, session.labels)
    np.testing.assert_array_equal(replay.edited, session.edited)


def patches_of(session, labels_z, edited_z=()):
    whole = Region(0, 0, *SHAPE[2:])
    return [Patch("labels", 0, z, whole, session.labels[0, z]) for z in labels_z] + [
        Patch("edited", 1, z, Region(5, 5, 11, 9), session.edited[1, z, 5:11, 5:9]) for z in edited_z
    ]


def written(folder, session):
    """A journal of three records, the last with the edited mask, whose writer was killed."""
    writer = JournalWriter(folder, session.state.image.sha256)
    rest = Patch("labels", 1, 4, Region(0, 0, 1, 1), session.labels[1, 4, :1, :1])
    writer.append(replace(session.state, effort={}), patches_of(session, [1]))
    writer.append(session.state, [*patches_of(session, [2]), rest])
    size = writer.path.stat().st_size
    writer.append(session.state, patches_of(session, [], [2, 3]))
    writer.close(keep=True)
    return writer.path, size


def test_a_journal_gives_back_the_last_whole_record(tmp_path):
    session = example()
    path, size = written(tmp_path / "journals", session)
    check_same(read_journal(path), session)
    content = path.read_bytes()
    for end in (size, size + 3, size + 20, len(content) - 1):
        path.write_bytes(content[:end])
        check_same(read_journal(path), replace(session, edited=np.zeros_like(session.edited)))
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    check_same(read_journal(path), replace(session, edited=np.zeros_like(session.edited)))
    path.write_bytes(content[:40])
    with pytest.raises(FileError, match="no whole record"):
        read_journal(path)
    path.write_bytes(b"a letter")
    with pytest.raises(FileError, match="journal"):
        read_journal(path)


def test_a_journal_that_grew_is_one_record_again(tmp_path):
    session = example()
    writer = JournalWriter(tmp_path, session.state.image.sha256, shorten_at=1)
    sizes = []
    for _ in range(20):
        writer.append(session.state, patches_of(session, range(6), range(2, 4)))
        sizes.append(writer.path.stat().st_size)
    rest = Patch("labels", 1, 4, Region(0, 0, 1, 1), session.labels[1, 4, :1, :1])
    writer.append(session.state, [rest])
    writer.close(keep=True)
    assert max(sizes) < 6 * sizes[0]
    check_same(read_journal(writer.path), session)


def test_only_journals_without_a_writer_and_of_the_image_are_found(tmp_path):
    session = example()
    path, _ = written(tmp_path, session)
    writer = JournalWriter(tmp_path, session.state.image.sha256)
    stranger, _ = written(
        tmp_path,
        replace(session, state=replace(session.state, image=ImageReference(SHAPE, "int16", sha256="0" * 64))),
    )
    assert [one.path for one in find_journals(tmp_path, "ab" * 32)] == [path]
    writer.append(session.state, [])
    writer.close(keep=False)
    remove_journal(path)
    assert find_journals(tmp_path, "ab" * 32) == ()
    assert stranger.exists()
    long_ago = time.time() - (KEPT_DAYS + 1) * 86400
    os.utime(stranger, (long_ago, long_ago))
    assert find_journals(tmp_path, "ab" * 32) == ()
    assert not list(tmp_path.iterdir())


def test_a_writer_that_was_killed_at_once_left_nothing_to_restore(tmp_path):
    path, _ = written(tmp_path, example())
    content = path.read_bytes()
    start = content.index(b"\n") + 1
    first = start + 8 + int.from_bytes(content[start : start + 4], "little")
    path.write_bytes(content[:first])
    assert find_journals(tmp_path, "ab" * 32)
    for end in (first - 1, start + 7, start):
        path.write_bytes(content[:end])
        assert find_journals(tmp_path, "ab" * 32) == ()
        assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="no permissions of this kind")
def test_only_the_owner_can_read_a_journal(tmp_path):
    path, _ = written(tmp_path / "journals", example())
    assert (path.parent.stat().st_mode & 0o077, path.stat().st_mode & 0o077) == (0, 0)


def test_the_digest_is_of_the_pixels_alone():
    pixels = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype("<i2")
    digest = image_digest([pixels])
    assert digest == image_digest([np.asfortranarray(pixels.astype(">i2"))])
    assert (
        len(
            {
                digest,
                image_digest([pixels[::-1]]),
                image_digest([pixels.astype(np.int32)]),
                image_digest([pixels, pixels]),
            }
        )
        == 4
    )


def test_a_stamp_in_the_log_is_read_back(tmp_path):
    mask = np.arange(18).reshape(2, 3, 3) % 4 == 1
    packed = PackedMask.of(mask, VoxelBox((0, 0, 0), mask.shape)).moved((2, 5, 5))
    log = MaskLog()
    log.action = "commit"
    log.stamped(1, packed, 3)
    log.put(1, packed)
    write_session(tmp_path / "session", replace(example(), log=log.entries))
    stamp, put = read_session(tmp_path / "session").log
    for found in (stamp, put):
        assert (found.action, found.time, found.box) == ("commit", 1, VoxelBox((2, 5, 5), (4, 8, 8)))
        np.testing.assert_array_equal(found.content.array(mask.shape, bool), mask)
    assert (type(stamp), stamp.label, type(put), put.masks) == (Stamp, 3, Edit, "edited")
    text = (tmp_path / "session" / "log.jsonl").read_text()
    (tmp_path / "session" / "log.jsonl").write_text(text.replace('"label":3', '"label":65536'))
    with pytest.raises(FileError, match="line 1 of its log"):
        read_session(tmp_path / "session")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"kind":"edit"', '"kind":"magic"', "line 1 of its log"),
        ('"time":1', '"time":2', "time point 2 of an image that has 2"),
        ('"stop_zyx":[4', '"stop_zyx":[40', "in an image of shape"),
        ('"content":"', '"content":"*', "line 1 of its log"),
    ],
)
def test_a_damaged_log_is_said(tmp_path, old, new, said):
    mask = np.ones((2, 3, 3), bool)
    edit = Edit("paint", "edited", 1, VoxelBox((2, 5, 5), (4, 8, 8)), Content.of(mask))
    write_session(tmp_path / "session", replace(example(), log=(edit,)))
    (found,) = read_session(tmp_path / "session").log
    np.testing.assert_array_equal(found.content.array(mask.shape, bool), mask)
    log = tmp_path / "session" / "log.jsonl"
    assert old in log.read_text()
    log.write_text(log.read_text().replace(old, new))
    with pytest.raises(FileError, match=said):
        read_session(tmp_path / "session")
