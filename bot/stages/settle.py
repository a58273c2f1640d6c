"""15:45: the broker's book against the journal, dividends, the cash identity and the equity line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from bot.adapters.sqlite_journal import EquityPoint
from bot.adapters.sqlite_orders import JournalOrder
from bot.config import Config
from bot.core.cash import shares_before
from bot.core.explain import Resting
from bot.core.exrights import ExRight
from bot.core.market import Bar, to_x100
from bot.core.orders import Fill, Order, OrderState
from bot.core.settle import Reading, Settlement, settle, shares_reason
from bot.dividends import book_dividends, newest_events
from bot.errors import DataMissing
from bot.stages.stage import Outcome, Ports


def settle_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Compare the broker's book with the journal, turn the difference into fills, and write cash and equity down.

    Raises:
        DataMissing: the book could not be read, or orders are open and the session's bars are not there: nothing is
            concluded from that.
    """
    at = ports.clock.now()
    resting = resting_orders(session, ports)
    if not ports.market.count_bars(session) and ports.journal.orders.select(OrderState.ACCEPTED, OrderState.UNKNOWN):
        raise DataMissing(f"{session}: no bars, so nothing can be said of the open orders")
    for traded in sorted({one.session for one in resting}):
        ports.broker.end_session(traded, ports.market.bars_of(traded))
    events = newest_events(session, ports.ex_right_store, at)
    book_dividends(events, ports.journal, config.broker, at)
    late = _late_orders(session, ports)
    reading = read_book([one.order for one in (*resting, *late)], ports)
    result = settle(
        session,
        resting,
        ports.journal.portfolio(),
        reading,
        config.costs,
        late=late,
        known=ports.journal.unexplained(),
        ex_rights=_not_booked(events, ports),
    )
    told = [*ports.journal.settle(session, result, at), *result.remarks]
    # Once more: an order that had filled after all may have held over an ex-date.
    book_dividends(events, ports.journal, config.broker, at)
    ports.journal.record_identity(session, reading.cash_twd, at)
    told += _untold_dividends(session, events, ports, config)
    ports.journal.record_surprises(session, told, at)
    _record_equity(session, ports)
    return Outcome(outcome="done", detail=_detail(result, ports))


def read_book(orders: Sequence[Order], ports: Ports) -> Reading:
    """All that the broker tells of its book and of `orders`.

    Raises:
        DataMissing: it could not be read; that is no empty book.
    """
    return Reading(
        shares=ports.broker.holdings(),
        cash_twd=ports.broker.cash_twd(),
        reports=ports.broker.order_states(orders),
        prices_x100=ports.broker.prices_x100(orders),
    )


def resting_orders(session: date, ports: Ports) -> list[Resting]:
    """Orders that left and could have traded by now, with the session they could trade in."""
    found = (_resting(one, ports) for one in ports.journal.orders.select(OrderState.ACCEPTED, OrderState.UNKNOWN))
    return [one for one in found if one and one.session <= session]


def _late_orders(session: date, ports: Ports) -> list[Resting]:
    """Orders thought dead that this reading may still show.

    A book is at most a session old. So it is those that the last settlement buried, of the very session that it
    settled, on a book in which nothing else of that session had moved. Later readings would have shown the others.
    """
    settled = max((one for one, _ in ports.journal.books.identities() if one < session), default=session)
    fills = ports.journal.orders.fills()
    found = []
    for one in ports.journal.orders.select(OrderState.EXPIRED):
        dead = _resting(one, ports)
        buried = ports.journal.orders.events(one.order.key)[-1]
        if dead is None or buried.by != "book" or dead.session not in {settled, session}:
            continue
        if buried.at.date() != dead.session or _showed_others(dead, buried.at, fills, ports):
            continue
        found.append(dead)
    return found


def _showed_others(dead: Resting, read_at: datetime, fills: Sequence[Fill], ports: Ports) -> bool:
    """Whether a book read until `read_at` held fills of the dead order's own session, so that it was no older."""
    return any(
        event.state is OrderState.FILLED and event.at <= read_at
        for fill in fills
        if fill.session == dead.session
        for event in ports.journal.orders.events(fill.key)
    )


def _resting(one: JournalOrder, ports: Ports) -> Resting | None:
    """`one` with the session it could trade in; None while there is none."""
    traded = ports.market.session_after(one.order.decided)
    if traded is None:
        return None
    touched = None
    if ports.broker.abilities.fills_by_touch:
        touched = _touched(one.order, ports.market.bars_of(traded).get(one.order.symbol))
    arrived = any(event.state is OrderState.ACCEPTED for event in ports.journal.orders.events(one.order.key))
    fills = tuple(ports.journal.orders.fills(one.order.key))
    return Resting(order=one.order, state=one.state, session=traded, touched=touched, arrived=arrived, fills=fills)


def _touched(order: Order, bar: Bar | None) -> bool | None:
    """Whether the session's range touched the order's limit; None without a bar."""
    return None if bar is None else to_x100(bar.low) <= order.limit_x100 <= to_x100(bar.high)


def _not_booked(events: Sequence[ExRight], ports: Ports) -> list[ExRight]:
    """The ex-dates whose shares are not in our books yet."""
    booked = {(one.symbol, one.reason) for one in ports.journal.books.adjustments()}
    return [event for event in events if (event.symbol, shares_reason(event)) not in booked]


def _untold_dividends(session: date, events: Sequence[ExRight], ports: Ports, config: Config) -> list[str]:
    """The ex-dates since the session before on which cash may have come that the exchange does not tell apart."""
    if not config.broker.pays_dividends:
        return []
    before = ports.market.session_before(session) or session
    fills, adjustments = ports.journal.orders.fills(), ports.journal.books.adjustments()
    return [
        f"{event.symbol} went ex {event.ex_date}, and {event.source} does not tell how much of it is cash: "
        "if cash came, take it in with `twtrader reconcile --adopt cash`"
        for event in events
        if event.kind == "dividend"
        and event.cash_dividend is None
        and before < event.ex_date
        and shares_before(event.ex_date, event.symbol, fills, adjustments) > 0
    ]


def _detail(result: Settlement, ports: Ports) -> str:
    """What came of it, in one line."""
    detail = f"{result.count(OrderState.FILLED)} filled, {result.count(OrderState.EXPIRED)} expired"
    doubts = result.count(OrderState.UNKNOWN)
    detail += f", {doubts} unknown" if doubts else ""
    return detail + "".join(f"; {event.text}" for event in ports.journal.books.events(only_open=True))


def _record_equity(session: date, ports: Ports) -> None:
    """Value the book at the last known closes."""
    held = ports.journal.portfolio()
    closes = ports.market.last_closes(sorted(held.positions), until=session)
    point = EquityPoint(session=session, cash_twd=held.cash_twd, value_twd=held.value_twd(closes))
    ports.journal.record_equity(point)
