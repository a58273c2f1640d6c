"""A backtest on screen, as CSV files, and as one HTML page that needs no network. Red is up and green is down."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Final

from backtest.replay import Run
from backtest.run import Backtest
from backtest.score import Score
from bot.core.orders import Fill
from bot.core.portfolio import Position

UP: Final = "#d62728"  # red: a gain, as in Taiwan
DOWN: Final = "#2ca02c"
HUES: Final = ("#1f77b4", "#9467bd", "#e08214", "#17a2b8", "#8c564b", "#c51b7d", "#4d4d4d")
DASH_OF_RULE: Final = {"open": "solid", "range": "dash", "touch": "dot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A position from purchase to sale, costs included; `closed` and `exit_x100` are None while it is open."""

    symbol: str
    shares: int
    opened: date
    entry_x100: int
    closed: date | None
    exit_x100: int | None
    profit_twd: int
    profit: float
    reason: str


def trades_of(run: Run) -> list[Trade]:
    """The positions of `run` in the order of their purchase; the rule buys once and sells everything."""
    reasons = {order.key: order.reason for step in run.steps for order in step.orders}
    held: dict[str, Fill] = {}
    trades = []
    for fill in run.fills:
        if fill.shares > 0:
            held[fill.symbol] = fill
        else:
            trades.append(_trade(held.pop(fill.symbol), fill, fill.cash_change_twd, reasons[fill.key]))
    positions = run.steps[-1].held.positions if run.steps else {}
    for symbol, bought in held.items():
        trades.append(_open_trade(bought, positions[symbol]))
    return sorted(trades, key=lambda trade: (trade.opened, trade.symbol))


def _trade(bought: Fill, sold: Fill | None, proceeds_twd: int, reason: str) -> Trade:
    cost_twd = -bought.cash_change_twd
    return Trade(
        symbol=bought.symbol,
        shares=bought.shares,
        opened=bought.session,
        entry_x100=bought.price_x100,
        closed=sold.session if sold else None,
        exit_x100=sold.price_x100 if sold else None,
        profit_twd=proceeds_twd - cost_twd,
        profit=(proceeds_twd - cost_twd) / cost_twd,
        reason=reason,
    )


def _open_trade(bought: Fill, position: Position) -> Trade:
    """A position that is still held; its profit stands at nothing until it is sold."""
    return _trade(bought, None, position.cost_twd, "")


# --- facts ------------------------------------------------------------------------------------------------


def facts(result: Backtest) -> dict[str, Any]:
    """Everything the report says, for --json and run.json."""
    first, last = result.runs[0].sessions[0], result.runs[0].sessions[-1]
    return {
        "run_id": result.run_id,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "sessions": len(result.runs[0].sessions),
        "sessions_a_year": result.sessions_a_year,
        "headline": [headline(one, result.scores[-1]) for one in result.headlines],
        "rows": [asdict(one) | {"worst": one in result.headlines} for one in result.scores],
        "notes": list(result.notes),
    }


def headline(one: Score, hold: Score) -> str:
    """One line: what is left under the fill rule that is worst for it, and what holding would have left."""
    told = f"{_percent(one.total_return)} under its worst fill rule, `{one.fill_rule}`"
    if not one.fills:
        told = "no trade"
    return f"{one.forecaster}: {told}; buy-and-hold {_percent(hold.total_return)}"


# --- the terminal -----------------------------------------------------------------------------------------

COLUMNS: Final = ("forecaster", "fill rule", "return", "a year", "Sharpe", "max fall", "trades", "open", "win rate",
                  "profit factor", "fees NT$k", "tax NT$k", "turnover")  # fmt: skip
LEAST_WIDTH: Final = 108  # characters; a pipe has no width of its own
FIRST_COLUMN: Final = 16  # characters; a longer model name is folded


def print_report(result: Backtest, folder: Path) -> None:
    """The table, the headline, the notes and where the files are, on stdout."""
    from rich.console import Console

    console = Console()
    if console.width < LEAST_WIDTH:
        console = Console(width=LEAST_WIDTH)
    console.print(_screen_table(result))
    for one in result.headlines:
        console.print(headline(one, result.scores[-1]), style="bold", markup=False, highlight=False)
    for note in result.notes:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def _screen_table(result: Backtest) -> Any:
    """A section for each forecaster, its worst row in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    sessions = result.runs[0].sessions
    title = f"{sessions[0]}..{sessions[-1]}, {len(sessions)} sessions, {result.sessions_a_year:g} a year"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("\nfill rule", overflow="fold", min_width=FIRST_COLUMN)
    for column in COLUMNS[2:]:
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    before = ""
    for one in result.scores:
        if one.forecaster != before:
            table.add_section()
            table.add_row(Text(one.forecaster, style="cyan"))
            before = one.forecaster
        worst = one in result.headlines
        cells = [Text(cell) for cell in _cells(one, worst=worst)]
        cells[2].stylize({"up": "red", "down": "green", "": ""}[_direction(one.total_return)])
        table.add_row(Text("  ") + cells[1], *cells[2:], style="bold" if worst else "")
    return table


def _cells(one: Score, *, worst: bool) -> list[str]:
    """One row of the table as text; a figure that means nothing is a dash."""
    return [
        one.forecaster,
        one.fill_rule + (" (worst)" if worst else ""),
        _percent(one.total_return),
        _percent(one.annual_return),
        _number(one.sharpe),
        _percent(one.max_drawdown),
        f"{one.trades:,}",
        f"{one.open_positions:,}",
        _percent(one.win_rate, sign=""),
        _number(one.profit_factor),
        _thousands(one.commission_twd),
        _thousands(one.tax_twd),
        f"{one.turnover:,.1f}x",
    ]


def _percent(fraction: float | None, sign: str = "+") -> str:
    if fraction is None:
        return "-"
    return f"{fraction:{sign}.1%}" if fraction else "0.0%"


def _thousands(money_twd: int) -> str:
    """Thousands of NT$, with a decimal where a small sum would else look like nothing."""
    return f"{money_twd / 1_000:,.0f}" if money_twd >= 100_000 else f"{money_twd / 1_000:,.1f}"  # noqa: PLR2004


def _number(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"


# --- files ------------------------------------------------------------------------------------------------


def write_report(result: Backtest, reports: Path) -> Path:
    """Write summary.csv, equity.csv, fills.csv, run.json and report.html to `reports`/RUN_ID; returns that folder.

    The same run writes the same files again.
    """
    folder = reports / result.run_id
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "summary.csv", [field.name for field in fields(Score)], map(_score_row, result.scores))
    _write_csv(folder / "equity.csv", ["session", *map(_label, result.runs)], _equity_rows(result.runs))
    fill_columns = ["forecaster", "fill_rule", *(field.name for field in fields(Fill))]
    _write_csv(folder / "fills.csv", fill_columns, _fill_rows(result.runs))
    (folder / "run.json").write_text(json.dumps(facts(result), ensure_ascii=False, indent=2), encoding="utf-8")
    (folder / "report.html").write_text(_page(result), encoding="utf-8")
    return folder


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _score_row(one: Score) -> list[object]:
    return list(asdict(one).values())


def _equity_rows(runs: Sequence[Run]) -> Iterator[Sequence[object]]:
    """A session and what each run was worth at its close."""
    return zip(runs[0].sessions, *(run.equity_twd for run in runs), strict=True)


def _fill_rows(runs: Sequence[Run]) -> Iterator[Sequence[object]]:
    for run in runs:
        for fill in run.fills:
            yield [run.forecaster, run.fill_rule, *asdict(fill).values()]


def _label(run: Run) -> str:
    return f"{run.forecaster} {run.fill_rule}"


# --- the page ---------------------------------------------------------------------------------------------

STYLE: Final = f"""
body {{ font: 15px/1.5 system-ui, "Noto Sans TC", sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }}
th, td {{ padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
thead th {{ position: sticky; top: 0; background: #fff; }}
tr.worst td {{ font-weight: 600; background: #fff7e0; }}
.up {{ color: {UP}; }} .down {{ color: {DOWN}; }}
.scroll {{ max-height: 30rem; overflow: auto; }}
.headline {{ font-size: 1.15rem; font-weight: 600; }}
code {{ font-size: .85em; overflow-wrap: anywhere; }}
"""


def _page(result: Backtest) -> str:
    """The whole report in one file: plotly's script is inside it."""
    told = facts(result)
    headlines = "".join(f"<p class='headline'>{html.escape(line)}</p>" for line in told["headline"])
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result.notes)
    worst = [run for run, one in zip(result.runs, result.scores, strict=True) if one in result.headlines]
    trades = "".join(_trade_section(run, result) for run in worst)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Backtest {told['from']}..{told['to']}</title><style>{STYLE}</style></head><body>"
        f"<h1>Backtest {told['from']}..{told['to']}</h1>{headlines}"
        f"<p>{told['sessions']} sessions, {told['sessions_a_year']:g} a year. Run <code>{result.run_id}</code></p>"
        f"{_score_table(result)}{_figure(result)}{trades}<h2>Notes</h2><ul>{notes}</ul></body></html>"
    )


def _score_table(result: Backtest) -> str:
    rows = []
    for one in result.scores:
        worst = one in result.headlines
        cells = [f"<td>{html.escape(cell)}</td>" for cell in _cells(one, worst=worst)]
        cells[2] = f"<td class='{_direction(one.total_return)}'>{_percent(one.total_return)}</td>"
        rows.append(f"<tr class='{'worst' if worst else ''}'>{''.join(cells)}</tr>")
    return _table(COLUMNS, rows)


def _figure(result: Backtest) -> str:
    """Equity of every run above, its fall from the last peak below; a click on a name hides it in both."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.04, row_heights=[0.68, 0.32])
    hue_of = {name: HUES[number % len(HUES)] for number, name in enumerate(result.by_forecaster)}
    sessions = list(result.runs[0].sessions)
    for run in result.runs:
        hue = hue_of.get(run.forecaster, "#000000")
        look = {"color": hue, "dash": DASH_OF_RULE[run.fill_rule], "width": 1.6}
        both = {"x": sessions, "name": _label(run), "legendgroup": _label(run), "mode": "lines", "line": look}
        figure.add_scatter(y=list(run.equity_twd), **both, row=1, col=1)
        figure.add_scatter(y=_falls(run.equity_twd), **both, showlegend=False, row=2, col=1)
    figure.update_layout(height=720, template="plotly_white", hovermode="x unified", margin={"t": 20, "l": 60, "r": 20})
    figure.update_yaxes(title_text="equity, NT$", row=1, col=1)
    figure.update_yaxes(title_text="fall from the peak", tickformat=".0%", row=2, col=1)
    page: str = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    return page


def _falls(equity_twd: Sequence[int]) -> list[float]:
    """How far below its last peak each value stands, as a fraction of the peak; at most 0."""
    falls, peak = [], equity_twd[0]
    for value in equity_twd:
        peak = max(peak, value)
        falls.append(round(value / peak - 1, 5))
    return falls


def _trade_section(run: Run, result: Backtest) -> str:
    """The positions of a forecaster under its worst fill rule."""
    trades = trades_of(run)
    title = html.escape(f"Trades of {run.forecaster} under `{run.fill_rule}`, its worst fill rule")
    if not trades:
        return f"<h2>{title}</h2><p>None: see the notes.</p>"
    rows = [_trade_row(trade, result.names.get(trade.symbol, "")) for trade in trades]
    columns = ("stock", "bought", "at", "shares", "sold", "at", "profit NT$", "profit", "sold because")
    return f"<h2>{title}</h2><div class='scroll'>{_table(columns, rows)}</div>"


def _trade_row(trade: Trade, name: str) -> str:
    is_open = trade.exit_x100 is None
    cells = [
        html.escape(f"{trade.symbol} {name}"),
        str(trade.opened),
        f"{trade.entry_x100 / 100:,.2f}",
        f"{trade.shares:,}",
        "open" if is_open else str(trade.closed),
        "" if trade.exit_x100 is None else f"{trade.exit_x100 / 100:,.2f}",
        "" if is_open else f"{trade.profit_twd:+,}",
        "" if is_open else _percent(trade.profit),
        html.escape(trade.reason),
    ]
    look = _direction(0 if is_open else trade.profit_twd)
    marked = [f"<td class='{look if 6 <= number <= 7 else ''}'>{cell}</td>" for number, cell in enumerate(cells)]  # noqa: PLR2004
    return f"<tr>{''.join(marked)}</tr>"


def _table(columns: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _direction(change: float) -> str:
    """The colour of a change: Taiwan's red is up."""
    return "up" if change > 0 else "down" if change < 0 else ""
