"""The gate: rows that a feed has read become checked bars, or are quarantined with a reason. Pure.

Nothing reaches the bars table but a `CheckedBars`, and only this module can make one. row_rules.py has the rules of one
row, phantom_day.py those of a whole day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from bot.core.feed_rows import Quarantined, Reading, Row, bar_of, raw_text
from bot.core.market import Bar
from bot.core.row_rules import Known, Last, change_is_against, trouble

STILL_A_CLOSE: Final = frozenset({"limit", "average"})  # what fails so may be true: the next session starts from it
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
        """Without what is from `session` or later; what was refused without a date stays."""
        return CheckedBars(
            [row for row in self.rows if row.session < session],
            [one for one in self.quarantined if one.session is None or one.session < session],
            key=_KEY,
        )


def check_rows(reading: Reading, known: Known) -> CheckedBars:
    """Each row of `reading` as a bar, or quarantined with the first rule it breaks; oldest first by stock.

    Two rows for one day both fail. What the feed could not read is quarantined with the rest.
    """
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
        follows = before is not None and change_is_against(row, before, skipped)
        if times[row.symbol, row.session] > 1:
            kind, reason = "duplicate", "two rows for one day"
        else:
            kind, reason = trouble(row, before, skipped, known, follows=follows)
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
    """Every row quarantined for one `reason`: a phantom day. `kind` is one word for it."""
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


def _told(row: Row) -> list[object]:
    return [row.open_x100, row.high_x100, row.low_x100, row.close_x100, row.volume_shares, row.turnover_twd, row.trades]
