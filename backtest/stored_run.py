"""A run on disk: one JSON of facts and four Parquet tables, from which every report is made again without a replay."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.arrow_columns import days, fractions, texts, whole_numbers
from backtest.played_run import PlayedRun, Traded
from backtest.run import Backtest
from backtest.run_id import code_version
from backtest.score import Score, worst
from backtest.sweep_job import tape_digest
from backtest.tape import Tape
from bot.errors import Refused

FACTS: Final = "run.json"
VERSION: Final = 1  # of the files' form
EQUITY, FILLS, BARS, QUALITY = "equity.parquet", "fills.parquet", "bars.parquet", "quality.parquet"
BAR_COLUMNS: Final = ("open_x100", "high_x100", "low_x100", "close_x100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How far off a forecaster was at its horizon, an entry a session with forecasts.

    `told_error` is the mean of |told - came| / came over `stocks` of them, `last_close_error` that of the close at
    which the forecast was made.
    """

    sessions: tuple[date, ...]
    stocks: tuple[int, ...]
    told_error: tuple[float, ...]
    last_close_error: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as it was stored. `runs` and `scores` are in the same order, buy-and-hold last; `bars` by symbol."""

    folder: Path
    facts: Mapping[str, Any]
    runs: tuple[PlayedRun, ...]
    scores: tuple[Score, ...]
    bars: Mapping[str, Mapping[str, Sequence[Any]]]
    quality: Mapping[str, Quality]

    @property
    def run_id(self) -> str:
        """What names it."""
        return str(self.facts["run_id"])

    @property
    def headlines(self) -> list[Score]:
        """The worst fill rule of each forecaster: what counts."""
        return headlines(self.scores)

    @property
    def knowledge(self) -> Mapping[str, Mapping[str, Any]]:
        """By forecaster, what a model that may know some of the sessions knows (see backtest/knowledge.py)."""
        return {one["forecaster"]: one for one in self.facts.get("knowledge", ())}

    @property
    def masked(self) -> Sequence[Mapping[str, Any]]:
        """Models with masked answers beside the plain ones (see backtest/masked.py)."""
        told: Sequence[Mapping[str, Any]] = self.facts.get("masked", ())
        return told

    @property
    def worst_runs(self) -> list[PlayedRun]:
        """The runs of the headlines."""
        told = self.headlines
        return [run for run, one in zip(self.runs, self.scores, strict=True) if one in told]


def headlines(scores: Sequence[Score]) -> list[Score]:
    """The worst fill rule of each forecaster; the last score is buy-and-hold's."""
    groups: dict[str, list[Score]] = {}
    for one in scores[:-1]:
        groups.setdefault(one.forecaster, []).append(one)
    return [worst(group) for group in groups.values()]


_QUALITY: Final = tuple(field.name for field in fields(Quality))


# --- writing ----------------------------------------------------------------------------------------------


def store_run(result: Backtest, reports: Path) -> Path:
    """Write `result` to `reports`/RUN_ID, which comes back; the same run writes the same files again."""
    folder = reports / result.run_id
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / EQUITY, _equity_table(result.runs))
    _write(folder / FILLS, _fill_table(result.runs))
    tape = next(iter(result.tapes.values()))
    _write(folder / BARS, _bar_table(tape, {one.symbol for run in result.runs[:-1] for one in run.traded}))
    _write(folder / QUALITY, _quality_table(result))
    text = json.dumps(_facts(result), ensure_ascii=False, indent=2)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")
    return folder


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd")


def _facts(result: Backtest) -> dict[str, Any]:
    sessions = result.runs[0].sessions
    return {
        "version": VERSION,
        "run_id": result.run_id,
        "from": sessions[0].isoformat(),
        "to": sessions[-1].isoformat(),
        "sessions": len(sessions),
        "sessions_a_year": result.sessions_a_year,
        "inputs": dict(result.inputs),
        "tape_sha256": {name: tape_digest(tape) for name, tape in result.tapes.items()},
        "horizons": dict(result.horizons),
        "scores": [asdict(one) for one in result.scores],
        "runs": [
            {
                "forecaster": run.forecaster,
                "fill_rule": run.fill_rule,
                "start_cash_twd": run.start_cash_twd,
                "order_count": run.order_count,
                "closed": run.closed,
                "dividends_twd": run.dividends_twd,
                "held_shares": dict(run.held_shares),
                "contribution_twd": dict(run.contribution_twd),
            }
            for run in result.runs
        ],
        "notes": list(result.notes),
        "names": {symbol: result.names[symbol] for symbol in sorted(result.names)},
        "knowledge": [one.facts() for one in result.knowledge],
        "masked": [one.facts() for one in result.masked],
    }


def _equity_table(runs: Sequence[PlayedRun]) -> pa.Table:
    """A session and what each run was worth at its close."""
    return _table({"session": days(runs[0].sessions)} | {run.label: whole_numbers(run.equity_twd) for run in runs})


def _fill_table(runs: Sequence[PlayedRun]) -> pa.Table:
    names = [field.name for field in fields(Traded)]
    rows = [(number, one) for number, run in enumerate(runs) for one in run.traded]
    kinds: dict[str, Any] = {"session": days, "decided": days, "symbol": texts, "reason": texts}
    columns = {"run": whole_numbers([number for number, _ in rows])}
    for name in names:
        columns[name] = kinds.get(name, whole_numbers)([getattr(one, name) for _, one in rows])
    return _table(columns)


def _table(columns: Mapping[str, pa.Array]) -> pa.Table:
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def _bar_table(tape: Tape, symbols: set[str]) -> pa.Table:
    """The bars of the stocks that any run but buy-and-hold traded, for its K-lines."""
    places = [place for place, symbol in enumerate(tape.symbols) if symbol in symbols]
    rows_of = {place: np.flatnonzero(tape.traded[:, place]) for place in places}
    columns = {
        "symbol": texts(tape.symbols[place] for place, rows in rows_of.items() for _ in rows),
        "session": days(tape.sessions[row] for rows in rows_of.values() for row in rows),
    }
    for name in BAR_COLUMNS:
        told = [getattr(tape, name)[rows, place] for place, rows in rows_of.items()]
        columns[name] = whole_numbers(np.concatenate(told) if told else [])
    return _table(columns)


def _quality_table(result: Backtest) -> pa.Table:
    rows = [(name, *row) for name, tape in result.tapes.items() for row in quality_rows(tape, result.horizons[name])]
    forecasters, sessions, stocks, told, plain = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return _table(
        {
            "forecaster": texts(forecasters),
            "session": days(sessions),
            "stocks": whole_numbers(stocks),
            "told_error": fractions(told),
            "last_close_error": fractions(plain),
        }
    )


def quality_rows(tape: Tape, horizon: int) -> Iterator[tuple[date, int, float, float]]:
    """For each session with forecasts whose `horizon` is over: how many stocks, and both mean errors."""
    for row in range(len(tape.sessions) - horizon):
        target, now, came = tape.target_x100[row], tape.close_x100[row], tape.close_x100[row + horizon]
        told = (target > 0) & (came > 0)
        if told.any():
            came = came[told]
            told_error = float(np.mean(np.abs(target[told] - came) / came))
            yield tape.sessions[row], int(told.sum()), told_error, float(np.mean(np.abs(now[told] - came) / came))


# --- reading ----------------------------------------------------------------------------------------------


def read_run(folder: Path) -> StoredRun:
    """The run in `folder`.

    Raises:
        Refused: it is none, is incomplete, or was stored in another form.
    """
    facts = read_facts(folder)
    try:
        tables = {name: _read(folder / name) for name in (EQUITY, FILLS, BARS, QUALITY)}
    except (OSError, pa.ArrowException) as wrong:
        raise Refused(f"{folder.name}: incomplete, a table can't be read: run it again") from wrong
    return StoredRun(
        folder=folder,
        facts=facts,
        runs=tuple(_runs(facts, tables[EQUITY], tables[FILLS])),
        scores=tuple(Score(**told) for told in facts["scores"]),
        bars=_bars(tables[BARS]),
        quality=_quality(tables[QUALITY]),
    )


def _read(path: Path) -> pa.Table:
    """`pq.read_table` imports pandas by way of pyarrow.dataset."""
    with pq.ParquetFile(path) as file:
        return file.read()


def read_facts(folder: Path) -> dict[str, Any]:
    """What run.json in `folder` says.

    Raises:
        Refused: there is none, or in another form.
    """
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as wrong:
        raise Refused(f"{folder.name}: no stored run there ({FACTS} is absent or no JSON)") from wrong
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise Refused(f"{folder.name}: stored by another version of twtrader, in another form: run it again")
    return facts


def find_run(reports: Path, run_id: str) -> Path:
    """The folder of the run named `run_id`, or of the only one whose name begins so.

    Raises:
        Refused: there is none, or more than one.
    """
    found = [folder for folder in run_folders(reports) if folder.name.startswith(run_id)] if run_id else []
    exact = [folder for folder in found if folder.name == run_id] or found
    if len(exact) == 1:
        return exact[0]
    if exact:
        raise Refused(f"{run_id}: {len(exact)} stored runs begin so, like {exact[0].name} and {exact[1].name}")
    raise Refused(f"{run_id!r}: no such stored run in {reports.name}; `twtrader backtest runs` lists them")


def run_folders(reports: Path) -> list[Path]:
    """Where runs are stored, by name. Sweeps and walks lie beside them, without a run.json of this kind."""
    return sorted(path.parent for path in reports.glob(f"*/{FACTS}"))


def code_note(facts: Mapping[str, Any]) -> str:
    """A line where the run is of another code than this one; "" where it is the same."""
    then, now = facts["inputs"]["code"], code_version()
    return "" if then == now else f"stored by code {then}; this is {now}: run it again to have this code's figures"


def _runs(facts: Mapping[str, Any], equity: pa.Table, fills: pa.Table) -> Iterator[PlayedRun]:
    names = [field.name for field in fields(Traded)]
    columns = [fills.column(name).to_pylist() for name in names]
    traded: dict[int, list[Traded]] = {}
    for number, *row in zip(fills.column("run").to_pylist(), *columns, strict=True):
        traded.setdefault(number, []).append(Traded(**dict(zip(names, row, strict=True))))
    sessions = tuple(equity.column("session").to_pylist())
    for number, told in enumerate(facts["runs"]):
        yield PlayedRun(
            sessions=sessions,
            equity_twd=tuple(equity.column(number + 1).to_pylist()),
            traded=tuple(traded.get(number, ())),
            **told,
        )


def _bars(table: pa.Table) -> dict[str, dict[str, list[Any]]]:
    """By symbol its columns."""
    told: dict[str, dict[str, list[Any]]] = {}
    columns = [table.column(name).to_pylist() for name in ("session", *BAR_COLUMNS)]
    for symbol, *row in zip(table.column("symbol").to_pylist(), *columns, strict=True):
        into = told.setdefault(symbol, {name: [] for name in ("session", *BAR_COLUMNS)})
        for name, value in zip(into, row, strict=True):
            into[name].append(value)
    return told


def _quality(table: pa.Table) -> dict[str, Quality]:
    told: dict[str, list[list[Any]]] = {}
    columns = [column.to_pylist() for column in table.columns]
    for name, *row in zip(*columns, strict=True):
        told.setdefault(name, []).append(row)
    return {name: Quality(**dict(zip(_QUALITY, zip(*rows, strict=True), strict=True))) for name, rows in told.items()}
