"""One trading day: gather -> decide -> act, as six stages that may each be run twice and do their work once.

prices -> settle -> news -> forecast -> decide -> send
"""

from __future__ import annotations

import logging
import time as monotonic
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Final

from bot.adapters.sqlite_open import writing
from bot.adapters.sqlite_runs import RunLog
from bot.adapters.sqlite_stages import StageRun
from bot.config import Config
from bot.errors import DataMissing, Transient
from bot.secrets import redacted
from bot.stages.decide import decide_orders
from bot.stages.forecast import ask_model
from bot.stages.news import gather_news
from bot.stages.prices import gather_bars
from bot.stages.send import send_orders
from bot.stages.settle import settle_orders
from bot.stages.stage import Outcome, Ports

log = logging.getLogger("twtrader")

# A stage that waits for the outside world gives up when the stage named here is due.
WAITS_UNTIL: Final = {"prices": "forecast", "settle": "decide", "news": "forecast"}


STAGE_WORK: Final[Mapping[str, Callable[[date, Ports, Config], Outcome]]] = {
    "prices": gather_bars,
    "settle": settle_orders,
    "news": gather_news,
    "forecast": ask_model,
    "decide": decide_orders,
    "send": send_orders,
}


def run_stage(stage: str, session: date, ports: Ports, config: Config, *, conclude: bool = True) -> StageRun:
    """Run one stage of `session` and record how it went. A stage that waited too long has failed.

    With `conclude` off it goes on waiting instead: on a clock that isn't believed nothing was too long.

    Raises:
        LookAheadError, ValueError, KeyError ...: bugs; the daemon halts on them.
    """
    started_at, begun = ports.clock.now(), monotonic.perf_counter()
    runs = RunLog(ports.journal.db)
    number = runs.begin(session, stage, started_at)
    try:
        result = STAGE_WORK[stage](session, ports, config)
    except (DataMissing, Transient) as missing:
        result = Outcome(outcome="waiting" if stage in WAITS_UNTIL else "failed", detail=str(missing))
    # `send` waits as long as it may by itself: it knows the opening after which nothing may leave.
    gives_up = conclude and stage in WAITS_UNTIL and started_at >= _gives_up_at(stage, session, config)
    if result.outcome == "waiting" and gives_up:
        result = Outcome(outcome=result.in_the_end, detail=result.detail)
    run = StageRun(
        session=session,
        stage=stage,
        started_at=started_at,
        duration_s=round(monotonic.perf_counter() - begun, 3),
        outcome=result.outcome,
        detail=redacted(result.detail),
    )
    with writing(ports.journal.db):
        runs.end(number, run.outcome, run.detail, run.duration_s)
        ports.journal.stages.record(run)
        if run.outcome in {"failed", "closed"}:
            ports.journal.record_surprises(session, [f"{stage} {run.outcome}: {run.detail}"], started_at)
    log.info("stage session=%s stage=%s outcome=%s s=%.3f detail=%s", session, stage, run.outcome, run.duration_s,
             run.detail)  # fmt: skip
    return run


def _gives_up_at(stage: str, session: date, config: Config) -> datetime:
    """The moment from which `stage` waits no longer."""
    return datetime.combine(session, config.timetable.at(WAITS_UNTIL[stage]))
