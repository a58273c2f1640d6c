"""The timetable: APScheduler wakes us, `run_due` does whatever the newest session still lacks. No stage logic here.

Starting is recovering: the first thing after a start, clean or not, is the same `run_due`.
"""

from __future__ import annotations

import logging
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import Any, Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from bot.adapters.clocks import SandboxClock
from bot.adapters.sqlite_journal import StageRun
from bot.calendar import calendar_of
from bot.config import STAGES, TAIPEI, Config
from bot.core.sessions import latest_session
from bot.day import run_stage
from bot.errors import BotError, DataMissing
from bot.stages.send import drop_unsent, mark_interrupted
from bot.stages.stage import Ports
from bot.timetable import next_wakes, wake_triggers

log = logging.getLogger("twtrader")
RETRY_AFTER: Final = timedelta(minutes=10)
OpenPorts = Callable[[], AbstractContextManager[Ports]]


def run_due(
    ports: Ports, config: Config, session: date | None = None, stopped: Callable[[], bool] = lambda: False
) -> StageRun | None:
    """Run what the newest session (or `session`) still lacks and is due; returns the stage that waits, if one does.

    `stopped` is asked between stages: a stage is never cut short.

    Raises:
        ValueError, LookAheadError ...: bugs; nothing may trade on them.
    """
    now = ports.clock.now()
    mark_interrupted(ports, now)
    if session is None:
        try:
            session = latest_session(now, config.timetable.at("prices"), calendar_of(ports))
        except DataMissing as missing:
            return _calendar_waits(ports, now, str(missing))
    for stage in STAGES:
        now = ports.clock.now()
        if stopped() or now < datetime.combine(session, config.timetable.at(stage)):
            return None
        run = ports.journal.stage(session, stage)
        if run is None or not run.final:
            run = run_stage(stage, session, ports, config)
        if not run.final:
            return run
        if run.outcome == "closed":
            return None
        if stage == "prices":  # the session did take place, so the orders for it are too late
            drop_unsent(session, ports, now)
    return None


def _calendar_waits(ports: Ports, now: datetime, why: str) -> StageRun:
    """Without the list of closings nothing else can be known: say so where the user looks."""
    run = StageRun(session=now.date(), stage="calendar", started_at=now, duration_s=0.0, outcome="waiting", detail=why)
    ports.journal.record_stage(run)
    log.warning("stage session=%s stage=calendar outcome=waiting s=0 detail=%s", run.session, why)
    return run


def make_scheduler(config: Config) -> BackgroundScheduler:
    """A scheduler in Taipei's time whose jobs never run beside each other, whichever they are."""
    return BackgroundScheduler(
        timezone=TAIPEI,
        executors={"default": ThreadPoolExecutor(max_workers=1)},
        job_defaults={
            "coalesce": True,
            "max_instances": 1,
            "misfire_grace_time": config.timetable.misfire_grace_s,
        },
    )


class Daemon:
    """Runs `run_due` at each wake-up until it is told to stop, or until a bug halts it."""

    def __init__(self, config: Config, open_ports: OpenPorts) -> None:
        """`open_ports` gives a fresh database connection to the thread that calls it."""
        self.config = config
        self.open_ports = open_ports
        self.stopped = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, on this machine's clock.

        Raises:
            Exception: the bug that halted the daemon.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        scheduler = make_scheduler(self.config)
        for stage, trigger in wake_triggers(self.config.timetable).items():
            scheduler.add_job(self._wake, trigger, args=[scheduler], id=stage)
        scheduler.add_job(self._wake, "date", args=[scheduler], id="start")
        scheduler.start()
        log.info("daemon started; next wake-up %s", next_wakes(self.config.timetable, datetime.now(TAIPEI))[0][0])
        self.stopped.wait()
        scheduler.shutdown(wait=True)
        log.info("daemon stopped")
        if self.failure:
            raise self.failure

    def rehearse(self, clock: SandboxClock, until: datetime) -> None:
        """Run on a sandbox's clock, which jumps to the next wake-up as soon as the work is done.

        Raises:
            Exception: the bug that halted the daemon.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with self.open_ports() as ports:
            while not self.stopped.is_set():
                waiting = run_due(ports, self.config, stopped=self.stopped.is_set)
                now = clock.now()
                wake = next_wakes(self.config.timetable, now)[0][0]
                if waiting:
                    wake = min(wake, now + RETRY_AFTER)
                if wake > until:
                    return
                clock.move_to(wake)

    def _wake(self, scheduler: BackgroundScheduler) -> None:
        """One wake-up. The one place where anything may be caught: a bug halts, the rest is tried again."""
        try:
            with self.open_ports() as ports:
                again = run_due(ports, self.config, stopped=self.stopped.is_set) is not None
        except (BotError, sqlite3.OperationalError) as error:  # the latter: no room on the disk, a lock held too long
            log.error("wake-up failed: %s", error)  # noqa: TRY400  (a user's problem: one line, no traceback)
            again = True
        except Exception as bug:  # the job boundary: nothing may trade on a bug
            log.exception("halted by a bug")
            self.failure = bug
            self.stopped.set()
            return
        if again and not self.stopped.is_set():
            moment = datetime.now(TAIPEI) + RETRY_AFTER
            scheduler.add_job(self._wake, "date", run_date=moment, args=[scheduler], id="retry", replace_existing=True)

    def _stop(self, number: int, _: Any) -> None:
        """Let the running stage finish, then end; a second signal ends at once, as starting is recovering."""
        signal.signal(number, signal.SIG_DFL)
        self.stopped.set()
