"""Forecasts and sentiment -> orders. bot/day.py calls it live, backtest/replay.py on history.

`decide` turns our values into the integers of a strategy (bot/core/rule.py holds the shipped one) and its orders back
into ours, and refuses anything from the future.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from bot.core.costs import CostRates
from bot.core.forecast import Forecast
from bot.core.market import Bar, is_etf, limit_down_x100, limit_pct_after, limit_up_x100, to_x100
from bot.core.orders import Order, Side
from bot.core.portfolio import Portfolio
from bot.core.rule import (
    BPS,
    KNOBS,
    LATER_KNOBS,
    NO_P_UP,
    NO_SENTIMENT,
    REASONS,
    REFUSALS,
    SHIPPED,
    Book,
    Knobs,
    Orders,
    Purse,
    Rates,
    Rules,
    Strategy,
    View,
    plan_orders,
    rank_edges,
    refusal,
    strategy_name,
)
from bot.errors import LookAheadError

__all__ = [
    "BPS",
    "KNOBS",
    "NO_P_UP",
    "NO_SENTIMENT",
    "REASONS",
    "Decision",
    "Knobs",
    "MarketDay",
    "Rules",
    "decide",
    "plan_orders",
]

# What journals of before a thing was known are read with: their decisions must follow from what they hold.
_RULES_OF_BEFORE: Final = {"take_profit_bps": 0, "max_holding_sessions": 0, "strategy": SHIPPED.name, **LATER_KNOBS}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDay:
    """All that may be known after the close of `session`, by symbol.

    `closes_x100` holds each stock's last known close (for valuation); a stock that did not trade in `session`
    has no bar, and no order is made for it. `sentiment_bps` is the score of its news, absent when unknown.
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


def decide(
    day: MarketDay,
    held: Portfolio,
    rules: Rules,
    costs: CostRates,
    *,
    held_sessions: Mapping[str, int] | None = None,
    unsettled_twd: int = 0,
    strategy: Strategy = SHIPPED,
) -> Decision:
    """Orders for the session after `day.session`, sells first. Pure: no clock, network, files or randomness.

    `held_sessions` says at how many closes each held stock was held, the first included (1 where it is absent);
    `unsettled_twd` is the part of the cash that sales brought and that can't be spent tonight.

    Raises:
        LookAheadError: a bar or forecast is from after `day.session`.
        KeyError: a held stock has no last close.
        ValueError: `strategy` is not the one that the rules name.
    """
    check_no_look_ahead(day)
    if strategy.name != strategy_name(rules.strategy):
        raise ValueError(f"the rules are those of {rules.strategy}, not of {strategy.name}")
    symbols = sorted(day.closes_x100)
    missing = sorted(set(held.positions) - set(symbols))
    if missing:
        raise KeyError(f"{day.session}: no last close for the held {', '.join(missing)}")
    inputs = _inputs(symbols, day, held, rules, costs)
    inputs["stocks"]["held_sessions"] = [
        (held_sessions or {}).get(symbol, 1) if symbol in held.positions else 0 for symbol in symbols
    ]
    inputs["cash"]["unsettled_twd"] = unsettled_twd
    return decision_from(inputs, strategy)


def strategy_of(inputs: Mapping[str, Any]) -> str:
    """The name of the strategy that took a recorded decision."""
    return str(inputs["rules"].get("strategy", SHIPPED.name))


def decision_from(inputs: Mapping[str, Any], strategy: Strategy = SHIPPED) -> Decision:
    """The decision that follows from `inputs`, as `decide` has just made them or as a journal has kept them.

    Raises:
        ValueError: another strategy's inputs.
    """
    if strategy.name != strategy_of(inputs):
        raise ValueError(f"a decision of {strategy_of(inputs)} can't be taken by {strategy.name}")
    orders = _planned(inputs, strategy)
    return Decision(session=date.fromisoformat(inputs["day"]["session"]), orders=orders, inputs=inputs,
                    sha256=_sha256(inputs, orders))  # fmt: skip


def held_back(inputs: Mapping[str, Any]) -> dict[str, str]:
    """By symbol, why the shipped rule does not buy what its forecast says would pay; held stocks are left out.

    What does not pay, what is not traded and what had no slot or cash left is no matter of explanation.
    """
    view, _, knobs = _view_of(inputs)
    by_low = knobs.edge_from_low != 0
    found = {}
    for i, symbol in enumerate(inputs["day"]["symbols"]):
        pays = view.target_x100[i] > 0 and view.edge_e8[i] >= knobs.entry_edge_bps * BPS
        if not pays or view.tradable[i] == 0 or inputs["stocks"]["held_shares"][i]:
            continue
        if by_low and view.band_low_x100[i] == 0:
            found[symbol] = "band not told"
        elif by_low and view.low_edge_e8[i] < knobs.entry_edge_bps * BPS:
            found[symbol] = "the band's lower end does not pay"
        elif refusal(i, view, knobs):
            found[symbol] = REFUSALS[refusal(i, view, knobs)]
    return found


def _view_of(inputs: Mapping[str, Any]) -> tuple[View, Rates, Knobs]:
    """What a strategy is shown of recorded inputs, and the numbers that it goes by."""
    n = len(inputs["day"]["symbols"])
    # Journals of before ex-rights were known have no reference: it was the close. Where no model told them, there is no
    # P(up) and no band.
    stocks = {
        "reference_x100": inputs["stocks"]["close_x100"],
        "p_up_bps": [NO_P_UP] * n,
        "band_low_x100": [0] * n,
        **inputs["stocks"],
    }
    cash = inputs["cash"]
    rules = {**_RULES_OF_BEFORE, **inputs["rules"]}
    rates = Rates(cash["rate_e8"], cash["minimum_twd"])
    references = list(zip(stocks["reference_x100"], map(bool, stocks["etf"]), strict=True))
    view = View(
        close_x100=stocks["close_x100"],
        coming_x100=stocks["reference_x100"],
        limit_up_x100=[limit_up_x100(*told, cash["pct"]) for told in references],
        limit_down_x100=[limit_down_x100(*told, cash["pct"]) for told in references],
        tradable=stocks["tradable"],
        target_x100=stocks["target_x100"],
        sentiment_bps=stocks["sentiment_bps"],
        edge_e8=[0] * n,
        ranked=[0] * n,
        etf=stocks["etf"],
        tax_e8=stocks["tax_e8"],
        p_up_bps=stocks["p_up_bps"],
        band_low_x100=stocks["band_low_x100"],
        low_edge_e8=[0] * n,
        low_ranked=[0] * n,
        banded=int(any(stocks["band_low_x100"])),
    )
    rank_edges(view, rates)
    return view, rates, Knobs(*(rules[name] for name in KNOBS))


def _planned(inputs: Mapping[str, Any], strategy: Strategy) -> tuple[Order, ...]:
    """The strategy's orders, sells first, then by symbol."""
    session, symbols = date.fromisoformat(inputs["day"]["session"]), inputs["day"]["symbols"]
    n = len(symbols)
    view, rates, knobs = _view_of(inputs)
    stocks = {"held_sessions": [1] * n, **inputs["stocks"]}
    cash = {"unsettled_twd": 0, **inputs["cash"]}
    held = [i for i in range(n) if stocks["held_shares"][i]]
    book = Book(
        held=held + [0] * (n - len(held)),
        shares=list(stocks["held_shares"]),
        cost_twd=list(stocks["held_cost_twd"]),
        opened=[1 - age for age in stocks["held_sessions"]],
    )
    worth_twd = sum(stocks["close_x100"][i] * stocks["held_shares"][i] // 100 for i in held)
    purse = Purse(equity_twd=cash["cash_twd"] + worth_twd, spendable_twd=cash["cash_twd"] - cash["unsettled_twd"])
    planned = Orders([0] * n, [0] * n, [0] * n, [0] * n)
    count = strategy.plan(0, view, book, len(held), purse, rates, knobs, planned)
    orders = [
        Order(
            symbol=symbols[planned.stock[k]],
            decided=session,
            side=Side.BUY if planned.shares[k] > 0 else Side.SELL,
            shares=abs(planned.shares[k]),
            limit_x100=planned.limit_x100[k],
            reason=strategy.reasons.get(planned.reason[k], ""),
            strategy=strategy.name,
        )
        for k in range(count)
        if planned.shares[k]
    ]
    return tuple(sorted(orders, key=lambda order: (order.side is Side.BUY, order.symbol)))


def _inputs(
    symbols: list[str], day: MarketDay, held: Portfolio, rules: Rules, costs: CostRates
) -> dict[str, dict[str, Any]]:
    """The strategy's arguments, as they are also stored and hashed: plain lists and integers."""
    tradable = [int(symbol in day.bars and symbol not in day.blocked) for symbol in symbols]
    held_of = held.positions
    knobs = {name: getattr(rules, name) for name in KNOBS}
    return {
        "day": {"session": day.session.isoformat(), "symbols": symbols},
        "stocks": {
            "close_x100": [day.closes_x100[symbol] for symbol in symbols],
            "reference_x100": [day.reference_x100.get(symbol, day.closes_x100[symbol]) for symbol in symbols],
            "tradable": tradable,
            "target_x100": [target_x100(day.forecasts.get(symbol)) for symbol in symbols],
            "sentiment_bps": [day.sentiment_bps.get(symbol, NO_SENTIMENT) for symbol in symbols],
            "held_shares": [held_of[symbol].shares if symbol in held_of else 0 for symbol in symbols],
            "held_cost_twd": [held_of[symbol].cost_twd if symbol in held_of else 0 for symbol in symbols],
            "etf": [int(is_etf(symbol)) for symbol in symbols],
            "tax_e8": [costs.tax_e8(symbol) for symbol in symbols],
            **_spreads(symbols, day.forecasts),
        },
        "cash": {
            "cash_twd": held.cash_twd,
            "rate_e8": costs.commission_e8,
            "minimum_twd": costs.minimum_twd,
            "pct": limit_pct_after(day.session),
        },
        "rules": {
            **{name: told for name, told in knobs.items() if told != LATER_KNOBS.get(name)},
            "strategy": strategy_name(rules.strategy),
        },
    }


def _spreads(symbols: list[str], forecasts: Mapping[str, Forecast]) -> dict[str, list[int]]:
    """P(up) and the bands' lower ends; nothing where no forecast tells one, so that such a decision is as it was."""
    told = [forecasts.get(symbol) for symbol in symbols]
    tables = {
        "p_up_bps": ([p_up_bps(one) for one in told], NO_P_UP),
        "band_low_x100": ([band_low_x100(one) for one in told], 0),
    }
    return {name: table for name, (table, untold) in tables.items() if set(table) - {untold}}


def target_x100(forecast: Forecast | None) -> int:
    """The forecast's last close in hundredths, 0 for an abstention."""
    return 0 if forecast is None else to_x100(forecast.target.quantize(Decimal("0.01")))


def p_up_bps(forecast: Forecast | None) -> int:
    """The probability that the window ends above the last known close, in basis points; NO_P_UP where not told."""
    return NO_P_UP if forecast is None or forecast.p_up is None else round(forecast.p_up * BPS)


def band_low_x100(forecast: Forecast | None) -> int:
    """The lower end of the last close's band in hundredths, 0 where it is not told."""
    return 0 if forecast is None or not forecast.bands else to_x100(forecast.bands[-1].low.quantize(Decimal("0.01")))


def _sha256(inputs: Mapping[str, Any], orders: Sequence[Order]) -> str:
    """One hash over the inputs and the orders, stable across runs and machines."""
    told = [
        [f"{order.decided}:{order.symbol}:{order.side}", order.shares, order.limit_x100, order.reason]
        for order in orders
    ]
    text = json.dumps([inputs, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
