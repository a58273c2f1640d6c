"""What the store knows of sessions: each version of the exchange's schedule, and what the days turned out to be."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

from bot.core.sessions import Evidence, YearSchedule


class SessionStore:
    """Reads and writes schedules; reads bars and stages as evidence. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def schedule(self, year: int, known_at: datetime) -> YearSchedule | None:
        """The exchange's schedule of `year` as it had been read by `known_at`; None when it had not."""
        rows = self.db.query(
            "select * from schedules where year = ? and julianday(fetched_at) <= julianday(?) "
            "order by julianday(fetched_at) desc limit 1",
            [year, known_at.isoformat()],
        )
        return next((_schedule(row) for row in rows), None)

    def checked_at(self, year: int) -> datetime | None:
        """When the exchange was last asked for its schedule of `year` and answered."""
        row = next(self.db.query("select max(checked_at) as at from schedules where year = ?", [year]))
        return datetime.fromisoformat(row["at"]) if row["at"] else None

    def add_schedule(self, year: int, schedule: YearSchedule, fetched_at: datetime) -> bool:
        """Keep a schedule just read; True when it differs from the one before, which stays as a version."""
        closed, weekend = _text(schedule.closed), _text(schedule.weekend_sessions)
        newest = next(
            self.db.query("select * from schedules where year = ? order by julianday(fetched_at) desc limit 1", [year]),
            None,
        )
        if newest and (newest["closed"], newest["weekend_sessions"]) == (closed, weekend):
            self.db["schedules"].update((year, newest["fetched_at"]), {"checked_at": fetched_at.isoformat()})
            return False
        self.db["schedules"].insert(
            {"year": year, "fetched_at": fetched_at.isoformat(), "checked_at": fetched_at.isoformat(),
             "closed": closed, "weekend_sessions": weekend},
            replace=True,
        )  # fmt: skip
        return newest is not None

    def evidence(self, day: date, known_at: datetime) -> Evidence | None:
        """What `day` had turned out to be by `known_at`: bars were stored, or the `prices` stage found it closed.

        Where both stand (a feed that answered with nothing, then with bars) the later finding counts.
        """
        bars = next(
            self.db.query(
                "select min(fetched_at) as at from bars where session = ? and julianday(fetched_at) <= julianday(?)",
                [day.isoformat(), known_at.isoformat()],
            )
        )
        closed = next(
            self.db.query(
                "select started_at as at from stages where session = ? and stage = 'prices' and outcome = 'closed' "
                "and julianday(started_at) <= julianday(?)",
                [day.isoformat(), known_at.isoformat()],
            ),
            {"at": None},
        )
        found = [
            Evidence(traded=traded, known_at=datetime.fromisoformat(at))
            for traded, at in ((False, closed["at"]), (True, bars["at"]))
            if at
        ]
        return max(found, key=lambda one: one.known_at, default=None)


def _schedule(row: dict[str, Any]) -> YearSchedule:
    return YearSchedule(
        closed=_days(row["closed"]),
        weekend_sessions=_days(row["weekend_sessions"]),
        source=f"the exchange's schedule, read {row['fetched_at'][:10]}",
    )


def _text(days: Any) -> str:
    """Days and names as JSON, oldest first, so that equal schedules are equal texts."""
    return json.dumps({day.isoformat(): days[day] for day in sorted(days)}, ensure_ascii=False)


def _days(text: str) -> dict[date, str]:
    return {date.fromisoformat(day): name for day, name in json.loads(text).items()}
