"""Whom to ask the news about first, when there are fewer requests than questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """One question that a request answers, and why it matters.

    `position_twd` is the value of what we hold; `signal_bps` the last forecast's expected return, 0.01 %, of either
    sign; `asked_at` the last time the question was answered, None for never.
    """

    symbol: str
    language: str
    position_twd: int = 0
    signal_bps: int = 0
    asked_at: datetime | None = None


def questions_tonight(interests: Sequence[Interest], budget: int) -> list[Interest]:
    """At most `budget` of `interests`, in the order to ask them; the rest rolls over to the next evening.

    One half of the budget, at least one, is for those who wait longest, so that nobody starves; the other half goes
    by position size, then by signal strength, then by who waits longest. They are asked in this latter order.
    """
    if budget <= 0:
        return []
    by_weight = sorted(interests, key=_weight)
    if len(by_weight) <= budget:
        return by_weight
    patient = sorted(interests, key=_patience)[: waiting_share(budget)]
    rest = [one for one in by_weight if one not in patient]
    chosen = {*patient, *rest[: budget - len(patient)]}
    return [one for one in by_weight if one in chosen]


def waiting_share(budget: int) -> int:
    """How many of `budget` requests go to those who wait longest."""
    return ceil(budget / 2)


def evenings_until_asked(questions: int, budget: int) -> int:
    """Within how many evenings each of `questions` is asked at least once, all of `budget` being answered."""
    return 1 if questions <= budget else ceil(questions / waiting_share(budget))


def _weight(one: Interest) -> tuple[object, ...]:
    return (-one.position_twd, -abs(one.signal_bps), *_patience(one))


def _patience(one: Interest) -> tuple[object, ...]:
    """Never asked comes before any date; the code and language settle the rest, so that the order is always one."""
    asked = one.asked_at.timestamp() if one.asked_at else 0.0
    return (asked, one.symbol, one.language)
