from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from builders import THURSDAY, at
from hypothesis import given
from hypothesis import strategies as st

from bot.core.news_budget import Interest, evenings_until_asked, questions_tonight

EVENING = at(THURSDAY, "17:00")


def ask(symbol: str, *, held: int = 0, bps: int = 0, days_ago: int | None = 1, language: str = "zh") -> Interest:
    asked_at = None if days_ago is None else EVENING - timedelta(days=days_ago)
    return Interest(symbol=symbol, language=language, position_twd=held, signal_bps=bps, asked_at=asked_at)


def order(interests: list[Interest], budget: int) -> list[str]:
    return [one.symbol for one in questions_tonight(interests, budget)]


def test_the_larger_position_comes_first_then_the_stronger_forecast_of_either_sign() -> None:
    interests = [ask("1101", bps=50), ask("2330", held=5), ask("2317", held=9), ask("2454", bps=-300), ask("2603")]
    assert order(interests, 100) == ["2317", "2330", "2454", "1101", "2603"]


def test_among_equals_the_one_asked_longest_ago_comes_first_and_never_is_longest() -> None:
    assert order([ask("1101", days_ago=1), ask("2330", days_ago=3), ask("2603", days_ago=None)], 3) == [
        "2603",
        "2330",
        "1101",
    ]


def test_half_the_budget_is_for_those_who_wait() -> None:
    """Budget 4: the two that wait longest (2603 and 2609), and the two weightiest of the rest, by weight."""
    interests = [
        ask("2330", held=9), ask("2317", held=5), ask("2454", held=3), ask("2603", days_ago=7), ask("2609", days_ago=6),
    ]  # fmt: skip
    assert order(interests, 4) == ["2330", "2317", "2603", "2609"]


def test_a_budget_of_one_goes_round() -> None:
    interests = [ask("2330", held=9, days_ago=1), ask("2317", days_ago=2)]
    assert order(interests, 1) == ["2317"]


@pytest.mark.parametrize("budget", [0, -3])
def test_nothing_left_asks_nothing(budget: int) -> None:
    assert questions_tonight([ask("2330")], budget) == []


def test_how_long_a_round_takes() -> None:
    """82 questions: all tonight with 100; with 50 a night, 25 by patience: 4 evenings; with 1 a night: 82."""
    assert [evenings_until_asked(82, budget) for budget in (100, 82, 50, 1)] == [1, 1, 4, 82]


WEIGHTS = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(-1_000, 1_000), st.one_of(st.none(), st.integers(1, 9))),
    min_size=1,
    max_size=40,
)


@given(WEIGHTS, st.integers(1, 50))
def test_never_over_budget_and_everybody_is_asked_in_time(told: list[tuple[int, int, int | None]], budget: int) -> None:
    """Whatever the weights, which stay as they are: each is asked within the promised number of evenings."""
    interests = {str(i): ask(str(i), held=held, bps=bps, days_ago=days) for i, (held, bps, days) in enumerate(told)}
    asked: set[str] = set()
    for evening in range(evenings_until_asked(len(interests), budget)):
        tonight = questions_tonight(list(interests.values()), budget)
        assert len(tonight) <= budget
        assert len({one.symbol for one in tonight}) == len(tonight)
        now: datetime = EVENING + timedelta(days=evening)
        for one in tonight:
            asked.add(one.symbol)
            interests[one.symbol] = Interest(
                symbol=one.symbol, language="zh", position_twd=one.position_twd, signal_bps=one.signal_bps, asked_at=now
            )
    assert asked == interests.keys()


@given(WEIGHTS, st.integers(1, 50))
def test_the_order_of_the_questions_does_not_matter(told: list[tuple[int, int, int | None]], budget: int) -> None:
    interests = [ask(str(i), held=held, bps=bps, days_ago=days) for i, (held, bps, days) in enumerate(told)]
    assert questions_tonight(interests, budget) == questions_tonight(interests[::-1], budget)
