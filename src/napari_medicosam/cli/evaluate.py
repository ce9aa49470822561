"""`medicosam-evaluate`: how well models segment when a simulated annotator corrects them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from napari_medicosam.cli import options
from napari_medicosam.cli.console import notes, results, run_app
from napari_medicosam.cli.evaluate_embeddings import embeddings as embeddings_command
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from napari_medicosam.evaluation.comparison import Comparison
    from napari_medicosam.evaluation.interactive import InteractiveSettings
    from napari_medicosam.evaluation.score_log import ScoreLog
    from napari_medicosam.io.sample_sets import SampleSet
    from napari_medicosam.weights.loading import LoadedModel

app = typer.Typer(
    name="medicosam-evaluate",
    help="Measure models on annotated images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class StartChoice(StrEnum):
    """First prompts."""

    POINT = "point"
    BOX = "box"


class MaskPromptChoice(StrEnum):
    """Whether the last mask is fed back."""

    NEVER = "never"
    ALWAYS = "always"
    BOTH = "both"


class ZoomChoice(StrEnum):
    """What the model is shown."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


_ANNOTATOR = "Simulated annotator"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsOptions:
    """What is compared."""

    model: Annotated[
        list[str],
        typer.Option(
            "--model", "-m", help="A name, or a checkpoint file. Repeatable; the first is the reference."
        ),
    ]
    embeddings: options.Embeddings = None
    device: options.Device = None
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="What runs the image encoder, as in `medicosam segment`. Repeatable, to compare; default: torch."
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class AnnotatorOptions:
    """What the annotator does."""

    corrections: Annotated[
        int, typer.Option(min=0, help="Corrections after the first prompt.", rich_help_panel=_ANNOTATOR)
    ] = 8
    seeds: Annotated[
        int,
        typer.Option(
            min=1, help="Number of repetitions, each with its own clicks.", rich_help_panel=_ANNOTATOR
        ),
    ] = 1
    start: Annotated[
        list[StartChoice] | None,
        typer.Option(help="First prompt. Repeatable; default: both.", rich_help_panel=_ANNOTATOR),
    ] = None
    mask_prompt: Annotated[
        MaskPromptChoice,
        typer.Option(
            help="Whether corrections get the last mask as a prompt, too.", rich_help_panel=_ANNOTATOR
        ),
    ] = MaskPromptChoice.NEVER
    zoom: Annotated[
        list[ZoomChoice] | None,
        typer.Option(
            help="Show the model the whole image, or a view around the object. Repeatable; default: never.",
            rich_help_panel=_ANNOTATOR,
        ),
    ] = None
    max_objects: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many objects a data set.", rich_help_panel=_ANNOTATOR),
    ] = None


app.command("embeddings")(embeddings_command)


@app.callback()
def _group() -> None:
    """Keeps `interactive` a word of its own: other ways to evaluate will stand beside it."""


@app.command()
@grouped
def interactive(
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Annotated images: a data set, or a folder of data sets."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    models: ModelsOptions,
    annotator: AnnotatorOptions,
    figures: Annotated[bool, typer.Option(help="Draw the figures, when matplotlib is installed.")] = True,
) -> None:
    """Simulate annotation: a point or a box, then corrections with one positive and one negative click each.

    Goes on where it was when it is run again with the same settings and output folder.

        medicosam-evaluate interactive DATA --model medicosam_lite --model RUN/best.safetensors -o RESULTS

        medicosam-evaluate interactive DATA --model medicosam_lite --runtime torch --runtime openvino-int8 -o RESULTS
    """
    from napari_medicosam.evaluation.comparison import Comparison
    from napari_medicosam.evaluation.score_log import open_log

    variants = _variants(annotator)
    found = _find(data)
    loaded = _load(models.model, models.device)
    comparison = Comparison(loaded, found, variants, models.embeddings, models.runtime or ("torch",))
    with open_log(output, comparison.record) as log:
        _run(comparison, log)
        _report(log, comparison.runtimes, figures)


def _variants(annotator: AnnotatorOptions) -> list[InteractiveSettings]:
    from napari_medicosam.evaluation.interactive import InteractiveSettings

    starts = [choice.value for choice in dict.fromkeys(annotator.start or StartChoice)]
    zooms = [choice.value for choice in dict.fromkeys(annotator.zoom or [ZoomChoice.NEVER])]
    settings = InteractiveSettings(
        starts=tuple(starts),
        num_corrections=annotator.corrections,
        seeds=tuple(range(annotator.seeds)),
        max_objects=annotator.max_objects,
    )
    fed_back = {"never": (False,), "always": (True,), "both": (False, True)}[annotator.mask_prompt]
    return [replace(settings, mask_prompt=m, zoom=z) for m, z in product(fed_back, zooms)]


def _find(folders: Sequence[Path]) -> SampleSet:
    from napari_medicosam.io.sample_sets import check_samples, find_samples, merge_sample_sets

    found = merge_sample_sets([find_samples(folder) for folder in folders])
    with _progress() as bar:
        task = bar.add_task("checking images")
        checked = check_samples(found, lambda done, total: bar.update(task, completed=done, total=total))
    notes.print(checked.report.as_text(), markup=False)
    return checked


def _load(names: Sequence[str], device: str | None) -> list[LoadedModel]:
    """Models with names of their own: weights in files of one name get the words that were given for them."""
    from napari_medicosam.cli.console import download_progress
    from napari_medicosam.weights.loading import load_weights

    if len(set(names)) < len(names):
        raise InputError(f"--model was given twice for the same model: {', '.join(names)}")
    models = []
    for name in names:
        with download_progress(name) as progress:
            models.append(load_weights(name, device, progress))
    found = [model.name for model in models]
    return [
        replace(model, name=name) if found.count(model.name) > 1 else model
        for model, name in zip(models, names, strict=True)
    ]


def _progress() -> Progress:
    """A bar that goes on within images, too: one may hold hundreds of objects."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=notes,
        transient=True,
    )


def _run(comparison: Comparison, log: ScoreLog) -> None:
    from napari_medicosam.evaluation.report import dataset_line
    from napari_medicosam.evaluation.score_log import read_scores

    try:
        with _progress() as bar:
            task = bar.add_task("evaluating", total=comparison.num_missing(log))
            for dataset in comparison.run(log, lambda share: bar.advance(task, share)):
                bar.console.print(dataset_line(read_scores(log.folder), dataset), markup=False)
    except KeyboardInterrupt:
        notes.print(f"stopped; what is finished is kept in {log.folder}, run the same again to go on")
        raise


def _draw(rows: pd.DataFrame, folder: Path, reference: str | None) -> None:
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        notes.print("no figures: they need matplotlib (pip install matplotlib)")
        return
    from napari_medicosam.evaluation.figures import draw_figures

    draw_figures(rows, folder / "figures", reference)


def _report(log: ScoreLog, runtimes: Mapping[str, str], figures: bool) -> None:
    from napari_medicosam.evaluation.report import summarise, write_report
    from napari_medicosam.evaluation.score_log import read_scores

    rows = read_scores(log.folder)
    reference = next(iter(log.record.models)) if len(log.record.models) > 1 else None
    header = {"version": version("napari-medicosam"), "reference": reference, "runtimes": runtimes}
    header |= log.record.as_json()
    results.print(write_report(log.folder, summarise(rows, reference), header), markup=False)
    if figures:
        _draw(rows, log.folder, reference)
    notes.print(f"wrote {log.folder}", markup=False)


def main() -> None:
    """Entry point: see `run_app`."""
    run_app(app)
