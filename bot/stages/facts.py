"""What the limits are asked with: facts read once an evening, and those that each order changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from bot.calendar import calendar_of
from bot.config import Config
from bot.core.exrights import going_ex
from bot.core.limits import Facts, Limits, Sent, spendable_twd, tripped_by, unsettled_proceeds_twd
from bot.core.market import is_etf, limit_pct
from bot.core.orders import OPEN_STATES, OrderState
from bot.core.sessions import next_session
from bot.exrights_fetch import known_events
from bot.stages.stage import Ports

_NEVER_LEFT = frozenset({OrderState.PLANNED, OrderState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What does not change while orders are sent."""

    session: date
    trades_on: date
    settled: bool
    equity_twd: int | None
    held_shares: Mapping[str, int]
    closes_x100: Mapping[str, int]
    references_x100: Mapping[str, int]
    day_limits_x100: Mapping[str, tuple[int, int]]
    traded: frozenset[str]
    suspect: Mapping[str, str]
    short_twd: int  # what the broker, where it tells its cash, has less than the journal


def known_tonight(session: date, ports: Ports, config: Config) -> Known:
    """Prices, the book and what is wrong with either, as of the evening of `session`."""
    now = ports.clock.now()
    trades_on = next_session(session, now, calendar_of(ports))
    held = ports.journal.portfolio()
    traded = frozenset(ports.market.bars_of(session))
    closes = ports.market.last_closes(sorted({*traded, *held.positions}), until=session)
    priced = all(symbol in closes for symbol in held.positions)
    events = [one for many in known_events(ports, session, config.history.sessions).values() for one in many]
    ex, pct = going_ex(events, session, trades_on), limit_pct(trades_on)
    settled = ports.journal.stages.find(session, "settle")
    return Known(
        session=session,
        trades_on=trades_on,
        settled=settled is not None and settled.outcome == "done",
        equity_twd=held.cash_twd + held.value_twd(closes) if priced else None,
        held_shares={symbol: position.shares for symbol, position in held.positions.items()},
        closes_x100=closes,
        references_x100={symbol: event.reference_x100 for symbol, event in ex.items()},
        day_limits_x100={symbol: event.limits_x100(pct, etf=is_etf(symbol)) for symbol, event in ex.items()},
        traded=traded,
        suspect=_suspect(session, ports),
        short_twd=_short_twd(session, ports),
    )


def facts_now(known: Known, breaker: str, ports: Ports, config: Config) -> Facts:
    """`known`, with the orders and the cash as they are at this moment."""
    sent = tuple(
        Sent(
            order=one.order,
            resting=one.state in OPEN_STATES,
            refused=one.state is OrderState.REJECTED,
            filled_shares=one.filled_shares,
        )
        for one in ports.journal.orders.select()
        if one.state not in _NEVER_LEFT and (one.order.decided == known.session or one.state in OPEN_STATES)
    )
    unsettled = unsettled_proceeds_twd(
        ports.journal.orders.fills(),
        lambda day: ports.market.count_sessions(day, known.session) + 1,
        ports.broker.abilities.settlement_sessions,
    )
    resting = [rest for one in sent if (rest := one.rest) is not None]
    return Facts(
        session=known.session,
        trades_on=known.trades_on,
        settled=known.settled,
        cash_twd=spendable_twd(ports.journal.portfolio().cash_twd - known.short_twd, resting, unsettled, config.costs),
        equity_twd=known.equity_twd,
        held_shares=known.held_shares,
        closes_x100=known.closes_x100,
        references_x100=known.references_x100,
        day_limits_x100=known.day_limits_x100,
        traded=known.traded,
        suspect=known.suspect,
        sent=sent,
        breaker=breaker,
    )


def watch_breaker(session: date, ports: Ports, limits: Limits) -> str:
    """What holds the breaker open; "" while it is closed. Trips it where the equity line says so, and tells it once."""
    open_trip = ports.breaker.open_trip()
    if open_trip is not None:
        return open_trip.text
    since = ports.breaker.counts_from()
    line = [(point.session, point.equity_twd) for point in ports.journal.equity() if since <= point.session <= session]
    text = tripped_by(line, limits)
    if text:
        now = ports.clock.now()
        ports.breaker.trip(session, text, now)
        stops = "buys" if limits.breaker_stops == "buys" else "everything"
        ports.journal.record_surprises(session, [f"breaker tripped, {stops} stopped: {text}; `twtrader resume`"], now)
    return text


def _short_twd(session: date, ports: Ports) -> int:
    """How much less cash the broker told at the settlement of `session` than the journal has: the lower one counts."""
    checks = [check for day, check in ports.journal.books.identities() if day == session]
    told = [check.cash_twd - check.broker_twd for check in checks if check.broker_twd is not None]
    return max(0, *told) if told else 0


def _suspect(session: date, ports: Ports) -> dict[str, str]:
    """By symbol, why tonight's data of a stock can't be trusted."""
    told = {symbol: f"the book has {shares:+,} shares that nobody explains"
            for symbol, shares in ports.journal.unexplained().items()}  # fmt: skip
    told |= dict.fromkeys(ports.market.revised(session), f"its bar of {session} was told differently later")
    return told | {symbol: f"in quarantine: {why}" for symbol, why in ports.market.in_quarantine(session).items()}
