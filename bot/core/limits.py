"""What no order may break, whatever the rule decided: asked right before each order leaves. Pure.

Sells of shares that are held make risk smaller, so that no cap and no breaker keeps them: a stop-loss caught behind a
cap costs more than the cap can save. What makes an order wrong, whichever way it trades, stops them too: data that is
stale or suspect, a book that was not settled, more shares than are held, a price that is a mistake. A person who wants
everything stopped has `twtrader halt`, or `limits.breaker_stops = "all"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, Literal

from bot.core.costs import CostRates
from bot.core.market import (
    floor_to_tick_x100,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    tick_x100,
)
from bot.core.orders import Fill, Order, Side

BPS: Final = 10_000
_LARGEST_TWD: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The knobs of `[limits]`; 0 switches a limit off. bps are 0.01 % of equity where nothing else is said."""

    max_order_twd: int
    max_stock_twd: int
    max_stock_bps: int
    max_gross_bps: int
    max_turnover_bps: int
    max_orders: int
    price_band_bps: int  # of the last close
    daily_loss_bps: int  # of the equity of the session before
    drawdown_bps: int  # of the highest equity
    breaker_stops: Literal["buys", "all"]

    def __post_init__(self) -> None:
        """Refuse knobs outside their range.

        Raises:
            ValueError: names the knob.
        """
        ranges = {
            "max_order_twd": _LARGEST_TWD,
            "max_stock_twd": _LARGEST_TWD,
            "max_stock_bps": BPS,
            "max_gross_bps": 2 * BPS,
            "max_turnover_bps": 100 * BPS,
            "max_orders": 10_000,
            "price_band_bps": BPS,
            "daily_loss_bps": BPS,
            "drawdown_bps": BPS,
        }
        for name, high in ranges.items():
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be between 0 (no limit) and {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An order that has left. `resting`: it may still trade; otherwise it has traded, died or been refused."""

    order: Order
    resting: bool
    refused: bool = False
    filled_shares: int = 0

    @property
    def rest(self) -> Order | None:
        """What may still trade of it, as an order; None when nothing."""
        left = self.order.shares - self.filled_shares if self.resting else 0
        return replace(self.order, shares=left) if left > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known right before an order is sent. Prices in hundredths of a TWD, by symbol.

    `cash_twd` is what may be spent now (see `spendable_twd`), before `sent` is looked at no further.
    `equity_twd` is None while a held stock has no close. `closes_x100` are last closes up to `session`,
    `references_x100` only those that the next session's limits count from instead. `suspect` holds, by symbol, why the
    stock's data can't be trusted tonight.
    """

    session: date
    trades_on: date
    settled: bool
    cash_twd: int
    equity_twd: int | None
    held_shares: Mapping[str, int]
    closes_x100: Mapping[str, int]
    references_x100: Mapping[str, int] = field(default_factory=dict)
    day_limits_x100: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # where the exchange tells them itself
    traded: frozenset[str] = frozenset()  # stocks with a checked bar of `session`
    suspect: Mapping[str, str] = field(default_factory=dict)
    sent: Sequence[Sent] = ()  # everything resting, and whatever else was decided after `session` and left
    breaker: str = ""  # what tripped it; empty while it has not


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an order may not leave: the limit's name, and one line with the numbers."""

    limit: str
    reason: str


def refusal_of(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> Refusal | None:
    """Why `order` may not be sent now; None when it may. The first limit that it breaks, the gravest first."""
    checks = [*_ALWAYS, *(_SELLS if order.side is Side.SELL else _BUYS)]
    for name, check in checks:
        reason = check(order, facts, limits, costs)
        if reason:
            return Refusal(limit=name, reason=reason)
    return None


def value_twd(order: Order) -> int:
    """What the order is worth at its limit, without costs."""
    return order.limit_x100 * order.shares // 100


def cost_twd(order: Order, costs: CostRates) -> int:
    """What a purchase takes out of the cash when it trades at its limit."""
    return value_twd(order) + costs.commission_of(order.limit_x100, order.shares)


def spendable_twd(cash_twd: int, resting: Sequence[Order], unsettled_twd: int, costs: CostRates) -> int:
    """Cash that is really there: without what resting purchases may still cost, and without unsettled proceeds."""
    return cash_twd - unsettled_twd - sum(cost_twd(order, costs) for order in resting if order.side is Side.BUY)


def unsettled_proceeds_twd(
    fills: Sequence[Fill], sessions_after: Callable[[date], int], settlement_sessions: int
) -> int:
    """What sales have brought that is not there yet: trades fewer than `settlement_sessions` sessions ago.

    `sessions_after(day)` counts the sessions after `day` up to the one that is traded in next, so that a sale of
    today's session is 1 session old then. Purchases are counted as paid on the day they trade, which is early.
    """
    return sum(
        fill.cash_change_twd
        for fill in fills
        if fill.shares < 0 and fill.cash_change_twd > 0 and sessions_after(fill.session) < settlement_sessions
    )


# --- the breaker ------------------------------------------------------------------------------------------


def tripped_by(line: Sequence[tuple[date, int]], limits: Limits) -> str:
    """What of the equity line (session, whole TWD; oldest first, since the last reset) trips the breaker; "" if none.

    A loss of exactly the limit trips it. The daily loss is that of the newest session alone; a line that starts with
    the newest session, after a reset, has no loss yet.
    """
    if not line:
        return ""
    session, equity_twd = line[-1]
    if len(line) > 1 and limits.daily_loss_bps:
        before, was_twd = line[-2]
        if _fell(was_twd, equity_twd, limits.daily_loss_bps):
            return _said("daily loss", (before, was_twd), (session, equity_twd), limits.daily_loss_bps)
    if limits.drawdown_bps:
        top, high_twd = max(line, key=lambda point: (point[1], point[0]))
        if _fell(high_twd, equity_twd, limits.drawdown_bps):
            return _said("drawdown", (top, high_twd), (session, equity_twd), limits.drawdown_bps)
    return ""


def _fell(high_twd: int, now_twd: int, bps: int) -> bool:
    return high_twd > now_twd and (high_twd - now_twd) * BPS >= bps * high_twd


def _said(what: str, before: tuple[date, int], now: tuple[date, int], bps: int) -> str:
    lost_twd = before[1] - now[1]
    share = f" ({lost_twd / before[1]:.2%})" if before[1] > 0 else ""
    return (
        f"{what} of NT${lost_twd:,}{share}: NT${before[1]:,} after {before[0]}, NT${now[1]:,} after {now[0]}; "
        f"the limit is {_pct(bps)}"
    )


# --- one limit each; "" when it holds ---------------------------------------------------------------------

_Check = Callable[[Order, Facts, Limits, CostRates], str]


def _settlement(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del order, limits, costs
    return "" if facts.settled else f"the book of {facts.session} is not settled"


def _fresh(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del limits, costs
    if order.decided != facts.session:
        return f"stale: decided after {order.decided}, and the newest session is {facts.session}"
    if order.symbol not in facts.traded or order.symbol not in facts.closes_x100:
        return f"stale: no bar of {facts.session}"
    return ""


def _suspect(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del limits, costs
    return facts.suspect.get(order.symbol, "")


def _untouched(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """Another order of the stock may still trade. Legs of the same intent are no other order."""
    del limits, costs
    for one in facts.sent:
        same = (one.order.decided, one.order.side) == (order.decided, order.side)
        if one.resting and one.order.symbol == order.symbol and not same:
            return f"another order of {order.symbol} is open: {one.order.key}"
    return ""


def _day_limits(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """The exchange takes no price beyond the day's limits, and none between two ticks."""
    del limits, costs
    etf, reference = is_etf(order.symbol), _reference_x100(order, facts)
    pct = limit_pct(facts.trades_on)
    counted = limit_down_x100(reference, etf, pct), limit_up_x100(reference, etf, pct)
    low, high = facts.day_limits_x100.get(order.symbol, counted)
    if not low <= order.limit_x100 <= high:
        return f"limit {_twd(order.limit_x100)} is outside {_twd(low)}..{_twd(high)} of {facts.trades_on}"
    if floor_to_tick_x100(order.limit_x100, etf) != order.limit_x100:
        return f"limit {_twd(order.limit_x100)} is between two ticks"
    return ""


def _near(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """Near the last close, told in the next session's terms: on an ex-date that is the reference price.

    One tick more is allowed, because limits are rounded to ticks.
    """
    del costs
    reference = _reference_x100(order, facts)
    room_x100 = reference * limits.price_band_bps // BPS + tick_x100(order.limit_x100, is_etf(order.symbol))
    if limits.price_band_bps and abs(order.limit_x100 - reference) > room_x100:
        return f"limit {_twd(order.limit_x100)} is more than {_pct(limits.price_band_bps)} away from {_twd(reference)}"
    return ""


def _held(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """A sale may not go short. Resting sells have taken their shares already."""
    del limits, costs
    gone = sum(one.shares for one in _rests(facts) if one.symbol == order.symbol and one.side is Side.SELL)
    left = facts.held_shares.get(order.symbol, 0) - gone
    return f"sells {order.shares:,} of {left:,} shares" if order.shares > left else ""


def _all_stopped(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del order, costs
    return f"the breaker is open: {facts.breaker}" if facts.breaker and limits.breaker_stops == "all" else ""


def _buys_stopped(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del order, limits, costs
    return f"the breaker is open: {facts.breaker}" if facts.breaker else ""


def _per_order(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del facts, costs
    worth = value_twd(order)
    over = limits.max_order_twd and worth > limits.max_order_twd
    return f"NT${worth:,} is over NT${limits.max_order_twd:,} an order" if over else ""


def _per_stock(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """The position there is, what resting purchases may add, and this one."""
    del costs
    held_twd = facts.held_shares.get(order.symbol, 0) * facts.closes_x100[order.symbol] // 100
    resting_twd = sum(value_twd(one) for one in _rests(facts) if one.symbol == order.symbol and one.side is Side.BUY)
    after_twd = held_twd + resting_twd + value_twd(order)
    if limits.max_stock_twd and after_twd > limits.max_stock_twd:
        return f"NT${after_twd:,} in {order.symbol} would be over NT${limits.max_stock_twd:,}"
    return _over_share(f"NT${after_twd:,} in {order.symbol}", after_twd, limits.max_stock_bps, facts)


def _gross(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """All positions, all resting purchases, and this one. A resting sale is not trusted to trade."""
    del costs
    held_twd = sum(shares * facts.closes_x100.get(symbol, 0) // 100 for symbol, shares in facts.held_shares.items())
    resting_twd = sum(value_twd(one) for one in _rests(facts) if one.side is Side.BUY)
    after_twd = held_twd + resting_twd + value_twd(order)
    return _over_share(f"NT${after_twd:,} in stocks", after_twd, limits.max_gross_bps, facts)


def _turnover(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """Everything that was sent after this session's decision and not refused, sells too, and this order."""
    del costs
    sent_twd = sum(value_twd(one.order) for one in facts.sent if one.order.decided == order.decided and not one.refused)
    after_twd = sent_twd + value_twd(order)
    return _over_share(f"NT${after_twd:,} traded in a session", after_twd, limits.max_turnover_bps, facts)


def _count(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    """Everything that was sent after this session's decision, refused or not."""
    del costs
    sent = sum(one.order.decided == order.decided for one in facts.sent)
    over = limits.max_orders and sent >= limits.max_orders
    return f"{sent} orders have left for the session, and {limits.max_orders} is the limit" if over else ""


def _cash(order: Order, facts: Facts, limits: Limits, costs: CostRates) -> str:
    del limits
    needed_twd = cost_twd(order, costs)
    return f"costs NT${needed_twd:,}, and NT${facts.cash_twd:,} is there" if needed_twd > facts.cash_twd else ""


_ALWAYS: Final[tuple[tuple[str, _Check], ...]] = (
    ("settlement", _settlement),
    ("stale data", _fresh),
    ("suspect data", _suspect),
    ("open order", _untouched),
    ("day limits", _day_limits),
    ("price band", _near),
    ("breaker", _all_stopped),
)
_SELLS: Final[tuple[tuple[str, _Check], ...]] = (("holdings", _held),)
_BUYS: Final[tuple[tuple[str, _Check], ...]] = (
    ("breaker", _buys_stopped),
    ("order cap", _per_order),
    ("stock cap", _per_stock),
    ("gross cap", _gross),
    ("turnover cap", _turnover),
    ("order count", _count),
    ("cash", _cash),
)


def _over_share(what: str, after_twd: int, bps: int, facts: Facts) -> str:
    """`what` would be over `bps` of equity; or nobody knows, because equity is unknown."""
    if not bps:
        return ""
    if facts.equity_twd is None:
        return "equity is unknown: a held stock has no close"
    if after_twd * BPS <= bps * facts.equity_twd:
        return ""
    return f"{what} would be over {_pct(bps)} of NT${facts.equity_twd:,}"


def _reference_x100(order: Order, facts: Facts) -> int:
    return facts.references_x100.get(order.symbol, facts.closes_x100[order.symbol])


def _rests(facts: Facts) -> list[Order]:
    """What may still trade."""
    return [rest for one in facts.sent if (rest := one.rest) is not None]


def _twd(price_x100: int) -> str:
    return str(from_x100(price_x100))


def _pct(bps: int) -> str:
    return f"{bps / 100:g} %"
