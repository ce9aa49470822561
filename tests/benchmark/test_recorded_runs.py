"""Settings of the benchmark, and the runs that are recorded with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_medicosam.benchmark.report import read_report
from napari_medicosam.benchmark.settings import read_settings
from napari_medicosam.cli.app import app
from napari_medicosam.errors import FileError, InputError

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "benchmarks" / "runs"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("limits: {enkode: 1}", "unknown rows in limits: enkode"),
        ("repeats: 0\nslices: -1", "repeats: .*; slices: "),
        ("scan_shape: [9, 64, 64]", "9 slices, wanted 8 to propagate through and two more"),
        ("speed: high", "speed: Extra inputs"),
        ("[1, 2]", "cannot be used"),
    ],
)
def test_settings_that_make_no_sense_are_refused(content, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_settings(path)
    with pytest.raises(FileError, match="cannot read the settings"):
        read_settings(tmp_path / "missing.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_settings_are_settings(path):
    settings = read_settings(path)
    assert settings.quick().repeats < settings.repeats


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").rglob("*.json")), ids=lambda path: path.parent.name
)
def test_recorded_runs_can_be_read(path):
    assert read_report(path).as_table() + "\n" == path.with_suffix(".md").read_text("utf-8")


def floors(folder):
    return CliRunner().invoke(app, ["bench", "--floors", str(folder)], catch_exceptions=False).stdout


def test_floors_are_the_limits_of_all_runs(tmp_path):
    rows = floors(RUNS).splitlines()[2:]
    reports = {path.parent.name: read_report(path) for path in RUNS.glob("*/bench.json")}
    assert len(rows) == sum(len(report.settings.limits) for report in reports.values())
    encode = reports["int8"].row("encode")
    cells = next(row for row in rows if "| int8:" in row).split(" | ")
    assert cells[0] == "| Cold encode, a slice"
    assert cells[1] == "≤ 0.3x eager: " + ("yes" if encode.is_reached else "no")
    assert cells[2].startswith(f"{encode.ratios['eager'].median:.2f} (")
    with pytest.raises(FileError, match="holds no runs"):
        floors(tmp_path)


def test_the_page_about_performance_shows_the_recorded_runs():
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert (RUNS / "laptop" / "bench.md").read_text("utf-8") in page
    assert floors(RUNS) in page, "put what `medicosam bench --floors benchmarks/runs` prints there"
