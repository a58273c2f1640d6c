from __future__ import annotations

import random
from datetime import timedelta

import pytest
from builders import THURSDAY, at
from hypothesis import given
from hypothesis import strategies as st

from bot.core.forecast import Sentiment
from bot.core.headlines import story_key
from bot.core.mood import Mood, MoodRules, Scored, mood_of

NOW = at(THURSDAY, "18:20")
RULES = MoodRules(half_life_hours=24, headline_cap_bps=2_500, mixed_bps=3_500, confident_bps=5_000)
GOOD = Sentiment(positive=0.9, neutral=0.1, negative=0.0)
BAD = Sentiment(positive=0.0, neutral=0.2, negative=0.8)
WORST = Sentiment(positive=0.0, neutral=0.0, negative=1.0)
BEST = Sentiment(positive=1.0, neutral=0.0, negative=0.0)
FLAT = Sentiment(positive=0.34, neutral=0.33, negative=0.33)


def told(title: str, sentiment: Sentiment, *, hours: float = 0, source: str = "") -> Scored:
    return Scored(title=title, source=source, published_at=NOW - timedelta(hours=hours), sentiment=sentiment)


def known(*headlines: Scored, rules: MoodRules = RULES) -> Mood:
    mood = mood_of(headlines, NOW, rules)
    assert mood is not None
    return mood


def test_without_headlines_the_mood_is_unknown_and_not_neutral() -> None:
    assert mood_of([], NOW, RULES) is None
    assert mood_of([told("a", BAD, hours=24 * 2_000)], NOW, RULES) is None  # 0.5 ** 2000 is nothing


def test_a_lone_headline_has_its_cap_and_no_more() -> None:
    mood = known(told("a", BAD))
    # 0.8 of bad news, of which a quarter counts; three quarters are not told, and neutral.
    assert mood.score == pytest.approx(-0.2)
    assert mood.score_bps == -2_000
    assert (mood.evidence, mood.stories, mood.headlines) == (0.25, 1, 1)
    assert mood.flags == ("little evidence",)


def test_enough_headlines_are_averaged_as_they_are() -> None:
    # Five new stories: 4 x -0.8 + 0.9 over 5.
    mood = known(*(told(name, BAD) for name in "abcd"), told("e", GOOD))
    assert mood.score == pytest.approx(-0.46)
    assert mood.evidence == 1
    assert (mood.positive, mood.neutral, mood.negative) == pytest.approx((0.18, 0.18, 0.64))


def test_a_headline_weighs_half_after_each_half_life() -> None:
    # Weights 1, 1/2, 1/4 and 1/8 make 1.875, less than the 4 that a cap of a quarter asks for.
    mood = known(told("a", BEST), told("b", WORST, hours=24), told("c", BEST, hours=48), told("d", WORST, hours=72))
    assert mood.score == pytest.approx((1 - 0.5 + 0.25 - 0.125) / 4)
    assert mood.evidence == pytest.approx(1.875 / 4)
    soon = known(told("a", BEST, hours=12), rules=MoodRules(
        half_life_hours=6, headline_cap_bps=10_000, mixed_bps=3_500, confident_bps=5_000))  # fmt: skip
    assert soon.score == pytest.approx(0.25)


def test_a_headline_from_after_the_moment_is_new() -> None:
    assert known(told("a", BAD, hours=-3)) == known(told("a", BAD))


def test_a_story_told_ten_times_counts_once_and_is_as_old_as_its_first_telling() -> None:
    copies = [told(f"台積電　營收創新高{'!' * n}", BAD, hours=24 - n) for n in range(10)]
    mood = known(*copies, told("台積電營收創新高 - Second Paper", BAD, source="Second Paper", hours=3))
    assert (mood.stories, mood.headlines) == (1, 11)
    assert mood.score == pytest.approx(-0.8 / 2 / 4)


def test_a_story_has_the_average_of_its_headlines() -> None:
    assert known(told("a!", GOOD), told("A", BAD)).score == pytest.approx((0.9 - 0.8) / 2 / 4)


def test_one_story_by_its_letters_and_digits() -> None:
    assert story_key("【快訊】ＴＳＭＣ beats, again!", "") == story_key("快訊 tsmc beats again", "")
    assert story_key("【快訊】 台積電 大漲 3.5% - 甲報", "甲報") == "快訊台積電大漲3.5"
    different = ["營收 7.49 億", "營收 749 億", "EPS -0.5 元", "EPS 0.5 元", "EPS +0.5 元", "目標價調降", "目標價調升"]
    assert len({story_key(title, "") for title in different}) == len(different)
    assert len({story_key(title, "") for title in ("", "🚀🚀", "📉", "!!")}) == 4  # no letter: as it stands


def test_good_and_bad_news_together_are_mixed_and_say_so() -> None:
    mood = known(*(told(f"a{n}", GOOD) for n in range(3)), *(told(f"b{n}", BAD) for n in range(3)))
    assert mood.score == pytest.approx(0.05)
    assert (mood.mixed, mood.low_confidence) == (True, False)
    torn = known(told("sales up, profit down", Sentiment(positive=0.5, neutral=0.0, negative=0.5)))
    assert torn.flags == ("mixed", "little evidence")
    assert not known(*(told(f"a{n}", GOOD) for n in range(9)), told("b", BAD)).mixed


def test_flat_probabilities_are_unsure_and_not_mixed() -> None:
    mood = known(*(told(f"a{n}", FLAT) for n in range(8)))
    assert mood.flags == ("low confidence",)
    assert abs(mood.score_bps) <= 100
    assert not known(*(told(f"a{n}", FLAT) for n in range(2)), *(told(f"b{n}", GOOD) for n in range(4))).low_confidence


@pytest.mark.parametrize(
    ("knob", "value"),
    [("half_life_hours", 0.0), ("half_life_hours", float("nan")), ("half_life_hours", float("inf")),
     ("headline_cap_bps", 0), ("headline_cap_bps", 10_001), ("mixed_bps", 3_333), ("confident_bps", 10_001)],
)  # fmt: skip
def test_knobs_that_could_not_work_are_refused_by_name(knob: str, value: float) -> None:
    knobs = {"half_life_hours": 24.0, "headline_cap_bps": 2_500, "mixed_bps": 3_500, "confident_bps": 5_000}
    with pytest.raises(ValueError, match=knob):
        MoodRules(**{**knobs, knob: value})  # type: ignore[arg-type]


# --- what one headline can do --------------------------------------------------------------------------------------

parts = st.integers(0, 100)
sentiments = st.tuples(parts, parts, parts).filter(any).map(
    lambda told: Sentiment(**{n: v / sum(told) for n, v in zip(("positive", "neutral", "negative"), told, strict=True)})
) | st.sampled_from([BEST, WORST])  # fmt: skip
headlines = st.builds(
    Scored,
    title=st.sampled_from(["a", "A!", "b", "B.", "c", "d", "e", "f", "g", "h", ""]),
    source=st.just(""),
    published_at=st.integers(-60, 10_000).map(lambda minutes: NOW - timedelta(minutes=minutes)),
    sentiment=sentiments,
)
knobs = st.builds(
    MoodRules,
    half_life_hours=st.floats(0.1, 1_000),
    headline_cap_bps=st.integers(100, 10_000),
    mixed_bps=st.just(3_500),
    confident_bps=st.just(5_000),
)
lists = st.lists(headlines, max_size=12)


def score(told: list[Scored], rules: MoodRules) -> float:
    mood = mood_of(told, NOW, rules)
    return mood.score if mood else 0.0


@given(lists, headlines, knobs, st.data())
def test_one_headline_more_moves_the_score_by_at_most_twice_the_cap(
    others: list[Scored], one: Scored, rules: MoodRules, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(others)))
    before, after = score(others, rules), score([*others[:place], one, *others[place:]], rules)
    assert abs(after - before) <= 2 * rules.cap + 1e-12
    alone = score([one], rules)
    assert abs(alone) <= rules.cap + 1e-12


@given(lists, headlines, sentiments, knobs)
def test_another_mood_of_one_headline_moves_the_score_by_at_most_twice_the_cap(
    others: list[Scored], one: Scored, mood: Sentiment, rules: MoodRules
) -> None:
    other = Scored(title=one.title, source=one.source, published_at=one.published_at, sentiment=mood)
    assert abs(score([*others, one], rules) - score([*others, other], rules)) <= 2 * rules.cap + 1e-12


def test_twice_the_cap_is_reached_so_the_bound_is_the_best_one() -> None:
    others = [told(name, BEST) for name in "abc"]
    assert score([*others, told("d", BEST)], RULES) - score([*others, told("d", WORST)], RULES) == pytest.approx(0.5)


def test_a_plain_average_would_not_keep_the_bound() -> None:
    # What stood here before: one headline among few decided alone, and a year-old one as much as a new one.
    everything = MoodRules(half_life_hours=24, headline_cap_bps=10_000, mixed_bps=3_500, confident_bps=5_000)
    assert abs(score([told("a", WORST)], everything) - score([], everything)) == 1.0


@given(lists, knobs, st.randoms(use_true_random=False))
def test_the_order_of_headlines_makes_no_difference_to_the_last_bit(
    others: list[Scored], rules: MoodRules, dice: random.Random
) -> None:
    shuffled = others[:]
    dice.shuffle(shuffled)
    assert mood_of(shuffled, NOW, rules) == mood_of(others, NOW, rules)


@given(lists.filter(bool), knobs)
def test_a_mood_stays_inside_its_ranges(told: list[Scored], rules: MoodRules) -> None:
    mood = mood_of(told, NOW, rules)
    if mood is not None:
        assert -1 - 1e-12 <= mood.score <= 1 + 1e-12
        assert mood.positive + mood.neutral + mood.negative == pytest.approx(1)
        assert 1 / 3 - 1e-9 <= mood.surest <= 1 + 1e-9
        assert abs(mood.score) <= mood.evidence + 1e-12
        assert 1 <= mood.stories <= mood.headlines == len(told)
