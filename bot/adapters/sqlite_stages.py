"""How each stage of each session went: its newest state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """The last run of one stage of one session. `outcome` is done, closed, skipped, waiting or failed."""

    session: date
    stage: str
    started_at: datetime
    duration_s: float
    outcome: str
    detail: str

    @property
    def final(self) -> bool:
        """Whether the stage has had its say for this session: `waiting` is asked again."""
        return self.outcome != "waiting"


class Stages:
    """Reads and writes the newest state of every stage. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`, or from `open_for_reading`."""
        self.db = db

    def find(self, session: date, stage: str) -> StageRun | None:
        """The last run of `stage` for `session`."""
        rows = self.db.query("select * from stages where session = ? and stage = ?", [session.isoformat(), stage])
        return next((_stage(row) for row in rows), None)

    def record(self, run: StageRun) -> None:
        """Store how a stage went; a later run of the same session and stage replaces it."""
        self.db["stages"].upsert(
            {
                "session": run.session.isoformat(),
                "stage": run.stage,
                "started_at": run.started_at.isoformat(),
                "duration_s": run.duration_s,
                "outcome": run.outcome,
                "detail": run.detail,
            },
            pk=("session", "stage"),
        )

    def last(self) -> list[StageRun]:
        """The run of each stage's newest session, in the order in which they started."""
        rows = self.db.query("select *, max(session) from stages group by stage order by started_at")
        return [_stage(row) for row in rows]


def _stage(row: dict[str, Any]) -> StageRun:
    return StageRun(
        session=date.fromisoformat(row["session"]),
        stage=row["stage"],
        started_at=datetime.fromisoformat(row["started_at"]),
        duration_s=row["duration_s"],
        outcome=row["outcome"],
        detail=row["detail"],
    )
