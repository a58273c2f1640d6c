"""A clock that is stepped under the daemon: nothing twice, no order into a session that has begun, no poison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import at
from rehearsals import SECRETS, rehearsal, twtrader

from bot.adapters.sqlite_runs import ClockMark
from bot.clockwatch import look_at_clock
from bot.config import Config
from bot.config_file import load_config
from bot.core.clockmark import Trust
from bot.core.orders import OrderState
from bot.daemon import run_due
from bot.rehearsal import CHURN
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.stage import Ports
from bot.wiring import open_ports

CODES = ["2330", "2317"]
MONDAY, TUESDAY, WEDNESDAY = date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5)
HOUR, DAY = 3600.0, 86_400.0


class Box:
    """A daemon's ports, whose clock the test moves and sets wrong."""

    def __init__(self, sandbox: Sandbox, ports: Ports, config: Config, path: Path) -> None:
        self.sandbox, self.ports, self.config, self.path = sandbox, ports, config, path

    def work_at(self, day: date, clock: str, skew_s: float = 0.0) -> bool:
        """The exchange's time is `clock`, ours is wrong by `skew_s`; False while something waits."""
        self.sandbox.move_to(at(day, clock))
        self.sandbox.skew(skew_s)
        return run_due(self.ports, self.config) is None

    def outcomes(self, day: date) -> dict[str, str]:
        rows = self.ports.journal.db.query("select stage, outcome from stages where session = ?", [day.isoformat()])
        return {row["stage"]: row["outcome"] for row in rows}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self.ports.journal.db.execute(sql).fetchall())

    def surprises(self, word: str) -> list[str]:
        return [text for _, text in self.ports.journal.surprises() if word in text]

    def posts(self) -> int:
        return sum(count for path, count in self.sandbox.requests().items() if path.endswith(("/buy", "/sell")))


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with start_sandbox(SandboxSettings(start=at(MONDAY, "14:00"), codes=tuple(CODES), seed=5)) as sandbox:
        path = rehearsal(tmp_path, sandbox.url, CODES, **CHURN)
        config = load_config(path)
        with open_ports(config) as ports:
            yield Box(sandbox, ports, config, path)


def test_five_minutes_back_and_forth_run_nothing_twice_and_are_told_once(box: Box) -> None:
    for clock, skew_s in (("15:02", 0.0), ("15:02", -300.0), ("15:03", -300.0), ("15:04", 300.0), ("15:05", 0.0)):
        assert box.work_at(MONDAY, clock, skew_s)
    assert box.outcomes(MONDAY) == {"prices": "done"}
    assert box.rows(f"select stage, tries, outcome from stage_runs where session = '{MONDAY}'") == [
        ("prices", 1, "done")
    ]
    assert len(box.surprises("the clock went back from 2025-03-03 15:02")) == 1
    assert len(box.surprises("the clock went back from 2025-03-03 15:09")) == 1


def test_no_order_is_sent_by_a_clock_that_went_back_behind_the_opening(box: Box) -> None:
    assert box.work_at(MONDAY, "18:25")  # decided; then the box sleeps over the opening ...
    assert {one.state for one in box.ports.journal.orders.select()} == {OrderState.PLANNED}
    box.sandbox.move_to(at(TUESDAY, "09:05"))
    look_at_clock(box.ports, box.config.timetable)  # ... wakes up, reads the clock, and is killed
    assert box.work_at(TUESDAY, "09:06", -HOUR)  # its clock says 08:06 now, and the deadline would be to come
    assert {one.state for one in box.ports.journal.orders.select()} == {OrderState.CANCELLED}
    assert box.posts() == 0


def test_the_same_evening_with_a_right_clock_sends_them(box: Box) -> None:
    assert box.work_at(MONDAY, "18:25")
    assert box.work_at(TUESDAY, "08:06")
    assert {one.state for one in box.ports.journal.orders.select()} == {OrderState.ACCEPTED}
    assert box.posts() == 2


def test_a_year_ahead_by_mistake_decides_nothing_and_leaves_nothing(box: Box) -> None:
    assert box.work_at(MONDAY, "17:30")
    for _ in range(3):  # it stays waiting, however long
        assert not box.work_at(MONDAY, "17:35", 365 * DAY)
    assert len(box.surprises("the clock jumped to 2026-03-03 from 2025-03-03 17:30")) == 1
    assert box.rows("select outcome from stages where session = '2026-03-03'") == [("waiting",)]
    assert ClockMark(box.ports.journal.db).highest() == at(MONDAY, "17:30")
    assert box.work_at(MONDAY, "18:30")  # set right: the evening goes on as if nothing had been
    assert box.outcomes(MONDAY)["send"] == "done"
    assert box.posts() == 2
    assert not box.surprises("missed")


def test_a_day_ahead_is_believed_but_what_it_concluded_of_tomorrow_is_void(box: Box) -> None:
    assert box.work_at(MONDAY, "17:30")
    assert box.work_at(MONDAY, "18:31", DAY)  # says Tuesday: no bars of it, so "closed without notice"
    assert box.outcomes(TUESDAY) == {"prices": "closed"}
    box.work_at(MONDAY, "18:32")  # set right
    assert box.outcomes(TUESDAY) == {}
    assert box.surprises("is void")
    # Monday's orders: by the highest moment seen, Tuesday 18:31, their session has begun. Safe, and said.
    assert {one.state for one in box.ports.journal.orders.select()} == {OrderState.CANCELLED}
    assert box.surprises("the clock went back from 2025-03-04 18:31")
    assert box.work_at(TUESDAY, "18:32")
    assert set(box.outcomes(TUESDAY).values()) == {"done"}
    assert box.rows(f"select outcome from stage_runs where session = '{TUESDAY}' and stage = 'prices'") == [
        ("void",), ("done",),
    ]  # fmt: skip


def test_a_person_can_say_that_the_clock_is_right(box: Box) -> None:
    assert box.work_at(MONDAY, "17:30")
    look_at_clock(box.ports, box.config.timetable)
    box.sandbox.skew(DAY)
    assert look_at_clock(box.ports, box.config.timetable) is Trust.STEADY
    box.sandbox.skew(0)
    told = json.loads(twtrader(box.path, "clock", "--json").stdout)
    assert told == {"now": "2025-03-03T17:30:00+08:00", "highest_seen": "2025-03-04T17:30:00+08:00", "trust": "behind"}
    assert "twtrader clock --trust-now" in twtrader(box.path, "clock").stdout
    assert json.loads(twtrader(box.path, "clock", "--trust-now", "--json").stdout)["trust"] == "steady"
    assert box.work_at(MONDAY, "18:30")
    assert box.posts() == 2


def test_weeks_away_are_believed_as_soon_as_the_exchange_shows_bars(box: Box) -> None:
    assert box.work_at(MONDAY, "18:30")
    later = date(2025, 3, 27)
    assert box.work_at(later, "15:01")
    assert ClockMark(box.ports.journal.db).highest() == at(later, "15:01")
    assert box.work_at(later, "18:30")
    assert box.outcomes(later)["send"] == "done"
    assert not box.surprises("jumped")
