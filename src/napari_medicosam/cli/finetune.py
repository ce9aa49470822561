"""`medicosam-finetune`: train a model on annotated images, with the objective of the MedicoSAM paper."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from napari_medicosam.cli.console import notes, results, run_app
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.cli.training_progress import StopRequest, TrainingProgress
from napari_medicosam.errors import TrainingError
from napari_medicosam.weights.own_models import own_model_files

if TYPE_CHECKING:
    from napari_medicosam.io.sample_sets import SampleSet
    from napari_medicosam.training.config import RunConfig
    from napari_medicosam.training.run import Hooks
    from napari_medicosam.weights.loading import LoadedModel

app = typer.Typer(
    name="medicosam-finetune",
    help="Finetune a SAM model on annotated images, so that it improves with every click.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

_DATA, _RUN, _MACHINE = "Config and data", "Run", "Machine"


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What is trained, on what."""

    config: Annotated[Path | None, typer.Argument(help="YAML of the run; or name a --preset.")] = None
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="A shipped config; `--list-presets` names them.", rich_help_panel=_DATA
        ),
    ] = None
    train: Annotated[
        list[Path] | None,
        typer.Option("--train", help="Folder of annotated images. Repeatable.", rich_help_panel=_DATA),
    ] = None
    val: Annotated[
        list[Path] | None,
        typer.Option(
            "--val",
            help="Folder for validation; default: a part of --train, by patient.",
            rich_help_panel=_DATA,
        ),
    ] = None
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="SECTION.KEY=VALUE, for example optimizer.lr=1e-4. Repeatable.",
            rich_help_panel=_DATA,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where the result goes, and when to stop."""

    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the run; a run that is in it goes on.", rich_help_panel=_RUN
        ),
    ] = None
    register: Annotated[
        str | None,
        typer.Option("--register", help="Name for the result in the list of models.", rich_help_panel=_RUN),
    ] = None
    stop_after: Annotated[
        float | None,
        typer.Option("--stop-after", help="Stop, saved, after this many minutes.", rich_help_panel=_RUN),
    ] = None
    check_only: Annotated[
        bool,
        typer.Option("--check-only", help="Only look at config and data, and report.", rich_help_panel=_RUN),
    ] = False


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """What it runs on."""

    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=_MACHINE)
    ] = "auto"
    devices: Annotated[
        int,
        typer.Option("--devices", help="Processes on this machine, one a GPU.", rich_help_panel=_MACHINE),
    ] = 1
    nodes: Annotated[
        int,
        typer.Option("--nodes", help="Machines, under torchrun or SLURM.", rich_help_panel=_MACHINE),
    ] = 1


def _list_presets(wanted: bool) -> None:
    if wanted:
        from napari_medicosam.training.config import preset_names

        results.print("\n".join(preset_names()))
        raise typer.Exit


@app.command()
@grouped
def finetune(
    what: ConfigOptions,
    how: RunOptions,
    machine: MachineOptions,
    list_presets: Annotated[
        bool,
        typer.Option(
            "--list-presets", callback=_list_presets, is_eager=True, help="Name the shipped configs."
        ),
    ] = False,
) -> None:
    """Train as CONFIG.yaml or a --preset says; the result is a folder with weights, metrics and a model card.

    A run that was stopped or killed goes on when the same command is given again.
    """
    _be_quiet_beside_others()
    _need_lightning()
    settings = _settings(what)
    train_set, validation_set = _data(settings)
    if how.check_only:
        return
    out, register = how.out, how.register
    if out is None:
        raise TrainingError("no folder for the run: give --out RUN")
    if register is not None:
        _check_name(register)  # a name that cannot be had is said now and not after hours
    from napari_medicosam.training.model_card import write_model_card
    from napari_medicosam.training.run import open_run
    from napari_medicosam.training.setup import make_fabric

    fabric = make_fabric(settings, machine.device, machine.devices, machine.nodes)
    stop = StopRequest(how.stop_after)
    data = _data_record(settings, train_set, validation_set)
    hooks = _hooks(settings, validation_set, stop, out)
    run = open_run(out, settings, train_set.samples, hooks, fabric, data)
    notes.print(
        f"{'going on' if run.step else 'starting'} at step {run.step} of {settings.num_steps} in {out}"
    )
    with stop.on_signals():
        run.go()
    if not fabric.is_global_zero:
        return
    card = write_model_card(out)
    if not run.is_finished:
        notes.print(f"stopped at step {run.step}, saved; the same command goes on from there")
    has_best = math.isfinite(run.best_score)
    weights = out / ("best.safetensors" if has_best else "last.safetensors")
    results.print(f"{weights}")
    if register is not None and run.is_finished:
        _register(register, weights, run.model, train_set)
    if has_best:
        notes.print(f"best validation: score {run.best_score:.4f} at step {run.best_step}; see {card}")


def _check_name(name: str) -> None:
    if any(path.exists() for path in own_model_files(name)):
        raise TrainingError(
            f"--register {name}: a model of your own has that name; choose another one, or take that one away with "
            f"`medicosam models remove {name}`"
        )


def _register(name: str, weights: Path, model: LoadedModel, data: SampleSet) -> None:
    from napari_medicosam.weights.adding import ModelNotes, add_own_model, scaling_of

    datasets = ", ".join(summary.name for summary in data.report.datasets)
    about = ModelNotes(
        title=f"{name}, finetuned from {model.name}",
        trained_on=f"{len(data.samples)} images of {datasets}",
        window=model.window,
        scaling=scaling_of(model.spec),
    )
    add_own_model(name, weights, about)
    notes.print(f"registered as {name}")


def main() -> None:
    """Entry point: see `run_app`."""
    run_app(app)


def _be_quiet_beside_others() -> None:
    """Of several processes only the first one tells what happens; Fabric, torchrun and SLURM number them."""
    numbers = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    if int(next((number for number in numbers if number is not None), 0)) > 0:
        notes.quiet = results.quiet = True


def _need_lightning() -> None:
    try:
        import lightning.fabric  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            "training needs packages that are not installed: pip install 'napari-medicosam[train]'"
        ) from error


def _settings(what: ConfigOptions) -> RunConfig:
    from napari_medicosam.training.config import load_config, load_preset

    if (what.config is None) == (what.preset is None):
        raise TrainingError("give either CONFIG.yaml or --preset NAME")
    wanted: dict[str, Any] = {}
    for change in what.changes or ():
        key, equals, value = change.partition("=")
        if not equals:
            raise TrainingError(f"--set wants SECTION.KEY=VALUE, got {change!r}")
        try:
            wanted[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise TrainingError(f"--set {change!r} is no YAML: {' '.join(str(error).split())}") from error
    if what.train:
        wanted["data.train"] = [str(path) for path in what.train]
    if what.val:
        wanted["data.validation"] = [str(path) for path in what.val]
    return load_config(what.config, wanted) if what.config else load_preset(str(what.preset), wanted)


def _data(settings: RunConfig) -> tuple[SampleSet, SampleSet]:
    """Training and validation samples, checked, with a report."""
    from napari_medicosam.io.sample_sets import check_samples, find_samples, merge_sample_sets, split_samples

    data = settings.data
    if not data.train:
        raise TrainingError("nothing to train on: give --train DIR, or data.train in the config")

    def read(folders: tuple[Path, ...], what: str) -> SampleSet:
        found = merge_sample_sets(
            [find_samples(folder, min_pixels=data.min_pixels, window=data.window) for folder in folders]
        )
        with notes.status(f"checking {len(found.samples)} images for {what}"):
            checked = check_samples(found)
        notes.print(f"[bold]{what}[/bold]")
        notes.print(checked.report.as_text(), markup=False)
        return checked

    train_set = read(data.train, "training")
    if data.validation:
        return train_set, read(data.validation, "validation")
    training, validation = split_samples(train_set.samples, data.validation_fraction, settings.seed)
    return type(train_set)(training, train_set.report), type(train_set)(validation, train_set.report)


def _data_record(settings: RunConfig, training: SampleSet, validation: SampleSet) -> dict[str, Any]:
    """What `run.json` and the model card say of the data; a report that both share says how it was divided."""
    if settings.data.validation:
        return {"training": training.report.as_record(), "validation": validation.report.as_record()}
    sizes = f"training ({len(training.samples)} images) and validation ({len(validation.samples)})"
    return {f"{sizes}, divided by patient": training.report.as_record()}


def _hooks(settings: RunConfig, validation: SampleSet, should_stop: StopRequest, out: Path) -> Hooks:
    from napari_medicosam.evaluation.interactive import InteractiveSettings
    from napari_medicosam.evaluation.validation import InteractiveValidator
    from napari_medicosam.training.run import Hooks

    wanted = settings.validation
    interactive = InteractiveSettings(
        num_corrections=wanted.num_corrections, mask_prompt=wanted.mask_prompt, max_objects=wanted.max_objects
    )
    validate = (
        InteractiveValidator(validation.samples, interactive, out / "pictures")
        if validation.samples
        else None
    )
    progress = TrainingProgress(settings)
    return Hooks(validate, progress.on_step, progress.on_validation, should_stop)
