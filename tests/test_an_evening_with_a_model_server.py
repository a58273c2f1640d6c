"""The real daemon asks a model server over the wire: forecasts, moods, orders; then the server fails, then it is gone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import at
from rehearsals import rehearsal, twtrader
from test_canary import shapes

from bot.adapters.sqlite_open import open_database
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

KEY = "model-key/with+odd=signs-0123456789"
CODES = ["2330", "2317", "2454", "2382"]
MONDAY, TUESDAY, WEDNESDAY = date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5)


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    """A sandbox whose model server has a key, and a config that asks it."""
    settings = SandboxSettings(start=at(MONDAY, "14:30"), codes=tuple(CODES), seed=5, newsapi_key="k", model_key=KEY)
    with start_sandbox(settings) as sandbox:
        folder = tmp_path_factory.mktemp("evening")
        config = rehearsal(
            folder,
            sandbox.url,
            CODES,
            history={"sessions": 25},
            model={"engine": "openai", "samples": 9, "past_sessions": 20, "future_sessions": 5},
            model__server={"base_url": f"{sandbox.url}/llm/vllm/v1", "attempts": 2, "timeout_s": 10.0},
            rules={"entry_edge_bps": -200, "exit_return_bps": -1000},
            limits={"daily_loss_bps": 0, "drawdown_bps": 0},
        )
        yield sandbox, config


def run(config: Path, until: date) -> subprocess.CompletedProcess[str]:
    done = twtrader(config, "run", "--until", until.isoformat(), TWTRADER_MODEL_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows(config: Path, question: str) -> list[dict[str, Any]]:
    db = open_database(config.parent / "twtrader.db")
    try:
        return list(db.query(question))
    finally:
        db.close()


def test_an_evening_on_a_model_server(evening: tuple[Sandbox, Path]) -> None:
    sandbox, config = evening

    done = run(config, MONDAY)

    assert "4 of 4 stocks forecast" in done.stderr
    forecasts = rows(config, "select f.*, a.model from forecasts f join answers a on a.id = f.answer")
    assert {one["symbol"] for one in forecasts} == set(CODES)
    (model,) = {one["model"] for one in forecasts}
    assert model.startswith("smollm2-135m(sandbox-llm)@unverified-")
    assert model.endswith("+n9")
    moods = rows(config, "select * from sentiments")
    assert {one["model"] for one in moods} == ({model} if moods else set())
    assert rows(config, "select * from orders")  # the rule traded on them
    asked = sandbox.requests()["/llm/vllm/v1/completions"]
    evenings = len({one["as_of"] for one in forecasts})
    references = {16 * count for count in range(evenings + 1)}  # asked once an evening that brought headlines
    assert asked - len(forecasts) - len(moods) in references  # vLLM gives the nine samples in one reply
    said = json.loads(twtrader(config, "status", "--once", "--json").stdout)
    assert "4 of 4" in json.dumps(said)


def test_a_failing_server_costs_single_stocks_and_a_dead_one_the_evening(evening: tuple[Sandbox, Path]) -> None:
    sandbox, config = evening
    sandbox.fault("/llm/vllm/v1/completions", "llm_garbage", times=4)

    assert "0 of 4 stocks forecast (4 x not in the answer language)" in run(config, TUESDAY).stderr

    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(f"{sandbox.url}/llm/vllm/v1", "http://127.0.0.1:9/v1"), encoding="utf-8")
    done = run(config, WEDNESDAY)
    config.write_text(text, encoding="utf-8")
    assert "abstained: model server at http://127.0.0.1:9/v1: nobody answers there" in done.stderr
    assert not rows(config, f"select * from forecasts where as_of > '{MONDAY}'")
    stages = rows(config, f"select stage, outcome from stages where session = '{WEDNESDAY}'")
    assert {"forecast": "failed", "decide": "done"}.items() <= {one["stage"]: one["outcome"] for one in stages}.items()


def test_no_evening_shows_or_leaves_the_key(evening: tuple[Sandbox, Path]) -> None:
    """A server that sends our headers back, as pages and as errors, does not get the key written down."""
    sandbox, config = evening
    for kind in ("echo_json", "echo_html"):
        sandbox.fault("/llm/vllm/v1/completions", kind, times=2)

    done = run(config, date(2025, 3, 6))

    assert "0 of 4 stocks forecast" in done.stderr or "abstained" in done.stderr
    told = [done.stdout.encode(), done.stderr.encode()]
    told += [path.read_bytes() for path in config.parent.rglob("*") if path.is_file()]
    assert not [name for name, shape in shapes(KEY).items() if any(shape in one for one in told)]
