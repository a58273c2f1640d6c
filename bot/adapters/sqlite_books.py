"""Where the broker's book and the journal differ, and cash besides trades: events of their own, never erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Final

from bot.core.cash import Adjustment, CashEvent, CashIdentity
from bot.core.market import shares_told

CASH: Final = "cash"  # stands where a symbol would, in a difference of cash


@dataclass(frozen=True, slots=True, kw_only=True)
class BookEvent:
    """Shares (or, for the symbol `cash`, TWD) in the broker's book beyond the journal's, from when to when it was seen.

    `solution` says how it was solved; empty while it is open, and while it is open its stock is not touched.
    """

    number: int
    symbol: str
    shares: int
    cash_twd: int
    first_seen: date
    last_seen: date
    solved_at: datetime | None
    solution: str

    @property
    def text(self) -> str:
        """In words: "unexplained +1 lot 2330"."""
        if self.symbol == CASH:
            return f"unexplained NT${self.cash_twd:+,} in cash"
        return f"unexplained {shares_told(self.shares)} {self.symbol}"


class Books:
    """Reads and writes what trades don't explain. Its caller holds the transaction."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    # --- differences --------------------------------------------------------------------------------------

    def events(self, *, only_open: bool = False) -> list[BookEvent]:
        """Every difference there was, oldest first."""
        where = "where solved_at is null" if only_open else ""
        return [_event(row) for row in self.db.query(f"select * from book_events {where} order by id")]

    def see(
        self,
        session: date,
        shares: Mapping[str, int],
        cash_off_twd: int | None,
        at: datetime,
        solutions: Mapping[str, str],
    ) -> list[str]:
        """Compare what is unexplained after `session` with what is open: what is new, changed or solved, in words.

        `cash_off_twd` is None where the broker tells no cash: nothing is said of cash then. `solutions` holds by symbol
        what solved a difference, where that is known.
        """
        now = {symbol: (off, 0) for symbol, off in shares.items()}
        if cash_off_twd:
            now[CASH] = (0, cash_off_twd)
        told = []
        for event in self.events(only_open=True):
            if event.symbol == CASH and cash_off_twd is None:
                continue
            seen = now.pop(event.symbol, None)
            if seen == (event.shares, event.cash_twd):
                self._seen_again(event, session, at)
                continue
            how = solutions.get(event.symbol) or "the book and the journal agree again"
            if seen is not None:
                now[event.symbol] = seen
                how = f"it became {self._text(event.symbol, seen)}"
            self._solve(event, how, at)
            told.append(f"solved: {event.text}: {how}")
        for symbol, off in sorted(now.items()):
            told.append(self._open(symbol, off, session, at).text)
        return told

    def explain(self, symbol: str, shares: int, how: str, at: datetime, *, cash_twd: int = 0) -> None:
        """`shares` (or cash) of the open difference of `symbol` are explained now; what is left stays open."""
        for event in self.events(only_open=True):
            if event.symbol != symbol:
                continue
            left = (event.shares - shares, event.cash_twd - cash_twd)
            self._solve(event, how, at)
            if left != (0, 0):
                self._open(symbol, left, event.last_seen, at)

    def _text(self, symbol: str, off: tuple[int, int]) -> str:
        return f"NT${off[1]:+,}" if symbol == CASH else shares_told(off[0])

    def _seen_again(self, event: BookEvent, session: date, at: datetime) -> None:
        last = max(session, event.last_seen)
        self.db["book_events"].update(event.number, {"last_seen": last.isoformat(), "last_at": at.isoformat()})

    def _solve(self, event: BookEvent, how: str, at: datetime) -> None:
        self.db["book_events"].update(event.number, {"solved_at": at.isoformat(), "solution": how})

    def _open(self, symbol: str, off: tuple[int, int], session: date, at: datetime) -> BookEvent:
        day, moment = session.isoformat(), at.isoformat()
        self.db["book_events"].insert(
            {"symbol": symbol, "shares": off[0], "cash_twd": off[1], "first_seen": day, "last_seen": day,
             "first_at": moment, "last_at": moment, "solved_at": None, "solution": None}
        )  # fmt: skip
        return next(event for event in self.events(only_open=True) if event.symbol == symbol)

    # --- what was taken into the books --------------------------------------------------------------------

    def adjustments(self) -> list[Adjustment]:
        """Shares that came or went without an order, in the order in which they were booked."""
        names = [one.name for one in fields(Adjustment)]
        rows = self.db.query(f"select {', '.join(names)} from adjustments order by id")
        return [Adjustment(**row | {"session": date.fromisoformat(row["session"])}) for row in rows]

    def add_adjustment(self, one: Adjustment, at: datetime) -> None:
        """Book shares that came or went without an order, after all fills that are booked by now."""
        last = next(self.db.query("select coalesce(max(id), 0) as id from fills"))["id"]
        self.db["adjustments"].insert(
            asdict(one) | {"session": one.session.isoformat(), "after_fill": last, "at": at.isoformat()}
        )

    def cash_events(self) -> list[CashEvent]:
        """Cash that came or went without a trade, oldest first."""
        rows = self.db.query("select kind, symbol, day, amount_twd, note from cash_events order by id")
        return [CashEvent(**row | {"day": date.fromisoformat(row["day"])}) for row in rows]

    def add_cash_events(self, events: Iterable[CashEvent], at: datetime) -> None:
        """Book cash; several of one kind, symbol and day are numbered."""
        for one in events:
            key = (one.kind, one.symbol, one.day.isoformat())
            n = self.db["cash_events"].count_where("kind = ? and symbol = ? and day = ?", list(key)) + 1
            self.db["cash_events"].insert(
                {"kind": one.kind, "symbol": one.symbol, "day": key[2], "n": n, "amount_twd": one.amount_twd,
                 "note": one.note, "at": at.isoformat()}
            )  # fmt: skip

    def record_identity(self, session: date, identity: CashIdentity, at: datetime) -> None:
        """Keep the cash identity after `session`; settling again replaces it."""
        row = asdict(identity) | {"session": session.isoformat(), "at": at.isoformat()}
        self.db["cash_checks"].upsert(row, pk="session")

    def identities(self) -> list[tuple[date, CashIdentity]]:
        """The stored identities, oldest first."""
        names = [one.name for one in fields(CashIdentity)]
        rows = self.db.query(f"select session, {', '.join(names)} from cash_checks order by session")
        return [(date.fromisoformat(row.pop("session")), CashIdentity(**row)) for row in map(dict, rows)]


def _event(row: Mapping[str, Any]) -> BookEvent:
    return BookEvent(
        number=row["id"],
        symbol=row["symbol"],
        shares=row["shares"],
        cash_twd=row["cash_twd"],
        first_seen=date.fromisoformat(row["first_seen"]),
        last_seen=date.fromisoformat(row["last_seen"]),
        solved_at=datetime.fromisoformat(row["solved_at"]) if row["solved_at"] else None,
        solution=row["solution"] or "",
    )
