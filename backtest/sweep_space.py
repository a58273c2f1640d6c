"""The parameter sets of a sweep, as rows of integers: any stretch of them at once, the same on every machine.

Set number i follows from the config and i alone, so that a sweep can go on where it was killed and a chunk can be
computed anywhere. Random sets are drawn by a counter (splitmix64), not by a generator that has to be run up to i.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bot.core.rule import KNOBS, Rules
from bot.sweep_config import Knob, KnobRange, SweepConfig

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The sets 0..size-1 around `base`: what the config asks for."""

    base: Rules
    sweep: SweepConfig
    size: int

    @property
    def swept(self) -> tuple[str, ...]:
        """The names of the knobs that vary."""
        return tuple(self.sweep.knobs)

    def matrix(self, first: int, count: int) -> Matrix:
        """Sets first..first+count-1 (fewer at the end), one a row, the columns being KNOBS."""
        count = max(0, min(count, self.size - first))
        drawn = self._grid(first, count) if self.sweep.method == "grid" else self._random(first, count)
        return filled(self.base, drawn, count)

    def _grid(self, first: int, count: int) -> dict[str, Matrix]:
        """The last knob turns fastest, as the digits of a number do."""
        number = np.arange(first, first + count, dtype=np.int64)
        columns = {}
        for name in reversed(self.sweep.knobs):
            values = np.array(self.sweep.values_of(name), dtype=np.int64)
            columns[name] = values[number % len(values)]
            number //= len(values)
        return columns

    def _random(self, first: int, count: int) -> dict[str, Matrix]:
        return {
            name: drawn(knob, uniforms(self.sweep.seed, name, first, count)) for name, knob in self.sweep.knobs.items()
        }


def space_of(rules: Rules, sweep: SweepConfig) -> Space:
    """The space that the config describes."""
    return Space(base=rules, sweep=sweep, size=sweep.grid_size if sweep.method == "grid" else sweep.sets)


def filled(base: Rules, columns: dict[str, Matrix], count: int) -> Matrix:
    """`count` sets as a matrix: the given columns, and `base` in all others."""
    matrix = np.empty((count, len(KNOBS)), dtype=np.int64)
    for place, name in enumerate(KNOBS):
        matrix[:, place] = columns.get(name, getattr(base, name))
    return matrix


def rules_of(row: Any, base: Rules) -> Rules:
    """One row of a matrix as the rule's knobs."""
    knobs: dict[str, Any] = {name: int(row[place]) for place, name in enumerate(KNOBS)}
    return dataclasses.replace(base, **knobs)


def uniforms(seed: int, name: str, first: int, count: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) for sets first.. of the knob `name`. Source: splitmix64, Steele, Lea and Flood 2014."""
    start = int.from_bytes(hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), "big")
    counter = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    mixed = np.uint64(start) + counter * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def drawn(knob: Knob, chance: npt.NDArray[np.float64]) -> Matrix:
    """A value of `knob` for each number in [0, 1)."""
    if isinstance(knob, tuple):
        values = np.array(knob, dtype=np.int64)
        return np.asarray(values[(chance * len(values)).astype(np.int64)])
    low, high = knob.low, knob.high
    if knob.draw == "log":
        whole = np.floor(low * ((high + 1) / low) ** chance)
        return np.clip(whole, low, high).astype(np.int64)
    if knob.draw == "triangular":
        return _triangular(knob, chance)
    step = knob.step or 1
    return np.asarray(low + step * (chance * ((high - low) // step + 1)).astype(np.int64))


def _triangular(knob: KnobRange, chance: npt.NDArray[np.float64]) -> Matrix:
    """The inverse of the triangular distribution over low - 1/2 .. high + 1/2, to the nearest whole number."""
    assert knob.mode is not None
    low, high, mode = knob.low - 0.5, knob.high + 0.5, float(knob.mode)
    rising = low + np.sqrt(chance * (high - low) * (mode - low))
    falling = high - np.sqrt((1 - chance) * (high - low) * (high - mode))
    told = np.where(chance < (mode - low) / (high - low), rising, falling)
    return np.clip(np.rint(told), knob.low, knob.high).astype(np.int64)
