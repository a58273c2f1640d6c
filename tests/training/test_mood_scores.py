"""Scores of headlines against numbers worked out by hand or printed in textbooks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.forecast import Sentiment
from training.mood_scores import commonest, paired, rate, reliability_of, score_moods

GOOD = Sentiment(positive=0.8, neutral=0.15, negative=0.05)
PLAIN = Sentiment(positive=0.2, neutral=0.6, negative=0.2)
BAD = Sentiment(positive=0.05, neutral=0.05, negative=0.9)
LABELS = ["positive", "positive", "positive", "neutral", "neutral", "negative"]
MOODS = [GOOD, GOOD, PLAIN, PLAIN, GOOD, BAD]


def test_accuracy_f1_and_confusion_of_six_answers() -> None:
    told = score_moods(LABELS, MOODS)

    assert (told.accuracy.right, told.accuracy.count) == (4, 6)
    assert told.confusion == ((2, 1, 0), (1, 1, 0), (0, 0, 1))  # label x answer
    # positive: precision 2/3, recall 2/3; neutral: precision 1/2, recall 1/2; negative: 1 and 1
    assert [told.labels[name].precision for name in ("positive", "neutral", "negative")] == pytest.approx(
        [2 / 3, 0.5, 1]
    )
    assert [told.labels[name].f1 for name in ("positive", "neutral", "negative")] == pytest.approx([2 / 3, 0.5, 1])
    assert told.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert told.weighted_f1 == pytest.approx((3 * 2 / 3 + 2 * 1 / 2 + 1) / 6)
    recall = told.labels["positive"].recall
    assert recall is not None
    assert (recall.right, recall.count) == (2, 3)


def test_calibration_of_the_same_six() -> None:
    told = score_moods(LABELS, MOODS)
    # sure 0.8 three times, right twice; 0.6 twice, right once; 0.9 once, right
    assert [(one.count, one.confidence, one.accuracy) for one in told.reliability] == [
        (2, pytest.approx(0.6), 0.5),
        (3, pytest.approx(0.8), pytest.approx(2 / 3)),
        (1, pytest.approx(0.9), 1.0),
    ]
    by_hand = (2 * abs(0.6 - 0.5) + 3 * abs(0.8 - 2 / 3) + 1 * abs(0.9 - 1)) / 6
    assert told.calibration_error == pytest.approx(by_hand)


def test_a_label_that_the_set_lacks_has_no_recall_and_is_no_part_of_the_macro_mean() -> None:
    told = score_moods(["positive", "positive"], [GOOD, BAD])
    assert told.labels["neutral"].recall is None
    assert told.macro_f1 == pytest.approx(2 / 3)  # precision 1, recall 1/2 of the only label there is


def test_wilsons_interval() -> None:
    # Worked out by hand from (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.959964, 8 of 10.
    told = rate(8, 10)
    assert told.value == 0.8
    assert (told.low, told.high) == (pytest.approx(0.4902, abs=5e-5), pytest.approx(0.9433, abs=5e-5))
    none = rate(0, 20)
    assert none.low == 0
    assert none.high == pytest.approx(3.841459 / 23.841459, abs=1e-6)  # z^2 / (n + z^2)


def test_mcnemar_is_the_binomial_test_of_what_only_one_got_right() -> None:
    first = [True] * 8 + [False] * 2 + [True] * 30 + [False] * 5
    second = [False] * 8 + [True] * 2 + [True] * 30 + [False] * 5
    told = paired(first, second)
    assert (told.only_first, told.only_second, told.first_ahead) == (8, 2, 6)
    # 2 * (C(10,0) + C(10,1) + C(10,2)) / 2^10 = 2 * 56 / 1024
    assert told.p == pytest.approx(112 / 1024)


def test_readers_who_agree_everywhere_do_not_differ() -> None:
    assert paired([True, False], [True, False]).p == 1.0


def test_the_commonest_label() -> None:
    assert commonest(LABELS) == "positive"
    assert commonest(["negative", "neutral"]) == "neutral"


def test_labels_and_answers_must_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="2 labels and 1 answers"):
        score_moods(["positive", "neutral"], [GOOD])
    with pytest.raises(ValueError, match="0 labels"):
        score_moods([], [])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_every_answer_stands_in_exactly_one_bin_that_holds_its_confidence(answers: list[tuple[float, bool]]) -> None:
    bins = reliability_of([sure for sure, _ in answers], [was for _, was in answers])
    assert sum(one.count for one in bins) == len(answers)
    for one in bins:
        assert one.low - 1e-9 <= one.confidence <= one.high + 1e-9
