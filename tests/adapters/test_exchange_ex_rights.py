"""Recorded answers: three of tests/data are node-twstock's fixtures.

twse_twt49u.json is put together: header, title and dates as recorded ones, 2454's row and the closes, references and
values of 6442 and 2543 as public tests quote them; the limits and the last columns of those two are ours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from builders import at
from hypothesis import given
from hypothesis import strategies as st
from loopback import Answer, Loopback, feeds_config, recorded

from bot.adapters.exchange_ex_rights import Asked, ExchangeExRights, rows_of
from bot.core.exrights import ExRight
from bot.errors import DataMissing, Transient

READ_AT = at(date(2024, 7, 1))
ASKED: dict[str, Asked] = {
    "twse_twt49u": Asked(board="twse", kind="dividend", first=date(2024, 1, 1), last=date(2024, 12, 31)),
    "twse_twtauu": Asked(board="twse", kind="reduction", first=date(2024, 1, 1), last=date(2024, 6, 28)),
    "tpex_exdailyq": Asked(board="tpex", kind="dividend", first=date(2024, 3, 22), last=date(2024, 3, 23)),
    "tpex_revivt": Asked(board="tpex", kind="reduction", first=date(2024, 1, 1), last=date(2024, 7, 1)),
}


class Clock:
    def now(self) -> Any:
        return READ_AT


class Boards:
    """Both boards at one loopback server."""

    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback
        self.feed = ExchangeExRights(feeds_config(loopback.url, attempts=1), Clock())

    def told(self, name: str, symbols: str, *answers: Any) -> list[ExRight]:
        self.loopback.tell(*(answers or (recorded(f"{name}.json"),)))
        asked = ASKED[name]
        return self.feed.events(asked.board, asked.kind, asked.first, asked.last, symbols.split())


@pytest.fixture
def boards(loopback: Loopback) -> Iterator[Boards]:
    made = Boards(loopback)
    yield made
    made.feed.close()


def event(symbol: str, day: date, previous: int, reference: int, low: int, high: int, **more: Any) -> ExRight:
    return ExRight(
        symbol=symbol, ex_date=day, previous_x100=previous, reference_x100=reference, limit_down_x100=low,
        limit_up_x100=high, known_at=READ_AT, **more,
    )  # fmt: skip


def test_twse_dividends(boards: Boards) -> None:
    assert boards.told("twse_twt49u", "2454 2543 6442") == [
        event("2454", date(2024, 1, 4), 953_00, 928_40, 836_00, 1020_00, kind="dividend", source="TWSE TWT49U",
              cash_dividend=Decimal("24.6")),
        event("6442", date(2024, 1, 10), 67_20, 65_94, 59_40, 73_90, kind="dividend", source="TWSE TWT49U"),
        event("2543", date(2024, 5, 30), 59_50, 48_42, 43_60, 57_00, kind="dividend", source="TWSE TWT49U"),
    ]  # fmt: skip
    [request] = boards.loopback.requests
    assert (request.method, request.path) == ("GET", "/rwd/zh/exRight/TWT49U")
    assert request.params == {"startDate": "20240101", "endDate": "20241231", "response": "json"}


def test_twse_reductions(boards: Boards) -> None:
    [found] = boards.told("twse_twtauu", "3432 2330")
    assert found == event("3432", date(2024, 1, 22), 10_65, 19_69, 17_75, 21_65, kind="reduction", source="TWSE TWTAUU")


def test_tpex_is_asked_by_post_with_slashes(boards: Boards) -> None:
    [found] = boards.told("tpex_exdailyq", "2065")
    assert found == event("2065", date(2024, 3, 22), 65_70, 62_84, 56_60, 69_10, kind="dividend",
                          source="TPEx exDailyQ", cash_dividend=Decimal("2.86203464"))  # fmt: skip
    [request] = boards.loopback.requests
    assert (request.method, request.path) == ("POST", "/www/zh-tw/bulletin/exDailyQ")
    assert request.body == b"startDate=2024%2F03%2F22&endDate=2024%2F03%2F23&response=json"


def test_tpex_reductions(boards: Boards) -> None:
    assert [(one.symbol, one.ex_date, one.factor) for one in boards.told("tpex_revivt", "3064 3191")] == [
        ("3064", date(2024, 2, 5), Fraction(3550, 1065)),
        ("3191", date(2024, 2, 21), Fraction(2)),
    ]


@pytest.mark.parametrize("name", ASKED)
def test_the_limits_that_the_boards_tell_follow_from_their_references(boards: Boards, name: str) -> None:
    for one in boards.told(name, "2454 3432 2911 3308 2065 5478 6895 3064 3191"):
        from_reference = ExRight(
            symbol=one.symbol, ex_date=one.ex_date, kind=one.kind, previous_x100=one.previous_x100,
            reference_x100=one.reference_x100, source="", known_at=READ_AT,
        )  # fmt: skip
        low, high = from_reference.limits_x100(10, etf=False)
        assert (low, high) == (one.limit_down_x100, one.limit_up_x100)


def test_new_shares_after_a_reduction_set_the_reference(boards: Boards) -> None:
    answer = recorded("twse_twtauu.json")
    answer["data"][0][8] = "18.50"
    assert boards.told("twse_twtauu", "3432", answer)[0].reference_x100 == 18_50


def test_prices_not_fixed_yet_are_no_event_yet(boards: Boards) -> None:
    answer = recorded("twse_twtauu.json")
    answer["data"][0][3:8] = ["-"] * 5
    assert boards.told("twse_twtauu", "3432", answer) == []


def test_columns_are_found_by_name_and_the_table_of_2015_has_one_more(boards: Boards) -> None:
    answer = recorded("tpex_exdailyq.json")
    table = answer["tables"][0]
    table["fields"].insert(3, "員工紅利轉增資")
    for row in table["data"]:
        row.insert(3, "0")
    assert boards.told("tpex_exdailyq", "2065", answer)[0].reference_x100 == 62_84


def test_a_range_without_events(boards: Boards) -> None:
    empty = recorded("tpex_exdailyq.json")
    empty["tables"][0]["data"] = []
    assert boards.told("tpex_exdailyq", "2065", empty) == []
    assert boards.told("twse_twt49u", "2454", {"stat": "很抱歉，沒有符合條件的資料!"}) == []


WRONG: list[tuple[str, Any, str]] = [
    ("twse_twt49u", {"title": "113年01月01日 至 113年12月30日 除權除息計算結果表"}, "the answer is for 113年01月01日"),
    ("twse_twt49u", {"title": None}, "no range told"),
    ("twse_twt49u", {"stat": "系統忙碌"}, "status '系統忙碌'"),
    ("twse_twt49u", {"stat": None}, "status 'None'"),
    ("twse_twt49u", {"data": None}, "an answer without rows"),
    ("twse_twt49u", {"fields": ["資料日期"]}, "0 columns 股票代號"),
    ("tpex_exdailyq", {"date": "20241122~20241122"}, "the answer is for 20241122~20241122, not 20240322~20240323"),
    ("tpex_exdailyq", {"date": None}, "the answer is for None"),
    ("tpex_exdailyq", {"tables": []}, "an answer without a table"),
    ("tpex_revivt", {"stat": "參數錯誤"}, "status '參數錯誤'"),
]


@pytest.mark.parametrize(("name", "change", "why"), WRONG)
def test_an_answer_to_another_question_is_refused(boards: Boards, name: str, change: Any, why: str) -> None:
    with pytest.raises(DataMissing, match=rf"{ASKED[name]}: .*{why}"):
        boards.told(name, "2454 2065 3064", recorded(f"{name}.json") | change)


@pytest.mark.parametrize(
    ("place", "cell", "why"),
    [
        (0, "113年13月04日", "is no date"),
        (0, "112年12月29日", "a row of 2023-12-29 in the answer for"),
        (3, "九百", "2454 2024-01-04: 除權息前收盤價: '九百' is no number"),
        (3, "-953.00", "is no number"),
        (4, "9.28", "9.28 after 953.00 can't be"),
        (4, "1,920.00", "can't be"),
        (4, "928.405", "finer than 0.01"),
        (7, "900.00", "lies outside the limits"),
        (8, "928.41", "lies outside the limits"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_name(boards: Boards, place: int, cell: str, why: str) -> None:
    answer = recorded("twse_twt49u.json")
    answer["data"][0][place] = cell
    with pytest.raises(DataMissing, match=why):
        boards.told("twse_twt49u", "2454", answer)


def test_a_broken_row_of_a_strangers_stock_does_not_matter(boards: Boards) -> None:
    answer = recorded("twse_twt49u.json")
    answer["data"][0][3] = "九百"
    assert [one.symbol for one in boards.told("twse_twt49u", "2543", answer)] == ["2543"]


def test_the_same_event_twice_is_refused(boards: Boards) -> None:
    answer = recorded("twse_twt49u.json")
    answer["data"].append(answer["data"][0])
    with pytest.raises(DataMissing, match="2454 2024-01-04: two rows"):
        boards.told("twse_twt49u", "2454", answer)


def test_a_page_of_html_is_tried_again(boards: Boards) -> None:
    with pytest.raises(DataMissing, match="HTML instead of JSON"):
        boards.told("tpex_revivt", "3064", Answer(b"<html>"))


CELLS = st.text("0123456789,.-/年月日 X息權", max_size=12) | st.none() | st.integers() | st.just([])


@given(st.sampled_from(sorted(ASKED)), st.integers(0, 2), st.integers(0, 20), CELLS)
def test_any_broken_cell_is_an_error_or_leaves_only_right_prices(name: str, row: int, place: int, cell: Any) -> None:
    answer, asked = copy.deepcopy(recorded(f"{name}.json")), ASKED[name]
    rows = (answer["tables"][0] if asked.board == "tpex" else answer)["data"]
    line = rows[row % len(rows)]
    line[place % len(line)] = cell
    feed = ExchangeExRights(feeds_config("http://127.0.0.1:9"), Clock())
    symbols = {str(one[1]).strip() for one in rows}
    found: list[ExRight] = []
    with suppress(DataMissing, Transient):
        found = feed._events(answer, asked, symbols)
    for one in found:
        assert asked.first <= one.ex_date <= asked.last
        low, high = one.limits_x100(10, etf=False)
        assert 0 < low <= one.reference_x100 <= high


def test_a_row_of_another_width_is_a_changed_format() -> None:
    answer, asked = recorded("twse_twtauu.json"), ASKED["twse_twtauu"]
    answer["data"][0].append("")
    with pytest.raises(DataMissing, match="a row is no list of 11 cells"):
        rows_of(answer, asked)
