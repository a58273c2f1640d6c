"""The `[sweep]` table of config.toml as frozen values: which knobs are tried, over which numbers. No numpy here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from bot.core.rule import KNOBS, Rules

Method = Literal["grid", "random"]
Objective = Literal["return", "sharpe", "calmar"]
Draw = Literal["uniform", "log", "triangular"]

LEAST_SESSIONS: Final = 20  # with fewer, nothing can be told apart: no Sharpe ratio is given for them
LARGEST_SEED: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobRange:
    """Whole numbers low..high. With `step` they are the grid's; without, `draw` says how random ones are drawn.

    `uniform`: all alike; `log`: all magnitudes alike; `triangular`: most near `mode`.
    """

    low: int
    high: int
    step: int = 0
    draw: Draw = "uniform"
    mode: int | None = None

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing, and what contradicts itself."""
        if self.low > self.high:
            raise ValueError(f"`low` {self.low} is above `high` {self.high}")
        if self.step < 0 or (self.step and (self.high - self.low) % self.step):
            raise ValueError(f"`high` {self.high} is not `low` {self.low} and a whole number of steps of {self.step}")
        if self.step and self.draw != "uniform":
            raise ValueError(f'`step` and `draw = "{self.draw}"` exclude each other')
        if self.draw == "log" and self.low < 1:
            raise ValueError(f'`draw = "log"` needs a `low` of at least 1, not {self.low}')
        if (self.draw == "triangular") != (self.mode is not None):
            raise ValueError('`mode` belongs to `draw = "triangular"`, and it needs one')
        if self.mode is not None and not self.low <= self.mode <= self.high:
            raise ValueError(f"`mode` {self.mode} is not between `low` and `high`")


Knob = tuple[int, ...] | KnobRange


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkForwardConfig:
    """Parameters are chosen on `train_sessions` and traded in the next `trade_sessions`, again and again."""

    train_sessions: int
    trade_sessions: int

    def __post_init__(self) -> None:
        """Refuse windows in which nothing can be learnt or traded."""
        if self.train_sessions < LEAST_SESSIONS:
            raise ValueError(f"`train_sessions` must be at least {LEAST_SESSIONS}")
        if self.trade_sessions < 1:
            raise ValueError("`trade_sessions` must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """What `twtrader backtest sweep` tries. A knob that is not named keeps its value in `[rules]`."""

    method: Method
    sets: int
    seed: int
    chunk: int
    most_sets: int
    objective: Objective
    walk_forward: WalkForwardConfig
    knobs: dict[str, Knob]

    def __post_init__(self) -> None:
        """Refuse numbers that could not work, knobs without values, and a grid over what has no steps."""
        for name, most in (("sets", self.most_sets), ("chunk", 100_000), ("most_sets", 100_000_000)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"`{name}` must be between 1 and {most:,}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError("`seed` must not be negative")
        if not self.knobs:
            raise ValueError("`knobs` must name at least one knob")
        for name, knob in self.knobs.items():
            if isinstance(knob, tuple) and not knob:
                raise ValueError(f"`knobs.{name}` is an empty list")
            if isinstance(knob, tuple) and len(set(knob)) < len(knob):
                raise ValueError(f"`knobs.{name}` names a value twice")

    def values_of(self, name: str) -> tuple[int, ...]:
        """The grid's values of the knob `name`.

        Raises:
            ValueError: it is a range without steps.
        """
        knob = self.knobs[name]
        if isinstance(knob, tuple):
            return knob
        if not knob.step and knob.low != knob.high:
            raise ValueError(f"`sweep.knobs.{name}` has no `step`: a grid needs one, or ask for `random`")
        return tuple(range(knob.low, knob.high + 1, knob.step or 1))

    @property
    def grid_size(self) -> int:
        """How many sets the grid has."""
        return math.prod(len(self.values_of(name)) for name in self.knobs)


def check_knobs(sweep: SweepConfig, rules: Rules) -> None:
    """Refuse knobs that the rule does not have, and values that it refuses.

    Raises:
        ValueError: one line with the knob, the value and its range; a grid that can't be, or is too large.
    """
    for name, knob in sweep.knobs.items():
        if name not in KNOBS:
            raise ValueError(f"`sweep.knobs.{name}`: the rule has no such knob; it has {', '.join(KNOBS)}")
        ends = (min(knob), max(knob)) if isinstance(knob, tuple) else (knob.low, knob.high)
        for value in ends:
            try:
                dataclasses.replace(rules, **_knob(name, value))
            except ValueError as wrong:
                raise ValueError(f"`sweep.knobs.{name}`: {value} is out of range, {wrong}") from wrong
    if sweep.method == "grid" and sweep.grid_size > sweep.most_sets:
        raise ValueError(
            f"the grid of `sweep.knobs` has {sweep.grid_size:,} sets, more than `sweep.most_sets` {sweep.most_sets:,}"
        )


def _knob(name: str, value: int) -> dict[str, Any]:
    return {name: value}


def unknown_knob_key(told: Any) -> str | None:
    """The first key in the parsed `[sweep.knobs]` that a range does not have, with its path, or None."""
    if not isinstance(told, Mapping):
        return None
    known = {one.name for one in dataclasses.fields(KnobRange)}
    for name, knob in told.items():
        for key in knob if isinstance(knob, Mapping) else ():
            if key not in known:
                return f"sweep.knobs.{name}.{key}"
    return None
