"""Style "seed", kept for comparison: the owner's first system showed past rows as a table, and the model continued it.

What that system took for the forecast were rows of its own question. Here the continuation alone is read, its rows must
be dated after the last known session, and a price that the daily limit forbids is an abstention with a reason.

    date,open,high,low,close
    2025-01-02,1050,1060,1045,1055
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from bot.core.forecast import ForecastBar
from bot.core.market import (
    Bar,
    ceil_to_tick_x100,
    floor_to_tick_x100,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    to_x100,
)
from bot.core.prompt import CONTEXT_LINES, NAME_CHARS, clean_text, headline_text

COLUMNS: Final = "date,open,high,low,close"
# Why a continuation is no forecast. The first that applies is told.
TOO_FEW: Final = "too few rows"
NOT_A_ROW: Final = "a line that is no row"
NOT_AFTER: Final = "a row of a day already known"
OUTSIDE: Final = "a price outside the daily limit"

_PRICE: Final = r"\s*(\d{1,7}(?:\.\d{1,2})?)\s*"
_ROW: Final = re.compile(rf"\s*(\d{{4}}-\d\d-\d\d|\d{{1,4}})\s*,{_PRICE},{_PRICE},{_PRICE},{_PRICE}", re.ASCII)


class SeedUnreadable(ValueError):  # noqa: N818  (reads as a sentence where it is caught)
    """A continuation that is no forecast; the text is one of the reasons above."""


def seed_question(name: str, bars: Sequence[Bar], *, context: Sequence[str] = (), masked: bool = False) -> str:
    """The table of `bars`, oldest first, which the model is to continue; a `masked` one counts days and names none.

    `name` and `context` are foreign text and cleaned, as in the answer language's question.
    """
    who = "a stock" if masked else f"{bars[-1].symbol} {clean_text(name, NAME_CHARS)}"
    told = [headline_text(one) for one in context]
    news = "".join(f"News: {one}\n" for one in [one for one in told if one][:CONTEXT_LINES])
    days = [str(number) if masked else bar.session.isoformat() for number, bar in enumerate(bars, start=1)]
    rows = "".join(seed_row(day, bar) for day, bar in zip(days, bars, strict=True))
    return f"Daily prices of {who}, TWD per share.\n{news}{COLUMNS}\n{rows}"


def seed_row(day: str, bar: Bar | ForecastBar) -> str:
    """One line of the table."""
    return ",".join([day, *(f"{price.normalize():f}" for price in (bar.open, bar.high, bar.low, bar.close))]) + "\n"


def read_continuation(
    text: str, bars: Sequence[Bar], sessions: int, *, ended: bool, masked: bool = False
) -> tuple[ForecastBar, ...]:
    """The first `sessions` rows of `text`, which is what the model wrote after the question of `bars`.

    Prices off the tick go to the nearest tradable one; high and low are widened to hold the body, as everywhere. A last
    line without its end counts only if the model `ended` there itself: a number that was cut is another number.

    Raises:
        SeedUnreadable: it is no forecast; tells why.
    """
    lines = text.split("\n")
    whole = [line for line in (lines if ended else lines[:-1]) if line.strip()][:sessions]
    last = bars[-1]
    etf, pct = is_etf(last.symbol), limit_pct(last.session)
    before_x100, day_before = to_x100(last.close), len(bars) if masked else last.session.toordinal()
    told: list[ForecastBar] = []
    for line in whole:
        row = _ROW.fullmatch(line)
        day = _day_of(row[1], masked=masked) if row else None
        if row is None or day is None:
            raise SeedUnreadable(NOT_A_ROW)
        if day <= day_before:
            raise SeedUnreadable(NOT_AFTER)
        limits = limit_down_x100(before_x100, etf, pct), limit_up_x100(before_x100, etf, pct)
        opened, high, low, close = (_tradable(price, limits, etf=etf) for price in row.groups()[1:])
        high, low = max(opened, high, low, close), min(opened, high, low, close)
        told.append(
            ForecastBar(open=from_x100(opened), high=from_x100(high), low=from_x100(low), close=from_x100(close))
        )
        before_x100, day_before = close, day
    if len(told) < sessions:
        raise SeedUnreadable(TOO_FEW)
    return tuple(told)


def _day_of(text: str, *, masked: bool) -> int | None:
    """The day in a row as a number that grows; None where it is none."""
    if masked:
        return int(text) if text.isdigit() else None
    try:
        return date.fromisoformat(text).toordinal() if "-" in text else None
    except ValueError:
        return None


def _tradable(price: str, limits: tuple[int, int], *, etf: bool) -> int:
    """The tradable price nearest to `price`, in hundredths of a TWD.

    Raises:
        SeedUnreadable: it is outside the `limits`, lower and upper.
    """
    asked = to_x100(Decimal(price))
    lowest, highest = limits
    if not lowest <= asked <= highest:
        raise SeedUnreadable(OUTSIDE)
    below, above = max(floor_to_tick_x100(asked, etf), lowest), min(ceil_to_tick_x100(asked, etf), highest)
    return below if asked - below <= above - asked else above
