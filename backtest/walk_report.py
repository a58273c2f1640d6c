"""A walk-forward on screen, for a program, and as files: the out-of-sample line first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backtest.sweep_report import LEAST_WIDTH, number, percent
from backtest.walk_forward import Chosen, Line, Walked


def folder_of(walked: Walked) -> Path:
    """Where its files lie: beside the sweep's own, named by the windows."""
    settings = walked.sweep.config.sweep.walk_forward
    span = f"{settings.train_sessions}+{settings.trade_sessions}-{walked.sweep.space.sweep.objective}"
    return walked.sweep.config.backtest.reports / f"walk-{span}_{walked.sweep.run_id}"


def facts(walked: Walked) -> dict[str, Any]:
    """Everything that the screen says, for --json and walk.json."""
    sessions = walked.sweep.job.tape.sessions
    settings = walked.sweep.config.sweep.walk_forward
    out = walked.chosen[0].window.trade_first
    promised, kept = walked.in_sample, walked.kept
    return walked.sweep.facts | {
        "run_id": folder_of(walked).name,
        "out_of_sample": [sessions[out].isoformat(), sessions[-1].isoformat()],
        "train_sessions": settings.train_sessions,
        "trade_sessions": settings.trade_sessions,
        "headline": headline(walked),
        "lines": [_line_facts(line) | {"worst": line is walked.headline} for line in walked.lines],
        "in_sample": {"yearly": promised[0], "sharpe": promised[1]},
        "kept": {"yearly": kept[0], "sharpe": kept[1]},
        "windows": [_window_facts(walked, number_, one) for number_, one in enumerate(walked.chosen)],
        "notes": list(walked.notes),
    }


def _line_facts(line: Line) -> dict[str, Any]:
    walk = line.walk
    return {"fill_rule": line.fill_rule, **asdict(line.whole), "final_equity_twd": walk.equity_twd[-1],
            "trades": walk.trades, "fills": len(walk.fills), "fees_twd": walk.fees_twd, "taxes_twd": walk.taxes_twd,
            "dividends_twd": walk.dividends_twd, "turnover_twd": walk.turnover_twd}  # fmt: skip


def _window_facts(walked: Walked, place: int, one: Chosen) -> dict[str, Any]:
    sessions, window = walked.sweep.job.tape.sessions, one.window
    return {
        "trained": [sessions[window.train_first].isoformat(), sessions[window.trade_first - 1].isoformat()],
        "traded": [sessions[window.trade_first].isoformat(), sessions[window.trade_last - 1].isoformat()],
        "set": one.set_number,
        "knobs": {name: getattr(one.rules, name) for name in walked.sweep.space.swept},
        "in_sample": asdict(one.in_sample) | {"worst_rule": one.worst_rule, "traded": one.traded},
        "out_of_sample": {line.fill_rule: asdict(line.by_window[place]) for line in walked.lines},
    }


def headline(walked: Walked) -> str:
    """One line: what was left out of sample under the worst fill rule, and how much of the promise that is."""
    line, (promised, _), (kept, _) = walked.headline, walked.in_sample, walked.kept
    if not line.walk.fills:
        return f"{walked.sweep.forecaster}: no trade out of sample under `{line.fill_rule}`, its worst fill rule"
    told = f"{percent(line.whole.net_return)} out of sample under its worst fill rule, `{line.fill_rule}`"
    yearly = f"{percent(line.whole.yearly)} a year where training had promised {percent(promised)}"
    ratio = "degradation unknown: training promised nothing" if kept is None else f"{kept:.2f} of it is left"
    return f"{walked.sweep.forecaster}: {told}; {yearly}: {ratio}"


def write_walk(walked: Walked) -> Path:
    """walk.json, equity.csv and fills.csv in the run's folder, which comes back."""
    folder = folder_of(walked)
    folder.mkdir(parents=True, exist_ok=True)
    told = json.dumps(facts(walked), ensure_ascii=False, indent=2)
    (folder / "walk.json").write_text(told + "\n", encoding="utf-8")
    (folder / "equity.csv").write_text("\n".join(_equity_rows(walked)) + "\n", encoding="utf-8")
    (folder / "fills.csv").write_text("\n".join(_fill_rows(walked)) + "\n", encoding="utf-8")
    return folder


def _equity_rows(walked: Walked) -> Iterator[str]:
    """A line a session from the evening of the first decision on."""
    sessions = walked.sweep.job.tape.sessions[walked.chosen[0].window.trade_first - 1 :]
    yield ",".join(["session", *(line.fill_rule for line in walked.lines)])
    for session, *equity in zip(sessions, *(line.walk.equity_twd for line in walked.lines), strict=True):
        yield ",".join([session.isoformat(), *map(str, equity)])


def _fill_rows(walked: Walked) -> Iterator[str]:
    tape = walked.sweep.job.tape
    yield "fill_rule,session,symbol,shares,price_x100,commission_twd,tax_twd"
    for line in walked.lines:
        for one in line.walk.fills:
            where = f"{line.fill_rule},{tape.sessions[one.session]},{tape.symbols[one.stock]}"
            yield f"{where},{one.shares},{one.price_x100},{one.commission_twd},{one.tax_twd}"


def print_walk(walked: Walked, folder: Path) -> None:
    """The lines, the windows, the headline and the notes, on stdout."""
    from rich.console import Console

    console = Console()
    if console.width < LEAST_WIDTH:
        console = Console(width=LEAST_WIDTH)
    console.print(_lines_table(walked))
    console.print(_windows_table(walked))
    console.print(headline(walked), style="bold", markup=False, highlight=False)
    for note in walked.notes:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print(f"files: {folder}", markup=False, highlight=False, soft_wrap=True)


def _lines_table(walked: Walked) -> Any:
    """A row a fill rule, out of sample only; the worst in bold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    sessions, first = walked.sweep.job.tape.sessions, walked.chosen[0].window.trade_first
    title = f"Out of sample: {sessions[first]}..{sessions[-1]}, {len(sessions) - first} sessions"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", title_justify="left")
    for name in ("fill rule", "return", "a year", "Sharpe", "max fall", "trades", "fees NT$k", "tax NT$k", "div NT$k"):
        table.add_column(name, justify="left" if name == "fill rule" else "right")
    for line in walked.lines:
        worst = line is walked.headline
        money = (f"{part // 1000:,}" for part in (line.walk.fees_twd, line.walk.taxes_twd, line.walk.dividends_twd))
        table.add_row(
            f"{line.fill_rule} (worst)" if worst else line.fill_rule,
            percent(line.whole.net_return),
            percent(line.whole.yearly),
            number(line.whole.sharpe),
            percent(-line.whole.max_drawdown),
            f"{line.walk.trades:,}",
            *money,
            style="bold" if worst else "",
        )
    return table


def _windows_table(walked: Walked) -> Any:
    """A row a window: what was chosen, what it had done in training, what it did then."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    worst = walked.headline
    table = Table(
        title=f"Windows: in sample under each set's worst rule, out of sample under `{worst.fill_rule}`",
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", title_justify="left",
    )  # fmt: skip
    for name in ("traded", *(knob.replace("_", "\n") for knob in walked.sweep.space.swept)):
        table.add_column(name, justify="right")
    for name in ("in sample\na year", "in sample\nSharpe", "out of\nsample", "Sharpe", "max fall"):
        table.add_column(name, justify="right")
    sessions = walked.sweep.job.tape.sessions
    for place, one in enumerate(walked.chosen):
        out = worst.by_window[place]
        table.add_row(
            f"{sessions[one.window.trade_first]}..{sessions[one.window.trade_last - 1]:%m-%d}",
            *(f"{getattr(one.rules, name):,}" for name in walked.sweep.space.swept),
            percent(one.in_sample.yearly),
            number(one.in_sample.sharpe),
            percent(out.net_return),
            number(out.sharpe),
            percent(-out.max_drawdown),
        )
    return table
