"""What a feed reads: rows nobody has checked yet, and what it could not read. A row as a bar, and back. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Final

from bot.core.market import Bar, from_x100, to_x100

RAW_LENGTH: Final = 2_000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stock's session as a feed read it; not trusted yet. Prices in hundredths of a TWD.

    `change_x100` is the exchange's own difference to the close before; None where it compares nothing, and where a
    0 may mean that, as on ex-dates. `thousands`: volume and turnover were told in lots and thousands of TWD, so that
    the shares and TWD here end in zeros. `raw` is the payload's own row.
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


def raw_text(raw: object) -> str:
    """A payload's row as it is kept in quarantine: JSON, cut to RAW_LENGTH characters."""
    return json.dumps(raw, ensure_ascii=False, default=str)[:RAW_LENGTH]
