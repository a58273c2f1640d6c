"""The fold over history: decide -> fill in the next session -> carry on. It decides nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from itertools import pairwise

from backtest.forecasters import Forecaster
from backtest.history import History, Known
from bot.core.costs import CostRates
from bot.core.decide import MarketDay, Rules, decide
from bot.core.fills import FILL_RULES, OPEN, fill_price_x100, is_locked
from bot.core.market import is_etf, limit_down_x100, limit_pct, limit_up_x100
from bot.core.orders import Fill, Order, Side
from bot.core.portfolio import Portfolio, apply_fill


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was decided after the close of `decided`, and what became of it in `session`, the one after.

    An order without a fill is dead after `session`, as at the stock API. `equity_twd` is at the close of `session`.
    """

    decided: date
    session: date
    decision_sha256: str
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    held: Portfolio
    equity_twd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A whole replay: who forecast, how orders traded, and every step from `first`, when there was only cash."""

    forecaster: str
    fill_rule: str
    first: date
    start_cash_twd: int
    steps: tuple[Step, ...]

    @property
    def sessions(self) -> tuple[date, ...]:
        """The first session and all in which orders could trade."""
        return (self.first, *(step.session for step in self.steps))

    @property
    def equity_twd(self) -> tuple[int, ...]:
        """What we were worth at the close of each of `sessions`."""
        return (self.start_cash_twd, *(step.equity_twd for step in self.steps))

    @property
    def fills(self) -> tuple[Fill, ...]:
        """Everything that traded, oldest first."""
        return tuple(fill for step in self.steps for fill in step.fills)


def market_days(history: History, sessions: Sequence[date], forecaster: Forecaster) -> list[MarketDay]:
    """What `forecaster` and the market say after each session; the replays under several fill rules share it."""
    days = []
    for session in sessions:
        known = history.after(session)
        day = MarketDay(
            session=session,
            bars=known.bars,
            closes_x100=known.closes_x100,
            forecasts=forecaster.forecasts(known),
            sentiment_bps=forecaster.sentiment_bps(session),
        )
        days.append(day)
    return days


def replay(
    history: History, days: Sequence[MarketDay], cash_twd: int, rules: Rules, costs: CostRates, fill_rule: str
) -> Iterator[Step]:
    """One step for each session but the first, from `cash_twd` and no positions.

    Raises:
        LookAheadError: a forecast is from after its day, or its model was trained on it.
        KeyError: no such fill rule.
    """
    rule = FILL_RULES[fill_rule]
    held = Portfolio(cash_twd=cash_twd)
    for today, tomorrow in pairwise(days):
        decision = decide(today, held, rules, costs)
        market = history.after(tomorrow.session)
        tried = (fill_next(order, market, today.closes_x100[order.symbol], rule, costs) for order in decision.orders)
        fills = tuple(fill for fill in tried if fill is not None)
        held = reduce(apply_fill, fills, held)
        yield Step(
            decided=today.session,
            session=tomorrow.session,
            decision_sha256=decision.sha256,
            orders=decision.orders,
            fills=fills,
            held=held,
            equity_twd=held.cash_twd + held.value_twd(tomorrow.closes_x100),
        )


def fill_next(order: Order, market: Known, reference_x100: int, rule: int, costs: CostRates) -> Fill | None:
    """What becomes of `order` in the session that `market` knows, or None when it does not trade.

    `reference_x100` is the close before, from which the daily limit is taken: right but on an ex-date, when the
    exchange's own reference is lower and a session locked at that limit is not recognised.
    """
    quote = market.quote(order.symbol)
    if quote is None:
        return None
    buys = order.side is Side.BUY
    pct, etf = limit_pct(market.session), is_etf(order.symbol)
    up_x100, down_x100 = limit_up_x100(reference_x100, etf, pct), limit_down_x100(reference_x100, etf, pct)
    locked = is_locked(buys, quote.high_x100, quote.low_x100, up_x100, down_x100)
    price_x100 = fill_price_x100(rule, buys, order.limit_x100, quote.open_x100, quote.high_x100, quote.low_x100, locked)
    return fill_at(order, market.session, price_x100, costs) if price_x100 else None


def fill_at(order: Order, session: date, price_x100: int, costs: CostRates) -> Fill:
    """`order` done in whole at `price_x100`, with what the broker and the state take."""
    return Fill(
        key=order.key,
        symbol=order.symbol,
        session=session,
        shares=order.signed_shares,
        price_x100=price_x100,
        commission_twd=costs.commission_of(price_x100, order.shares),
        tax_twd=costs.tax_of(order.symbol, price_x100, order.signed_shares),
    )


def hold(
    history: History, sessions: Sequence[date], cash_twd: int, costs: CostRates, lot_shares: int
) -> Iterator[Step]:
    """Buy-and-hold beside the rule: an equal part of the cash into every stock, kept to the end.

    Bought in whole lots at the open of the second session, which is when the rule can first trade, and in the same
    way: not where the stock did not trade or was locked at limit-up. What does not fill a lot stays cash.
    """
    held = Portfolio(cash_twd=cash_twd)
    for today, tomorrow in pairwise(sessions):
        market = history.after(tomorrow)
        fills: tuple[Fill, ...] = ()
        if today == sessions[0]:
            fills = _equal_weights(history.after(today), market, cash_twd, costs, lot_shares)
            held = reduce(apply_fill, fills, held)
        yield Step(
            decided=today,
            session=tomorrow,
            decision_sha256="",
            orders=(),
            fills=fills,
            held=held,
            equity_twd=held.cash_twd + held.value_twd(market.closes_x100),
        )


def _equal_weights(today: Known, market: Known, cash_twd: int, costs: CostRates, lot_shares: int) -> tuple[Fill, ...]:
    """The purchases that put an equal part of the cash, fees included, into each stock that traded `today`."""
    budget_twd = cash_twd // max(1, len(today.bars))
    fills = []
    for symbol in sorted(today.bars):
        quote = market.quote(symbol)
        if quote is None:
            continue
        lots = budget_twd * 100 // (quote.open_x100 * lot_shares)
        while lots and _cost_twd(quote.open_x100, lots * lot_shares, costs) > budget_twd:
            lots -= 1
        if not lots:
            continue
        order = Order(
            symbol=symbol,
            decided=today.session,
            side=Side.BUY,
            shares=lots * lot_shares,
            limit_x100=quote.open_x100,
            reason="hold",
        )
        fill = fill_next(order, market, today.closes_x100[symbol], OPEN, costs)
        fills += [fill] if fill else []
    return tuple(fills)


def _cost_twd(price_x100: int, shares: int, costs: CostRates) -> int:
    """What a purchase takes out of the cash."""
    return price_x100 * shares // 100 + costs.commission_of(price_x100, shares)
