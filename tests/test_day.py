"""Stages against the real sandbox: run twice, closed days, feeds that fail, orders of unknown fate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from builders import SHARED, at, order
from rehearsals import SECRETS, rehearsal

from bot.adapters.sqlite_orders import JournalOrder
from bot.calendar import calendar_of
from bot.config import Config
from bot.config_file import load_config
from bot.core.orders import OrderState
from bot.daemon import make_scheduler, run_due
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.stage import Ports
from bot.wiring import open_ports

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
CODES = ["2330", "2317"]
WEDNESDAY, TYPHOON, FRIDAY = date(2024, 10, 30), date(2024, 10, 31), date(2024, 11, 1)
BUYER = {"entry_edge_bps": -100, "buy_offset_bps": -200, "top_k": 2}  # both limits lie in Friday's range
BUY_PATH = "/stock/trading_api/buy"


class Rehearsal:
    """The daemon's own ports at a sandbox, stepped by hand."""

    def __init__(self, sandbox: Any, ports: Ports, config: Config) -> None:
        self.sandbox, self.ports, self.config = sandbox, ports, config

    def work_at(self, day: date, clock: str) -> bool:
        """Move the clock and do what is due; False while something waits."""
        self.sandbox.move_to(at(day, clock))
        return run_due(self.ports, self.config) is None

    def outcomes(self, day: date) -> dict[str, str]:
        rows = self.ports.journal.db.query("select stage, outcome from stages where session = ?", [day.isoformat()])
        return {row["stage"]: row["outcome"] for row in rows}

    def orders(self) -> list[JournalOrder]:
        return self.ports.journal.orders.select()

    def states(self) -> set[OrderState]:
        return {one.state for one in self.orders()}


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = SandboxSettings(start=at(WEDNESDAY, "14:30"), prices=SHARED / "prices", codes=tuple(CODES))
    with start_sandbox(settings) as sandbox:
        feeds = {"attempts": 1}
        path = rehearsal(tmp_path, sandbox.url, CODES, rules=BUYER, feeds__twse=feeds, feeds__newsapi=feeds)
        config = load_config(path)
        with open_ports(config) as ports:
            yield Rehearsal(sandbox, ports, config)


def test_a_session_worked_twice_is_worked_once(rehearsed: Rehearsal) -> None:
    assert rehearsed.work_at(WEDNESDAY, "18:30")
    before = rehearsed.orders()
    assert rehearsed.states() == {OrderState.ACCEPTED}
    rehearsed.work_at(WEDNESDAY, "18:31")
    assert rehearsed.orders() == before
    assert rehearsed.sandbox.requests()[BUY_PATH] == len(before) == 2


def test_a_stock_that_is_not_bought_because_nobody_told_how_sure_is_named(rehearsed: Rehearsal) -> None:
    """The naive engine tells no P(up) and no band."""
    rules = rehearsed.config.rules
    for knob, why in (("min_p_up_bps", "P(up) not told"), ("edge_from_low", "band not told")):
        rehearsed.config = replace(rehearsed.config, rules=replace(rules, **{knob: 1}))
        day = WEDNESDAY if knob == "min_p_up_bps" else FRIDAY
        rehearsed.work_at(day, "18:31")
        run = rehearsed.ports.journal.stages.find(day, "decide")
        assert run
        assert run.detail.startswith("0 to buy, 0 to sell; not bought: ")
        assert f"{CODES[0]} {why}" in run.detail
    assert rehearsed.orders() == []


def test_each_stage_waits_for_its_time(rehearsed: Rehearsal) -> None:
    # At 14:30 Wednesday's data isn't due yet: the newest session is Tuesday, and all of it is caught up but the
    # orders, for which it is too late.
    rehearsed.work_at(WEDNESDAY, "14:40")
    tuesday = date(2024, 10, 29)
    assert rehearsed.outcomes(tuesday)["send"] == "skipped"
    assert rehearsed.states() == {OrderState.CANCELLED}
    assert BUY_PATH not in rehearsed.sandbox.requests()
    assert rehearsed.outcomes(WEDNESDAY) == {}
    rehearsed.work_at(WEDNESDAY, "17:10")
    assert list(rehearsed.outcomes(WEDNESDAY)) == ["news", "prices", "settle"]


def test_a_typhoon_that_nobody_told_us_of_is_closed_calmly_and_its_orders_live_on(
    rehearsed: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.core.sessions.CLOSURES", {})
    rehearsed.work_at(WEDNESDAY, "18:30")
    assert not rehearsed.work_at(TYPHOON, "15:00")  # no bar yet: published late, or closed?
    assert rehearsed.outcomes(TYPHOON) == {"prices": "waiting"}
    assert rehearsed.work_at(TYPHOON, "18:00")
    assert rehearsed.outcomes(TYPHOON) == {"prices": "closed"}
    assert rehearsed.ports.journal.decision_sha256(TYPHOON) is None
    assert [text for _, text in rehearsed.ports.journal.surprises()] == [
        "prices closed: no stock has a bar: closed without notice?"
    ]
    rehearsed.work_at(FRIDAY, "15:45")
    fills = rehearsed.ports.journal.orders.fills()
    assert {fill.session for fill in fills} == {FRIDAY}
    assert len(fills) == 2


def test_a_typhoon_found_closed_is_no_session_any_more(rehearsed: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.core.sessions.CLOSURES", {})
    rehearsed.work_at(WEDNESDAY, "18:30")
    calendar = calendar_of(rehearsed.ports)
    assert calendar.is_session(TYPHOON, at(WEDNESDAY, "23:00"))
    rehearsed.work_at(TYPHOON, "18:00")
    assert not calendar.is_session(TYPHOON, at(TYPHOON, "18:00"))
    assert calendar.is_session(TYPHOON, at(TYPHOON, "15:00"))  # not found yet
    assert rehearsed.work_at(TYPHOON, "18:30")
    assert rehearsed.outcomes(TYPHOON) == {"prices": "closed"}


def test_orders_not_sent_on_the_eve_of_an_announced_typhoon_may_still_go_out_on_it(rehearsed: Rehearsal) -> None:
    rehearsed.work_at(WEDNESDAY, "18:25")
    assert rehearsed.states() == {OrderState.PLANNED}
    rehearsed.work_at(TYPHOON, "18:30")  # Friday, the session they are for, hasn't begun
    assert rehearsed.states() == {OrderState.ACCEPTED}
    rehearsed.work_at(FRIDAY, "15:45")
    assert {fill.session for fill in rehearsed.ports.journal.orders.fills()} == {FRIDAY}


def test_an_announced_typhoon_asks_for_no_bars_at_all(rehearsed: Rehearsal) -> None:
    rehearsed.work_at(WEDNESDAY, "18:30")
    before = rehearsed.sandbox.requests()
    assert rehearsed.work_at(TYPHOON, "18:30")
    assert rehearsed.outcomes(TYPHOON) == {}
    assert rehearsed.ports.journal.surprises() == []
    assert rehearsed.sandbox.requests() == before
    rehearsed.work_at(FRIDAY, "15:45")
    assert {fill.session for fill in rehearsed.ports.journal.orders.fills()} == {FRIDAY}


def test_an_exchange_that_fails_is_asked_again_and_nothing_is_lost(rehearsed: Rehearsal) -> None:
    rehearsed.sandbox.fault("/twse/exchangeReport/STOCK_DAY", "twse_busy", times=2)
    assert not rehearsed.work_at(WEDNESDAY, "15:00")
    [run] = [one for one in rehearsed.ports.journal.stages.last() if one.stage == "prices"]
    assert (run.outcome, run.detail.startswith("2 of 2 stocks; twse at")) == ("waiting", True)
    assert rehearsed.work_at(WEDNESDAY, "15:10")
    assert rehearsed.outcomes(WEDNESDAY) == {"prices": "done"}


def test_an_exchange_that_stays_away_is_failed_not_closed_and_makes_no_order(rehearsed: Rehearsal) -> None:
    rehearsed.sandbox.fault("/twse/exchangeReport/STOCK_DAY", "html", times=100)
    assert not rehearsed.work_at(WEDNESDAY, "17:30")
    rehearsed.work_at(WEDNESDAY, "18:30")
    outcomes = rehearsed.outcomes(WEDNESDAY)
    assert (outcomes["prices"], outcomes["forecast"]) == ("failed", "failed")
    assert rehearsed.orders() == []


def test_without_headlines_the_day_goes_on_and_says_so(rehearsed: Rehearsal) -> None:
    rehearsed.sandbox.fault("/newsapi/v2/everything", "http_500", times=1)
    rehearsed.work_at(WEDNESDAY, "18:30")
    outcomes = rehearsed.outcomes(WEDNESDAY)
    assert (outcomes["news"], outcomes["send"]) == ("failed", "done")


def test_a_lost_reply_is_unknown_blocks_the_stock_and_is_solved_by_the_book(rehearsed: Rehearsal) -> None:
    rehearsed.sandbox.fault(BUY_PATH, "http_503_after", times=1)
    rehearsed.work_at(WEDNESDAY, "18:30")
    assert rehearsed.states() == {OrderState.UNKNOWN, OrderState.ACCEPTED}
    rehearsed.work_at(TYPHOON, "18:30")
    assert rehearsed.sandbox.requests()[BUY_PATH] == 2
    rehearsed.work_at(FRIDAY, "15:45")
    assert rehearsed.states() == {OrderState.FILLED}
    assert rehearsed.ports.journal.portfolio().cash_twd == rehearsed.sandbox.book()["cash_twd"]


def test_an_order_interrupted_while_sending_is_never_sent_again(rehearsed: Rehearsal) -> None:
    rehearsed.work_at(WEDNESDAY, "18:25")  # decided, not sent
    journal = rehearsed.ports.journal
    first = rehearsed.orders()[0]
    journal.move(first.order.key, OrderState.SENDING, "", at(WEDNESDAY, "18:29"))  # ... and killed just here
    rehearsed.work_at(WEDNESDAY, "18:30")
    assert {one.order.key: one.state for one in rehearsed.orders()}[first.order.key] is OrderState.UNKNOWN
    assert rehearsed.sandbox.requests()[BUY_PATH] == 1
    rehearsed.work_at(FRIDAY, "15:45")
    # It never left: the book does not have it, so it is expired, and the other one filled.
    states = {one.order.key: one.state for one in rehearsed.orders()}
    assert sorted(states.values()) == [OrderState.EXPIRED, OrderState.FILLED]
    assert states[first.order.key] is OrderState.EXPIRED


def test_a_share_that_nobody_explains_stops_trading_in_its_stock_only(rehearsed: Rehearsal) -> None:
    stranger = rehearsed.ports.broker  # somebody else with the same account buys, and the journal knows nothing of it
    rehearsed.sandbox.move_to(at(WEDNESDAY, "16:30"))
    stranger.submit(order(symbol="2317", limit=207_00))
    rehearsed.work_at(FRIDAY, "18:30")
    assert any("unexplained +1 lot 2317" in text for _, text in rehearsed.ports.journal.surprises())
    assert {one.order.symbol for one in rehearsed.orders()} == {"2330"}


def test_nothing_is_traded_on_a_book_that_was_not_read(rehearsed: Rehearsal) -> None:
    rehearsed.sandbox.fault("/stock/trading_api/get_user_stocks", "http_500", times=99)
    rehearsed.work_at(WEDNESDAY, "15:45")
    rehearsed.work_at(WEDNESDAY, "18:30")
    assert rehearsed.outcomes(WEDNESDAY)["settle"] == "failed"
    assert rehearsed.orders() == []
    [decided] = [run for run in rehearsed.ports.journal.stages.last() if run.stage == "decide"]
    assert "the book is not settled" in decided.detail


def test_jobs_of_the_scheduler_never_overlap(tmp_path: Path) -> None:
    scheduler, second_ran, first_done, overlaps = make_scheduler(), Event(), Event(), []

    def first() -> None:
        overlaps.append(second_ran.wait(0.5))  # true would mean that the second job ran beside this one
        first_done.set()

    scheduler.add_job(first)
    scheduler.add_job(second_ran.set)
    scheduler.start()
    assert first_done.wait(10)
    assert second_ran.wait(10)
    scheduler.shutdown()
    assert overlaps == [False]


def test_orders_that_were_never_sent_are_cancelled_and_do_not_block_their_stock(rehearsed: Rehearsal) -> None:
    rehearsed.work_at(WEDNESDAY, "18:25")  # decided; then the daemon is away until Friday evening
    assert rehearsed.states() == {OrderState.PLANNED}
    rehearsed.work_at(FRIDAY, "18:30")
    by_session = {(one.order.decided, one.state) for one in rehearsed.orders()}
    assert by_session == {(WEDNESDAY, OrderState.CANCELLED), (FRIDAY, OrderState.ACCEPTED)}


@pytest.mark.parametrize("kind", ["http_500", "html", "empty", "wrong_json"])
def test_a_failed_reading_of_the_book_concludes_nothing(rehearsed: Rehearsal, kind: str) -> None:
    rehearsed.work_at(WEDNESDAY, "18:30")
    rehearsed.work_at(TYPHOON, "18:00")
    rehearsed.sandbox.fault("/stock/trading_api/get_user_stocks", kind, times=1)
    assert not rehearsed.work_at(FRIDAY, "15:45")
    assert rehearsed.states() == {OrderState.ACCEPTED}
    assert rehearsed.work_at(FRIDAY, "15:55")
    assert rehearsed.states() == {OrderState.FILLED}
