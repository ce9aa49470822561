import pytest

from napari_medicosam.core.effort import PAUSE_SECONDS, EffortLog


def test_time_is_that_of_the_object_that_was_worked_on():
    log = EffortLog()
    for object_id, kind, now in (
        (1, "box", 100.0),
        (1, "point", 104.0),
        (2, "box", 109.0),
        (1, "undo", 110.0),
    ):
        log.note(object_id, kind, now)
    assert log.objects[1].seconds == pytest.approx(5)
    assert log.objects[2].seconds == pytest.approx(5)


def test_a_pause_counts_a_little_and_a_rest_not_at_all():
    log = EffortLog()
    log.note(1, "box", 0.0)
    log.note(1, "point", 4000.0)
    assert log.objects[1].seconds == PAUSE_SECONDS
    log.rest()
    log.note(1, "point", 4010.0)
    assert log.objects[1].seconds == PAUSE_SECONDS
    log.note(1, "point", 4000.0)  # a clock that goes back takes nothing away
    assert log.objects[1].seconds == PAUSE_SECONDS


def test_what_was_for_another_object_is_counted_there():
    log = EffortLog()
    log.note(1, "box", 0.0)
    log.note(1, "new", 4.0)
    log.pass_on("new", 1, 2)
    assert (dict(log.objects[1].counts), log.objects[1].seconds) == ({"box": 1}, 4.0)
    assert (dict(log.objects[2].counts), log.objects[2].seconds) == ({"new": 1}, 0.0)


def test_the_table_has_the_same_columns_for_all():
    log = EffortLog()
    log.note(2, "box", 0.0)
    log.note(2, "point", 1.0, is_correction=True)
    log.note(2, "point", 2.0, is_correction=True)
    log.note(1, "paint", 3.0)
    first, second = log.table({1: "liver"})
    assert first == {
        "object_id": 1, "name": "liver", "active_seconds": 1.0, "corrections": 0,
        "box_count": 0, "paint_count": 1, "point_count": 0,
    }  # fmt: skip
    assert (second["name"], second["point_count"], second["corrections"]) == ("", 2, 2)
