"""Settlement: the broker's book against the journal, per stock. Pure; what does not fit is said, never papered over.

A book may be a session old. So an order that the session's range touched, and that a book in which nothing else moved
doesn't show, is not dead yet: it is `unknown` until the next reading. If the book shows shares of an order thought
dead, and just one of the newest fits, that order had filled after all. The rest waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import product
from math import prod
from typing import Final

from bot.core.brokerage import Deal, Report
from bot.core.cash import Adjustment, shares_after
from bot.core.costs import CostRates
from bot.core.explain import Explanation, Resting, explanations
from bot.core.exrights import ExRight
from bot.core.market import shares_told
from bot.core.orders import Fill, OrderState
from bot.core.portfolio import Portfolio

MOST_WAYS: Final = 1_024  # ways to read the whole book that cash is asked to choose from


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the broker told after a session. `cash_twd`, `reports` and `prices_x100` are None where it tells none.

    `reports` is its own list of our orders by key, `prices_x100` fill prices by key.
    """

    shares: Mapping[str, int]
    cash_twd: int | None = None
    reports: Mapping[str, Report] | None = None
    prices_x100: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What was learned of one order: its next state (None: as before), why, and the parts that traded."""

    key: str
    state: OrderState | None
    note: str
    fills: tuple[Fill, ...] = ()
    late: bool = False  # a correction: it was thought dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of the orders, and what a person must look at.

    `unexplained` is by symbol the shares in the book beyond the journal's: hands off these stocks. `remarks` says what
    was odd; `cash_off_twd` is the broker's cash beyond ours, None where it tells none.
    """

    fates: tuple[Fate, ...] = ()
    unexplained: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()  # what ex-dates explain: shares that came or went without an order
    cash_off_twd: int | None = None

    @property
    def fills(self) -> tuple[Fill, ...]:
        """Everything that traded, sales first."""
        fills = [fill for fate in self.fates for fill in fate.fills]
        return tuple(sorted(fills, key=lambda fill: (fill.session, fill.shares > 0, fill.symbol, fill.key, fill.n)))

    def count(self, state: OrderState) -> int:
        """How many orders went to `state`."""
        return sum(fate.state is state for fate in self.fates)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stock:
    """One stock: how far the book is from the journal, and who may have done it."""

    symbol: str
    change: int
    resting: tuple[Resting, ...]
    ways: tuple[Explanation, ...]


def settle(
    session: date,
    resting: Sequence[Resting],
    held: Portfolio,
    reading: Reading,
    costs: CostRates,
    *,
    late: Sequence[Resting] = (),
    known: Mapping[str, int] | None = None,
    ex_rights: Sequence[ExRight] = (),
) -> Settlement:
    """Explain every difference between `reading` after `session` and the journal's `held`.

    `late` are orders of the newest sessions thought dead, `known` the differences that are open already, by symbol:
    they are not explained anew. `ex_rights` may explain shares without an order. Doing it again with what came of it
    changes nothing.
    """
    fates, told = _told(resting, late, reading, costs)
    silent = [one for one in resting if one.order.key not in told]
    traded = {symbol: sum(f.shares for fate in fates for f in fate.fills if f.symbol == symbol)
              for symbol in {one.order.symbol for one in (*resting, *late)}}  # fmt: skip
    symbols = {*reading.shares, *held.positions, *(one.order.symbol for one in resting)}
    stocks = [
        _stock(
            symbol,
            reading.shares.get(symbol, 0) - held.shares_of(symbol) - traded.get(symbol, 0),
            tuple(one for one in silent if one.order.symbol == symbol),
            [one for one in late if one.order.symbol == symbol and one.order.key not in told and _can_have(one, held)],
            (known or {}).get(symbol, 0),
        )
        for symbol in sorted(symbols)
    ]
    cash_before = held.cash_twd + sum(fill.cash_change_twd for fate in fates for fill in fate.fills)
    chosen = _by_cash(stocks, cash_before, reading, costs)
    fresh = any(one.session == session for way in chosen if way for one in way.filled)
    remarks: list[str] = []
    unexplained: dict[str, int] = {}
    for stock, way in zip(stocks, chosen, strict=True):
        fates += _fates(session, stock, way, reading, costs, fresh=fresh)
        left = stock.change - (sum(one.signed_rest for one in (*way.filled, *way.late)) if way else 0)
        if left:
            unexplained[stock.symbol] = left
        remarks += _remarks(stock, way)
    remarks += [f"{fate.key}: {fate.note}" for fate in fates if fate.late or fate.state is OrderState.UNKNOWN]
    adjustments = [one for event in ex_rights if (one := _without_order(event, held, unexplained, session))]
    for one in adjustments:
        del unexplained[one.symbol]
        remarks.append(f"{one.symbol}: {shares_told(one.shares)}: {one.reason}")
    fills = [fill for fate in fates for fill in fate.fills]
    cash_twd = held.cash_twd + sum(fill.cash_change_twd for fill in fills)
    return Settlement(
        fates=tuple(fates),
        unexplained=unexplained,
        remarks=tuple(dict.fromkeys(remarks)),
        adjustments=tuple(adjustments),
        cash_off_twd=None if reading.cash_twd is None else reading.cash_twd - cash_twd,
    )


def parts(one: Resting, deals: Iterable[Deal], costs: CostRates) -> tuple[Fill, ...]:
    """The fills of `deals`, numbered after those the journal has. Costs are those of the order as one bill."""
    sign = 1 if one.order.signed_shares > 0 else -1
    value_x100 = sum(abs(fill.shares) * fill.price_x100 for fill in one.fills)
    commission = sum(fill.commission_twd for fill in one.fills)
    tax = sum(fill.tax_twd for fill in one.fills)
    fills = []
    for n, deal in enumerate(deals, start=len(one.fills) + 1):
        value_x100 += deal.shares * deal.price_x100
        commission_now = costs.commission_of(value_x100, 1)
        tax_now = costs.tax_of(one.order.symbol, value_x100, sign)
        fills.append(
            Fill(
                key=one.order.key,
                symbol=one.order.symbol,
                session=one.session,
                shares=sign * deal.shares,
                price_x100=deal.price_x100,
                commission_twd=commission_now - commission,
                tax_twd=tax_now - tax,
                n=n,
            )
        )
        commission, tax = commission_now, tax_now
    return tuple(fills)


# --- what the broker's own list says ------------------------------------------------------------------------


def _told(
    resting: Sequence[Resting], late: Sequence[Resting], reading: Reading, costs: CostRates
) -> tuple[list[Fate], set[str]]:
    """Fates of the orders that the broker's list speaks of clearly, and their keys.

    Of one thought dead it only counts that more of it traded.
    """
    reports, fates = reading.reports or {}, []
    for one in (*resting, *late):
        report = reports.get(one.order.key)
        fate = _reported(one, report, costs) if report else None
        if fate and one in late:
            state = OrderState.FILLED if fate.state is OrderState.FILLED else one.state
            note = f"{fate.note}: it had been thought {one.state}"
            fate = replace(fate, state=state, note=note, late=True) if fate.fills else None
        if fate:
            fates.append(fate)
    return fates, {fate.key for fate in fates}


def _reported(one: Resting, report: Report, costs: CostRates) -> Fate | None:
    """The fate of `one` by the broker's list; None where the list itself makes no sense, so that the book decides."""
    known = sum(abs(fill.shares) for fill in one.fills)
    if not known <= report.filled_shares <= one.order.shares or len(report.deals) < len(one.fills):
        return None
    whole = report.filled_shares == one.order.shares
    if whole != (report.state is OrderState.FILLED) or report.state is OrderState.UNKNOWN:
        return None
    fills = parts(one, report.deals[len(one.fills) :], costs)
    note = report.note or f"{report.filled_shares:,} of {one.order.shares:,} shares traded"
    if whole:
        return Fate(key=one.order.key, state=OrderState.FILLED, note=_filled_note(fills), fills=fills)
    if report.state is OrderState.ACCEPTED:
        return Fate(key=one.order.key, state=None, note=f"still works at the broker; {note}", fills=fills)
    state = report.state
    if state is OrderState.REJECTED and (one.state is not OrderState.UNKNOWN or report.deals):
        state = OrderState.EXPIRED  # the exchange threw out what the broker had taken
    return Fate(key=one.order.key, state=state, note=note, fills=fills)


# --- what the book says -------------------------------------------------------------------------------------


def _stock(symbol: str, change: int, resting: tuple[Resting, ...], late: Sequence[Resting], known: int) -> _Stock:
    """The stock with the best explanations of its change. What is `known` already is not explained anew."""
    ways: tuple[Explanation, ...] = ()
    if resting:
        ways = explanations(change, resting, late)
    elif change not in {0, known}:
        ways = explanations(change - known, (), late)
    return _Stock(symbol=symbol, change=change, resting=resting, ways=ways)


def _can_have(one: Resting, held: Portfolio) -> bool:
    """Whether the dead order `one` can still be booked: a sale needs its shares."""
    return held.shares_of(one.order.symbol) + one.signed_rest >= 0


def _by_cash(stocks: Sequence[_Stock], cash_twd: int, reading: Reading, costs: CostRates) -> list[Explanation | None]:
    """The explanation of each stock: the only one, or the one that fits the broker's cash to the dollar; else None."""
    only = [stock.ways[0] if len(stock.ways) == 1 else None for stock in stocks]
    count = prod(len(stock.ways) or 1 for stock in stocks)
    if reading.cash_twd is None or not 1 < count <= MOST_WAYS:
        return only
    fitting = [
        ways
        for ways in product(*[stock.ways or (None,) for stock in stocks])
        if cash_twd + sum(_cash_of(way, reading, costs) for way in ways if way) == reading.cash_twd
    ]
    return list(fitting[0]) if len(fitting) == 1 else only


def _cash_of(way: Explanation, reading: Reading, costs: CostRates) -> int:
    """What an explanation did to the cash."""
    return sum(
        fill.cash_change_twd for one in (*way.filled, *way.late) for fill in _whole(one, reading, costs)
    )  # fmt: skip


def _whole(one: Resting, reading: Reading, costs: CostRates) -> tuple[Fill, ...]:
    """The rest of the order as one fill, at the price the broker tells or else at its limit."""
    price_x100 = (reading.prices_x100 or {}).get(one.order.key, one.order.limit_x100)
    return parts(one, [Deal(shares=one.rest_shares, price_x100=price_x100)], costs)


def _fates(
    session: date, stock: _Stock, way: Explanation | None, reading: Reading, costs: CostRates, *, fresh: bool
) -> list[Fate]:
    """What became of each order of one stock."""
    if way is None:
        note = f"the book changed by {shares_told(stock.change)}, which no order or more than one explains"
        return [
            Fate(key=one.order.key, state=OrderState.UNKNOWN, note=note)
            for one in stock.resting
            if one.state is not OrderState.UNKNOWN
        ]
    fates = []
    for one in way.late:
        fills = _whole(one, reading, costs)
        note = f"{_filled_note(fills)}, found in the book of {session}: it had been thought {one.state}"
        fates.append(Fate(key=one.order.key, state=OrderState.FILLED, note=note, fills=fills, late=True))
    for one in stock.resting:
        if one in way.filled:
            fills = _whole(one, reading, costs)
            fates.append(Fate(key=one.order.key, state=OrderState.FILLED, note=_filled_note(fills), fills=fills))
        elif one.touched and one.session == session and not stock.change and not fresh:
            if one.state is not OrderState.UNKNOWN:
                note = "the session's range touched its limit, and a book in which nothing moved doesn't show it"
                fates.append(Fate(key=one.order.key, state=OrderState.UNKNOWN, note=note))
        else:
            note = "not in the book after settlement"
            if one.fills:
                note = f"{one.rest_shares:,} of {one.order.shares:,} shares did not trade"
            fates.append(Fate(key=one.order.key, state=OrderState.EXPIRED, note=note))
    return fates


def _without_order(event: ExRight, held: Portfolio, off: Mapping[str, int], session: date) -> Adjustment | None:
    """The shares that came or went by `event`, when they are what is unexplained; only if none traded besides."""
    shares, change = held.shares_of(event.symbol), off.get(event.symbol, 0)
    told = shares_after(event, shares) if shares and change else None
    if told is None or shares + change not in told:
        return None
    return Adjustment(
        symbol=event.symbol,
        session=session,
        shares=change,
        price_x100=0,
        commission_twd=0,
        tax_twd=0,
        reason=shares_reason(event),
    )


def shares_reason(event: ExRight) -> str:
    """Why shares came or went by `event`, as it stands in the books."""
    what = "a capital reduction" if event.kind == "reduction" else "a dividend in shares"
    return f"{what}, ex {event.ex_date} ({event.source})"


def _filled_note(fills: Sequence[Fill]) -> str:
    return ", ".join(f"{fill.shares:+,} at {fill.price_x100 / 100:.2f}" for fill in fills)


def _remarks(stock: _Stock, way: Explanation | None) -> list[str]:
    """What a person should know of a change that could be read in more than one way."""
    if way is None and len(stock.ways) > 1:
        orders = sorted({one.order.key for each in stock.ways for one in (*each.filled, *each.late)})
        return [f"{stock.symbol}: {shares_told(stock.change)} may be any of {', '.join(orders)}"]
    return []
