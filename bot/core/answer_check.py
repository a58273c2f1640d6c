"""What every forecast must keep, whatever model made it: the exchange's ticks and limits, and bands in order."""

from __future__ import annotations

from collections.abc import Iterator

from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import Bar, floor_to_tick_x100, is_etf, limit_down_x100, limit_pct, limit_up_x100, to_x100


def answer_faults(told: Forecast, last: Bar, future_sessions: int) -> list[str]:
    """What is wrong with `told`, an answer of `future_sessions` bars asked after `last`; [] when nothing is.

    Each bar's prices are on the tick and inside the daily limit of the told close before; a band holds its close and
    lies inside what the limits let the stock reach.
    """
    return list(_faults(told, last, future_sessions))


def _faults(told: Forecast, last: Bar, future_sessions: int) -> Iterator[str]:
    if (told.symbol, told.as_of) != (last.symbol, last.session):
        yield f"an answer about {told.symbol} as of {told.as_of}"
    if len(told.bars) != future_sessions:
        yield f"{len(told.bars)} bars, not {future_sessions}"
    if told.bands and len(told.bands) != len(told.bars):
        yield f"{len(told.bands)} bands for {len(told.bars)} bars"
    if told.p_up is not None and not 0 <= told.p_up <= 1:
        yield f"a probability of {told.p_up}"
    etf, pct = is_etf(last.symbol), limit_pct(last.session)
    before = lowest = highest = to_x100(last.close)
    for number, bar in enumerate(told.bars, start=1):
        for fault in _bar_faults(bar, before, pct, etf=etf):
            yield f"bar {number}: {fault}"
        before = to_x100(bar.close)
        lowest, highest = limit_down_x100(lowest, etf, pct), limit_up_x100(highest, etf, pct)
        if number <= len(told.bands):
            for fault in _band_faults(told.bands[number - 1], bar, lowest, highest):
                yield f"band {number}: {fault}"


def _bar_faults(bar: ForecastBar, before_x100: int, pct: int, *, etf: bool) -> Iterator[str]:
    down, up = limit_down_x100(before_x100, etf, pct), limit_up_x100(before_x100, etf, pct)
    for name in ("open", "high", "low", "close"):
        price = to_x100(getattr(bar, name))
        if price <= 0 or floor_to_tick_x100(price, etf) != price:
            yield f"{name} {getattr(bar, name)} is not on the tick"
        if not down <= price <= up:
            yield f"{name} {getattr(bar, name)} is outside the daily limit of {before_x100 / 100:.2f}"
    if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        yield "low..high does not hold the body"


def _band_faults(band: Band, bar: ForecastBar, lowest_x100: int, highest_x100: int) -> Iterator[str]:
    if not 0 < band.low <= bar.close <= band.high:
        yield f"{band.low}..{band.high} does not hold the close {bar.close}"
    if not lowest_x100 <= to_x100(band.low) <= to_x100(band.high) <= highest_x100:
        yield f"{band.low}..{band.high} is outside what the limits let it reach"
