"""Forecasts with their bands and P(up), from the distributions that a decoder read off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from torch import Tensor

from bot.core.distribution import Path, outlooks
from bot.core.forecast import Forecast
from bot.core.market import Bar, is_etf, limit_pct, to_x100

PART: Final = 256  # windows that a thread adds up at a time
MOST_THREADS: Final = 16
LARGEST_CALL: Final = 1 << 26  # probabilities that a decoder may hand over at once: 256 MiB


def windows_at_once(sessions: int) -> int:
    """How many windows of `sessions` bars a decoder may be asked for at once, so that what it reads off fits memory."""
    return max(1, LARGEST_CALL // (1000 * sessions))


def with_outlooks(forecasts: Sequence[Forecast], lasts: Sequence[Bar], closes: Tensor) -> list[Forecast]:
    """`forecasts` with bands and P(up); `lasts` are the last known bars, `closes` forecasts x bars x 1000."""
    told = closes.numpy()
    paths = [_path(one, last) for one, last in zip(forecasts, lasts, strict=True)]
    starts = range(0, len(paths), PART)
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1, len(starts) or 1)) as threads:
        parts = threads.map(lambda at: outlooks(told[at : at + PART], paths[at : at + PART]), starts)
        found = [outlook for part in parts for outlook in part]
    return [replace(one, bands=seen.bands, p_up=seen.p_up) for one, seen in zip(forecasts, found, strict=True)]


def _path(forecast: Forecast, last: Bar) -> Path:
    """The told window: its closes, and what limits them."""
    return Path(
        last_x100=to_x100(last.close),
        closes_x100=tuple(to_x100(bar.close) for bar in forecast.bars),
        etf=is_etf(last.symbol),
        pct=limit_pct(last.session),
    )
