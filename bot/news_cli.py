"""`twtrader news`: fetch headlines now, and look at those that are stored."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from bot.core.headlines import Story
from bot.errors import Refused

news_app = typer.Typer(help="Headlines: fetch them now, list the stored ones.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


@news_app.command()
def fetch(context: typer.Context, as_json: JsonOption = False) -> None:
    """Ask every source now, as the evening's news stage does; what today's budget forbids waits for tomorrow."""
    from bot.config_file import load_config
    from bot.stages.news import gather_from_sources
    from bot.wiring import open_ports

    config = load_config(context.obj)
    with open_ports(config) as ports:
        gathered = gather_from_sources(ports, config)
    if not gathered:
        raise Refused("nothing to ask: NEWSAPI_KEY is not set, and `feeds.rss.urls` is empty")
    if as_json:
        facts = [{"source": one.source, "new": one.new, "ok": not one.failed, "detail": one.detail} for one in gathered]
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        for one in gathered:
            typer.echo(one.detail)
    if any(one.failed for one in gathered):
        raise Refused("a source failed: " + "; ".join(one.detail for one in gathered if one.failed))


@news_app.command("list")
def list_stories(
    context: typer.Context,
    code: Annotated[str | None, typer.Option(help="Only of this company: a code or a name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """The stored headlines, newest first, with the companies that they speak of."""
    from bot.adapters.sqlite_market import MarketStore
    from bot.adapters.sqlite_news import NewsStore
    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config
    from bot.core.foreign_text import one_line

    config = load_config(context.obj)
    symbol = _symbol(code) if code else None
    db = open_for_reading(config.store.path)
    try:
        stories, names = NewsStore(db).stories(symbol=symbol, limit=limit), MarketStore(db).names()
    finally:
        db.close()
    if as_json:
        typer.echo(json.dumps([_facts(one) for one in stories], ensure_ascii=False, indent=2))
        return
    for one in stories:
        told = f"{one_line(one.source)}  {one_line(one.title)}"
        about = ", ".join(f"{symbol} {names[symbol]}" if symbol in names else symbol for symbol in one.symbols)
        mark = "" if one.dated else " (no date told)"
        typer.echo(f"{one.published_at:%Y-%m-%d %H:%M}{mark}  {told}  [{about or 'nobody of ours'}]")
    if not stories:
        typer.echo("no headlines stored" + (f" about {symbol}" if symbol else ""))


def _symbol(code: str) -> str:
    """The symbol that `code` names.

    Raises:
        Refused: it is no listed or OTC common stock or ETF.
    """
    from bot.adapters.twstock_codes import company_of

    return company_of(code).symbol


def _facts(one: Story) -> dict[str, Any]:
    return {
        "title": one.title,
        "url": one.url,
        "source": one.source,
        "language": one.language,
        "published_at": one.published_at.isoformat(),
        "fetched_at": one.fetched_at.isoformat(),
        "dated": one.dated,
        "symbols": list(one.symbols),
    }
