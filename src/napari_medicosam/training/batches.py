"""Which images a step sees: drawn from the step's number alone, so that a resumed run goes on exactly."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Dataset

from napari_medicosam.errors import TrainingError
from napari_medicosam.training.views import TrainingView, make_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.io.samples import AnnotatedImage, Sample
    from napari_medicosam.training.config import DataConfig

_DRAW_ORDER, _DRAW_VIEW, _DRAW_BALANCE = 1, 2, 3
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Draw:
    """One image of one step: sample number, version of its augmentation, and its place among all draws of the run."""

    sample: int
    variant: int
    place: int


class BalancedDraws:
    """An endless sequence of draws over several data sets, the same for the same seed.

    Each data set is walked through in a shuffled order, shuffled anew each time around, so no image comes twice before
    all of its data set have come once. Which data set comes next is drawn with weight size^(1 - balance).

    Args:
        samples: all training samples.
        balance: 0 draws images alike, 1 data sets alike.
        seed: of the run.
        variants: augmented versions an image has; None: endless.
        modality_balance: None: modalities do not count. Else a modality is drawn first, with weight
            size^(1 - modality_balance), then one of its data sets as above.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        balance: float,
        seed: int,
        variants: int | None,
        modality_balance: float | None = None,
    ) -> None:
        groups: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, sample in enumerate(samples):
            groups["" if modality_balance is None else sample.modality, sample.dataset].append(number)
        if not groups:
            raise TrainingError("there is nothing to train on: the data folders hold no usable image")
        self._members = [groups[key] for key in sorted(groups)]
        sizes = np.array([len(members) for members in self._members], dtype=np.float64)
        weights = sizes ** (1 - balance)
        if modality_balance is not None:
            modalities = np.array([modality for modality, _ in sorted(groups)])
            for modality in np.unique(modalities):
                same = modalities == modality
                weights[same] *= sizes[same].sum() ** (1 - modality_balance) / weights[same].sum()
        self._shares = weights / weights.sum()
        self._seed = seed
        self._variants = variants
        self._counts = [np.zeros(len(weights), dtype=np.int64)]
        self._last_block = (-1, np.zeros(0, dtype=np.int64))
        self._orders: dict[tuple[int, int], NDArray[np.int64]] = {}

    def __getitem__(self, place: int) -> Draw:
        """The draw with this number, 0 or more."""
        number, inside = divmod(place, _BLOCK)
        while len(self._counts) <= number:
            chosen = self._block(len(self._counts) - 1)
            self._counts.append(self._counts[-1] + np.bincount(chosen, minlength=len(self._shares)))
        block = self._block(number)
        which = int(block[inside])
        before = int(self._counts[number][which] + np.count_nonzero(block[:inside] == which))
        around, position = divmod(before, len(self._members[which]))
        sample = self._members[which][self._order(which, around)[position]]
        return Draw(sample, around if self._variants is None else around % self._variants, place)

    def _block(self, number: int) -> NDArray[np.int64]:
        """Data sets of `_BLOCK` draws; chosen by the block, so the choice does not depend on who asked before."""
        if self._last_block[0] != number:
            rng = np.random.default_rng([self._seed, _DRAW_BALANCE, number * _BLOCK])
            self._last_block = number, rng.choice(len(self._shares), size=_BLOCK, p=self._shares)
        return self._last_block[1]

    def _order(self, which: int, around: int) -> NDArray[np.int64]:
        """Of a data set, the n-th time around; the last few are kept."""
        if (which, around) not in self._orders:
            if len(self._orders) >= 4 * len(self._members):
                self._orders.clear()
            rng = np.random.default_rng([self._seed, _DRAW_ORDER, which, around])
            self._orders[which, around] = rng.permutation(len(self._members[which]))
        return self._orders[which, around]


@dataclass(frozen=True, slots=True)
class InputSides:
    """Sides of the model's square input in pixels: `small` during the first `small_steps`, then `full`."""

    full: int
    batch_size: int
    small: int | None = None
    small_steps: int = 0

    def at_step(self, step: int) -> int:
        """In optimizer step `step`, from 0."""
        return self.small if self.small is not None and step < self.small_steps else self.full

    def at_place(self, place: int) -> int:
        """Of the draw with this number."""
        return self.at_step(place // self.batch_size)


class ViewDataset(Dataset[tuple[Draw, TrainingView]]):
    """Draws to views; read by worker processes when the config asks for some.

    Args:
        samples: all training samples.
        draws: their order.
        config: augmentation, smallest object.
        sides: the model's input size at each step.
        seed: of the run.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        draws: BalancedDraws,
        config: DataConfig,
        sides: InputSides,
        seed: int,
    ) -> None:
        self._samples = tuple(samples)
        self._draws = draws
        self._config = config
        self._sides = sides
        self._seed = seed
        self._images = _ImageCache()

    def __getitem__(self, place: int) -> tuple[Draw, TrainingView]:
        """The view of the draw with this number."""
        draw = self._draws[place]
        sample = self._samples[draw.sample]
        # Not the place: an image's n-th version is the same whenever it comes, so its embedding can be stored.
        rng = np.random.default_rng([self._seed, _DRAW_VIEW, draw.sample, draw.variant])
        annotated = self._images.load(draw.sample, sample)
        side = self._sides.at_place(place)
        view = make_view(annotated, side, self._config.augmentation, rng, self._config.min_pixels)
        return draw, view


class _ImageCache:
    """Decoded images, the ones used longest ago dropped, so that nothing is decoded twice while it fits."""

    def __init__(self, max_bytes: int = 2 * 2**30) -> None:
        self._max_bytes = max_bytes
        self._images: dict[int, AnnotatedImage] = {}
        self._num_bytes = 0

    def load(self, number: int, sample: Sample) -> AnnotatedImage:
        annotated = self._images.pop(number, None)
        if annotated is None:
            annotated = sample.load()
            self._num_bytes += _bytes_of(annotated)
        self._images[number] = annotated
        while self._num_bytes > self._max_bytes and len(self._images) > 1:
            self._num_bytes -= _bytes_of(self._images.pop(next(iter(self._images))))
        return annotated


def _bytes_of(annotated: AnnotatedImage) -> int:
    return annotated.image.nbytes + sum(one.pixels.nbytes for one in annotated.objects)


class Places:
    """A sampler for torch's loader: the places of one process, from a step on, without end.

    Args:
        first_step: the step that comes next.
        batch_size: images a step over all processes; divisible by `world_size`.
        rank, world_size: this process, and how many there are.
    """

    def __init__(self, first_step: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size % world_size:
            raise TrainingError(f"batch_size {batch_size} cannot be divided among {world_size} processes")
        self._first = first_step
        self._batch_size = batch_size
        self._share = batch_size // world_size
        self._rank = rank

    def __iter__(self) -> Iterator[list[int]]:
        """Lists of places, one a step."""
        step = self._first
        while True:
            first = step * self._batch_size + self._rank * self._share
            yield list(range(first, first + self._share))
            step += 1
