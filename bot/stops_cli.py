"""`twtrader halt` and `twtrader resume`: the kill switch, which must work when little else does."""

from __future__ import annotations

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bot.errors import Refused


def halt(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it later.")] = "",
) -> None:
    """Send no more orders from now on. What has left already is not called back."""
    from bot.adapters.clocks import SystemClock
    from bot.adapters.halt_switch import halt as halt_now

    for line in halt_now(database_of(context.obj), reason, SystemClock().now()):
        typer.echo(line)
    typer.echo("no order will be sent until `twtrader resume`; what was sent already is not called back")


def resume(context: typer.Context) -> None:
    """Lift the halt and close the breaker: orders that still wait, and whose session has not begun, will be sent."""
    from bot.adapters.clocks import SystemClock
    from bot.adapters.halt_switch import resume as resume_now

    database, now = database_of(context.obj), SystemClock().now()
    lines = [*_close_breaker(database, now), *resume_now(database, now)]
    waiting = _waiting(database)
    for line in lines or ["nothing was halted"]:
        typer.echo(line)
    if waiting:
        typer.echo(f"{waiting} planned orders wait; the daemon sends them at its next wake-up if there is still time")


def database_of(config: Path) -> Path:
    """`store.path` of the config: all that a halt needs, so a mistake elsewhere in the file does not keep it back.

    Raises:
        Refused: it can't be read; says what halts all the same.
    """
    try:
        told = tomllib.loads(config.read_text(encoding="utf-8"))["store"]["path"]
        return config.resolve().parent / str(told)
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        what = wrong.strerror if isinstance(wrong, OSError) else "no `store.path` can be read in it"
        raise Refused(f"{config}: {what}; an empty file named like the database with .halt behind it halts") from wrong


def _close_breaker(database: Path, now: datetime) -> list[str]:
    """Close the breaker if it is open; what was done, in lines.

    Raises:
        Refused: the database can't be opened.
    """
    from contextlib import closing

    from bot.adapters.sqlite_breaker import BreakerStore
    from bot.adapters.sqlite_open import open_database

    if not database.exists():
        return []
    with closing(open_database(database)) as db:
        trip = BreakerStore(db).reset(now)
    return [f"breaker closed ({trip.text}); losses count from now on"] if trip else []


def _waiting(database: Path) -> int:
    """How many planned orders wait for the daemon."""
    from contextlib import closing

    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_open import open_database
    from bot.core.orders import OrderState

    if not database.exists():
        return 0
    with closing(open_database(database)) as db:
        return len(Journal(db).orders.select(OrderState.PLANNED))
