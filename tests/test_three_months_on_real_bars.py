"""The daemon, unattended, on real bars of 2024-12-19..2025-03-31: each session's book against our own arithmetic.

And against the backtest: the same decisions, hash for hash, and the same book, dollar for dollar.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import SHARED, at
from rehearsals import real_bars, rehearsal, twtrader
from typer.testing import CliRunner

from backtest.cli import backtest_app
from backtest.replay import market_days, replay
from backtest.run import Asked, load, options_of, run_backtest
from bot.adapters.sqlite_open import open_database
from bot.config_file import load_config
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
CODES = ["2330", "2317", "2454", "2382", "3231"]
FIRST, LAST = date(2024, 12, 19), date(2025, 3, 31)  # started on 12-20 at 08:00, the last session is caught up
# A forecaster that says "tomorrow = today" never promises a profit: with these knobs the rule buys all the same and
# sells again the day after, so that each evening has orders on both sides.
CHURN = {"entry_edge_bps": -100, "exit_return_bps": 1, "top_k": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the three months' configuration and database lie."""
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def run(folder: Path) -> tuple[Any, dict[str, Any], str]:
    """(database, the sandbox's own book, the daemon's log) after the three months."""
    settings = SandboxSettings(start=at(date(2024, 12, 20), "08:00"), prices=SHARED / "prices", codes=tuple(CODES))
    with start_sandbox(settings) as sandbox:
        config = rehearsal(folder, sandbox.url, CODES, rules=CHURN)
        done = twtrader(config, "run", "--until", LAST.isoformat())
        assert done.returncode == 0, done.stderr[-2000:]
        before = sandbox.requests()
        again = twtrader(config, "run", "--until", LAST.isoformat())
        assert again.returncode == 0, again.stderr[-2000:]
        sent = [path for path in before if path.endswith(("/buy", "/sell"))]
        assert [sandbox.requests()[path] for path in sent] == [before[path] for path in sent]  # nothing twice
        return open_database(folder / "twtrader.db"), sandbox.book(), done.stderr


def test_every_session_was_worked_and_nothing_failed(run: tuple[Any, dict[str, Any], str]) -> None:
    db, _, log = run
    sessions = sorted(real_bars("2330", FIRST, LAST))
    stages = list(db.query("select * from stages"))
    done = {stage: [row["session"] for row in stages if row["stage"] == stage] for stage in ("prices", "send")}
    assert sorted(done["prices"]) == sorted(done["send"]) == [day.isoformat() for day in sessions]
    # The naive engine reads no news, so `forecast` says so; all else is plain "done".
    assert Counter(row["outcome"] for row in stages) == {"done": len(stages)}
    assert list(db.query("select text from surprises")) == []
    assert "ERROR" not in log
    assert "Traceback" not in log


def test_every_sessions_book_is_right_to_the_dollar(run: tuple[Any, dict[str, Any], str]) -> None:
    db, book, _ = run
    bars = {code: real_bars(code, FIRST, LAST) for code in CODES}
    sessions = sorted(bars["2330"])
    orders = list(db.query("select * from orders order by decided, side desc"))
    told = {row["session"]: row for row in db.query("select * from equity")}
    cash, shares, filled = 100_000_000, dict.fromkeys(CODES, 0), 0
    for before, today in zip([None, *sessions], sessions, strict=False):
        for order in orders:
            if before is None or order["decided"] != before.isoformat():
                continue
            limit = Decimal(order["limit_x100"]) / 100
            bar = bars[order["symbol"]].get(today)
            if bar is None or not bar["low"] <= limit <= bar["high"]:
                assert order["state"] == "expired"
                continue
            assert order["state"] == "filled"
            filled += 1
            value = limit * order["shares"]
            commission = max(20, int(value * Decimal("0.001425")))
            if order["side"] == "buy":
                cash -= int(value) + commission
                shares[order["symbol"]] += order["shares"]
            else:
                cash += int(value) - commission - int(value * Decimal("0.003"))
                shares[order["symbol"]] -= order["shares"]
        row = told[today.isoformat()]
        assert row["cash_twd"] == cash, today
        worth = sum(int(held * bars[code][today]["close"]) for code, held in shares.items())
        assert row["value_twd"] == worth, today
    assert filled > len(sessions)  # the arithmetic above had something to say
    assert book["cash_twd"] == cash
    in_the_book = {code: row["shares"] for code, row in book["positions"].items()}
    assert {code: held for code, held in shares.items() if held} == in_the_book


def test_the_backtest_is_the_same_hash_for_hash_and_dollar_for_dollar(
    folder: Path, run: tuple[Any, dict[str, Any], str]
) -> None:
    """The backtest proper, of the stored bars, ex-dates and forecasts: nothing of it comes from the journal."""
    db, book, _ = run
    config = load_config(folder / "config.toml")
    loaded = load(config, Asked(forecaster="stored"))
    assert {date(2025, 1, 2), date(2025, 3, 18)} < set(loaded.sessions)  # 2454, 2330 go ex; Source: ex_rights.csv
    assert {(one.symbol, one.ex_date) for one in loaded.events} >= {("2330", date(2025, 3, 18))}
    [forecaster] = loaded.forecasters
    days = market_days(loaded.history, loaded.sessions, forecaster, loaded.events)
    options = replace(options_of(config, "touch"), start_cash_twd=config.broker.start_cash_twd)
    steps = list(replay(loaded.history, days, config.rules, options, loaded.events))
    recorded = {row["session"]: row["sha256"] for row in db.query("select * from decisions")}
    assert len(steps) >= 60
    for step in steps:
        assert recorded[step.decided.isoformat()] == step.decision_sha256, step.decided
    told = {row["session"]: row["cash_twd"] for row in db.query("select * from equity")}
    assert {step.session.isoformat(): step.held.cash_twd for step in steps}.items() <= told.items()
    assert steps[-1].held.cash_twd == book["cash_twd"]
    held = {symbol: position.shares for symbol, position in steps[-1].held.positions.items()}
    assert held == {code: row["shares"] for code, row in book["positions"].items()}
    result = run_backtest(config, Asked(forecaster="stored"))  # the fast path, which makes no decisions as values
    [touch] = [one for one in result.runs if one.fill_rule == "touch" and one.forecaster == forecaster.name]
    assert touch.equity_twd[1:] == tuple(step.equity_twd for step in steps)


def test_parity_prints_both_hashes_and_both_books(folder: Path, run: tuple[Any, dict[str, Any], str]) -> None:
    _, book, _ = run
    told = CliRunner().invoke(backtest_app, ["parity"], obj=folder / "config.toml")
    assert told.exception is None, told.output
    assert told.stdout.count(f"NT${book['cash_twd']:,}") == 2
    facts = json.loads(CliRunner().invoke(backtest_app, ["parity", "--json"], obj=folder / "config.toml").stdout)[
        "book"
    ]
    assert facts["first_difference"] == ""
    assert facts["outside"] == []
    assert facts["recorded_sha256"] == facts["replayed_sha256"]
    assert len(facts["days"]) >= 60
    assert all(day["recorded"] == day["replayed"] for day in facts["days"])


def test_a_dollar_or_an_order_that_is_off_is_found_and_named(
    folder: Path, run: tuple[Any, dict[str, Any], str]
) -> None:
    """Copies of the journal with one thing changed: parity says the session, the stock and what."""
    db, _, _ = run
    db.execute("pragma wal_checkpoint(truncate)")
    key, session, fee = next(
        iter(db.execute("select key, session, commission_twd from fills order by id limit 1 offset 40"))
    )
    changes = {
        f"{session} cash: NT$|(NT$-1)": f"update fills set commission_twd = {fee + 1} where key = '{key}'",
        f"{session} {key.split(':')[2]}: ": f"update fills set shares = shares + 1000 where key = '{key}'",
    }
    for line, change in changes.items():
        shutil.copy(folder / "twtrader.db", folder / "changed.db")
        with closing(sqlite3.connect(folder / "changed.db")) as other:
            other.execute(change)
            other.commit()
        text = (folder / "config.toml").read_text(encoding="utf-8").replace("twtrader.db", "changed.db")
        (folder / "changed.toml").write_text(text, encoding="utf-8")
        told = CliRunner().invoke(backtest_app, ["parity"], obj=folder / "changed.toml")
        assert all(part in str(told.exception) for part in line.split("|")), told.exception
