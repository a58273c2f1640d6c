"""One loss for a whole forecast, and whether one forecaster's is smaller than another's beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from backtest.diebold_mariano import Comparison, diebold_mariano
from backtest.forecast_quality import LEVELS, Case, View, by_day


def compare_losses(cases: Sequence[Case], first: str, second: str) -> Comparison | None:
    """The pinball losses of two forecasters over the cases that both answered, None without any.

    A forecast's loss is the mean over its sessions and the three levels, in fractions of the last close; a day's is the
    mean of its forecasts; Diebold-Mariano on the days, whose answers overlap for the longest horizon. A negative
    difference speaks for `first`.
    """
    both = [case for case in cases if first in case.views and second in case.views]
    if not both:
        return None
    told: dict[tuple[str, int], list[float]] = {}
    for case in both:
        difference = pinball(case, first) - pinball(case, second)
        told.setdefault((case.symbol, case.number), []).append(difference)
    numbers = np.array([number for _, number in told], dtype=np.int64)
    values = np.array([fmean(one) for one in told.values()], dtype=np.float64)
    return diebold_mariano(by_day(values, numbers), max(case.horizon for case in both))


def mean_loss(cases: Sequence[Case], name: str) -> float | None:
    """The mean pinball loss of `name` over the cases that it answered, in fractions of the last close."""
    told = [pinball(case, name) for case in cases if name in case.views]
    return fmean(told) if told else None


def pinball(case: Case, name: str) -> float:
    """The mean loss over the three levels, over the last close; whoever tells no band is held to its middle."""
    losses = []
    for level, told in zip(LEVELS, _quantiles(case.views[name]), strict=True):
        above = case.came - told
        losses.append(max(level * above, (level - 1) * above))
    return fmean(losses) / case.last


def _quantiles(view: View) -> tuple[float, float, float]:
    low = view.told if view.low is None else view.low
    high = view.told if view.high is None else view.high
    return low, view.told, high
