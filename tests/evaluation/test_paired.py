from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from evaluation_helpers import score

from napari_medicosam.evaluation.paired import paired_differences


def table(rows):
    return pd.DataFrame([asdict(score(**row)) for row in rows])


def pair(dice, other, **more):
    return [{"model": "ref", "dice": dice} | more, {"model": "new", "dice": other} | more]


def test_differences_are_means_over_data_sets_of_what_both_were_asked():
    rows = table(
        [
            *pair(0.5, 0.6, dataset="x"),
            *pair(0.5, 0.8, dataset="x", image="002"),
            *pair(0.9, 0.8, dataset="y"),
            *pair(0.4, 0.4, dataset="y", round=1),
            {"model": "ref", "dice": 0.0, "dataset": "x", "image": "003"},
            {"model": "new", "dice": 0.0, "dataset": "z"},
        ]
    )
    found = paired_differences(rows, "ref").set_index("what")
    assert list(found.index) == ["box", "box 1", "all"]
    assert found.loc["box", ["reference", "dice", "difference"]].tolist() == pytest.approx([0.7, 0.75, 0.05])
    assert found.loc["box", ["datasets", "images", "objects"]].tolist() == [2, 3, 3]
    assert found.loc["box 1", "difference"] == pytest.approx(0)
    assert found.loc["all", "difference"] == pytest.approx((0.2 - 0.05) / 2)
    assert set(found["model"]) == {"new"}


def test_each_variant_is_held_against_the_same_variant():
    rows = table([*pair(0.5, 0.6), *pair(0.5, 0.9, zoom="auto"), {"model": "new", "mask_prompt": True}])
    found = paired_differences(rows, "ref").set_index(["zoom", "what"])["difference"]
    assert found.to_dict() == pytest.approx(
        {("never", "box"): 0.1, ("never", "all"): 0.1, ("auto", "box"): 0.4, ("auto", "all"): 0.4}
    )
    assert paired_differences(rows, None).empty


@pytest.mark.parametrize("objects", [1, 7])
def test_the_interval_is_that_of_images_however_many_objects_they_have(objects):
    rng = np.random.default_rng(1)
    differences = rng.normal(0.01, 0.05, 40)
    rows = table(
        line
        for image, difference in enumerate(differences)
        for number in range(objects)
        for line in pair(0.5, 0.5 + difference, image=f"{image:03}", object=number)
    )
    found = paired_differences(rows, "ref").iloc[-1]
    deviation = differences.std() / 40**0.5
    assert found["difference"] == pytest.approx(differences.mean())
    assert found["low"] == pytest.approx(differences.mean() - 1.96 * deviation, abs=0.2 * deviation)
    assert found["high"] == pytest.approx(differences.mean() + 1.96 * deviation, abs=0.2 * deviation)
    assert paired_differences(rows, "ref").iloc[-1].equals(found), "the same rows give the same interval"
