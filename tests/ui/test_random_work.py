"""Whatever is done in whatever order: steps back are exact, the user's slices stay, a voxel is in one mask."""

import random

import numpy as np
import pytest

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui.layers import LABELS_NAME, OBJECT_NAME

SHAPE = (6, 14, 16)
POLICIES = CommitPolicy(), CommitPolicy(overwrite=True), CommitPolicy(outside_class=1)


class Work:
    """Random acts on one session, and what has to hold after each."""

    def __init__(self, viewer, session, seed):
        self.viewer, self.session, self.random = viewer, session, random.Random(seed)
        self.states = {}

    @property
    def annotation(self):
        return self.session._layers.annotation

    def state(self):
        masks = tuple(self.viewer.layers[name].data.tobytes() for name in (OBJECT_NAME, LABELS_NAME))
        return self.annotation.table, masks

    def act(self):
        name, act = self.random.choice(list(self.acts().items()))
        locked = {
            one: self.viewer.layers[LABELS_NAME].data == one for one in self.annotation.table.locked_ids
        }
        kept = self.kept_by(name)
        try:
            act()
        except InputError:
            return
        if name not in ("undo", "redo"):
            for object_id, where in locked.items():
                is_locked = object_id in self.annotation.table.locked_ids
                assert not is_locked or np.array_equal(self.labels == object_id, where), name
        for (object_id, plane), mask in kept.items():
            np.testing.assert_array_equal(self.annotation.mask_of(object_id, plane), mask, f"{name} {plane}")
        self.check(name)

    def acts(self):
        session, pick = self.session, self.random.choice
        axis = session._layers.axis()
        rows, columns = SlicePlane(axis, 0).size_yx(SHAPE)
        where = [self.random.randrange(size) for size in SHAPE]
        y, x = self.random.randrange(rows - 3), self.random.randrange(columns - 3)
        return {
            "another plane": lambda: setattr(
                self.viewer.dims, "order", pick([(0, 1, 2), (1, 0, 2), (2, 0, 1)])
            ),
            "box": lambda: session.add_box(where[axis], (y, x, rows - 1, columns - 1)),
            "point": lambda: session.add_point(tuple(where), pick([True, True, False])),
            "remove": lambda: session.remove_prompt(pick([*session.prompts.all, None])),
            "clear": session.clear_prompts,
            "paint": lambda: self.viewer.layers[OBJECT_NAME].paint(tuple(where), pick([0, 1])),
            "paint labels": lambda: self.viewer.layers[LABELS_NAME].paint(
                tuple(where), pick([0, *self.annotation.table.records])
            ),
            "propagate": lambda: session.propagate(
                pick(["both", "up", "down"]),
                objects=pick(["current", "all"]),
                iou_threshold=0,
                min_confidence=0,
            ),
            "interpolate": session.interpolate,
            "commit": session.commit,
            "new": lambda: session.new_object(class_id=pick([None, 1])),
            "select": lambda: session.select(pick(list(self.annotation.table.records))),
            "lock": lambda: session.change_object(
                pick(list(self.annotation.table.records)), is_locked=pick([True, False, False])
            ),
            "delete": session.delete_object,
            "clean up": lambda: session.clean_up(largest_component=True),
            "policy": lambda: setattr(session, "commit_policy", pick(POLICIES)),
            "undo": session.undo,
            "redo": session.redo,
        }

    @property
    def labels(self):
        return self.viewer.layers[LABELS_NAME].data

    def kept_by(self, name):
        """Masks of the user's slices that an act may not change."""
        annotation = self.annotation
        if name not in ("box", "point", "remove", "propagate", "interpolate") or annotation.policy.overwrite:
            return {}
        axis = self.session._layers.axis()
        return {
            (object_id, plane): annotation.mask_of(object_id, plane)
            for object_id in annotation.table.records
            for plane in annotation.user_planes_of(object_id)
            if name in ("propagate", "interpolate") or object_id != annotation.object_id or plane.axis != axis
        }

    def check(self, name):
        annotation, edited = self.annotation, self.viewer.layers[OBJECT_NAME].data
        current = annotation.table.record
        assert set(np.unique(edited)) <= {0, current.object_id}, name
        assert not edited.any() if current.is_committed else not (self.labels == current.object_id).any(), (
            name
        )
        counts = np.bincount(self.labels.ravel(), minlength=1000)
        assert {one.object_id: one.num_voxels for one in self.session.objects} == {
            one.object_id: counts[one.object_id] for one in self.session.objects
        }, name
        steps = tuple(annotation.history.done)  # held, so that no other step is ever taken for one of them
        if name in ("undo", "redo"):
            assert self.states.get(steps, self.state()) == self.state(), name
        self.states[steps] = self.state()


@pytest.mark.parametrize("seed", [1, 2])
def test_sixty_random_acts(make_session, service, seed):
    service.segment_many = lambda requests: [service.segment(request) for request in requests]
    viewer, session = make_session(np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8))
    session.add_box(2, (3, 3, 9, 9))
    work = Work(viewer, session, seed)
    work.check("box")
    for _ in range(60):
        work.act()
    while session.can_undo:
        session.undo()
        work.check("undo")
    while session.can_redo:
        session.redo()
        work.check("redo")
