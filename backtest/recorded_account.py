"""What the journal holds of an account, as a replay of it needs it, and what a replay has to take from there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_orders import JournalOrder
from bot.core.cash import Adjustment, CashEvent
from bot.core.orders import Order, OrderState

REACHED_MARKET: Final = {OrderState.ACCEPTED, OrderState.FILLED, OrderState.EXPIRED}

Intent = tuple[str, date, str, str]  # strategy, decided, symbol, side


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the journal holds: decisions by session, orders by intent, and what happened without an order of ours.

    A decision is its SHA-256 and its inputs. What a person took in stands beside the first session whose decision could
    know of it, `date.max` where none could yet. `settled` are the sessions with an equity point, oldest first.
    """

    start_cash_twd: int
    decisions: Mapping[date, tuple[str, dict[str, Any]]]
    legs: Mapping[Intent, Sequence[JournalOrder]]
    adjustments: Sequence[tuple[date, Adjustment]]
    cash_events: Sequence[tuple[date, CashEvent]]
    settled: Sequence[date]


def recorded_account(db: Any, journal: Journal, start_cash_twd: int) -> Recorded:
    """All that `db` holds of its account. A dividend counts from its ex-date, other cash from when it was known."""
    rows = list(db.execute("select session, sha256, inputs, decided_at from decisions order by session"))
    decided = [(date.fromisoformat(row[0]), datetime.fromisoformat(row[3])) for row in rows]
    adjusted_at, cash_at = (
        [datetime.fromisoformat(at) for (at,) in db.execute(f"select at from {table} order by id")]
        for table in ("adjustments", "cash_events")
    )
    legs: dict[Intent, list[JournalOrder]] = {}
    for one in journal.orders.select():
        legs.setdefault(intent_of(one.order), []).append(one)
    return Recorded(
        start_cash_twd=start_cash_twd,
        decisions={date.fromisoformat(session): (sha256, json.loads(inputs)) for session, sha256, inputs, _ in rows},
        legs=legs,
        adjustments=[
            (_known_on(one.session, at, decided), one)
            for one, at in zip(journal.books.adjustments(), adjusted_at, strict=True)
        ],
        cash_events=[
            (one.day if one.kind == "dividend" else _known_on(one.day, at, decided), one)
            for one, at in zip(journal.books.cash_events(), cash_at, strict=True)
        ],
        settled=[point.session for point in journal.equity()],
    )


def _known_on(day: date, at: datetime, decided: Sequence[tuple[date, datetime]]) -> date:
    """The session after which what happened on `day` and was booked at `at` was known to the decision."""
    return next((session for session, when in decided if session >= day and at <= when), date.max)


def intent_of(order: Order) -> Intent:
    """What an order was meant to do, which all its legs share."""
    return order.strategy, order.decided, order.symbol, str(order.side)


def sent(order: Order, recorded: Recorded) -> list[Order]:
    """The parts of `order` that reached the market as the journal has them; all of it where it knows nothing."""
    legs = recorded.legs.get(intent_of(order))
    if legs is None:
        return [order]
    return [replace(order, shares=one.order.shares, leg=one.order.leg) for one in legs if one.state in REACHED_MARKET]


def journal_books(
    sessions: Sequence[date], recorded: Recorded, journal: Journal
) -> dict[date, tuple[int, dict[str, int]]]:
    """Cash (whole TWD) and shares held after each session, by all that the journal knows now of what came before."""
    moves = [*((fill.session, fill) for fill in journal.orders.fills())]
    moves += [(known, one.as_fill) for known, one in recorded.adjustments]
    books = {}
    for session in sessions:
        cash_twd, shares = recorded.start_cash_twd, dict[str, int]()
        cash_twd += sum(one.amount_twd for known, one in recorded.cash_events if known <= session)
        for day, fill in moves:
            if day <= session:
                cash_twd += fill.cash_change_twd
                shares[fill.symbol] = shares.get(fill.symbol, 0) + fill.shares
        books[session] = cash_twd, {symbol: held for symbol, held in sorted(shares.items()) if held}
    return books


def taken_from_journal(recorded: Recorded, journal: Journal) -> list[str]:
    """Each thing that the replay took from the journal, in words."""
    lines = []
    for one in (leg for legs in recorded.legs.values() for leg in legs):
        events = journal.orders.events(one.order.key)
        if one.state not in REACHED_MARKET:
            lines.append(
                f"{one.order.key} {one.state}: {one.note or one.order.reason}: not traded in the replay either"
            )
        elif any(event.by == "person" for event in events):
            lines.append(f"{one.order.key} {one.state} by a person's word: {one.note}")
        elif any(event.state is OrderState.UNKNOWN for event in events):
            lines.append(f"{one.order.key} {one.state} after its fate was unknown for a while: {one.note}")
    lines += [
        f"{one.session} {one.symbol}: {one.shares:+,} shares taken in: {one.reason}" for _, one in recorded.adjustments
    ]
    lines += [
        f"{one.day}: NT${one.amount_twd:+,} taken in: {one.note}"
        for _, one in recorded.cash_events
        if one.kind != "dividend"
    ]
    lines += [f"open: {event.text}, first seen {event.first_seen}" for event in journal.books.events(only_open=True)]
    return lines
