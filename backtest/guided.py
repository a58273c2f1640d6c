"""Guided search: optuna's TPE asks for sets in batches, the kernel answers each batch at once.

Every answer comes from a part on disk where there is one, so a killed search replays what it knows and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backtest.sweep_space import Matrix, Space, filled
from bot.sweep_config import Draw, Knob

BATCH: Final = 64  # sets asked at a time: large enough for the kernel, small enough to learn from

Answer = Callable[[int, int, Matrix], npt.NDArray[np.float64]]  # index, first set, sets -> what each is worth


def search(space: Space, count: int, answer: Answer) -> None:
    """Ask for `count` sets, learning from each batch which are worth more."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=space.sweep.seed % 2**32, multivariate=True, constant_liar=True, n_startup_trials=BATCH
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for index, first in enumerate(range(0, count, BATCH)):
        trials = [study.ask() for _ in range(min(BATCH, count - first))]
        matrix = _matrix(space, trials)
        for trial, worth in zip(trials, answer(index, first, matrix), strict=True):
            study.tell(trial, float(worth))


def _matrix(space: Space, trials: list[Any]) -> Matrix:
    """The sets that `trials` stand for."""
    columns = {
        name: np.array([_suggest(trial, name, knob) for trial in trials], dtype=np.int64)
        for name, knob in space.sweep.knobs.items()
    }
    return filled(space.base, columns, len(trials))


def _suggest(trial: Any, name: str, knob: Knob) -> int:
    """A value of `knob`. A list's values are asked for by their place, so that the search knows their order."""
    if isinstance(knob, tuple):
        values = sorted(knob)
        return values[int(trial.suggest_int(name, 0, len(values) - 1))]
    log: Draw = "log"
    return int(trial.suggest_int(name, knob.low, knob.high, step=knob.step or 1, log=knob.draw == log))
