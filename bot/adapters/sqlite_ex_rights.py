"""Ex-dates in SQLite: each version with the moment it was read; a later different answer never replaces it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bot.adapters.sqlite_open import writing
from bot.core.exrights import ExRight, Kind, going_ex


class ExRightStore:
    """Reads and writes ex-dates. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def events(
        self, symbols: Collection[str] | None = None, *, since: date, until: date, known_at: datetime | None = None
    ) -> list[ExRight]:
        """Events with ex_date in since..until as they were known at `known_at`, oldest first.

        Without `symbols` of all stocks, without `known_at` as they are known now.
        """
        moment = known_at.isoformat() if known_at else None
        rows = self.db.query(
            "select * from ex_rights where ex_date between ? and ? "
            "and (? is null or julianday(known_at) <= julianday(?)) order by julianday(known_at)",
            [since.isoformat(), until.isoformat(), moment, moment],
        )
        newest = {(row["ex_date"], row["symbol"], row["kind"]): row for row in rows}
        return [
            _event(row)
            for _, row in sorted(newest.items())
            if not row["withdrawn"] and (symbols is None or row["symbol"] in symbols)
        ]

    def reference_x100(self, symbol: str, after: date, until: date) -> int | None:
        """What the limits of a session in after < session <= until count from, when `symbol` went ex by then."""
        known = self.events({symbol}, since=after, until=until)
        event = going_ex(known, after, until).get(symbol)
        return event.reference_x100 if event else None

    def keep(
        self,
        events: Iterable[ExRight],
        *,
        kind: Kind,
        symbols: Collection[str],
        first: date,
        last: date,
        known_at: datetime,
    ) -> list[str]:
        """Store an answer over first..last about `symbols`; says in words what it changes in what was known before.

        An event that was known and is not in the answer any more is withdrawn: an ex-date was put off.
        """
        known = {
            (one.symbol, one.ex_date): one
            for one in self.events(symbols, since=first, until=last, known_at=known_at)
            if one.kind == kind
        }
        told, changes = {(one.symbol, one.ex_date): one for one in events}, []
        with writing(self.db):
            for key, event in told.items():
                before = known.get(key)
                if before is None or _terms(before) != _terms(event):
                    self.db["ex_rights"].insert(_row(event, withdrawn=False), replace=True)
                if before is not None and _terms(before) != _terms(event):
                    changes.append(f"{event.symbol} {event.ex_date}: the reference price changed")
            for key in sorted(set(known) - set(told)):
                self.db["ex_rights"].insert(_row(known[key], withdrawn=True) | {"known_at": known_at.isoformat()})
                changes.append(f"{key[0]} {key[1]}: no ex-date any more")
        return changes

    def through(self, what: str) -> tuple[date, date] | None:
        """The sessions from..through which `what` ("twse dividend") was asked for; None when it never was."""
        row = next(self.db.query("select * from ex_rights_asked where what = ?", [what]), None)
        return (date.fromisoformat(row["since"]), date.fromisoformat(row["through"])) if row else None

    def asked(self, what: str, since: date, through: date, at: datetime) -> None:
        """Remember that `what` is known from `since` through the evening of `through`."""
        before = self.through(what)
        since = min(since, before[0]) if before else since
        self.db["ex_rights_asked"].upsert(
            {"what": what, "since": since.isoformat(), "through": through.isoformat(), "asked_at": at.isoformat()},
            pk="what",
        )


def _terms(event: ExRight) -> tuple[int, int, int | None, int | None, Decimal | None]:
    return (
        event.previous_x100,
        event.reference_x100,
        event.limit_up_x100,
        event.limit_down_x100,
        event.cash_dividend,
    )


def _row(event: ExRight, *, withdrawn: bool) -> dict[str, object]:
    return {
        "symbol": event.symbol,
        "ex_date": event.ex_date.isoformat(),
        "kind": event.kind,
        "previous_x100": event.previous_x100,
        "reference_x100": event.reference_x100,
        "limit_up_x100": event.limit_up_x100,
        "limit_down_x100": event.limit_down_x100,
        "cash_dividend_twd": None if event.cash_dividend is None else str(event.cash_dividend),
        "source": event.source,
        "known_at": event.known_at.isoformat(),
        "withdrawn": int(withdrawn),
    }


def _event(row: dict[str, Any]) -> ExRight:
    return ExRight(
        symbol=row["symbol"],
        ex_date=date.fromisoformat(row["ex_date"]),
        kind=row["kind"],
        previous_x100=row["previous_x100"],
        reference_x100=row["reference_x100"],
        limit_up_x100=row["limit_up_x100"],
        limit_down_x100=row["limit_down_x100"],
        cash_dividend=None if row["cash_dividend_twd"] is None else Decimal(row["cash_dividend_twd"]),
        source=row["source"],
        known_at=datetime.fromisoformat(row["known_at"]),
    )
