"""The box was off or asleep: what was missed is said once, what can be done late is done, and nothing past is decided."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import SHARED, at
from rehearsals import SECRETS, real_bars, rehearsal, twtrader

from bot.config import STAGES, Config
from bot.config_file import load_config
from bot.core.orders import OrderState
from bot.daemon import run_due
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.stage import Ports
from bot.wiring import open_ports

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
CODES = ["2330", "2317"]
# 2330 went ex-dividend on Thursday 2024-12-12. Source: prices/ex_rights.csv of the shared data.
MONDAY, TUESDAY, WEDNESDAY, EX_DATE, FRIDAY = (date(2024, 12, day) for day in (9, 10, 11, 12, 13))
NEXT_MONDAY = date(2024, 12, 16)
BUYER = {"entry_edge_bps": -100, "buy_offset_bps": -50, "top_k": 2}


class Box:
    """A daemon's ports at a sandbox that replays real bars."""

    def __init__(self, sandbox: Sandbox, ports: Ports, config: Config, path: Path) -> None:
        self.sandbox, self.ports, self.config, self.path = sandbox, ports, config, path

    def work_at(self, day: date, clock: str) -> bool:
        self.sandbox.move_to(at(day, clock))
        return run_due(self.ports, self.config) is None

    def outcomes(self, day: date) -> list[str]:
        runs = [self.ports.journal.stages.find(day, stage) for stage in STAGES]
        return [run.outcome if run else "" for run in runs]

    def missed(self) -> list[tuple[date, str]]:
        return [one for one in self.ports.journal.surprises() if one[1].startswith("missed")]

    def cash_of_fills_twd(self) -> int:
        return 100_000_000 + sum(fill.cash_change_twd for fill in self.ports.journal.orders.fills())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self.ports.journal.db.execute(sql).fetchall())


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = SandboxSettings(start=at(MONDAY, "14:30"), prices=SHARED / "prices", codes=tuple(CODES))
    with start_sandbox(settings) as sandbox:
        path = rehearsal(tmp_path, sandbox.url, CODES, rules=BUYER)
        config = load_config(path)
        with open_ports(config) as ports:
            yield Box(sandbox, ports, config, path)


def test_sessions_missed_over_an_ex_date_settle_in_the_session_that_traded(box: Box) -> None:
    assert box.work_at(TUESDAY, "18:30")  # orders for Wednesday; then the box is off until Friday evening
    limits = {one.order.symbol: one.order.limit_x100 for one in box.ports.journal.orders.select()}
    assert set(limits) == set(CODES)
    assert box.work_at(FRIDAY, "18:30")
    wednesday = {code: real_bars(code, WEDNESDAY, WEDNESDAY)[WEDNESDAY] for code in CODES}
    touched = {code for code, bar in wednesday.items() if bar["low"] * 100 <= limits[code] <= bar["high"] * 100}
    assert touched  # or this test shows nothing
    fills = [fill for fill in box.ports.journal.orders.fills() if fill.session < FRIDAY]
    assert {(fill.symbol, fill.session, fill.price_x100) for fill in fills} == {
        (code, WEDNESDAY, limits[code]) for code in touched
    }
    book = box.sandbox.book()
    assert box.cash_of_fills_twd() == book["cash_twd"]
    assert {code: row["shares"] for code, row in book["positions"].items()} == {
        code: held.shares for code, held in box.ports.journal.portfolio().positions.items()
    }
    # The bars of the days between are there, and the ex-date is known.
    assert box.rows("select distinct session from bars where session between '2024-12-11' and '2024-12-13'") == [
        ("2024-12-11",), ("2024-12-12",), ("2024-12-13",),
    ]  # fmt: skip
    assert box.rows("select distinct symbol from ex_rights where ex_date = '2024-12-12'") == [("2330",)]


def test_missed_sessions_are_said_stage_by_stage_once_and_shown(box: Box) -> None:
    assert box.work_at(TUESDAY, "17:05")  # prices, settle, news; then off until Friday evening
    assert box.work_at(FRIDAY, "18:30")
    assert box.work_at(FRIDAY, "18:31")
    assert box.work_at(NEXT_MONDAY, "18:30")
    away = "twtrader was not running, or asleep"
    assert sorted(box.missed()) == [
        (TUESDAY, f"missed: forecast, decide, send ({away})"),
        (WEDNESDAY, f"missed: prices, settle, news, forecast, decide, send ({away})"),
        (EX_DATE, f"missed: prices, settle, news, forecast, decide, send ({away})"),
    ]
    assert box.outcomes(TUESDAY) == ["done", "done", "done", "missed", "missed", "missed"]
    assert box.outcomes(WEDNESDAY) == ["missed"] * 6
    assert set(box.outcomes(FRIDAY)) == {"done"}
    assert box.rows("select session from decisions order by 1") == [("2024-12-13",), ("2024-12-16",)]
    shown = twtrader(box.path, "status", "--once", COLUMNS="140").stdout
    assert "2024-12-11 missed: prices, settle, news, forecast, decide, send" in shown


def test_a_night_and_a_weekend_off_miss_nothing(box: Box) -> None:
    assert box.work_at(FRIDAY, "18:30")
    assert box.work_at(NEXT_MONDAY, "14:00")
    assert box.work_at(NEXT_MONDAY, "18:30")
    assert box.missed() == []


def test_what_was_decided_but_not_sent_is_cancelled_and_said(box: Box) -> None:
    assert box.work_at(TUESDAY, "18:25")
    assert box.work_at(WEDNESDAY, "15:00")
    assert {one.state for one in box.ports.journal.orders.select()} == {OrderState.CANCELLED}
    [(session, text)] = box.missed()
    assert (session, text.split(" (")[0]) == (TUESDAY, "missed: send")


def test_a_past_session_is_not_worked_any_more(box: Box) -> None:
    assert box.work_at(TUESDAY, "18:30")
    box.sandbox.move_to(at(FRIDAY, "18:30"))
    done = twtrader(box.path, "run", "--date", WEDNESDAY.isoformat())
    assert done.returncode == 1
    assert "2024-12-11 is past: 2024-12-13 has traded since, and no decision is made for a past session" in done.stderr
    assert box.outcomes(WEDNESDAY) == [""] * 6


def test_an_unannounced_closing_while_the_box_was_off_is_no_certain_miss(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken off the schedule of nobody: a day that we took for a session and of which no bar ever came."""
    monkeypatch.setattr("bot.core.sessions.CLOSURES", {})
    assert box.work_at(TUESDAY, "18:30")
    box.ports.journal.db.execute("create trigger closed before insert on bars when new.session = '2024-12-11' "
                                 "begin select raise(ignore); end")  # fmt: skip
    assert box.work_at(EX_DATE, "15:45")
    [(session, text)] = box.missed()
    assert session == WEDNESDAY
    assert text.endswith("; no stock has a bar: perhaps the exchange was closed)")
