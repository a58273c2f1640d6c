"""Options declared once as a dataclass: on the command line as if each command had them itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from bot.option_group import with_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    folder: Annotated[Path | None, typer.Option("--in", help="Where it lies.")] = None
    names: Annotated[list[str] | None, typer.Option("--name", help="May be repeated.")] = None
    most: Annotated[int, typer.Option(min=0, help="At most so many.")] = 7
    quick: Annotated[bool, typer.Option("--quick", help="In a hurry.")] = False


app = typer.Typer()


@app.command()
@with_options("shared", Shared)
def show(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A word.")],
    shared: Shared,
    times: Annotated[int, typer.Option()] = 1,
) -> None:
    """Print what was understood."""
    folder = str(shared.folder) if shared.folder else None
    typer.echo(json.dumps([context.obj, what, folder, shared.names, shared.most, shared.quick, times]))


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), obj="mine")
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("words", "understood"),
    [
        (["it"], ["mine", "it", None, None, 7, False, 1]),
        (
            ["--times", "3", "--name", "a", "it", "--in", "here", "--name", "b", "--most", "0", "--quick"],
            ["mine", "it", "here", ["a", "b"], 0, True, 3],
        ),
    ],
)
def test_a_command_gets_its_own_parameters_and_the_shared_ones_as_one_value(words: list[str], understood: list) -> None:
    assert json.loads(call(*words)) == understood


def test_help_tells_the_shared_options_where_the_parameter_stands() -> None:
    told = call("--help")
    assert "Print what was understood." in told
    assert "--shared" not in told
    places = [told.index(one) for one in ("--in", "--name", "--most", "--quick", "--times")]
    assert places == sorted(places)


def test_a_value_out_of_range_and_an_unknown_option_are_bad_usage() -> None:
    assert CliRunner().invoke(app, ["it", "--most", "-1"]).exit_code == 2
    assert CliRunner().invoke(app, ["it", "--shared", "x"]).exit_code == 2
