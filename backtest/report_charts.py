"""The report's charts as Plotly's own JSON: traces and a layout each, with no figure objects in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from backtest.played_run import PlayedRun, Traded
from backtest.score import falls
from backtest.stored_run import Quality, StoredRun
from bot.chart_colours import Colours
from bot.core.market import from_x100

HUES: Final = ("#1f77b4", "#9467bd", "#e08214", "#17a2b8", "#8c564b", "#c51b7d", "#4d4d4d")
HOLD_HUE: Final = "#000000"
DASH_OF_RULE: Final = {"open": "solid", "range": "dash", "touch": "dot"}
Chart = dict[str, Any]  # data and layout, as Plotly.newPlot takes them


def equity_chart(run: StoredRun) -> Chart:
    """Equity of every run above, its fall from the last peak below; a click on a name hides it in both."""
    names = list(dict.fromkeys(one.forecaster for one in run.runs[:-1]))
    hue_of = {name: HUES[number % len(HUES)] for number, name in enumerate(names)}
    days = [day.isoformat() for day in run.runs[0].sessions]
    data: list[dict[str, Any]] = []
    for one in run.runs:
        line = {"color": hue_of.get(one.forecaster, HOLD_HUE), "dash": DASH_OF_RULE[one.fill_rule], "width": 1.6}
        both = {
            "type": "scatter",
            "mode": "lines",
            "x": days,
            "name": one.label,
            "legendgroup": one.label,
            "line": line,
        }
        data.append({**both, "y": list(one.equity_twd)})
        fall = [round(value, 5) for value in falls(one.equity_twd)]
        data.append({**both, "y": fall, "yaxis": "y2", "showlegend": False})
    layout = _layout(
        720,
        hovermode="x unified",
        yaxis={"title": {"text": "equity, NT$"}, "domain": [0.34, 1]},
        yaxis2={"title": {"text": "fall from the peak"}, "tickformat": ".0%", "domain": [0, 0.3]},
        xaxis={"anchor": "y2"},
    )
    shaded = [_shade(days[0], min(one["trained_until"], days[-1])) for one in run.knowledge.values()]
    return {"data": data, "layout": layout | ({"shapes": shaded} if shaded else {})}


def _shade(first: str, last: str) -> dict[str, Any]:
    """The days that a model may know, grey behind the lines."""
    across = {"type": "rect", "xref": "x", "yref": "paper", "x0": first, "x1": last, "y0": 0, "y1": 1}
    words = {"text": "known to the model", "textposition": "top left"}
    return across | {"fillcolor": "#999", "opacity": 0.2, "line": {"width": 0}, "layer": "below", "label": words}


def contribution_chart(run: PlayedRun, names: Mapping[str, str], colours: Colours) -> Chart:
    """What each stock brought, best first, costs and dividends included."""
    rows = sorted(run.contribution_twd.items(), key=lambda row: (row[1], row[0]))
    bar = {
        "type": "bar",
        "orientation": "h",
        "x": [twd for _, twd in rows],
        "y": [f"{symbol} {names.get(symbol, '')}".strip() for symbol, _ in rows],
        "marker": {"color": [colours.up if twd > 0 else colours.down for _, twd in rows]},
        "hovertemplate": "%{y}: NT$%{x:,}<extra></extra>",
    }
    layout = _layout(120 + 18 * len(rows), xaxis={"title": {"text": "NT$"}}, yaxis={"type": "category"})
    return {"data": [bar], "layout": layout | {"margin": {"t": 20, "l": 140, "r": 20}}}


def cost_chart(runs: Sequence[PlayedRun]) -> Chart:
    """Commission, tax and slippage of each run side by side, stacked; slippage may be a gain."""
    parts = {
        "commission": [sum(one.commission_twd for one in run.traded) for run in runs],
        "tax": [sum(one.tax_twd for one in run.traded) for run in runs],
        "slippage against the reference price": [sum(one.slippage_twd for one in run.traded) for run in runs],
    }
    labels = [run.label for run in runs]
    data = [{"type": "bar", "name": name, "x": labels, "y": values} for name, values in parts.items()]
    return {"data": data, "layout": _layout(380, barmode="relative", yaxis={"title": {"text": "NT$"}})}


def quality_chart(told: Mapping[str, Quality]) -> Chart:
    """The mean error of each forecaster by month, beside the error of "nothing changes" over the same horizon."""
    data: list[dict[str, Any]] = []
    for number, (name, quality) in enumerate(told.items()):
        months, errors, plain = monthly_errors(quality)
        line = {"color": HUES[number % len(HUES)], "width": 1.8}
        data.append({"type": "scatter", "mode": "lines", "name": name, "x": months, "y": errors, "line": line})
        dotted = {"color": HUES[number % len(HUES)], "width": 1.2, "dash": "dot"}
        data.append(
            {"type": "scatter", "mode": "lines", "name": f"{name}: last close", "x": months, "y": plain, "line": dotted}
        )
    title = "mean error of the target"
    return {
        "data": data,
        "layout": _layout(380, hovermode="x unified", yaxis={"title": {"text": title}, "tickformat": ".1%"}),
    }


def monthly_errors(quality: Quality) -> tuple[list[str], list[float], list[float]]:
    """Months, and by month both errors, each forecast counted once."""
    rows = zip(quality.sessions, quality.stocks, quality.told_error, quality.last_close_error, strict=True)
    months, errors, plain = [], [], []
    for month, of_month in groupby(rows, key=lambda row: f"{row[0]:%Y-%m}"):
        told = list(of_month)
        count = sum(row[1] for row in told)
        months.append(month)
        errors.append(round(sum(row[1] * row[2] for row in told) / count, 6))
        plain.append(round(sum(row[1] * row[3] for row in told) / count, 6))
    return months, errors, plain


def k_line(bars: Mapping[str, Sequence[Any]], traded: Sequence[Traded], horizon: int, colours: Colours) -> Chart:
    """A stock's K-lines with its fills; from each purchase's decision a line to what the forecast promised."""
    days = [day.isoformat() for day in bars["session"]]
    place = {day: number for number, day in enumerate(days)}
    candles: dict[str, Any] = {
        "type": "candlestick", "x": days, "name": "K-line",
        "increasing": {"line": {"color": colours.up}, "fillcolor": colours.up},
        "decreasing": {"line": {"color": colours.down}, "fillcolor": colours.down},
    }  # fmt: skip
    for name in ("open", "high", "low", "close"):
        candles[name] = [price / 100 for price in bars[f"{name}_x100"]]
    promised_x: list[str | None] = []
    promised_y: list[float | None] = []
    for one in traded:
        begun = place.get(one.decided.isoformat())
        if one.target_x100 and begun is not None:
            end = min(begun + horizon, len(days) - 1)
            promised_x += [days[begun], days[end], None]
            promised_y += [bars["close_x100"][begun] / 100, one.target_x100 / 100, None]
    data = [
        candles,
        {"type": "scatter", "mode": "lines", "name": f"forecast, {horizon} sessions", "x": promised_x, "y": promised_y,
         "line": {"color": "#1f77b4", "width": 1.2, "dash": "dot"}},
        _fills([one for one in traded if one.shares > 0], "bought", "triangle-up", "#1f77b4"),
        _fills([one for one in traded if one.shares < 0], "sold", "triangle-down", "#000000"),
    ]  # fmt: skip
    xaxis = {"type": "category", "rangeslider": {"visible": False}, "nticks": 12}
    return {"data": data, "layout": _layout(520, xaxis=xaxis, yaxis={"title": {"text": "NT$ a share"}})}


def _fills(traded: Sequence[Traded], name: str, mark: str, colour: str) -> dict[str, Any]:
    """The marks of one side; the text says why."""
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [one.session.isoformat() for one in traded],
        "y": [one.price_x100 / 100 for one in traded], "text": [_why(one) for one in traded],
        "hovertemplate": "%{x} %{text}<extra></extra>",
        "marker": {"symbol": mark, "size": 10, "color": colour, "line": {"color": "#fff", "width": 1}},
    }  # fmt: skip


def _why(one: Traded) -> str:
    target = f", target {from_x100(one.target_x100)}" if one.target_x100 else ", no forecast"
    return f"{one.shares:+,} at {from_x100(one.price_x100)}: {one.reason}{target} as of {one.decided}"


def heat_chart(
    title: str, across: Sequence[str], down: Sequence[str], median: Any, words: tuple[str, str], colours: Colours
) -> Chart:
    """A sweep's map: the median return of each cell, white at zero."""
    cells = [[None if value != value else round(float(value), 5) for value in row] for row in median]  # noqa: PLR0124 (NaN)
    extreme = max((abs(value) for row in cells for value in row if value is not None), default=0.01) or 0.01
    data = {
        "type": "heatmap", "x": list(across), "y": list(down), "z": cells, "zmin": -extreme, "zmax": extreme,
        "colorscale": [[0, colours.down], [0.5, "#ffffff"], [1, colours.up]], "texttemplate": "%{z:.1%}",
    }  # fmt: skip
    layout = _layout(
        420,
        title={"text": title},
        xaxis={"type": "category", "title": {"text": words[0]}},
        yaxis={"type": "category", "title": {"text": words[1]}},
    )
    return {"data": [data], "layout": layout | {"margin": {"t": 60, "l": 90, "r": 20}}}


def line_chart(x: Sequence[str], lines: Mapping[str, Sequence[float]], title: str) -> Chart:
    """Plain lines over days."""
    data = [{"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y)} for name, y in lines.items()]
    return {"data": data, "layout": _layout(380, hovermode="x unified", yaxis={"title": {"text": title}})}


def _layout(height: int, **more: Any) -> dict[str, Any]:
    margin = {"t": 20, "l": 60, "r": 20, "b": 40}
    return {"height": height, "margin": margin, "paper_bgcolor": "#fff", "plot_bgcolor": "#fafafa", **more}
