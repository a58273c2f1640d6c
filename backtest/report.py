"""A stored backtest on screen and for a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from backtest.score import Score
from backtest.stored_run import StoredRun

# --- facts ------------------------------------------------------------------------------------------------


def facts(run: StoredRun) -> dict[str, Any]:
    """Everything the report says, for --json."""
    told = {name: run.facts[name] for name in ("run_id", "from", "to", "sessions", "sessions_a_year")}
    return told | {
        "headline": [headline(one, run.scores[-1]) for one in run.headlines],
        "rows": [asdict(one) | {"worst": one in run.headlines} for one in run.scores],
        "notes": run.facts["notes"],
        "inputs": run.facts["inputs"],
        "folder": str(run.folder),
    }


def headline(one: Score, hold: Score) -> str:
    """One line: what is left under the fill rule that is worst for it, and what holding would have left."""
    told = f"{percent(one.total_return)} under its worst fill rule, `{one.fill_rule}`"
    if not one.fills:
        told = "no trade"
    return f"{one.forecaster}: {told}; buy-and-hold {percent(hold.total_return)}"


# --- the terminal -----------------------------------------------------------------------------------------

COLUMNS: Final = ("forecaster", "fill rule", "return", "a year", "Sharpe", "max fall", "trades", "open", "win rate",
                  "profit factor", "fees NT$k", "tax NT$k", "turnover")  # fmt: skip
LEAST_WIDTH: Final = 108  # characters; a pipe has no width of its own
FIRST_COLUMN: Final = 16  # characters; a longer model name is folded


def print_report(run: StoredRun) -> None:
    """The table, the headline, the notes and where the files are, on stdout."""
    from rich.console import Console

    console = Console()
    if console.width < LEAST_WIDTH:
        console = Console(width=LEAST_WIDTH)
    console.print(_screen_table(run))
    for one in run.headlines:
        console.print(headline(one, run.scores[-1]), style="bold", markup=False, highlight=False)
    for note in run.facts["notes"]:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print(f"report: {run.folder}", markup=False, highlight=False, soft_wrap=True)


def _screen_table(run: StoredRun) -> Any:
    """A section for each forecaster, its worst row in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    sessions = run.runs[0].sessions
    title = f"{sessions[0]}..{sessions[-1]}, {len(sessions)} sessions, {run.facts['sessions_a_year']:g} a year"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("\nfill rule", overflow="fold", min_width=FIRST_COLUMN)
    for column in COLUMNS[2:]:
        table.add_column(column.replace(" ", "\n"), justify="right", no_wrap=True)
    before = ""
    for one in run.scores:
        if one.forecaster != before:
            table.add_section()
            table.add_row(Text(one.forecaster, style="cyan"))
            before = one.forecaster
        worst = one in run.headlines
        cells = [Text(cell) for cell in cells_of(one, worst=worst)]
        cells[2].stylize({"up": "red", "down": "green", "": ""}[direction(one.total_return)])
        table.add_row(Text("  ") + cells[1], *cells[2:], style="bold" if worst else "")
    return table


def cells_of(one: Score, *, worst: bool) -> list[str]:
    """One row of the table as text; a figure that means nothing is a dash."""
    return [
        one.forecaster,
        one.fill_rule + (" (worst)" if worst else ""),
        percent(one.total_return),
        percent(one.annual_return),
        _number(one.sharpe),
        percent(one.max_drawdown),
        f"{one.trades:,}",
        f"{one.open_positions:,}",
        percent(one.win_rate, sign=""),
        _number(one.profit_factor),
        _thousands(one.commission_twd),
        _thousands(one.tax_twd),
        f"{one.turnover:,.1f}x",
    ]


def direction(change: float) -> str:
    """Whether a change is a gain or a loss; "" for neither."""
    return "up" if change > 0 else "down" if change < 0 else ""


def percent(fraction: float | None, sign: str = "+") -> str:
    """A fraction with one digit of its percentage; a dash where there is none."""
    if fraction is None:
        return "-"
    return f"{fraction:{sign}.1%}" if fraction else "0.0%"


def _thousands(money_twd: int) -> str:
    """Thousands of NT$, with a decimal where a small sum would else look like nothing."""
    return f"{money_twd / 1_000:,.0f}" if money_twd >= 100_000 else f"{money_twd / 1_000:,.1f}"  # noqa: PLR2004


def _number(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f}"
