"""The confidence interval of a share or a mean over many stocks and days: whole days are drawn again, in blocks.

Many stocks on one day rise and fall together, so a day's cases are no independent looks: what is drawn is the day with
all its cases. Days whose answer windows overlap are drawn together as well, in blocks of at least the horizon.
Source: H. Kuensch, "The Jackknife and the Bootstrap for General Stationary Observations", Annals of Statistics 17(3),
1989; in a circle as D. Politis, J. Romano, "A Circular Block-Resampling Procedure", 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backtest.bootstrap import politis_white
from backtest.diebold_mariano import LEAST_DAYS
from backtest.luck import Floats

DRAWS: Final = 2_000
BAND: Final = (0.025, 0.975)
LEAST_BLOCKS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A mean over `count` cases of `days` days, and its 95 % interval; None where the days are too few for one."""

    value: float
    low: float | None
    high: float | None
    count: int
    days: int

    def excludes(self, value: float) -> bool:
        """Whether there is an interval, and `value` lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def share_of(values: Floats, numbers: NDArray[np.int64], horizon: int, seed: int, draws: int = DRAWS) -> Share | None:
    """The mean of `values` (0 and 1 for a share), case by case; `numbers` say on which session each was asked.

    None where there is no case.
    """
    if len(values) == 0:
        return None
    days, place = np.unique(numbers, return_inverse=True)
    total = np.bincount(place, weights=values)
    cases = np.bincount(place).astype(np.float64)
    told = Share(value=float(values.mean()), low=None, high=None, count=len(values), days=len(days))
    block = block_days(total / cases, days, horizon)
    if len(days) < max(LEAST_DAYS, LEAST_BLOCKS * block):
        return told
    chance = np.random.default_rng(seed)
    blocks = math.ceil(len(days) / block)
    starts = chance.integers(len(days), size=(draws, blocks))
    drawn = ((starts[:, :, None] + np.arange(block)) % len(days)).reshape(draws, -1)[:, : len(days)]
    low, high = np.quantile(total[drawn].sum(axis=1) / cases[drawn].sum(axis=1), BAND)
    return Share(value=told.value, low=float(low), high=float(high), count=told.count, days=told.days)


def block_days(means: Floats, days: NDArray[np.int64], horizon: int) -> int:
    """So many days in a row are drawn together: what overlaps, or more where the days' means depend for longer."""
    sessions = int(days[-1] - days[0]) + 1
    overlapping = math.ceil(horizon * len(days) / sessions)
    return max(overlapping, math.ceil(politis_white(means)) if len(days) >= LEAST_DAYS else 1)
