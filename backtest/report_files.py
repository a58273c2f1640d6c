"""A stored backtest as CSV files, beside its tables. The same run writes the same files again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from backtest.played_run import PlayedRun, Traded
from backtest.score import Score
from backtest.stored_run import StoredRun

SCORE: Final = tuple(field.name for field in fields(Score))


def write_csv(run: StoredRun) -> None:
    """Write summary.csv, equity.csv and fills.csv to the run's folder, knowledge.csv and masked.csv."""
    columns = ["forecaster", "fill_rule", *(field.name for field in fields(Traded))]
    known = {name: told["known"] for name, told in run.knowledge.items()}
    _write(
        run.folder / "summary.csv",
        [*SCORE, "known_sessions"],
        ([*asdict(one).values(), known.get(one.forecaster, 0)] for one in run.scores),
    )
    marks = [f"known to {name}" for name in known]
    _write(run.folder / "equity.csv", ["session", *(one.label for one in run.runs), *marks], _equity_rows(run))
    if run.knowledge:
        _write(run.folder / "knowledge.csv", ["sessions_counted", "contaminated", *SCORE, "hold"], _knowledge_rows(run))
    if run.masked:
        columns_of_both = ["sessions_counted", "answers", "evenings", "differing", *SCORE]
        _write(run.folder / "masked.csv", columns_of_both, _masked_rows(run))
    _write(run.folder / "fills.csv", columns, _fill_rows(run.runs))


def _write(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _equity_rows(run: StoredRun) -> Iterator[Sequence[object]]:
    """A session, what each run was worth at its close, and by model that may know some sessions: 1 where it may."""
    lines = [one.equity_twd for one in run.runs]
    cutoffs = [told["trained_until"] for told in run.knowledge.values()]
    for session, *worth in zip(run.runs[0].sessions, *lines, strict=True):
        yield [session, *worth, *(int(session.isoformat() < cutoff) for cutoff in cutoffs)]


def _knowledge_rows(run: StoredRun) -> Iterator[Sequence[object]]:
    """A score with or without the sessions that its model may know, and holding over the same."""
    for known in run.knowledge.values():
        for part in known["parts"]:
            for told in part["scores"]:
                hold = part["hold"]["total_return"]
                yield [part["label"], int(part["contaminated"]), *(told[name] for name in SCORE), hold]


def _masked_rows(run: StoredRun) -> Iterator[Sequence[object]]:
    """A score of plain or masked answers."""
    for told in run.masked:
        for part in told["parts"]:
            for kind in ("plain", "masked"):
                for one in part[kind]:
                    yield [part["label"], kind, part["evenings"], part["differing"], *(one[name] for name in SCORE)]


def _fill_rows(runs: Sequence[PlayedRun]) -> Iterator[Sequence[object]]:
    for run in runs:
        for one in run.traded:
            yield [run.forecaster, run.fill_rule, *asdict(one).values()]
