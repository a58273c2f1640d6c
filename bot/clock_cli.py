"""`twtrader clock`: whether the clock is believed, and how to have it believed after it was wrong."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def clock(
    context: typer.Context,
    trust_now: Annotated[  # noqa: FBT002  (typer turns it into a flag)
        bool, typer.Option("--trust-now", help="The clock is right now: forget what it showed before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,  # noqa: FBT002
) -> None:
    """The clock beside the highest moment seen: after it was wrong, what that keeps from happening."""
    from contextlib import closing

    from bot.adapters.clocks import clock_at
    from bot.adapters.process_lock import only_one
    from bot.adapters.sqlite_open import open_database
    from bot.adapters.sqlite_read import open_for_reading
    from bot.adapters.sqlite_runs import ClockMark
    from bot.config import TAIPEI
    from bot.config_file import load_config
    from bot.core.clockmark import MEANING, trust

    config = load_config(context.obj)
    now = clock_at(config.clock.url).now()
    if trust_now:
        with only_one(config.store.path, "setting the clock mark"), closing(open_database(config.store.path)) as db:
            ClockMark(db).put(now)
    with closing(open_for_reading(config.store.path)) as db:
        highest = ClockMark(db).highest()
    found = trust(now, highest)
    if as_json:
        seen = highest.isoformat() if highest else None
        typer.echo(json.dumps({"now": now.isoformat(), "highest_seen": seen, "trust": str(found)}, indent=2))
        return
    typer.echo(f"it is           {now:%Y-%m-%d %H:%M:%S}")
    typer.echo(f"highest seen    {f'{highest.astimezone(TAIPEI):%Y-%m-%d %H:%M:%S}' if highest else 'nothing yet'}")
    typer.echo(MEANING[found])
