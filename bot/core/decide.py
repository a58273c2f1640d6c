"""The trading rule, once: forecasts and sentiment -> orders. bot/day.py calls it live, backtest/replay.py on history.

`plan_orders` is the numeric heart: plain Python over integers, so that numba can compile it as it stands.
`decide` turns our values into its integers and back, and refuses anything from the future.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from typing import Any, Final

from bot.core.costs import CostRates, commission_twd
from bot.core.forecast import Forecast
from bot.core.market import (
    Bar,
    ceil_to_tick_x100,
    floor_to_tick_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    to_x100,
)
from bot.core.orders import Order, Side
from bot.core.portfolio import Portfolio
from bot.errors import LookAheadError

BPS: Final = 10_000
NO_SENTIMENT: Final = -100_000  # below any real score in bps: "unknown", which neither filters nor sells

# Why the heart ordered what it ordered; indexes into REASONS.
_ENTER, _STOP, _EXIT_FORECAST, _EXIT_SENTIMENT = 1, 2, 3, 4
REASONS: Final = {
    _ENTER: "forecast pays after costs",
    _STOP: "stop",
    _EXIT_FORECAST: "forecast fell below the exit",
    _EXIT_SENTIMENT: "bad news",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The knobs of the rule. Thresholds in basis points (1 bp = 0.01 %); see config.toml for each meaning."""

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

    def __post_init__(self) -> None:
        """Refuse knobs outside their range.

        Raises:
            ValueError: names the knob.
        """
        ranges = {
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
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be between {low} and {high}")


_KNOBS: Final = tuple(knob.name for knob in fields(Rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDay:
    """All that may be known after the close of `session`, by symbol.

    `closes_x100` holds each stock's last known close (for valuation); a stock that did not trade in `session`
    has no bar, and no order is made for it. `sentiment_bps` is the mean score of its news, absent when unknown.
    `reference_x100` holds the price that the next session's limits count from, for stocks that go ex then; for all
    others it is the close.
    """

    session: date
    bars: Mapping[str, Bar]
    closes_x100: Mapping[str, int]
    forecasts: Mapping[str, Forecast]
    sentiment_bps: Mapping[str, int]
    blocked: frozenset[str] = frozenset()  # an order of unknown fate is open: hands off
    reference_x100: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The orders for the session after `session`, and the hash of everything they follow from."""

    session: date
    orders: tuple[Order, ...]
    inputs: Mapping[str, Any]
    sha256: str


def plan_orders(  # noqa: C901, PLR0912, PLR0915, PLR0917  (one function, so that numba compiles it whole)
    close_x100: Sequence[int],
    reference_x100: Sequence[int],
    tradable: Sequence[int],
    target_x100: Sequence[int],
    sentiment_bps: Sequence[int],
    held_shares: Sequence[int],
    held_cost_twd: Sequence[int],
    etf: Sequence[int],
    tax_e8: Sequence[int],
    cash_twd: int,
    rate_e8: int,
    minimum_twd: int,
    pct: int,
    top_k: int,
    entry_edge_bps: int,
    exit_return_bps: int,
    stop_bps: int,
    min_sentiment_bps: int,
    exit_sentiment_bps: int,
    invest_bps: int,
    max_order_twd: int,
    buy_offset_bps: int,
    sell_offset_bps: int,
    lot_shares: int,
    order_shares: MutableSequence[int],
    order_limit_x100: MutableSequence[int],
    order_reason: MutableSequence[int],
) -> int:
    """Fill the three output arrays (one entry a stock; sales negative) and return the number of orders.

    Returns are judged from the close, which has the coming dividend in it as the forecast has; limit prices count from
    the reference, at which the next session begins. `target_x100[i]` is 0 where the model abstained,
    `sentiment_bps[i]` NO_SENTIMENT where nothing is known. Cash is what is on hand: proceeds of tonight's sells are not
    spent before they settle, and a position that is being sold keeps its slot until it is gone.
    """
    n = len(close_x100)
    equity_twd = cash_twd
    slots = top_k
    for i in range(n):
        order_shares[i] = 0
        order_limit_x100[i] = 0
        order_reason[i] = 0
        equity_twd += close_x100[i] * held_shares[i] // 100
        if held_shares[i] > 0:
            slots -= 1

    orders = 0
    for i in range(n):
        if held_shares[i] == 0 or tradable[i] == 0:
            continue
        reason = 0
        worth_twd = close_x100[i] * held_shares[i] // 100
        if stop_bps > 0 and worth_twd * BPS <= held_cost_twd[i] * (BPS - stop_bps):
            reason = _STOP
        elif target_x100[i] > 0 and (target_x100[i] - close_x100[i]) * BPS < exit_return_bps * close_x100[i]:
            reason = _EXIT_FORECAST
        elif sentiment_bps[i] != NO_SENTIMENT and sentiment_bps[i] <= exit_sentiment_bps:
            reason = _EXIT_SENTIMENT
        if reason == 0:
            continue
        limit = ceil_to_tick_x100(reference_x100[i] * (BPS - sell_offset_bps) // BPS, etf[i] != 0)
        limit = max(limit, limit_down_x100(reference_x100[i], etf[i] != 0, pct))
        order_limit_x100[i] = min(limit, limit_up_x100(reference_x100[i], etf[i] != 0, pct))
        order_shares[i] = -held_shares[i]
        order_reason[i] = reason
        orders += 1

    # Buys, best edge first; a tie goes to the stock that stands first, so that the order is total.
    cash_left = cash_twd
    slot_twd = min(equity_twd * invest_bps // BPS // top_k, max_order_twd)
    while slots > 0:
        best = -1
        best_edge = 0
        for i in range(n):
            if held_shares[i] != 0 or order_shares[i] != 0 or tradable[i] == 0 or target_x100[i] == 0:
                continue
            if order_reason[i] != 0:
                continue
            if sentiment_bps[i] != NO_SENTIMENT and sentiment_bps[i] < min_sentiment_bps:
                continue
            # Whole costs of the round trip are taken off before ranking. 10^4 hundred-millionths are 1 bp.
            edge_e8 = (target_x100[i] - close_x100[i]) * 100_000_000 // close_x100[i] - 2 * rate_e8 - tax_e8[i]
            if edge_e8 < entry_edge_bps * 10_000:
                continue
            if best < 0 or edge_e8 > best_edge:
                best = i
                best_edge = edge_e8
        if best < 0:
            break
        limit = floor_to_tick_x100(reference_x100[best] * (BPS + buy_offset_bps) // BPS, etf[best] != 0)
        limit = min(limit, limit_up_x100(reference_x100[best], etf[best] != 0, pct))
        limit = max(limit, limit_down_x100(reference_x100[best], etf[best] != 0, pct))
        order_reason[best] = _ENTER  # looked at: one too dear for its slot leaves the slot to the next best
        budget_twd = min(slot_twd, cash_left)
        lots = budget_twd * 100 // (limit * lot_shares)
        while lots > 0:
            shares = lots * lot_shares
            cost_twd = limit * shares // 100 + commission_twd(limit, shares, rate_e8, minimum_twd)
            if cost_twd <= budget_twd:
                order_shares[best] = shares
                order_limit_x100[best] = limit
                cash_left -= cost_twd
                orders += 1
                slots -= 1
                break
            lots -= 1
    return orders


def check_no_look_ahead(day: MarketDay) -> None:
    """Refuse a day that holds anything from after its close.

    Raises:
        LookAheadError: names the stock and what came from the future.
    """
    for symbol, bar in day.bars.items():
        if bar.session != day.session:
            raise LookAheadError(f"{symbol}: a bar of {bar.session} in the decision of {day.session}")
    for symbol, forecast in day.forecasts.items():
        if forecast.as_of != day.session:
            raise LookAheadError(f"{symbol}: a forecast as of {forecast.as_of} in the decision of {day.session}")
        if forecast.trained_until > day.session:
            raise LookAheadError(
                f"{symbol}: {forecast.model} was trained until {forecast.trained_until}, "
                f"after the decision of {day.session}"
            )


def decide(day: MarketDay, held: Portfolio, rules: Rules, costs: CostRates) -> Decision:
    """Orders for the session after `day.session`, sells first. Pure: no clock, network, files or randomness.

    Raises:
        LookAheadError: a bar or forecast is from after `day.session`.
        KeyError: a held stock has no last close.
    """
    check_no_look_ahead(day)
    symbols = sorted(day.closes_x100)
    missing = sorted(set(held.positions) - set(symbols))
    if missing:
        raise KeyError(f"{day.session}: no last close for the held {', '.join(missing)}")
    return decision_from(_inputs(symbols, day, held, rules, costs))


def decision_from(inputs: Mapping[str, Any]) -> Decision:
    """The decision that follows from `inputs`, as `decide` has just made them or as a journal has kept them."""
    session, symbols = date.fromisoformat(inputs["day"]["session"]), inputs["day"]["symbols"]
    n = len(symbols)
    shares, limits, reasons = [0] * n, [0] * n, [0] * n
    # Journals of before ex-rights were known have no reference: it was the close.
    stocks = {"reference_x100": inputs["stocks"]["close_x100"], **inputs["stocks"]}
    plan_orders(**stocks, **inputs["cash"], **inputs["rules"],
                order_shares=shares, order_limit_x100=limits, order_reason=reasons)  # fmt: skip
    orders = [
        Order(
            symbol=symbols[i],
            decided=session,
            side=Side.BUY if shares[i] > 0 else Side.SELL,
            shares=abs(shares[i]),
            limit_x100=limits[i],
            reason=REASONS[reasons[i]],
        )
        for i in range(n)
        if shares[i]
    ]
    orders.sort(key=lambda order: (order.side is Side.BUY, order.symbol))
    return Decision(session=session, orders=tuple(orders), inputs=inputs, sha256=_sha256(inputs, orders))


def _inputs(
    symbols: list[str], day: MarketDay, held: Portfolio, rules: Rules, costs: CostRates
) -> dict[str, dict[str, Any]]:
    """The heart's arguments, as they are also stored and hashed: plain lists and integers."""
    tradable = [int(symbol in day.bars and symbol not in day.blocked) for symbol in symbols]
    targets = [_target_x100(day.forecasts.get(symbol)) for symbol in symbols]
    held_of = held.positions
    return {
        "day": {"session": day.session.isoformat(), "symbols": symbols},
        "stocks": {
            "close_x100": [day.closes_x100[symbol] for symbol in symbols],
            "reference_x100": [day.reference_x100.get(symbol, day.closes_x100[symbol]) for symbol in symbols],
            "tradable": tradable,
            "target_x100": targets,
            "sentiment_bps": [day.sentiment_bps.get(symbol, NO_SENTIMENT) for symbol in symbols],
            "held_shares": [held_of[symbol].shares if symbol in held_of else 0 for symbol in symbols],
            "held_cost_twd": [held_of[symbol].cost_twd if symbol in held_of else 0 for symbol in symbols],
            "etf": [int(is_etf(symbol)) for symbol in symbols],
            "tax_e8": [costs.tax_e8(symbol) for symbol in symbols],
        },
        "cash": {
            "cash_twd": held.cash_twd,
            "rate_e8": costs.commission_e8,
            "minimum_twd": costs.minimum_twd,
            "pct": limit_pct(day.session),
        },
        "rules": {name: getattr(rules, name) for name in _KNOBS},
    }


def _target_x100(forecast: Forecast | None) -> int:
    """The forecast's last close in hundredths, 0 for an abstention."""
    return 0 if forecast is None else to_x100(forecast.target.quantize(Decimal("0.01")))


def _sha256(inputs: Mapping[str, Any], orders: Sequence[Order]) -> str:
    """One hash over the inputs and the orders, stable across runs and machines."""
    told = [
        [f"{order.decided}:{order.symbol}:{order.side}", order.shares, order.limit_x100, order.reason]
        for order in orders
    ]
    text = json.dumps([inputs, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
