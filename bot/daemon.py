"""The timetable: APScheduler wakes us, `run_due` does whatever the newest session still lacks. No stage logic here.

Starting is recovering: the first thing after a start, clean or not, is the same `run_due`.
"""

from __future__ import annotations

import logging
import signal
import sqlite3
import threading
import time as monotonic
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Any, Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from bot.adapters.clocks import SandboxClock
from bot.adapters.own_memory import give_memory_back
from bot.adapters.process_lock import Lock, process_age_s
from bot.adapters.sqlite_stages import StageRun
from bot.calendar import calendar_of
from bot.clockwatch import believe, doubt, look_at_clock, with_floor
from bot.config import STAGES, TAIPEI, Config, Timetable
from bot.core.clockmark import Trust
from bot.core.sessions import latest_session
from bot.day import run_stage
from bot.errors import BotError, DataMissing, Refused
from bot.missed import report_missed
from bot.ports import Clock
from bot.stages.send import drop_unsent, mark_interrupted
from bot.stages.stage import Ports
from bot.stopsign import StopSign
from bot.timetable import next_wakes, wake_triggers
from bot.watch import RETRY_AFTER, Watch

log = logging.getLogger("twtrader")
READ_CLOCK_EVERY_S: Final = 20.0  # so much later than a wake-up from sleep is the first look, at most
FOLLOW_EVERY_S: Final = 0.02  # a sandbox's clock is moved by somebody else, in no time
OpenPorts = Callable[[], AbstractContextManager[Ports]]
Tell = Callable[[str], None]


def run_due(
    ports: Ports,
    config: Config,
    session: date | None = None,
    stopped: Callable[[], bool] = lambda: False,
    tell: Tell = lambda _: None,
) -> StageRun | None:
    """Run what the newest session (or `session`) still lacks and is due; returns the stage that waits, if one does.

    `stopped` is asked between stages: a stage is never cut short. `tell` hears which stage is at work.

    Raises:
        ValueError, LookAheadError ...: bugs; nothing may trade on them.
    """
    now = ports.clock.now()
    mark_interrupted(ports, now)
    believed = look_at_clock(ports, config.timetable) is not Trust.AHEAD
    if session is None:
        try:
            session = latest_session(now, config.timetable.at("prices"), calendar_of(ports))
        except DataMissing as missing:
            return _calendar_waits(ports, now, str(missing))
    for stage in STAGES:
        now = ports.clock.now()
        if stopped() or now < datetime.combine(session, config.timetable.at(stage)):
            return None
        run = _run_once(stage, session, ports, config, conclude=believed, tell=tell)
        if not believed and run.outcome != "done":  # of the first stage: only bars prove that this session is over
            doubt(ports, session)
            return run
        if not run.final:
            return run
        if run.outcome == "closed":
            return None
        if stage == "prices":  # the session did take place, so the orders for it are too late
            if not believed:
                believe(ports)
                believed = True
            drop_unsent(session, ports, now)
            report_missed(session, ports, now)
    return None


def _run_once(stage: str, session: date, ports: Ports, config: Config, *, conclude: bool, tell: Tell) -> StageRun:
    """The stage's final run, if it had one, or a new one. An order is never sent by a clock that went back."""
    run = ports.journal.stages.find(session, stage)
    if run is not None and run.final:
        return run
    tell(f"at work on {stage} of {session}")
    return run_stage(stage, session, with_floor(ports) if stage == "send" else ports, config, conclude=conclude)


def _calendar_waits(ports: Ports, now: datetime, why: str) -> StageRun:
    """Without the list of closings nothing else can be known: say so where the user looks."""
    run = StageRun(session=now.date(), stage="calendar", started_at=now, duration_s=0.0, outcome="waiting", detail=why)
    ports.journal.stages.record(run)
    log.warning("stage session=%s stage=calendar outcome=waiting s=0 detail=%s", run.session, why)
    return run


def make_scheduler() -> BackgroundScheduler:
    """A scheduler in Taipei's time whose jobs never run beside each other, whichever they are.

    No wake-up is too late to be worth it: `run_due` knows what is due, and does it once. And none is dropped because
    the one before it is just ending: the one worker keeps them apart, the scheduler's count of instances needn't.
    """
    return BackgroundScheduler(
        timezone=TAIPEI,
        executors={"default": ThreadPoolExecutor(max_workers=1)},
        job_defaults={"coalesce": True, "max_instances": 100, "misfire_grace_time": None},
    )


def plan_anew(scheduler: BackgroundScheduler, timetable: Timetable) -> None:
    """Let the scheduler plan from the clock as it is now: it may have planned from one that was a year ahead."""
    for stage, trigger in wake_triggers(timetable).items():
        if scheduler.get_job(stage):
            scheduler.reschedule_job(stage, trigger=trigger)


class Daemon:
    """Runs `run_due` at each wake-up until it is told to stop, or until a bug halts it."""

    def __init__(self, config: Config, open_ports: OpenPorts, lock: Lock) -> None:
        """`open_ports` gives a fresh database connection to the thread that calls it."""
        self.config = config
        self.open_ports = open_ports
        self.lock = lock
        self.watch = Watch(config.timetable)
        self.stopped = StopSign()
        self.idle = threading.Event()
        self.failure: BaseException | None = None

    def run(self, clock: Clock) -> None:
        """Run until SIGTERM or SIGINT, on this machine's clock, or on a sandbox's that somebody else moves.

        Raises:
            Exception: the bug that halted the daemon.
        """
        self._obey_signals()
        self.recover()
        scheduler, follows = make_scheduler(), isinstance(clock, SandboxClock)
        if not follows:  # the scheduler knows no clock but the machine's
            for stage, trigger in wake_triggers(self.config.timetable).items():
                scheduler.add_job(self._wake, trigger, args=[clock], id=stage)
        scheduler.add_job(self._wake, "date", args=[clock], id="start")
        scheduler.start()
        self._keep_looking(scheduler, clock, FOLLOW_EVERY_S if follows else READ_CLOCK_EVERY_S)
        scheduler.shutdown(wait=True)
        log.info("daemon stopped")
        if self.failure:
            raise self.failure

    def recover(self) -> None:
        """Take up what the last process left, and say that we are there. Orders it was sending are `unknown` now."""
        with self.open_ports() as ports:
            now = ports.clock.now()
            interrupted = mark_interrupted(ports, now)
            look_at_clock(ports, self.config.timetable)
        at, stage = next_wakes(self.config.timetable, now)[0]
        log.info("ready seconds=%.2f now=%s interrupted_orders=%d next=%s at %s", process_age_s(), now.isoformat(),
                 interrupted, stage, at.isoformat())  # fmt: skip

    def rehearse(self, clock: SandboxClock, until: datetime) -> None:
        """Run on a sandbox's clock, which jumps to the next wake-up as soon as the work is done.

        Raises:
            Exception: the bug that halted the daemon.
        """
        self._obey_signals()
        with self.open_ports() as ports:
            while not self.stopped.is_set():
                waiting = run_due(ports, self.config, stopped=self.stopped.is_set, tell=self.lock.tell)
                now = clock.now()
                wake = next_wakes(self.config.timetable, now)[0][0]
                if waiting:
                    wake = min(wake, now + RETRY_AFTER)
                if wake > until:
                    return
                clock.move_to(wake)

    def _keep_looking(self, scheduler: BackgroundScheduler, clock: Clock, every_s: float) -> None:
        """Read the clock every `every_s` seconds, and wake up when it jumped or something is due, until stopped."""
        unanswered = False  # a jump that came while a stage was at work
        while not self.stopped.wait(every_s):
            try:
                now = clock.now()
            except BotError as gone:  # a sandbox that ended: there is no time to go by
                self._halt(gone)
                return
            jump = self.watch.jumped(now, monotonic.monotonic())
            if jump:
                log.info("clock now=%s moved %+.0f s beside running time: asleep, or set", now.isoformat(),
                         jump.total_seconds())  # fmt: skip
                plan_anew(scheduler, self.config.timetable)
                unanswered = True
            if self.idle.is_set() and (unanswered or self.watch.is_due(now)):
                self.idle.clear()
                unanswered = False
                scheduler.add_job(self._wake, "date", args=[clock], id="look", replace_existing=True)

    def _wake(self, clock: Clock) -> None:
        """One wake-up. The one place where anything may be caught: a bug halts, the rest is tried again."""
        self.idle.clear()
        try:
            self.lock.check()
        except Refused as lost:  # another daemon may be at work: not one step more
            self._halt(lost)
            return
        now = None
        try:
            now = clock.now()
            with self.open_ports() as ports:
                waiting = run_due(ports, self.config, stopped=self.stopped.is_set, tell=self.lock.tell) is not None
        except (BotError, sqlite3.OperationalError) as error:  # the latter: no room on the disk, a lock held too long
            log.error("wake-up failed: %s", error)  # noqa: TRY400  (a user's problem: one line, no traceback)
            waiting = True
        except Exception as bug:  # the job boundary: nothing may trade on a bug
            log.exception("halted by a bug")
            self._halt(bug)
            return
        if now is None:  # a sandbox that ended: whoever reads its clock next finds out, and stops
            self.idle.set()
            return
        next_look = self.watch.plan(now, waiting=waiting)
        told = f"{'waiting' if waiting else 'idle'} at {now.isoformat()} until {next_look.isoformat()}"
        self.lock.tell(told)
        log.log(logging.INFO if isinstance(clock, SandboxClock) else logging.DEBUG, "%s", told)
        give_memory_back()
        self.idle.set()

    def _halt(self, why: BaseException) -> None:
        self.failure = why
        self.stopped.set()

    def _obey_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, _: Any) -> None:
        """Let the running stage finish, then end; a second signal ends at once, as starting is recovering."""
        signal.signal(number, signal.SIG_DFL)
        self.stopped.set()
