"""Figures are drawn from what is there, and show the numbers that were measured."""

import itertools
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.evaluation import figures
from napari_medicosam.evaluation.figure_data import (
    by_object_share,
    calibration,
    difference,
    overall,
    per_dataset,
    prepare_scores,
)
from napari_medicosam.evaluation.figures import FIGURES, draw_figures
from napari_medicosam.io.figure_style import STYLE

ALL = [
    "corrections_bars", "corrections_curves", "corrections_surface_distance", "datasets", "difference_to_base",
    "seeds", "mask_prompt", "zoom_datasets", "zoom_object_size", "object_size", "calibration",
]  # fmt: skip


def make_rows(models=("base", "better"), num_objects=3, num_rounds=3, **choices):
    """Scores of everything with everything, drawn from a fixed seed."""
    options = {
        "dataset": ("one", "two"), "seed": (0, 1), "start": ("point", "box"), "mask_prompt": (False, True),
        "zoom": ("never", "auto"),
    } | choices  # fmt: skip
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        itertools.product(models, range(num_objects), range(num_rounds), *options.values()),
        columns=["model", "object", "round", *options],
    )
    rows["image"] = "001"
    rows["modality"] = rows["dataset"].map({"one": "CT"}).fillna("")
    rows["object_share"] = 10.0 ** -(1 + rows["object"])
    rows["dice"] = rng.uniform(0.3, 0.9, len(rows))
    rows["iou"] = rows["dice"] / (2 - rows["dice"])
    rows["iou_prediction"] = rows["iou"] + rng.normal(0, 0.1, len(rows))
    rows["surface_distance"] = 30 * (1 - rows["dice"])
    return rows


def few(**columns):
    """Rows with the columns that are needed; scalars stand for every row."""
    defaults = {
        "model": "m",
        "dataset": "d",
        "image": "i",
        "object": 0,
        "seed": 0,
        "start": "box",
        "round": 0,
    }
    return pd.DataFrame(defaults | columns)


def names(paths):
    assert [path.suffix for path in paths] == [".png", ".svg"] * (len(paths) // 2)
    return [path.stem for path in paths[::2]]


def figure_of(name, rows):
    with mpl.rc_context(STYLE):
        figure = FIGURES[name](prepare_scores(rows))
        figure.set_dpi(60)
        FigureCanvasAgg(figure).draw()
    return figure


def pixels(figure):
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.fixture(scope="module")
def all_figures(tmp_path_factory):
    return draw_figures(make_rows(), tmp_path_factory.mktemp("figures") / "made")


def test_overall_value_is_the_mean_over_data_sets_of_the_mean_over_objects():
    rows = few(dataset=["a", "a", "a", "b"], object=[0, 1, 2, 0], dice=[0.2, 0.4, 0.6, 0.8])
    assert overall(rows, ["model"]).loc["m", "mean"] == pytest.approx(0.6)  # 0.5 were the mean over objects
    assert overall(rows, ["model"]).loc["m", "deviation"] == 0


def test_deviation_is_over_seeds_of_the_overall_value_and_only_over_seeds_that_are_complete():
    rows = few(dataset=["a", "b"] * 2, seed=[0, 0, 1, 1], dice=[0.2, 0.6, 0.4, 0.8])  # 0.4 and 0.6
    found = overall(rows, ["model"]).loc["m"]
    assert found["mean"] == pytest.approx(0.5)
    assert found["deviation"] == pytest.approx(np.std([0.4, 0.6], ddof=1))
    with_third_seed = pd.concat([rows, few(dataset=["a"], seed=2, dice=0.9)])
    assert overall(with_third_seed, ["model"]).loc["m", "deviation"] == pytest.approx(found["deviation"])


def test_models_are_compared_on_what_all_of_them_were_asked():
    rows = few(model=["a", "a", "b"], object=[0, 1, 0], dice=[0.5, 0.9, 0.6])
    scores = prepare_scores(rows)
    assert overall(scores.main, ["model"])["mean"].tolist() == [0.5, 0.6]
    assert scores.describe().startswith("1 data set, 1 object, 1 seed; zoom never")
    assert "1 objects that not every model has are left out" in scores.describe()
    only_one_has_points = pd.concat(
        [few(model=["a", "b"], dice=0.5), few(model=["a"], start="point", dice=0.5)]
    )
    assert len(prepare_scores(only_one_has_points).main) == 3


def test_setting_that_most_models_share_is_compared():
    rows = make_rows(num_rounds=1)
    assert prepare_scores(rows).main_setting == ("auto", False)
    without_auto = rows[(rows["model"] == "better") | (rows["zoom"] == "never")]
    assert prepare_scores(without_auto).main_setting == ("never", False)
    assert prepare_scores(rows.astype({"model": "category", "zoom": "category"})).main_setting == (
        "auto",
        False,
    )


def test_difference_to_the_reference_by_data_set():
    rows = few(
        model=["a", "a", "a", "a", "b", "b", "b", "b"], dataset=["x", "x", "y", "y"] * 2, round=[0, 1] * 4,
        dice=[0.1, 0.2, 0.3, 0.4, 0.2, 0.4, 0.3, 0.3],
    )  # fmt: skip
    found = difference(per_dataset(rows, "model", 1), "model", "a").set_index(["dataset", "when"])["dice"]
    assert found.round(6).to_dict() == {
        ("x", "first"): 0.1, ("x", "last"): 0.2, ("y", "first"): 0.0, ("y", "last"): -0.1,
    }  # fmt: skip


def test_objects_are_binned_by_their_share_of_the_image():
    rows = few(object=range(4), object_share=[0.0005, 0.001, 0.3, 0.0011], dice=[0.2, 0.4, 0.9, 0.5])
    found = by_object_share(rows, "model", 0).set_index("bin")
    assert found["count"].to_dict() == {0: 2, 1: 1, 6: 1}
    assert found["mean"].tolist() == pytest.approx([0.3, 0.5, 0.9])
    assert found["error"].tolist() == pytest.approx([0.1, 0, 0])
    seeds = pd.concat([rows, rows.assign(seed=1)])
    assert by_object_share(seeds, "model", 0)["count"].tolist() == [2, 1, 1]  # objects, not rows


def test_calibration_bins_predictions_and_clips_those_out_of_range():
    rows = few(object=range(4), dice=0.5, iou=[0.2, 0.4, 0.9, 0.7], iou_prediction=[0.31, 0.39, 1.2, 0.95])
    found = calibration(rows, 0).set_index("bin")
    assert found["count"].to_dict() == {3: 2, 9: 2}
    assert found["measured"].tolist() == pytest.approx([0.3, 0.8])
    assert found["predicted"].tolist() == pytest.approx([0.35, 0.975])


def test_everything_is_drawn_when_it_is_there(all_figures):
    assert names(all_figures) == ALL
    for path in all_figures[::2]:
        picture = np.asarray(Image.open(path).convert("L"))
        assert 0.02 < np.mean(picture < 250) < 0.9, path
        assert min(picture.shape) > 400
    assert all(b"</svg>" in path.read_bytes()[-20:] for path in all_figures[1::2])


def test_same_scores_give_the_same_files(monkeypatch, tmp_path):
    monkeypatch.setattr(figures, "FIGURES", {"seeds": FIGURES["seeds"]})
    first, second = (draw_figures(make_rows(), tmp_path / name) for name in ("first", "second"))
    assert names(first) == ["seeds"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("name", FIGURES)
def test_other_scores_give_another_picture(name):
    rows = make_rows()
    changed = rows["model"].eq("better") & rows["dataset"].eq("two") & rows["zoom"].eq("auto")
    others = rows.copy()
    others.loc[changed, ["dice", "iou", "surface_distance"]] *= 0.8
    first, same, other = (pixels(figure_of(name, scores)) for scores in (rows, rows, others))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def drawable(rows):
    scores = prepare_scores(rows)
    return [
        name.format(reference=scores.reference) for name, draw in FIGURES.items() if draw(scores) is not None
    ]


def test_parts_that_are_not_there_are_left_out(tmp_path):
    plain = make_rows(seed=(0,), mask_prompt=(False,), zoom=("never",))
    assert drawable(plain) == [*ALL[:5], "object_size", "calibration"]
    assert drawable(plain[plain["model"] == "base"]) == [*ALL[:4], "object_size", "calibration"]
    boxes = plain[plain["start"] == "box"].drop(columns=["modality", "mask_prompt", "zoom"])
    assert drawable(boxes) == [*ALL[:5], "object_size", "calibration"]
    of_other_objects = pd.concat([few(model=["a"], dice=0.5), few(model=["b"], object=1, dice=0.5)])
    assert drawable(of_other_objects) == []
    no_corrections = plain[plain["round"] == 0].drop(
        columns=["iou_prediction", "surface_distance", "object_share"]
    )
    files = names(draw_figures(no_corrections, tmp_path))
    assert files == ["corrections_bars", "datasets", "difference_to_base"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{f}.{s}" for f in files for s in ("png", "svg")
    ]


def test_reference_can_be_chosen(monkeypatch, tmp_path):
    name = "difference_to_{reference}"
    monkeypatch.setattr(figures, "FIGURES", {name: FIGURES[name]})
    rows = make_rows(("a", "runs/b c.pt"), num_rounds=1, seed=(0,), mask_prompt=(False,), zoom=("never",))
    assert names(draw_figures(rows, tmp_path, "runs/b c.pt")) == ["difference_to_runs_b_c.pt"]
    assert names(draw_figures(rows, tmp_path)) == ["difference_to_a"]
    with pytest.raises(InputError, match=r"'c' has no scores; wanted one of a, runs/b c\.pt"):
        draw_figures(rows, tmp_path, "c")


def test_bars_are_as_high_as_the_overall_dice():
    rows = make_rows()
    point, box = figure_of("corrections_bars", rows).axes
    main = rows[(rows["zoom"] == "auto") & ~rows["mask_prompt"]]
    expected = (
        main.groupby(["start", "model", "round", "dataset"])["dice"].mean().groupby(level=[0, 1, 2]).mean()
    )
    for axes, start in ((point, "point"), (box, "box")):
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(expected[start].tolist())
    ends = expected["box"]["better"]
    label = box.get_xticklabels()[1].get_text()
    assert label == f"better\n{ends[0]:.2f} → {ends[2]:.2f}"


@pytest.mark.parametrize(
    "name", [name for name in FIGURES if name not in ("zoom_datasets", "zoom_object_size")]
)
def test_no_text_is_cut_off_with_many_long_names(name):
    models = [f"a_model_with_a_long_name_{number}/best.safetensors" for number in range(6)]
    figure = figure_of(name, make_rows(models, num_objects=2, num_rounds=9, zoom=("never",)))
    bounds = figure.bbox.padded(1)
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    assert len(texts) > 10
    for text in texts:
        box = text.get_window_extent()
        inside = bounds.x0 <= box.x0 and box.x1 <= bounds.x1 and bounds.y0 <= box.y0 and box.y1 <= bounds.y1
        assert inside or not text.figure.bbox.overlaps(box), text.get_text()
    for axes in figure.axes:
        labels = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text() and t.get_visible()]
        assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(labels)), name


def test_scores_that_cannot_be_drawn_are_refused(tmp_path):
    rows = make_rows(num_rounds=1)
    with pytest.raises(InputError, match="lack the column seed, dice"):
        draw_figures(rows.drop(columns=["seed", "dice"]), tmp_path)
    with pytest.raises(InputError, match="no scores"):
        draw_figures(rows[:0], tmp_path)
    with pytest.raises(InputError, match="two scores for one mask"):
        draw_figures(pd.concat([rows, rows[:1]]), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot make the folder"):
        draw_figures(rows, tmp_path / "file")


def test_pyplot_and_its_settings_are_left_alone(tmp_path):
    code = f"""
import sys, pandas, pathlib
from napari_medicosam.evaluation.figures import draw_figures
assert "matplotlib" not in sys.modules
row = dict(model="m", dataset="d", image="i", object=0, seed=0, start="box", round=0, dice=0.5)
from matplotlib import rcParams
before = {{name: rcParams[name] for name in rcParams if name != "backend"}}  # reading that one loads pyplot
assert draw_figures(pandas.DataFrame([row]), pathlib.Path({str(tmp_path)!r}))
assert before == {{name: rcParams[name] for name in before}}
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = os.environ | {"MPLCONFIGDIR": mpl.get_cachedir()}  # its list of fonts takes long to make
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
