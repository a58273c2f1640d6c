from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from loopback import Answer, Loopback, exchange_config, recorded

from bot.adapters.twse_holidays import TwseHolidays, schedule_of
from bot.errors import DataMissing, Transient

ANSWER = recorded("twse_holidays.json")


def changed(**top: Any) -> Any:
    return {**ANSWER, **top}


def test_closed_weekdays_only(loopback: Loopback) -> None:
    """2026-02-28 is a Saturday; 01-02 and 02-11 are sessions that the list names."""
    loopback.tell(Answer(b"<html>", status=428), ANSWER)
    assert TwseHolidays(exchange_config(loopback.url)).schedule(2026).closed == {
        date(2026, 1, 1): "中華民國開國紀念日",
        date(2026, 2, 12): "市場無交易，僅辦理結算交割作業",
        date(2026, 2, 16): "農曆除夕前一日",
    }
    assert loopback.requests[-1].path == "/rwd/zh/holidaySchedule/holidaySchedule"
    assert loopback.requests[-1].params == {"response": "json", "date": "20260101"}


def test_columns_are_found_by_name() -> None:
    moved = changed(fields=["名稱", "說明", "日期"], data=[["國慶日", "", "2026-10-09"]])
    assert schedule_of(moved, 2026).closed == {date(2026, 10, 9): "國慶日"}


def test_a_make_up_saturday_is_a_session_and_a_closed_sunday_is_nothing_new() -> None:
    told = changed(data=[["2026-02-28", "補行上班日開始交易", ""], ["2026-03-01", "和平紀念日", ""]])
    schedule = schedule_of(told, 2026)
    assert (schedule.closed, schedule.weekend_sessions) == ({}, {date(2026, 2, 28): "補行上班日開始交易"})


def test_another_year_is_an_error(loopback: Loopback) -> None:
    loopback.tell(ANSWER)
    with pytest.raises(
        DataMissing, match=r"holidays of 2027: the answer is for 115 年市場開休市日期, not 2027, 4 tries$"
    ):
        TwseHolidays(exchange_config(loopback.url)).schedule(2027)


@pytest.mark.parametrize(
    "wrong",
    [{"stat": "error"}, {"stat": None}, {"title": None}, {"title": "市場開休市日期"}, {"data": None}, {"fields": 1}],
)
def test_an_answer_that_tells_too_little_is_tried_again(wrong: dict[str, Any]) -> None:
    with pytest.raises(Transient):
        schedule_of(changed(**wrong), 2026)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stat": "很抱歉，沒有符合條件的資料!"},
        {"data": []},
        {"data": [["2026-01-01", "x"]]},
        {"data": [["1月1日", "x", ""]]},
        {"data": [[None, "x", ""]]},
        {"data": [["2025-12-31", "x", ""]]},
        {"data": ["2026-01-01"]},
        {"fields": ["日", "名稱", "說明"]},
    ],
)
def test_a_list_that_cannot_be_read_is_no_list_of_holidays(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataMissing, match=r"^holidays of 2026: "):
        schedule_of(changed(**wrong), 2026)
