"""How much better or worse a model is than another on the same objects, and how sure that is.

A data set counts once, as in every other mean. Images are drawn anew within their data sets: objects of one image, and
clicks on one object, are not independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIANT = ("model", "mask_prompt", "zoom")
"""What tells one way of segmenting from another."""

NUM_SAMPLES = 2000
"""Bootstrap samples; the ends of the interval differ by a few hundredths of its width from seed to seed."""

_QUESTION = ["mask_prompt", "zoom", "dataset", "image", "object", "seed", "start", "round"]
_MEASURED = ("datasets", "images", "objects", "reference", "dice", "difference", "low", "high")


def paired_differences(rows: pd.DataFrame, reference: str | None) -> pd.DataFrame:
    """Differences of Dice to one model, on what both were asked.

    Args:
        rows: one a mask, with the columns of `ObjectScore`.
        reference: name of the model; None gives an empty table.

    Returns:
        For every other model and variant a line a start and round (`what`: "box", "box 2", ...) and one for all masks
        ("all"): numbers of `datasets`, `images` and `objects`; means of Dice over data sets of the `reference`
        (`dice` of the model), their `difference`, and its 2.5 % and 97.5 % quantiles (`low`, `high`) over bootstrap
        samples of images. The same for the same rows.
    """
    lines = []
    if reference is not None:
        theirs = rows[rows["model"] == reference][[*_QUESTION, "dice"]]
        pairs = rows[rows["model"] != reference].merge(theirs, on=_QUESTION, suffixes=("", "_reference"))
        for variant, of_variant in pairs.groupby(list(VARIANT), sort=False):
            for (start, number), masks in of_variant.groupby(["start", "round"], sort=False):
                lines.append((*variant, f"{start} {number}" if number else start, *_compared(masks)))
            lines.append((*variant, "all", *_compared(of_variant)))
    return pd.DataFrame(lines, columns=[*VARIANT, "what", *_MEASURED])


def _compared(pairs: pd.DataFrame) -> tuple[float, ...]:
    rng = np.random.default_rng(0)
    totals: NDArray[np.float64] = np.zeros(NUM_SAMPLES)
    pairs = pairs.assign(difference=pairs["dice"] - pairs["dice_reference"])
    by_dataset = pairs.groupby("dataset", sort=False)
    for _, masks in by_dataset:
        of_image = masks.groupby("image")["difference"].agg(["sum", "size"]).to_numpy(np.float64)
        count = len(of_image)
        drawn = rng.multinomial(count, np.full(count, 1 / count), NUM_SAMPLES) @ of_image
        totals += drawn[:, 0] / drawn[:, 1]
    means = by_dataset[["dice_reference", "dice", "difference"]].mean().mean()
    num_datasets = by_dataset.ngroups
    low, high = np.quantile(totals / num_datasets, (0.025, 0.975))
    images = pairs.drop_duplicates(["dataset", "image"])
    objects = pairs.drop_duplicates(["dataset", "image", "object"])
    return num_datasets, len(images), len(objects), *means, low, high
