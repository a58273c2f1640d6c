"""Several sampled answers to one question, and what they say together: a middle path, its bands, and P(up)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from bot.core.forecast import Band, ForecastBar

LOW: Final = 10  # percent: the quantiles that a band is made of
MIDDLE: Final = 50
HIGH: Final = 90


def ranked(values: Sequence[Decimal], percent: int) -> Decimal:
    """The `percent` quantile of `values` as one of them: the smallest that so many of them do not exceed."""
    place = max(-(-len(values) * percent // 100), 1)
    return sorted(values)[place - 1]


def middle_path(paths: Sequence[Sequence[ForecastBar]]) -> tuple[ForecastBar, ...]:
    """The median of each price of each bar over `paths`, which are of one length.

    As all four prices take the same rank, the path keeps what every sampled one keeps: on the tick, high above low and
    body, and inside the daily limit of the bar before it (if each value is at most a rising function of its neighbour,
    so is the k-th smallest of the values of the k-th smallest of the neighbours).
    """
    return tuple(
        ForecastBar(
            open=ranked([bar.open for bar in bars], MIDDLE),
            high=ranked([bar.high for bar in bars], MIDDLE),
            low=ranked([bar.low for bar in bars], MIDDLE),
            close=ranked([bar.close for bar in bars], MIDDLE),
        )
        for bars in zip(*paths, strict=True)
    )


def bands_of(paths: Sequence[Sequence[ForecastBar]]) -> tuple[Band, ...]:
    """The 10 % and 90 % quantiles of each bar's close over `paths`."""
    closes = [[bar.close for bar in bars] for bars in zip(*paths, strict=True)]
    return tuple(Band(low=ranked(one, LOW), high=ranked(one, HIGH)) for one in closes)


def share_above(paths: Sequence[Sequence[ForecastBar]], last_close: Decimal) -> float:
    """The share of `paths` that end above `last_close`."""
    return sum(path[-1].close > last_close for path in paths) / len(paths)
