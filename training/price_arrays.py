"""Windows of bars as arrays, for the models that are no LLM: what was before, and the move that came.

All in logarithms relative to a close of the same window, so ex-dates are out of it and stocks of any price are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.forecast_cases import HOLE_SESSIONS, Market
from bot.core.exrights import effective

Floats = NDArray[np.float64]
FEATURES: Final = 5  # open, high, low, close, volume of each past session
LEAST_SPREAD: Final = 0.002  # a stock that hardly moves still gets a scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """`past` is windows x sessions x FEATURES, `came` windows x future sessions: the log move from the last close.

    `spread` is the standard deviation of each window's daily moves, `keys` its stock and last session.
    """

    past: Floats
    came: Floats
    spread: Floats
    keys: tuple[tuple[str, date], ...]

    def some(self, places: NDArray[np.int64]) -> Windows:
        """Those at `places`."""
        keys = tuple(self.keys[int(at)] for at in places)
        return Windows(past=self.past[places], came=self.came[places], spread=self.spread[places], keys=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stock:
    """One stock's logarithms in today's terms, its volumes, its sessions and their numbers in the market."""

    prices: Floats  # sessions x (open, high, low, close)
    volumes: Floats
    sessions: Sequence[date]
    numbers: NDArray[np.int64]


def windows_known_by(market: Market, *, cut: date, past: int, future: int) -> Windows:
    """Every window without a hole whose answer was known by `cut`, oldest first."""
    found = []
    for symbol, stock in _stocks(market):
        last = np.searchsorted(np.array(stock.sessions, dtype="datetime64[D]"), np.datetime64(cut), side="right")
        for at in range(past - 1, int(last) - future):
            span = stock.numbers[at + future] - stock.numbers[at - past + 1]
            if span < past + future + HOLE_SESSIONS:
                found.append((stock.sessions[at], symbol, stock, at))
    found.sort(key=lambda one: one[:2])
    return _windows(((symbol, stock, at) for _, symbol, stock, at in found), past, future)


def windows_at(market: Market, keys: Iterable[tuple[str, date]], *, past: int, future: int) -> Windows:
    """The windows of these stocks and sessions; what came after them is filled in where it is known, else NaN."""
    stocks = dict(_stocks(market))
    asked = ((symbol, stocks[symbol], stocks[symbol].sessions.index(session)) for symbol, session in keys)
    return _windows(asked, past, future)


def _stocks(market: Market) -> Iterator[tuple[str, _Stock]]:
    place = {session: number for number, session in enumerate(market.sessions)}
    for symbol, bars in market.bars.items():
        prices = np.log(np.array([[float(getattr(bar, name)) for name in _PRICES] for bar in bars], dtype=np.float64))
        sessions = [bar.session for bar in bars]
        days = np.array(sessions, dtype="datetime64[D]")
        for event in effective(market.events.get(symbol, ())):
            prices[days < np.datetime64(event.ex_date)] += np.log(float(event.factor))
        volumes = np.log1p(np.array([bar.volume_shares for bar in bars], dtype=np.float64))
        numbers = np.array([place[session] for session in sessions], dtype=np.int64)
        yield symbol, _Stock(prices=prices, volumes=volumes, sessions=sessions, numbers=numbers)


_PRICES: Final[Mapping[str, int]] = {"open": 0, "high": 1, "low": 2, "close": 3}


def _windows(chosen: Iterable[tuple[str, _Stock, int]], past: int, future: int) -> Windows:
    rows, came, spreads, keys = [], [], [], []
    for symbol, stock, at in chosen:
        begin = at - past + 1
        prices = stock.prices[begin : at + 1]
        closes = prices[:, 3]
        before = np.concatenate([prices[:1, 0], closes[:-1]])  # the first bar is told from its own open
        volumes = stock.volumes[begin : at + 1]
        rows.append(np.column_stack([prices - before[:, None], volumes - volumes.mean()]))
        moves = stock.prices[at + 1 : at + 1 + future, 3] - closes[-1]
        came.append(np.concatenate([moves, np.full(future - len(moves), np.nan)]))
        spreads.append(max(float(np.std(closes - before)), LEAST_SPREAD))
        keys.append((symbol, stock.sessions[at]))
    return Windows(
        past=np.array(rows, dtype=np.float64).reshape(-1, past, FEATURES),
        came=np.array(came, dtype=np.float64).reshape(-1, future),
        spread=np.array(spreads, dtype=np.float64),
        keys=tuple(keys),
    )
