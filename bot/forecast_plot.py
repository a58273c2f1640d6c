"""A forecast as a picture: the K-line of the past, the forecast with its band, and what came true (Plotly).

An HTML file holds Plotly's own script and needs no network. A PNG is drawn by the same script in a headless Chrome or
Chromium through kaleido, on this machine alone.
"""

from __future__ import annotations

import html
import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from bot.chart_colours import Colours
from bot.errors import Refused
from bot.forecast_view import Answer, Step, p_up_words

KINDS: Final = (".html", ".png")
HUE: Final = "#1f77b4"
BAND_FILL: Final = "rgba(31, 119, 180, 0.15)"
FONT: Final = "Noto Sans TC, Noto Sans CJK TC, PingFang TC, Microsoft JhengHei, sans-serif"
WIDTH, HEIGHT, SCALE = 1100, 620, 2  # of a PNG, in pixels before scaling
REMEDY: Final = "pip install 'twtrader[plot]' and a Chrome or Chromium (or `plotly_get_chrome`), or write .html"
SCRIPT: Final = "Plotly.newPlot('plot', CHART.data, CHART.layout, {displaylogo: false, responsive: true});"


def check_plot(path: Path) -> None:
    """Find out before the model is asked whether `path` can be written.

    Raises:
        Refused: another kind of file, no such folder, or nothing here that draws a PNG.
    """
    if path.suffix.lower() not in KINDS:
        raise Refused(f"{path}: a plot is written as .html or .png")
    if not path.parent.is_dir() or path.is_dir():
        raise Refused(f"{path}: no such folder" if not path.is_dir() else f"{path}: is a folder")
    if path.suffix.lower() == ".png" and not _can_draw():
        raise Refused(f"{path.name}: a PNG needs {REMEDY}")


def write_plot(answer: Answer, path: Path, colours: Colours) -> None:
    """Draw `answer` into `path`, as its suffix says.

    Raises:
        Refused: the file can't be written, or the browser does not draw.
    """
    told = chart(answer, colours)
    try:
        if path.suffix.lower() == ".png":
            path.write_bytes(_png(told))
        else:
            path.write_text(_page(answer, told), encoding="utf-8")
    except OSError as wrong:
        raise Refused(f"{path}: {wrong.strerror or wrong}") from wrong


def chart(answer: Answer, colours: Colours) -> dict[str, Any]:
    """Data and layout as Plotly takes them. Sessions stand side by side: days without trade are no holes."""
    last, steps = answer.last, answer.steps
    begin = str(last.session)
    ahead = [begin, *[step.label for step in steps]]
    came = [_candles([str(bar.session) for bar in answer.came], answer.came, "came true", colours)]
    data = [
        _candles([str(bar.session) for bar in answer.past], answer.past, "past", colours),
        *(came if answer.came else []),
        *_band(ahead, float(last.close), steps),
        _median(ahead, answer),
    ]
    told = _candles(ahead[1:], answer.forecast.bars, "forecast K-line", colours)
    for way in ("increasing", "decreasing"):
        told[way] = {"line": {**told[way]["line"], "width": 1.2}, "fillcolor": "rgba(0, 0, 0, 0)"}
    data.append({**told, "opacity": 0.55, "whiskerwidth": 0})
    order = list(dict.fromkeys([*[str(bar.session) for bar in answer.past], *ahead]))
    mark = {
        "type": "line", "xref": "x", "yref": "paper", "x0": begin, "x1": begin, "y0": 0, "y1": 1,
        "line": {"color": "#888", "width": 1, "dash": "dot"},
    }  # fmt: skip
    layout = {
        "title": {"text": html.escape(title(answer))},
        "height": HEIGHT,
        "font": {"family": FONT},
        "margin": {"t": 60, "l": 70, "r": 20, "b": 60},
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fafafa",
        "shapes": [mark],
        "xaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": order,
            "rangeslider": {"visible": False},
            "nticks": 14,
        },
        "yaxis": {"title": {"text": "NT$ a share"}},
        "legend": {"orientation": "h", "y": -0.16},
        "hovermode": "x unified",
    }
    return {"data": data, "layout": layout}


def title(answer: Answer) -> str:
    """What the picture shows."""
    told = answer.forecast
    return f"{answer.company.symbol} {answer.company.name} after {told.as_of}: {p_up_words(told)}, {told.model}"


def _candles(days: list[str], bars: Any, name: str, colours: Colours) -> dict[str, Any]:
    """K-lines, solid."""
    told: dict[str, Any] = {
        "type": "candlestick", "x": days, "name": name,
        "increasing": {"line": {"color": colours.up}, "fillcolor": colours.up},
        "decreasing": {"line": {"color": colours.down}, "fillcolor": colours.down},
    }  # fmt: skip
    return told | {what: [float(getattr(bar, what)) for bar in bars] for what in ("open", "high", "low", "close")}


def _band(days: list[str], last: float, steps: list[Step]) -> list[dict[str, Any]]:
    """The 10..90 % band of the close, opening from the last known one; nothing where the model told none."""
    bands = [step.band for step in steps if step.band]
    if len(bands) < len(steps):
        return []
    edge = {"type": "scatter", "mode": "lines", "x": days, "line": {"width": 0.6, "color": HUE}}
    low = edge | {"y": [last, *[float(band.low) for band in bands]], "name": "10 %", "showlegend": False}
    high = edge | {"y": [last, *[float(band.high) for band in bands]], "name": "10..90 % of the close"}
    return [low, high | {"fill": "tonexty", "fillcolor": BAND_FILL}]


def _median(days: list[str], answer: Answer) -> dict[str, Any]:
    """The told closes."""
    closes = [float(answer.last.close), *[float(bar.close) for bar in answer.forecast.bars]]
    return {
        "type": "scatter", "mode": "lines+markers", "name": "forecast close (median)", "x": days, "y": closes,
        "line": {"color": HUE, "width": 2, "dash": "dot"}, "marker": {"size": 5},
    }  # fmt: skip


def _page(answer: Answer, told: dict[str, Any]) -> str:
    """One page with Plotly's script inside; no text in it can end a script."""
    plotly = files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")
    words = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    heading = html.escape(title(answer))
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in answer.notes)
    return (
        "<!doctype html><html lang='zh-Hant'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{heading}</title>"
        f"<script>{plotly}</script></head><body><div id='plot'></div>{notes}"
        f"<script>const CHART = {words};\n{SCRIPT}</script></body></html>\n"
    )


def _can_draw() -> bool:
    """Whether kaleido and a browser are here."""
    import os

    try:
        import kaleido  # noqa: F401
        from choreographer.browsers.chromium import Chromium
    except ImportError:
        return False
    return bool(os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False))


def _png(told: dict[str, Any]) -> bytes:
    """The picture's bytes. No maths script is loaded: that would come over the network."""
    try:
        import kaleido
        from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError, KaleidoError
    except ImportError as absent:
        raise Refused(f"a PNG needs {REMEDY}") from absent
    for chatty in ("kaleido", "choreographer"):  # a browser's own messages are no news to whoever asked for a picture
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    opts = {"format": "png", "width": WIDTH, "height": HEIGHT, "scale": SCALE}
    try:
        drawn: bytes = kaleido.calc_fig_sync(told, opts=opts, kopts={"mathjax": False})
    except (BrowserClosedError, BrowserFailedError, ChromeNotFoundError, KaleidoError, TimeoutError) as wrong:
        why = str(wrong).strip().splitlines()
        raise Refused(f"no PNG: {why[0] if why else type(wrong).__name__}; a PNG needs {REMEDY}") from wrong
    return drawn
