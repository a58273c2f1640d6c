"""The mood of a stock's news: many headlines' label probabilities in one score, none with more than its cap of it.

A story, however often it is told, weighs 1 when it is new and half of that after each half-life. The score is the
weighted sum of the stories' scores over their total weight, or over 1 / cap where that is more: what is missing to
1 / cap counts as neutral. So no story's share is above the cap, and one headline, whatever it says and wherever it
comes in, moves the score by at most twice the cap:

    a story's weight and score go from (w, s) to (v, t), with weights in 0..1, scores in -1..1, and an absent one at 0;
    N becomes N + v t - w s, the divisor D becomes D', |D' - D| <= |v - w|, both at least 1 / cap, |N| <= D; thus
    |N'/D' - N/D| <= (|v t - w s| + |v - w|) / D' <= 2 max(v, w) cap <= 2 cap

which needs that one headline changes one story. So a story is what has the same `story_key`, a property of each
headline by itself: where likeness made stories, a headline like two of them would make them one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bot.core.forecast import Sentiment
from bot.core.headlines import story_key
from bot.core.rule import BPS


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodRules:
    """How headlines become one score. A story's weight halves every `half_life_hours`; bps = 0.01 %.

    `headline_cap_bps` is the largest share that one headline can have. News are `mixed` where good and bad have at
    least `mixed_bps` each, and of low confidence where the surest label has less than `confident_bps` on average.
    """

    half_life_hours: float
    headline_cap_bps: int
    mixed_bps: int
    confident_bps: int

    def __post_init__(self) -> None:
        """Refuse knobs that could not work.

        Raises:
            ValueError: names the knob.
        """
        if not 0 < self.half_life_hours <= LONGEST_HALF_LIFE_HOURS:
            raise ValueError(f"`half_life_hours` must be positive and at most {LONGEST_HALF_LIFE_HOURS:,}")
        for name, (low, high) in _BPS_RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"`{name}` must be between {low} and {high}")

    @property
    def cap(self) -> float:
        """The largest share of one headline, as a fraction."""
        return self.headline_cap_bps / BPS


LONGEST_HALF_LIFE_HOURS: Final = 24 * 365
# A third is what a label has where nothing is known: at or below it everything would be mixed, nothing unsure.
_BPS_RANGES: Final = {"headline_cap_bps": (1, BPS), "mixed_bps": (3_334, 5_000), "confident_bps": (3_334, BPS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A headline about a stock and what the model makes of it."""

    title: str
    source: str
    published_at: datetime
    sentiment: Sentiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """The mood of a stock's news at one moment.

    `score` is from -1 to 1, what is missing to full evidence counted as neutral. `positive`, `neutral` and `negative`
    are the stories' weighted probabilities and add up to 1; `surest` is the weighted probability of each story's surest
    label. `evidence` is the stories' share of the score, 1 where none is missing.
    """

    score: float
    positive: float
    neutral: float
    negative: float
    surest: float
    evidence: float
    headlines: int
    stories: int
    mixed: bool
    low_confidence: bool

    @property
    def score_bps(self) -> int:
        """The score in basis points: what the trading rule reads."""
        return round(self.score * BPS)

    @property
    def flags(self) -> tuple[str, ...]:
        """What makes the score less than it seems, in words."""
        told = (("mixed", self.mixed), ("low confidence", self.low_confidence), ("little evidence", self.evidence < 1))
        return tuple(name for name, holds in told if holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """What was told once or more: its weight in 0..1 and the average probabilities of its headlines."""

    weight: float
    sentiment: Sentiment


def mood_of(headlines: Iterable[Scored], at: datetime, rules: MoodRules) -> Mood | None:
    """The mood of `headlines`, all about one stock, at the moment `at`; None, which is unknown, where there is none.

    The order of the headlines makes no difference, to the last bit. One from after `at` counts as new.
    """
    by_key: dict[str, list[Scored]] = {}
    for one in headlines:
        by_key.setdefault(story_key(one.title, one.source), []).append(one)
    stories = [_story(told, at, rules.half_life_hours) for told in by_key.values()]
    weight = math.fsum(story.weight for story in stories)
    if weight == 0:  # nothing, or so old that its weight can't be told from nothing
        return None
    positive, neutral, negative = (
        math.fsum(story.weight * getattr(story.sentiment, label) for story in stories) / weight
        for label in ("positive", "neutral", "negative")
    )
    surest = math.fsum(story.weight * _surest(story.sentiment) for story in stories) / weight
    return Mood(
        score=math.fsum(story.weight * story.sentiment.score for story in stories) / max(weight, 1 / rules.cap),
        positive=positive,
        neutral=neutral,
        negative=negative,
        surest=surest,
        evidence=min(weight * rules.cap, 1.0),
        headlines=sum(map(len, by_key.values())),
        stories=len(stories),
        mixed=min(positive, negative) * BPS >= rules.mixed_bps,
        low_confidence=surest * BPS < rules.confident_bps,
    )


def _story(told: Sequence[Scored], at: datetime, half_life_hours: float) -> _Story:
    """One story from its headlines; it is as old as the first of them: telling it again makes no news of it."""
    first = min(one.published_at for one in told)
    age_hours = max(at - first, timedelta()) / timedelta(hours=1)
    mean = {
        label: math.fsum(getattr(one.sentiment, label) for one in told) / len(told)
        for label in ("positive", "neutral", "negative")
    }
    return _Story(weight=0.5 ** (age_hours / half_life_hours), sentiment=Sentiment(**mean))


def _surest(sentiment: Sentiment) -> float:
    """The probability of the most probable label."""
    return max(sentiment.positive, sentiment.neutral, sentiment.negative)
