"""`orders resolve` and `reconcile` against the real sandbox: what is in doubt is solved, and cash is right to NT$1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import SHARED, at, order
from rehearsals import SECRETS, rehearsal, twtrader

from bot.adapters.sqlite_orders import JournalOrder
from bot.audit import audit
from bot.cli import app
from bot.config_file import load_config
from bot.core.orders import OrderState
from bot.daemon import run_due
from bot.errors import BotError
from bot.ports import Broker
from bot.sandbox.generator import GeneratedMarket
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.wiring import open_ports

S = OrderState
CODES = ["2330", "2317"]
WEDNESDAY, FRIDAY, MONDAY = date(2024, 10, 30), date(2024, 11, 1), date(2024, 11, 4)
BUYER = {"entry_edge_bps": -100, "buy_offset_bps": -200, "top_k": 2}  # both limits lie in Friday's range
BUY_PATH = "/stock/trading_api/buy"
BOOK_PATH = "/stock/trading_api/get_user_stocks"
needs_bars = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")


class Desk:
    """A config at a sandbox, the daemon stepped by hand, and the commands beside it."""

    def __init__(self, sandbox: Sandbox, path: Path) -> None:
        self.sandbox, self.path, self.config = sandbox, path, load_config(path)

    def work_at(self, day: date, clock: str) -> None:
        self.sandbox.move_to(at(day, clock))
        with open_ports(self.config) as ports:
            run_due(ports, self.config)

    def run(self, *words: str) -> str:
        """What the command prints; its refusal raises."""
        printed = StringIO()
        with redirect_stdout(printed):
            app(["--config", str(self.path), *words], standalone_mode=False)
        return printed.getvalue()

    def refused(self, *words: str) -> str:
        with pytest.raises(BotError) as caught:
            self.run(*words)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def orders(self) -> dict[str, JournalOrder]:
        with open_ports(self.config) as ports:
            return {one.order.symbol: one for one in ports.journal.orders.select() if one.order.decided == WEDNESDAY}

    def buy(self, symbol: str, limit: int) -> None:
        """Somebody else with the same account buys one lot, and the journal knows nothing of it."""
        with open_ports(self.config) as ports:
            broker: Broker = ports.broker
            assert broker.submit(order(symbol=symbol, limit=limit)).state is S.ACCEPTED

    def problems(self) -> list[str]:
        book = self.sandbox.book()
        with open_ports(self.config) as ports:
            found = audit(
                ports.journal.db,
                book_shares={symbol: row["shares"] for symbol, row in book["positions"].items()},
                book_cash_twd=book["cash_twd"],
            )
        return [f"{one.kind}: {one.what}" for one in found]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "160")
    settings = SandboxSettings(start=at(WEDNESDAY, "14:30"), prices=SHARED / "prices", codes=tuple(CODES))
    with start_sandbox(settings) as sandbox:
        yield Desk(sandbox, rehearsal(tmp_path, sandbox.url, CODES, rules=BUYER))


@needs_bars
def test_a_person_was_wrong_about_a_lost_order_and_puts_it_right(desk: Desk) -> None:
    desk.sandbox.fault(BUY_PATH, "http_503_after", times=1)
    desk.work_at(WEDNESDAY, "18:30")
    [lost] = [one for one in desk.orders().values() if one.state is S.UNKNOWN]
    key, lots = lost.order.key, lost.order.shares // 1_000
    assert [row["key"] for row in json.loads(desk.run("orders", "list", "--state", "unknown", "--json"))] == [key]
    assert f"twtrader orders resolve {key}" in desk.run("status", "--once")
    listed = desk.run("orders", "list", "--state", "unknown").splitlines()
    assert [line.split()[0] for line in listed] == ["key", key]  # whole, on one line: it is what the others ask for
    assert "isn't over" in desk.refused("orders", "resolve", key, "--filled", "--reason", "x")
    assert "--reason" in desk.refused("orders", "resolve", key, "--not-filled")
    assert f"did you mean {key}" in desk.refused("orders", "resolve", key[:-2], "--filled")
    desk.run("orders", "resolve", key, "--not-filled", "--reason", "not on the platform's page")
    assert desk.orders()[lost.order.symbol].state is S.REJECTED

    desk.work_at(FRIDAY, "15:45")  # it was there after all: the book has it, and the stock is left alone
    told = json.loads(desk.run("status", "--json"))
    assert told["waiting"][0]["what"] == f"unexplained +{lots} lots {lost.order.symbol} since {FRIDAY}"
    assert told["waiting"][0]["command"] == f"twtrader orders resolve {key} --filled --reason ..."
    assert f"{key} --filled" in desk.run("reconcile").replace("\n", "")
    assert "can't have traded" in desk.refused(
        "orders", "resolve", key, str(lost.order.shares + 1_000), "--filled", "--reason", "x"
    )
    shown = json.loads(desk.run("orders", "resolve", key, "--filled", "--reason", "the page lagged", "--json"))
    assert (shown["state"], shown["filled"]) == ("filled", lost.order.shares)
    assert "is filled" in desk.refused("orders", "resolve", key, "--filled", "--reason", "x")
    assert desk.problems() == []
    story = json.loads(desk.run("orders", "show", key, "--json"))
    assert [event["state"] for event in story["events"]] == ["planned", "sending", "unknown", "rejected", "filled"]
    assert story["events"][2]["reply"] == "HTTP 503: Service Unavailable"
    assert [event["by"] for event in story["events"]][3:] == ["person", "person"]
    assert "the page lagged" in desk.run("orders", "show", key)
    seen = json.loads(desk.run("reconcile", "--json"))
    assert seen["problems"] == []
    assert seen["cash"]["cash_twd"] == desk.sandbox.book()["cash_twd"]
    assert "all agrees" in desk.run("reconcile")


@needs_bars
def test_an_order_that_the_platform_took_twice_is_filled_once_and_the_rest_is_adopted(desk: Desk) -> None:
    desk.sandbox.move_to(at(WEDNESDAY, "16:30"))
    desk.work_at(WEDNESDAY, "18:30")
    ours = desk.orders()["2317"].order
    with open_ports(desk.config) as ports:  # the platform doubles it
        assert ports.broker.submit(ours).state is S.ACCEPTED
    desk.work_at(FRIDAY, "18:30")
    assert {one.state for one in desk.orders().values()} == {S.FILLED}
    assert desk.orders()["2317"].filled_shares == ours.shares
    lots = ours.shares // 1_000
    seen = json.loads(desk.run("reconcile", "--json"))
    assert [problem["what"] for problem in seen["problems"]] == [f"unexplained +{lots} lots 2317"]
    assert "reconcile --adopt 2317" in desk.run("reconcile")
    with open_ports(desk.config) as ports:  # hands off, though our rule would like to sell what it holds
        assert not [
            one for one in ports.journal.orders.select() if one.order.decided == FRIDAY and one.order.symbol == "2317"
        ]

    price = str(ours.limit_x100 / 100)
    assert "--reason" in desk.refused("reconcile", "--adopt", "2317", "--price", price)
    assert "--price" in desk.refused("reconcile", "--adopt", "2317", "--reason", "x")
    assert "nothing to adopt" in desk.refused("reconcile", "--adopt", "2330", "--price", "1", "--reason", "x")
    assert "is no price" in desk.refused("reconcile", "--adopt", "2317", "--price", "a lot", "--reason", "x")
    assert "tells no cash" in desk.refused("reconcile", "--adopt", "cash", "--reason", "x")
    desk.run("reconcile", "--adopt", "2317", "--price", price, "--reason", "taken twice")
    assert desk.problems() == []  # shares and cash are the sandbox's, to the dollar
    assert "nothing to adopt" in desk.refused("reconcile", "--adopt", "2317", "--price", price, "--reason", "again")
    with open_ports(desk.config) as ports:
        [event] = ports.journal.books.events()
        assert (event.first_seen, event.solution) == (FRIDAY, "adopted: taken twice")
        assert ports.journal.unexplained() == {}
    posts = desk.sandbox.requests()
    desk.work_at(MONDAY, "15:45")
    assert desk.sandbox.requests()[BUY_PATH] == posts[BUY_PATH]
    assert desk.problems() == []


@needs_bars
def test_a_stale_book_kills_no_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.work_at(WEDNESDAY, "18:30")
    asked: list[int] = []
    from bot.adapters.broker_stock_api import StockApiBroker

    real = StockApiBroker.holdings

    def stale_once(self: StockApiBroker) -> Any:
        asked.append(1)
        return {} if len(asked) == 1 else real(self)  # Wednesday's book, on Friday

    monkeypatch.setattr(StockApiBroker, "holdings", stale_once)
    desk.work_at(FRIDAY, "15:45")
    assert {one.state for one in desk.orders().values()} == {S.UNKNOWN}
    desk.work_at(FRIDAY, "18:30")
    with open_ports(desk.config) as ports:
        assert not [
            one for one in ports.journal.orders.select() if one.order.decided == FRIDAY
        ]  # blocked, so not bought again
    desk.work_at(MONDAY, "15:45")
    assert {one.state for one in desk.orders().values()} == {S.FILLED}
    assert desk.problems() == []


@needs_bars
def test_a_book_that_can_not_be_read_is_refused_not_taken_for_empty(desk: Desk) -> None:
    desk.work_at(WEDNESDAY, "18:30")
    desk.work_at(FRIDAY, "15:45")
    desk.sandbox.fault(BOOK_PATH, "html", times=1)
    assert "holdings: not the agreed JSON" in desk.refused("reconcile")
    assert desk.problems() == []


def test_commands_refuse_in_one_line_of_their_own(tmp_path: Path) -> None:
    config = rehearsal(tmp_path, "http://127.0.0.1:9", CODES, clock={"url": ""}, broker={"kind": "paper"})
    for words, message in [
        (["orders"], "no such database yet"),
        (["orders", "list", "--state", "lost"], "'lost' is no state"),
        (["orders", "resolve", "x"], "say --filled or --not-filled"),
        (["reconcile", "--price", "3"], "belong to --adopt"),
    ]:
        done = twtrader(config, *words)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert message in done.stderr


def test_dividends_are_paid_for_the_shares_held_the_day_before_and_cash_is_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bought before, sold on the ex-date: the sandbox's own book says what that brings."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    market = GeneratedMarket(5, at(date(2025, 6, 30)), ("2330", "2317", "2454", "2382"))
    ex_date = min(event.ex_date for code in market.companies for event in market.ex_events(code)
                  if event.ex_date > date(2025, 6, 30))  # fmt: skip
    index = list(market.sessions).index(ex_date)
    start, last = market.sessions[index - 6], market.sessions[index + 1]
    settings = SandboxSettings(
        start=at(start, "14:30"), codes=tuple(market.companies), seed=5, dividends=True,
        first=market.sessions[0], last=market.sessions[-1],
    )  # fmt: skip
    with start_sandbox(settings) as sandbox:
        config = rehearsal(
            tmp_path, sandbox.url, list(market.companies), broker={"dividends": "paid"},
            rules={"entry_edge_bps": -100, "exit_return_bps": -9_000, "stop_bps": 0, "top_k": 4, "buy_offset_bps": 100},
        )  # fmt: skip
        done = twtrader(config, "run", "--until", last.isoformat())
        assert done.returncode == 0, done.stderr[-2000:]
        book = sandbox.book()
        desk = Desk(sandbox, config)
        assert desk.problems() == []
        told = json.loads(desk.run("reconcile", "--json"))["cash"]
    assert told["dividends_twd"] == book["dividends_twd"] > 0
    assert told["cash_twd"] == book["cash_twd"]
    assert told["off_twd"] == 0
