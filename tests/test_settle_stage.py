"""The settle stage with the embedded broker: dividends, the cash identity and what the view says of open ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from builders import FRIDAY, THURSDAY, at, bar, checked, config, order
from rich.console import Console

from bot.adapters.broker_stock_api import StockApiBroker
from bot.adapters.sqlite_journal import Journal
from bot.config import Config
from bot.core.cash import CashIdentity
from bot.core.decide import Decision
from bot.core.exrights import ExRight
from bot.core.orders import OrderState, Side
from bot.core.settle import Settlement
from bot.dividends import correct_dividends
from bot.errors import Refused
from bot.reconcile import adopt_cash, adopt_shares, compare
from bot.stages.settle import settle_orders
from bot.stages.stage import Ports
from bot.status import read_snapshot
from bot.status_json import as_json
from bot.status_picture import render
from bot.wiring import open_ports

MONDAY, TUESDAY = date(2025, 1, 6), date(2025, 1, 7)
START = 100_000_000


class Frozen:
    """A clock that stands where it was set."""

    def __init__(self) -> None:
        self.moment = at(THURSDAY)

    def now(self) -> object:
        return self.moment


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[tuple[Ports, Config]]:
    chosen = config(tmp_path, broker={"fill_rule": "touch"}, model={"engine": "naive"})
    with open_ports(chosen) as ports:
        yield replace(ports, clock=Frozen()), chosen


def trade(ports: Ports, chosen: Config, decided: date, session: date, side: Side | None, shares: int = 2_000) -> str:
    """One evening's order, taken by the broker, and the settlement of the session after it."""
    ports.clock.moment = at(decided, "18:30")
    if side:
        one = order(side, shares, decided=decided)
        ports.journal.record_decision(
            Decision(session=decided, orders=(one,), inputs={}, sha256="x"), ports.clock.now()
        )
        ports.journal.move(one.key, OrderState.SENDING, "", ports.clock.now())
        receipt = ports.broker.submit(one)
        ports.journal.move(one.key, receipt.state, "", ports.clock.now(), reply=receipt.reply)
    ports.clock.moment = at(session, "15:45")
    ports.market.add_bars(checked(bar("100", session=session)), ports.clock.now())
    return settle_orders(session, ports, chosen).detail


def goes_ex(ports: Ports, day: date, cash: str | None) -> None:
    event = ExRight(symbol="2330", ex_date=day, kind="dividend", previous_x100=100_00, reference_x100=95_50,
                    source="TWSE TWT49U", known_at=at(day, "08:00"),
                    cash_dividend=None if cash is None else Decimal(cash))  # fmt: skip
    ports.ex_right_store.keep([event], kind="dividend", symbols={"2330"}, first=day, last=day, known_at=event.known_at)


def test_paper_pays_a_dividend_to_who_held_the_day_before_and_its_cash_is_ours(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    goes_ex(ports, MONDAY, "4.5")
    assert trade(ports, chosen, THURSDAY, FRIDAY, Side.BUY) == "1 filled, 0 expired"
    trade(ports, chosen, FRIDAY, MONDAY, Side.BUY, 1_000)  # bought on the ex-date: no dividend for these
    # 200,000 + 285, 100,000 + 142; 2,000 x 4.5
    expected = START - 200_285 - 100_142 + 9_000
    assert ports.journal.portfolio().cash_twd == ports.broker.cash_twd() == expected
    for _ in range(2):  # again, and again
        settle_orders(MONDAY, ports, chosen)
    assert [event.amount_twd for event in ports.journal.books.cash_events()] == [9_000]
    identities = dict(ports.journal.books.identities())
    assert identities[MONDAY] == CashIdentity(
        start_twd=START, sells_twd=0, buys_twd=300_000, fees_twd=427, taxes_twd=0, dividends_twd=9_000,
        adjustments_twd=0, cash_twd=expected, broker_twd=expected,
    )  # fmt: skip
    assert identities[MONDAY].off_twd == 0
    assert ports.journal.surprises() == []
    assert ports.journal.equity()[-1].cash_twd == expected


def test_a_dividend_that_the_exchange_tells_too_late_is_paid_all_the_same(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    trade(ports, chosen, THURSDAY, FRIDAY, Side.BUY)
    trade(ports, chosen, FRIDAY, MONDAY, None)
    goes_ex(ports, MONDAY, "1")
    trade(ports, chosen, MONDAY, TUESDAY, Side.SELL)
    assert [(one.day, one.amount_twd) for one in ports.journal.books.cash_events()] == [(MONDAY, 2_000)]


def test_a_dividend_whose_cash_is_not_told_apart_is_said_once(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    goes_ex(ports, MONDAY, None)
    trade(ports, chosen, THURSDAY, FRIDAY, Side.BUY)
    trade(ports, chosen, FRIDAY, MONDAY, None)
    trade(ports, chosen, MONDAY, TUESDAY, None)
    [(session, text)] = ports.journal.surprises()
    assert session == MONDAY
    assert "2330 went ex 2025-01-06, and TWSE TWT49U does not tell how much of it is cash" in text


def test_the_view_says_what_waits_for_a_person_and_how_to_solve_it(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    trade(ports, chosen, THURSDAY, FRIDAY, None)
    journal: Journal = ports.journal
    one = order(decided=FRIDAY)
    journal.record_decision(Decision(session=FRIDAY, orders=(one,), inputs={}, sha256="x"), at(FRIDAY))
    journal.move(one.key, OrderState.SENDING, "", at(FRIDAY))
    journal.move(one.key, OrderState.UNKNOWN, "interrupted while sending", at(FRIDAY))
    journal.settle(FRIDAY, Settlement(unexplained={"2317": 1_000}), at(FRIDAY))
    seen = read_snapshot(journal.db, at(FRIDAY, "19:00"), ())
    assert [row["command"] for row in as_json(seen)["waiting"]] == [
        f"twtrader orders resolve {one.key} --filled|--not-filled --reason ...",
        "twtrader reconcile --adopt 2317 --price ... --reason ...",
    ]
    for width in (80, 160):
        console = Console(file=StringIO(), width=width)
        console.print(render(seen, width))
        shown = console.file.getvalue()
        assert "waits for you" in shown
        assert "unexplained +1 lot 2317 since 2025-01-03" in shown
        assert "interrupted while sending" in shown


def test_a_difference_that_goes_away_by_itself_is_solved_and_its_story_kept(paper: tuple[Ports, Config]) -> None:
    journal = paper[0].journal
    assert journal.settle(FRIDAY, Settlement(unexplained={"2317": 1_000}), at(FRIDAY)) == ["unexplained +1 lot 2317"]
    assert journal.settle(MONDAY, Settlement(unexplained={"2317": 1_000}), at(MONDAY)) == []
    assert journal.settle(TUESDAY, Settlement(unexplained={"2317": 2_000}), at(TUESDAY)) == [
        "solved: unexplained +1 lot 2317: it became +2 lots",
        "unexplained +2 lots 2317",
    ]
    assert journal.settle(TUESDAY, Settlement(), at(TUESDAY)) == [
        "solved: unexplained +2 lots 2317: the book and the journal agree again"
    ]
    first, second = journal.books.events()
    assert (first.first_seen, first.last_seen, first.solution) == (FRIDAY, MONDAY, "it became +2 lots")
    assert (second.first_seen, second.last_seen) == (TUESDAY, TUESDAY)


def test_cash_that_the_broker_has_beyond_ours_is_an_event_and_is_adopted(paper: tuple[Ports, Config]) -> None:
    from bot.core.cash import CashEvent

    journal = paper[0].journal
    assert journal.settle(FRIDAY, Settlement(cash_off_twd=-7), at(FRIDAY)) == ["unexplained NT$-7 in cash"]
    assert journal.unexplained() == {}  # no stock is blocked for it
    journal.adopt_cash(CashEvent(kind="adjustment", symbol="", day=FRIDAY, amount_twd=-7, note="a fee"), at(FRIDAY))
    assert journal.books.events()[0].solution == "adopted: a fee"
    assert journal.portfolio().cash_twd == START - 7
    assert journal.cash_identity().off_twd == 0


class BookOnTheWeb:
    """A broker that takes no orders here and shows the book it was given."""

    abilities = StockApiBroker.abilities

    def __init__(self) -> None:
        self.book: dict[str, int] = {}

    def end_session(self, session: date, bars: object) -> None:
        """It has settled by itself."""

    def holdings(self) -> dict[str, int]:
        return self.book

    def cash_twd(self) -> None:
        """It tells none."""

    def order_states(self, orders: object) -> None:
        """It keeps no list."""

    def prices_x100(self, orders: object) -> None:
        """It tells none."""


def doubtful(ports: Ports, decided: date, *symbols: str) -> list[str]:
    """Orders of one evening, bought at 100, whose answers were lost."""
    ports.clock.moment = at(decided, "18:30")
    orders = tuple(order(symbol=symbol, decided=decided) for symbol in symbols)
    ports.journal.record_decision(Decision(session=decided, orders=orders, inputs={}, sha256="x"), ports.clock.now())
    for one in orders:
        ports.journal.move(one.key, OrderState.SENDING, "", ports.clock.now())
        ports.journal.move(one.key, OrderState.UNKNOWN, "", ports.clock.now())
    return [one.key for one in orders]


def look(ports: Ports, chosen: Config, session: date, book: dict[str, int]) -> None:
    """The settlement of a session in which everything traded at 100, against the book as shown."""
    ports.clock.moment = at(session, "15:45")
    for symbol in ("2330", "2317"):
        ports.market.add_bars(checked(bar("100", symbol=symbol, session=session)), ports.clock.now())
    ports.broker.book = book
    settle_orders(session, ports, chosen)


def test_a_surplus_is_no_late_fill_of_an_order_that_a_fresh_book_had_buried(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    ports = replace(ports, broker=BookOnTheWeb())
    shares = order().shares
    lost, arrived = doubtful(ports, THURSDAY, "2330", "2317")
    look(ports, chosen, FRIDAY, {"2317": shares})  # not yesterday's book: 2317 is in it
    (again,) = doubtful(ports, FRIDAY, "2330")
    look(ports, chosen, MONDAY, {"2317": shares, "2330": 2 * shares})  # the platform took it twice
    states = {one.order.key: one.state for one in ports.journal.orders.select()}
    assert states == {lost: OrderState.EXPIRED, arrived: OrderState.FILLED, again: OrderState.FILLED}
    assert ports.journal.unexplained() == {"2330": shares}


def test_an_order_that_two_books_did_not_show_is_not_found_in_the_third(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    ports = replace(ports, broker=BookOnTheWeb())
    shares = order().shares
    (lost,) = doubtful(ports, THURSDAY, "2330")
    look(ports, chosen, FRIDAY, {})  # it may be Thursday's book, so nothing is concluded
    assert ports.journal.orders.find(lost).state is OrderState.UNKNOWN
    look(ports, chosen, MONDAY, {})
    assert ports.journal.orders.find(lost).state is OrderState.EXPIRED
    look(ports, chosen, TUESDAY, {"2330": shares})
    assert ports.journal.orders.find(lost).state is OrderState.EXPIRED
    assert ports.journal.unexplained() == {"2330": shares}


def test_shares_that_a_person_takes_in_later_bring_the_dividend_of_an_ex_date_already_settled(
    paper: tuple[Ports, Config],
) -> None:
    ports, chosen = paper
    ports = replace(ports, broker=BookOnTheWeb())
    look(ports, chosen, FRIDAY, {"2330": 1_000})  # nobody ordered them
    goes_ex(ports, MONDAY, "4.5")
    look(ports, chosen, MONDAY, {"2330": 1_000})
    assert ports.journal.books.cash_events() == []
    seen = compare(ports.journal, ports.broker)
    adopt_shares(ports.journal, seen.line("2330"), "2330", 100_00, "seen", chosen.costs, at(MONDAY, "20:00"))
    correct_dividends(ports.journal, chosen.broker, at(MONDAY, "20:00"))
    assert [event.amount_twd for event in ports.journal.books.cash_events()] == [4_500]


def test_a_difference_is_taken_in_once_however_many_read_it(paper: tuple[Ports, Config]) -> None:
    ports, chosen = paper
    ports = replace(ports, broker=BookOnTheWeb())
    look(ports, chosen, FRIDAY, {"2330": 1_000})
    line = compare(ports.journal, ports.broker).line("2330")  # two terminals read it before either writes
    adopt_shares(ports.journal, line, "2330", 100_00, "seen", chosen.costs, at(FRIDAY, "20:00"))
    with pytest.raises(Refused, match="solved meanwhile"):
        adopt_shares(ports.journal, line, "2330", 100_00, "seen", chosen.costs, at(FRIDAY, "20:00"))
    assert ports.journal.portfolio().shares_of("2330") == 1_000

    identity = ports.journal.cash_identity(ports.journal.portfolio().cash_twd - 35)
    adopt_cash(ports.journal, identity, None, "a fee", at(FRIDAY, "20:00"))
    with pytest.raises(Refused, match="changed meanwhile"):
        adopt_cash(ports.journal, identity, None, "a fee", at(FRIDAY, "20:00"))
    assert ports.journal.portfolio().cash_twd == identity.broker_twd
