import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.object_table import MAX_OBJECT_ID, ObjectRecord, ObjectTable
from napari_medicosam.core.volume_prompts import VolumePoint, VolumePrompts
from napari_medicosam.errors import InputError

ORGAN, TUMOUR, VESSEL = 1, 2, 3
LABELS = np.array([[0, 1, 2], [3, 9, 1]], np.uint16)


def table(**locked):
    made = ObjectTable().with_record(ObjectRecord(1, "liver", ORGAN, is_locked=locked.get("liver", False)))
    made = made.with_record(ObjectRecord(2, "lesion", TUMOUR))
    return made.with_record(ObjectRecord(3, "vein", VESSEL, is_locked=locked.get("vein", False)))


def test_a_table_is_replaced_never_changed():
    old = table()
    new = old.with_record(ObjectRecord(4, "spleen")).with_current(4)
    new = new.with_prompts(4, VolumePrompts((VolumePoint((0, 1, 2), True, 0),)))
    new = new.with_anchors(4, frozenset({SlicePlane(0, 3)}))
    assert 4 not in old.records
    assert old.current == 1
    assert new.record.name == "spleen"
    assert new.prompts_of(4).planes == {SlicePlane(0, 0)}
    assert new.anchors_of(4) == {SlicePlane(0, 3)}
    assert not new.prompts_of(1).all
    with pytest.raises(TypeError):
        new.records[7] = ObjectRecord(7, "x")


def test_agreements_are_forgotten_slice_by_slice_and_with_their_object():
    first, second = SlicePlane(0, 3), SlicePlane(0, 4)
    old = table().with_agreements(2, {first: 0.5, second: 0.9})
    new = old.without_agreement(2, first).without_agreement(1, second)
    assert new.agreements_of(2) == {second: 0.9}
    assert old.agreements_of(2) == {first: 0.5, second: 0.9}
    assert not new.agreements_of(1)
    assert not old.without(2).agreements


def test_without_an_object_another_one_is_current():
    left = (
        table().with_current(3).with_prompts(3, VolumePrompts((VolumePoint((0, 1, 2), True, 0),))).without(3)
    )
    assert left.current == 2
    assert not left.prompts_of(3).all
    assert left.without(1).without(2) == ObjectTable()
    with pytest.raises(InputError, match="no object 8: wanted one of 1, 2, 3"):
        table().without(8)


def test_ids_are_those_of_a_label_map():
    with pytest.raises(InputError, match="objects 1 to 65535, got 65536"):
        table().with_record(ObjectRecord(MAX_OBJECT_ID + 1, "x"))
    with pytest.raises(InputError, match="got 0"):
        table().with_record(ObjectRecord(0, "x"))


@pytest.mark.parametrize(
    ("policy", "locked", "wanted"),
    [
        (CommitPolicy(), {}, [[1, 0, 1], [0, 0, 0]]),
        (CommitPolicy(overwrite=True), {}, [[1, 1, 1], [1, 1, 1]]),
        (CommitPolicy(overwrite=True), {"vein": True}, [[1, 1, 1], [0, 1, 1]]),
        (CommitPolicy(inside_class=ORGAN), {}, [[0, 1, 1], [0, 0, 1]]),
        (CommitPolicy(inside_class=ORGAN), {"liver": True}, [[0, 0, 1], [0, 0, 0]]),
        (CommitPolicy(overwrite=True, outside_class=ORGAN), {}, [[1, 0, 1], [1, 1, 0]]),
    ],
)
def test_where_an_object_may_be_written(policy, locked, wanted):
    got = policy.writable(LABELS, table(**locked), object_id=2)
    assert got.astype(int).tolist() == wanted


def test_inside_and_outside_exclude_each_other():
    with pytest.raises(InputError, match="inside a class or outside one, got 1 and 2"):
        CommitPolicy(inside_class=1, outside_class=2)
