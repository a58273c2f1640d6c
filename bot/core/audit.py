"""What must be true of the books whatever happened, each thing checked from the facts. Pure.

`twtrader reconcile` shows it, and the crash tests demand that it finds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from bot.core.cash import CashIdentity
from bot.core.market import shares_told
from bot.core.order_events import OrderEvent, standing
from bot.core.orders import Fill, Order, OrderState

Kind = Literal["sent twice", "lost", "state", "open", "unexplained", "cash", "book"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it must be. `open` and `unexplained` wait for a person, the others are never right."""

    kind: Kind
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order with everything that is stored of it. `settlements` counts those since the session it could trade in."""

    order: Order
    state: OrderState
    events: tuple[OrderEvent, ...]
    fills: tuple[Fill, ...]
    settlements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """An order as it arrived at the platform, by the platform's own log."""

    symbol: str
    side: str
    at: datetime


def audit_orders(orders: Sequence[OrderRecord]) -> list[Problem]:
    """Each order sent at most once, in the state that its facts tell, and known two settlements after its session."""
    problems = []
    for one in orders:
        key = one.order.key
        sent = sum(event.state is OrderState.SENDING for event in one.events)
        if sent > 1:
            problems.append(Problem(kind="sent twice", what=f"{key}: sent {sent} times"))
        planned = sum(event.state is OrderState.PLANNED for event in one.events)
        if planned != 1:
            problems.append(Problem(kind="lost", what=f"{key}: planned {planned} times"))
        told = standing(one.order.shares, one.events, one.fills)
        if told.state is not one.state or told.contradictions:
            why = "; ".join(told.contradictions) or f"its events say {told.state}"
            problems.append(Problem(kind="state", what=f"{key}: stored as {one.state}, but {why}"))
        if one.settlements >= 2 and one.state in {OrderState.PLANNED, OrderState.SENDING, OrderState.ACCEPTED}:  # noqa: PLR2004
            problems.append(Problem(kind="lost", what=f"{key}: still {one.state} after {one.settlements} settlements"))
        if one.settlements and one.state is OrderState.UNKNOWN:
            problems.append(Problem(kind="open", what=f"{key}: unknown after {one.settlements} settlements"))
    return problems


def audit_cash(identities: Iterable[tuple[date | str, CashIdentity]]) -> list[Problem]:
    """Start + sells - buys - fees - taxes + dividends + adjustments = cash, to the dollar, at each moment."""
    return [
        Problem(kind="cash", what=f"{when}: the parts come to NT${one.expected_twd:,}, cash is NT${one.cash_twd:,}")
        for when, one in identities
        if one.off_twd
    ]


def audit_book(
    ours: Mapping[str, int], book: Mapping[str, int], unexplained: Mapping[str, int], off_twd: int | None
) -> list[Problem]:
    """Shares of the broker's book against ours: a difference that stands as unexplained waits for a person.

    `off_twd` is the broker's cash beyond ours, where it tells it. While shares are unexplained, so is the cash that
    they came for.
    """
    problems = []
    for symbol in sorted({*ours, *book, *unexplained}):
        change = book.get(symbol, 0) - ours.get(symbol, 0)
        if change and change == unexplained.get(symbol, 0):
            problems.append(Problem(kind="unexplained", what=f"unexplained {shares_told(change)} {symbol}"))
        elif change:
            problems.append(Problem(kind="book", what=f"{symbol}: the book has {shares_told(change)} beyond ours"))
        elif symbol in unexplained:
            problems.append(Problem(kind="book", what=f"{symbol}: stands as unexplained, but the book agrees"))
    if off_twd:
        kind: Kind = "unexplained" if unexplained else "book"
        problems.append(Problem(kind=kind, what=f"cash: the broker has NT${off_twd:+,} beyond ours"))
    return problems


def audit_posts(orders: Sequence[OrderRecord], posts: Sequence[Post]) -> list[Problem]:
    """Each POST belongs to an intent that had been journalled as `sending`, one to each at most.

    And what the platform answered had arrived there. Both clocks must be the same.
    """
    arrived: Counter[str] = Counter()
    problems = []
    for post in posts:
        sent = [
            (event.at, one.order.key)
            for one in orders
            for event in one.events
            if event.state is OrderState.SENDING
            and (one.order.symbol, str(one.order.side)) == (post.symbol, post.side)
            and event.at <= post.at
        ]
        if sent:
            arrived[max(sent)[1]] += 1
        else:
            problems.append(Problem(kind="sent twice", what=f"{post.side} {post.symbol} {post.at}: in no journal"))
    problems += [
        Problem(kind="sent twice", what=f"{key}: {count} POSTs") for key, count in sorted(arrived.items()) if count > 1
    ]
    answered = [one.order.key for one in orders if any(e.state is OrderState.ACCEPTED for e in one.events)]
    problems += [
        Problem(kind="lost", what=f"{key}: accepted, but it never arrived") for key in answered if not arrived[key]
    ]
    return problems
