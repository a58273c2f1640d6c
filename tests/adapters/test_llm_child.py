"""The engine in a real child process, on a tiny model: answers, death, time-outs, and the memory given back."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, bar, config

from bot.adapters.llm_child import ChildEngine, _environment
from bot.adapters.naive_forecaster import NaiveEngine
from bot.errors import EngineFailed, Refused
from bot.ports import Company, Question

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed: extra llm")
QUESTION = Question(company=Company(symbol="2330", name="台積電", board="twse"), bars=(bar("100"),), future_sessions=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_llm import make_tiny_model

    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "tiny", digits=1)
    return folder


def engine_on(models: Path, **model: Any) -> ChildEngine:
    told = {"name": "tiny", "folder": str(models), "device": "cpu", **model}
    return ChildEngine(config(models, model=told).model)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@needs_torch
def test_a_child_answers_dies_is_replaced_and_gives_its_memory_back(models: Path) -> None:
    engine = engine_on(models)
    assert engine.pid is None  # nothing starts before the first question

    (told,) = engine.forecast([QUESTION])
    moods = engine.sentiment(["up", "down"])
    first = engine.pid
    half = "\ud83d\x00"  # half a character and a NUL, as JSON may bring them: they have no place in the child's pipe
    assert engine.sentiment([f"up{half}"])[0].score == pytest.approx(moods[0].score, abs=1e-4)
    assert engine.forecast([replace(QUESTION, context=(f"up{half}",))])
    mapped = Path(f"/proc/{first}/maps").read_text()  # what transformers would take along, a quarter of a start
    assert [name for name in ("torch", "sklearn", "pandas", "scipy") if f"/{name}/" in mapped] == ["torch"]

    assert told
    assert (told.symbol, len(told.bars), told.model) == ("2330", 2, engine.model)
    assert (len(told.bands), type(told.p_up)) == (2, float)
    assert len(moods) == 2
    assert first

    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineFailed, match=r"tiny@[0-9a-f]{12}:float32: the child was killed by signal 9"):
        engine.forecast([QUESTION])
    assert engine.pid is None

    assert engine.forecast([QUESTION]) == [told]  # another child, the same answer
    second = engine.pid
    assert second
    assert second != first
    engine.close()
    assert engine.pid is None
    assert not is_running(second)
    engine.close()  # closing twice does no harm


@needs_torch
def test_a_child_that_takes_too_long_is_killed(models: Path) -> None:
    engine = engine_on(models, timeout_s=0.2)

    began = time.monotonic()
    with pytest.raises(EngineFailed, match=r"no answer in the time that model\.timeout_s allows"):
        engine.forecast([QUESTION])

    assert time.monotonic() - began < 3
    assert engine.pid is None


@needs_torch
@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("echo first >&2; echo out of luck >&2; exit 3", EngineFailed, "the child ended with exit code 3: out of luck"),
        ("echo hello; cat", EngineFailed, "an answer that can't be read"),
        (
            """echo '{"type":"Failed","message":"no room","refused":false}'; cat""",
            EngineFailed,
            "^no room$",
        ),
        ("""echo '{"type":"Failed","message":"changed","refused":true}'; cat""", Refused, "^changed$"),
        ("""echo '{"type":"Ready","model":"other@0123456789ab"}'; cat""", EngineFailed, "loaded something else"),
    ],
)
def test_a_child_that_does_not_get_ready_is_ended_and_its_reason_told(
    monkeypatch: pytest.MonkeyPatch, models: Path, script: str, error: type[Exception], words: str
) -> None:
    python = models / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    engine = engine_on(models)

    with pytest.raises(error, match=words) as failure:
        engine.sentiment(["up"])

    assert "\n" not in str(failure.value)
    assert engine.pid is None


def test_an_absent_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    engine = ChildEngine(config(tmp_path).model)

    with pytest.raises(
        Refused, match=r"^model smollm2-135m is not in models/: run `twtrader model pull smollm2-135m`$"
    ):
        engine.forecast([QUESTION])

    assert engine.pid is None


def test_nothing_asked_starts_nothing(tmp_path: Path) -> None:
    engine = ChildEngine(config(tmp_path).model)

    assert engine.forecast([]) == []
    assert engine.sentiment([]) == []


def test_the_child_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWTRADER_PASSWORD", "secret")
    monkeypatch.setenv("NEWSAPI_KEY", "secret")

    assert "secret" not in _environment().values()


def test_the_parent_imports_nothing_heavy() -> None:
    code = (
        "import sys, bot.adapters.llm_child, bot.adapters.naive_forecaster, bot.adapters.model_store, bot.llm_cli;"
        "print([name for name in ('torch', 'transformers', 'numpy', 'pandas') if name in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)

    assert ran.stdout.strip() == "[]"


def test_the_naive_engine_says_that_nothing_changes_and_reads_no_news() -> None:
    engine = NaiveEngine()

    (told,) = engine.forecast([QUESTION])

    assert told
    assert [(one.open, one.high, one.low, one.close) for one in told.bars] == [(100, 100, 100, 100)] * 2
    assert engine.sentiment([]) == []
    with pytest.raises(EngineFailed, match="the naive engine reads no news"):
        engine.sentiment(["up"])
