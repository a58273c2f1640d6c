"""Is one forecaster's error smaller than another's, or is it chance? The Diebold-Mariano test, and Holm's correction.

Sources: F. Diebold, R. Mariano, "Comparing Predictive Accuracy", JBES 13(3), 1995; D. Harvey, S. Leybourne,
P. Newbold, "Testing the equality of prediction mean squared errors", IJF 13(2), 1997, for short samples; W. Newey,
K. West, Econometrica 55(3), 1987; S. Holm, Scandinavian Journal of Statistics 6(2), 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.luck import Floats

LEAST_DAYS: Final = 20  # with fewer days nothing is said: the variance itself would be a guess
STILL: Final = 1e-15  # a difference this small is rounding: both said the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two forecasters' losses day by day; `difference` is the mean of the first's minus the second's.

    `p` is two-sided; None, like `statistic`, where there are too few days or no difference at all to judge.
    """

    difference: float
    statistic: float | None
    p: float | None
    days: int


def diebold_mariano(differences: Mapping[int, float], horizon: int) -> Comparison:
    """Whether the mean of `differences` is zero: one loss difference a day, by the day's number among the sessions.

    Answers of fewer than `horizon` sessions' distance share sessions, so their differences are correlated: the
    variance counts those pairs of days, whatever days are missing between them. It is the larger of the two in use,
    each pair in full (Diebold and Mariano's) and Newey and West's, weighted by the share of sessions in common.

    Raises:
        ValueError: there is no day, or `horizon` is below 1.
    """
    if not differences or horizon < 1:
        raise ValueError("a comparison needs a day and a horizon of at least 1")
    numbers = np.array(sorted(differences), dtype=np.int64)
    values = np.array([differences[int(number)] for number in numbers], dtype=np.float64)
    count, mean = len(values), float(values.mean())
    variance = mean_variance(values, numbers, horizon)
    if count < max(LEAST_DAYS, horizon + 1) or float(np.abs(values).max()) < STILL or variance <= 0:
        return Comparison(difference=mean, statistic=None, p=None, days=count)
    short_sample = math.sqrt((count + 1 - 2 * horizon + horizon * (horizon - 1) / count) / count)
    statistic = mean / math.sqrt(variance) * short_sample
    return Comparison(difference=mean, statistic=statistic, p=two_sided(statistic, count - 1), days=count)


def mean_variance(values: Floats, numbers: NDArray[np.int64], horizon: int) -> float:
    """The variance of the mean of `values`, days in order, that overlap up to `horizon` - 1 sessions."""
    spread = values - values.mean()
    own = float(spread @ spread)
    full = shared = 0.0
    for gap in range(1, horizon):
        places = np.searchsorted(numbers, numbers + gap)
        inside = places < len(numbers)
        pairs = np.flatnonzero(inside)[numbers[places[inside]] == numbers[inside] + gap]
        together = float(spread[pairs] @ spread[places[pairs]])
        full += 2 * together
        shared += 2 * (1 - gap / horizon) * together
    return (own + max(full, shared)) / len(values) ** 2


def two_sided(statistic: float, freedom: int) -> float:
    """The probability that Student's t with `freedom` degrees is at least as far from 0 as `statistic`."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(statistic)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p-value raised for having looked at several; None stays None and does not count as a look."""
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    raised: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for done, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - done)))
        raised[place] = highest
    return raised
