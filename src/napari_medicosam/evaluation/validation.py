"""The interactive evaluation as the judge of a training run: few objects, four numbers and a score."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.evaluation.interactive import POOL_BYTES, evaluate, memory_store
from napari_medicosam.evaluation.pictures import draw_annotations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medicosam.evaluation.interactive import InteractiveSettings
    from napari_medicosam.io.samples import Sample
    from napari_medicosam.weights.loading import LoadedModel


class InteractiveValidator:
    """Simulated annotation on validation samples, the same objects and clicks at each call.

    Args:
        samples: of one or more data sets.
        settings: of the evaluation; `max_objects` keeps it short.
        pictures: folder for a picture of each call, None for none.
    """

    def __init__(
        self, samples: Sequence[Sample], settings: InteractiveSettings, pictures: Path | None = None
    ) -> None:
        self._samples = tuple(samples)
        self._settings = settings
        self._pictures = pictures
        self._pool = MemoryEmbeddingStore(POOL_BYTES)

    def __call__(self, model: LoadedModel, step: int) -> dict[str, float]:
        """Dice as mean over data sets of the mean over objects.

        Returns:
            `score` (mean of the four that follow), `point_start`, `point_end`, `box_start`, `box_end`, and
            `point_end/DATASET`, `box_end/DATASET` for each data set.
        """
        store = memory_store(model, self._pool)
        if self._pictures is not None:
            path = self._pictures / f"step_{step:06}.png"
            draw_annotations(model, self._samples, self._settings, path, store)
        last = self._settings.num_corrections
        dice: dict[tuple[str, int, str], list[float]] = defaultdict(list)
        for score in evaluate(model, self._samples, self._settings, store=store):
            if score.round in (0, last):
                dice[score.start, score.round, score.dataset].append(score.dice)
        numbers: dict[str, float] = {}
        for start in self._settings.starts:
            for name, at_round in (("start", 0), ("end", last)):
                means = [np.mean(values) for (s, r, _), values in dice.items() if (s, r) == (start, at_round)]
                numbers[f"{start}_{name}"] = float(np.mean(means))
        summary = {"score": float(np.mean(list(numbers.values()))), **numbers}
        for (start, at_round, dataset), values in sorted(dice.items()):
            if at_round == last:
                summary[f"{start}_end/{dataset}"] = float(np.mean(values))
        return summary
