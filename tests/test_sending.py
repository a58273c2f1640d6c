"""Sending against the real sandbox process: what stops an order, and that it stops every order after it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import at, bar, checked
from rehearsals import SECRETS, command, rehearsal, twtrader
from typer.testing import CliRunner

from bot.adapters.broker_paper import PaperBroker
from bot.adapters.broker_stock_api import StockApiBroker
from bot.adapters.halt_switch import halt, halt_file_of, resume
from bot.adapters.sqlite_bars import BarStore
from bot.adapters.sqlite_journal import EquityPoint
from bot.cli import app
from bot.config import Config
from bot.config_file import load_config
from bot.core.check import check_rows
from bot.core.feed_rows import Reading, row_of
from bot.core.orders import Fill, Order, OrderState
from bot.core.row_rules import Known
from bot.daemon import run_due
from bot.errors import Refused
from bot.ports import Receipt
from bot.rehearsal import CHURN
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.facts import facts_now, known_tonight
from bot.stages.stage import Ports
from bot.wiring import open_ports

CODES = ["2330", "2317", "2454", "2382"]
THURSDAY, FRIDAY, SATURDAY, MONDAY = date(2025, 3, 6), date(2025, 3, 7), date(2025, 3, 8), date(2025, 3, 10)
BUY, SELL = "/stock/trading_api/buy", "/stock/trading_api/sell"
ACCEPTED, CANCELLED, PLANNED = OrderState.ACCEPTED, OrderState.CANCELLED, OrderState.PLANNED


class Evening:
    """The daemon's own ports at a sandbox, stepped by hand."""

    def __init__(self, sandbox: Sandbox, ports: Ports, config: Config, path: Path) -> None:
        self.sandbox, self.ports, self.config, self.path = sandbox, ports, config, path

    def work_at(self, day: date, clock: str) -> bool:
        """Move the clock and do what is due; False while something waits."""
        self.sandbox.move_to(at(day, clock))
        return run_due(self.ports, self.config) is None

    def sent(self) -> tuple[str, str]:
        """How the newest send stage went."""
        [run] = [one for one in self.ports.journal.stages.last() if one.stage == "send"]
        return run.outcome, run.detail

    def states(self, decided: date) -> list[OrderState]:
        return sorted(one.state for one in self.ports.journal.orders.select() if one.order.decided == decided)

    def notes(self) -> set[str]:
        return {one.note for one in self.ports.journal.orders.select()}

    def posts(self, path: str = BUY) -> int:
        return self.sandbox.requests().get(path, 0)

    def surprises(self) -> list[str]:
        return [text for _, text in self.ports.journal.surprises()]


def told(path: Path, *words: str) -> str:
    """What a command says, run in this process: starting another takes half a second."""
    done = CliRunner().invoke(app, ["--config", str(path), *words])
    assert done.exit_code == 0, done.output
    return done.output


Begin = Callable[..., Evening]


SHORT = {"history": {"sessions": 6}, "model": {"engine": "naive", "past_sessions": 5}}


@pytest.fixture(scope="module")
def exchange() -> Iterator[Sandbox]:
    """One process for all tests: each begins it anew."""
    with start_sandbox(SandboxSettings(start=at(THURSDAY, "15:00"), codes=tuple(CODES), seed=5)) as sandbox:
        yield sandbox


def anew(exchange: Sandbox, day: date, clock: str) -> Sandbox:
    """The sandbox as it was when it started, at another moment."""
    exchange.clear_faults()
    exchange.reset(start=at(day, clock), seed=5, codes=CODES, cash_twd=100_000_000)
    return exchange


@pytest.fixture
def begin(exchange: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Start on FRIDAY with four orders decided and none sent; the changes are tables of the config."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as opened:

        def start(clock: str = "18:25", **changes: Any) -> Evening:
            sandbox = anew(exchange, FRIDAY, "14:30")
            tables: dict[str, Any] = {name: dict(keys) for name, keys in {**CHURN, **SHORT}.items()}
            for name, keys in changes.items():
                tables.setdefault(name, {}).update(keys)
            path = rehearsal(tmp_path, sandbox.url, CODES, **tables)
            config = load_config(path)
            evening = Evening(sandbox, opened.enter_context(open_ports(config)), config, path)
            evening.work_at(FRIDAY, clock)
            return evening

        yield start


# --- the kill switch --------------------------------------------------------------------------------------


def test_a_halt_in_the_middle_of_sending_stops_the_rest(exchange: Sandbox, tmp_path: Path) -> None:
    """The real daemon hangs in its second POST while `twtrader halt` runs; the other two never leave."""
    sandbox = anew(exchange, THURSDAY, "15:00")
    config = rehearsal(tmp_path, sandbox.url, CODES, **{**CHURN, **SHORT})
    sandbox.fault(BUY, "none")
    sandbox.fault(BUY, "hang", seconds=30)
    words = command(config, "run", "--until", FRIDAY.isoformat())
    with subprocess.Popen(words, env={**os.environ, **SECRETS}, stderr=subprocess.PIPE, text=True) as process:
        while sandbox.requests().get(BUY, 0) < 2:
            assert process.poll() is None
        halted = twtrader(config, "halt", "--reason", "a person\nsaw something")
        assert halted.returncode == 0, halted.stderr
        assert "the row is written" in halted.stdout
        seen = json.loads(twtrader(config, "status", "--json").stdout)
        assert (seen["halted"]["reason"], seen["halted"]["by"]) == ("a person saw something", "file and row")
        process.kill()
    again = twtrader(config, "run", "--once")
    assert again.returncode == 1
    assert "send of 2025-03-06 waits: 2 wait: halted since" in again.stderr
    assert sandbox.requests()[BUY] == 2
    sandbox.move_to(at(FRIDAY, "09:00"))
    assert twtrader(config, "run", "--once").returncode == 0
    assert sandbox.requests()[BUY] == 2
    listed = json.loads(twtrader(config, "orders", "list", "--json").stdout)
    # What was sent was not called back; the one that hung when the daemon was killed is in doubt.
    assert sorted(row["state"] for row in listed) == ["accepted", "cancelled", "cancelled", "unknown"]
    notes = [row["note"] for row in listed if row["state"] == "cancelled"]
    assert all(
        note.startswith("too late: the next session has begun") and "a person saw something" in note for note in notes
    )
    assert "HALTED" in twtrader(config, "status", "--once", COLUMNS="200").stdout


def test_the_same_daemon_sends_nothing_more_after_a_halt_during_a_call(begin: Begin) -> None:
    """`twtrader halt` comes while the second POST is in the air: that one is answered, and it is the last."""
    evening = begin()
    database, broker = evening.config.store.path, evening.ports.broker

    class Interrupted(StockApiBroker):
        """The real broker; somebody halts during its second call."""

        def __init__(self) -> None:
            self.calls = 0

        def submit(self, order: Order) -> Receipt:
            self.calls += 1
            if self.calls == 2:
                halt(database, "now", at(FRIDAY, "18:30"))
            return broker.submit(order)

    evening.ports = replace(evening.ports, broker=Interrupted())
    assert not evening.work_at(FRIDAY, "18:30")
    assert evening.sent()[1].startswith("2 accepted; 2 wait: halted since")
    assert evening.posts() == 2
    assert evening.states(FRIDAY) == [ACCEPTED, ACCEPTED, PLANNED, PLANNED]


def test_a_halt_that_can_make_no_file_makes_the_row_or_says_that_nothing_is_halted(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that has become read-only for new files; SQLite's own files are open already."""
    evening = begin()
    database = evening.config.store.path
    open_file = os.open

    def refuse(path: Any, *words: Any, **more: Any) -> int:
        if str(path).endswith(".halt"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open_file(path, *words, **more)

    monkeypatch.setattr(os, "open", refuse)
    lines = halt(database, "why", at(FRIDAY, "18:26"))
    assert lines[0].endswith("Read-only file system")
    assert lines[1].endswith("the row is written; it halts without the file")
    assert not evening.work_at(FRIDAY, "18:30")
    assert evening.posts() == 0
    with pytest.raises(Refused, match=r"Read-only file system, and other\.db: no such database yet; nothing is halted"):
        halt(database.with_name("other.db"), "why", at(FRIDAY, "18:26"))


def test_resuming_in_time_sends_what_waited(begin: Begin) -> None:
    evening = begin()
    told(evening.path, "halt")
    assert not evening.work_at(FRIDAY, "18:30")
    assert evening.sent()[0] == "waiting"
    assert "4 wait: halted since" in evening.sent()[1]
    assert evening.posts() == 0
    assert "4 planned orders wait" in told(evening.path, "resume")
    assert evening.work_at(FRIDAY, "18:40")
    assert evening.states(FRIDAY) == [ACCEPTED] * 4
    assert not halt_file_of(evening.config.store.path).exists()
    assert "nothing was halted" in told(evening.path, "resume")


def test_a_halt_reaches_a_locked_database_and_a_broken_config(begin: Begin) -> None:
    evening = begin()
    database = evening.config.store.path
    evening.path.write_text(evening.path.read_text(encoding="utf-8") + "\n[nonsense]\nx = 1\n", encoding="utf-8")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin immediate")
        done = twtrader(evening.path, "halt", "--reason", "now")
        assert done.returncode == 0, done.stderr
        assert "database is locked, so no row yet; the file alone halts" in done.stdout
        refused = twtrader(evening.path, "resume")  # a resume needs both, and says so
        assert refused.returncode == 1
        assert halt_file_of(database).exists()
        other.execute("rollback")
    assert not evening.work_at(FRIDAY, "18:30")
    assert evening.posts() == 0
    [row] = evening.ports.journal.db.query("select reason, resumed_at from halts")  # the daemon wrote it
    assert row == {"reason": "now", "resumed_at": None}


def _row_alone(file: Path, db: Any) -> None:
    db["halts"].insert({"halted_at": "2025-03-07T18:00:00+08:00", "reason": "row"})


HALTS: dict[str, Callable[[Path, Any], object]] = {
    "an empty file": lambda file, db: file.touch(),
    "a file of nonsense": lambda file, db: file.write_bytes(b"\xff\x00{"),
    "a file that is too deep": lambda file, db: file.write_text("[" * 100_000),
    "a directory": lambda file, db: file.mkdir(),
    "a link to nowhere": lambda file, db: file.symlink_to(file.with_name("nowhere")),
    "the row alone": _row_alone,
}


def test_whatever_can_be_taken_for_a_halt_is_one(begin: Begin) -> None:
    evening = begin()
    file, db = halt_file_of(evening.config.store.path), evening.ports.journal.db
    for minute, (name, make) in enumerate(HALTS.items(), start=30):
        make(file, db)
        assert not evening.work_at(FRIDAY, f"18:{minute}"), name
        assert evening.posts() == 0, name
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        assert resume(evening.config.store.path, at(FRIDAY, "18:50")), name
        assert evening.ports.halt.read() is None, name
    assert evening.work_at(FRIDAY, "18:50")
    assert evening.posts() == 4


def test_a_halt_before_there_is_a_database_halts_the_first_start(exchange: Sandbox, tmp_path: Path) -> None:
    sandbox = anew(exchange, FRIDAY, "18:40")
    config = rehearsal(tmp_path, sandbox.url, CODES, **{**CHURN, **SHORT})
    assert "no such database yet" in twtrader(config, "halt").stdout
    done = twtrader(config, "run", "--once")
    assert done.returncode == 1
    assert "send of 2025-03-07 waits: 4 wait: halted since" in done.stderr
    assert BUY not in sandbox.requests()


# --- the breaker ------------------------------------------------------------------------------------------


def test_a_loss_trips_the_breaker_which_stops_purchases_until_somebody_resumes(begin: Begin) -> None:
    evening = begin(limits={"daily_loss_bps": 500})
    journal = evening.ports.journal
    # The evening before, the account was worth 106 m; after FRIDAY it is the 100 m it opened with: 5.66 % less.
    journal.record_equity(EquityPoint(session=THURSDAY, cash_twd=106_000_000, value_twd=0))
    assert evening.work_at(FRIDAY, "18:30")
    assert (evening.posts(), evening.states(FRIDAY)) == (0, [CANCELLED] * 4)
    numbers = (
        "daily loss of NT$6,000,000 (5.66%): NT$106,000,000 after 2025-03-06, NT$100,000,000 after 2025-03-07; "
        "the limit is 5 %"
    )
    assert f"breaker tripped, buys stopped: {numbers}; `twtrader resume`" in evening.surprises()
    assert len([text for text in evening.surprises() if text.startswith("not sent: buy")]) == 4
    assert evening.notes() == {f"not sent, breaker: the breaker is open: {numbers}"}
    assert json.loads(told(evening.path, "status", "--json"))["breaker"]["text"] == numbers
    assert "BREAKER OPEN" in told(evening.path, "status", "--once")
    # No loss on MONDAY, and it stays open all the same.
    assert evening.work_at(MONDAY, "18:30")
    assert evening.posts() == 0
    assert f"breaker closed ({numbers})" in told(evening.path, "resume")
    assert evening.work_at(date(2025, 3, 11), "18:30")
    assert evening.posts() == 4


def test_an_open_breaker_lets_what_is_held_be_sold(begin: Begin) -> None:
    evening = begin(limits={"drawdown_bps": 2_000})
    assert evening.work_at(FRIDAY, "18:30")
    assert evening.work_at(MONDAY, "15:45")
    held = evening.ports.journal.portfolio().positions
    assert held
    evening.ports.journal.record_equity(EquityPoint(session=THURSDAY, cash_twd=200_000_000, value_twd=0))
    bought = evening.posts(BUY)
    assert evening.work_at(MONDAY, "18:30")
    assert "the breaker is open: drawdown of NT$" in evening.sent()[1]
    assert (evening.posts(SELL), evening.posts(BUY)) == (len(held), bought)


# --- data -------------------------------------------------------------------------------------------------


def test_a_stock_whose_data_became_doubtful_after_the_decision_is_not_traded_the_others_are(begin: Begin) -> None:
    evening = begin()
    store, [told] = BarStore(evening.ports.market.db), evening.ports.market.bars("2330", until=FRIDAY, last=1)
    store.add(checked(replace(told, volume_shares=told.volume_shares + 7_001)), at(FRIDAY, "18:26"))  # a later answer
    upside_down = replace(row_of(bar("100", symbol="2317", session=FRIDAY)), high_x100=90_00)
    store.add(check_rows(Reading(rows=(upside_down,), sessions=frozenset({FRIDAY})), Known()), at(FRIDAY, "18:27"))
    assert evening.work_at(FRIDAY, "18:30")
    assert evening.sent()[0] == "done"
    refused = {one.order.symbol: one.note for one in evening.ports.journal.orders.select(CANCELLED)}
    assert refused["2330"] == "not sent, suspect data: its bar of 2025-03-07 was told differently later"
    assert refused["2317"].startswith("not sent, suspect data: in quarantine: ")
    assert (set(refused), evening.posts()) == ({"2330", "2317"}, 2)
    assert len([text for text in evening.surprises() if text.startswith("not sent: buy")]) == 2


def test_a_book_that_turned_out_unsettled_after_the_decision_sends_nothing(begin: Begin) -> None:
    evening = begin()
    settled = evening.ports.journal.stages.find(FRIDAY, "settle")
    assert settled is not None
    evening.ports.journal.stages.record(replace(settled, outcome="failed"))
    evening.work_at(FRIDAY, "18:30")
    assert evening.posts() == 0
    assert evening.notes() == {"not sent, settlement: the book of 2025-03-07 is not settled"}


def test_caps_refuse_what_goes_beyond_them_in_turn(begin: Begin) -> None:
    evening = begin(limits={"max_orders": 3})
    assert evening.work_at(FRIDAY, "18:30")
    assert evening.posts() == 3
    assert evening.states(FRIDAY) == [*[ACCEPTED] * 3, CANCELLED]
    assert evening.sent()[1].startswith("3 accepted, 1 refused by a limit; buy ")
    assert "order count: 3 orders have left for the session, and 3 is the limit" in evening.sent()[1]
    evening.work_at(FRIDAY, "18:31")
    assert evening.posts() == 3


# --- late -------------------------------------------------------------------------------------------------


def test_carried_orders_wait_for_the_next_window_and_settle_in_their_own_session(begin: Begin) -> None:
    evening = begin()  # and then the daemon is away until SATURDAY, 14:00
    assert not evening.work_at(SATURDAY, "14:00")
    outcome, detail = evening.sent()
    assert outcome == "waiting"
    assert detail == "4 wait: carried: its order window closed at 03-08 13:00, the next opens at 03-08 16:00"
    assert evening.posts() == 0
    assert evening.work_at(SATURDAY, "16:00")
    assert evening.sent() == ("done", "4 accepted; carried: its order window closed at 03-08 13:00")
    assert evening.work_at(MONDAY, "15:45")
    assert {fill.session for fill in evening.ports.journal.orders.fills()} <= {MONDAY}
    assert evening.ports.journal.portfolio().cash_twd == evening.sandbox.book()["cash_twd"]


def test_skipped_orders_are_cancelled_with_the_reason(begin: Begin) -> None:
    evening = begin(timetable={"late": "skip"})
    assert evening.work_at(SATURDAY, "17:00")
    reason = "late: its order window closed at 03-08 13:00 (timetable.late = skip)"
    assert evening.sent() == ("skipped", f"4 cancelled; {reason}")
    assert (evening.states(FRIDAY), evening.notes(), evening.posts()) == ([CANCELLED] * 4, {reason}, 0)


@pytest.mark.parametrize("late", ["carry", "send"])
def test_into_its_own_session_an_order_is_sent_only_where_the_user_says_so(begin: Begin, late: str) -> None:
    evening = begin(timetable={"late": late})
    evening.work_at(MONDAY, "10:15")
    if late == "carry":
        assert evening.sent() == ("skipped", "4 cancelled; too late: the next session has begun at 03-10 09:00")
        assert evening.posts() == 0
    else:
        assert evening.sent() == ("done", "4 accepted; sent 75 min into its session (timetable.late = send)")
        evening.work_at(MONDAY, "15:45")
        assert set(evening.states(FRIDAY)) <= {OrderState.FILLED, OrderState.EXPIRED}


def test_after_the_window_of_its_session_nothing_is_sent_whatever_the_user_says(begin: Begin) -> None:
    evening = begin(timetable={"late": "send"})
    evening.work_at(MONDAY, "14:00")
    assert evening.sent()[0] == "skipped"
    assert "and its order window is closed" in evening.sent()[1]
    assert evening.posts() == 0


# --- what the broker can and can't do ---------------------------------------------------------------------


def test_a_false_no_session_is_final_unless_the_config_says_otherwise(begin: Begin) -> None:
    evening = begin()
    evening.sandbox.fault(BUY, "no_session", times=1)
    assert evening.work_at(FRIDAY, "18:30")
    assert evening.states(FRIDAY) == [*[ACCEPTED] * 3, OrderState.REJECTED]
    evening.work_at(FRIDAY, "18:40")
    assert evening.posts() == 4


def test_a_false_no_session_is_tried_again_as_a_leg_of_its_own_where_the_config_says_so(begin: Begin) -> None:
    evening = begin(broker={"closed_retries": 1})
    evening.sandbox.fault(BUY, "no_session", times=1)
    assert not evening.work_at(FRIDAY, "18:30")
    assert evening.sent() == ("waiting", "1 rejected; 4 wait: the broker says 當前非交易許可時間; tried again later")
    assert evening.posts() == 1
    first = "forecast_edge:2025-03-07:2317:buy"
    assert evening.surprises() == ["buy 2317: 當前非交易許可時間, inside its order window; planned again as leg 2"]
    assert evening.work_at(FRIDAY, "18:40")
    states = {one.order.key: one.state for one in evening.ports.journal.orders.select()}
    assert (states[f"{first}:1"], states[f"{first}:2"]) == (OrderState.REJECTED, ACCEPTED)
    assert evening.posts() == 5
    again = evening.ports.journal.orders.events(f"{first}:2")[0]
    assert again.note == "again: leg 1 was refused, 當前非交易許可時間"
    assert evening.work_at(MONDAY, "15:45")
    assert evening.ports.journal.portfolio().cash_twd == evening.sandbox.book()["cash_twd"]


def test_tries_run_out(begin: Begin) -> None:
    evening = begin(broker={"closed_retries": 1})
    evening.sandbox.fault(BUY, "no_session", times=3)
    assert not evening.work_at(FRIDAY, "18:30")
    assert not evening.work_at(FRIDAY, "18:40")  # leg 2 is refused too, for good; the next stock's leg 1 is refused
    assert evening.work_at(FRIDAY, "18:50")
    legs = [(one.order.symbol, one.order.leg, str(one.state)) for one in evening.ports.journal.orders.select()]
    assert legs[:4] == [
        ("2317", 1, "rejected"),
        ("2317", 2, "rejected"),
        ("2330", 1, "rejected"),
        ("2330", 2, "accepted"),
    ]
    assert evening.posts() == 6  # four orders and two further legs


class Particular(PaperBroker):
    """The paper broker with other abilities, as Taiwan's own market has them."""

    abilities = replace(PaperBroker.abilities, odd_apart=True, settlement_sessions=2)


def paper(begin: Begin, **rules: Any) -> Evening:
    """Start at a broker that settles on T+2 and takes odd lots apart."""
    evening = begin("14:40", broker={"kind": "paper", "fill_rule": "touch"}, rules=rules)
    broker = Particular(evening.ports.journal.db, 100_000_000, "touch", evening.config.costs)
    evening.ports = replace(evening.ports, broker=broker)
    return evening


def test_proceeds_are_not_spent_before_they_are_there(begin: Begin) -> None:
    evening = paper(begin)
    tuesday, wednesday = date(2025, 3, 11), date(2025, 3, 12)
    for day in (FRIDAY, MONDAY, tuesday):
        assert evening.work_at(day, "18:30")
    journal = evening.ports.journal
    sales = [fill for fill in journal.orders.fills() if fill.shares < 0]
    assert {fill.session for fill in sales} == {tuesday}  # bought on MONDAY, sold on Tuesday
    proceeds = sum(brought_twd(fill) for fill in sales)
    cash = journal.portfolio().cash_twd
    bought = [
        one for one in journal.orders.select(ACCEPTED) if one.order.decided == tuesday and one.order.side == "buy"
    ]
    spent = sum(one.order.limit_x100 * one.order.shares // 100 for one in bought)
    assert bought
    assert spent <= cash - proceeds
    assert not [
        one for one in journal.orders.select(CANCELLED) if one.order.decided == tuesday
    ]  # sized by what is there
    assert evening.work_at(wednesday, "18:25")
    known = known_tonight(wednesday, evening.ports, evening.config)
    # On Thursday, two sessions after them, Tuesday's proceeds are there; Wednesday's are not.
    newer = sum(brought_twd(fill) for fill in journal.orders.fills() if fill.shares < 0 and fill.session == wednesday)
    assert facts_now(known, "", evening.ports, evening.config).cash_twd == journal.portfolio().cash_twd - newer


def brought_twd(sale: Fill) -> int:
    """What a sale brought, whole TWD."""
    return sale.price_x100 * -sale.shares // 100 - sale.commission_twd - sale.tax_twd


def test_whole_lots_and_the_odd_rest_leave_apart(begin: Begin) -> None:
    evening = paper(begin, lot_shares=1, top_k=1)
    assert evening.work_at(FRIDAY, "18:25")
    [planned] = evening.ports.journal.orders.select(PLANNED)
    odd = planned.order.shares % 1_000
    assert odd
    assert evening.work_at(FRIDAY, "18:30")
    first, second = evening.ports.journal.orders.select(ACCEPTED)
    assert (first.order.leg, second.order.leg) == (1, 2)
    assert (first.order.shares, second.order.shares) == (planned.order.shares - odd, odd)
    assert first.order.key == planned.order.key
