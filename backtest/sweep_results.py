"""What a sweep found, read from its table: the worst fill rule's figures, the best sets, the front, a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from backtest.pareto import front
from backtest.sweep_job import WORST
from backtest.sweep_parts import read_facts
from bot.errors import Refused
from bot.sweep_config import Objective

LEAST_DRAWDOWN: Final = 0.0001  # a calmar ratio is not better for having met less than 1 bp of drawdown
MOST_BINS: Final = 12  # of a heat map's axis

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """A sweep's table with its facts. All figures below are of each set's worst fill rule."""

    table: pa.Table
    facts: dict[str, Any]

    @property
    def fill_rules(self) -> tuple[str, ...]:
        """The fill rules in the order of the config."""
        return tuple(self.facts["fill_rules"])

    @property
    def swept(self) -> tuple[str, ...]:
        """The knobs that vary."""
        return tuple(self.facts["swept"])

    @cached_property
    def _worst(self) -> npt.NDArray[np.int64]:
        """The place of each set's worst fill rule."""
        names = self.table.column(WORST).to_pylist()
        place = {name: number for number, name in enumerate(self.fill_rules)}
        return np.array([place[name] for name in names], dtype=np.int64)

    def worst(self, figure: str) -> Floats:
        """A figure of each set; NaN where there is none."""
        columns = [self.column(f"{rule}_{figure}") for rule in self.fill_rules]
        return np.asarray(np.take_along_axis(np.stack(columns), self._worst[None, :], axis=0)[0], dtype=np.float64)

    def column(self, name: str) -> Any:
        """A column as an array; null becomes NaN."""
        return self.table.column(name).to_numpy()

    @cached_property
    def traded(self) -> npt.NDArray[np.bool_]:
        """Which sets had a fill under any rule: of the others every figure is an empty zero."""
        return np.asarray(
            np.any([self.column(f"{rule}_fills") > 0 for rule in self.fill_rules], axis=0), dtype=np.bool_
        )

    def objective(self, kind: Objective) -> Floats:
        """What a search wants most of each set."""
        return objective(
            kind,
            self.worst("net_return"),
            self.worst("sharpe"),
            self.worst("max_drawdown"),
            self.facts["sessions"] / self.facts["sessions_a_year"],
        )

    def pareto(self) -> npt.NDArray[np.int64]:
        """The places of the sets that traded and that no other beats in return, drawdown and turnover."""
        places = np.flatnonzero(self.traded)
        told = [self.worst(name)[places] for name in ("net_return", "max_drawdown", "turnover")]
        return places[front(*told)] if len(places) else places


def read_results(path: Path) -> Results:
    """The table at `path`.

    Raises:
        Refused: it is no table of a sweep.
    """
    facts = read_facts(path)
    return Results(table=pq.read_table(path), facts=facts)


def objective(kind: Objective, net_return: Floats, sharpe: Floats, drawdown: Floats, years: float) -> Floats:
    """The higher the better. A set that never traded has 0: to sit out beats to lose."""
    if kind == "return":
        return net_return
    if kind == "sharpe":
        return np.nan_to_num(sharpe, nan=0.0)
    yearly = np.maximum(1 + net_return, 0.0) ** (1 / years) - 1
    return np.asarray(yearly / np.maximum(drawdown, LEAST_DRAWDOWN))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """The median of the worst rule's return over the sets of each cell that traded; NaN where none did.

    Rows are `down`'s values, columns `across`'s.
    """

    across: str
    down: str
    across_labels: tuple[str, ...]
    down_labels: tuple[str, ...]
    median: Floats
    sets: npt.NDArray[np.int64]


def heat_map(results: Results, across: str, down: str) -> HeatMap:
    """The map of two swept knobs.

    Raises:
        Refused: one of them was not swept, or they are the same.
    """
    for name in (across, down):
        if name not in results.swept:
            raise Refused(f"--heat {name}: not swept; the sweep has {', '.join(results.swept)}")
    if across == down:
        raise Refused(f"--heat needs two knobs, not {across} twice")
    gain, traded = results.worst("net_return"), results.traded
    across_of, across_labels = _bins(results.column(across))
    down_of, down_labels = _bins(results.column(down))
    median = np.full((len(down_labels), len(across_labels)), np.nan)
    sets = np.zeros(median.shape, dtype=np.int64)
    for row, column in np.ndindex(median.shape):
        cell = gain[(down_of == row) & (across_of == column) & traded]
        if len(cell):
            median[row, column], sets[row, column] = np.median(cell), len(cell)
    return HeatMap(
        across=across,
        down=down,
        across_labels=across_labels,
        down_labels=down_labels,
        median=median,
        sets=sets,
    )


def _bins(values: Any) -> tuple[Any, tuple[str, ...]]:
    """For each value its place among at most MOST_BINS labels: the values themselves, or equal stretches of them."""
    distinct = np.unique(values)
    if len(distinct) <= MOST_BINS:
        return np.searchsorted(distinct, values), tuple(str(value) for value in distinct)
    edges = np.linspace(distinct[0], distinct[-1] + 1, MOST_BINS + 1)
    edges = np.ceil(edges).astype(np.int64)
    labels = tuple(f"{low}..{high - 1}" for low, high in pairwise(edges))
    return np.searchsorted(edges, values, side="right") - 1, labels


def first_two(swept: Sequence[str], results: Results) -> tuple[str, str] | None:
    """The first two knobs that really vary, None when there are none."""
    varied = [name for name in swept if len(np.unique(results.column(name))) > 1]
    return (varied[0], varied[1]) if len(varied) > 1 else None
