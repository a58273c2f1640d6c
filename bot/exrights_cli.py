"""`twtrader data exrights`: the ex-dates that are stored. Mounted by whoever owns `data`."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

import typer

from bot.core.exrights import ExRight
from bot.core.market import from_x100


def exrights(
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First ex-date.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last ex-date.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Ex-dividend and capital-reduction dates with their reference prices, as they are known in the store."""
    from bot.adapters.sqlite_ex_rights import ExRightStore
    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config

    store = ExRightStore(open_for_reading(load_config(context.obj).store.path))
    found = store.events(since=_day(since) or date.min, until=_day(until) or date.max)
    if as_json:
        typer.echo(json.dumps([facts(event) for event in found], ensure_ascii=False, indent=2))
        return
    for event in found:
        cash = f"  cash {event.cash_dividend.normalize():f}" if event.cash_dividend else ""
        typer.echo(
            f"{event.symbol:<6} {event.ex_date} {event.kind:<9} {from_x100(event.previous_x100)} -> "
            f"{from_x100(event.reference_x100)}{cash}  ({event.source})"
        )
    if not found:
        typer.echo("no ex-date is stored for these days")


def facts(event: ExRight) -> dict[str, Any]:
    """One event for JSON; prices in TWD per share."""

    def price(price_x100: int | None) -> str | None:
        return None if price_x100 is None else str(from_x100(price_x100))

    return {
        "symbol": event.symbol,
        "ex_date": event.ex_date.isoformat(),
        "kind": event.kind,
        "previous": price(event.previous_x100),
        "reference": price(event.reference_x100),
        "factor": float(event.factor),
        "limit_up": price(event.limit_up_x100),
        "limit_down": price(event.limit_down_x100),
        "cash_dividend": None if event.cash_dividend is None else str(event.cash_dividend),
        "source": event.source,
        "known_at": event.known_at.isoformat(),
    }


def _day(text: str | None) -> date | None:
    from bot.errors import Refused

    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"{text!r} is no date; write 2025-03-31") from wrong
