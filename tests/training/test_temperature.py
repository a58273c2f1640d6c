"""One temperature for all labels, against temperatures worked out by hand."""

from __future__ import annotations

import math

import pytest

from bot.errors import Refused
from training.temperature import Reading, fitted_temperature, loss, sureness


def readings(ahead: float, right: int, count: int) -> list[Reading]:
    """Texts that are all read as positive, `ahead` of the two other labels; `right` of them are.

    Of one label ahead of two equal ones, exp(ahead / T) / (exp(ahead / T) + 2) is likeliest where it is the share that
    is right: T = ahead / ln(2 right / wrong).
    """
    others = ("neutral", "negative")
    labels = ["positive"] * right + [others[at % 2] for at in range(count - right)]
    return [Reading(label=label, scores=(ahead, 0.0, 0.0)) for label in labels]


@pytest.mark.parametrize(
    ("ahead", "right", "count", "temperature"),
    [
        (3 * math.log(2), 2, 4, 3.0),  # 2 x 2 / 2 = 2
        (math.log(2), 8, 10, 1 / 3),  # 2 x 8 / 2 = 8: it is surer than it said
        (math.log(6), 3, 4, 1.0),  # 2 x 3 / 1 = 6: nothing to mend
    ],
)
def test_the_temperature_makes_confidence_the_share_that_is_right(
    ahead: float, right: int, count: int, temperature: float
) -> None:
    told = fitted_temperature({"a": readings(ahead, right, count)})

    assert told == pytest.approx(temperature, abs=1e-4)
    assert sureness(readings(ahead, right, count), told).error == pytest.approx(0, abs=1e-4)


def test_loss_and_error_of_four_texts_by_hand() -> None:
    four = readings(3 * math.log(2), 2, 4)
    # 8 : 1 : 1 before, so 0.8 where a half is right; 2 : 1 : 1 at 3
    assert sureness(four, 1.0).error == pytest.approx(0.3)
    assert sureness(four, 1.0).loss == pytest.approx(-(2 * math.log(0.8) + 2 * math.log(0.1)) / 4)
    assert sureness(four, 3.0).loss == pytest.approx(1.5 * math.log(2))
    assert sureness(four, 1.0).accuracy == sureness(four, 3.0).accuracy == 0.5


def test_each_source_weighs_alike_however_many_texts_it_has() -> None:
    ahead = 3 * math.log(2)
    sources = {"many": readings(ahead, 50, 100), "few": readings(ahead, 4, 4)}
    # a half and all, alike: three in four, 2 x 3 / 1 = 6; counted by texts it would be 54 of 104
    assert fitted_temperature(sources) == pytest.approx(ahead / math.log(6), abs=1e-4)


def test_scores_far_apart_have_a_finite_loss() -> None:
    sure = Reading(label="negative", scores=(500.0, 0.0, -500.0))
    assert loss([sure], 0.05) == pytest.approx(20_000)


def test_where_no_temperature_fits_none_is_told() -> None:
    with pytest.raises(Refused, match=r"0\.05 to 20 fits: all of these texts are read right"):
        fitted_temperature({"a": readings(1.0, 10, 10)})
    with pytest.raises(Refused, match="read right"):  # so surely that the loss is 0 before the bound
        fitted_temperature({"a": readings(50.0, 10, 10)})
    with pytest.raises(Refused, match="tell next to nothing of the labels"):
        fitted_temperature({"a": readings(1.0, 2, 6)})  # a third, as a guess
