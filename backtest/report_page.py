"""A stored backtest as one HTML page that needs no network: Plotly's script is inside it, once."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from backtest.played_run import PlayedRun
from backtest.report import (
    COLUMNS,
    KNOWLEDGE_COLUMNS,
    MASKED_COLUMNS,
    cells_of,
    direction,
    headline_lines,
    knowledge_rows,
    knowledge_words,
    known_days,
    masked_rows,
    masked_words,
    percent,
)
from backtest.report_beside import Beside
from backtest.report_charts import (
    Chart,
    contribution_chart,
    cost_chart,
    equity_chart,
    heat_chart,
    k_line,
    line_chart,
    quality_chart,
)
from backtest.stored_run import StoredRun
from backtest.trades import Trade, trades_of
from bot.chart_colours import Colours

STYLE: Final = """
body {{ font: 15px/1.5 system-ui, "Noto Sans TC", sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }}
th, td {{ padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
thead th {{ position: sticky; top: 0; background: #fff; }}
tr.worst td {{ font-weight: 600; background: #fff7e0; }}
.up {{ color: {up}; }} .down {{ color: {down}; }}
.scroll {{ max-height: 30rem; overflow: auto; }}
.headline {{ font-size: 1.15rem; font-weight: 600; }}
code {{ font-size: .85em; overflow-wrap: anywhere; }}
"""
SCRIPT: Final = """
const LOOK = {displaylogo: false, responsive: true};
for (const [id, chart] of Object.entries(CHARTS)) Plotly.newPlot(id, chart.data, chart.layout, LOOK);
for (const [id, stocks] of Object.entries(KLINES)) {
  const choice = document.getElementById(id + "-stock");
  const draw = () => Plotly.newPlot(id, stocks[choice.value].data, stocks[choice.value].layout, LOOK);
  choice.addEventListener("change", draw);
  draw();
}
"""
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIRST_PROFIT, LAST_PROFIT = 6, 7  # the coloured columns of the trades


def write_page(run: StoredRun, path: Path, colours: Colours, beside: Beside) -> None:
    """Write the page to `path`. The same run, with the same things beside it, gives the same bytes."""
    path.write_text(_page(run, colours, beside), encoding="utf-8")


def _page(run: StoredRun, colours: Colours, beside: Beside) -> str:
    facts = run.facts
    charts: dict[str, Chart] = {
        "equity": equity_chart(run),
        "costs": cost_chart(run.runs),
        "quality": quality_chart(run.quality),
    }
    klines: dict[str, dict[str, Chart]] = {}
    sections = [_section(place, one, run, colours, charts, klines) for place, one in enumerate(run.worst_runs)]
    lines = "".join(f"<p class='headline'>{html.escape(line)}</p>" for line in headline_lines(run))
    title = f"Backtest {facts['from']}..{facts['to']}"
    body = [
        f"<h1>{title}</h1>{lines}",
        f"<p>{facts['sessions']} sessions, {facts['sessions_a_year']:g} a year. Run <code>{run.run_id}</code></p>",
        _score_table(run),
        _known(run),
        "<div id='equity'></div>",
        _verdict(beside),
        _monthly(run),
        "<h2>Turnover and costs</h2>" + _cost_table(run.runs) + "<div id='costs'></div>",
        "<h2>How good the forecasts were</h2>" + _quality_words(run) + "<div id='quality'></div>",
        *sections,
        _beside(beside, charts, colours),
        "<h2>Notes</h2><ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in facts["notes"]) + "</ul>",
        _inputs(facts["inputs"]),
    ]
    plotly = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE.format(up=colours.up, down=colours.down)}</style>"
        f"<script>{plotly}</script></head><body>{''.join(body)}"
        f"<script>const CHARTS = {_json(charts)};\nconst KLINES = {_json(klines)};{SCRIPT}</script></body></html>\n"
    )


def _json(value: Any) -> str:
    """JSON that can stand in a script: no text in it can end the script."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


# --- the parts --------------------------------------------------------------------------------------------


def _score_table(run: StoredRun) -> str:
    rows = []
    for one in run.scores:
        known = run.knowledge.get(one.forecaster, {}).get("known", 0)
        worst = one in run.headlines and not known
        cells = [f"<td>{html.escape(cell)}</td>" for cell in cells_of(one, worst=worst, known=known)]
        cells[2] = f"<td class='{direction(one.total_return)}'>{percent(one.total_return)}</td>"
        rows.append(f"<tr class='{'worst' if worst else ''}'>{''.join(cells)}</tr>")
    return _table(COLUMNS, rows)


def _known(run: StoredRun) -> str:
    """With and without the sessions that a model may know; plain against masked answers."""
    parts = []
    for known in run.knowledge.values():
        rows = [_row(cells) for cells in knowledge_rows(known)]
        days = known_days(run, known)
        parts.append(
            f"<h2>What the model may know</h2><p>{html.escape(knowledge_words(known))}. Known to the model: "
            f"{days[0]}..{days[-1]}, shaded in the chart.</p>{_table(KNOWLEDGE_COLUMNS, rows)}"
        )
    for told in run.masked:
        rows = [_row(cells) for cells in masked_rows(told)]
        words = f"<p>{html.escape(masked_words(told))}.</p>"
        parts.append(f"<h2>Masked</h2>{words}{_table(MASKED_COLUMNS, rows)}<p>{html.escape(told['meaning'])}</p>")
    return "".join(parts)


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def monthly_returns(run: PlayedRun) -> dict[int, dict[int, float]]:
    """By year and month, from the last close of the month before (the first session for the first) to its last."""
    last: dict[tuple[int, int], int] = {}
    for session, equity in zip(run.sessions, run.equity_twd, strict=True):
        last[session.year, session.month] = equity
    told: dict[int, dict[int, float]] = {}
    before = run.start_cash_twd
    for (year, month), equity in last.items():
        told.setdefault(year, {})[month] = equity / before - 1
        before = equity
    return told


def _monthly(run: StoredRun) -> str:
    """A table of months for each headline's run and for buy-and-hold."""
    parts = ["<h2>By month</h2>"]
    for one in (*run.worst_runs, run.runs[-1]):
        rows = []
        for year, months in monthly_returns(one).items():
            whole = 1.0
            for change in months.values():
                whole *= 1 + change
            cells = "".join(_change(months.get(month)) for month in range(1, 13))
            rows.append(f"<tr><td>{year}</td>{_change(whole - 1)}{cells}</tr>")
        parts.append(f"<h3>{html.escape(one.label)}</h3>{_table(('', 'year', *MONTHS), rows)}")
    return "".join(parts)


def _change(change: float | None) -> str:
    return "<td></td>" if change is None else f"<td class='{direction(change)}'>{percent(change)}</td>"


def _cost_table(runs: Sequence[PlayedRun]) -> str:
    """Turnover and what trading cost, each also as a share of the mean equity."""
    rows = []
    for run in runs:
        mean = sum(run.equity_twd) / len(run.equity_twd)
        parts = [
            sum(one.commission_twd for one in run.traded),
            sum(one.tax_twd for one in run.traded),
            sum(one.slippage_twd for one in run.traded),
        ]
        turnover = sum(one.value_twd for one in run.traded)
        told = [f"{twd:,} ({twd / mean:.2%})" for twd in (*parts, sum(parts), run.dividends_twd)]
        cells = "".join(f"<td>{cell}</td>" for cell in (html.escape(run.label), f"{turnover / mean:,.1f}x", *told))
        rows.append(f"<tr>{cells}</tr>")
    columns = ("run", "turnover", "commission NT$", "tax NT$", "slippage NT$", "costs NT$", "dividends NT$")
    words = (
        "Slippage is the fills' price against the session's reference price (the close before, on an ex-date the "
        "exchange's own)."
    )
    return f"{_table(columns, rows)}<p>{words}</p>"


def _quality_words(run: StoredRun) -> str:
    """A line a forecaster: its error beside that of the last close, over everything."""
    lines = []
    for name, quality in run.quality.items():
        count = sum(quality.stocks)
        told = sum(n * error for n, error in zip(quality.stocks, quality.told_error, strict=True)) / count
        plain = sum(n * error for n, error in zip(quality.stocks, quality.last_close_error, strict=True)) / count
        horizon = run.facts["horizons"][name]
        lines.append(
            f"{name}: {told:.2%} off after {horizon} session{'s' if horizon > 1 else ''} over {count:,} forecasts; "
            f"the last close was {plain:.2%} off"
        )
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines) or "<p>No forecast could be measured.</p>"


def _section(
    place: int,
    one: PlayedRun,
    run: StoredRun,
    colours: Colours,
    charts: dict[str, Chart],
    klines: dict[str, dict[str, Chart]],
) -> str:
    """What each stock brought, the K-lines and the trades of a forecaster under its worst fill rule."""
    names = run.facts["names"]
    title = html.escape(f"{one.forecaster} under `{one.fill_rule}`, its worst fill rule")
    trades = trades_of(one)
    if not trades:
        return f"<h2>{title}</h2><p>No trade: see the notes.</p>"
    charts[f"brought-{place}"] = contribution_chart(one, names, colours)
    stocks = {symbol: [fill for fill in one.traded if fill.symbol == symbol] for symbol in one.contribution_twd}
    horizon = run.facts["horizons"][one.forecaster]
    klines[f"kline-{place}"] = {
        symbol: k_line(run.bars[symbol], fills, horizon, colours) for symbol, fills in stocks.items()
    }
    options = "".join(
        f"<option value='{symbol}'>{symbol} {html.escape(names.get(symbol, ''))}</option>"
        for symbol in sorted(stocks, key=lambda symbol: (-len(stocks[symbol]), symbol))
    )
    rows = [_trade_row(trade, names.get(trade.symbol, "")) for trade in trades]
    columns = ("stock", "bought", "at", "shares", "sold", "at", "profit NT$", "profit", "sold because")
    return (
        f"<h2>{title}</h2><h3>What each stock brought</h3><div id='brought-{place}'></div>"
        f"<h3>Trades on K-lines</h3><p><select id='kline-{place}-stock'>{options}</select></p>"
        f"<div id='kline-{place}'></div>"
        f"<h3>Trades</h3><div class='scroll'>{_table(columns, rows)}</div>"
    )


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
        "" if is_open else percent(trade.profit),
        html.escape(trade.reason),
    ]
    look = direction(0 if is_open else trade.profit_twd)
    marked = [
        f"<td class='{look if FIRST_PROFIT <= number <= LAST_PROFIT else ''}'>{cell}</td>"
        for number, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(marked)}</tr>"


def _verdict(beside: Beside) -> str:
    """Is it luck, in plain words."""
    if not beside.verdicts:
        return "<h2>Is it luck?</h2><p>Not judged: run it with <code>--luck</code>.</p>"
    parts = ["<h2>Is it luck?</h2>"]
    for forecaster, said in beside.verdicts.items():
        parts.append(f"<h3>{html.escape(forecaster)}</h3>")
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in said]
    return "".join(parts)


def _beside(beside: Beside, charts: dict[str, Chart], colours: Colours) -> str:
    """What else is known of the same data: a sweep's map, the out-of-sample line of a walk-forward."""
    parts = []
    for place, walk in enumerate(beside.walks):
        charts[f"walk-{place}"] = line_chart(walk.days, walk.lines, "equity out of sample, NT$")
        parts.append(f"<h2>Walk-forward</h2><p>{html.escape(walk.headline)}</p><div id='walk-{place}'></div>")
    for place, heat in enumerate(beside.heats):
        words = f"{heat.name}: median return of each cell's sets, each under its worst fill rule"
        charts[f"heat-{place}"] = heat_chart(
            words, heat.across_labels, heat.down_labels, heat.median, (heat.across, heat.down), colours
        )
        parts.append(f"<h2>Parameters</h2><div id='heat-{place}'></div>")
    return "".join(parts)


def _inputs(inputs: dict[str, Any]) -> str:
    """What the figures follow from."""
    told = html.escape(json.dumps(inputs, ensure_ascii=False, indent=1))
    return f"<details><summary>What the figures follow from</summary><pre>{told}</pre></details>"


def _table(columns: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
