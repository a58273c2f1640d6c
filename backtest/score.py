"""Recorded fills -> statistics; it decides nothing. Floats begin here.

`figures` counts them from our own books, in milliseconds. `score` has vectorbt count the same ones independently, which
takes seconds to import: for checks, and for whoever asks for it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, pairwise
from typing import Any, Final

from backtest.history import History
from backtest.played_run import PlayedRun
from backtest.replay import Run
from bot.core.orders import Fill

Scored = Run | PlayedRun
DAYS_A_YEAR: Final = 365.25
USUAL_SESSIONS_A_YEAR: Final = 245  # TWSE: 2020 245, 2021 244, 2022 246, 2023 239, 2024 242 sessions
LEAST_FOR_A_YEAR: Final = 20  # with fewer sessions a yearly figure says nothing, and none is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one run went. Returns, rates and drawdown are fractions; None where a figure means nothing.

    `trades` counts bought-and-sold positions, which `win_rate` and `profit_factor` are about; `open_positions` are
    valued at the last close. `turnover` is the value of all fills over the mean equity. `vectorbt_final_twd` is
    vectorbt's own final value: it must equal `final_twd`, which is from our books.
    """

    forecaster: str
    fill_rule: str
    sessions: int
    start_twd: int
    final_twd: int
    total_return: float
    annual_return: float | None
    sharpe: float | None
    max_drawdown: float
    trades: int
    open_positions: int
    win_rate: float | None
    profit_factor: float | None
    orders: int
    fills: int
    commission_twd: int
    tax_twd: int
    turnover: float
    vectorbt_final_twd: float | None = None


def sessions_a_year(history: History) -> float:
    """The exchange's own count, over the loaded bars; the usual one where they span less than a year."""
    span_days = (history.sessions[-1] - history.sessions[0]).days
    if span_days < DAYS_A_YEAR:
        return float(USUAL_SESSIONS_A_YEAR)
    return round((len(history.sessions) - 1) * DAYS_A_YEAR / span_days, 1)


def score(history: History, runs: Sequence[Scored], year_sessions: float) -> list[Score]:
    """A score for each of `runs`, which are all over the same sessions.

    vectorbt takes 3-6 s to import, and compiles for half a minute on its first use where vectorbt-rust is absent.
    """
    closes = _closes(history, runs[0].sessions) if runs else None
    return [_score(history, run, closes, year_sessions) for run in runs]


def figures(run: Scored, year_sessions: float) -> Score:
    """The figures of `run` from our own books, as vectorbt defines them; dividends and new shares count."""
    equity = run.equity_twd
    returns = [0.0, *(after / before - 1 for before, after in pairwise(equity))]
    whole = equity[-1] / equity[0] - 1
    long_enough = len(equity) >= LEAST_FOR_A_YEAR
    spread = statistics.stdev(returns) if len(returns) > 1 else 0.0
    fills = run.fills
    profits = round_trips(fills)
    gains, losses = sum(one for one in profits if one > 0), -sum(one for one in profits if one < 0)
    traded_twd = sum(fill.price_x100 * abs(fill.shares) // 100 for fill in fills)
    return Score(
        forecaster=run.forecaster,
        fill_rule=run.fill_rule,
        sessions=len(equity),
        start_twd=run.start_cash_twd,
        final_twd=equity[-1],
        total_return=whole,
        annual_return=(1 + whole) ** (year_sessions / len(equity)) - 1 if long_enough else None,
        sharpe=statistics.fmean(returns) / spread * math.sqrt(year_sessions) if long_enough and spread else None,
        max_drawdown=min(falls(equity)),
        trades=len(profits),
        open_positions=run.open_positions,
        win_rate=sum(one > 0 for one in profits) / len(profits) if profits else None,
        profit_factor=gains / losses if losses else None,
        orders=run.order_count,
        fills=len(fills),
        commission_twd=sum(fill.commission_twd for fill in fills),
        tax_twd=sum(fill.tax_twd for fill in fills),
        turnover=traded_twd * len(equity) / sum(equity),
    )


def round_trips(fills: Sequence[Fill]) -> list[float]:
    """What each sale brought over its share of the purchases' cost, in TWD; dividends are not in it."""
    shares, cost_twd = dict[str, int](), dict[str, float]()
    profits = []
    for fill in fills:
        symbol = fill.symbol
        if fill.shares > 0:
            shares[symbol] = shares.get(symbol, 0) + fill.shares
            cost_twd[symbol] = cost_twd.get(symbol, 0.0) - fill.cash_change_twd
            continue
        held = max(shares.get(symbol, 0), -fill.shares)  # an ex-date may have brought more than were bought
        part = cost_twd.get(symbol, 0.0) * -fill.shares / held
        profits.append(fill.cash_change_twd - part)
        shares[symbol], cost_twd[symbol] = held + fill.shares, cost_twd.get(symbol, 0.0) - part
    return profits


def falls(equity_twd: Sequence[int]) -> list[float]:
    """How far below its last peak each value stands, as a fraction of the peak; at most 0."""
    peaks = accumulate(equity_twd, max)
    return [value / peak - 1 for value, peak in zip(equity_twd, peaks, strict=True)]


def worst(scores: Sequence[Score]) -> Score:
    """The score with the lowest return: the one that counts."""
    return min(scores, key=lambda one: one.total_return)


def _score(history: History, run: Scored, closes: Any, year_sessions: float) -> Score:
    """The figures of `run`: from vectorbt, and from our own books."""
    portfolio = _portfolio(history, run, closes)
    closed = portfolio.trades.closed
    yearly = {"year_freq": f"{year_sessions} days"}
    long_enough = len(run.sessions) >= LEAST_FOR_A_YEAR
    equity = run.equity_twd
    traded_twd = sum(fill.price_x100 * abs(fill.shares) // 100 for fill in run.fills)
    return Score(
        forecaster=run.forecaster,
        fill_rule=run.fill_rule,
        sessions=len(run.sessions),
        start_twd=run.start_cash_twd,
        final_twd=equity[-1],
        total_return=float(portfolio.total_return()),
        annual_return=_finite(portfolio.annualized_return(**yearly)) if long_enough else None,
        sharpe=_finite(portfolio.sharpe_ratio(**yearly)) if long_enough else None,
        max_drawdown=_finite(portfolio.max_drawdown()) or 0.0,
        trades=int(closed.count()),
        open_positions=run.open_positions,
        win_rate=_finite(closed.win_rate()),
        profit_factor=_finite(closed.profit_factor()),
        orders=run.order_count,
        fills=len(run.fills),
        commission_twd=sum(fill.commission_twd for fill in run.fills),
        tax_twd=sum(fill.tax_twd for fill in run.fills),
        turnover=traded_twd * len(equity) / sum(equity),
        vectorbt_final_twd=float(portfolio.final_value()),
    )


def _portfolio(history: History, run: Scored, closes: Any) -> Any:
    """The fills replayed by vectorbt: one account for all stocks, each fill as it stands, nothing rejected."""
    import numpy as np
    import vectorbt as vbt

    size, price, fees = np.full(closes.shape, np.nan), np.full(closes.shape, np.nan), np.zeros(closes.shape)
    row_of = {session: row for row, session in enumerate(run.sessions)}
    column_of = {symbol: column for column, symbol in enumerate(history.symbols)}
    for fill in run.fills:
        place = row_of[fill.session], column_of[fill.symbol]
        size[place] = fill.shares
        price[place] = fill.price_x100 / 100
        fees[place] = _fees_twd(fill)
    return vbt.Portfolio.from_orders(
        closes,
        size=size,
        price=price,
        fixed_fees=fees,
        init_cash=float(run.start_cash_twd),
        group_by=True,
        cash_sharing=True,
        allow_partial=False,
        raise_reject=True,
        freq="1D",
    )


def _fees_twd(fill: Fill) -> float:
    """What the fill costs beyond price times shares: commission, tax, and the value's cut to whole TWD (odd lots)."""
    return -fill.price_x100 * fill.shares / 100 - fill.cash_change_twd


def _closes(history: History, sessions: Sequence[date]) -> Any:
    """Last closes in TWD, sessions x symbols; before a stock's first bar, where none can be held, its first close."""
    import numpy as np
    import pandas as pd

    known = [history.closes_x100(session) for session in sessions]
    hundredths = [[closes.get(symbol, np.nan) for symbol in history.symbols] for closes in known]
    index = pd.DatetimeIndex([session.isoformat() for session in sessions])
    return (pd.DataFrame(hundredths, index=index, columns=list(history.symbols), dtype=float) / 100).bfill().fillna(1.0)


def _finite(figure: Any) -> float | None:
    """`figure`, or None where it means nothing: no trades, no losses, no variation."""
    number = float(figure)
    return number if math.isfinite(number) else None
