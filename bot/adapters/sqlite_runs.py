"""Every run of every stage, never rewritten once it is final, and the highest moment that a clock has shown.

`stages` is the newest state of a stage; `stage_runs` is what happened, and SQLite itself refuses a second final
outcome of one stage of one session. Runs that came to nothing (waiting, killed) are counted, not piled up.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

from bot.adapters.sqlite_open import writing

RUNNING: Final = "running"
WAITING: Final = "waiting"
VOID: Final = "void"  # concluded by a clock that was ahead, of a session that had not begun


class RunLog:
    """Reads and writes runs of stages. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def begin(self, session: date, stage: str, at: datetime) -> int:
        """A run starts; its number. A run before it that waited or was killed becomes one more try of the same row."""
        newest = next(
            self.db.query(
                "select id, outcome from stage_runs where session = ? and stage = ? order by id desc limit 1",
                [session.isoformat(), stage],
            ),
            None,
        )
        if newest and newest["outcome"] in {RUNNING, WAITING}:
            self.db.execute(
                "update stage_runs set tries = tries + 1, killed = killed + (outcome = 'running'), "
                "outcome = 'running', last_at = ? where id = ?",
                [at.isoformat(), newest["id"]],
            )
            self.db.conn.commit()
            return int(newest["id"])
        row = self.db["stage_runs"].insert(
            {"session": session.isoformat(), "stage": stage, "first_at": at.isoformat(), "last_at": at.isoformat(),
             "duration_s": 0.0, "tries": 1, "killed": 0, "outcome": RUNNING, "detail": ""}
        )  # fmt: skip
        return int(row.last_pk)

    def end(self, number: int, outcome: str, detail: str, duration_s: float) -> None:
        """The run `number` came to `outcome`.

        Raises:
            sqlite3.IntegrityError: the stage of that session had a final outcome already.
        """
        self.db["stage_runs"].update(number, {"outcome": outcome, "detail": detail, "duration_s": duration_s})

    def first_session(self) -> date | None:
        """The first session that was ever worked on, or None."""
        row = next(self.db.query("select min(session) as session from stages where stage <> 'calendar'"))
        return date.fromisoformat(row["session"]) if row["session"] else None

    def void_unreached(self, first: date) -> list[date]:
        """Take back what a clock that was ahead made of sessions from `first` on, which have not begun: these sessions.

        Only where nothing came of it: no bar and no order. The runs stay, as `void`.
        """
        unreached = (
            "select distinct session from stages s where session >= ? and stage <> 'calendar' and outcome <> 'waiting' "
            "and not exists (select 1 from bars b where b.session = s.session) "
            "and not exists (select 1 from orders o where o.decided = s.session)"
        )
        sessions = [row["session"] for row in list(self.db.query(unreached, [first.isoformat()]))]
        with writing(self.db):
            for session in sessions:
                self.db.execute("update stage_runs set outcome = ? where session = ?", [VOID, session])
                self.db.execute("delete from stages where session = ?", [session])
                self.db.execute("delete from decisions where session = ?", [session])
        return [date.fromisoformat(session) for session in sessions]


class ClockMark:
    """The highest moment of the clock that was believed. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def highest(self) -> datetime | None:
        """The mark, or None before the first start."""
        row = next(self.db.query("select highest_at from clock_mark"), None)
        return datetime.fromisoformat(row["highest_at"]) if row else None

    def put(self, moment: datetime) -> None:
        """Set the mark, which only a person lowers."""
        self.db["clock_mark"].upsert({"id": 1, "highest_at": moment.isoformat()}, pk="id")
