"""What lies beside a stored run about the same data: its verdict on luck, sweeps, walk-forwards."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backtest.stored_run import StoredRun
from backtest.sweep_parts import RESULTS, read_facts
from backtest.sweep_results import first_two, heat_map, read_results
from bot.errors import Refused

LUCK: Final = "luck.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A walk-forward's out-of-sample equity by fill rule, TWD."""

    headline: str
    days: Sequence[str]
    lines: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heat:
    """The map of a sweep's first two knobs."""

    name: str
    across: str
    down: str
    across_labels: Sequence[str]
    down_labels: Sequence[str]
    median: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is there; `verdicts` are plain sentences by forecaster."""

    verdicts: Mapping[str, Sequence[str]]
    walks: Sequence[Walk]
    heats: Sequence[Heat]


def beside(run: StoredRun, reports: Path) -> Beside:
    """What is stored about the very bars, ex-dates and forecasts of `run`, in the order of its folders' names."""
    tapes = set(run.facts["tape_sha256"].values())
    return Beside(verdicts=_verdicts(run), walks=_walks(reports, tapes), heats=_heats(reports, tapes))


def store_luck(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep the verdicts with the run in `folder`."""
    text = json.dumps(facts, ensure_ascii=False, indent=2)
    (folder / LUCK).write_text(text + "\n", encoding="utf-8")


def _verdicts(run: StoredRun) -> dict[str, list[str]]:
    path = run.folder / LUCK
    if not path.exists():
        return {}
    told = json.loads(path.read_text(encoding="utf-8"))
    return {
        one["forecaster"]: [sentence for said in one["verdict"].values() for sentence in said]
        for one in told["rows"]
        if one["headline"]
    }


def _walks(reports: Path, tapes: set[str]) -> list[Walk]:
    walks = []
    for path in sorted(reports.glob("walk-*/walk.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["data_sha256"] not in tapes:
            continue
        with (path.parent / "equity.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        lines = {name: [float(row[place]) for row in rows] for place, name in enumerate(header) if place}
        walks.append(Walk(headline=facts["headline"], days=[row[0] for row in rows], lines=lines))
    return walks


def _heats(reports: Path, tapes: set[str]) -> list[Heat]:
    heats = []
    for path in sorted(reports.glob(f"*/{RESULTS}")):
        try:
            if read_facts(path)["data_sha256"] not in tapes:
                continue
            results = read_results(path)
        except Refused:
            continue  # a table that another version wrote
        knobs = first_two(results.swept, results)
        if knobs:
            told = heat_map(results, *knobs)
            heats.append(
                Heat(
                    name=path.parent.name,
                    across=told.across,
                    down=told.down,
                    across_labels=told.across_labels,
                    down_labels=told.down_labels,
                    median=told.median,
                )
            )
    return heats
