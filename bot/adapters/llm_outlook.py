"""Forecasts with their bands and P(up), from the distributions that a decoder read off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from torch import Tensor

from bot.adapters.llm_closes import MEDIAN
from bot.core.distribution import Outlook, Path, outlooks
from bot.core.forecast import Forecast
from bot.core.market import Bar, is_etf, limit_pct, to_x100
from bot.core.mixture import mixed_outlooks
from bot.core.path_levels import path_levels

PART: Final = 256  # windows that a thread adds up at a time
MOST_THREADS: Final = 16
LARGEST_CALL: Final = 1 << 26  # probabilities that a decoder may hand over at once: 256 MiB


def windows_at_once(sessions: int, paths: int) -> int:
    """How many windows of `sessions` bars a decoder may be asked for at once, so that what it reads off fits memory."""
    return max(1, LARGEST_CALL // (1000 * sessions * (1 + paths)))


def ways_of(paths: int, sessions: int) -> tuple[tuple[float, ...], ...]:
    """The ways of an answer that a decoder is asked for: its median, and the `paths` that its bands are read along."""
    return ((MEDIAN,) * sessions, *(path_levels(paths, sessions) if paths else ()))


def with_outlooks(forecasts: Sequence[Forecast], lasts: Sequence[Bar], codes: Tensor, closes: Tensor) -> list[Forecast]:
    """`forecasts` with bands and P(up), from all ways but the median, or from that where it is the only one.

    `lasts` are the last known bars; `codes` (forecasts x ways x bars) the closes that each way took, `closes`
    (x 1000) how probable each was there.
    """
    told, taken = closes.numpy(), codes.numpy()
    paths = [_path(one, last) for one, last in zip(forecasts, lasts, strict=True)]

    def part(at: int) -> list[Outlook]:
        some, end = paths[at : at + PART], at + PART
        if taken.shape[1] == 1:
            return outlooks(told[at:end, 0], some)
        return mixed_outlooks(told[at:end, 1:], taken[at:end, 1:], some)

    starts = range(0, len(paths), PART)
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1, len(starts) or 1)) as threads:
        found = [outlook for some in threads.map(part, starts) for outlook in some]
    return [replace(one, bands=seen.bands, p_up=seen.p_up) for one, seen in zip(forecasts, found, strict=True)]


def _path(forecast: Forecast, last: Bar) -> Path:
    """The told window: its closes, and what limits them."""
    return Path(
        last_x100=to_x100(last.close),
        closes_x100=tuple(to_x100(bar.close) for bar in forecast.bars),
        etf=is_etf(last.symbol),
        pct=limit_pct(last.session),
    )
