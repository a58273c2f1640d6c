"""What forecasts are worth, beside what needs no model: errors, directions, bands, and whether it may be chance.

Pure: cases in, a table out. `backtest/forecast_cases.py` makes cases of forecasts and bars, `backtest/quality_view.py`
prints the table. Every figure of a table is over the same cases: those that every forecaster in it answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from backtest.day_bootstrap import DRAWS, Share, share_of
from backtest.diebold_mariano import Comparison, diebold_mariano, holm
from backtest.luck import Floats

LAST_CLOSE: Final = "last close"
DRIFT: Final = "drift"
FOUR_POINT: Final = "BestFourPoint"
LEVELS: Final = (0.1, 0.5, 0.9)
NOMINAL: Final = 0.8  # what a band from 10 % to 90 % should hold
SIGNIFICANT: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one forecaster says of a close, TWD per share: the middle, and its 10 % and 90 % points where it tells them.

    `p_up` is its probability of a close above the last one, where it tells that.
    """

    told: float
    low: float | None = None
    high: float | None = None
    p_up: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One close that was asked for and is known now, in the prices of `as_of`.

    `number` is that of the session `as_of` among the market's sessions; `came` is the close `horizon` sessions later.
    `seen` says that a model in `views` was trained on days after `as_of`: it may know what came.
    """

    symbol: str
    as_of: date
    number: int
    horizon: int
    last: float
    came: float
    views: Mapping[str, View]
    seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One forecaster at one horizon; fractions. None is unknown.

    `mape` is the mean of |told / came - 1|. `direction` counts the cases in which it says a way and the close moved.
    `pinball` is the loss at 10, 50 and 90 % over the last close, its mean `pinball_mean`; a forecaster without a band
    has the 50 % alone. `coverage` is the share of closes inside the band, `width` the band's over the last close.
    `brier` is the squared error of the probability of a rise. `against` compares its absolute percentage error, day
    by day, with the last close's; `p_holm` is its p-value raised for the horizons that were looked at.
    """

    forecaster: str
    mape: float
    direction: Share | None
    pinball: tuple[float | None, float, float | None]
    coverage: Share | None
    width: float | None
    brier: float | None
    against: Comparison | None
    p_holm: float | None = None

    @property
    def pinball_mean(self) -> float | None:
        """The mean of the three losses: lower is a better distribution."""
        low, middle, high = self.pinball
        return None if low is None or high is None else (low + middle + high) / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """All forecasters at one horizon, in the order they were named in, over the same cases."""

    horizon: int
    cases: int
    days: int
    rows: tuple[Scores, ...]

    def of(self, forecaster: str) -> Scores:
        """The row of one forecaster.

        Raises:
            KeyError: it is not there.
        """
        for row in self.rows:
            if row.forecaster == forecaster:
                return row
        raise KeyError(forecaster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The table: one part a horizon. `left_out` counts cases that not every forecaster answered."""

    forecasters: tuple[str, ...]
    horizons: tuple[Horizon, ...]
    left_out: int

    def facts(self) -> dict[str, Any]:
        """The table for JSON."""
        from dataclasses import asdict

        return asdict(self) | {"verdicts": {name: verdict(self, name) for name in self.models}}

    @property
    def models(self) -> tuple[str, ...]:
        """The forecasters that are no baseline."""
        return tuple(name for name in self.forecasters if name not in {LAST_CLOSE, DRIFT, FOUR_POINT})


def split_seen(cases: Iterable[Case]) -> tuple[list[Case], list[Case]]:
    """The cases that no model could know the answer of, and those that one may have been trained on."""
    clean: list[Case] = []
    seen: list[Case] = []
    for case in cases:
        (seen if case.seen else clean).append(case)
    return clean, seen


def quality(cases: Sequence[Case], forecasters: Sequence[str], *, seed: int = 1, draws: int = DRAWS) -> Quality:
    """The table of `forecasters` over `cases`; a horizon without a case that all answered is absent."""
    whole = [case for case in cases if all(name in case.views for name in forecasters)]
    parts = []
    for horizon in sorted({case.horizon for case in whole}):
        chosen = sorted((case for case in whole if case.horizon == horizon), key=lambda one: (one.number, one.symbol))
        numbers = np.array([case.number for case in chosen], dtype=np.int64)
        rows = tuple(_scores(name, chosen, numbers, seed, draws) for name in forecasters)
        parts.append(Horizon(horizon=horizon, cases=len(chosen), days=len(np.unique(numbers)), rows=rows))
    return Quality(
        forecasters=tuple(forecasters), horizons=_with_holm(parts, forecasters), left_out=len(cases) - len(whole)
    )


def compare(cases: Sequence[Case], first: str, second: str, horizon: int) -> Comparison | None:
    """Whose absolute percentage error is smaller, over the cases of `horizon` that both answered; None without any.

    A negative difference speaks for `first`.
    """
    both = [case for case in cases if case.horizon == horizon and first in case.views and second in case.views]
    if not both:
        return None
    numbers = np.array([case.number for case in both], dtype=np.int64)
    difference = _errors(both, first) - _errors(both, second)
    return diebold_mariano(by_day(difference, numbers), horizon)


def by_day(values: Floats, numbers: NDArray[np.int64]) -> dict[int, float]:
    """The mean of each day's values, by the day's number."""
    days, place = np.unique(numbers, return_inverse=True)
    means = np.bincount(place, weights=values) / np.bincount(place)
    return dict(zip(days.tolist(), means.tolist(), strict=True))


def pinball_loss(told: Floats, came: Floats, level: float) -> Floats:
    """The loss of a quantile: `level` for each TWD that came above it, 1 - `level` for each below."""
    above = came - told
    return np.maximum(level * above, (level - 1) * above)


def verdict(told: Quality, forecaster: str) -> str:
    """One sentence on `forecaster` beside the last close; it claims nothing that has not p < 0.05 after Holm."""
    rows = [(part, part.of(forecaster)) for part in told.horizons]
    looked = ", ".join(str(part.horizon) for part, _ in rows)
    known = [(part, row) for part, row in rows if row.p_holm is not None]
    if not known:
        return f"{forecaster}: unknown; no horizon has days enough, and answers other than the last close, to compare"
    sure = [(part, row) for part, row in known if row.p_holm is not None and row.p_holm < SIGNIFICANT]
    if not sure:
        least = min(row.p_holm for _, row in known if row.p_holm is not None)
        return (
            f"{forecaster}: no claim; its error differs from the last close's at none of {looked} sessions "
            f"(smallest p {p_words(least)} after Holm)"
        )
    return f"{forecaster}: " + "; ".join(_claim(part, row) for part, row in sure) + f" (of {looked} looked at)"


def _claim(part: Horizon, row: Scores) -> str:
    """What is sure at one horizon."""
    assert row.against
    assert row.p_holm is not None
    better = "smaller" if row.against.difference < 0 else "LARGER"
    errors = f"MAPE {row.mape:.2%} beside {part.of(LAST_CLOSE).mape:.2%}"
    return f"at {part.horizon} sessions its error is {better} than the last close's, {errors}, p {p_words(row.p_holm)}"


def p_words(value: float) -> str:
    """A p-value for a reader."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"  # noqa: PLR2004


def _scores(name: str, cases: Sequence[Case], numbers: NDArray[np.int64], seed: int, draws: int) -> Scores:
    """One forecaster's row, without Holm's correction."""
    views = [case.views[name] for case in cases]
    last, came = (np.array([getattr(case, what) for case in cases], dtype=np.float64) for what in ("last", "came"))
    told = np.array([view.told for view in views], dtype=np.float64)
    horizon = cases[0].horizon
    bands = [view for view in views if view.low is not None and view.high is not None]
    low = high = inside = None
    if len(bands) == len(views):
        low, high = (np.array([getattr(view, what) for view in bands], dtype=np.float64) for what in ("low", "high"))
        inside = ((low <= came) & (came <= high)).astype(np.float64)
    says = (told != last) & (came != last)
    right = ((told > last) == (came > last)).astype(np.float64)
    rises = np.array([np.nan if view.p_up is None else view.p_up for view in views], dtype=np.float64)
    errors, plain = np.abs(told / came - 1), np.abs(last / came - 1)
    return Scores(
        forecaster=name,
        mape=float(errors.mean()),
        direction=share_of(right[says], numbers[says], horizon, seed, draws),
        pinball=(_pinball(low, came, last, 0.1), _sure_pinball(told, came, last, 0.5), _pinball(high, came, last, 0.9)),
        coverage=None if inside is None else share_of(inside, numbers, horizon, seed, draws),
        width=None if low is None or high is None else float(((high - low) / last).mean()),
        brier=None if np.isnan(rises).any() else float(((rises - (came > last)) ** 2).mean()),
        against=None if name == LAST_CLOSE else diebold_mariano(by_day(errors - plain, numbers), horizon),
    )


def _pinball(told: Floats | None, came: Floats, last: Floats, level: float) -> float | None:
    return None if told is None else _sure_pinball(told, came, last, level)


def _sure_pinball(told: Floats, came: Floats, last: Floats, level: float) -> float:
    """The mean loss over the last close, so that a stock of TWD 1,000 counts as one of TWD 10."""
    return float((pinball_loss(told, came, level) / last).mean())


def _errors(cases: Sequence[Case], name: str) -> Floats:
    """Absolute percentage errors, case by case."""
    return np.array([abs(case.views[name].told / case.came - 1) for case in cases], dtype=np.float64)


def _with_holm(parts: Sequence[Horizon], forecasters: Sequence[str]) -> tuple[Horizon, ...]:
    """The same with each forecaster's p-values raised for the number of horizons it was looked at."""
    raised: dict[str, list[float | None]] = {}
    for name in forecasters:
        rows = [part.of(name) for part in parts]
        raised[name] = holm([row.against.p if row.against else None for row in rows])
    return tuple(
        replace(part, rows=tuple(replace(row, p_holm=raised[row.forecaster][place]) for row in part.rows))
        for place, part in enumerate(parts)
    )
