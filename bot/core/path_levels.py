"""Along which paths a forecast's bands are read: at which quantile each takes each close. Pure, no chance in it.

The distribution of a close after many sessions is a mixture: over all ways there, of the distribution at their end. A
few ways stand for all. In each session they take the middles of as many equally probable parts of a standard normal,
stretched to its variance, each of them once. Which way takes which is chosen so that after any number of sessions the
ways lie as far apart as independent steps would: a drawing of eight could be off by half.
"""

from __future__ import annotations

from functools import cache
from hashlib import shake_128
from statistics import NormalDist
from typing import Final

DRAWS: Final = 300  # orders that are tried for each session
NORMAL: Final = NormalDist()


@cache
def path_levels(paths: int, sessions: int) -> tuple[tuple[float, ...], ...]:
    """The quantile at which each of `paths` takes each of `sessions` closes: paths x sessions, each between 0 and 1.

    The levels of the first sessions are the same whatever `sessions` is.

    Raises:
        ValueError: fewer than two paths, or no session.
    """
    if paths < 2 or sessions < 1:  # noqa: PLR2004
        raise ValueError(f"{paths} paths over {sessions} sessions stand for nothing")
    scores = _scores(paths)
    sums = [0.0] * paths
    columns: list[list[float]] = []
    for count in range(1, sessions + 1):
        drawn = (_shuffled(scores, f"{count} {number}") for number in range(DRAWS))
        column = min(drawn, key=lambda one: _unlike(sums, one, count))
        columns.append(column)
        sums = [total + one for total, one in zip(sums, column, strict=True)]
    return tuple(tuple(NORMAL.cdf(one) for one in path) for path in zip(*columns, strict=True))


def _scores(paths: int) -> list[float]:
    """The middles of `paths` equally probable parts of a standard normal, stretched to variance 1."""
    middles = [NORMAL.inv_cdf((at + 0.5) / paths) for at in range(paths)]
    spread = (sum(one * one for one in middles) / paths) ** 0.5
    return [one / spread for one in middles]


def _shuffled(scores: list[float], seed: str) -> list[float]:
    """`scores` in an order that hangs on `seed` alone: the same for every question, on every machine and version."""
    marks = shake_128(seed.encode()).digest(8 * len(scores))
    return [scores[at] for at in sorted(range(len(scores)), key=lambda at: marks[8 * at : 8 * at + 8])]


def _unlike(sums: list[float], column: list[float], count: int) -> float:
    """How far the paths are, after `column`, from the sums of `count` independent steps: second and fourth moment."""
    after = [(total + one) / count**0.5 for total, one in zip(sums, column, strict=True)]
    second = sum(one**2 for one in after) / len(after)
    fourth = sum(one**4 for one in after) / len(after)
    return float(abs(second - 1) + abs(fourth / 3 - 1) / 3)
