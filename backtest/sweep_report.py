"""A sweep on screen, for a program, and its heat map as one HTML page that needs no network. Red is up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from backtest.sweep import Sweep, Watch
from backtest.sweep_results import HeatMap, Results
from backtest.trials import Trials

SHOWN: Final = 10  # rows of a table on screen
SCALE: Final = [[0.0, "#1a7f37"], [0.5, "#f7f7f7"], [1.0, "#c62828"]]  # green: a loss, red: a gain, as in Taiwan
LEAST_WIDTH: Final = 108  # characters; a pipe has no width of its own
FIGURES: Final = ("net_return", "sharpe", "max_drawdown", "turnover", "trades")


def best_first(results: Results, places: Any) -> list[int]:
    """`places` with the highest objective first; the lower set of equals first."""
    worth = results.objective(results.facts["objective"])[places]
    ordered: list[int] = places[np.argsort(-worth, kind="stable")].tolist()
    return ordered


def alike(results: Results, places: Sequence[int], most: int | None = None) -> list[list[int]]:
    """`places` in groups of equal figures, in their order and at most `most`: they differ in knobs without effect."""
    figures = np.nan_to_num(np.stack([results.worst(name)[places] for name in FIGURES], axis=1))
    groups: dict[tuple[float, ...], list[int]] = {}
    for place, row in zip(places, figures.tolist(), strict=True):
        key = tuple(row)
        if key in groups or most is None or len(groups) < most:
            groups.setdefault(key, []).append(place)
    return list(groups.values())


def facts(results: Results, trials: Trials, notes: Sequence[str], folder: Path, heat: HeatMap | None) -> dict[str, Any]:
    """Everything that the screen says, for --json; of sets with equal figures the first, and how many there are."""
    best = best_first(results, np.flatnonzero(results.traded))
    return results.facts | {
        "folder": str(folder),
        "traded": int(results.traded.sum()),
        "best": _sets_facts(results, alike(results, best, SHOWN)),
        "pareto": _sets_facts(results, alike(results, best_first(results, results.pareto()))),
        "heat": heat
        and {
            "across": heat.across,
            "down": heat.down,
            "across_labels": heat.across_labels,
            "down_labels": heat.down_labels,
            "median": [[None if math.isnan(value) else value for value in row] for row in heat.median.tolist()],
            "sets": heat.sets.tolist(),
        },
        "trials": asdict(trials),
        "notes": list(notes),
    }


def _sets_facts(results: Results, groups: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The first set of each group: its number, the swept knobs, and what its worst fill rule gave."""
    told = []
    for row, group in zip(results.table.take([group[0] for group in groups]).to_pylist(), groups, strict=True):
        rule = row["worst_rule"]
        knobs = {name: row[name] for name in results.swept}
        figures = {name: row[f"{rule}_{name}"] for name in (*FIGURES, "fees_twd", "taxes_twd", "dividends_twd")}
        told.append({"set": row["set"], "same": len(group), **knobs, "worst_rule": rule, **figures})
    return told


def notes_of(sweep: Sweep, results: Results) -> list[str]:
    """What a reader of the figures has to know."""
    notes = list(sweep.notes)
    idle = len(results.traded) - int(results.traded.sum())
    if idle:
        notes.append(f"{idle:,} of {len(results.traded):,} sets never traded: they are in no table")
    return notes


def print_sweep(results: Results, trials: Trials, notes: Sequence[str], folder: Path, heat: HeatMap | None) -> None:
    """The front, the best, the heat map, the notes and where the files are, on stdout."""
    console = _console()
    told = results.facts
    front = best_first(results, results.pareto())
    days = f"{told['from']}..{told['to']}, {told['sessions']} sessions, {told['symbols']} stocks"
    console.print(f"{told['forecaster']}, {told['sets']:,} sets, {days}", style="bold", highlight=False)
    if front:
        title = f"Pareto front: {len(front):,} sets that no other beats in return, max fall and turnover"
        console.print(title, style="bold", highlight=False)
        console.print(_table(results, front))
        best = best_first(results, np.flatnonzero(results.traded))
        console.print(f"Best by {told['objective']} under the set's worst fill rule", style="bold", highlight=False)
        console.print(_table(results, best))
    if heat is not None:
        title = f"Median return under the worst fill rule: {heat.down} (down) x {heat.across} (across)"
        console.print(title, style="bold", highlight=False)
        console.print(_heat_table(heat))
    for note in notes:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print(
        f"{trials.count:,} different sets were tried on these days so far: the best of so many looks good by luck",
        highlight=False,
    )
    console.print(f"results: {folder}", markup=False, highlight=False, soft_wrap=True)


def _table(results: Results, places: Sequence[int]) -> Any:
    """At most SHOWN different rows; sets that differ in a knob without effect are one row with their number."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("set", *results.swept):
        table.add_column(name.replace("_", "\n"), justify="right")
    for name in ("worst\nrule", "return", "Sharpe", "max\nfall", "turn-\nover", "trades", "same"):
        table.add_column(name, justify="right")
    figures = {name: results.worst(name) for name in FIGURES}
    for group in alike(results, places, SHOWN):
        place = group[0]
        knobs = [f"{results.column(name)[place]:,}" for name in ("set", *results.swept)]
        table.add_row(
            *knobs,
            results.table.column("worst_rule")[place].as_py(),
            percent(figures["net_return"][place]),
            number(figures["sharpe"][place]),
            percent(-figures["max_drawdown"][place]),
            f"{figures['turnover'][place]:.1f}",
            f"{int(figures['trades'][place]):,}",
            f"x{len(group)}" if len(group) > 1 else "",
        )
    return table


# --- the heat map -----------------------------------------------------------------------------------------


def _heat_table(heat: HeatMap) -> Any:
    """The map in colours; a cell says its median return."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 0), header_style="bold")
    table.add_column("")
    for label in heat.across_labels:
        table.add_column(label, justify="right")
    extreme = _extreme(heat)
    for label, row in zip(heat.down_labels, heat.median, strict=True):
        cells = [Text(f" {percent(value)} ", style=f"#111111 on {_colour(value, extreme)}") if not math.isnan(value)
                 else Text("-") for value in row]  # fmt: skip
        table.add_row(label, *cells)
    return table


def write_heat(heat: HeatMap, path: Path, title: str) -> None:
    """The map as one HTML page with Plotly inside."""
    import plotly.graph_objects as go

    extreme = _extreme(heat)
    text = [[f"{percent(value)}<br>{count:,} sets" for value, count in zip(row, counts, strict=True)]
            for row, counts in zip(heat.median, heat.sets, strict=True)]  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            z=[[None if math.isnan(value) else 100 * value for value in row] for row in heat.median],
            x=list(heat.across_labels),
            y=list(heat.down_labels),
            text=text,
            texttemplate="%{text}",
            hovertemplate=f"{heat.across} %{{x}}<br>{heat.down} %{{y}}<br>%{{text}}<extra></extra>",
            colorscale=SCALE,
            zmin=-100 * extreme,
            zmax=100 * extreme,
            colorbar={"title": "median return, %"},
        )
    )
    figure.update_layout(
        title=f"{title}<br><sup>median return of each cell's sets, each under its worst fill rule</sup>",
        xaxis={"title": heat.across, "type": "category"},
        yaxis={"title": heat.down, "type": "category"},
    )
    figure.write_html(path, include_plotlyjs=True, full_html=True)


def _extreme(heat: HeatMap) -> float:
    """The largest median, gain or loss: both ends of the colours, so that white is zero."""
    known = np.abs(heat.median[~np.isnan(heat.median)])
    return float(known.max()) if len(known) and known.max() > 0 else 0.01


def _colour(value: float, extreme: float) -> str:
    """The colour of a return between green at -extreme, white at 0 and red at +extreme."""
    share = max(-1.0, min(1.0, value / extreme))
    ends = (SCALE[2][1], SCALE[1][1]) if share >= 0 else (SCALE[0][1], SCALE[1][1])
    far, middle = ([int(str(one)[place : place + 2], 16) for place in (1, 3, 5)] for one in ends)
    mixed = (round(white + (end - white) * abs(share)) for end, white in zip(far, middle, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


# --- words ------------------------------------------------------------------------------------------------


def percent(fraction: float | None) -> str:
    """A fraction as a signed percentage, `-` where there is none."""
    return "-" if fraction is None or math.isnan(fraction) else f"{100 * fraction:+.1f} %"


def number(value: float | None) -> str:
    """Two digits after the point, `-` where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _console() -> Any:
    from rich.console import Console

    console = Console()
    return Console(width=LEAST_WIDTH) if console.width < LEAST_WIDTH else console


@contextmanager
def progress_bar() -> Iterator[Watch]:
    """A bar on stderr with sets a second and the time left; nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        """Sets a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f} sets/s")

    console = Console(stderr=True)
    columns = (TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield _Bar(progress)


class _Bar:
    """A watch that shows."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("sweep", total=None)

    def start(self, total: int, done: int) -> None:
        self._progress.reset(self._task, total=total, completed=done)

    def add(self, sets: int) -> None:
        self._progress.advance(self._task, sets)
