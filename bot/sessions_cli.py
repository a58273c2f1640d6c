"""`twtrader sessions`: the sessions of a year, and why each other weekday is closed."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.core.sessions import SATURDAY, Calendar


def sessions(
    context: typer.Context,
    year: Annotated[int | None, typer.Option(help="Which year; this one if not told.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """The sessions of a year and the reason of each closed weekday, as far as they are known here; asks nobody."""
    from bot.config import TAIPEI
    from bot.config_file import load_config
    from bot.errors import DataMissing, Refused

    now = datetime.now(TAIPEI)
    try:
        told = year_facts(_calendar(load_config(context.obj).store.path), year or now.year, now)
    except DataMissing as missing:
        raise Refused(str(missing)) from missing
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{told['year']}: {told['count']} sessions, {told['sessions'][0]} to {told['sessions'][-1]}")
    for one in told["closed_weekdays"]:
        typer.echo(f"  closed  {one['day']} {one['weekday']}  {one['reason']}  ({one['source']})")
    for one in told["weekend_sessions"]:
        typer.echo(f"  trades  {one['day']} {one['weekday']}  {one['reason']}  ({one['source']})")


def year_facts(calendar: Calendar, year: int, known_at: datetime) -> dict[str, Any]:
    """Sessions, closed weekdays and weekend sessions of `year` as known at `known_at`, for people and JSON.

    Raises:
        DataMissing: no schedule of `year` is known here.
    """
    first = date(year, 1, 1)
    days = [first + timedelta(days=ahead) for ahead in range((date(year, 12, 31) - first).days + 1)]
    verdicts = {day: calendar.verdict(day, known_at) for day in days}
    named = {
        day: {"day": day.isoformat(), "weekday": f"{day:%a}", "reason": verdict.reason, "source": verdict.source}
        for day, verdict in verdicts.items()
    }
    traded = [day.isoformat() for day, verdict in verdicts.items() if verdict.session]
    return {
        "year": year,
        "known_at": known_at.isoformat(timespec="seconds"),
        "count": len(traded),
        "sessions": traded,
        "closed_weekdays": [
            named[day] for day, verdict in verdicts.items() if not verdict.session and day.weekday() < SATURDAY
        ],
        "weekend_sessions": [
            named[day] for day, verdict in verdicts.items() if verdict.session and day.weekday() >= SATURDAY
        ],
    }


def _calendar(store: Path) -> Calendar:
    """The stored calendar; without a database the table in the repository alone."""
    from bot.adapters.sqlite_read import open_for_reading
    from bot.adapters.sqlite_sessions import SessionStore
    from bot.adapters.xtai_sessions import table_schedule
    from bot.calendar import stored_calendar

    if not store.exists():
        return Calendar(schedule=lambda year, _: table_schedule(year))
    return stored_calendar(SessionStore(open_for_reading(store)))
