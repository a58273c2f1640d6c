"""Imports point inwards, and heavy libraries stay out of what is always running."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from builders import REPO

OURS = ("bot", "backtest", "training")


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports anywhere, functions included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
    return found


def test_core_imports_only_itself_and_the_errors() -> None:
    for path in sorted((REPO / "bot/core").glob("*.py")):
        ours = {name for name in imports_of(path) if name.split(".")[0] in OURS}
        outside = {name for name in ours if not name.startswith("bot.core") and name != "bot.errors"}
        assert not outside, f"{path.name} imports {outside}"


def test_core_touches_nothing() -> None:
    touching = {"os", "pathlib", "socket", "subprocess", "random", "httpx", "requests", "sqlite3", "logging", "time"}
    for path in sorted((REPO / "bot/core").glob("*.py")):
        assert not imports_of(path) & touching, path.name


def test_adapters_and_sandbox_know_nothing_of_the_day_or_the_daemon() -> None:
    for folder in ("bot/adapters", "bot/sandbox"):
        for path in sorted((REPO / folder).glob("*.py")):
            upwards = imports_of(path) & {"bot.stages", "bot.day", "bot.daemon", "bot.cli", "bot.status", "bot.wiring"}
            assert not upwards, f"{path.name} imports {upwards}"


@pytest.mark.parametrize("module", ["bot.cli", "bot.daemon", "bot.wiring", "bot.status_json", "bot.status_picture"])
def test_the_heavy_libraries_wait_until_a_job_needs_them(module: str) -> None:
    heavy = ("torch", "shioaji", "vectorbt", "pandas", "numpy", "transformers", "plotly", "numba")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout.strip() == "[]"
