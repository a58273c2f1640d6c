"""`twtrader run`: the daemon, or one cycle. Heavy imports come with the command."""

from __future__ import annotations

import logging
import sys
from datetime import date, datetime
from typing import Annotated, Any

import typer

from bot.errors import ConfigError, Refused
from bot.secrets import Redacting


def run(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One cycle for the newest session, then end.")] = False,
    session: Annotated[str | None, typer.Option("--date", help="The cycle of this session (implies --once).")] = None,
    until: Annotated[str | None, typer.Option(help="Move a sandbox's clock to the end of this day.")] = None,
    choose: Annotated[int | None, typer.Option(min=0, help="Trade only the N stocks BestFourPoint likes best.")] = None,
) -> None:
    """The daemon: fetch, forecast, decide, send and settle, every session."""
    import dataclasses

    from bot.adapters.process_lock import only_one
    from bot.config_file import load_config

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("apscheduler", "httpx", "httpcore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    config = load_config(context.obj)
    if choose is not None:
        config = dataclasses.replace(config, universe=dataclasses.replace(config.universe, choose=choose))
    last_day = day_of(until)
    if last_day and not config.clock.url:
        raise ConfigError("--until needs a sandbox's clock: set `clock.url`")
    with only_one(config.store.path) as lock:
        _run(config, lock, once=once, session=day_of(session), last_day=last_day)


def _run(config: Any, lock: Any, *, once: bool, session: date | None, last_day: date | None) -> None:
    """Start, which is to recover: everything that can be wrong with the config is found before anything runs."""
    from datetime import time
    from functools import partial

    from bot.adapters.clocks import SandboxClock, clock_at
    from bot.config import TAIPEI
    from bot.daemon import Daemon, run_due
    from bot.wiring import check_engine, open_ports

    check_engine(config)
    with open_ports(config) as ports:
        if once or session:
            check_session(session, ports, config.timetable.at("prices"))
            waiting = run_due(ports, config, session, tell=lock.tell)
            if waiting:
                raise Refused(f"{waiting.stage} of {waiting.session} waits: {waiting.detail}; run again later")
            _tell_next(config, ports.clock.now())
            return
    daemon, clock = Daemon(config, partial(open_ports, config), lock), clock_at(config.clock.url)
    if isinstance(clock, SandboxClock) and last_day:
        daemon.rehearse(clock, datetime.combine(last_day, time(23, 59), tzinfo=TAIPEI))
        _tell_rehearsed(config)
    else:
        daemon.run(clock)


def _tell_next(config: Any, now: datetime) -> None:
    """Say what comes next, so that a cycle with nothing due is not silent."""
    from bot.timetable import next_wakes

    at, stage = next_wakes(config.timetable, now)[0]
    typer.echo(f"all that was due is done; next: {stage} {at:%a %Y-%m-%d %H:%M}")


def _tell_rehearsed(config: Any) -> None:
    """One line on what the rehearsal came to."""
    from contextlib import closing

    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_read import open_for_reading

    with closing(open_for_reading(config.store.path)) as db:
        journal = Journal(db)
        orders, line = journal.orders.select(), journal.equity()
    filled = sum(one.state == "filled" for one in orders)
    worth = f"equity NT${line[-1].equity_twd:,} after {line[-1].session}" if line else "no session yet"
    typer.echo(f"{len(line)} sessions, {len(orders)} orders, {filled} of them filled, {worth}; see `twtrader status`")


def check_session(session: date | None, ports: Any, ready_at: Any) -> None:
    """Refuse a day that did not trade, isn't over, or lies before the newest one (over from `ready_at` on).

    Raises:
        Refused: says which.
    """
    from bot.calendar import calendar_of
    from bot.core.sessions import latest_session

    if session is None:
        return
    now, calendar = ports.clock.now(), calendar_of(ports)
    if session > now.date():
        raise Refused(f"{session} is in the future")
    if not calendar.is_session(session, now):
        raise Refused(f"{session} is no session")
    latest = latest_session(now, ready_at, calendar)
    if session < latest:
        raise Refused(f"{session} is past: {latest} has traded since, and no decision is made for a past session")
    newest = ports.journal.newest_decision()
    if newest and session < newest:
        raise Refused(f"{session} is past: the journal has decided {newest} already, and history is not rewritten")


def day_of(text: str | None) -> date | None:
    """`text` as a date; None stays None.

    Raises:
        Refused: it is no ISO date.
    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"{text!r} is no date; write 2025-03-31") from wrong
