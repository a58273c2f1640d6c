"""The terminal view: what is next, what happened, what we own. Reads the database, asks nothing of the daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from bot.adapters.halt_switch import Halted
from bot.adapters.sqlite_books import BookEvent
from bot.adapters.sqlite_breaker import BreakerStore, Trip
from bot.adapters.sqlite_journal import EquityPoint, Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_orders import JournalOrder
from bot.adapters.sqlite_signals import SignalStore
from bot.adapters.sqlite_stages import StageRun
from bot.config import Config
from bot.core.forecast import Article, Forecast, Sentiment
from bot.core.foreign_text import one_line
from bot.core.market import from_x100
from bot.core.mood import Mood
from bot.core.orders import OPEN_STATES, OrderState
from bot.core.portfolio import Portfolio
from bot.core.signals import Signal
from bot.moods import evening_moods
from bot.reconcile import resolve_command, solving_command

UP, DOWN = "red", "green"  # Taiwan's colours: red rises, green falls
SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 60
WIDE: Final = 120  # columns from which two tables fit side by side
SHOWN: Final = 12  # rows of each list
_STATE_COLOUR: Final = {
    OrderState.FILLED: "bold",
    OrderState.UNKNOWN: "bold yellow",
    OrderState.REJECTED: "yellow",
    OrderState.EXPIRED: "dim",
    OrderState.CANCELLED: "dim",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything the view shows, read at one moment. `held` is None before an account was opened."""

    now: datetime
    clock_note: str  # why `now` is the last thing that happened and not the present; empty when it is
    broker: str
    next_jobs: tuple[tuple[datetime, str], ...]
    stages: tuple[StageRun, ...]
    start_cash_twd: int
    held: Portfolio | None
    closes_x100: Mapping[str, int]
    names: Mapping[str, str]
    orders: tuple[JournalOrder, ...]
    forecasts: tuple[Forecast, ...]
    moods: tuple[tuple[Article, Sentiment], ...]
    equity: tuple[EquityPoint, ...]
    surprises: tuple[tuple[date, str], ...]
    unexplained: tuple[tuple[BookEvent, str], ...]  # with the command that solves each
    signals: tuple[Signal, ...]
    halted: Halted | None
    breaker: Trip | None
    news: Mapping[str, Mood]  # by symbol, as it stood when the newest forecasts' session was decided, else as it is now


def read_snapshot(
    db: Any,
    now: datetime,
    next_jobs: Sequence[tuple[datetime, str]],
    clock_note: str = "",
    halted: Halted | None = None,
    config: Config | None = None,
) -> Snapshot:
    """The state of the database `db`; all orders that are open, and the newest of the rest.

    `config` says how headlines become moods; without it none are shown.
    """
    journal, market = Journal(db), MarketStore(db)
    account = journal.account()
    held = journal.portfolio() if account else None
    orders = journal.orders.select()
    still_open = [one for one in orders if one.state in OPEN_STATES]
    newest = orders[-SHOWN:]
    forecasts = market.newest_forecasts()
    symbols = sorted({*(held.positions if held else ()), *(one.symbol for one in forecasts)})
    return Snapshot(
        now=now,
        clock_note=clock_note,
        broker=account[0] if account else "",
        next_jobs=tuple(next_jobs),
        stages=tuple(journal.stages.last()),
        start_cash_twd=account[1] if account else 0,
        held=held,
        closes_x100=market.last_closes(symbols, until=now.date()) if symbols else {},
        names=market.names(),
        orders=tuple([one for one in still_open if one not in newest] + newest),
        forecasts=tuple(forecasts),
        moods=tuple(market.newest_sentiments(SHOWN)),
        equity=tuple(journal.equity()),
        surprises=tuple(journal.surprises()[-SHOWN:]),
        unexplained=tuple((one, solving_command(journal, one)) for one in journal.books.events(only_open=True)),
        signals=tuple(SignalStore(db).newest()),
        halted=halted,
        breaker=BreakerStore(db).open_trip(),
        news=_news(journal, market, forecasts[0].as_of, now, config) if config and forecasts else {},
    )


def _news(journal: Journal, market: MarketStore, session: date, now: datetime, config: Config) -> Mapping[str, Mood]:
    """The mood of each stock's news in the decision of `session`."""
    model = market.model_of(session, config.model.past_sessions, config.model.future_sessions)
    if model is None:
        return {}
    return evening_moods(market.db, session, model, journal.decided_at(session) or now, config)


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
        "equity_twd": _equity_twd(seen),
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
        "waiting": [{"what": what, "command": command} for what, command in _waiting(seen)],
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


def _equity_twd(seen: Snapshot) -> int | None:
    """Cash and positions at the last known closes; None while that can't be known."""
    if seen.held is None or any(symbol not in seen.closes_x100 for symbol in seen.held.positions):
        return None
    return seen.held.cash_twd + seen.held.value_twd(seen.closes_x100)


# --- the picture ------------------------------------------------------------------------------------------


def render(seen: Snapshot, width: int) -> RenderableType:
    """The whole view for a terminal of `width` columns; narrow ones get one column and fewer details."""
    wide = width >= WIDE
    parts: list[RenderableType] = [_headline(seen)]
    parts += _beside(_jobs(seen), _stages(seen), wide=wide)
    parts += [_positions(seen, wide=wide), Text(), _orders(seen, wide=wide), Text()]
    parts += _beside(_forecasts(seen), _headlines(seen), wide=wide)
    if seen.news:
        parts += [_news_table(seen), Text()]
    if waiting := _waiting(seen):
        lines = Text("\n").join(Text.assemble((what, "bold yellow"), "\n  ", command) for what, command in waiting)
        parts.append(Panel(lines, title="waits for you", title_align="left", border_style="bold yellow"))
    if seen.surprises:
        text = "\n".join(f"{session} {text}" for session, text in seen.surprises)
        parts.append(Panel(Text(text, "yellow"), title="look at this", title_align="left", border_style="yellow"))
    return Group(*parts)


def _waiting(seen: Snapshot) -> list[tuple[str, str]]:
    """What only a person or the next settlement can solve, each with the command that does."""
    unknown = [
        (f"{one.order.key} is unknown: {one.note}", resolve_command(one.order.key))
        for one in seen.orders
        if one.state is OrderState.UNKNOWN
    ]
    return unknown + [(f"{event.text} since {event.first_seen}", command) for event, command in seen.unexplained]


def _headline(seen: Snapshot) -> RenderableType:
    """Time, equity, profit and the equity line."""
    line = Text()
    line.append(f"twtrader {seen.now:%Y-%m-%d %H:%M}", "bold")
    _append_stops(line, seen)
    if seen.held is None:
        line.append("   no account yet: `twtrader run` opens it", "dim")
        return Panel(line)
    line.append(f"   {seen.broker}   cash NT${seen.held.cash_twd:,}")
    equity_twd = _equity_twd(seen)
    if equity_twd is None:
        line.append("   equity unknown: a held stock has no close", "yellow")
    else:
        profit_twd = equity_twd - seen.start_cash_twd
        line.append(f"   equity NT${equity_twd:,}   ")
        line.append(f"{profit_twd:+,} ({profit_twd / seen.start_cash_twd:+.2%})", _colour(profit_twd))
    if seen.clock_note:
        line.append(f"\n{seen.clock_note}", "yellow")
    if seen.equity:
        line.append(f"\n{sparkline([point.equity_twd for point in seen.equity])}", "cyan")
        line.append(f"  {seen.equity[0].session} to {seen.equity[-1].session}", "dim")
    return Panel(line)


def _append_stops(line: Text, seen: Snapshot) -> None:
    """What keeps orders back, where nobody can miss it."""
    if seen.halted:
        line.append("   HALTED ", "bold reverse red")
        line.append(f" {seen.halted.reason} ({seen.halted.by}; `twtrader resume`)", "bold red")
    if seen.breaker:
        line.append("   BREAKER OPEN ", "bold reverse red")
        line.append(f" {seen.breaker.text} (`twtrader resume`)", "bold red")


def sparkline(values: Sequence[int], width: int = SPARK_WIDTH) -> str:
    """`values` as one line of blocks, the newest `width` of them; lowest to highest."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    if low == high:
        return SPARKS[3] * len(shown)
    return "".join(SPARKS[(value - low) * (len(SPARKS) - 1) // (high - low)] for value in shown)


class _Plain(Table):
    """A table whose cells are text as it stands: in a headline, "[/b]" is no markup and an escape moves no cursor."""

    def add_row(self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False) -> None:
        """As Table's."""
        plain = (Text(one_line(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, style=style, end_section=end_section)


def _table(title: str, *columns: str, right: Sequence[str] = (), cut: Sequence[str] = ()) -> Table:
    """A plain table. Columns in `cut` give way when the terminal is narrow; the others are always whole."""
    table = _Plain(title=title, title_justify="left", title_style="bold", expand=bool(cut), box=None, pad_edge=False)
    for column in columns:
        gives_way = column in cut
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="ellipsis",
            no_wrap=True,
            ratio=1 if gives_way else None,
            min_width=None if gives_way else 1,
        )
    return table


def _beside(left: Table, right: Table, *, wide: bool) -> list[RenderableType]:
    """Two tables side by side, or one below the other."""
    if not wide:
        return [left, Text(), right, Text()]
    grid = Table.grid(expand=True, padding=(0, 3))
    grid.add_column()
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return [grid, Text()]


def _jobs(seen: Snapshot) -> Table:
    table = _table("next", "at", "stage")
    for at, stage in seen.next_jobs:
        table.add_row(f"{at:%a %m-%d %H:%M}", stage)
    return table


def _stages(seen: Snapshot) -> Table:
    table = _table("last run", "stage", "session", "took", "outcome", "detail", right=("took",), cut=("detail",))
    for run in seen.stages:
        style = {"failed": "yellow", "waiting": "yellow", "closed": "dim", "skipped": "dim"}.get(run.outcome, "")
        table.add_row(
            run.stage, f"{run.session:%m-%d}", f"{run.duration_s:.1f} s", run.outcome, run.detail, style=style
        )
    return table


def _positions(seen: Snapshot, *, wide: bool) -> Table:
    table = _table(
        "positions", "stock", "shares", "cost", "close", "value", "P/L",
        right=("shares", "cost", "close", "value", "P/L"), cut=("stock",),
    )  # fmt: skip
    for symbol, held in sorted(seen.held.positions.items()) if seen.held else ():
        name = f"{symbol} {seen.names.get(symbol, '')}"
        close = seen.closes_x100.get(symbol)
        if close is None:
            table.add_row(name, f"{held.shares:,}", f"{held.cost_twd:,}", "unknown")
            continue
        value_twd = close * held.shares // 100
        profit_twd = value_twd - held.cost_twd
        share = f"{profit_twd / held.cost_twd:+.1%}" if held.cost_twd else "for nothing"
        told = f"{profit_twd:+,} ({share})" if wide else share
        table.add_row(
            name, f"{held.shares:,}", f"{held.cost_twd:,}", _price(close), f"{value_twd:,}",
            Text(told, _colour(profit_twd)),
        )  # fmt: skip
    if not table.rows:
        table.add_row("none", style="dim")
    return table


def _orders(seen: Snapshot, *, wide: bool) -> Table:
    columns = ["decided", "stock", "side", "shares", "limit", "state", "why", "last word"]
    table = _table("orders", *(columns if wide else columns[:-1]), right=("shares", "limit"), cut=("why", "last word"))
    for one in reversed(seen.orders):
        row: list[str | Text] = [
            f"{one.order.decided:%m-%d}", one.order.symbol, str(one.order.side), f"{one.order.shares:,}",
            _price(one.order.limit_x100), Text(str(one.state), _STATE_COLOUR.get(one.state, "cyan")),
            one.order.reason, one.note,
        ]  # fmt: skip
        table.add_row(*(row if wide else row[:-1]))
    if not table.rows:
        table.add_row("none", style="dim")
    return table


def _forecasts(seen: Snapshot) -> Table:
    newest = seen.forecasts[0].as_of if seen.forecasts else ""
    table = _table(f"forecasts {newest}", "stock", "close", "target", "return", right=("close", "target", "return"))
    ranked = sorted(seen.forecasts, key=lambda one: -_expected(seen, one))
    for one in ranked[:SHOWN]:
        expected = _expected(seen, one)
        close = seen.closes_x100.get(one.symbol)
        table.add_row(
            f"{one.symbol} {seen.names.get(one.symbol, '')}", _price(close) if close else "?", f"{one.target:.2f}",
            Text(f"{expected:+.1%}", _colour(expected)),
        )  # fmt: skip
    return table


def _expected(seen: Snapshot, forecast: Forecast) -> float:
    """The forecast return over its window, as a fraction; 0 where the close isn't known."""
    close = seen.closes_x100.get(forecast.symbol)
    return float(forecast.target) * 100 / close - 1 if close else 0.0


def _news_table(seen: Snapshot) -> Table:
    """What the rule reads of each stock's news, the strongest first, and what speaks against taking it at its word."""
    table = _table(
        "news", "stock", "score", "stories", "good", "bad", "mind", right=("score", "stories", "good", "bad")
    )
    ranked = sorted(seen.news.items(), key=lambda told: (-abs(told[1].score), told[0]))
    for symbol, mood in ranked[:SHOWN]:
        table.add_row(
            f"{symbol} {seen.names.get(symbol, '')}", Text(f"{mood.score:+.2f}", _colour(mood.score)),
            str(mood.stories), f"{mood.positive:.0%}", f"{mood.negative:.0%}", Text(", ".join(mood.flags), "yellow"),
        )  # fmt: skip
    return table


def _headlines(seen: Snapshot) -> Table:
    table = _table("headlines", "stock", "mood", "headline", cut=("headline",))
    for article, mood in seen.moods:
        style = {"positive": UP, "negative": DOWN}.get(mood.label, "")
        certainty = max(mood.positive, mood.neutral, mood.negative)
        table.add_row(article.symbol, Text(f"{mood.label} {certainty:.0%}", style), article.title)
    return table


def _price(price_x100: int) -> str:
    return f"{price_x100 / 100:,.2f}"


def _colour(change: float) -> str:
    """Red rises, green falls."""
    return UP if change > 0 else DOWN if change < 0 else ""
