"""`medicosam`: the console command. Each subcommand imports what it needs when it runs, so `--help` is quick."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from napari_medicosam.cli.bench import bench
from napari_medicosam.cli.console import results, run_app
from napari_medicosam.cli.convert import convert
from napari_medicosam.cli.demo import demo
from napari_medicosam.cli.embed import embed
from napari_medicosam.cli.models import models_app
from napari_medicosam.cli.replay import replay
from napari_medicosam.cli.segment import segment

app = typer.Typer(
    name="medicosam",
    help="Segment medical images with SAM models finetuned for medicine; the same engine as the napari plugin.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(segment)
app.command()(embed)
app.command()(convert)
app.command()(replay)
app.command()(demo)
app.command()(bench)
app.add_typer(models_app, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        results.print(metadata.version("napari-medicosam"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: see `run_app`."""
    run_app(app)
