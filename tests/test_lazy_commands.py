"""Commands are found by name before they are imported, and none is lost by it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from builders import REPO
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import backtest.cli
import training.cli
from bot import cli
from bot.adapters.sqlite_open import open_database


def paths(group: TyperGroup, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command's words."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from paths(command, (*before, name))
        else:
            yield (*before, name)


def root() -> TyperGroup:
    group = get_command(cli.app)
    assert isinstance(group, TyperGroup)
    return group


@pytest.mark.parametrize(
    ("before", "table"), [((), cli.COMMANDS), (("backtest",), backtest.cli.MORE), (("train",), training.cli.COMMANDS)]
)
def test_every_name_in_the_tables_is_a_command_of_that_name(before: tuple[str, ...], table: Mapping[str, str]) -> None:
    there = {words[: len(before) + 1] for words in paths(root())}
    assert {(*before, name) for name in table} <= there
    for name in table:
        group = root()
        for word in before:
            group = group.commands[word]
        assert group.commands[name].name == name


def test_every_command_has_a_help_page_that_begins_with_its_usage() -> None:
    everything = list(paths(root()))
    assert len(everything) >= 45  # 49 at the time of writing
    for words in everything:
        if words[:2] == ("train", "sft"):  # fifty options; its page has tests of its own
            continue
        done = CliRunner().invoke(cli.app, [*words, "--help"], prog_name="twtrader")
        assert done.exit_code == 0, words
        assert f"Usage: twtrader {' '.join(words)} [" in " ".join(done.output.split()), words


def test_help_lists_them_in_the_table_s_order() -> None:
    page = CliRunner().invoke(cli.app, ["--help"]).output
    panel = page[page.index("Commands") :]
    assert re.findall(r"^│ ([a-z]\S*) ", panel, re.MULTILINE) == list(cli.COMMANDS)


def test_a_slip_of_the_keyboard_is_answered_with_the_right_name() -> None:
    done = CliRunner().invoke(cli.app, ["statsu"])
    assert done.exit_code == 2
    assert "Did you mean 'status'" in " ".join(done.output.replace("│", " ").split())


def loaded_by(folder: Path, *words: str) -> set[str]:
    """The modules that a real `twtrader` process has at its end."""
    code = (
        "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr)); "
        f"sys.argv = ['twtrader', *{list(words)!r}]; from bot.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    told: list[str] = json.loads(done.stderr.splitlines()[-1])
    return set(told)


def test_the_status_view_loads_nothing_that_it_does_not_draw(tmp_path: Path) -> None:
    """It is opened in a hurry: importing any of these shows at once, the trainer's and sqlite-utils' most."""
    (tmp_path / "config.toml").write_text((REPO / "config.toml").read_text(encoding="utf-8"), encoding="utf-8")
    open_database(tmp_path / "twtrader.db").close()
    needless: dict[str, Any] = dict.fromkeys(
        ("training", "backtest", "apscheduler", "asyncio", "sqlite_utils", "click", "httpx", "bot.run_cli", "bot.day")
    )
    loaded = loaded_by(tmp_path, "status", "--once")
    assert "bot.status_picture" in loaded
    assert loaded.isdisjoint(needless)
    plain = loaded_by(tmp_path, "status", "--json")
    assert {"bot.status_json"} <= plain
    assert plain.isdisjoint({*needless, "bot.status_picture"})
