"""The status as plain values, for `--json`."""

from __future__ import annotations

from typing import Any

from bot.adapters.halt_switch import Halted
from bot.adapters.sqlite_breaker import Trip
from bot.core.market import from_x100
from bot.status import Snapshot


def as_json(seen: Snapshot) -> dict[str, Any]:
    """The snapshot as plain values: prices in TWD as text, money in whole TWD, moments in ISO 8601."""
    return {
        "now": seen.now.isoformat(),
        "clock_note": seen.clock_note,
        "halted": _halted_json(seen.halted),
        "breaker": _breaker_json(seen.breaker),
        "broker": seen.broker or None,
        "next_jobs": [{"at": at.isoformat(), "stage": stage} for at, stage in seen.next_jobs],
        "stages": [
            {"session": run.session.isoformat(), "stage": run.stage, "started_at": run.started_at.isoformat(),
             "duration_s": run.duration_s, "outcome": run.outcome, "detail": run.detail}
            for run in seen.stages
        ],
        "cash_twd": seen.held.cash_twd if seen.held else None,
        "equity_twd": seen.equity_twd,
        "positions": [_position_json(seen, symbol) for symbol in sorted(seen.held.positions)] if seen.held else [],
        "orders": [
            {"key": one.order.key, "symbol": one.order.symbol, "side": str(one.order.side),
             "shares": one.order.shares, "limit": str(from_x100(one.order.limit_x100)), "state": str(one.state),
             "reason": one.order.reason, "note": one.note}
            for one in seen.orders
        ],
        "forecasts": [
            {"symbol": one.symbol, "as_of": one.as_of.isoformat(), "model": one.model,
             "closes": [str(bar.close) for bar in one.bars]}
            for one in seen.forecasts
        ],
        "sentiments": [
            {"symbol": article.symbol, "title": article.title, "published_at": article.published_at.isoformat(),
             "label": mood.label, "positive": mood.positive, "neutral": mood.neutral, "negative": mood.negative}
            for article, mood in seen.moods
        ],
        "news": [
            {"symbol": symbol, "score": mood.score, "positive": mood.positive, "neutral": mood.neutral,
             "negative": mood.negative, "evidence": mood.evidence, "stories": mood.stories,
             "headlines": mood.headlines, "mixed": mood.mixed, "low_confidence": mood.low_confidence}
            for symbol, mood in sorted(seen.news.items())
        ],
        "signals": [
            {"symbol": one.symbol, "as_of": one.as_of.isoformat(), "name": one.name, "value": one.value,
             "reasons": list(one.reasons)}
            for one in seen.signals
        ],
        "equity": [
            {"session": point.session.isoformat(), "cash_twd": point.cash_twd, "value_twd": point.value_twd}
            for point in seen.equity
        ],
        "surprises": [{"session": session.isoformat(), "text": text} for session, text in seen.surprises],
        "waiting": [{"what": what, "command": command} for what, command in seen.waiting],
    }  # fmt: skip


def _halted_json(halted: Halted | None) -> dict[str, str] | None:
    return {"since": halted.since, "reason": halted.reason, "by": halted.by} if halted else None


def _breaker_json(trip: Trip | None) -> dict[str, str] | None:
    return {"session": trip.session.isoformat(), "text": trip.text} if trip else None


def _position_json(seen: Snapshot, symbol: str) -> dict[str, Any]:
    assert seen.held is not None
    held = seen.held.positions[symbol]
    close = seen.closes_x100.get(symbol)
    value_twd = None if close is None else close * held.shares // 100
    return {
        "symbol": symbol,
        "name": seen.names.get(symbol, ""),
        "shares": held.shares,
        "cost_twd": held.cost_twd,
        "value_twd": value_twd,
        "profit_twd": None if value_twd is None else value_twd - held.cost_twd,
    }
