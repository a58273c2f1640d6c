"""The stages of a day with SinoPac's broker: legs are planned, sent once, looked up when in doubt, and settled.

The sandbox is the market and the clock; SinoPac is tests/sinopac.py, which fills every order at its limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import RATES, at
from rehearsals import SECRETS, rehearsal
from sinopac import LATE, SinoPac

from bot.adapters.broker_shioaji import ShioajiBroker
from bot.config import Config
from bot.config_file import load_config
from bot.core.orders import OrderState
from bot.daemon import run_due
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.stage import Ports
from bot.wiring import open_ports

CODES = ["2330", "2317"]
START_TWD = 10_000_000
MONDAY = date(2025, 3, 3)
BUYER = {"entry_edge_bps": -10_000, "exit_return_bps": -10_000, "stop_bps": 0, "top_k": 4, "lot_shares": 1}


@dataclass
class Day:
    """The daemon's ports at the sandbox, and at SinoPac."""

    sandbox: Sandbox
    ports: Ports
    config: Config
    there: SinoPac

    def work_at(self, day: date, clock: str) -> None:
        self.sandbox.move_to(at(day, clock))
        assert run_due(self.ports, self.config) is None

    def states(self) -> set[OrderState]:
        return {one.state for one in self.ports.journal.orders.select()}

    def bought(self) -> dict[str, int]:
        """Shares by symbol that the journal's orders ask for."""
        told: dict[str, int] = {}
        for one in self.ports.journal.orders.select():
            told[one.order.symbol] = told.get(one.order.symbol, 0) + one.order.signed_shares
        return told


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Day]:
    for name, value in {**SECRETS, "TWTRADER_LIVE": "1"}.items():
        monkeypatch.setenv(name, value)
    there = SinoPac(START_TWD, RATES)
    with start_sandbox(SandboxSettings(start=at(MONDAY, "14:30"), codes=tuple(CODES))) as sandbox:
        broker: dict[str, Any] = {"kind": "paper", "start_cash_twd": START_TWD, "dividends": "unpaid"}
        path = rehearsal(tmp_path, sandbox.url, CODES, rules=BUYER, broker=broker, feeds__twse={"attempts": 1})
        config = load_config(path)
        live = replace(config.broker, kind="shioaji", live=True)
        with open_ports(config) as ports:
            ours = ShioajiBroker(live, lambda _symbol: "twse", there.session)
            yield Day(sandbox, replace(ports, broker=ours), config, there)


def next_session(day: Day, after: date) -> date:
    return day.sandbox.sessions(after + timedelta(days=1), after + timedelta(days=20))[0]


def test_legs_are_sent_once_each_and_the_books_agree_to_a_dollar(day: Day) -> None:
    day.work_at(MONDAY, "18:30")
    orders = [one.order for one in day.ports.journal.orders.select()]
    assert day.states() == {OrderState.ACCEPTED}
    assert {order.leg for order in orders} == {1, 2}  # neither quantity is whole lots
    assert all(order.shares % 1_000 == 0 or order.shares < 1_000 for order in orders)
    assert len(day.there.sent) == len(set(day.there.sent)) == len(orders) == 4
    assert len(day.ports.journal.orders.select()) == 4

    tuesday = next_session(day, MONDAY)
    day.there.trade_session(0.0, 1e9, parts=2)
    day.work_at(tuesday, "15:45")
    assert day.states() == {OrderState.FILLED}
    held = day.ports.journal.portfolio()
    assert {symbol: position.shares for symbol, position in held.positions.items()} == day.there.shares == day.bought()
    assert held.cash_twd == day.there.bank_twd + sum(day.there.pending_twd[1:])
    [(session, identity)] = day.ports.journal.books.identities()[-1:]
    assert session == tuesday
    assert identity.broker_twd == held.cash_twd


def test_an_order_in_doubt_blocks_its_stock_until_sinopacs_list_tells(day: Day) -> None:
    place = day.there.place_order

    def losing(contract: Any, order: Any, timeout: int) -> Any:
        place(contract, order, timeout)
        day.there.failing["update_status"] = LATE  # the list can't be asked either
        raise LATE

    day.there.place_order = losing  # type: ignore[method-assign]
    day.work_at(MONDAY, "18:30")
    assert day.states() == {OrderState.UNKNOWN}
    sent = list(day.there.sent)
    day.work_at(MONDAY, "18:45")
    assert day.there.sent == sent  # never again

    day.there.trade_session(0.0, 1e9)
    day.work_at(next_session(day, MONDAY), "15:45")
    assert day.states() == {OrderState.FILLED}
    held = day.ports.journal.portfolio()
    assert {symbol: position.shares for symbol, position in held.positions.items()} == day.there.shares


def test_what_did_not_trade_is_dead_after_its_session(day: Day) -> None:
    day.work_at(MONDAY, "18:30")
    day.there.trade_session(0.0, 0.1)  # nothing within reach
    day.work_at(next_session(day, MONDAY), "15:45")
    assert day.states() <= {OrderState.CANCELLED, OrderState.EXPIRED}
    assert day.ports.journal.portfolio().cash_twd == START_TWD
