"""Which objects of which images are evaluated: a choice that is the same in every run and for every model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_medicosam.io.samples import AnnotatedImage, Sample


@dataclass(frozen=True, slots=True, eq=False)
class ImageTask:
    """One image and the objects on it that are to be annotated.

    Attributes:
        sample: where it comes from.
        index: place of the image among those of its data set, by sample id: its slice in an embedding store.
        image: pixels and objects.
        objects: places of the chosen ones in `image.objects`, ascending.
    """

    sample: Sample
    index: int
    image: AnnotatedImage
    objects: tuple[int, ...]


def seeded_generator(*parts: str | int) -> np.random.Generator:
    """A generator that depends on these values alone, the same in every process and on every machine."""
    return np.random.default_rng(int.from_bytes(_digest(parts), "little"))


def by_dataset(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples by the name of their data set, data sets in the order met, samples by id.

    Raises:
        InputError: when a data set holds one sample id twice, so that scores could not be told apart.
    """
    datasets: dict[str, dict[str, Sample]] = {}
    for sample in samples:
        of_dataset = datasets.setdefault(sample.dataset, {})
        if sample.sample_id in of_dataset:
            raise InputError(
                f"data set {sample.dataset!r} holds {sample.sample_id!r} twice: wanted data sets and their images "
                "to have names of their own; rename one of the folders"
            )
        of_dataset[sample.sample_id] = sample
    return {
        name: [of_dataset[sample_id] for sample_id in sorted(of_dataset)]
        for name, of_dataset in datasets.items()
    }


def plan(
    samples: Sequence[Sample], max_objects: int | None, finished: Mapping[str, int] | None = None
) -> Iterator[ImageTask]:
    """Load the images of one data set one after another and choose their objects.

    With a limit the images come in a shuffled order (the same every time), and each gives at most its share of what
    is left, so that the limit is not used up by the first image with many objects.

    Args:
        samples: of one data set, by id (`by_dataset`).
        max_objects: of the data set together; None for all.
        finished: sample ids of images that are not wanted any more -> number of objects chosen on them then;
            they count and are not loaded.

    Yields:
        A task for every other image until the limit is reached; one without objects for an image that has none.
    """
    finished = finished or {}
    order = list(enumerate(samples))
    if max_objects is not None:
        order.sort(key=lambda pair: _digest(("order", pair[1].dataset, pair[1].sample_id)))
    left = max_objects
    for place, (index, sample) in enumerate(order):
        share = None if left is None else -(-left // (len(order) - place))
        if share == 0:
            return
        num_chosen = finished.get(sample.sample_id)
        if num_chosen is None:
            image = sample.load()
            chosen = _choose(sample, len(image.objects), share)
            yield ImageTask(sample, index, image, chosen)
            num_chosen = len(chosen)
        left = None if left is None else left - num_chosen


def _choose(sample: Sample, num_objects: int, at_most: int | None) -> tuple[int, ...]:
    numbers = range(num_objects)
    if at_most is None or num_objects <= at_most:
        return tuple(numbers)
    shuffled = sorted(numbers, key=lambda n: _digest(("object", sample.dataset, sample.sample_id, n)))
    return tuple(sorted(shuffled[:at_most]))


def _digest(parts: Sequence[str | int]) -> bytes:
    # not hash(): it differs from process to process
    return hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=16).digest()
