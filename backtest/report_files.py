"""A stored backtest as CSV files, beside its tables. The same run writes the same files again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from backtest.played_run import PlayedRun, Traded
from backtest.score import Score
from backtest.stored_run import StoredRun


def write_csv(run: StoredRun) -> None:
    """Write summary.csv, equity.csv and fills.csv to the run's folder."""
    columns = ["forecaster", "fill_rule", *(field.name for field in fields(Traded))]
    _write(
        run.folder / "summary.csv",
        [field.name for field in fields(Score)],
        (asdict(one).values() for one in run.scores),
    )
    _write(run.folder / "equity.csv", ["session", *(one.label for one in run.runs)], _equity_rows(run.runs))
    _write(run.folder / "fills.csv", columns, _fill_rows(run.runs))


def _write(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _equity_rows(runs: Sequence[PlayedRun]) -> Iterator[Sequence[object]]:
    """A session and what each run was worth at its close."""
    return zip(runs[0].sessions, *(run.equity_twd for run in runs), strict=True)


def _fill_rows(runs: Sequence[PlayedRun]) -> Iterator[Sequence[object]]:
    for run in runs:
        for one in run.traded:
            yield [run.forecaster, run.fill_rule, *asdict(one).values()]
