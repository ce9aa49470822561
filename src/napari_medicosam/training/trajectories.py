"""One object on its way through the rounds of Algorithm 1: what was clicked, what the model answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.prompts import PointPrompt
from napari_medicosam.core.simulated_prompts import draw_correction, jittered_box, random_point, tight_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medicosam.core.prompts import BoxPrompt
    from napari_medicosam.training.config import ObjectiveConfig
    from napari_medicosam.training.views import TrainingView

_DRAW_OBJECTS, _DRAW_CLICKS, _DRAW_STEP = 11, 12, 13
REFERENCE_OUTWARD = 0.025
"""The reference code pushes box sides outward by up to this share of their length."""


@dataclass(slots=True, eq=False)
class Trajectory:
    """The state of one object.

    Attributes:
        truth: bool (rows, columns), at the input size without padding.
        rng: its own generator: what is drawn for one object does not depend on the others, nor on which process has it.
        points, box: the prompts so far; points add up, the box stays.
        mask_prompt: low-res logits (h, w) that go back in the next round, or None.
    """

    truth: NDArray[np.bool_]
    rng: np.random.Generator
    points: list[PointPrompt] = field(default_factory=list)
    box: BoxPrompt | None = None
    mask_prompt: Tensor | None = None

    @property
    def is_ambiguous(self) -> bool:
        """True for a single positive point: the three-mask head is asked. A mask prompt beside it (there is one only in
        the reference variant) changes nothing.
        """  # noqa: D205
        return len(self.points) == 1 and self.box is None

    def start(self, config: ObjectiveConfig, with_box: bool) -> None:
        """Lines 7-11: a box or a random point."""
        if not with_box:
            self.points.append(random_point(self.truth, self.rng))
            return
        outward = REFERENCE_OUTWARD if config.variant == "reference" else config.box_outward
        if outward or config.box_inward:
            self.box = jittered_box(self.truth, self.rng, outward, config.box_inward)
        else:
            self.box = tight_box(self.truth)

    def correct(self, mask: NDArray[np.bool_], config: ObjectiveConfig) -> None:
        """Lines 23-24: clicks on what was missed and on what is too much."""
        count = config.clicks[int(self.rng.integers(len(config.clicks)))]
        wrong = np.argwhere(self.truth ^ mask) if config.click_rule == "errors" else ()
        if len(wrong):
            for y, x in wrong[self.rng.integers(len(wrong), size=count)].tolist():
                self.points.append(PointPrompt((y, x), positive=bool(self.truth[y, x])))
            return
        clicks = draw_correction(self.truth, mask, self.rng, count)
        self.points.extend(clicks[:count] if config.click_rule == "errors" else clicks)


def plan_trajectories(
    views: Sequence[TrainingView], places: Sequence[int], step: int, config: ObjectiveConfig, seed: int
) -> list[list[Trajectory]]:
    """Draw the objects of a step and start each with its first prompt (lines 2 and 5-11).

    Args:
        views: the images of one process.
        places: their places in the run (`Draw.place`): every draw is seeded with them.
        step: number of the optimizer step.
        config: how many objects, which starts.
        seed: of the run.

    Returns:
        Trajectories for each image, at most `num_objects`, none for a view without objects.
    """
    limit = config.num_objects
    if config.variant == "reference":
        limit = min(limit, min((len(view.masks) for view in views if len(view.masks)), default=limit))
    planned: list[list[Trajectory]] = []
    for view, place in zip(views, places, strict=True):
        chosen = np.random.default_rng([seed, _DRAW_OBJECTS, place]).permutation(len(view.masks))[:limit]
        trajectories = []
        for number in chosen.tolist():
            rng = np.random.default_rng([seed, _DRAW_CLICKS, place, number])
            trajectory = Trajectory(view.masks[number], rng)
            with_box = (
                step % 2 == 1 if config.variant == "reference" else rng.random() < config.box_probability
            )
            trajectory.start(config, with_box)
            trajectories.append(trajectory)
        planned.append(trajectories)
    return planned


def draws_mask_for_step(step: int, config: ObjectiveConfig, seed: int) -> bool:
    """The reference code draws once a step whether all objects get their last logits back."""
    return bool(np.random.default_rng([seed, _DRAW_STEP, step]).random() < config.mask_probability)
