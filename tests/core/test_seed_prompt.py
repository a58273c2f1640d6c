"""Style "seed": the table that is asked, and a parser that never takes the question's own rows for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

import pytest
from builders import bar, days
from hypothesis import given
from hypothesis import strategies as st

from bot.core.forecast import ForecastBar
from bot.core.market import Bar, floor_to_tick_x100, limit_down_x100, limit_up_x100, to_x100
from bot.core.prompt import read_answer
from bot.core.seed_prompt import (
    NOT_A_ROW,
    NOT_AFTER,
    OUTSIDE,
    TOO_FEW,
    SeedUnreadable,
    read_continuation,
    seed_question,
    seed_row,
)

FIRST = date(2025, 1, 2)
PAST = [bar("1040", session=FIRST), bar("1045.00", open="1042", high="1050", low="1035", session=FIRST + timedelta(1))]
GOOD = "2025-01-06,1045,1060,1040,1055\n2025-01-07,1055,1055,1030,1035\n"


def test_the_question_is_a_table() -> None:
    assert seed_question("台積電\n<|im_end|>", PAST, context=["up\nup", "", "<b>"]) == (
        "Daily prices of 2330 台積電 im_end, TWD per share.\nNews: up up\nNews: b\n"
        "date,open,high,low,close\n2025-01-02,1040,1040,1040,1040\n2025-01-03,1042,1050,1035,1045\n"
    )
    assert seed_question("台積電", PAST, masked=True) == (
        "Daily prices of a stock, TWD per share.\ndate,open,high,low,close\n1,1040,1040,1040,1040\n2,1042,1050,1035,1045\n"
    )


def test_rows_after_the_question_are_read() -> None:
    first, second = read_continuation(GOOD + "2025-01-08,1,", PAST, 2, ended=False)

    assert (first.open, first.high, first.low, first.close) == (1045, 1060, 1040, 1055)
    assert second.close == 1035


def test_prices_go_to_the_tick_and_high_and_low_hold_the_body() -> None:
    (told,) = read_continuation("2025-01-06, 1046.9 ,1041,1043,1052.6\n", PAST, 1, ended=False)

    assert (told.open, told.high, told.low, told.close) == (1045, 1055, 1040, 1055)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", TOO_FEW),
        (GOOD.splitlines()[0] + "\n", TOO_FEW),
        (GOOD[:-1], TOO_FEW),  # the last number may go on
        ("2025-01-03,1042,1050,1035,1045\n" + GOOD, NOT_AFTER),  # what the first system took for its forecast
        ("2025-01-06,1045,1060,1040,1055\n2025-01-06,1055,1055,1030,1035\n", NOT_AFTER),
        ("The forecast is:\n" + GOOD, NOT_A_ROW),
        ("2025-01-06,1045,1060,1040\n" + GOOD, NOT_A_ROW),
        ("2025-02-30,1045,1060,1040,1055\n" + GOOD, NOT_A_ROW),
        ("6,1045,1060,1040,1055\n" + GOOD, NOT_A_ROW),
        ("2025-01-06,1045,1060,1040,-5\n" + GOOD, NOT_A_ROW),
        ("2025-01-06,1045,1060,1040,1e3\n" + GOOD, NOT_A_ROW),
        ("2025-01-06,1045,1060,1040,１０４０\n" + GOOD, NOT_A_ROW),
        ("2025-01-06,1045,1150,1040,1055\n" + GOOD, OUTSIDE),  # 1045 * 1.1 = 1149.5, on the tick 1145
        ("2025-01-06,1045,1050,940,1045\n" + GOOD, OUTSIDE),  # 1045 * 0.9 = 940.5, on the tick 945 (below 1,000: 941)
        ("2025-01-06,1145,1145,1145,1145\n2025-01-07,1260,1260,1260,1260\n", OUTSIDE),  # the limit rolls: 1255
        ("2025-01-06,0,0,0,0\n" + GOOD, OUTSIDE),
    ],
)
def test_whatever_is_no_forecast_is_an_abstention_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(SeedUnreadable) as wrong:
        read_continuation(text, PAST, 2, ended=False)

    assert str(wrong.value) == reason


def test_a_model_that_ended_itself_needs_no_last_line_end() -> None:
    assert read_continuation(GOOD[:-1], PAST, 2, ended=True) == read_continuation(GOOD, PAST, 2, ended=False)


def test_a_masked_table_counts_on() -> None:
    (told,) = read_continuation("3,1045,1060,1040,1055\n", PAST, 1, ended=False, masked=True)

    assert told.close == 1055
    for repeated in ("2,1045,1060,1040,1055\n", "2025-01-06,1045,1060,1040,1055\n"):
        with pytest.raises(SeedUnreadable):
            read_continuation(repeated, PAST, 1, ended=False, masked=True)


# --- properties ---------------------------------------------------------------------------------------------------

ROW = st.integers(0, 10**12 - 1).map(lambda digits: f"{digits:012d}\n")


@st.composite
def told_after(draw: st.DrawFn) -> tuple[Sequence[Bar], tuple[ForecastBar, ...], str]:
    """Past bars, bars that could follow them, and these as a continuation."""
    close = floor_to_tick_x100(draw(st.integers(1_00, 3_000_00)), etf=False)
    past = [bar(str(Decimal(close) / 100), session=day) for day in days(FIRST, draw(st.integers(1, 4)))]
    future = read_answer("".join(draw(st.lists(ROW, min_size=1, max_size=6))), past[-1].close)
    after = days(past[-1].session + timedelta(draw(st.integers(1, 9))), len(future))
    rows = "".join(seed_row(day.isoformat(), one) for day, one in zip(after, future, strict=True))
    return past, future, rows


@given(told_after())
def test_what_could_trade_is_read_back_as_it_was_told(told: tuple[Sequence[Bar], tuple[ForecastBar, ...], str]) -> None:
    past, future, rows = told

    assert read_continuation(rows, past, len(future), ended=False) == future


@given(told_after(), st.integers(0, 200))
def test_a_cut_answer_is_whole_or_refused_but_never_another(
    told: tuple[Sequence[Bar], tuple[ForecastBar, ...], str], cut: int
) -> None:
    past, future, rows = told
    try:
        read = read_continuation(rows[:cut], past, len(future), ended=False)
    except SeedUnreadable:
        return
    assert read == future


@given(told_after())
def test_the_questions_own_rows_are_never_a_forecast(told: tuple[Sequence[Bar], tuple[ForecastBar, ...], str]) -> None:
    past, future, rows = told
    own = seed_question("x", past).split("close\n")[1]

    for text in (own, own + rows):
        with pytest.raises(SeedUnreadable, match=NOT_AFTER):
            read_continuation(text, past, len(future), ended=True)


@given(st.text("0123456789-.,\n 25", max_size=120), st.integers(1, 3), st.booleans())
def test_any_text_is_tradable_bars_or_a_reason(text: str, sessions: int, ended: bool) -> None:
    try:
        bars = read_continuation(text, PAST, sessions, ended=ended)
    except SeedUnreadable:
        return
    assert len(bars) == sessions
    before = to_x100(PAST[-1].close)
    for one in bars:
        assert limit_down_x100(before, etf=False) <= to_x100(one.low) <= to_x100(one.high)
        assert to_x100(one.high) <= limit_up_x100(before, etf=False)
        before = to_x100(one.close)
