"""`medicosam bench`: how fast this machine is, and how it compares with the predictor that everybody else builds on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_medicosam.cli import options
from napari_medicosam.cli.console import download_progress, notes, results
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.errors import FileError, InputError

if TYPE_CHECKING:
    from napari_medicosam.benchmark.report import BenchReport
    from napari_medicosam.benchmark.rows import Row
    from napari_medicosam.benchmark.settings import BenchSettings


class PartChoice(StrEnum):
    """What can be measured by itself."""

    ENCODE = "encode"
    PROMPTS = "prompts"
    BATCH = "batch"
    PROPAGATION = "propagation"
    FIRST_MASK = "first_mask"
    STORAGE = "storage"
    PROCESSES = "processes"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is measured; what is None stays as the settings have it."""

    config: Annotated[
        Path | None, typer.Option(help="Settings (YAML); benchmarks/ holds those of the recorded runs.")
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A name that `medicosam models` lists, or a checkpoint file."),
    ] = None
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="Build the architecture that --model names (vit_b, vit_t, ...) without weights: for speed alone.",
        ),
    ] = False
    part: Annotated[list[PartChoice] | None, typer.Option(help="Only this part. Repeatable.")] = None
    repeats: Annotated[int | None, typer.Option(min=1, help="Rounds of everything that takes no minute.")] = (
        None
    )
    quick: Annotated[bool, typer.Option("--quick", help="Few rounds, for a first look.")] = False
    runtime: options.Runtime = None
    device: options.Device = None


@grouped
def bench(
    run: RunOptions,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for bench.json, bench.md and the picture.")
    ] = None,
    overwrite: options.Overwrite = False,
    show: Annotated[
        Path | None, typer.Option(help="Measure nothing: print the table of a bench.json that is there.")
    ] = None,
    floors: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure nothing: print which limits the runs in the folders of DIR have kept.",
        ),
    ] = None,
) -> None:
    """Measure encoding, prompts, propagation, storage, memory and start, beside `segment_anything.SamPredictor`.

    Both have the same weights, images and threads, and take turns; where micro-sam is installed its functions do, too.
    The numbers are those of a quiet machine only if it is quiet.

        medicosam bench --quick

        medicosam bench --config benchmarks/laptop.yaml -o results
    """
    from napari_medicosam.benchmark.report import floors_table, read_report
    from napari_medicosam.benchmark.run import run_bench

    if show is not None:
        results.print(read_report(show).as_table(), markup=False)
        return
    if floors is not None:
        results.print(floors_table(_runs(floors)), markup=False)
        return
    settings = _settings(run)
    if output is not None:
        _check_folder(output, overwrite)
    with download_progress(settings.model) as progress:
        report = run_bench(settings, run.device, _tell, progress)
    results.print(report.as_table(), markup=False)
    if output is not None:
        _write(report, output)


def _settings(run: RunOptions) -> BenchSettings:
    from napari_medicosam.benchmark.settings import BenchSettings, read_settings

    settings = BenchSettings() if run.config is None else read_settings(run.config)
    changes = {
        "model": run.model,
        "runtime": run.runtime,
        "random_weights": run.random_weights or None,
        "repeats": run.repeats,
        "parts": tuple(dict.fromkeys(part.value for part in run.part)) if run.part else None,
    }
    settings = settings.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )
    return settings.quick() if run.quick else settings


def _check_folder(folder: Path, overwrite: bool) -> None:
    if (folder / "bench.json").exists() and not overwrite:
        raise InputError(f"{folder} holds a run already: choose another folder or say --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {folder}: {error}") from error


def _runs(folder: Path) -> dict[str, BenchReport]:
    """Reports by the name of their folder."""
    from napari_medicosam.benchmark.report import read_report

    found = sorted(folder.glob("*/bench.json"))
    if not found:
        raise FileError(f"{folder} holds no runs: wanted folders with a bench.json in them")
    return {path.parent.name: read_report(path) for path in found}


def _tell(row: Row) -> None:
    from napari_medicosam.benchmark.report import show as shown
    from napari_medicosam.benchmark.rows import OURS

    ratios = "".join(f", {ratio.median:.2f}x {side}" for side, ratio in row.ratios.items())
    notes.print(f"{row.kind.title}: {shown(row.spreads[OURS].median, row.unit)}{ratios}", markup=False)


def _write(report: BenchReport, folder: Path) -> None:
    from napari_medicosam.evaluation.score_log import write_whole

    write_whole(folder / "bench.json", report.as_json())
    write_whole(folder / "bench.md", report.as_table() + "\n")
    if find_spec("matplotlib") is None:
        notes.print("no picture: it needs matplotlib (pip install matplotlib)")
    else:
        from napari_medicosam.benchmark.figure import draw_report

        draw_report(report, folder)
    results.print(f"wrote {folder}", markup=False)
