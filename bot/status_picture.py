"""The status as a picture for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bot.core.forecast import Forecast
from bot.core.orders import OrderState
from bot.status import SHOWN, Snapshot
from bot.terminal_tables import beside, table_of

UP, DOWN = "red", "green"  # Taiwan's colours: red rises, green falls
SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 60
WIDE: Final = 120  # columns from which two tables fit side by side
_STATE_COLOUR: Final = {
    OrderState.FILLED: "bold",
    OrderState.UNKNOWN: "bold yellow",
    OrderState.REJECTED: "yellow",
    OrderState.EXPIRED: "dim",
    OrderState.CANCELLED: "dim",
}


def render(seen: Snapshot, width: int) -> RenderableType:
    """The whole view for a terminal of `width` columns; narrow ones get one column and fewer details."""
    wide = width >= WIDE
    parts: list[RenderableType] = [_headline(seen)]
    parts += beside(_jobs(seen), _stages(seen), wide=wide)
    parts += [_positions(seen, wide=wide), Text(), _orders(seen, wide=wide), Text()]
    parts += beside(_forecasts(seen), _headlines(seen), wide=wide)
    if seen.news:
        parts += [_news_table(seen), Text()]
    if waiting := seen.waiting:
        lines = Text("\n").join(Text.assemble((what, "bold yellow"), "\n  ", command) for what, command in waiting)
        parts.append(Panel(lines, title="waits for you", title_align="left", border_style="bold yellow"))
    if seen.surprises:
        text = "\n".join(f"{session} {text}" for session, text in seen.surprises)
        parts.append(Panel(Text(text, "yellow"), title="look at this", title_align="left", border_style="yellow"))
    return Group(*parts)


def _headline(seen: Snapshot) -> RenderableType:
    """Time, equity, profit and the equity line."""
    line = Text()
    line.append(f"twtrader {seen.now:%Y-%m-%d %H:%M}", "bold")
    _append_stops(line, seen)
    if seen.held is None:
        line.append("   no account yet: `twtrader run` opens it", "dim")
        return Panel(line)
    line.append(f"   {seen.broker}   cash NT${seen.held.cash_twd:,}")
    equity_twd = seen.equity_twd
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


def _jobs(seen: Snapshot) -> Table:
    table = table_of("next", "at", "stage")
    for at, stage in seen.next_jobs:
        table.add_row(f"{at:%a %m-%d %H:%M}", stage)
    return table


def _stages(seen: Snapshot) -> Table:
    table = table_of("last run", "stage", "session", "took", "outcome", "detail", right=("took",), cut=("detail",))
    for run in seen.stages:
        style = {"failed": "yellow", "waiting": "yellow", "closed": "dim", "skipped": "dim"}.get(run.outcome, "")
        table.add_row(
            run.stage, f"{run.session:%m-%d}", f"{run.duration_s:.1f} s", run.outcome, run.detail, style=style
        )
    return table


def _positions(seen: Snapshot, *, wide: bool) -> Table:
    table = table_of(
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
    table = table_of(
        "orders", *(columns if wide else columns[:-1]), right=("shares", "limit"), cut=("why", "last word")
    )
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
    table = table_of(f"forecasts {newest}", "stock", "close", "target", "return", right=("close", "target", "return"))
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
    table = table_of(
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
    table = table_of("headlines", "stock", "mood", "headline", cut=("headline",))
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
