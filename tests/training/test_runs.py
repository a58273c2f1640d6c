"""The experiments' scripts: valid shell, only options that our commands have, and one of them from end to end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import REPO
from typer.main import get_command

from bot.cli import app

SCRIPTS = sorted((REPO / "training/runs").glob("*.sh"))
WANTED = {"fpb900", "sentiment_table", "columns", "schedulers", "context", "weekly_analysis", "throughput"}
OURS = {"shipped_adapter"}


def text_of(script: Path) -> str:
    """The script with continued lines joined, comments out, and its arrays in the places where they are used."""
    text = re.sub(r"\\\n\s*", " ", script.read_text())
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    for name, words in re.findall(r"^(\w+)=\(([^)]*)\)", text, flags=re.MULTILINE):
        text = text.replace(f'"${{{name}[@]}}"', words.replace("\n", " "))
    return text


def commands_in(script: Path) -> list[list[str]]:
    """The words of every call of twtrader."""
    return [shlex.split(line) for line in re.findall(r"\btwtrader (.*)", text_of(script))]


def test_each_source_documents_experiment_has_its_script() -> None:
    assert {script.stem for script in SCRIPTS} == WANTED | OURS
    assert all("set -euo pipefail" in script.read_text() for script in SCRIPTS)
    assert all(os.access(script, os.X_OK) for script in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_valid_shell_and_its_commands_have_the_options_that_it_uses(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    calls = commands_in(script)
    assert calls or script.stem == "throughput"
    for words in calls:
        command: Any = get_command(app)
        names = iter(words)
        while hasattr(command, "commands"):
            command = command.commands[next(names)]
        known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        used = {word for word in words if word.startswith("--")}
        assert used <= known, f"{script.name}: {used - known}"
        needed = {param.opts[0] for param in command.params if param.required and param.opts[0].startswith("--")}
        assert needed <= used, f"{script.name}: {needed - used} is missing"


def test_throughput_runs_a_benchmark_that_there_is() -> None:
    told = re.findall(r"(benchmarks/\S+\.py) (\w+)", text_of(REPO / "training/runs/throughput.sh"))
    assert {what for _, what in told} == {"one", "scale"}
    for path, what in told:
        assert f'"{what}"' in (REPO / path).read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_weekly_analysis_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("trl")
    from tiny_files import write_bars
    from tiny_runs import write_tiny_config

    config = write_tiny_config(tmp_path, engine="fused", max_length=512)
    write_bars(tmp_path / "bars", ["2330", "2317"], first=date(2024, 1, 1), sessions=160)
    news = tmp_path / "headlines.csv"
    news.write_text("time,title,url\n2024-02-01 09:00,台積電 profit up,https://example.com/1\n", encoding="utf-8")
    wrapper = tmp_path / "bin/twtrader"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m bot --config {config} "$@"\n')
    wrapper.chmod(0o755)
    told = {"DATA": tmp_path / "bars", "NEWS": news, "OUT": tmp_path / "out", "MODEL": "tiny", "STEPS": "2"}
    told |= {"QUESTIONS": "4", "CUT": "2024-05-31", "VALID": "2024-06-28", "MAX_LENGTH": "512", "TOKENS": "8"}
    environment = {name: str(value) for name, value in told.items()}
    environment |= {"PATH": f"{wrapper.parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPO), "HOME": str(tmp_path)}
    environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200"}

    done = subprocess.run(
        [REPO / "training/runs/weekly_analysis.sh"], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out/weekly/adapter/adapter.json").is_file()
    assert "2 steps" in done.stdout
    assert re.search(r"^base: \d of 4 say a label", done.stdout, re.MULTILINE)
    assert re.search(r"^weekly: \d of 4 say a label", done.stdout, re.MULTILINE)
