"""What a model finds on a few objects, as pictures that people can judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from napari_medicosam.core.metrics import dice
from napari_medicosam.evaluation.interactive import annotate_object, make_service
from napari_medicosam.evaluation.selection import by_dataset, plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.evaluation.interactive import InteractiveSettings
    from napari_medicosam.io.samples import Sample
    from napari_medicosam.weights.loading import LoadedModel

_SIDE = 192
_CAPTION = 14
_TRUTH, _FOUND = (0, 158, 115), (230, 159, 0)
"""Colours that people with any colour vision can tell apart."""


def draw_annotations(
    model: LoadedModel,
    samples: Sequence[Sample],
    settings: InteractiveSettings,
    path: Path,
    store: EmbeddingStore,
) -> None:
    """A PNG with one row an object, one of each data set: the truth, then what is found from each start, after the
    first prompt and after all corrections, with its Dice.

    Args:
        model: that is asked.
        samples: of one or more data sets; ids stay out of the picture, data sets' names are in it.
        settings: as for `evaluate`.
        path: written anew.
        store: of embeddings, for this model.
    """  # noqa: D205
    service = make_service(model, store, settings)
    rows = []
    for dataset, of_dataset in by_dataset(samples).items():
        task = next((task for task in plan(of_dataset, 1) if task.objects), None)
        if task is None:
            continue
        number = task.objects[0]
        truth = task.image.objects[number].in_slice(task.image.size_yx)
        tiles = [_tile(task.image.image, truth, _TRUTH, dataset)]
        for start in settings.starts:
            masks = annotate_object(service, task, settings, number, start)
            for when, mask in (("first", masks[0]), (f"+{settings.num_corrections}", masks[-1])):
                caption = f"{start}, {when}: {dice(mask, truth):.2f}"
                tiles.append(_tile(task.image.image, mask, _FOUND, caption))
        rows.append(np.concatenate(tiles, axis=1))
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows, axis=0)).save(path)


def _tile(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int], caption: str
) -> NDArray[np.uint8]:
    """uint8 (side + caption, side, 3): the image with the mask's outline, its caption below."""
    rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    scale = _SIDE / max(mask.shape)
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    shown = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    resized = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    shown[find_boundaries(resized, mode="inner")] = colour
    tile = Image.new("RGB", (_SIDE + 2, _SIDE + _CAPTION + 2))
    tile.paste(Image.fromarray(shown), (0, 0))
    ImageDraw.Draw(tile).text((2, _SIDE), caption, fill=(255, 255, 255))
    return np.asarray(tile)
