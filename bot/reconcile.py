"""The broker's book now beside the journal, and taking a difference into the books. Never sends an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from bot.adapters.sqlite_books import BookEvent
from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_open import writing
from bot.adapters.sqlite_orders import JournalOrder
from bot.audit import audit
from bot.core.audit import Problem
from bot.core.cash import Adjustment, CashEvent, CashIdentity
from bot.core.costs import CostRates
from bot.core.market import shares_told
from bot.core.orders import OrderState
from bot.errors import Refused
from bot.ports import Broker
from bot.solving import resolve_command, solving_command

ON_THE_WAY: Final = (OrderState.SENDING, OrderState.ACCEPTED, OrderState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One stock: shares in the broker's book and in ours, orders that may explain a difference, and what to do."""

    symbol: str
    book_shares: int
    our_shares: int
    orders: tuple[JournalOrder, ...]
    since: date | None  # the session after which a difference was first seen
    settled_shares: int  # the difference that the last settlement left open, 0 when none
    advice: str

    @property
    def difference(self) -> int:
        """Shares in the book beyond ours."""
        return self.book_shares - self.our_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Book against journal at one moment, the cash identity, and what the audit found."""

    lines: tuple[Line, ...]
    identity: CashIdentity
    problems: tuple[Problem, ...]

    def line(self, symbol: str) -> Line | None:
        """The line of one stock."""
        return next((one for one in self.lines if one.symbol == symbol), None)


def compare(journal: Journal, broker: Broker) -> Comparison:
    """Read the broker's book now and put it beside ours. Writes nothing.

    Raises:
        DataMissing: the book could not be read; that is no empty book.
        Refused: no account was opened yet.
    """
    held = journal.portfolio()
    book, cash_twd = broker.holdings(), broker.cash_twd()
    waiting = journal.orders.select(*ON_THE_WAY)
    events = {event.symbol: event for event in journal.books.events(only_open=True)}
    lines = []
    for symbol in sorted({*book, *held.positions, *(one.order.symbol for one in waiting)}):
        orders = tuple(one for one in waiting if one.order.symbol == symbol)
        event, change = events.get(symbol), book.get(symbol, 0) - held.shares_of(symbol)
        lines.append(
            Line(
                symbol=symbol,
                book_shares=book.get(symbol, 0),
                our_shares=held.shares_of(symbol),
                orders=orders,
                since=event.first_seen if event else None,
                settled_shares=event.shares if event else 0,
                advice=_advice_on(journal, change, orders, event),
            )
        )
    problems = audit(journal.db)
    if cash_twd is not None and cash_twd != held.cash_twd:
        problems.append(
            Problem(kind="book", what=f"cash: the broker has NT${cash_twd - held.cash_twd:+,} beyond our books")
        )
    return Comparison(lines=tuple(lines), identity=journal.cash_identity(cash_twd), problems=tuple(problems))


def _advice_on(journal: Journal, change: int, orders: Sequence[JournalOrder], event: BookEvent | None) -> str:
    """The command that solves a difference; empty when there is none."""
    unknown = [one.order.key for one in orders if one.state is OrderState.UNKNOWN]
    if unknown:
        return resolve_command(unknown[0])
    if change and event and event.shares == change and not orders:
        return solving_command(journal, event)
    if change:
        return "the next settlement tells"
    return "it agrees again: the next settlement closes it" if event else ""


def adopt_shares(
    journal: Journal, line: Line | None, symbol: str, price_x100: int, reason: str, costs: CostRates, at: datetime
) -> Adjustment:
    """Take the difference of `line` into the books at `price_x100`, costs included; 0 means that no cash moved.

    Raises:
        Refused: there is none, an order may still explain it, no settlement has seen it (one reading may be a session
            old), it was solved since the book was read, or our books can't lose so many shares.
    """
    if line is None or not line.difference:
        raise Refused(f"{symbol}: the broker's book and the journal agree, there is nothing to adopt")
    if line.orders:
        keys = ", ".join(one.order.key for one in line.orders)
        raise Refused(f"{symbol}: an order may explain it: let it settle or resolve it first: {keys}")
    shares = line.difference
    if shares != line.settled_shares:
        raise Refused(f"{symbol}: {shares_told(shares)} is not what the last settlement saw: let the next one look")
    one = Adjustment(
        symbol=symbol,
        session=line.since or at.date(),
        shares=shares,
        price_x100=price_x100,
        commission_twd=costs.commission_of(price_x100, shares) if price_x100 else 0,
        tax_twd=costs.tax_of(symbol, price_x100, shares),
        reason=reason,
    )
    try:
        with writing(journal.db):
            if journal.unexplained().get(symbol, 0) != shares:  # a settlement or another terminal was faster
                raise Refused(f"{symbol}: {shares_told(shares)} was solved meanwhile: look again")
            journal.adopt(one, at)
    except ValueError as impossible:
        raise Refused(f"{symbol}: {shares_told(shares)} can't be adopted: {impossible}") from impossible
    return one


def adopt_cash(
    journal: Journal, identity: CashIdentity, amount_twd: int | None, reason: str, at: datetime
) -> CashEvent:
    """Take cash that came or went without a trade into the books; by default what the broker has beyond ours.

    Raises:
        Refused: the broker tells no cash and no amount was given, or it tells another one, or there is nothing, or our
            cash is another one since then.
    """
    told = None if identity.broker_twd is None else identity.broker_twd - identity.cash_twd
    amount = told if amount_twd is None else amount_twd
    if amount is None:
        raise Refused("the broker tells no cash: say how much came (or went) with --amount")
    if told is not None and amount != told:
        raise Refused(f"the broker has NT${told:+,} beyond our books, not NT${amount:+,}")
    if not amount:
        raise Refused("cash agrees, there is nothing to adopt")
    one = CashEvent(kind="adjustment", symbol="", day=at.date(), amount_twd=amount, note=reason)
    with writing(journal.db):
        if told is not None and journal.portfolio().cash_twd != identity.cash_twd:
            raise Refused("our cash changed meanwhile: look again")
        journal.adopt_cash(one, at)
    return one


def facts(seen: Comparison) -> dict[str, Any]:
    """For --json: shares, whole TWD."""
    identity = seen.identity
    return {
        "stocks": [
            {"symbol": one.symbol, "book_shares": one.book_shares, "our_shares": one.our_shares,
             "difference": one.difference, "orders": [order.order.key for order in one.orders],
             "since": one.since.isoformat() if one.since else None, "advice": one.advice}
            for one in seen.lines
        ],
        "cash": {
            "start_twd": identity.start_twd, "sells_twd": identity.sells_twd, "buys_twd": identity.buys_twd,
            "fees_twd": identity.fees_twd, "taxes_twd": identity.taxes_twd, "dividends_twd": identity.dividends_twd,
            "adjustments_twd": identity.adjustments_twd, "cash_twd": identity.cash_twd,
            "off_twd": identity.off_twd, "broker_twd": identity.broker_twd,
        },
        "problems": [{"kind": one.kind, "what": one.what} for one in seen.problems],
    }  # fmt: skip
