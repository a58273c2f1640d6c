"""A day without a session that a feed shows all the same: no rows, or the last session's under a new date. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from bot.core.feed_rows import Row
from bot.core.market import LOT_SHARES

SAME_CLOSES: Final = 0.9  # a day whose closes equal the last session's in this share of stocks is no session
FEW_ROWS: Final = 0.05  # nor is one with less than this share of the usual rows
FEW_STOCKS: Final = 10  # below this many stocks equal closes happen by chance: the whole rows must be equal


class Shown(NamedTuple):
    """What the tape showed of a stock, prices in hundredths of a TWD: enough to see that a day repeats another."""

    open_x100: int
    high_x100: int
    low_x100: int
    close_x100: int
    lots: int


def shown(row: Row) -> Shown:
    """What the tape showed; volume in lots, since month answers over the counter tell no less."""
    return Shown(row.open_x100, row.high_x100, row.low_x100, row.close_x100, row.volume_shares // LOT_SHARES)


def suspected_closure(day: Iterable[Row], before: Mapping[str, Shown], usual_rows: Sequence[int] = ()) -> str:
    """Why `day` looks like a day without a session; empty when it looks like one.

    `before` is the last session by stock, `usual_rows` how many rows the answers of sessions before had. The feeds
    show a closure that came without notice in two ways: no rows, or the last session's rows under the new date.
    """
    rows = {row.symbol: row for row in day}
    if not rows:
        return "no stock has a bar"
    if usual_rows and len(rows) < FEW_ROWS * median(usual_rows):
        return f"{len(rows)} rows where {median(usual_rows):g} are usual"
    both = [symbol for symbol in rows if symbol in before]
    if not both:
        return ""
    if len(both) < FEW_STOCKS:
        same = sum(shown(rows[symbol]) == before[symbol] for symbol in both)
    else:
        same = sum(rows[symbol].close_x100 == before[symbol].close_x100 for symbol in both)
    if same < SAME_CLOSES * len(both):
        return ""
    return f"{same} of {len(both)} stocks repeat the last session"
