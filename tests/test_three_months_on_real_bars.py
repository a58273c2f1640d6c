"""The daemon, unattended, on real bars of 2024-12-19..2025-03-31: each session's book against our own arithmetic.

And against the backtest: the same decisions, hash for hash, and the same book, dollar for dollar.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import SHARED, at
from rehearsals import real_bars, rehearsal, twtrader

from bot.adapters.sqlite_open import open_database
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
    """The backtest proper: bars and forecasts from the store, the ledger's own book, nothing from the journal."""
    db, book, _ = run
    config = load_config(folder / "config.toml")
    loaded = load(config, Asked(forecaster="stored"))
    assert len(loaded.sessions) >= 60
    assert date(2025, 3, 18) in loaded.sessions  # TSMC goes ex-dividend; Source: ex_rights.csv, 2330
    [model] = [one for one in loaded.forecasters if one.name == "naive@1"] or loaded.forecasters
    events = ExRightStore(db).events(CODES, since=FIRST, until=LAST)
    assert [(one.symbol, one.ex_date) for one in events] == [("2330", date(2025, 3, 18))]
    unpaid = [replace(one, cash_dividend=None, reference_x100=one.reference_x100) for one in events]
    assert unpaid
