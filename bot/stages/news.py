"""17:00: the evening's headlines. They are context: without them the day goes on."""

from __future__ import annotations

from datetime import date

from bot.config import Config
from bot.core.decide import BPS
from bot.news import Gathered, Weight, gather_headlines
from bot.stages.stage import Outcome, Ports


def gather_news(session: date, ports: Ports, config: Config) -> Outcome:
    """Fetch headlines of the last days. They are context: without them the day goes on, sentiment unknown."""
    del session
    gathered = gather_from_sources(ports, config)
    if not gathered:
        return Outcome(outcome="skipped", detail="NEWSAPI_KEY is not set, no RSS feed is: sentiment is unknown")
    failed = any(one.failed for one in gathered)
    return Outcome(outcome="waiting" if failed else "done", detail="; ".join(one.detail for one in gathered))


def gather_from_sources(ports: Ports, config: Config) -> list[Gathered]:
    """Ask every source of headlines that is there."""
    return gather_headlines(
        news=ports.news,
        feeds=ports.rss,
        store=ports.headlines,
        clock=ports.clock,
        companies=ports.companies,
        weights=_news_weights(ports),
        config=config.feeds.newsapi,
    )


def _news_weights(ports: Ports) -> dict[str, Weight]:
    """What each company weighs when news requests are short: what we hold of it, and what was forecast last."""
    today = ports.clock.now().date()
    forecasts = {one.symbol: one for one in ports.market.newest_forecasts()}
    held = ports.journal.portfolio().positions
    closes = ports.market.last_closes(sorted({*forecasts, *held}), until=today)
    return {
        symbol: Weight(
            position_twd=close_x100 * held[symbol].shares // 100 if symbol in held else 0,
            signal_bps=round((forecasts[symbol].target * 100 / close_x100 - 1) * BPS) if symbol in forecasts else 0,
        )
        for symbol, close_x100 in closes.items()
    }
