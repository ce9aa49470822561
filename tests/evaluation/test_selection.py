import pytest
from evaluation_helpers import MemorySample

from napari_medicosam.errors import InputError
from napari_medicosam.evaluation.selection import by_dataset, plan


def chosen(tasks):
    return [(task.sample.sample_id, task.objects) for task in tasks]


def samples(*counts):
    return [MemorySample(f"{n:03}", num_objects=count) for n, count in enumerate(counts)]


def test_without_a_limit_everything_in_order():
    found = list(plan(samples(1, 0, 3), None))
    assert chosen(found) == [("000", (0,)), ("001", ()), ("002", (0, 1, 2))]
    assert [task.index for task in found] == [0, 1, 2]


def test_a_limit_is_shared_by_the_images_and_reached():
    many = samples(*[4] * 10)
    found = chosen(plan(many, 12))
    assert sum(len(objects) for _, objects in found) == 12
    assert [len(objects) for _, objects in found] == [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert {name for name, _ in found} == {sample.sample_id for sample in many}
    assert [name for name, _ in found] != sorted(name for name, _ in found)
    assert len({objects for _, objects in found}) > 2, "always the same objects would be a biased choice"
    assert found == chosen(plan(many, 12))


def test_what_few_objects_leave_over_goes_to_the_next_images():
    found = chosen(plan(samples(1, 9, 1, 9), 12))
    assert sum(len(objects) for _, objects in found) >= 10
    assert sum(len(objects) for _, objects in chosen(plan(samples(1, 1), 12))) == 2
    few = samples(*[1] * 10)
    assert len(chosen(plan(few, 3))) == 3
    assert sum(sample.loads for sample in few) == 3


@pytest.mark.parametrize("limit", [None, 9])
def test_finished_images_count_and_are_not_loaded(limit):
    whole = chosen(plan(samples(1, 5, 3, 7), limit))
    for kept in range(len(whole) + 1):
        again = samples(1, 5, 3, 7)
        finished = {name: len(objects) for name, objects in whole[:kept]}
        assert chosen(plan(again, limit, finished)) == whole[kept:]
        assert {sample.sample_id for sample in again if sample.loads} == {name for name, _ in whole[kept:]}


def test_data_sets_are_told_apart():
    mixed = [MemorySample("b"), MemorySample("a", "other"), MemorySample("a")]
    found = by_dataset(mixed)
    assert {name: [s.sample_id for s in of] for name, of in found.items()} == {
        "discs": ["a", "b"],
        "other": ["a"],
    }
    with pytest.raises(InputError, match="'discs' holds 'b' twice"):
        by_dataset([*mixed, MemorySample("b")])
