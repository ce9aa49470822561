"""Records of options become options, and come back as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from napari_medicosam.cli.grouping import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--width", "-w", help="How wide it is.")]
    height: Annotated[int, typer.Option(min=1, rich_help_panel="Height alone")] = 3


@dataclass(frozen=True)
class Sized(Size):
    names: Annotated[list[str] | None, typer.Option("--name")] = None


def app_of(command):
    app = typer.Typer()
    app.command()(grouped(command))
    return app


def test_a_record_comes_back_as_it_was_given():
    seen = []

    def command(path: str, size: Sized, fast: Annotated[bool, typer.Option("--fast")] = False) -> None:
        """Says so."""
        seen.append((path, size, fast))

    app = app_of(command)
    assert CliRunner().invoke(app, ["here", "-w", "2", "--name", "a", "--name", "b", "--fast"]).exit_code == 0
    assert CliRunner().invoke(app, ["there", "--width", "5", "--height", "4"]).exit_code == 0
    assert seen == [("here", Sized(2, 3, ["a", "b"]), True), ("there", Sized(5, 4), False)]
    for words in (["here"], ["here", "-w", "2", "--height", "0"]):
        assert CliRunner().invoke(app, words).exit_code == 2
    told = CliRunner().invoke(app, ["--help"]).output
    assert all(text in told for text in ("Says so.", "How wide it is.", "Height alone"))


def test_two_options_of_one_name_are_a_mistake_of_ours():
    def command(width: int, size: Size) -> None:
        pass

    with pytest.raises(ValueError, match="duplicate parameter name: 'width'"):
        grouped(command)
