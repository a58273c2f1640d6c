"""What `twtrader backtest luck` shows: a table of figures, then the verdict on each forecaster in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from backtest.bootstrap import Band
from backtest.luck_run import Judged, Luck
from backtest.verdict import Language

LEAST_WIDTH: Final = 120  # characters; a pipe has no width of its own
COLUMNS: Final = (
    "return", "beats random", "random 5 %..95 %", "round trips", "Sharpe", "of luck", "deflated", "overfitted",
    "a year 5 %..95 %", "max fall 95 %",
)  # fmt: skip
UNKNOWN: Final = "-"


def print_luck(luck: Luck, languages: Sequence[Language]) -> None:
    """The table, the verdicts and the notes, on stdout."""
    from rich.console import Console

    console = Console()
    if console.width < LEAST_WIDTH:
        console = Console(width=LEAST_WIDTH)
    console.print(_table(luck))
    for one in luck.judged:
        if one.headline:
            for language in languages:
                console.print(f"\n{one.forecaster}", style="cyan", markup=False, highlight=False)
                for place, sentence in enumerate(one.said(language)):
                    console.print(sentence, style="" if place else "bold", markup=False, highlight=False)
    if luck.notes:
        console.print()
    for note in luck.notes:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)


def _table(luck: Luck) -> Any:
    """A section for each forecaster; the row that the verdict is about in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    held = f"holding {luck.judged[0].figures.hold_return:+.1%}" if luck.judged else ""
    tried = f"{luck.trials.count:,} settings tried" if luck.trials.count else "no sweep recorded"
    table = Table(
        title=f"Is it luck? {luck.first}..{luck.last}, {held}, {tried}, seed {luck.seed}",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("\nfill rule", overflow="fold", min_width=16)
    for column in COLUMNS:
        table.add_column(column.replace(" ", "\n", 1), justify="right", no_wrap=True)
    before = ""
    for one in luck.judged:
        if one.forecaster != before:
            table.add_section()
            table.add_row(Text(one.forecaster, style="cyan"))
            before = one.forecaster
        worst = " (worst)" if one.headline else ""
        table.add_row(
            Text(f"  {one.figures.fill_rule}{worst}"), *_cells(one, luck), style="bold" if one.headline else ""
        )
    return table


def _cells(one: Judged, luck: Luck) -> list[str]:
    """One row of the table as text; what is not known is a dash."""
    told, year = one.figures, math.sqrt(luck.sessions_a_year)
    random, deflated, bands = told.random, told.deflated, told.bands
    return [
        f"{told.total_return:+.1%}",
        f"{random.percentile:.1%}" if random else UNKNOWN,
        _span(random.returns) if random else UNKNOWN,
        f"{told.trades:,}",
        f"{deflated.sharpe * year:.2f}" if deflated else UNKNOWN,
        f"{deflated.by_luck * year:.2f}" if deflated else UNKNOWN,
        f"{deflated.deflated:.1%}" if deflated else UNKNOWN,
        f"{told.overfitting.probability:.1%}" if told.overfitting else UNKNOWN,
        _span(bands.annual_return) if bands else UNKNOWN,
        f"{bands.max_drawdown.high:.1%}" if bands else UNKNOWN,
    ]


def _span(band: Band) -> str:
    return f"{band.low:+.0%}..{band.high:+.0%}"
