"""`twtrader status`: the terminal view, once or again and again. What it need not draw is not imported."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bot.errors import Refused


def status(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    every: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """What is next, what happened, what we own."""
    import json

    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config

    config = load_config(context.obj)
    db = open_for_reading(config.store.path)
    if as_json:
        from bot.status_json import as_json as snapshot_json

        typer.echo(json.dumps(snapshot_json(_snapshot(config, db)), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from bot.status_picture import render

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
    from bot.status_picture import render

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
