"""What we own: cash and positions, changed only by fills."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from bot.core.costs import CostRates
from bot.core.orders import Fill, Order, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Shares of one stock and what they cost in all, commission included, in TWD.

    `since` is the session of the opening fill; None where a book of before does not tell.
    """

    shares: int
    cost_twd: int
    since: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """Cash and positions; a stock that is not held has no entry."""

    cash_twd: int
    positions: Mapping[str, Position] = field(default_factory=dict)

    def shares_of(self, symbol: str) -> int:
        """Shares held, 0 when none."""
        held = self.positions.get(symbol)
        return held.shares if held else 0

    def value_twd(self, close_x100: Mapping[str, int]) -> int:
        """What the positions are worth at the given closes.

        Raises:
            KeyError: a held stock has no close.
        """
        return sum(held.shares * close_x100[symbol] // 100 for symbol, held in self.positions.items())


def apply_fill(held: Portfolio, fill: Fill) -> Portfolio:
    """The portfolio after `fill`. A sale carries out its share of the cost, rounded down.

    Raises:
        ValueError: the fill sells more than is held.
    """
    before = held.positions.get(fill.symbol, Position(shares=0, cost_twd=0, since=fill.session))
    shares = before.shares + fill.shares
    if shares < 0:
        raise ValueError(f"{fill.symbol} {fill.session}: sells {-fill.shares} of {before.shares} shares")
    if fill.shares > 0:
        cost_twd = before.cost_twd - fill.cash_change_twd
    else:
        cost_twd = before.cost_twd - before.cost_twd * -fill.shares // before.shares
    positions = {symbol: position for symbol, position in held.positions.items() if symbol != fill.symbol}
    if shares:
        positions[fill.symbol] = Position(shares=shares, cost_twd=cost_twd, since=before.since)
    return Portfolio(cash_twd=held.cash_twd + fill.cash_change_twd, positions=positions)


def as_if_bought(held: Portfolio, waiting: Iterable[Order], costs: CostRates) -> Portfolio:
    """The portfolio as if every purchase among `waiting` had traded at its limit.

    What an open order may still cost is not there to be spent again, and its stock takes its place among the held.
    """
    for order in waiting:
        if order.side is Side.BUY:
            fill = Fill(
                key=order.key,
                symbol=order.symbol,
                session=order.decided,
                shares=order.shares,
                price_x100=order.limit_x100,
                commission_twd=costs.commission_of(order.limit_x100, order.shares),
                tax_twd=0,
            )
            held = apply_fill(held, fill)
    return held


def unsettled_twd(fills: Iterable[Fill], newest: Collection[date]) -> int:
    """What sales in the `newest` sessions brought, in TWD: cash that can't be spent before it is settled."""
    return sum(max(0, fill.cash_change_twd) for fill in fills if fill.shares < 0 and fill.session in newest)
