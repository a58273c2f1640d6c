"""Windows as arrays, questions about unseen days, baselines that learn, and the loss that decides."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from builders import bar, days

from backtest.forecast_cases import Market
from backtest.forecast_quality import Case, View
from bot.core.exrights import ExRight
from bot.errors import DataMissing, Refused
from training.baselines import boosted, recurrent, thinned, with_views
from training.price_arrays import Windows, windows_at, windows_known_by
from training.price_scores import compare_losses, mean_loss, pinball
from training.unseen import unseen_questions

FIRST = date(2024, 1, 1)  # a Monday


def market(closes: list[str], *, symbol: str = "2330", events: tuple[ExRight, ...] = ()) -> Market:
    bars = [bar(close, symbol=symbol, session=day) for close, day in zip(closes, days(FIRST, len(closes)), strict=True)]
    return Market.of({symbol: bars}, {symbol: events})


def halved(ex_date: date, previous_x100: int) -> ExRight:
    return ExRight(
        symbol="2330",
        ex_date=ex_date,
        kind="dividend",
        previous_x100=previous_x100,
        reference_x100=previous_x100 // 2,
        source="test",
        known_at=datetime(2024, 1, 1, tzinfo=UTC),
    )


# --- arrays --------------------------------------------------------------------------------------------------------


def test_a_window_tells_the_past_and_the_move_that_came_in_logarithms() -> None:
    told = windows_known_by(market(["100", "110", "99", "99", "118.8"]), cut=date.max, past=2, future=2)

    assert [key[1] for key in told.keys] == days(FIRST, 5)[1:3]
    closes = told.past[0, :, 3]
    assert closes == pytest.approx([0.0, math.log(1.1)])  # the first bar from its own open, then from the close before
    assert told.came[0] == pytest.approx([math.log(0.9), math.log(0.9)])
    assert told.came[1] == pytest.approx([0.0, math.log(1.2)])


def test_an_ex_date_is_no_move() -> None:
    ex_day = days(FIRST, 5)[2]
    told = windows_known_by(
        market(["100", "100", "50", "50", "55"], events=(halved(ex_day, 100_00),)), cut=date.max, past=3, future=1
    )
    assert told.past[0, :, 3] == pytest.approx([0, 0, 0])
    assert told.came[:, 0] == pytest.approx([0, math.log(1.1)])


def test_no_training_window_reaches_past_the_cut_whatever_comes_after_it() -> None:
    closes = [str(100 + at % 7) for at in range(40)]
    cut = days(FIRST, 40)[24]
    told = windows_known_by(market(closes), cut=cut, past=5, future=3)
    changed = windows_known_by(market(closes[:25] + ["50"] * 15), cut=cut, past=5, future=3)

    assert told.keys == changed.keys
    assert len(told.keys) == 25 - 5 - 3 + 1
    assert np.array_equal(told.past, changed.past)
    assert np.array_equal(told.came, changed.came)
    assert max(key[1] for key in told.keys) == days(FIRST, 40)[21]  # its answer ends on the cut itself


def test_a_window_with_a_long_hole_in_it_is_left_out() -> None:
    bars = [bar("100", session=day) for day in days(FIRST, 60)]
    other = [bar("100", symbol="2317", session=day) for day in days(FIRST, 60)]
    held = Market.of({"2330": bars[:20] + bars[40:], "2317": other}, {})
    told = windows_known_by(held, cut=date.max, past=3, future=1)
    asked = [day for symbol, day in told.keys if symbol == "2330"]
    assert len(asked) == 2 * (20 - 3)
    assert bars[40].session not in asked


def test_what_came_after_a_question_may_be_unknown() -> None:
    told = windows_at(market(["100", "110", "121"]), [("2330", days(FIRST, 3)[2])], past=2, future=2)
    assert np.isnan(told.came).all()
    assert told.past[0, :, 3] == pytest.approx([0, math.log(1.1)])


# --- questions -----------------------------------------------------------------------------------------------------


def three(count: int) -> Market:
    told = {
        symbol: [bar("100", symbol=symbol, session=day) for day in days(FIRST, count)]
        for symbol in ("1101", "2317", "2330")
    }
    return Market.of(told, {})


def test_questions_begin_after_the_last_known_day_and_end_where_the_answer_is_known() -> None:
    all_days = days(FIRST, 30)
    asked = unseen_questions(three(30), {}, after=all_days[19], past=5, future=2)
    assert sorted({one.as_of for one in asked}) == all_days[20:28]
    assert len(asked) == 8 * 3
    assert all(len(one.bars) == 5 and one.bars[-1].session == one.as_of for one in asked)


def test_fewer_questions_are_spread_over_all_days_and_all_stocks() -> None:
    asked = unseen_questions(three(60), {}, after=days(FIRST, 60)[19], past=5, future=2, most=38)
    assert len(asked) == 38
    assert len({one.as_of for one in asked}) == 38  # 38 days have an answer: one question each
    per_stock = [sum(one.company.symbol == symbol for one in asked) for symbol in ("1101", "2317", "2330")]
    assert max(per_stock) - min(per_stock) <= 2


def test_questions_can_end_with_a_day_and_tell_the_news() -> None:
    all_days = days(FIRST, 30)
    told = {("2330", all_days[21]): ("台積電法說會",)}
    asked = unseen_questions(
        three(30), {}, after=all_days[19], until=all_days[22], past=5, future=2,
        news=lambda symbol, session: told.get((symbol, session), ()),
    )  # fmt: skip
    assert sorted({one.as_of for one in asked}) == all_days[20:23]
    assert [(one.company.symbol, one.as_of) for one in asked if one.context] == list(told)


def test_no_unseen_day_is_said() -> None:
    with pytest.raises(DataMissing, match="no question 5:2 after 2030-01-01"):
        unseen_questions(three(30), {}, after=date(2030, 1, 1), past=5, future=2)


def test_a_question_is_told_in_the_prices_of_its_own_day() -> None:
    all_days = days(FIRST, 8)
    held = market(["100"] * 4 + ["50"] * 4, events=(halved(all_days[4], 100_00),))
    asked = unseen_questions(held, {}, after=all_days[4], past=4, future=1)
    assert [one.close for one in asked[0].bars] == [Decimal("50.00"), Decimal("50.00"), Decimal(50), Decimal(50)]


# --- baselines -----------------------------------------------------------------------------------------------------


def persistent(count: int, seed: int) -> Windows:
    """Windows of moves that go on: the next is 0.6 of the last, and noise of 1 %."""
    dice = np.random.default_rng(seed)
    moves = np.zeros((count, 7))
    for at in range(1, 7):
        moves[:, at] = 0.6 * moves[:, at - 1] + dice.normal(0, 0.01, count)
    past = np.zeros((count, 6, 5))
    past[:, :, 1:4] = moves[:, :6, None]
    sessions = days(FIRST, count // 10)
    keys = tuple(("2330", sessions[at // 10]) for at in range(count))
    return Windows(past=past, came=moves[:, 6:], spread=np.full(count, 0.012), keys=keys)


@pytest.mark.parametrize("learn", [boosted, recurrent])
def test_a_baseline_learns_what_is_there_and_knows_how_sure_it_is(learn: object) -> None:
    train, asked = persistent(3_000, 1), persistent(1_000, 2)
    told = learn(train, asked, seed=1)  # type: ignore[operator]

    came, middle = asked.came[:, 0], told[:, 0, 1]
    known = 0.6 * asked.past[:, -1, 3]  # nobody can know more than this
    assert np.mean(np.abs(came - middle)) < 1.05 * np.mean(np.abs(came - known))
    assert np.mean(np.abs(came - middle)) < 0.9 * np.mean(np.abs(came))  # the last close
    inside = np.mean((told[:, 0, 0] <= came) & (came <= told[:, 0, 2]))
    assert 0.74 <= inside <= 0.86
    assert (np.diff(told, axis=2) >= 0).all()


def test_the_same_seed_gives_the_same_baseline() -> None:
    train, asked = persistent(600, 1), persistent(50, 2)
    assert np.array_equal(recurrent(train, asked, seed=3), recurrent(train, asked, seed=3))


def test_too_few_windows_are_refused_and_too_many_thinned_over_time() -> None:
    with pytest.raises(Refused, match="490 windows before the cut"):
        thinned(persistent(490, 1))
    some = thinned(persistent(2_000, 1), most=1_000)
    assert len(some.keys) == 1_000
    assert some.keys[-1][1] >= persistent(2_000, 1).keys[-10][1]


# --- the loss ------------------------------------------------------------------------------------------------------


def case(number: int, came: float, horizon: int = 1, **views: View) -> Case:
    return Case(symbol="2330", as_of=FIRST, number=number, horizon=horizon, last=100.0, came=came, views=views)


def test_the_pinball_loss_of_a_close() -> None:
    told = case(0, 110.0, one=View(told=104.0, low=95.0, high=108.0), bare=View(told=104.0))
    # 10 %: 0.1 * 15; 50 %: 0.5 * 6; 90 %: 0.9 * 2; the mean over the last close
    assert pinball(told, "one") == pytest.approx((1.5 + 3 + 1.8) / 3 / 100)
    # without a band the middle stands for all three: (0.1 + 0.5 + 0.9) * 6
    assert pinball(told, "bare") == pytest.approx(9 / 3 / 100)
    below = case(0, 90.0, one=View(told=104.0, low=95.0, high=108.0))
    assert pinball(below, "one") == pytest.approx((0.9 * 5 + 0.5 * 14 + 0.1 * 18) / 3 / 100)


def test_baselines_stand_beside_the_others_in_the_prices_of_the_case() -> None:
    told = np.array([[[-0.1, 0.0, math.log(1.05)]]])
    [one] = with_views([case(0, 101.0, base=View(told=100.0))], "lstm", told, [("2330", FIRST)])
    assert one.views["lstm"].told == pytest.approx(100)
    assert one.views["lstm"].high == pytest.approx(105)
    assert "base" in one.views
    unasked = with_views([case(0, 101.0, horizon=2, base=View(told=100.0))], "lstm", told, [("2330", FIRST)])
    assert "lstm" not in unasked[0].views


def test_the_smaller_loss_wins_and_the_days_count_not_the_cases() -> None:
    cases = []
    for number in range(30):
        came = 100.0 + (number * 7) % 11 - 5
        near, far = View(told=came + 0.5 + 0.1 * (number % 3)), View(told=came + 2.0)
        cases += [replace(case(number, came, near=near, far=far), symbol=symbol) for symbol in ("2330", "2317")]
    told = compare_losses(cases, "near", "far")
    assert told is not None
    assert (told.days, told.difference < 0) == (30, True)
    assert told.p is not None
    assert told.p < 1e-6
    turned = compare_losses(cases, "far", "near")
    assert turned is not None
    assert turned.difference == pytest.approx(-told.difference)
    assert mean_loss(cases, "far") == pytest.approx(2.0 * 0.5 / 100)  # 2.0 too high at all three levels
    assert compare_losses(cases, "near", "absent") is None
