"""The gate: rows that a feed has read become checked bars, or are quarantined with a reason. Pure.

Nothing reaches the bars table but a `CheckedBars`, and only this module can make one. A rule that needs a fact we do
not have (the reference price after a hole, a fund's limit) is not applied; it never guesses.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from statistics import median
from typing import Final, NamedTuple

from bot.core.market import (
    LOT_SHARES,
    Bar,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    tick_x100,
    to_x100,
)

FREE_SESSIONS: Final = 5  # a newly listed stock has no daily limit for so long. Source: TWSE Operating Rules, art. 63
SATURDAY: Final = 5
SAME_CLOSES: Final = 0.9  # a day whose closes equal the last session's in this share of stocks is no session
FEW_ROWS: Final = 0.05  # nor is one with less than this share of the usual rows
FEW_STOCKS: Final = 10  # below this many stocks equal closes happen by chance: the whole rows must be equal
RAW_LENGTH: Final = 2_000
_A_DAY: Final = timedelta(days=1)
STILL_A_CLOSE: Final = frozenset({"limit", "average"})  # what fails so may be true: the next session starts from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stock's session as a feed read it; not trusted yet. Prices in hundredths of a TWD.

    `change_x100` is the exchange's own difference to the close before; None where it compares nothing, and where a
    0 may mean that, as on ex-dates. `thousands`: volume and turnover were told in lots and thousands of TWD.
    `raw` is the payload's own row.
    """

    symbol: str
    session: date
    open_x100: int
    high_x100: int
    low_x100: int
    close_x100: int
    volume_shares: int
    turnover_twd: int | None
    trades: int | None
    change_x100: int | None = None
    thousands: bool = False
    raw: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """What did not pass: whose it seems to be, why, and the payload's own row. `kind` is one word for the reason.

    `close_x100` is kept where the next session can start from it: the row may be true all the same, or its close
    follows from the exchange's change; `other_x100` is the other close it may have had then.
    """

    symbol: str
    session: date | None
    kind: str
    reason: str
    raw: str
    source: str = ""
    close_x100: int | None = None
    other_x100: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a feed read in one answer: rows, what it could not read, and every session the answer spoke of."""

    rows: tuple[Row, ...]
    rejected: tuple[Quarantined, ...] = ()
    sessions: frozenset[date] = frozenset()
    source: str = ""


class Last(NamedTuple):
    """The newest close of a stock before a row. Where a row's close and change disagreed, it may also be `other`."""

    session: date
    close_x100: int
    other_x100: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the gate may lean on.

    `references`: reference prices in hundredths by stock and ex-date. `listed`: listing dates.
    `last`: each stock's newest close before the rows. `sessions`: days that certainly traded. `doubtful`: closes in
    quarantine that may be true, oldest first by stock: the next session may start from one.
    """

    references: Mapping[tuple[str, date], int] = field(default_factory=dict)
    listed: Mapping[str, date] = field(default_factory=dict)
    last: Mapping[str, Last] = field(default_factory=dict)
    sessions: Collection[date] = frozenset()
    doubtful: Mapping[str, Sequence[Last]] = field(default_factory=dict)


_KEY: Final = object()


class CheckedBars:
    """Bars that passed, and what did not. `check_rows` makes these, nothing else can."""

    __slots__ = ("quarantined", "rows")

    def __init__(self, rows: Sequence[Row], quarantined: Sequence[Quarantined], *, key: object) -> None:
        """`key` is this module's own.

        Raises:
            TypeError: somebody else tries.
        """
        if key is not _KEY:
            raise TypeError("CheckedBars come from bot.core.check.check_rows only")
        self.rows = tuple(rows)
        self.quarantined = tuple(quarantined)

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The bars, oldest first by stock."""
        return tuple(bar_of(row) for row in self.rows)

    def before(self, session: date) -> CheckedBars:
        """Without what is from `session` or later."""
        return CheckedBars(
            [row for row in self.rows if row.session < session],
            [one for one in self.quarantined if one.session is None or one.session < session],
            key=_KEY,
        )


def bar_of(row: Row) -> Bar:
    """The row as a bar."""
    return Bar(
        symbol=row.symbol,
        session=row.session,
        open=from_x100(row.open_x100),
        high=from_x100(row.high_x100),
        low=from_x100(row.low_x100),
        close=from_x100(row.close_x100),
        volume_shares=row.volume_shares,
        turnover_twd=row.turnover_twd,
        trades=row.trades,
    )


def row_of(bar: Bar) -> Row:
    """A bar as a row, to be checked (again)."""
    return Row(
        symbol=bar.symbol,
        session=bar.session,
        open_x100=to_x100(bar.open),
        high_x100=to_x100(bar.high),
        low_x100=to_x100(bar.low),
        close_x100=to_x100(bar.close),
        volume_shares=bar.volume_shares,
        turnover_twd=bar.turnover_twd,
        trades=bar.trades,
    )


def check_rows(reading: Reading, known: Known) -> CheckedBars:
    """Each row of `reading` as a bar, or quarantined with the first rule it breaks; oldest first by stock."""
    passed: list[Row] = []
    failed: list[Quarantined] = [replace(one, source=reading.source) for one in reading.rejected]
    rows = sorted(reading.rows, key=lambda row: (row.symbol, row.session))
    times = Counter((row.symbol, row.session) for row in rows)
    sessions = sorted({*known.sessions, *reading.sessions})
    before: Last | None = None
    symbol = ""
    doubted: tuple[str, date] | None = None
    for row in rows:
        if row.symbol != symbol:
            symbol, before = row.symbol, known.last.get(row.symbol)
        before = _newest(before, known.doubtful.get(symbol, ()), row.session)
        skipped = _between(sessions, before, row.session)
        follows = before is not None and _follows(row, before, skipped)
        if times[row.symbol, row.session] > 1:
            kind, reason = "duplicate", "two rows for one day"
        else:
            kind, reason = _trouble(row, before, skipped, known, follows=follows)
        if kind == "change" and doubted is not None and before is not None and doubted == (symbol, before.session):
            # Nothing vouched for the close before either, so that one may be the wrong one.
            failed.append(_quarantined(passed.pop(), reading.source, kind, "the next session's change disagrees"))
        doubted = None if kind or follows else (symbol, row.session)
        before = _next(before, row, kind)
        if kind:
            failed.append(_quarantined(row, reading.source, kind, reason, before))
        else:
            passed.append(row)
    return CheckedBars(passed, failed, key=_KEY)


def _next(before: Last | None, row: Row, kind: str) -> Last | None:
    """The close that the session after `row` starts from."""
    if not kind or kind in STILL_A_CLOSE:
        return Last(row.session, row.close_x100)
    if kind == "change" and before is not None and row.change_x100 is not None:
        return Last(row.session, before.close_x100 + row.change_x100, row.close_x100)
    return before


def _newest(before: Last | None, doubtful: Sequence[Last], session: date) -> Last | None:
    """The close that `session` starts from: `before`, or a newer doubtful one."""
    for close in doubtful:
        if close.session < session and (before is None or before.session < close.session):
            before = close
    return before


def _between(sessions: Sequence[date], before: Last | None, session: date) -> int:
    """How many of `sessions` lie between the two."""
    if before is None:
        return 0
    return max(0, bisect_left(sessions, session) - bisect_right(sessions, before.session))


def refuse_all(reading: Reading, kind: str, reason: str) -> CheckedBars:
    """Every row quarantined for one `reason`: a phantom day."""
    failed = [_quarantined(row, reading.source, kind, reason) for row in reading.rows]
    return CheckedBars((), [*(replace(one, source=reading.source) for one in reading.rejected), *failed], key=_KEY)


def _quarantined(row: Row, source: str, kind: str, reason: str, after: Last | None = None) -> Quarantined:
    start = after if after is not None and after.session == row.session else None
    return Quarantined(
        symbol=row.symbol,
        session=row.session,
        kind=kind,
        reason=reason,
        raw=raw_text(row.raw if row.raw is not None else _told(row)),
        source=source,
        close_x100=start.close_x100 if start else None,
        other_x100=start.other_x100 if start else None,
    )


def raw_text(raw: object) -> str:
    """A payload's row as it is kept in quarantine."""
    return json.dumps(raw, ensure_ascii=False, default=str)[:RAW_LENGTH]


def _told(row: Row) -> list[object]:
    return [row.open_x100, row.high_x100, row.low_x100, row.close_x100, row.volume_shares, row.turnover_twd, row.trades]


# --- one row ----------------------------------------------------------------------------------------------


def _trouble(row: Row, before: Last | None, skipped: int, known: Known, *, follows: bool) -> tuple[str, str]:
    """The first rule that `row` breaks, as (kind, reason); empty when none.

    `skipped`: known sessions since `before`; `follows`: the row's change is against `before` for certain.
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


def _follows(row: Row, before: Last, skipped: int) -> bool:
    """Whether the row's change is against `before` for certain."""
    return row.change_x100 is not None and not skipped and not _weekday_between(before.session, row.session)


def _weekday_between(first: date, last: date) -> bool:
    """Whether a Monday to Friday lies between: then there may have been a session that we don't know."""
    day = first + _A_DAY
    while day < last:
        if day.weekday() < SATURDAY:
            return True
        day += _A_DAY
    return False


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


# --- a whole day ------------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """What the tape showed of a stock: enough to see that a day repeats another."""

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
