"""The trading rule, once: `plan_orders`, its knobs, and the tables that it and every other strategy is handed.

Plain Python over integers, so that it runs as it stands in the daemon and in a single replay, and that numba compiles
it as it stands for sweeps. It sees one session at a time, an entry a stock; yesterday and tomorrow are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bot.core.costs import commission_twd
from bot.core.market import ceil_to_tick_x100, floor_to_tick_x100

BPS: Final = 10_000
NO_SENTIMENT: Final = -100_000  # below any real score in bps: "unknown", which neither filters nor sells
NO_P_UP: Final = -1  # below any real probability in bps: not told
NO_STOCK: Final = -1  # ends a session's row of `ranked`
FORECAST_EDGE: Final = "forecast_edge"  # the name of the shipped rule

# Why the rule ordered what it ordered; indexes into REASONS.
_ENTER, _STOP, _EXIT_FORECAST, _EXIT_SENTIMENT, _TAKE_PROFIT, _MAX_HOLDING, _ENTER_LOW = 1, 2, 3, 4, 5, 6, 7
REASONS: Final = {
    _ENTER: "forecast pays after costs",
    _STOP: "stop",
    _EXIT_FORECAST: "forecast fell below the exit",
    _EXIT_SENTIMENT: "bad news",
    _TAKE_PROFIT: "take profit",
    _MAX_HOLDING: "held for the longest time",
    _ENTER_LOW: "the lower end of the forecast pays after costs",
}

# Why a stock that pays is not bought; indexes into REFUSALS.
_BAD_NEWS, _P_UP_UNKNOWN, _P_UP_LOW = 1, 2, 3
REFUSALS: Final = {
    _BAD_NEWS: "bad news",
    _P_UP_UNKNOWN: "P(up) not told",
    _P_UP_LOW: "P(up) too low",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The knobs of a strategy. Thresholds in basis points (1 bp = 0.01 %); see config.toml for each meaning."""

    top_k: int
    entry_edge_bps: int
    exit_return_bps: int
    stop_bps: int
    min_sentiment_bps: int
    exit_sentiment_bps: int
    invest_bps: int
    max_order_twd: int
    buy_offset_bps: int
    sell_offset_bps: int
    lot_shares: int
    take_profit_bps: int = 0
    max_holding_sessions: int = 0
    min_p_up_bps: int = 0
    edge_from_low: int = 0
    strategy: str = FORECAST_EDGE

    def __post_init__(self) -> None:
        """Refuse knobs outside their range.

        Raises:
            ValueError: names the knob.
        """
        for name, (low, high) in KNOB_RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be between {low} and {high}")


def strategy_name(told: str) -> str:
    """What a strategy is called in records: the last part of the dotted name, or the file's name without its folder."""
    return told.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py").rsplit(".", 1)[-1]


KNOB_RANGES: Final = {
    "top_k": (1, 1_000),
    "entry_edge_bps": (-BPS, BPS),
    "exit_return_bps": (-BPS, BPS),
    "stop_bps": (0, BPS),
    "min_sentiment_bps": (-BPS, BPS),
    "exit_sentiment_bps": (-BPS, BPS),
    "invest_bps": (0, BPS),
    "max_order_twd": (0, 10**11),
    "buy_offset_bps": (-1_000, 1_000),
    "sell_offset_bps": (-1_000, 1_000),
    "lot_shares": (1, 1_000),
    "take_profit_bps": (0, 100 * BPS),
    "max_holding_sessions": (0, 10_000),
    "min_p_up_bps": (0, BPS),
    "edge_from_low": (0, 1),
}
# Knobs that came after decisions and trials had been recorded: left out of both while they are off, so that what was
# recorded without them stays the same.
LATER_KNOBS: Final = {"min_p_up_bps": 0, "edge_from_low": 0}


class Knobs(NamedTuple):
    """The whole numbers among the rules, in the same order: a row of a sweep's matrix. numba can't have `Rules`."""

    top_k: int
    entry_edge_bps: int
    exit_return_bps: int
    stop_bps: int
    min_sentiment_bps: int
    exit_sentiment_bps: int
    invest_bps: int
    max_order_twd: int
    buy_offset_bps: int
    sell_offset_bps: int
    lot_shares: int
    take_profit_bps: int
    max_holding_sessions: int
    min_p_up_bps: int
    edge_from_low: int


KNOBS: Final = Knobs._fields


class View(NamedTuple):
    """What may be known after the close of a session, an entry a stock.

    `coming_x100` is the reference price of the next session: the close, but on the eve of an ex-date. `limit_up_x100`
    and `limit_down_x100` are the highest and lowest price allowed then. `tradable` is 0 for a stock that did not trade
    or that we keep hands off. `target_x100` is 0 where the model abstained, `sentiment_bps` NO_SENTIMENT where nothing
    is known. `edge_e8` is the forecast return after the costs of the round trip in hundred-millionths; `ranked` holds
    the stocks that may be traded and have a forecast, best edge first (a tie: the one that stands first), then
    NO_STOCK. `p_up_bps` is the probability that the window ends above the close, NO_P_UP where it was not told;
    `band_low_x100` the lower end of the last close's band, 0 where it was not; `banded` is 0 where none was told.
    `low_edge_e8` and `low_ranked` are edges and ranks by that end.
    """

    close_x100: Sequence[int]
    coming_x100: Sequence[int]
    limit_up_x100: Sequence[int]
    limit_down_x100: Sequence[int]
    tradable: Sequence[int]
    target_x100: Sequence[int]
    sentiment_bps: Sequence[int]
    edge_e8: MutableSequence[int]
    ranked: MutableSequence[int]
    etf: Sequence[int]
    tax_e8: Sequence[int]
    p_up_bps: Sequence[int]
    band_low_x100: Sequence[int]
    low_edge_e8: MutableSequence[int]
    low_ranked: MutableSequence[int]
    banded: int


class Book(NamedTuple):
    """What we hold: the held stocks in the first places of `held`, and by stock its shares, cost and first session.

    `opened` is the number of the session of the opening fill.
    """

    held: MutableSequence[int]
    shares: MutableSequence[int]
    cost_twd: MutableSequence[int]
    opened: MutableSequence[int]


class Rates(NamedTuple):
    """The broker's commission: hundred-millionths of the value after the discount, and the least, in TWD."""

    rate_e8: int
    minimum_twd: int


class Purse(NamedTuple):
    """Money at the decision, whole TWD: everything we are worth, and what may be spent tonight."""

    equity_twd: int
    spendable_twd: int


class Orders(NamedTuple):
    """What a strategy fills in, from place 0 on: one order a stock at most. `shares` < 0 sells, all or a part."""

    stock: MutableSequence[int]
    shares: MutableSequence[int]
    limit_x100: MutableSequence[int]
    reason: MutableSequence[int]


Plan = Callable[[int, View, Book, int, Purse, Rates, Knobs, Orders], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A trading rule by name: its plain function, and what its reasons are called."""

    name: str
    plan: Plan
    reasons: Mapping[int, str]


def rank_edges(view: View, rates: Rates) -> None:
    """Fill `edge_e8` and `ranked` of `view` and those of the bands' lower ends, which follow from the rest."""
    rank_by(view.target_x100, view.edge_e8, view.ranked, view, rates)
    if view.banded != 0:
        rank_by(view.band_low_x100, view.low_edge_e8, view.low_ranked, view, rates)
    elif len(view.low_ranked) > 0:
        view.low_ranked[0] = NO_STOCK


def rank_by(
    target_x100: Sequence[int],
    edges_e8: MutableSequence[int],
    ranked: MutableSequence[int],
    view: View,
    rates: Rates,
) -> None:
    """Fill `edges_e8` and `ranked` by the return from the close to the target, where there is one."""
    n = len(view.etf)
    count = 0
    for i in range(n):
        close, target = view.close_x100[i], target_x100[i]
        edges_e8[i] = 0
        ranked[i] = NO_STOCK
        if close > 0 and target > 0:
            # Whole costs of the round trip are taken off before ranking. 10^4 hundred-millionths are 1 bp.
            edge_e8 = (target - close) * 100_000_000 // close - 2 * rates.rate_e8 - view.tax_e8[i]
            edges_e8[i] = edge_e8
            if view.tradable[i] != 0:
                ranked[count] = i - edge_e8 * n  # one number that sorts by edge, best first, then by place
                count += 1
    gap = count // 2
    while gap > 0:  # Shell's sort: short, in place, and the same for numba
        for right in range(gap, count):
            key = ranked[right]
            place = right
            while place >= gap and ranked[place - gap] > key:
                ranked[place] = ranked[place - gap]
                place -= gap
            ranked[place] = key
        gap //= 2
    for place in range(count):
        ranked[place] %= n


def plan_orders(
    now: int,
    view: View,
    book: Book,
    holdings: int,
    purse: Purse,
    rates: Rates,
    rules: Knobs,
    orders: Orders,
) -> int:
    """Write the orders for the session after number `now`; their count comes back.

    Returns are judged from the close, which has the coming dividend in it as the forecast has; limit prices count from
    the reference, at which the next session begins. Cash is what is on hand: proceeds of tonight's sells are not spent
    before they settle, and a position that is being sold keeps its slot until it is gone. Purchases go by the forecast
    itself or, with `edge_from_low`, by the lower end of its band; sales always go by the forecast.
    """
    count = _plan_sales(now, view, book, holdings, rules, orders)
    return _plan_purchases(count, view, book, holdings, purse, rates, rules, orders)


def _plan_sales(now: int, view: View, book: Book, holdings: int, rules: Knobs, orders: Orders) -> int:
    """Write a sale of every holding that there is a reason to leave; their count comes back."""
    count = 0
    for place in range(holdings):
        i = book.held[place]
        if view.tradable[i] == 0:
            continue
        reason = exit_reason(i, now, view, book, rules)
        if reason != 0:
            orders.stock[count] = i
            orders.shares[count] = -book.shares[i]
            orders.limit_x100[count] = sell_limit_x100(i, view, rules.sell_offset_bps)
            orders.reason[count] = reason
            count += 1
    return count


def _plan_purchases(
    count: int, view: View, book: Book, holdings: int, purse: Purse, rates: Rates, rules: Knobs, orders: Orders
) -> int:
    """Write purchases after the first `count` orders, the best edge first; the count of all orders comes back."""
    edges_e8, ranked, entry = view.edge_e8, view.ranked, _ENTER
    if rules.edge_from_low != 0:
        edges_e8, ranked, entry = view.low_edge_e8, view.low_ranked, _ENTER_LOW
    slots = rules.top_k - holdings
    cash_left = purse.spendable_twd
    slot_twd = -1
    place = 0
    while slots > 0 and place < len(view.etf):
        i = ranked[place]
        place += 1
        if i == NO_STOCK or edges_e8[i] < rules.entry_edge_bps * 10_000:
            break
        if book.shares[i] != 0 or refusal(i, view, rules) != 0:
            continue
        if slot_twd < 0:
            slot_twd = min(max(purse.equity_twd, 0) * rules.invest_bps // BPS // rules.top_k, rules.max_order_twd)
        limit = buy_limit_x100(i, view, rules.buy_offset_bps)
        # One too dear for its slot leaves the slot to the next best.
        shares = affordable_shares(limit, min(slot_twd, cash_left), rules.lot_shares, rates)
        if shares > 0:
            orders.stock[count] = i
            orders.shares[count] = shares
            orders.limit_x100[count] = limit
            orders.reason[count] = entry
            count += 1
            slots -= 1
            cash_left -= limit * shares // 100 + commission_twd(limit, shares, rates.rate_e8, rates.minimum_twd)
    return count


def refusal(i: int, view: View, rules: Knobs) -> int:
    """Why stock `i` is not bought although its forecast pays, 0 when nothing speaks against it."""
    if view.sentiment_bps[i] != NO_SENTIMENT and view.sentiment_bps[i] < rules.min_sentiment_bps:
        return _BAD_NEWS
    if rules.min_p_up_bps > 0 and view.p_up_bps[i] < rules.min_p_up_bps:
        return _P_UP_UNKNOWN if view.p_up_bps[i] == NO_P_UP else _P_UP_LOW
    return 0


def exit_reason(i: int, now: int, view: View, book: Book, rules: Knobs) -> int:
    """Why the held stock `i` is sold, 0 when it is kept."""
    close = view.close_x100[i]
    worth_bps = close * book.shares[i] // 100 * BPS
    if rules.stop_bps > 0 and worth_bps <= book.cost_twd[i] * (BPS - rules.stop_bps):
        return _STOP
    if rules.take_profit_bps > 0 and worth_bps >= book.cost_twd[i] * (BPS + rules.take_profit_bps):
        return _TAKE_PROFIT
    target = view.target_x100[i]
    if target > 0 and (target - close) * BPS < rules.exit_return_bps * close:
        return _EXIT_FORECAST
    mood = view.sentiment_bps[i]
    if mood != NO_SENTIMENT and mood <= rules.exit_sentiment_bps:
        return _EXIT_SENTIMENT
    if rules.max_holding_sessions > 0 and now - book.opened[i] + 1 >= rules.max_holding_sessions:
        return _MAX_HOLDING
    return 0


def sell_limit_x100(i: int, view: View, offset_bps: int) -> int:
    """A limit price for selling stock `i`, `offset_bps` below the reference: up to the tick, in the daily limit."""
    limit = ceil_to_tick_x100(view.coming_x100[i] * (BPS - offset_bps) // BPS, view.etf[i] != 0)
    return min(max(limit, view.limit_down_x100[i]), view.limit_up_x100[i])


def buy_limit_x100(i: int, view: View, offset_bps: int) -> int:
    """A limit price for buying stock `i`, `offset_bps` above the reference: down to the tick, in the daily limit."""
    limit = floor_to_tick_x100(view.coming_x100[i] * (BPS + offset_bps) // BPS, view.etf[i] != 0)
    return max(min(limit, view.limit_up_x100[i]), view.limit_down_x100[i])


def affordable_shares(limit_x100: int, budget_twd: int, lot_shares: int, rates: Rates) -> int:
    """The most shares in whole lots that `budget_twd` pays for at the limit, commission included."""
    # Surely enough lots: what is cut from value and commission is under 2 TWD. Then down to the first that fits.
    most_twd = budget_twd + 2
    most_twd = min(most_twd - most_twd * rates.rate_e8 // (100_000_000 + rates.rate_e8), most_twd - rates.minimum_twd)
    lots = max(most_twd, 0) * 100 // (limit_x100 * lot_shares)
    while lots > 0:
        shares = lots * lot_shares
        cost_twd = limit_x100 * shares // 100 + commission_twd(limit_x100, shares, rates.rate_e8, rates.minimum_twd)
        if cost_twd <= budget_twd:
            return shares
        lots -= 1
    return 0


SHIPPED: Final = Strategy(name=FORECAST_EDGE, plan=plan_orders, reasons=REASONS)
