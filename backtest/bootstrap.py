"""Bands around a return and a drawdown: the sessions drawn again in blocks, thousands of times, from a seed.

Sources: D. Politis, J. Romano, "The Stationary Bootstrap", JASA 89, 1994. Block length: D. Politis, H. White,
"Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 23(1), 2004, with the correction
by A. Patton, D. Politis, H. White, Econometric Reviews 28(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from backtest.luck import STILL, Floats

DRAWS: Final = 10_000
BAND: Final = (0.05, 0.5, 0.95)  # low, middle, high
LEAST_SESSIONS: Final = 20  # with fewer there is no band: autocorrelations would be noise
SIGNIFICANT: Final = (
    2.0  # an autocorrelation within 2 sqrt(log10 T / T) of 0 counts as 0. Source: Politis-White, section 3.2
)
STILL_LAGS: Final = 5  # so many in a row must count as 0. Source: the same, K = max(5, sqrt(log10 T))


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The 5 %, 50 % and 95 % points of what was drawn."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """What the same sessions in another order might have brought; fractions.

    `loses`: the share of draws that end below where they began. `below_hold`: the share in which holding, over the
    very same drawn sessions, ends higher; None without a line of holding, as is `over_hold`, the yearly difference.
    """

    draws: int
    block_sessions: float
    annual_return: Band
    max_drawdown: Band
    loses: float
    over_hold: Band | None
    below_hold: float | None


def log_returns(equity_twd: Sequence[int]) -> Floats:
    """The logarithm of each session's growth.

    Raises:
        ValueError: an equity is not positive.
    """
    equity = np.asarray(equity_twd, dtype=np.float64)
    if len(equity) == 0 or equity.min() <= 0:
        raise ValueError("an equity must be positive")
    growth: Floats = np.diff(np.log(equity))
    return growth


def bands(growth: Floats, hold: Floats | None, sessions_a_year: float, seed: int, draws: int = DRAWS) -> Bands | None:
    """Bands for the log returns `growth`, drawn `draws` times; None for fewer than LEAST_SESSIONS of them.

    A block begins at any session with equal probability, goes on with probability 1 - 1/length, and runs from the
    last session on to the first. `hold` are the log returns of holding over the same sessions, drawn along.
    """
    count = len(growth)
    if count < LEAST_SESSIONS:
        return None
    length = block_length(growth)
    chance = np.random.default_rng(seed)
    level, peak, fall, held = (np.zeros(draws) for _ in range(4))
    at = chance.integers(count, size=draws)
    for _ in range(count):
        level += growth[at]
        np.maximum(peak, level, out=peak)
        np.maximum(fall, peak - level, out=fall)
        if hold is not None:
            held += hold[at]
        drawn = chance.random(draws)
        # One number says both: below 1/length a new block begins, and where in that stretch it lies says at what place.
        at = np.where(drawn < 1 / length, (drawn * length * count).astype(np.int64) % count, (at + 1) % count)
    years = count / sessions_a_year
    annual = np.expm1(level / years)
    return Bands(
        draws=draws,
        block_sessions=length,
        annual_return=_band(annual),
        max_drawdown=_band(-np.expm1(-fall)),
        loses=float(np.mean(level < 0)),
        over_hold=None if hold is None else _band(annual - np.expm1(held / years)),
        below_hold=None if hold is None else float(np.mean(level < held)),
    )


def block_length(growth: Floats) -> float:
    """The mean length of a block, in sessions, at least 1.

    The longer of Politis and White's choice for the returns and for their sizes: returns hardly depend on those before,
    but wild sessions come together, and that is what a drawdown is made of.
    """
    return max(1.0, politis_white(growth), politis_white(np.abs(growth)))


def politis_white(values: Floats) -> float:
    """The block length that estimates the variance of the mean of `values` best, for the stationary bootstrap."""
    count = len(values)
    spread = values - values.mean()
    lags = math.ceil(math.sqrt(count)) + STILL_LAGS
    if lags >= count or float(np.ptp(values)) < STILL:
        return 1.0
    covariance = np.array([spread[lag:] @ spread[: count - lag] for lag in range(lags + 1)]) / count
    still = np.abs(covariance / covariance[0]) < SIGNIFICANT * math.sqrt(math.log10(count) / count)
    first = next((lag for lag in range(1, lags - STILL_LAGS + 2) if still[lag : lag + STILL_LAGS].all()), lags)
    bandwidth = min(2 * first, lags)
    lag = np.arange(1, bandwidth + 1)
    weight = np.clip(2 * (1 - lag / bandwidth), 0.0, 1.0)  # flat to the half, then down to 0
    slope = 2 * float(np.sum(weight * lag * covariance[1 : bandwidth + 1]))
    density = covariance[0] + 2 * float(np.sum(weight * covariance[1 : bandwidth + 1]))
    if density <= 0:
        return 1.0
    length = (slope**2 / density**2 * count) ** (1 / 3)  # (2 G^2 / D)^(1/3) T^(1/3) with D = 2 g(0)^2
    return float(min(length, math.ceil(min(3 * math.sqrt(count), count / 3))))


def _band(drawn: Floats) -> Band:
    low, middle, high = (float(point) for point in np.quantile(drawn, BAND))
    return Band(low=low, middle=middle, high=high)
