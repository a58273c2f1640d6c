"""What was missed while nobody ran: said once, stage by stage, and never made up for with orders of a past session.

What can still be done late is done by the next session's own stages: `prices` fetches the bars of the days between,
`settle` says what became of orders in the session they were for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from bot.adapters.sqlite_open import writing
from bot.adapters.sqlite_runs import RunLog
from bot.adapters.sqlite_stages import StageRun
from bot.calendar import calendar_of
from bot.config import STAGES
from bot.stages.stage import Ports

log = logging.getLogger("twtrader")


def report_missed(newest: date, ports: Ports, at: datetime) -> None:
    """Record each stage that no session before `newest` can have any more, as `missed` and as a surprise, once.

    To be called when the bars of `newest` were asked for: then it is known which of the days between traded.
    """
    for session, lacking in _unfinished(newest, ports, at):
        without = "" if ports.market.count_bars(session) else "; no stock has a bar: perhaps the exchange was closed"
        why = f"twtrader was not running, or asleep{without}"
        runs = RunLog(ports.journal.db)
        numbers = {stage: runs.begin(session, stage, at) for stage in lacking}
        with writing(ports.journal.db):
            for stage, number in numbers.items():
                runs.end(number, "missed", why, 0.0)
                ports.journal.stages.record(
                    StageRun(session=session, stage=stage, started_at=at, duration_s=0.0, outcome="missed", detail=why)
                )
            ports.journal.record_surprises(session, [f"missed: {', '.join(lacking)} ({why})"], at)
        log.warning("missed session=%s stages=%s detail=%s", session, ",".join(lacking), why)


def _unfinished(newest: date, ports: Ports, at: datetime) -> Iterator[tuple[date, list[str]]]:
    """Sessions before `newest` with the stages that have no final outcome, newest first, down to a finished one."""
    first, calendar = RunLog(ports.journal.db).first_session(), calendar_of(ports)
    day = newest - timedelta(days=1)
    while first is not None and day >= first:
        if calendar.is_session(day, at):
            runs = {stage: ports.journal.stages.find(day, stage) for stage in STAGES}
            lacking = [stage for stage, run in runs.items() if run is None or not run.final]
            if not lacking:
                return  # whatever lies before was looked at when this one was worked
            yield day, lacking
        day -= timedelta(days=1)
