"""How surely headlines are read, and the one temperature that mends it: pure, on the labels' log scores.

Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bot.adapters.adapter_store import LEAST_TEMPERATURE
from bot.core.forecast import Sentiment
from bot.core.prompt import LABELS
from bot.errors import Refused
from training.mood_scores import score_moods

MOST_TEMPERATURE: Final = 20.0
_DIGITS: Final = 4  # of a temperature, in adapter.json


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a model made of a text with a known label: the log scores of LABELS, in their order."""

    label: str
    scores: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sureness:
    """Readings at one temperature: `loss` is the mean negative log likelihood in nats, `error` the ECE, a fraction."""

    loss: float
    error: float
    accuracy: float


def fitted_temperature(sources: Mapping[str, Sequence[Reading]]) -> float:
    """The temperature with the least loss, in which each source weighs alike, however many texts it has.

    Raises:
        Refused: it lies beyond LEAST_TEMPERATURE..MOST_TEMPERATURE: all labels are right, or the scores tell nothing.
    """
    from scipy.optimize import minimize_scalar

    def total(log_temperature: float) -> float:
        return math.fsum(loss(readings, math.exp(log_temperature)) for readings in sources.values())

    # The loss is convex in 1 / temperature, so it has one valley in the temperature's logarithm too.
    least, most = math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE)
    found = minimize_scalar(total, bounds=(least, most), method="bounded", options={"xatol": 1e-7})
    told = math.exp(found.x)
    if min(total(least), total(most)) <= found.fun:
        why = "all of these texts are read right" if told < 1 else "the scores tell next to nothing of the labels"
        raise Refused(f"no temperature from {LEAST_TEMPERATURE} to {MOST_TEMPERATURE:g} fits: {why}")
    return round(told, _DIGITS)


def sureness(readings: Sequence[Reading], temperature: float) -> Sureness:
    """How well confidence and labels agree at `temperature`; there is one reading at least."""
    moods = [
        Sentiment(**dict(zip(LABELS, map(math.exp, log_shares(one, temperature)), strict=True))) for one in readings
    ]
    told = score_moods([one.label for one in readings], moods)
    return Sureness(loss=loss(readings, temperature), error=told.calibration_error, accuracy=told.accuracy.value)


def loss(readings: Sequence[Reading], temperature: float) -> float:
    """The mean negative log likelihood of the labels, in nats."""
    return -math.fsum(log_shares(one, temperature)[LABELS.index(one.label)] for one in readings) / len(readings)


def log_shares(reading: Reading, temperature: float) -> list[float]:
    """The logarithms of the labels' probabilities."""
    most = max(reading.scores)
    scores = [(one - most) / temperature for one in reading.scores]
    whole = math.log(math.fsum(map(math.exp, scores)))
    return [one - whole for one in scores]
