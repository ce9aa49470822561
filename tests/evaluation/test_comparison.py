from collections import Counter
from dataclasses import astuple, replace

import pytest
from evaluation_helpers import MemorySample

from napari_medicosam.errors import InputError
from napari_medicosam.evaluation.comparison import Comparison
from napari_medicosam.evaluation.interactive import InteractiveSettings, evaluate
from napari_medicosam.evaluation.score_log import open_log, read_scores
from napari_medicosam.io.sample_sets import DataReport, DataSetSummary, SampleSet
from napari_medicosam.models.build import build_model
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.weights.loading import load_weights

SHORT = InteractiveSettings(num_corrections=1)
VARIANTS = [replace(SHORT, mask_prompt=True), replace(SHORT, zoom="always")]


@pytest.fixture(scope="module")
def models():
    tiny = load_weights("sam_test", "cpu")
    return [tiny, replace(tiny, sam=build_model("sam_test", seed=1), name="other", weights_sha256="11" * 32)]


@pytest.fixture
def encoded(monkeypatch):
    """Shapes of what was encoded."""
    shapes = []
    original = SliceEncoder.encode

    def noting(self, image):
        shapes.append((self._sam, image.shape))
        return original(self, image)

    monkeypatch.setattr(SliceEncoder, "encode", noting)
    return shapes


def samples():
    return [MemorySample("one"), MemorySample("two", num_objects=1), MemorySample("one", "more", "CT")]


def compare(models, found, variants, embeddings=None):
    report = DataReport(tuple(DataSetSummary(name, "", "", 3, 3, 3, 7) for name in ("discs", "more")))
    return Comparison(models, SampleSet(tuple(found), report), variants, embeddings)


def run(comparison, folder, until=None):
    shares, finished = [], []
    with open_log(folder, comparison.record) as log:
        missing = comparison.num_missing(log)
        for number, dataset in enumerate(comparison.run(log, shares.append), start=1):
            finished.append(dataset)
            if number == until:
                break
    return missing, sum(shares), finished


def test_scores_are_those_of_each_model_and_variant_alone(models, tmp_path):
    missing, done, finished = run(compare(models, samples(), VARIANTS), tmp_path)
    assert (missing, finished) == (6, ["discs", "more"])
    assert done == pytest.approx(missing)
    rows = read_scores(tmp_path)
    found = Counter(
        (*row[:-4], *(round(v, 6) for v in row[-4:]))
        for row in rows.round(6).itertuples(index=False, name=None)
    )
    for model in models:
        for variant in VARIANTS:
            for score in evaluate(model, samples(), variant):
                row = astuple(replace(score, object_share=round(score.object_share, 6)))
                found[(*row[:-4], *(round(v, 6) for v in row[-4:]))] -= 1
    assert set(found.values()) == {0}


def test_interrupted_it_does_the_rest_only_and_ends_the_same(models, tmp_path, encoded):
    whole, part = tmp_path / "whole", tmp_path / "part"
    run(compare(models, samples(), [SHORT]), whole)
    assert len(encoded) == 6
    assert run(compare(models, samples(), [SHORT]), part, until=1)[2] == ["discs"]
    again = samples()
    missing, done, finished = run(compare(models, again, [SHORT]), part)
    assert (missing, done, finished) == (2, pytest.approx(2), ["discs", "more"])
    assert [sample.loads for sample in again] == [0, 0, 1]
    assert len(encoded) == 12
    assert (part / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert run(compare(models, samples(), [SHORT]), part)[0] == 0
    assert len(encoded) == 12


def test_a_model_added_later_gets_the_same_objects(models, tmp_path):
    limited = [replace(SHORT, max_objects=3)]
    many = [MemorySample(f"{n}", num_objects=n) for n in range(4)]
    run(compare(models, many, limited), tmp_path / "together")
    for so_far in (models[:1], models):
        run(compare(so_far, many, limited), tmp_path / "apart")
    together, apart = (read_scores(tmp_path / name) for name in ("together", "apart"))
    order = ["model", "image", "object", "start", "round"]
    assert len(together) == 2 * 3 * 2 * 2
    assert together.sort_values(order, ignore_index=True).equals(apart.sort_values(order, ignore_index=True))


def test_embeddings_on_disk_serve_the_next_run(models, tmp_path, encoded):
    store = tmp_path / "store"
    for name, count in (("first", 6), ("second", 6)):
        run(compare(models, samples(), [SHORT], store), tmp_path / name)
        assert len(encoded) == count
    assert (tmp_path / "first" / "scores.csv").read_bytes() == (
        tmp_path / "second" / "scores.csv"
    ).read_bytes()
    run(compare(models, [*samples(), MemorySample("three")], [SHORT], store), tmp_path / "third")
    assert len(encoded) == 6 + 2 * 3, "a data set of another length is another one, the other is not"


def test_the_record_tells_what_would_change_the_scores(models):
    def record(**changes):
        return compare(models, samples(), [replace(SHORT, **changes)]).record

    assert record() == record()
    assert "zoom_rule" not in record().settings
    zoomed = record(zoom="auto")
    assert zoomed.settings["zoom_rule"]["context"] == SHORT.zoom_rule.context
    other = record(zoom="auto", zoom_rule=replace(SHORT.zoom_rule, context=3.0))
    assert other.settings != zoomed.settings
    assert compare(models, samples()[1:], [SHORT]).record.datasets != record().datasets
    assert record().datasets["discs"]["objects"] == 7


def test_what_cannot_be_compared(models):
    with pytest.raises(InputError, match="names of their own"):
        compare([models[0], models[0]], samples(), [SHORT])
    with pytest.raises(InputError, match="no annotated images"):
        compare(models, [], [SHORT])
    with pytest.raises(InputError, match="mask_prompt and zoom only"):
        compare(models, samples(), [SHORT, replace(SHORT, seeds=(1,))])
    with pytest.raises(InputError, match="mask_prompt and zoom only"):
        compare(models, samples(), [SHORT, SHORT])


def test_a_runtime_of_another_precision_stands_among_the_settings(models, encoded, tmp_path):
    report = DataReport((DataSetSummary("discs", "", "", 1, 1, 1, 2),))
    found = SampleSet((MemorySample("one"),), report)
    plain, half = (
        Comparison(models[:1], found, VARIANTS, tmp_path, (name,)) for name in ("eager", "torch-half")
    )
    assert "runtime" not in plain.record.settings
    assert half.record.settings["runtime"] == "torch-half"
    with open_log(tmp_path / "float32", plain.record) as log:
        list(plain.run(log))
    whole = sum(shape == encoded[0][1] for _, shape in encoded)
    with open_log(tmp_path / "half", half.record) as log:
        list(half.run(log))
    assert sum(shape == encoded[0][1] for _, shape in encoded) == 2 * whole, "embeddings are not shared"


def test_runtimes_of_one_model_are_compared_as_models_are(models, encoded, tmp_path):
    report = DataReport((DataSetSummary("discs", "", "", 1, 1, 1, 2),))
    found = SampleSet((MemorySample("one"),), report)
    both = Comparison(models[:1], found, [SHORT], tmp_path / "store", ("eager", "torch-half"))
    assert both.runtimes == {"sam_test eager": "eager", "sam_test torch-half": "torch-half"}
    run(both, tmp_path / "both")
    assert len(encoded) == 2, "the second must not be given the embeddings of the first"
    rows = read_scores(tmp_path / "both")
    for runtime in ("eager", "torch-half"):
        run(Comparison(models[:1], found, [SHORT], None, (runtime,)), tmp_path / runtime)
        alone = read_scores(tmp_path / runtime).assign(model=f"sam_test {runtime}")
        assert alone.equals(rows[rows["model"] == f"sam_test {runtime}"].reset_index(drop=True))
    with pytest.raises(InputError, match="eager, torch share a precision"):
        Comparison(models[:1], found, [SHORT], None, ("eager", "torch"))
    with pytest.raises(InputError, match="got no runtime"):
        Comparison(models[:1], found, [SHORT], None, ())
