"""Recorded fills -> statistics, by vectorbt and from our own books; it decides nothing. Floats begin here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from backtest.history import History
from backtest.replay import Run
from bot.core.orders import Fill

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
    vectorbt_final_twd: float


def sessions_a_year(history: History) -> float:
    """The exchange's own count, over the loaded bars; the usual one where they span less than a year."""
    span_days = (history.sessions[-1] - history.sessions[0]).days
    if span_days < DAYS_A_YEAR:
        return float(USUAL_SESSIONS_A_YEAR)
    return round((len(history.sessions) - 1) * DAYS_A_YEAR / span_days, 1)


def score(history: History, runs: Sequence[Run], year_sessions: float) -> list[Score]:
    """A score for each of `runs`, which are all over the same sessions.

    vectorbt takes 3-6 s to import, and compiles for half a minute on its first use where vectorbt-rust is absent.
    """
    closes = _closes(history, runs[0].sessions) if runs else None
    return [_score(history, run, closes, year_sessions) for run in runs]


def worst(scores: Sequence[Score]) -> Score:
    """The score with the lowest return: the one that counts."""
    return min(scores, key=lambda one: one.total_return)


def _score(history: History, run: Run, closes: Any, year_sessions: float) -> Score:
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
        open_positions=len(run.steps[-1].held.positions) if run.steps else 0,
        win_rate=_finite(closed.win_rate()),
        profit_factor=_finite(closed.profit_factor()),
        orders=sum(len(step.orders) for step in run.steps),
        fills=len(run.fills),
        commission_twd=sum(fill.commission_twd for fill in run.fills),
        tax_twd=sum(fill.tax_twd for fill in run.fills),
        turnover=traded_twd * len(equity) / sum(equity),
        vectorbt_final_twd=float(portfolio.final_value()),
    )


def _portfolio(history: History, run: Run, closes: Any) -> Any:
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
