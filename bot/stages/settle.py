"""15:45: the broker's book against the journal, and the equity line."""

from __future__ import annotations

from datetime import date

from bot.adapters.sqlite_journal import EquityPoint
from bot.config import Config
from bot.core.orders import OrderState
from bot.core.settle import Resting, settle
from bot.errors import DataMissing
from bot.stages.stage import Outcome, Ports


def settle_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Compare the broker's book with the journal, turn the difference into fills, and write the equity line.

    Raises:
        DataMissing: the book could not be read, or orders are open and the session's bars are not there: nothing is
            concluded from that.
    """
    at = ports.clock.now()
    resting = _resting(session, ports)
    if not ports.market.count_bars(session) and ports.journal.orders(OrderState.ACCEPTED, OrderState.UNKNOWN):
        raise DataMissing(f"{session}: no bars, so nothing can be said of the open orders")
    for traded in sorted({one.session for one in resting}):
        ports.broker.end_session(traded, ports.market.bars_of(traded))
    held = ports.journal.portfolio()
    book = ports.broker.holdings()
    result = settle(resting, held, book, ports.broker.prices_x100([one.order for one in resting]), config.costs)
    ports.journal.settle(session, result, at)
    ports.journal.record_surprises(session, result.surprises, at)
    _record_equity(session, ports)
    filled, expired = len(result.fills), sum(state is OrderState.EXPIRED for _, state, _ in result.moves)
    detail = f"{filled} filled, {expired} expired"
    return Outcome(outcome="done", detail=detail + "".join(f"; {text}" for text in result.surprises))


def _resting(session: date, ports: Ports) -> list[Resting]:
    """Orders that left and could have traded by now, with the session they could trade in."""
    resting = []
    for one in ports.journal.orders(OrderState.ACCEPTED, OrderState.UNKNOWN):
        traded = ports.market.session_after(one.order.decided)
        if traded is not None and traded <= session:
            resting.append(Resting(order=one.order, state=one.state, session=traded))
    return resting


def _record_equity(session: date, ports: Ports) -> None:
    """Value the book at the last known closes."""
    held = ports.journal.portfolio()
    closes = ports.market.last_closes(sorted(held.positions), until=session)
    point = EquityPoint(session=session, cash_twd=held.cash_twd, value_twd=held.value_twd(closes))
    ports.journal.record_equity(point)
