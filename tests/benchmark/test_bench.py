"""The benchmark measures what it says; how long anything takes is nobody's business here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from napari_medicosam.benchmark import parts, storage
from napari_medicosam.benchmark.figure import draw_report
from napari_medicosam.benchmark.machine import this_machine
from napari_medicosam.benchmark.parts import Bench
from napari_medicosam.benchmark.processes import embedding_peak_bytes, write_large_image
from napari_medicosam.benchmark.report import read_report
from napari_medicosam.benchmark.roofline import MatrixProduct, flops_of
from napari_medicosam.benchmark.rows import ROWS, Row
from napari_medicosam.benchmark.run import run_bench
from napari_medicosam.benchmark.scene import make_scene
from napari_medicosam.benchmark.settings import BenchSettings
from napari_medicosam.benchmark.sides import Eager
from napari_medicosam.benchmark.timing import interleave
from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.cli.app import app
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.errors import FileError, InputError, WeightsError
from napari_medicosam.io.volumes import read_volume
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.weights.loading import load_weights

SMALL = {
    "model": "sam_test",
    "repeats": 2,
    "slow_repeats": 1,
    "scan_shape": [8, 64, 48],
    "slices": 4,
    "memory_shape": [20, 64, 64],
    "memory_slices": 2,
    "matmul_size": 32,
    "limits": {"encode": 1e9, "read_memory": 0.0, "iou_box": 0.9},
}


@pytest.fixture(scope="module")
def scene():
    return make_scene((8, 64, 48), 10)


@pytest.fixture
def bench(scene):
    import torch

    settings = BenchSettings(**SMALL)
    return Bench(settings, scene, load_weights("sam_test", "cpu"), this_machine(torch.device("cpu")))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A whole run of the command: the folder that it writes, and what it prints."""
    folder = tmp_path_factory.mktemp("bench")
    config = folder / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    words = ["bench", "--config", str(config), "--device", "cpu", "-o", str(folder / "run")]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "run", result.stdout


def test_a_run_has_all_rows_in_json_table_and_picture(recorded):
    folder, printed = recorded
    content = json.loads((folder / "bench.json").read_text())
    measured = {row["name"] for row in content["rows"]}
    assert measured | {"matmul_bf16"} == set(ROWS)  # not every processor has bfloat16
    for name in measured:
        assert f"| {ROWS[name].title} |" in printed
    assert (folder / "bench.md").read_text() in printed
    assert (folder / "bench.png").read_bytes()[:4] == b"\x89PNG"
    assert set(content["shares"]) == {"encoder", "decoder"}
    for row in content["rows"]:
        once = row["name"].startswith(("peak_memory", "bytes_on_disk"))
        slow = row["name"].startswith("first_mask_axis") or row["name"] in ("start", "import", "ready")
        wanted = 4 if row["name"].startswith("iou") else 1 if once or slow else 2
        assert {len(values) for values in row["samples"].values()} == {wanted}, row["name"]


def test_ratios_and_quartiles_in_the_file_follow_from_its_samples(recorded):
    content = json.loads((recorded[0] / "bench.json").read_text())
    rows = {row["name"]: row for row in content["rows"]}
    assert set(rows["batch"]["ratios"]) == {"eager", "ours_single"}
    for row in rows.values():
        for side, ratio in row["ratios"].items():
            pairs = np.divide(row["samples"]["ours"], row["samples"][side])
            assert [ratio["q1"], ratio["median"], ratio["q3"]] == pytest.approx(
                np.percentile(pairs, (25, 50, 75))
            )
        for side, spread in row["spreads"].items():
            assert spread["median"] == pytest.approx(np.median(row["samples"][side]))
    assert rows["encode"]["is_reached"] is True
    assert rows["read_memory"]["is_reached"] is False
    assert rows["iou_box"]["is_reached"] is True
    assert rows["write_memory"]["is_reached"] is None


def test_a_report_reads_back_as_it_was(recorded, tmp_path):
    path = recorded[0] / "bench.json"
    report = read_report(path)
    assert report.as_json() == path.read_text()
    shown = CliRunner().invoke(app, ["bench", "--show", str(path)], catch_exceptions=False)
    assert shown.stdout == report.as_table() + "\n"
    broken = tmp_path / "broken.json"
    broken.write_text(path.read_text().replace('"encode"', '"enkode"'))
    with pytest.raises(FileError, match=r"no report of medicosam bench.*unknown row 'enkode'"):
        read_report(broken)


def test_a_report_without_times_has_no_picture_and_one_without_ratios_has(recorded, tmp_path):
    report = read_report(recorded[0] / "bench.json")
    for name, number in (("peak_memory", 0), ("start", 2)):
        part = report.model_copy(update={"rows": (report.row(name),)})
        assert len(draw_report(part, tmp_path)) == len(list(tmp_path.iterdir())) == number


def test_a_run_is_not_overwritten_unasked(recorded):
    before = (recorded[0] / "bench.json").read_bytes()
    with pytest.raises(InputError, match="holds a run already"):
        CliRunner().invoke(app, ["bench", "-o", str(recorded[0])], catch_exceptions=False)
    assert (recorded[0] / "bench.json").read_bytes() == before


def test_reports_tell_nothing_about_whose_machine_it_was(recorded):
    import getpass
    import platform

    text = (recorded[0] / "bench.json").read_text()
    for secret in (platform.node(), f"/{getpass.getuser()}", str(recorded[0].parent)):
        assert len(secret) < 4 or secret not in text


def test_what_is_wanted_is_of_the_first_side_that_was_measured():
    samples = {"ours": (1.0, 3.0), "eager": (4.0, 4.0), "micro_sam": (2.0, 2.0)}
    row = Row(name="propagation", samples=samples, limit=0.6)  # 1.0 of micro-sam's, 0.5 of eager's
    assert row.is_reached is False
    del samples["micro_sam"]
    assert Row(name="propagation", samples=samples, limit=0.6).is_reached is True
    assert Row(name="iou_box", samples={"ours": (0.99,)}, limit=0.995).is_reached is False
    with pytest.raises(ValueError, match="as many of every other side"):
        Row(name="encode", samples={"ours": (1.0,), "eager": (1.0, 2.0)})


def test_sides_take_turns_and_the_first_round_does_not_count():
    calls = []

    def side(name):
        return lambda number: lambda: calls.append((number, name))

    taken = interleave({"a": side("a"), "b": side("b")}, 2)
    assert calls == [(number, name) for number in range(3) for name in "ab"]
    assert {name: len(values) for name, values in taken.items()} == {"a": 2, "b": 2}
    calls.clear()
    taken = interleave({"a": side("a")}, 2, warm_up=False)
    assert (calls, len(taken["a"])) == ([(1, "a"), (2, "a")], 2)


def test_both_sides_see_the_same_and_the_eager_one_is_a_copy(bench):
    plane = bench.planes[0]
    bench.eager.look_at(plane)
    point, box = bench.scene.prompts(plane)
    for prompts in (point, box):
        masks, predictions, _ = bench.eager.predict(prompts)
        result = bench.ours.service.segment(SegmentRequest(bench.pixels(plane), prompts))
        assert iou(result.mask, masks[predictions.argmax()]) > 0.99
    ours = {id(parameter) for parameter in bench.model.sam.parameters()}
    assert ours.isdisjoint(id(parameter) for parameter in bench.eager.predictor.model.parameters())


def test_cold_encodes_are_cold_and_warm_prompts_are_warm(bench):
    plane = bench.scene.middle(0)
    for service in (bench.ours.forgetful, bench.ours.service):
        service.embed(plane, bench.pixels(plane))
    assert not bench.ours.forgetful.is_embedded(plane, bench.pixels(plane))
    assert bench.ours.service.is_embedded(plane, bench.pixels(plane))


def test_the_first_mask_goes_to_disk_and_the_overhead_holds_no_encode(bench, monkeypatch):
    done = []
    encode, write = SliceEncoder.encode, ZarrEmbeddingStore.put
    monkeypatch.setattr(
        SliceEncoder, "encode", lambda self, *words: (done.append("encoded"), encode(self, *words))[1]
    )
    monkeypatch.setattr(
        ZarrEmbeddingStore, "put", lambda self, *words: (done.append("written"), write(self, *words))[1]
    )
    rows = parts.measure_first_mask(bench)
    next(rows)
    rounds = bench.settings.slow_repeats + 1
    assert sorted(done) == ["encoded"] * (1 + rounds) + ["written"] * rounds  # one to know what comes out
    done.clear()
    next(rows)
    assert done == ["written"] * (bench.settings.repeats + 1)


def test_propagation_fills_the_same_slices_on_both_sides(bench, monkeypatch):
    ours, eager = [], []
    propagate, look_at = parts.propagate, Eager.look_at

    def watched(*words, **more):
        for result in propagate(*words, **more):
            ours.append(result.plane.index)
            yield result

    monkeypatch.setattr(parts, "propagate", watched)
    monkeypatch.setattr(
        Eager, "look_at", lambda self, plane: (eager.append(plane.index), look_at(self, plane))[1]
    )
    (row,) = parts.measure_propagation(bench)
    assert set(row.samples) == {"ours", "eager"}
    each_round = [plane.index for plane in bench.planes] * (bench.settings.repeats + 1)
    assert sorted(ours) == sorted(eager) == sorted(each_round)


def test_the_scene_shows_the_organ_on_every_slice(scene):
    assert scene.array.shape == scene.organ.shape == (8, 64, 48)
    assert scene.organ.any(axis=(1, 2)).all()
    assert len(set(scene.boxes)) == 10
    for axis in range(3):
        plane = scene.middle(axis)
        point, box = scene.prompts(plane)
        mask = np.take(scene.organ, plane.index, axis=axis)
        assert mask[tuple(int(v) for v in point.points[0].position_yx)]
        y0, x0, y1, x1 = (int(v) for v in box.box.bounds)
        assert mask[y0:y1, x0:x1].sum() == mask.sum()


def test_the_large_image_is_what_it_says(scene, tmp_path):
    write_large_image(tmp_path / "large.ome.zarr", (20, 70, 30), scene)
    volume = read_volume(tmp_path / "large.ome.zarr")
    assert volume.geometry.shape_zyx == (20, 70, 30)
    assert np.array_equal(np.asarray(volume.array[17])[:64, :30], scene.array[17 % 8][:, :30])


def test_a_command_that_fails_in_its_process_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"a process of the benchmark failed: .*missing"):
        embedding_peak_bytes(tmp_path / "missing.ome.zarr", tmp_path / "store", "sam_test", "cpu", 1)


def test_arithmetic_is_counted():
    import torch

    product = MatrixProduct(16, torch.float32, torch.device("cpu"))
    assert flops_of(product) == product.flops == 2 * 16**3


def test_random_weights_need_no_file_and_other_processes_get_the_same(monkeypatch):
    given = []
    monkeypatch.setattr(storage, "load_in_process", lambda file, device: given.append(load_weights(file)))
    settings = BenchSettings(**SMALL | {"random_weights": True, "parts": ["processes"]})
    report = run_bench(settings, "cpu")
    assert report.model.name == "sam_test, random weights"
    assert {model.weights_sha256 for model in given} == {report.model.weights_sha256}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "no_such_model"], "no_such_model"),
        (
            ["--model", "no_such_spec", "--random-weights"],
            "unknown architecture 'no_such_spec': wanted one of vit_b",
        ),
    ],
)
def test_a_wrong_model_is_refused(words, message):
    with pytest.raises(WeightsError, match=message):
        CliRunner().invoke(app, ["bench", *words], catch_exceptions=False)
