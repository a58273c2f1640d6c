"""The breaker's memory: what tripped it, and from which session on the equity line counts again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from bot.adapters.sqlite_open import writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A breaker that is open: after which session, and the numbers that tripped it."""

    session: date
    text: str


class BreakerStore:
    """Reads and writes trips. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def open_trip(self) -> Trip | None:
        """What has tripped the breaker and was not reset; None when it is closed."""
        row = next(self.db.query("select session, text from breaker_trips where reset_at is null"), None)
        return Trip(session=date.fromisoformat(row["session"]), text=row["text"]) if row else None

    def trip(self, session: date, text: str, at: datetime) -> None:
        """Open the breaker; while it is open nothing more is written."""
        if self.open_trip() is None:
            self.db["breaker_trips"].insert(
                {"session": session.isoformat(), "text": text, "tripped_at": at.isoformat(),
                 "counts_from": None, "reset_at": None}
            )  # fmt: skip

    def reset(self, at: datetime) -> Trip | None:
        """Close the breaker; what it was open for. Losses count from the newest equity on."""
        open_trip = self.open_trip()
        if open_trip is not None:
            newest = next(self.db.query("select max(session) as session from equity"))["session"]
            with writing(self.db):
                self.db.execute(
                    "update breaker_trips set reset_at = ?, counts_from = ? where reset_at is null",
                    [at.isoformat(), newest or open_trip.session.isoformat()],
                )
        return open_trip

    def counts_from(self) -> date:
        """The session whose equity is the first that counts; the beginning of time before any reset."""
        row = next(self.db.query("select max(counts_from) as since from breaker_trips"))
        return date.fromisoformat(row["since"]) if row["since"] else date.min
