"""Evaluations for tests: one that passes every criterion, in which a test changes what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from backtest.diebold_mariano import Comparison
from backtest.forecast_quality import DRIFT, LAST_CLOSE, Quality
from bot.core.forecast import Sentiment
from training.evaluation import ADAPTER, BASE, Differing, Evaluation, MoodResult, PriceResult, Steadiness
from training.mood_scores import Paired, paired, score_moods

SAYS = {
    "positive": Sentiment(positive=0.8, neutral=0.1, negative=0.1),
    "neutral": Sentiment(positive=0.1, neutral=0.8, negative=0.1),
    "negative": Sentiment(positive=0.1, neutral=0.1, negative=0.8),
}


def mood_result(corpus: str = "tfns", *, base: int = 150, adapter: int = 240, count: int = 300) -> MoodResult:
    """A set whose labels are a third each; each reader gets its first `base` and `adapter` texts right."""
    labels = [("positive", "neutral", "negative")[at % 3] for at in range(count)]
    wrong = {"positive": "negative", "neutral": "positive", "negative": "neutral"}
    rights = {name: [at < right for at in range(count)] for name, right in ((BASE, base), (ADAPTER, adapter))}
    told = {
        name: score_moods(
            labels, [SAYS[label if was else wrong[label]] for label, was in zip(labels, right, strict=True)]
        )
        for name, right in rights.items()
    }
    return MoodResult(
        corpus=corpus,
        licence="MIT",
        base=told[BASE],
        adapter=told[ADAPTER],
        against_base=paired(rights[ADAPTER], rights[BASE]),
        commonest="positive",
        against_commonest=paired(rights[ADAPTER], [label == "positive" for label in labels]),
    )


def comparison(difference: float, p: float | None) -> Comparison:
    return Comparison(difference=difference, statistic=None, p=p, days=60)


def price_result(**told: Any) -> PriceResult:
    """Forecasts that beat base and last close."""
    whole = PriceResult(
        past=20,
        future=5,
        first=date(2024, 11, 1),
        last=date(2025, 2, 28),
        days=60,
        questions=600,
        unanswered={BASE: 0, ADAPTER: 0},
        losses={BASE: 0.02, ADAPTER: 0.015, LAST_CLOSE: 0.018, DRIFT: 0.019},
        against={
            BASE: comparison(-0.005, 0.001),
            LAST_CLOSE: comparison(-0.003, 0.01),
            DRIFT: comparison(-0.004, 0.01),
        },
        quality=Quality(forecasters=(BASE, ADAPTER, LAST_CLOSE), horizons=(), left_out=0),
    )
    return replace(whole, **told)


def evaluation(**told: Any) -> Evaluation:
    """An adapter that learned both and is better at both."""
    whole = Evaluation(
        adapter="night-3",
        weights_sha256="ab" * 32,
        base_model="tiny@000000000000",
        adapter_model="tiny@000000000000+night-3@111111111111",
        trained_until=date(2024, 6, 28),
        unseen_after=date(2024, 10, 31),
        learned_prices=True,
        learned_moods=True,
        made=datetime(2025, 3, 1, tzinfo=UTC),
        seconds={BASE: 2.0, ADAPTER: 2.5},
        moods=(mood_result(), mood_result("hard", base=40, adapter=50, count=120)),
        prices=price_result(),
        steadiness=Steadiness(merged=Differing(count=400, differ=1), alone=Differing(count=400, differ=0)),
    )
    return replace(whole, **told)


def pairing(only_first: int, only_second: int) -> Paired:
    return paired([True] * only_first + [False] * only_second, [False] * only_first + [True] * only_second)
