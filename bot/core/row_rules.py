"""The rules that one row must keep to be a bar, and what they may lean on. Pure.

A rule that needs a fact we do not have (the reference price after a hole, a fund's limit) is not applied; it never
guesses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, NamedTuple

from bot.core.feed_rows import Row
from bot.core.market import (
    LOT_SHARES,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    tick_x100,
)

FREE_SESSIONS: Final = 5  # a newly listed stock has no daily limit for so long. Source: TWSE Operating Rules, art. 63
SATURDAY: Final = 5
_A_DAY: Final = timedelta(days=1)


class Last(NamedTuple):
    """The newest close of a stock before a row. Where a row's close and change disagreed, it may also be `other`."""

    session: date
    close_x100: int
    other_x100: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the gate may lean on; prices in hundredths of a TWD.

    `references`: reference prices by stock and ex-date. `listed`: listing dates.
    `last`: each stock's newest close before the rows. `sessions`: days that certainly traded. `doubtful`: closes in
    quarantine that may be true, oldest first by stock: the next session may start from one.
    """

    references: Mapping[tuple[str, date], int] = field(default_factory=dict)
    listed: Mapping[str, date] = field(default_factory=dict)
    last: Mapping[str, Last] = field(default_factory=dict)
    sessions: Collection[date] = frozenset()
    doubtful: Mapping[str, Sequence[Last]] = field(default_factory=dict)


def trouble(row: Row, before: Last | None, skipped: int, known: Known, *, follows: bool) -> tuple[str, str]:
    """The first rule that `row` breaks, as (kind, reason), both empty when none; kind is row, change, limit or average.

    `before` is the close it starts from, None where none is known; `skipped`: known sessions since then; `follows`: the
    row's change is against `before` for certain.
    """
    reason = _no_bar(row)
    if reason:
        return "row", reason
    reference = known.references.get((row.symbol, row.session))
    if follows and reference is None and before is not None:
        reason = _change_disagrees(row, before)
        if reason:
            return "change", reason
    band = _band(row, reference, before, known)
    if band is not None and not band[0] <= row.low_x100 <= row.high_x100 <= band[1]:
        return "limit", _over_limit(row, band, reference, before, skipped)
    reason = _average_outside(row, band)
    return ("average", reason) if reason else ("", "")


def _no_bar(row: Row) -> str:
    """Why the row can't be a bar at all, whatever was before; empty when it can."""
    low, high = row.low_x100, row.high_x100
    if low <= 0:
        return "a price is not positive"
    if not (low <= row.open_x100 <= high and low <= row.close_x100 <= high):
        return "open or close is outside low..high"
    etf = is_etf(row.symbol)
    for price in (row.open_x100, high, low, row.close_x100):
        if price % tick_x100(price, etf):
            return f"{from_x100(price)} is not on the tick"
    if row.volume_shares <= 0 and not row.thousands:
        return "prices without volume"
    if row.trades is not None and not 0 < row.trades <= row.volume_shares + _slack(row):
        return f"{row.trades} trades of {row.volume_shares} shares"
    return ""


def _slack(row: Row) -> int:
    """How far a count may be from the truth, above or below, for being told in thousands."""
    return LOT_SHARES - 1 if row.thousands else 0


def change_is_against(row: Row, before: Last, skipped: int) -> bool:
    """Whether the row's change is against `before` for certain: no session, known or possible, lies between."""
    return row.change_x100 is not None and not skipped and not _weekday_between(before.session, row.session)


def _weekday_between(first: date, last: date) -> bool:
    """Whether a Monday to Friday lies between: then there may have been a session that we don't know."""
    day = first + _A_DAY
    while day < last:
        if day.weekday() < SATURDAY:
            return True
        day += _A_DAY
    return False


def _change_disagrees(row: Row, before: Last) -> str:
    """The exchange's own change must lead from the last close to this one.

    Only where the session before is certain; of the 90,468 such rows with a change other than 0 in the owner's bars
    2015-2025 not one disagrees.
    """
    assert row.change_x100 is not None
    if row.close_x100 - row.change_x100 in {before.close_x100, before.other_x100}:
        return ""
    return (
        f"a close of {from_x100(row.close_x100)} after {from_x100(before.close_x100)} "
        f"is no change of {from_x100(row.change_x100)}"
    )


def _band(row: Row, reference: int | None, before: Last | None, known: Known) -> tuple[int, int] | None:
    """Limit down and up of the session; None where there is no limit, or none that we can know.

    Funds are left out: those on foreign or leveraged indices have none or another one, and the code doesn't tell.
    """
    base = reference if reference is not None else (before.close_x100 if before is not None else None)
    if base is None or is_etf(row.symbol) or _is_new(row, known):
        return None
    pct = limit_pct(row.session)
    return limit_down_x100(base, etf=False, limit_pct=pct), limit_up_x100(base, etf=False, limit_pct=pct)


def _is_new(row: Row, known: Known) -> bool:
    """Whether the stock may be in its first sessions, counted by known sessions or, where those lack, by weekdays."""
    listed = known.listed.get(row.symbol)
    if listed is None or row.session < listed or row.session - listed > timedelta(days=30):
        return False
    days = (listed + timedelta(days=offset) for offset in range((row.session - listed).days))
    certain = sum(day in known.sessions for day in days)
    return certain < FREE_SESSIONS


def _over_limit(row: Row, band: tuple[int, int], reference: int | None, before: Last | None, skipped: int) -> str:
    told = f"{from_x100(row.low_x100)}..{from_x100(row.high_x100)} is not inside the limit "
    told += f"{from_x100(band[0])}..{from_x100(band[1])}"
    if reference is not None:
        return f"{told} of the reference price {from_x100(reference)}"
    assert before is not None
    told += f" of the close of {before.session}"
    if skipped or _hole(before.session, row.session):
        return f"{told}; sessions lie between, so the reference price is not known"
    return f"{told}; an ex-date we don't know of?"


def _hole(first: date, last: date) -> bool:
    """Longer than any closing of the exchange: the lunar new year of 2023 took 13 days from session to session."""
    return last - first > timedelta(days=14)


def _average_outside(row: Row, band: tuple[int, int] | None) -> str:
    """Turnover over volume must be a price that could be traded.

    Volume and turnover hold odd lots, after-hours and block trades (the exchange's own note), so the average may lie
    outside low..high, and does by up to 9 % (3030 on 2017-02-20); but a block trade keeps to the daily limit too.
    Source: TWSE's rules for block trading. Without a known limit: reference * 0.9 <= high and low <= reference * 1.1,
    so that the limit lies within high * 0.9 / 1.1 .. low * 1.1 / 0.9.
    """
    if row.turnover_twd is None:
        return ""
    if band is None:
        band = (row.high_x100 * 9 // 11, -(-row.low_x100 * 11 // 9))
        if row.low_x100 * 11 < row.high_x100 * 9:  # a session without a limit
            band = (row.low_x100 * 9 // 11, -(-row.high_x100 * 11 // 9))
    slack = _slack(row)
    cut = row.trades if row.trades is not None else row.volume_shares  # each trade is cut to a whole TWD
    most = (row.turnover_twd + slack + cut) * 100
    least = (row.turnover_twd - slack) * 100
    if most >= band[0] * (row.volume_shares - slack) and least <= band[1] * (row.volume_shares + slack):
        return ""
    return (
        f"turnover {row.turnover_twd} over volume {row.volume_shares} is no price in "
        f"{from_x100(band[0])}..{from_x100(band[1])}"
    )
