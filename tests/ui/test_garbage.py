"""No search for garbage while all that is made stays."""

from __future__ import annotations

import gc

import pytest

from napari_medicosam.ui.garbage import nothing_collected


@pytest.fixture(autouse=True)
def as_before():
    gc.unfreeze()
    gc.enable()
    yield
    gc.enable()


def searches(act):
    seen = []
    gc.callbacks.append(lambda phase, info: seen.append(info["generation"]))
    try:
        act()
    finally:
        gc.callbacks.pop()
    return seen


def many():
    return [[] for _ in range(50_000)]


def test_nothing_is_searched_meanwhile_and_little_afterwards():
    assert searches(many)
    kept = []

    def make():
        with nothing_collected():
            kept.append(many())

    assert searches(make) == []
    assert gc.isenabled()
    young = {id(one) for generation in (0, 1) for one in gc.get_objects(generation)}
    assert not young & {id(one) for one in kept[0]}


def test_what_others_have_set_stays():
    gc.disable()
    with nothing_collected():
        pass
    assert not gc.isenabled()
    gc.enable()
    gc.freeze()
    try:
        with pytest.raises(ImportError), nothing_collected():
            raise ImportError
        assert gc.isenabled()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()
