"""How much of a result luck explains: Sharpe ratios deflated by the trials, and the probability of overfitting.

Pure figures in, figures out. All Sharpe ratios here are per session, not a year's. Sources:
[PSR] D. Bailey, M. Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012.
[DSR] D. Bailey, M. Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014.
[CSCV] D. Bailey, J. Borwein, M. Lopez de Prado, Q. Zhu, "The Probability of Backtest Overfitting", Journal of
Computational Finance 20(4), 2017 (SSRN 2326253, 2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EULER_GAMMA: Final = 0.5772156649015329
NORMAL: Final = NormalDist()
STILL: Final = 1e-12  # a column that moves less than this from session to session never traded: its Sharpe ratio is 0
SPLITS_AT_ONCE: Final = 2_000_000  # cells of one chunk of splits x columns: 16 MB for each array

# --- the Sharpe ratio and what it is worth ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """A line of session returns: how many, the Sharpe ratio per session, skewness, and kurtosis (3 if normal)."""

    sessions: int
    sharpe: float
    skewness: float
    kurtosis: float


def moments_of(returns: Floats) -> Moments | None:
    """The moments of `returns`; None where a Sharpe ratio means nothing: fewer than three, or they never move."""
    count = len(returns)
    if count < 3 or float(np.ptp(returns)) < STILL:  # noqa: PLR2004
        return None
    mean = float(returns.mean())
    spread = returns - mean
    variance = float(np.mean(spread**2))
    return Moments(
        sessions=count,
        sharpe=mean / math.sqrt(variance * count / (count - 1)),
        skewness=float(np.mean(spread**3)) / variance**1.5,
        kurtosis=float(np.mean(spread**4)) / variance**2,
    )


def probabilistic_sharpe(told: Moments, benchmark: float = 0.0) -> float:
    """The probability that the true Sharpe ratio is above `benchmark`, per session.

    Source: [PSR] and [DSR] eq. 2: Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)).
    """
    squared = 1 - told.skewness * told.sharpe + (told.kurtosis - 1) / 4 * told.sharpe**2
    if squared <= 0:  # only where all returns are one of two values
        return 1.0 if told.sharpe > benchmark else 0.0
    return NORMAL.cdf((told.sharpe - benchmark) * math.sqrt(told.sessions - 1) / math.sqrt(squared))


def expected_best_sharpe(trials: int, variance: float) -> float:
    """The Sharpe ratio that the best of `trials` reaches by luck alone, when theirs vary by `variance`.

    Source: [DSR] eq. 1: sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), g Euler's constant. One trial has no best: 0.

    Raises:
        ValueError: fewer than one trial, or a negative variance.
    """
    if trials < 1 or variance < 0:
        raise ValueError(f"{trials} trials with a variance of {variance} can't be")
    if trials == 1:
        return 0.0
    largest = (1 - EULER_GAMMA) * NORMAL.inv_cdf(1 - 1 / trials)
    next_scale = EULER_GAMMA * NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * (largest + next_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflated:
    """A Sharpe ratio and what is left of it.

    `sharpe` and `by_luck` (what the best of `trials` would reach without any skill) are per session.
    `deflated` is the probability that the true Sharpe ratio is above `by_luck`, `against_zero` that it is above 0.
    `measured_variance`: whether the variance of the trials' Sharpe ratios was measured; else it is that of skill-less
    trials of this length.
    """

    trials: int
    sessions: int
    sharpe: float
    skewness: float
    kurtosis: float
    trials_variance: float
    measured_variance: bool
    by_luck: float
    deflated: float
    against_zero: float


def deflated_sharpe(returns: Floats, trials: int, variance: float | None = None) -> Deflated | None:
    """What is left of the Sharpe ratio of `returns` after `trials` were tried; None where it has none.

    `variance` is that of the trials' Sharpe ratios per session. None: unknown, and then that of T normal returns
    without skill, 1 / (T - 1), which [PSR]'s standard error is at a Sharpe ratio of 0.
    """
    told = moments_of(returns)
    if told is None:
        return None
    used = 1 / (told.sessions - 1) if variance is None else variance
    by_luck = expected_best_sharpe(trials, used)
    return Deflated(
        trials=trials,
        sessions=told.sessions,
        sharpe=told.sharpe,
        skewness=told.skewness,
        kurtosis=told.kurtosis,
        trials_variance=used,
        measured_variance=variance is not None,
        by_luck=by_luck,
        deflated=probabilistic_sharpe(told, by_luck),
        against_zero=probabilistic_sharpe(told),
    )


# --- overfitting ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfitting:
    """What choosing the best of `columns` on one half of the sessions is worth on the other, over all `splits`.

    `probability`: how often the chosen one is in the worse half of all where it was not chosen. `median_rank`: its
    usual place there, 0 worst, 1 best. `loses`: how often it loses money there.
    """

    blocks: int
    splits: int
    columns: int
    sessions: int
    probability: float
    median_rank: float
    loses: float


def overfitting(returns: Floats, blocks: int = 16) -> Overfitting:
    """The probability of backtest overfitting by combinatorially symmetric cross-validation.

    `returns` is sessions x columns, one column for each parameter set that was tried. The sessions are cut into
    `blocks` equal blocks (the oldest few, fewer than `blocks`, are left out), and each half of the blocks once
    chooses the column with the best Sharpe ratio, which is then ranked among all on the other half.
    Source: [CSCV] section 2, logit = ln(w / (1 - w)) with w = rank / (N + 1); probability = share of logits <= 0.

    Raises:
        ValueError: an odd number of blocks, fewer than two columns, or fewer than two sessions a block.
    """
    sessions, columns = returns.shape
    if blocks < 2 or blocks % 2:  # noqa: PLR2004
        raise ValueError(f"{blocks} blocks can't be halved: an even number from 2 on")
    if columns < 2:  # noqa: PLR2004
        raise ValueError(f"{columns} parameter set: overfitting is about a choice among at least two")
    if sessions < 2 * blocks:
        raise ValueError(f"{sessions} sessions are too few for {blocks} blocks of at least two")
    length = sessions // blocks
    used = returns[sessions - length * blocks :]
    cut = (used - used.mean(axis=0)).reshape(blocks, length, columns)  # centred: the variances below keep their digits
    centre = used.mean(axis=0)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    ranks, lost = [], []
    for chosen in _halves(blocks, max(1, SPLITS_AT_ONCE // columns)):
        half = length * blocks // 2
        inside = _sharpes(chosen @ sums / half, chosen @ squares / half, centre)
        outside = _sharpes((1 - chosen) @ sums / half, (1 - chosen) @ squares / half, centre)
        best = inside.argmax(axis=1)
        theirs = outside[np.arange(len(best)), best][:, None]
        below, equal = (outside < theirs).sum(axis=1), (outside == theirs).sum(axis=1)
        ranks.append((below + (equal + 1) / 2) / (columns + 1))
        lost.append(theirs[:, 0] < 0)
    rank = np.concatenate(ranks)
    return Overfitting(
        blocks=blocks,
        splits=len(rank),
        columns=columns,
        sessions=length * blocks,
        probability=float(np.mean(rank <= 0.5)),  # noqa: PLR2004  (a logit <= 0 is a relative rank <= 1/2)
        median_rank=float(np.median(rank)),
        loses=float(np.mean(np.concatenate(lost))),
    )


def _halves(blocks: int, at_once: int) -> Iterator[Floats]:
    """Each choice of half of the blocks once, as rows of 0 and 1, some `at_once`."""
    chosen = list(combinations(range(blocks), blocks // 2))
    for first in range(0, len(chosen), at_once):
        some = np.array(chosen[first : first + at_once])
        rows = np.zeros((len(some), blocks))
        np.put_along_axis(rows, some, 1.0, axis=1)
        yield rows


def _sharpes(mean: Any, square: Any, centre: Floats) -> Floats:
    """Sharpe ratios of returns whose mean and mean square are given about `centre`; 0 for what never moves."""
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    moves = deviation > STILL
    ratios: Floats = np.where(moves, (mean + centre) / np.where(moves, deviation, 1.0), 0.0)
    return ratios
