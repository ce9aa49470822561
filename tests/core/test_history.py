import pytest

from napari_medicosam.core import history
from napari_medicosam.core.history import History


class Kept:
    """A value in a list, with the one that is not there now."""

    def __init__(self, where, value, num_bytes=1):
        self.where, self.value, self.num_bytes = where, value, num_bytes

    def swap(self):
        self.where[0], self.value = self.value, self.where[0]


def change(done, where, value):
    step = done.begin("change", 1)
    step.swaps["value"] = Kept(where, where[0])
    where[0] = value
    return step


def test_back_and_forth_gives_every_state_again():
    done, where = History(), [0]
    for value in (1, 2, 3):
        change(done, where, value)
    assert [(done.undo(), where[0])[1] for _ in range(3)] == [2, 1, 0]
    assert done.undo() is None
    assert [(done.redo(), where[0])[1] for _ in range(3)] == [1, 2, 3]
    assert done.redo() is None


def test_a_new_step_ends_what_could_be_done_again():
    done, where = History(), [0]
    change(done, where, 1)
    done.undo()
    change(done, where, 5)
    assert done.redo() is None
    done.undo()
    assert where[0] == 0


def test_changes_of_one_thing_within_a_step_are_taken_back_in_reverse():
    done, where = History(), ["a"]
    step = done.begin("twice", 1)
    for key, value in (("first", "b"), ("second", "c")):
        step.swaps[key] = Kept(where, where[0])
        where[0] = value
    done.undo()
    assert where == ["a"]
    done.redo()
    assert where == ["c"]


def test_the_oldest_steps_are_forgotten(monkeypatch):
    monkeypatch.setattr(history, "MAX_STEPS", 4)
    done, where = History(), [0]
    for value in range(1, 8):
        change(done, where, value)
    while done.undo():
        pass
    assert where[0] == 3


@pytest.mark.parametrize(("size", "left"), [(10, 3), (40, 1)])
def test_memory_is_bounded_but_the_newest_step_stays(monkeypatch, size, left):
    monkeypatch.setattr(history, "MAX_BYTES", 35)
    done, where = History(), [0]
    for value in range(6):
        step = done.begin("change", 1)
        step.swaps["value"] = Kept(where, value, size)
        done.trim()
    assert len(done.done) == left


def test_a_step_that_changed_nothing_can_be_forgotten():
    done, where = History(), [0]
    change(done, where, 1)
    done.discard(done.begin("nothing", 1))
    done.undo()
    assert where[0] == 0
