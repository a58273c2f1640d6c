"""The bars table's only door: checked bars in, revisions and quarantine beside them, and what was asked already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from bot.adapters.sqlite_open import writing
from bot.core.check import CheckedBars
from bot.core.feed_rows import Quarantined, Reading, Row
from bot.core.market import LOT_SHARES
from bot.core.phantom_day import Shown
from bot.core.row_rules import Last

# How far back a stock's last close is looked for: a longer hole says nothing of today's price.
MEMORY: Final = timedelta(days=400)
USUAL_DAYS: Final = 20  # so many earlier answers say how many rows are usual
_PRICES: Final = ("open_x100", "high_x100", "low_x100", "close_x100")
_FIGURES: Final = (*_PRICES, "volume_shares", "turnover_twd", "trades")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of checked bars: new ones, later different answers, and rows newly in quarantine."""

    new: int = 0
    revised: int = 0
    quarantined: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(
            new=self.new + other.new,
            revised=self.revised + other.revised,
            quarantined=self.quarantined + other.quarantined,
        )


class BarStore:
    """Bars, their revisions, the quarantine, and which questions were answered. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    # --- writing ------------------------------------------------------------------------------------------

    def add(self, checked: CheckedBars, known_at: datetime) -> Stored:
        """Store bars that are not there yet. A stored bar is never rewritten: what differs is a revision."""
        with writing(self.db):
            return self._add(checked, known_at)

    def add_month(self, checked: CheckedBars, symbol: str, month: date, through: date, known_at: datetime) -> Stored:
        """Store a month's answer and remember, in the same transaction, that it was answered up to `through`."""
        with writing(self.db):
            stored = self._add(checked, known_at)
            self.db["month_answers"].upsert(
                {"symbol": symbol, "month": f"{month:%Y-%m}", "through": through.isoformat(),
                 "answered_at": known_at.isoformat()},
                pk=("symbol", "month"),
            )  # fmt: skip
            return stored

    def add_day(
        self, checked: Sequence[CheckedBars], rows: Mapping[str, int], session: date, known_at: datetime
    ) -> Stored:
        """Store a day's answers and remember, in the same transaction, how many rows each board had."""
        with writing(self.db):
            stored = sum((self._add(one, known_at) for one in checked), Stored())
            self.db["day_answers"].upsert_all(
                [
                    {"board": board, "session": session.isoformat(), "rows": count,
                     "answered_at": known_at.isoformat()}
                    for board, count in rows.items()
                ],
                pk=("board", "session"),
            )  # fmt: skip
            return stored

    def _add(self, checked: CheckedBars, known_at: datetime) -> Stored:
        at = known_at.isoformat()
        there = self._stored(checked.rows)
        new = [row for row in checked.rows if (row.symbol, row.session) not in there]
        self.db["bars"].insert_all([_told(row) | {"fetched_at": at} for row in new])
        revised = 0
        for row in checked.rows:
            stored = there.get((row.symbol, row.session))
            if stored is not None and not same_bar(stored, row):
                before = self._newest_revision(row.symbol, row.session)
                if before is None or not same_bar(before, row):
                    self.db["bar_revisions"].insert(_told(row) | {"known_at": at}, ignore=True)
                    revised += 1
        return Stored(new=len(new), revised=revised, quarantined=self._quarantine(checked.quarantined, at))

    def _quarantine(self, rejected: Iterable[Quarantined], at: str) -> int:
        before = self.db["quarantine"].count
        self.db["quarantine"].insert_all(
            [
                {"symbol": one.symbol, "session": one.session.isoformat() if one.session else "", "kind": one.kind,
                 "reason": one.reason, "raw": one.raw, "source": one.source, "close_x100": one.close_x100,
                 "other_x100": one.other_x100, "quarantined_at": at}
                for one in rejected
            ],
            ignore=True,
        )  # fmt: skip
        return int(self.db["quarantine"].count - before)

    def _stored(self, rows: Sequence[Row]) -> dict[tuple[str, date], dict[str, Any]]:
        """What is stored already of the stocks and days of `rows`."""
        if not rows:
            return {}
        first, last = min(row.session for row in rows), max(row.session for row in rows)
        symbols = sorted({row.symbol for row in rows})
        only = f" and symbol in ({','.join('?' * len(symbols))})" if len(symbols) < 100 else ""  # noqa: PLR2004
        found = self.db.query(
            f"select * from bars where session between ? and ?{only}",
            [first.isoformat(), last.isoformat(), *(symbols if only else ())],
        )
        return {(row["symbol"], date.fromisoformat(row["session"])): row for row in found}

    def _newest_revision(self, symbol: str, session: date) -> dict[str, Any] | None:
        rows = self.db.query(
            "select * from bar_revisions where symbol = ? and session = ? order by known_at desc limit 1",
            [symbol, session.isoformat()],
        )
        return next(rows, None)

    # --- what is known ------------------------------------------------------------------------------------

    def known_as_of(self, symbol: str, known_at: datetime) -> dict[date, dict[str, Any]]:
        """The bars of `symbol` as they were known at `known_at`: the newest answer that had come by then."""
        rows = self.db.query(
            "select symbol, session, open_x100, high_x100, low_x100, close_x100, volume_shares, turnover_twd, trades, "
            "fetched_at as known_at from bars where symbol = ? "
            "union all select symbol, session, open_x100, high_x100, low_x100, close_x100, volume_shares, "
            "turnover_twd, trades, known_at from bar_revisions where symbol = ? order by session",
            [symbol, symbol],
        )
        by_time = sorted(rows, key=lambda row: (row["session"], datetime.fromisoformat(row["known_at"])))
        return {
            date.fromisoformat(row["session"]): row
            for row in by_time
            if datetime.fromisoformat(row["known_at"]) <= known_at
        }

    def last_before(self, session: date, symbols: Collection[str] | None = None) -> dict[str, Last]:
        """Each stock's newest close before `session`: of its bar, or of a quarantined row that may be true."""
        since = (session - MEMORY).isoformat()
        only = f" and symbol in ({','.join('?' * len(symbols))})" if symbols is not None else ""
        words = [session.isoformat(), since, *sorted(symbols or ())]
        found: dict[str, Last] = {}
        for table, other, extra in (
            ("bars", "null", ""),
            ("quarantine", "other_x100", " and close_x100 is not null"),
        ):
            rows = self.db.query(
                f"select symbol, max(session) as session, close_x100, {other} as other from {table} "
                f"where session < ? and session >= ?{only}{extra} group by symbol",
                words,
            )
            for row in rows:
                last = Last(date.fromisoformat(row["session"]), row["close_x100"], row["other"])
                if row["symbol"] not in found or last.session > found[row["symbol"]].session:
                    found[row["symbol"]] = last
        return found

    def doubtful(self) -> dict[str, list[Last]]:
        """The closes in quarantine that may be true, oldest first by stock."""
        found: dict[str, list[Last]] = {}
        for row in self.db.query("select * from quarantine where close_x100 is not null order by session"):
            found.setdefault(row["symbol"], []).append(
                Last(date.fromisoformat(row["session"]), row["close_x100"], row["other_x100"])
            )
        return found

    def add_references(self, references: Mapping[tuple[str, date], int], source: str) -> None:
        """Remember reference prices of ex-dates, in hundredths; the newest word counts."""
        self.db["reference_prices"].upsert_all(
            [
                {"symbol": symbol, "session": session.isoformat(), "reference_x100": price, "source": source}
                for (symbol, session), price in references.items()
            ],
            pk=("symbol", "session"),
        )

    def references(self) -> dict[tuple[str, date], int]:
        """The reference prices of ex-dates that are known, in hundredths."""
        return {
            (row["symbol"], date.fromisoformat(row["session"])): row["reference_x100"]
            for row in self.db["reference_prices"].rows
        }

    def sessions(self, first: date, last: date) -> list[date]:
        """The days in first..last on which any stock has a bar, oldest first."""
        rows = self.db.query(
            "select distinct session from bars where session between ? and ? order by session",
            [first.isoformat(), last.isoformat()],
        )
        return [date.fromisoformat(row["session"]) for row in rows]

    def shown_before(self, session: date) -> dict[str, Shown]:
        """What the tape showed in the last stored session before `session`, by stock."""
        rows = self.db.query(
            "select * from bars where session = (select max(session) from bars where session < ?)",
            [session.isoformat()],
        )
        return {
            row["symbol"]: Shown(
                row["open_x100"],
                row["high_x100"],
                row["low_x100"],
                row["close_x100"],
                row["volume_shares"] // LOT_SHARES,
            )
            for row in rows
        }

    def usual_rows(self, board: str, before: date) -> list[int]:
        """How many rows the board's last answers had."""
        rows = self.db.query(
            "select rows from day_answers where board = ? and session < ? order by session desc limit ?",
            [board, before.isoformat(), USUAL_DAYS],
        )
        return [row["rows"] for row in rows]

    def count(self, symbol: str, after: date, until: date) -> int:
        """How many bars of `symbol` are stored after `after`, up to `until`."""
        words = [symbol, after.isoformat(), until.isoformat()]
        return int(self.db["bars"].count_where("symbol = ? and session > ? and session <= ?", words))

    def rows(self, symbols: Collection[str] | None = None) -> tuple[Row, ...]:
        """Every stored bar as a row, to be checked again."""
        only = f" where symbol in ({','.join('?' * len(symbols))})" if symbols else ""
        found = self.db.execute(
            f"select symbol, session, {', '.join(_FIGURES)} from bars{only} order by symbol, session",
            sorted(symbols or ()),
        )
        days: dict[str, date] = {}
        return tuple(
            Row(
                symbol=row[0],
                session=days.get(row[1]) or days.setdefault(row[1], date.fromisoformat(row[1])),
                open_x100=row[2],
                high_x100=row[3],
                low_x100=row[4],
                close_x100=row[5],
                volume_shares=row[6],
                turnover_twd=row[7],
                trades=row[8],
                thousands=_in_thousands(row[6], row[7]),
            )
            for row in found
        )

    def reading(self, symbols: Collection[str] | None = None) -> Reading:
        """Every stored bar, as one answer."""
        rows = self.rows(symbols)
        return Reading(rows=rows, sessions=frozenset(row.session for row in rows), source="store")

    # --- what was asked -----------------------------------------------------------------------------------

    def months_answered(self) -> dict[tuple[str, str], date]:
        """Up to which day each stock-month (`2024-12`) has been answered."""
        return {(row["symbol"], row["month"]): date.fromisoformat(row["through"])
                for row in self.db["month_answers"].rows}  # fmt: skip

    def days_answered(self, board: str) -> date | None:
        """The newest day whose answer of `board` is stored."""
        row = next(self.db.query("select max(session) as session from day_answers where board = ?", [board]))
        return date.fromisoformat(row["session"]) if row["session"] else None

    def first_day_answered(self, board: str) -> date | None:
        """The oldest day whose answer of `board` is stored; none is missing since."""
        row = next(self.db.query("select min(session) as session from day_answers where board = ?", [board]))
        return date.fromisoformat(row["session"]) if row["session"] else None

    def day_is_stored(self, board: str, session: date) -> bool:
        """Whether the answer of `board` for `session` is stored."""
        return bool(self.db["day_answers"].count_where("board = ? and session = ?", [board, session.isoformat()]))

    # --- quarantine and revisions, to be read by people ---------------------------------------------------

    def quarantined(self) -> list[dict[str, Any]]:
        """Everything in quarantine, newest last."""
        return list(self.db.query("select * from quarantine order by id"))

    def revisions(self) -> list[dict[str, Any]]:
        """Every later different answer, oldest first."""
        return list(self.db.query("select * from bar_revisions order by known_at, symbol, session"))


def same_bar(stored: Mapping[str, Any], row: Row) -> bool:
    """Whether `row` says what is stored. Unknown figures contradict nothing, and thousands only beyond a thousand."""
    if any(stored[name] != getattr(row, name) for name in _PRICES):
        return False
    coarse = _in_thousands(row.volume_shares, row.turnover_twd)
    coarse = coarse or _in_thousands(stored["volume_shares"], stored["turnover_twd"])
    slack = LOT_SHARES - 1 if coarse else 0
    if abs(stored["volume_shares"] - row.volume_shares) > slack:
        return False
    told = ((stored["turnover_twd"], row.turnover_twd, slack), (stored["trades"], row.trades, 0))
    return all(a is None or b is None or abs(a - b) <= room for a, b, room in told)


def _in_thousands(volume_shares: int, turnover_twd: int | None) -> bool:
    """Whether the figures look as if they were told in lots and thousands, as a TPEx month tells them."""
    return not (volume_shares % LOT_SHARES or (turnover_twd or 0) % LOT_SHARES)


def _told(row: Row) -> dict[str, object]:
    return {"symbol": row.symbol, "session": row.session.isoformat()} | {name: getattr(row, name) for name in _FIGURES}
