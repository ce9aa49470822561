"""Masks that other objects, locks or Overlap keep out: the user is told why so little is to be seen."""

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy


@pytest.fixture
def liver(make_session):
    _, session = make_session()
    session.change_object(1, name="liver", class_id=1)
    session.add_box(3, (5, 5, 25, 25))
    session.new_object()
    return session


def test_a_click_in_a_finished_object_names_it_once(liver, notices):
    liver.add_point((3, 5, 10))  # five by five pixels, of which three rows are in it
    assert notices == [
        "info: Most of this mask lies in 'liver': click its row to correct that one, or set Overlap (in More settings) "
        "to take it from it"
    ]
    liver.add_point((3, 6, 10))
    assert len(notices) == 1
    liver.add_point((3, 30, 30))  # most of it is in the open now
    liver.add_box(3, (10, 10, 20, 20))
    assert len(notices) == 2


def test_a_lock_and_the_policy_are_named(liver, notices):
    liver.change_object(1, is_locked=True)
    liver.add_point((3, 15, 15))
    liver.clear_prompts()
    liver.commit_policy = CommitPolicy(inside_class=4)
    liver.add_point((3, 30, 30))
    assert [one.split(": ")[1] for one in notices] == [
        "Most of this mask lies in 'liver', which is locked",
        "Most of this mask lies where Overlap lets the object take nothing",
    ]


def test_nothing_is_said_where_the_object_is_as_it_was_meant(liver, notices):
    liver.add_point((3, 27, 10))
    liver.add_point((3, 4, 30))
    liver.commit_policy = CommitPolicy(overwrite=True)
    liver.add_point((3, 15, 15))
    assert np.count_nonzero(liver.label_map() == 2) == 75
    assert not notices
