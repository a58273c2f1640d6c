"""The evening's prices against the real sandbox: few requests, closures of both kinds, bad rows, holes, back-fill."""

from __future__ import annotations

import csv
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from builders import SHARED, at
from rehearsals import SECRETS, command, rehearsal, twtrader
from test_day import Rehearsal

from bot.config import TAIPEI
from bot.config_file import load_config
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.wiring import open_ports

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
PRICES = SHARED / "prices"
CODES = sorted(path.stem for path in PRICES.glob("[0-9]*.csv")) if SHARED.exists() else []
WEDNESDAY, TYPHOON, FRIDAY = date(2024, 10, 30), date(2024, 10, 31), date(2024, 11, 1)
TWSE_DAY, TPEX_DAY = "/twse/rwd/zh/afterTrading/MI_INDEX", "/tpex/www/zh-tw/afterTrading/dailyQuotes"
TWSE_MONTH, TPEX_MONTH = "/twse/exchangeReport/STOCK_DAY", "/tpex/www/zh-tw/afterTrading/tradingStock"
PRICE_PATHS = (TWSE_DAY, TPEX_DAY, TWSE_MONTH, TPEX_MONTH)


def price_requests(sandbox: Sandbox) -> int:
    return sum(sandbox.requests().get(path, 0) for path in PRICE_PATHS)


def exchange_requests(sandbox: Sandbox) -> int:
    return sum(count for path, count in sandbox.requests().items() if path.startswith(("/twse/", "/tpex/")))


@pytest.fixture
def evening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Rehearsal]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("bot.core.sessions.CLOSURES", {})  # what comes in must tell, not our list of closings
    codes = getattr(request, "param", ["2330", "2317", "3088", "6166"])
    settings = SandboxSettings(start=at(date(2024, 10, 29), "14:30"), prices=PRICES, codes=tuple(codes))
    with start_sandbox(settings) as sandbox:
        path = rehearsal(tmp_path, sandbox.url, codes, history={"sessions": 5}, model={"past_sessions": 5})
        config = load_config(path)
        with open_ports(config) as ports:
            yield Rehearsal(sandbox, ports, config)


@pytest.mark.parametrize("evening", [CODES], indirect=True)
def test_an_ordinary_evening_for_41_stocks_is_two_requests(evening: Rehearsal) -> None:
    evening.work_at(date(2024, 10, 29), "15:00")  # the first evening fills the history
    first = price_requests(evening.sandbox)
    assert first >= len(CODES)
    evening.work_at(WEDNESDAY, "15:00")
    assert evening.outcomes(WEDNESDAY)["prices"] == "done"
    assert price_requests(evening.sandbox) - first == 2
    before = exchange_requests(evening.sandbox)
    evening.work_at(WEDNESDAY, "18:30")
    assert price_requests(evening.sandbox) - first == 2
    assert exchange_requests(evening.sandbox) - before <= 6 - 2  # ex-dates are asked for, too
    evening.work_at(TYPHOON, "15:00")
    evening.work_at(TYPHOON, "18:00")
    asked = price_requests(evening.sandbox)
    evening.work_at(FRIDAY, "15:00")
    assert evening.outcomes(FRIDAY)["prices"] == "done"
    assert price_requests(evening.sandbox) - asked == 2  # the closed day is known for one and not asked for again
    stored = evening.ports.market.bars_of(FRIDAY)
    assert len(stored) == len([code for code in CODES if has_bar(code, FRIDAY)])


def has_bar(code: str, day: date) -> bool:
    with (PRICES / f"{code}.csv").open(encoding="utf-8") as file:
        return any(row["date"] == day.isoformat() for row in csv.DictReader(file))


def test_a_feed_that_repeats_yesterday_under_todays_date_is_a_closure_and_no_bar(evening: Rehearsal) -> None:
    evening.work_at(WEDNESDAY, "18:30")
    for path in (TWSE_DAY, TPEX_DAY):
        evening.sandbox.fault(path, "repeat_last_session", times=9)
    assert not evening.work_at(TYPHOON, "15:00")
    assert evening.work_at(TYPHOON, "18:00")
    assert evening.outcomes(TYPHOON) == {"prices": "closed"}
    assert evening.ports.market.bars_of(TYPHOON) == {}
    assert evening.ports.journal.decision_sha256(TYPHOON) is None
    [(_, told)] = [one for one in evening.ports.journal.surprises() if one[0] == TYPHOON]
    assert told == (
        "prices closed: 3 of 3 stocks repeat the last session and 1 of 1 stocks repeat the last session: "
        "closed without notice?"
    )
    rows = list(evening.ports.market.db["quarantine"].rows)
    assert {(row["symbol"], row["kind"]) for row in rows} == {
        (symbol, "closure") for symbol in ("2330", "2317", "3088", "6166")
    }
    evening.sandbox.clear_faults()
    evening.work_at(FRIDAY, "15:00")
    assert len(evening.ports.market.bars_of(FRIDAY)) == 4


def test_a_bad_row_is_quarantined_reported_and_the_others_are_stored(evening: Rehearsal) -> None:
    evening.sandbox.fault(TWSE_DAY, "bad_row")
    evening.work_at(WEDNESDAY, "15:00")
    assert evening.outcomes(WEDNESDAY)["prices"] == "done"
    assert sorted(evening.ports.market.bars_of(WEDNESDAY)) == ["2330", "3088", "6166"]
    [row] = evening.ports.market.db["quarantine"].rows
    assert (row["symbol"], row["session"], row["kind"]) == ("2317", "2024-10-30", "row")
    assert row["reason"] == "open or close is outside low..high"
    assert '"鴻海"' in row["raw"]
    assert any("1 rows in quarantine" in text for _, text in evening.ports.journal.surprises())


def test_one_board_that_repeats_while_the_other_trades_is_a_failure_not_a_closure(evening: Rehearsal) -> None:
    evening.work_at(date(2024, 10, 29), "15:00")
    evening.sandbox.fault(TPEX_DAY, "repeat_last_session", times=99)
    assert not evening.work_at(WEDNESDAY, "15:00")
    evening.work_at(WEDNESDAY, "18:30")
    assert evening.outcomes(WEDNESDAY)["prices"] == "failed"
    assert evening.orders() == []


def test_sessions_missed_while_the_daemon_was_away_come_in_bulk(evening: Rehearsal) -> None:
    evening.work_at(date(2024, 10, 29), "15:00")
    asked = price_requests(evening.sandbox)
    evening.work_at(date(2024, 11, 6), "15:00")
    # 30th, typhoon, 1st, 4th, 5th and 6th, two boards each
    assert price_requests(evening.sandbox) - asked == 12
    for symbol in ("2330", "6166"):
        days = [bar.session.day for bar in evening.ports.market.bars(symbol, until=date(2024, 11, 6), last=6)]
        assert days == [29, 30, 1, 4, 5, 6]


# --- back-fill --------------------------------------------------------------------------------------------


def month_requests(sandbox: Sandbox) -> int:
    return sum(sandbox.requests().get(path, 0) for path in (TWSE_MONTH, TPEX_MONTH))


def asked_months(sandbox: Sandbox) -> Counter[tuple[str, str]]:
    """How often each stock-month was asked for, from the sandbox's own log."""
    found: Counter[tuple[str, str]] = Counter()
    for one in sandbox.asked():
        if one["path"] in (TWSE_MONTH, TPEX_MONTH):
            query = {key: values[0] for key, values in parse_qs(one["query"]).items()}
            code = query.get("stockNo") or query["code"]
            found[code, query["date"].replace("/", "")[:6]] += 1
    return found


def bars_in_store(path: Path) -> dict[tuple[str, str], int]:
    db = sqlite3.connect(path)
    rows = db.execute("select symbol, session, close_x100 from bars").fetchall()
    db.close()
    return {(symbol, session): close for symbol, session, close in rows}


def bars_in_files(codes: list[str], first: str, last: str) -> dict[tuple[str, str], int]:
    found = {}
    for code in codes:
        with (PRICES / f"{code}.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if first <= row["date"] <= last and row["close"]:
                    found[code, row["date"]] = round(float(row["close"]) * 100)
    return found


BACK_FILL = int(os.environ.get("TWTRADER_BACK_FILL_STOCKS", "4"))
FROM = os.environ.get("TWTRADER_BACK_FILL_FROM", "2022-01")


def test_a_back_fill_killed_in_the_middle_loses_and_repeats_no_month(tmp_path: Path) -> None:
    codes = (["2330", "3088", "2308", "6206"] + [code for code in CODES if code not in ("2330", "3088")])[:BACK_FILL]
    if len(CODES) <= BACK_FILL:
        codes = CODES
    start = datetime(2025, 6, 30, 17, 0, tzinfo=TAIPEI)
    with start_sandbox(SandboxSettings(start=start, prices=PRICES, codes=tuple(codes))) as sandbox:
        config = rehearsal(tmp_path, sandbox.url, codes)
        words = command(config, "data", "fetch", "--from", FROM)
        kills = 0
        for share in (0.3, 0.6):
            wanted = share * len(codes) * months_between(FROM)
            child = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while child.poll() is None and month_requests(sandbox) < wanted:
                continue  # each look is a request of its own
            assert child.poll() is None, child.communicate()[1]
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
            kills += 1
        done = twtrader(config, "data", "fetch", "--from", FROM, "--json")
        asked = asked_months(sandbox)
        assert done.returncode == 0, done.stderr
        assert len(asked) == len(codes) * months_between(FROM)
        # At most the one request that was in the air at each kill is asked again; no stored month ever is.
        assert sum(asked.values()) - len(asked) <= kills
        assert max(asked.values()) <= 2
        total = sum(asked.values())
        assert twtrader(config, "data", "fetch", "--from", FROM).returncode == 0
        assert sum(asked_months(sandbox).values()) == total
    stored = bars_in_store(tmp_path / "twtrader.db")
    told = bars_in_files(codes, f"{FROM}-01", "2025-06-30")
    lost = {one for one in told if one not in stored}
    db = sqlite3.connect(tmp_path / "twtrader.db")
    kept = set(db.execute("select symbol, session from quarantine where kind = 'limit'").fetchall())
    db.close()
    assert lost <= kept  # ex-dates that nobody told the gate of
    assert stored == {one: told[one] for one in told if one not in lost}


def months_between(first: str) -> int:
    year, month = (int(part) for part in first.split("-"))
    return (2025 - year) * 12 + 6 - month + 1
