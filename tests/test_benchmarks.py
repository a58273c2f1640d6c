"""Benchmarks run by hand and on other machines: here each one starts, and finds all that it takes from our code."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from builders import REPO

FOLDER = REPO / "benchmarks"
OURS = ("bot", "backtest", "training", "benchmarks")
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text(encoding="utf-8"))
PLACES = (REPO, FOLDER, REPO / "tests", REPO / "tests/backtest")  # where the scripts look for our modules
# torch and transformers are imported once for all scripts, as our code does it; each start is a fork of that without ours.
STARTER = """
import gc, os, runpy, sys, traceback
sys.path[0] = sys.argv[1]
import bot.adapters.llm_loading
for name in [name for name in sys.modules if name.split(".")[0] == "bot"]:
    del sys.modules[name]
gc.freeze()
for script in sys.argv[2:]:
    pid = os.fork()
    if not pid:
        sys.path[0] = os.path.dirname(script)  # as of `python script`
        sys.argv = [script, "--help"]
        code = 3  # it did not end at --help: whatever it did, it reads no arguments
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:
            code = 0 if ended.code in (0, None) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print("ended:", os.path.basename(script), code, flush=True)
"""


def module_file(name: str) -> Path | None:
    """The file of one of our modules; None for libraries."""
    parts = Path(*name.split("."))
    tried = (place / one for place in PLACES for one in (parts.with_suffix(".py"), parts / "__init__.py"))
    return next((path for path in tried if path.is_file()), None)


def names_in(path: Path) -> set[str]:
    """What a module binds outside of functions and classes, and the modules beside a package's __init__."""
    found = {one.stem for one in path.parent.iterdir()} if path.name == "__init__.py" else set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        waiting += ast.iter_child_nodes(node)
    return found


def missing_from_ours(script: Path) -> list[str]:
    """The names that a script imports from our modules, in functions too, and that are not there."""
    found = []
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            file = module_file(node.module)
            have = names_in(file) if file else set()
            found += [f"{node.module}.{one.name}" for one in node.names if file and one.name not in have]
            if file is None and node.module.split(".")[0] in OURS:
                found.append(node.module)
    return found


@pytest.mark.parametrize("script", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_benchmark_imports_nothing_of_ours_that_is_gone(script: Path) -> None:
    assert missing_from_ours(script) == []


def test_every_benchmark_starts_and_says_what_it_may_be_asked() -> None:
    """With --help, those for CUDA too: everything at a module's top is imported."""
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        pytest.skip("torch or transformers is not installed: extra llm")
    assert len(SCRIPTS) >= 8
    words = [sys.executable, "-c", STARTER, str(REPO), *map(str, SCRIPTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/", timeout=120)
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended:")]
    assert ended == [f"ended: {script.name} 0" for script in SCRIPTS], done.stderr[-2000:]
    for script in SCRIPTS:
        assert f"usage: {script.name}" in done.stdout
