"""A stored backtest on screen and for a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from backtest.knowledge import clean_part
from backtest.score import Score, worst
from backtest.stored_run import StoredRun

# --- facts ------------------------------------------------------------------------------------------------


def facts(run: StoredRun) -> dict[str, Any]:
    """Everything the report says, for --json."""
    told = {name: run.facts[name] for name in ("run_id", "from", "to", "sessions", "sessions_a_year")}
    return told | {
        "headline": headline_lines(run),
        "rows": [asdict(one) | _marks(run, one) for one in run.scores],
        "known_to_model": {name: known_days(run, told) for name, told in run.knowledge.items()},
        "knowledge": list(run.knowledge.values()),
        "masked": list(run.masked),
        "notes": run.facts["notes"],
        "inputs": run.facts["inputs"],
        "folder": str(run.folder),
    }


def _marks(run: StoredRun, one: Score) -> dict[str, Any]:
    """Whether a row is a headline, and of how many sessions the model may know what followed."""
    known = run.knowledge.get(one.forecaster)
    return {"worst": one in run.headlines and known is None, "known_sessions": known["known"] if known else 0}


def headline_lines(run: StoredRun) -> list[str]:
    """A line for each forecaster; of a model that may know some of the sessions, the rest of them alone."""
    lines = []
    for one in run.headlines:
        known = run.knowledge.get(one.forecaster)
        lines.append(_clean_headline(known) if known else headline(one, run.scores[-1]))
    return lines


def headline(one: Score, hold: Score) -> str:
    """One line: what is left under the fill rule that is worst for it, and what holding would have left."""
    told = f"{percent(one.total_return)} under its worst fill rule, `{one.fill_rule}`"
    if not one.fills:
        told = "no trade"
    return f"{one.forecaster}: {told}; buy-and-hold {percent(hold.total_return)}"


def _clean_headline(known: Mapping[str, Any]) -> str:
    """The headline of a model that may know some of the sessions: of the others, or that there is none."""
    clean = clean_part(known)
    if clean is None:
        return (
            f"{known['forecaster']}: no headline: the model may know every session (trained until "
            f"{known['trained_until']})"
        )
    line = headline(worst([Score(**one) for one in clean["scores"]]), Score(**clean["hold"]))
    return (
        f"{line} (only the {clean['sessions']} sessions from {clean['first']} on; the {known['known']} before are "
        "known to the model)"
    )


def known_days(run: StoredRun, known: Mapping[str, Any]) -> list[str]:
    """The sessions of a run that the model may know, ISO."""
    days = [session.isoformat() for session in run.runs[0].sessions]
    return [day for day in days if day < known["trained_until"]]


KNOWLEDGE_COLUMNS: Final = ("sessions counted", "fill rule", "days", "return", "a year", "Sharpe", "max fall", "trades",
                            "hold")  # fmt: skip


def knowledge_rows(known: Mapping[str, Any]) -> Iterator[list[str]]:
    """With and without the sessions that a model may know, by fill rule, as text."""
    for part in known["parts"]:
        label = part["label"] + (" (contaminated)" if part["contaminated"] else "")
        for told in part["scores"]:
            one = Score(**told)
            yield [
                label,
                one.fill_rule,
                str(part["sessions"]),
                percent(one.total_return),
                percent(one.annual_return),
                _number(one.sharpe),
                percent(one.max_drawdown),
                f"{one.trades:,}",
                percent(part["hold"]["total_return"]),
            ]


def knowledge_words(known: Mapping[str, Any]) -> str:
    """What stands over the table of a model that may know some of the sessions."""
    return (
        f"{known['forecaster']} was trained until {known['trained_until']}: it may know {known['known']} of "
        f"{known['sessions']} sessions. Each part is played from cash alone"
    )


MASKED_COLUMNS: Final = ("sessions counted", "fill rule", "plain", "masked", "difference", "Sharpe", "masked",
                         "decisions that differ")  # fmt: skip


def masked_rows(told: Mapping[str, Any]) -> Iterator[list[str]]:
    """Plain against masked by part and fill rule, as text."""
    for part in told["parts"]:
        label = part["label"] + (" (contaminated)" if part["contaminated"] and len(told["parts"]) > 1 else "")
        share = part["differing_share"]
        differ = f"{part['differing']:,} of {part['evenings']:,} ({percent(share, sign='')})"
        for plain, masked in zip(part["plain"], part["masked"], strict=True):
            yield [
                label,
                plain["fill_rule"],
                percent(plain["total_return"]),
                percent(masked["total_return"]),
                percent(masked["total_return"] - plain["total_return"]),
                _number(plain["sharpe"]),
                _number(masked["sharpe"]),
                differ,
            ]


def masked_words(told: Mapping[str, Any]) -> str:
    """What stands over the table of plain against masked answers."""
    alone = f"; {told['alone']:,} that have one only are left out" if told["alone"] else ""
    return f"{told['forecaster']}, plain and masked: {told['pairs']:,} answers of each{alone}"


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
    for known in run.knowledge.values():
        console.print(_plain_table(knowledge_words(known), KNOWLEDGE_COLUMNS, knowledge_rows(known)))
    for told in run.masked:
        console.print(_plain_table(masked_words(told), MASKED_COLUMNS, masked_rows(told)))
        console.print(told["meaning"], style="dim", markup=False, highlight=False)
    for line in headline_lines(run):
        console.print(line, style="bold", markup=False, highlight=False)
    for note in run.facts["notes"]:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print(f"report: {run.folder}", markup=False, highlight=False, soft_wrap=True)


def _plain_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    """Text in columns, a line between the groups of the first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place > 1 else "left", overflow="fold")
    before = ""
    for row in rows:
        if before and row[0] != before:
            table.add_section()
        table.add_row("" if row[0] == before else row[0], *row[1:])
        before = row[0]
    return table


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
        marks = _marks(run, one)
        cells = [Text(cell) for cell in cells_of(one, worst=marks["worst"], known=marks["known_sessions"])]
        cells[2].stylize({"up": "red", "down": "green", "": ""}[direction(one.total_return)])
        table.add_row(Text("  ") + cells[1], *cells[2:], style="bold" if marks["worst"] else "")
    return table


def cells_of(one: Score, *, worst: bool, known: int = 0) -> list[str]:
    """One row of the table as text; a figure that means nothing is a dash. `known` sessions are known to the model."""
    mark = " (worst)" if worst else f" (knows {known} of {one.sessions})" if known else ""
    return [
        one.forecaster,
        one.fill_rule + mark,
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
