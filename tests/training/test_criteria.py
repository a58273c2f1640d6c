"""Who may go live: one evaluation that passes, and everything that can be wrong with it, one at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from evaluations import comparison, evaluation, mood_result, price_result

from backtest.forecast_quality import LAST_CLOSE
from training.criteria import Verdict, judge
from training.evaluation import ADAPTER, BASE, Differing, Evaluation, Steadiness

WELL = evaluation()
BEATS_BASE, BEATS_NAIVE, NO_WORSE = (
    "forecasts beat the base",
    "forecasts beat the last close",
    "forecasts no worse than the base's",
)
READS, READS_NAIVE, READS_NO_WORSE = (
    "headlines read better than by the base",
    "headlines read better than by the commonest label",
    "headlines read no worse than by the base",
)


def verdict(told: Evaluation) -> Verdict:
    return judge(told, past=20, future=5)


def failed(told: Evaluation) -> list[str]:
    return [one.name for one in verdict(told).criteria if not one.passed]


def against(base: tuple[float, float | None], naive: tuple[float, float | None] = (-0.003, 0.01)) -> dict[str, Any]:
    return {"against": {BASE: comparison(*base), LAST_CLOSE: comparison(*naive)}}


def test_an_adapter_that_is_better_at_all_it_learned_may_go_live() -> None:
    told = verdict(WELL)
    assert told.passed
    assert told.refusal == ""


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"learned_prices": False, "learned_moods": False}, "trained on something that is judged"),
        ({"prices": price_result(days=19)}, "unseen days"),
        ({"prices": price_result(first=date(2024, 10, 31))}, "unseen days"),  # the last day that is known of
        ({"prices": price_result(past=60)}, "unseen days"),  # not as the daemon asks
        ({"prices": price_result(**against((-0.005, 0.05)))}, BEATS_BASE),
        ({"prices": price_result(**against((-0.005, None)))}, BEATS_BASE),
        ({"prices": price_result(**against((0.005, 0.001)))}, BEATS_BASE),  # significant, but the other way
        ({"prices": price_result(**against((-0.005, 0.001), (-0.003, 0.06)))}, BEATS_NAIVE),
        ({"prices": price_result(**against((-0.005, 0.001), (0.003, 0.001)))}, BEATS_NAIVE),
        ({"prices": price_result(unanswered={BASE: 0, ADAPTER: 1})}, "every answer parses"),
        ({"moods": (mood_result(base=150, adapter=150), WELL.moods[1])}, READS),
        ({"moods": (mood_result(base=150, adapter=155), WELL.moods[1])}, READS),  # 5 : 0 has p 1/16
        ({"moods": (mood_result(base=10, adapter=90), WELL.moods[1])}, READS_NAIVE),  # a third is as good as no reading
        ({"moods": (mood_result(count=199), WELL.moods[1])}, "unseen headlines"),
        ({"moods": (WELL.moods[0], mood_result("hard", base=41, adapter=40, count=120))}, "hard cases"),
        ({"moods": WELL.moods[:1]}, "hard cases"),
        ({"steadiness": Steadiness(merged=Differing(count=400, differ=2), alone=Differing(count=400, differ=0))},
         "merged and unmerged answers agree"),  # 0.5 % is not under 0.5 %
        ({"steadiness": Steadiness(merged=Differing(count=400, differ=0), alone=Differing(count=400, differ=2))},
         "answers alone and in a batch agree"),
        ({"steadiness": Steadiness(merged=Differing(count=400, differ=0), alone=Differing(count=199, differ=0))},
         "answers alone and in a batch agree"),
    ],
)  # fmt: skip
def test_each_fault_fails_its_own_criterion_and_is_named_in_one_line(told: dict[str, Any], name: str) -> None:
    found = verdict(replace(WELL, **told))

    assert name in [one.name for one in found.criteria if not one.passed]
    assert "night-3 is not promoted" in found.refusal
    assert f"{name}: " in found.refusal
    assert "\n" not in found.refusal


def test_only_the_fault_is_held_against_it() -> None:
    assert failed(replace(WELL, prices=price_result(unanswered={BASE: 3, ADAPTER: 1}))) == ["every answer parses"]
    assert failed(replace(WELL, prices=price_result(unanswered={BASE: 3, ADAPTER: 0}))) == []


def test_five_more_right_and_none_fewer_is_not_yet_significant_and_six_are() -> None:
    # exact McNemar: 2 * (1/2)^5 = 0.0625, 2 * (1/2)^6 = 0.03125
    assert READS in failed(replace(WELL, moods=(mood_result(base=150, adapter=155), WELL.moods[1])))
    assert READS not in failed(replace(WELL, moods=(mood_result(base=150, adapter=156), WELL.moods[1])))


def test_the_sets_are_judged_together() -> None:
    two = (mood_result("a", base=150, adapter=153), mood_result("b", base=150, adapter=153), WELL.moods[1])
    assert READS not in failed(replace(WELL, moods=two))  # 3 + 3 : 0
    assert READS in failed(replace(WELL, moods=(two[0], WELL.moods[1])))


@pytest.mark.parametrize(
    ("difference", "p", "fails"),
    [
        (-0.001, 0.9, False),  # better, if at all
        (0.0002, 0.3, False),  # 1 % of the base's 0.02 worse, by chance
        (0.00021, 0.3, True),  # more than that
        (0.0001, 0.01, True),  # half a percent worse, but surely
        (0.0, None, False),  # the very same answers: nothing to test
    ],
)
def test_an_adapter_that_learned_headlines_alone_need_not_beat_on_prices_but_must_not_be_worse(
    difference: float, p: float | None, fails: bool
) -> None:
    told = replace(WELL, learned_prices=False, prices=price_result(**against((difference, p), (0.01, 0.001))))
    assert failed(told) == ([NO_WORSE] if fails else [])


@pytest.mark.parametrize(
    ("adapter", "fails"),
    [(150, False), (147, False), (146, True)],  # 1 % of 300 is 3
)
def test_an_adapter_that_learned_prices_alone_must_not_read_worse(adapter: int, fails: bool) -> None:
    told = replace(WELL, learned_moods=False, moods=(mood_result(base=150, adapter=adapter), WELL.moods[1]))
    assert failed(told) == ([READS_NO_WORSE] if fails else [])


def test_what_was_not_measured_does_not_pass() -> None:
    nothing = replace(WELL, moods=(), prices=None, steadiness=None)
    told = verdict(nothing)
    assert [one.name for one in told.criteria if one.passed] == ["trained on something that is judged"]
    assert all(one.found == "not measured" for one in told.criteria if not one.passed)
