"""`medicosam models`: what weights there are, getting them onto this machine, and adding one's own."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pooch
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from napari_medicosam.cli.console import download_progress, notes
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.errors import InputError, WeightsError
from napari_medicosam.weights.catalogue import find_entry, known_entries
from napari_medicosam.weights.fetch import fetch, local_path, status, verify, weights_folder
from napari_medicosam.weights.own_models import own_models_folder, remove_own_model
from napari_medicosam.weights.quantised import read_quantised
from napari_medicosam.weights.registry import AskSource, Entry, OwnSource, PackageSource

if TYPE_CHECKING:
    from collections.abc import Sequence

# One line a paragraph: typer keeps line ends as they are.
_HELP = (
    "List, fetch and verify the weights of models, and add your own. Without a subcommand: list them.\n\n"
    "Weights are kept in a cache folder (`medicosam models path`), which the environment variable "
    "NAPARI_MEDICOSAM_CACHE moves; your own models in a folder of the user's data (`medicosam models path --own`), "
    "which NAPARI_MEDICOSAM_MODELS moves.\n\n"
    "For a cluster whose compute nodes have no network: on the login node, set NAPARI_MEDICOSAM_CACHE to a folder "
    "on a shared disk and run `medicosam models fetch NAME`; in the job, set the same NAPARI_MEDICOSAM_CACHE and "
    "NAPARI_MEDICOSAM_OFFLINE=1, so that nothing ever waits for a network."
)

models_app = typer.Typer(help=_HELP, no_args_is_help=False)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or aliases.")]


@models_app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the models."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise InputError(
                "--json belongs to the list: wanted `medicosam models --json` without a subcommand"
            )
        return
    entries = known_entries()
    if as_json:
        typer.echo(json.dumps([_record(entry) for entry in entries], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", overflow="fold")
    table.add_column("architecture", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column("licence", overflow="fold")
    for entry in entries:
        table.add_row(
            entry.name, _architecture(entry), _where(entry), _size(entry.size_bytes), escape(entry.licence)
        )
    # Nothing is wrapped in a pipe: one line a model, for grep.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@models_app.command("fetch")
def fetch_models(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Fetch all that can be downloaded.")] = False,
) -> None:
    """Download weights that are not on this machine yet, check their hashes, and print their paths.

    An interrupted download goes on where it stopped when the command is run again.
    """
    if everything == bool(names):
        raise InputError("wanted the NAME of at least one model, or --all")
    if everything:
        entries = [entry for entry in known_entries() if entry.source.kind == "url"]
    else:
        entries = [find_entry(name) for name in names or ()]
    # pooch announces each download on stderr, through the bar.
    pooch.get_logger().setLevel("WARNING")
    failures = []
    for entry in entries:
        try:
            typer.echo(_fetch_with_bar(entry))
        except WeightsError as error:
            failures.append(str(error))
    if failures:
        raise WeightsError("\n".join(failures))


@models_app.command("verify")
def verify_models(names: Names = None) -> None:
    """Compare the weights on this machine (all, or those named) with their published hashes, own ones with theirs.

    With the bundled weights goes the encoder in int8 that was made from them.
    """
    entries: Sequence[Entry] = [find_entry(name) for name in names] if names else known_entries()
    bad = []
    for entry in entries:
        verdict = verify(entry)
        is_own = isinstance(entry.source, OwnSource)
        if verdict == "absent" and not names and not is_own:
            continue
        typer.echo(f"{entry.name}: {verdict}")
        if verdict == "bad":
            which = "file that was added" if is_own else "published file"
            bad.append(f"{entry.name} is damaged: {local_path(entry)} has another hash than the {which}")
        elif verdict == "absent":
            bad.append(f"{entry.name} is not on this machine")
        if entry.int8 is not None:
            try:
                read_quantised(entry.int8.weights_sha256)
                verdict = "ok"
            except WeightsError as error:
                verdict = "bad"
                bad.append(str(error))
            typer.echo(f"{entry.name}, encoder in int8: {verdict}")
    if bad:
        raise WeightsError("\n".join(bad))


@models_app.command("path")
def print_path(
    own: Annotated[bool, typer.Option("--own", help="The folder of your own models instead.")] = False,
) -> None:
    """Print the folder that weights are downloaded to."""
    typer.echo(own_models_folder() if own else weights_folder())


@dataclass(frozen=True, slots=True)
class NotesOptions:
    """What is said about weights, see `ModelNotes`."""

    title: Annotated[str, typer.Option("--title", help="One line for lists.")] = ""
    trained_on: Annotated[str, typer.Option("--trained-on", help="The data.")] = ""
    licence: Annotated[str, typer.Option("--licence", help="Of the weights.")] = ""
    window: Annotated[
        str, typer.Option("--window", help="Used when nobody says: auto, percentile, minmax or identity.")
    ] = "auto"
    scaling: Annotated[
        str | None,
        typer.Option(
            "--scaling", help="imagenet or unit; unit for what was finetuned from MedSAM.", show_default=False
        ),
    ] = None


@models_app.command("add")
@grouped
def add_model(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Weights, such as best.safetensors of a finetuning run.")
    ],
    name: Annotated[str, typer.Option("--name", help="Lower-case letters, digits and underscores.")],
    about: NotesOptions,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace your model that has the name.")
    ] = False,
) -> None:
    """Copy weights of your own into the list of models, under a name, and print where they lie now.

    From then on NAME is a model like any other: in the list of napari's widget, in --model NAME, in load_model(NAME).
    """
    from napari_medicosam.weights.adding import ModelNotes, add_own_model

    entry = add_own_model(name, path, ModelNotes(**asdict(about)), overwrite=overwrite)
    notes.print(f"added {entry.name}: {entry.spec}, input scaling {entry.scaling}")
    typer.echo(local_path(entry))


@models_app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(help="Name of a model of your own.")]) -> None:
    """Delete a model that was added with `add`, its weights included."""
    remove_own_model(name)
    notes.print(f"removed {name}")


@models_app.command("info")
def print_info(name: Annotated[str, typer.Argument(help="Name or alias.")]) -> None:
    """Print everything that is known about one model: source, hashes, licence, citation, training data."""
    entry = find_entry(name)
    path = local_path(entry)
    lines = {
        "name": entry.name,
        "aliases": ", ".join(entry.aliases),
        "title": entry.title,
        "role": entry.role.replace("_", " "),
        "architecture": entry.spec or "none that this version builds",
        "where": _where(entry),
        "path": "" if path is None else str(path),
        "source": _source(entry),
        "sha256": entry.hashes.sha256 or "",
        "xxh128": entry.hashes.xxh128 or "",
        "size": "not published" if entry.size_bytes is None else f"{entry.size_bytes:,} bytes",
        "licence": entry.licence,
        "trained on": entry.trained_on,
        "input": entry.input,
        "window": entry.window,
        "remark": entry.remark,
        "citation": entry.citation,
    }
    for label, text in lines.items():
        if text:
            typer.echo(f"{label + ':':<14}{text}")


def _fetch_with_bar(entry: Entry) -> str:
    with download_progress(entry.name) as progress:
        return str(fetch(entry, progress=progress))


def _record(entry: Entry) -> dict[str, Any]:
    path = local_path(entry)
    return {
        "name": entry.name,
        "aliases": list(entry.aliases),
        "title": entry.title,
        "role": entry.role,
        "spec": entry.spec,
        "where": status(entry),
        "path": None if path is None else str(path),
        "size_bytes": entry.size_bytes,
        "licence": entry.licence,
    }


def _architecture(entry: Entry) -> str:
    return entry.spec or ("decoder" if entry.role == "semantic_decoder" else "-")


def _where(entry: Entry) -> str:
    where = status(entry)
    if isinstance(entry.source, PackageSource | OwnSource) and local_path(entry) is None:
        return "file is gone" if where == "own" else "not installed"
    return where


def _source(entry: Entry) -> str:
    if isinstance(entry.source, AskSource):
        return f"{entry.source.page}: {entry.source.how}; save as {weights_folder() / entry.file_name}"
    return ", ".join(f"{key} {value}" for key, value in entry.source.model_dump().items() if key != "kind")


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "-"
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
