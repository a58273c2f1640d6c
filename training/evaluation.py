"""What an evaluation found: base beside adapter, as values that are kept in a file and judged by `train promote`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from backtest.diebold_mariano import Comparison
from backtest.forecast_quality import Quality
from bot.errors import Refused
from training.mood_scores import MoodScores, Paired, Rate

EVALUATION: Final = "evaluation.json"
BASE: Final = "base"
ADAPTER: Final = "adapter"
HARD: Final = "hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """How much of a part of a set, such as one language or one kind of headline, each reader got right."""

    group: str
    base: Rate
    adapter: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodResult:
    """One labelled set: both readers' scores, the paired test, and the same against whoever says `commonest` always.

    `groups` are its parts, where its texts name such; they may overlap.
    """

    corpus: str
    licence: str
    base: MoodScores
    adapter: MoodScores
    against_base: Paired
    commonest: str
    against_commonest: Paired
    groups: tuple[GroupResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceResult:
    """Forecasts on unseen days. Losses are pinball's mean over levels and sessions, fractions of the last close.

    `against` compares the adapter's loss with another forecaster's by Diebold-Mariano; a negative difference speaks for
    the adapter. `unanswered` counts by forecaster the questions without a whole answer inside the daily limits.
    """

    past: int
    future: int
    first: date
    last: date
    days: int
    questions: int
    unanswered: dict[str, int]
    losses: dict[str, float]
    against: dict[str, Comparison]
    quality: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """So many of `count` answers differ from the same question's answer asked in another way."""

    count: int
    differ: int

    @property
    def share(self) -> float | None:
        """The share, None where nothing was asked."""
        return self.differ / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """Whether an answer depends on how the weights lie and on its neighbours.

    `merged` compares the adapter added to the weights with the adapter beside them, `alone` one question a call with
    many. An answer is a whole forecast or a headline's label.
    """

    merged: Differing
    alone: Differing


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Base and adapter on the same questions. `weights_sha256` is the adapter's, `unseen_after` the last known day.

    `learned_prices` and `learned_moods` are what the adapter's manifest says it was trained on.
    """

    adapter: str
    weights_sha256: str
    base_model: str
    adapter_model: str
    trained_until: date
    unseen_after: date
    learned_prices: bool
    learned_moods: bool
    made: datetime
    seconds: dict[str, float]
    moods: tuple[MoodResult, ...]
    prices: PriceResult | None
    steadiness: Steadiness | None

    def mood(self, corpus: str) -> MoodResult | None:
        """The result on one labelled set, None where it was not asked."""
        return next((one for one in self.moods if one.corpus == corpus), None)

    def scores(self) -> dict[str, float]:
        """The figures that stand in the adapter's manifest, by name."""
        told: dict[str, float] = {}
        for one in self.moods:
            told |= {f"{one.corpus}_{who}_accuracy": scored.accuracy.value for who, scored in _pair(one)}
            told |= {f"{one.corpus}_{who}_weighted_f1": scored.weighted_f1 for who, scored in _pair(one)}
            told |= {f"{one.corpus}_p": one.against_base.p}
        if self.prices:
            told |= {f"pinball_{name.replace(' ', '_')}": loss for name, loss in self.prices.losses.items()}
            told |= {
                f"pinball_p_against_{name.replace(' ', '_')}": one.p
                for name, one in self.prices.against.items()
                if one.p is not None
            }
        if self.steadiness:
            shares = {"merged_differ": self.steadiness.merged.share, "alone_differ": self.steadiness.alone.share}
            told |= {name: share for name, share in shares.items() if share is not None}
        return told


def _pair(one: MoodResult) -> tuple[tuple[str, MoodScores], tuple[str, MoodScores]]:
    return (BASE, one.base), (ADAPTER, one.adapter)


def write_evaluation(folder: Path, told: Evaluation) -> Path:
    """The evaluation as `folder`/evaluation.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / EVALUATION
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    return path


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation that `train evaluate --out` wrote into `folder`.

    Raises:
        Refused: there is none, or it can't be read.
    """
    try:
        return msgspec.json.decode((folder / EVALUATION).read_bytes(), type=Evaluation)
    except FileNotFoundError as absent:
        raise Refused(f"{folder}: no {EVALUATION} there; `twtrader train evaluate --out` writes one") from absent
    except (OSError, msgspec.DecodeError) as wrong:
        raise Refused(f"{folder / EVALUATION}: {wrong}") from wrong


def facts(told: Evaluation) -> dict[str, Any]:
    """The evaluation for JSON."""
    built: dict[str, Any] = msgspec.to_builtins(told)
    return built
