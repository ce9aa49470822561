import json
from dataclasses import asdict

import pandas as pd
import pytest
from evaluation_helpers import score

from napari_medicosam.evaluation.report import as_text, dataset_line, summarise, write_report


def table(*rows):
    return pd.DataFrame([asdict(score(**row)) for row in rows])


def many_and_few(model="a", better=0.0):
    """Data set `many` has three objects of Dice 0.9, `few` one of 0.1; after a correction 0.8 and 0.5."""
    return [
        {"model": model, "dataset": dataset, "object": number, "round": n, "dice": dice + better}
        for dataset, count, dices in (("many", 3, (0.9, 0.8)), ("few", 1, (0.1, 0.5)))
        for number in range(count)
        for n, dice in enumerate(dices)
    ]  # fmt: skip


def test_a_data_set_counts_once():
    summary = summarise(table(*many_and_few()))
    assert summary.overall["dice"].tolist() == pytest.approx([0.5, 0.65])
    assert summary.overall["datasets"].tolist() == [2, 2]
    sets = summary.datasets.set_index(["dataset", "round"])
    assert sets["dice"].to_dict() == pytest.approx(
        {("many", 0): 0.9, ("many", 1): 0.8, ("few", 0): 0.1, ("few", 1): 0.5}
    )
    assert sets["objects"].to_dict() == {("many", 0): 3, ("many", 1): 3, ("few", 0): 1, ("few", 1): 1}
    assert summary.overall["dice_std"].isna().all(), "one seed has no deviation"


def test_deviation_is_that_of_means_over_seeds():
    rows = [
        {"dataset": dataset, "object": number, "seed": seed, "dice": dice, "iou": dice / 2}
        for dataset, dices in (("x", ((0.1, 0.3), (0.5, 0.7))), ("y", ((0.4, 0.4), (0.2, 0.2))))
        for seed, of_seed in enumerate(dices)
        for number, dice in enumerate(of_seed)
    ]
    summary = summarise(table(*rows))
    of_x, of_y = summary.datasets.to_dict(orient="records")
    assert (of_x["dice"], of_x["dice_std"]) == pytest.approx((0.4, 0.4 / 2**0.5))
    assert (of_y["dice"], of_y["dice_std"]) == pytest.approx((0.3, 0.2 / 2**0.5))
    assert (of_x["images"], of_x["objects"]) == (1, 2)
    (overall,) = summary.overall.to_dict(orient="records")
    assert (overall["dice"], overall["dice_std"]) == pytest.approx((0.35, 0.1 / 2**0.5))
    assert (overall["iou"], overall["iou_std"]) == pytest.approx((0.175, 0.05 / 2**0.5))


def test_a_modality_is_the_mean_of_its_data_sets():
    rows = [
        {"dataset": dataset, "modality": modality, "object": number, "dice": dice}
        for dataset, modality, dice, count in (
            ("x", "CT", 0.2, 3), ("y", "CT", 0.6, 1), ("z", "MRI", 0.5, 2), ("x", "MRI", 1.0, 1),
        )
        for number in range(count)
    ]  # fmt: skip
    found = summarise(table(*rows)).modalities.set_index("modality")
    assert found["dice"].to_dict() == pytest.approx({"CT": 0.4, "MRI": 0.75})
    assert found["datasets"].to_dict() == {"CT": 2, "MRI": 2}


def test_what_corrections_lose_is_pointed_out():
    rows = [
        {"dataset": dataset, "start": start, "round": n, "dice": dice}
        for dataset, start, dices in (
            ("falls", "point", (0.1, 0.80, 0.9, 0.77)),
            ("falls", "box", (0.9, 0.80, 0.1, 0.79)),
            ("rises", "point", (0.9, 0.20, 0.3, 0.4)),
        )
        for n, dice in enumerate(dices)
    ]
    summary = summarise(table(*rows))
    found = summary.corrections.set_index(["dataset", "start"])
    assert found["holds"].to_dict() == {
        ("falls", "point"): False, ("falls", "box"): True, ("rises", "point"): True,
    }  # fmt: skip
    assert found.loc[("falls", "point"), ["round", "one", "last", "drop"]].tolist() == pytest.approx(
        [3, 0.8, 0.77, 0.03]
    )
    text = as_text(summarise(table(*(row for row in rows if row["dataset"] == "falls"))))
    assert "0.770!" in text
    assert "0.790!" not in text
    assert "! 3 corrections end more than 0.02 below one" in text
    assert "!" not in as_text(summarise(table(*(row for row in rows if row["dataset"] == "rises"))))


def test_without_corrections_there_is_nothing_to_lose():
    summary = summarise(table({"round": 0}))
    assert summary.corrections.empty
    assert as_text(summary).splitlines()[1].split() == ["data", "set", "objects", "box"]


def test_text_has_a_line_a_data_set_and_differences_by_data_set():
    rows = table(*many_and_few("base"), *many_and_few("new", 0.05))
    lines = as_text(summarise(rows, "base")).splitlines()
    assert lines[:5] == [
        "base, without mask prompt, zoom never: Dice",
        "data set   objects    box  box 1",
        "many             3  0.900  0.800",
        "few              1  0.100  0.500",
        "mean of 2           0.500  0.650",
    ]
    assert lines[6] == "new, without mask prompt, zoom never: Dice (difference to base)"
    assert lines[8].split() == ["many", "3", "0.950", "(+0.050)", "0.850", "(+0.050)"]
    assert lines[10].split() == ["mean", "of", "2", "0.550", "(+0.050)", "0.700", "(+0.050)"]
    assert lines[11].startswith("Difference on the 4 objects (2 images) that both were asked about")
    assert lines[12:] == [
        "box    +0.0500  (+0.0500 to +0.0500)",
        "box 1  +0.0500  (+0.0500 to +0.0500)",
        "all    +0.0500  (+0.0500 to +0.0500)",
    ]


def test_means_over_different_data_sets_are_not_compared():
    rows = table(*many_and_few("base"), *(row for row in many_and_few("new") if row["dataset"] == "many"))
    lines = as_text(summarise(rows, "base")).splitlines()
    assert "(+0.000)" in lines[8]
    assert "(" not in lines[9]


def test_variants_are_compared_with_the_same_variant():
    rows = table(
        {"model": "base", "dice": 0.5}, {"model": "base", "zoom": "auto", "dice": 0.6},
        {"model": "new", "zoom": "auto", "dice": 0.9}, {"model": "new", "mask_prompt": True, "dice": 0.1},
    )  # fmt: skip
    text = as_text(summarise(rows, "base"))
    assert "new, without mask prompt, zoom auto: Dice (difference to base)" in text
    assert "0.900 (+0.300)" in text
    assert "0.100 (" not in text


def test_one_line_says_how_all_do_on_a_data_set():
    rows = table(
        *many_and_few("base"), *many_and_few("new", 0.05), {"model": "new", "dataset": "many", "zoom": "auto"}
    )
    line = dataset_line(rows[rows["zoom"] == "never"], "many")
    assert line == "many (1 images, 3 objects): base box 0.900 -> 0.800; new box 0.950 -> 0.850"
    assert dataset_line(rows, "nothing") == "nothing: no objects"


def test_report_on_disk(tmp_path):
    text = write_report(tmp_path, summarise(table(*many_and_few())), {"version": "1"})
    assert (tmp_path / "summary.txt").read_text() == text + "\n"
    content = json.loads((tmp_path / "summary.json").read_text())
    assert list(content) == ["version", "overall", "modalities", "datasets", "corrections", "differences"]
    assert content["differences"] == []
    assert content["overall"][1] == {
        "model": "a", "mask_prompt": False, "zoom": "never", "start": "box", "round": 1, "datasets": 2,
        "dice": pytest.approx(0.65), "iou": 0.4, "surface_distance": 2.0,
        "dice_std": None, "iou_std": None, "surface_distance_std": None,
    }  # fmt: skip
    assert [record["holds"] for record in content["corrections"]] == [True, True]
