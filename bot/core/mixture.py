"""Bands and P(up) from the distributions of closes that were read along several paths. Pure, on arrays.

Each path tells, beside each of its closes, how probable each of the 1000 codes was there. After k sessions a close is
distributed as the even mixture of the paths' k-th distributions, each around its own close before. So what a model
expects after a rise, after a fall and after a wild day is all in it, and no step is taken as independent of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bot.core.distribution import (
    HIGH,
    LOW,
    P_UP_DIGITS,
    TOLERANCE,
    Floats,
    Outlook,
    Path,
    bands_between,
    by_rules,
    tradable_x100,
)
from bot.core.prompt import CODES

Ints = npt.NDArray[np.int64]


def mixed_outlooks(closes: npt.NDArray[Any], codes: npt.NDArray[Any], paths: Sequence[Path]) -> list[Outlook]:
    """What `closes` come to for the windows whose medians `paths` tell, in order.

    `closes` are windows x ways x bars x 1000 probabilities of each close's code, `codes` (windows x ways x bars) the
    closes that each way took. A band goes from the 10 % to the 90 % quantile of a close; it lies inside the compounded
    daily limits and holds the told close. A window that ends exactly unchanged counts half as up.

    Raises:
        ValueError: the shapes don't fit, or a row is no distribution.
    """

    def work(some: Sequence[int]) -> Iterator[Outlook]:
        shares = np.asarray(closes[some], dtype=np.float64)
        return _mixed(shares, np.asarray(codes[some], dtype=np.int64), [paths[place] for place in some])

    return by_rules(paths, work)


def _mixed(closes: Floats, codes: Ints, paths: Sequence[Path]) -> Iterator[Outlook]:
    """As `mixed_outlooks`, all at once, of windows that count by the same ticks and limits."""
    rows, ways, bars = codes.shape
    if closes.shape != (rows, ways, bars, CODES) or any(len(one.closes_x100) != bars for one in paths):
        raise ValueError(f"{closes.shape} is not {rows} windows x {ways} ways x {bars} bars x {CODES} codes")
    total = closes.sum(axis=-1, keepdims=True)
    if not (closes >= 0).all() or not (np.isfinite(total) & (total > 0)).all():
        raise ValueError("probabilities of codes that are no distribution")
    shares = closes / total / ways
    last = np.array([one.last_x100 for one in paths])
    before = np.repeat(last[:, None], ways, axis=1)
    lows, highs, up = np.empty((rows, bars)), np.empty((rows, bars)), np.empty(rows)
    for bar in range(bars):
        prices = tradable_x100(before, paths[0].etf, paths[0].pct)
        pooled, weights = prices.reshape(rows, -1), shares[:, :, bar].reshape(rows, -1)
        lows[:, bar], highs[:, bar] = _quantiles(pooled, weights)
        if bar == bars - 1:
            up = (weights * ((pooled > last[:, None]) + 0.5 * (pooled == last[:, None]))).sum(axis=-1)
        before = np.take_along_axis(prices, codes[:, :, bar, None], axis=-1)[..., 0].astype(np.int64)
    for row, one in enumerate(paths):
        bands = bands_between(one, lows[row].tolist(), highs[row].tolist())
        yield Outlook(bands=tuple(bands), p_up=round(min(max(float(up[row]), 0.0), 1.0), P_UP_DIGITS))


def _quantiles(prices: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Of each row: the least price up to which LOW of the weight lies, and that for HIGH."""
    order = np.argsort(prices, axis=-1, kind="stable")
    ranked = np.take_along_axis(prices, order, axis=-1)
    upto = np.take_along_axis(weights, order, axis=-1).cumsum(axis=-1)
    low, high = (
        np.take_along_axis(ranked, ((upto < level - TOLERANCE).sum(axis=-1, keepdims=True)), axis=-1)[:, 0]
        for level in (LOW, HIGH)
    )
    return low, high
