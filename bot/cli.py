"""The command `twtrader`. Heavy things are imported only inside the command that needs them."""

from __future__ import annotations

import logging
import sqlite3
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from backtest.cli import backtest_app
from backtest.fill_cli import fill
from backtest.luck_cli import lookahead, luck
from backtest.quality_cli import quality
from backtest.sweep_cli import sweep, walk_forward
from bot.clock_cli import clock
from bot.data_cli import data_app
from bot.errors import BotError, ConfigError, Refused
from bot.exrights_cli import exrights
from bot.forecast_cli import forecast, sentiment
from bot.llm_cli import model_app
from bot.news_cli import news_app
from bot.orders_cli import orders_app
from bot.reconcile_cli import reconcile
from bot.secrets import Redacting, guard_output, redacted
from bot.secrets_cli import secrets_app
from bot.sessions_cli import sessions
from bot.stops_cli import halt, resume
from training.cli import train

app = typer.Typer(
    name="twtrader",
    help="Trade Taiwan stocks on an LLM's forecasts, by itself; rehearse, watch and backtest it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(clock)
app.add_typer(model_app, name="model")
app.add_typer(backtest_app, name="backtest")
app.add_typer(news_app, name="news")
app.add_typer(data_app, name="data")
app.add_typer(orders_app, name="orders")
backtest_app.command()(sweep)
backtest_app.command()(fill)
backtest_app.command()(luck)
backtest_app.command()(quality)
backtest_app.command()(lookahead)
backtest_app.command("walk-forward")(walk_forward)
data_app.command()(exrights)
app.add_typer(secrets_app, name="secrets")
app.add_typer(train, name="train")
app.command()(sessions)
app.command()(forecast)
app.command()(sentiment)
app.command()(halt)
app.command()(resume)
app.command()(reconcile)

JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def main() -> None:
    """Run the command; a user's problem is one clear line on stderr and exit code 1."""
    guard_output()
    try:
        app()
    except (BotError, sqlite3.Error) as error:
        typer.echo(redacted(f"twtrader: {error}"), err=True)
        sys.exit(1)
    finally:
        guard_output()  # once more: typer has put a hook of its own in place, and a bug's traceback is on its way


@app.callback()
def common(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration.")] = Path("config.toml"),
) -> None:
    """Every command reads the same configuration."""
    context.obj = config


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


@app.command()
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


@app.command()
def status(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """What is next, what happened, what we own."""
    import json

    from rich.console import Console

    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config
    from bot.status import as_json as snapshot_json
    from bot.status import render

    config = load_config(context.obj)
    db = open_for_reading(config.store.path)
    if as_json:
        typer.echo(json.dumps(snapshot_json(_snapshot(config, db)), ensure_ascii=False, indent=2))
        return
    console = Console()
    if once:
        console.print(render(_snapshot(config, db), console.width))
        return
    _watch(console, config, db, every)


def _watch(console: Any, config: Any, db: Any, every_s: float) -> None:
    """Show the view, anew every `every_s` seconds, until the user has seen enough."""
    import time
    from contextlib import suppress

    from rich.live import Live

    from bot.adapters.own_memory import give_memory_back
    from bot.status import render

    # A view is open for months: it keeps no more of the file than it draws, however long the history gets.
    db.execute("pragma cache_size = -256")
    with (
        suppress(KeyboardInterrupt),
        Live(render(_snapshot(config, db), console.width), console=console, screen=True) as live,
    ):
        while True:
            time.sleep(every_s)
            live.update(render(_snapshot(config, db), console.width))
            give_memory_back()


def _snapshot(config: Any, db: Any) -> Any:
    """The view's facts, at the moment of the clock that counts; of a sandbox that ended, at the last thing it did."""
    from contextlib import closing, nullcontext

    from bot.adapters.clocks import SandboxClock, clock_at
    from bot.adapters.halt_switch import HaltSwitch
    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_sessions import SessionStore
    from bot.calendar import stored_calendar
    from bot.status import read_snapshot
    from bot.timetable import next_jobs

    clock, halted = clock_at(config.clock.url), HaltSwitch(config.store.path, db).read()
    try:
        with closing(clock) if isinstance(clock, SandboxClock) else nullcontext(clock) as told:
            now = told.now()
    except Refused as gone:
        runs = Journal(db).stages.last()
        if not runs:
            raise
        return read_snapshot(
            db, max(run.started_at for run in runs), (), f"as of the last stage; {gone}", halted, config
        )
    jobs = next_jobs(config.timetable, now, stored_calendar(SessionStore(db)))
    return read_snapshot(db, now, jobs, halted=halted, config=config)


@app.command()
def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the demo leaves its database and report.")] = Path("demo"),
) -> None:
    """Two trading sessions on the sandbox: nothing is needed but the small model."""
    from bot.demo import run_demo

    run_demo(context.obj, folder)


@app.command()
def sandbox(
    start: Annotated[str, typer.Option(help="First moment on its clock, Taipei time.")] = "2025-03-03T08:00",
    prices: Annotated[Path | None, typer.Option(help="Replay this folder of CSV bars; default: invent them.")] = None,
    codes: Annotated[str, typer.Option(help="Only these stocks, like 2330,2317.")] = "",
    seed: Annotated[int, typer.Option(help="Of the invented market and the headlines.")] = 7,
    port: Annotated[int, typer.Option(help="On loopback; 0 = any free one.")] = 8787,
    speed: Annotated[float, typer.Option(help="Its clock runs so many times real time; 0 = it is moved.")] = 0.0,
    account: Annotated[str, typer.Option(help="The account's name.")] = "demo",
    password: Annotated[str, typer.Option(help="The account's password.")] = "demo",  # noqa: S107  (a sandbox's)
    cash: Annotated[int, typer.Option(help="Whole TWD the account opens with.")] = 100_000_000,
    dividends: Annotated[bool, typer.Option("--dividends", help="Pay cash dividends on ex-dates.")] = False,
) -> None:
    """The loopback exchange alone: rehearse your config on it."""
    from bot.sandbox.serve import serve
    from bot.sandbox.settings import SandboxSettings, moment

    serve(
        SandboxSettings(
            start=moment(start),
            prices=prices,
            codes=tuple(code.strip() for code in codes.split(",") if code.strip()),
            seed=seed,
            port=port,
            speed=speed,
            accounts=((account, password),),
            cash_twd=cash,
            dividends=dividends,
        )
    )


@app.command()
def rehearse(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(help="The config to write.")],
    url: Annotated[str, typer.Option(help="The sandbox.")] = "http://127.0.0.1:8787",
    churn: Annotated[bool, typer.Option("--churn", help="No model; buy and sell every day, to see orders.")] = False,
) -> None:
    """Write a copy of your config that is pointed at a sandbox, with a database of its own; the rest stays yours."""
    from bot.rehearsal import CHURN, write_rehearsal_config

    if copy.exists():
        raise Refused(f"{copy} exists already")
    write_rehearsal_config(context.obj, copy, url, CHURN if churn else {})
    typer.echo(f"{copy}: now `twtrader -c {copy} run --until DATE`")
