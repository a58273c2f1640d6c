"""Settlement: the broker's book against the journal, per stock. Pure; what does not fit is said, never papered over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from bot.core.costs import CostRates
from bot.core.orders import Fill, Order, OrderState
from bot.core.portfolio import Portfolio


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """An order that left for the broker, and whether we know that it arrived."""

    order: Order
    state: OrderState
    session: date  # the session it could trade in


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of the resting orders: steps for the journal, fills, and what a person must look at."""

    moves: tuple[tuple[str, OrderState, str], ...]
    fills: tuple[Fill, ...]
    surprises: tuple[str, ...]
    unexplained: Mapping[str, int]  # by symbol, shares in the book beyond the journal's: hands off these stocks


def settle(
    resting: Sequence[Resting],
    held: Portfolio,
    book_shares: Mapping[str, int],
    prices_x100: Mapping[str, int] | None,
    costs: CostRates,
) -> Settlement:
    """Compare `book_shares` (the broker's, by symbol) with the journal's `held` and explain every difference.

    An order filled whole if the book changed by just its shares, and expired if nothing changed. `prices_x100`
    holds the fill price by order key where the broker tells it; otherwise (None) an order fills at its limit, as
    the stock API does. Any other change leaves the stock's orders `unknown`, which blocks the stock, and says so.
    """
    moves: list[tuple[str, OrderState, str]] = []
    fills: list[Fill] = []
    surprises: list[str] = []
    unexplained: dict[str, int] = {}
    waiting = {one.order.symbol: one for one in resting}
    for symbol in sorted({*book_shares, *held.positions, *waiting}):
        change = book_shares.get(symbol, 0) - held.shares_of(symbol)
        one = waiting.get(symbol)
        if one is None:
            if change:
                unexplained[symbol] = change
                surprises.append(f"unexplained {change:+,} shares {symbol}")
        elif change == one.order.signed_shares:
            fill = _fill(one, prices_x100, costs)
            fills.append(fill)
            moves.append((one.order.key, OrderState.FILLED, f"{fill.shares:+,} at {fill.price_x100 / 100:.2f}"))
        elif change == 0:
            moves.append((one.order.key, OrderState.EXPIRED, "not in the book after settlement"))
        else:
            unexplained[symbol] = change
            surprises.append(
                f"unexplained {change:+,} shares {symbol} (the order was for {one.order.signed_shares:+,})"
            )
            if one.state is OrderState.ACCEPTED:
                moves.append((one.order.key, OrderState.UNKNOWN, f"the book changed by {change:+,} shares"))
    return Settlement(moves=tuple(moves), fills=tuple(fills), surprises=tuple(surprises), unexplained=unexplained)


def _fill(one: Resting, prices_x100: Mapping[str, int] | None, costs: CostRates) -> Fill:
    """The fill of a whole order, with its costs."""
    order = one.order
    price_x100 = order.limit_x100 if prices_x100 is None else prices_x100[order.key]
    return Fill(
        key=order.key,
        symbol=order.symbol,
        session=one.session,
        shares=order.signed_shares,
        price_x100=price_x100,
        commission_twd=costs.commission_of(price_x100, order.shares),
        tax_twd=costs.tax_of(order.symbol, price_x100, order.signed_shares),
    )
