"""All stocks of a day: recorded shapes of both boards, answers to other questions, and the way over the wire."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest
from loopback import Loopback, exchange_config

from bot.adapters import tpex_bulk, twse_bulk
from bot.core.feed_rows import Row
from bot.errors import DataMissing, Transient

# The row of 0050 is the recorded one of EXCHANGE_PAYLOADS.md; the others are of its form.
TWSE: dict[str, Any] = {
    "stat": "OK",
    "date": "20240823",
    "tables": [
        {"title": "113年08月23日 價格指數(臺灣證券交易所)", "fields": ["指數", "收盤指數"], "data": [["x", "1"]]},
        {
            "title": "113年08月23日 每日收盤行情(全部)",
            "fields": ["證券代號", "證券名稱", "成交股數", "成交筆數", "成交金額", "開盤價", "最高價", "最低價", "收盤價",
                       "漲跌(+/-)", "漲跌價差", "最後揭示買價", "最後揭示買量", "最後揭示賣價", "最後揭示賣量", "本益比"],
            "data": [
                ["0050", "元大台灣50", "8,316,460", "11,394", "1,497,506,580", "179.00", "181.35", "178.90", "180.95",
                 "<p style= color:red>+</p>", "0.10", "180.90", "12", "180.95", "97", "0.00"],
                ["1101", "台泥", "1,000", "2", "31,900", "32.00", "32.00", "31.80", "31.80",
                 "<p style= color:green>-</p>", "0.20", "31.80", "1", "31.85", "1", "0.00"],
                ["1102", "亞泥", "5,000", "3", "220,000", "44.00", "44.00", "44.00", "44.00",
                 "<p>X</p>", "0.00", "44.00", "1", "44.05", "1", "0.00"],
                ["1103", "嘉泥", "312", "4", "5,600", "--", "--", "--", "--",
                 "<p> </p>", "0.00", "17.90", "1", "18.00", "1", "0.00"],
                ["00636K", "國泰中國A50+U", "1,000", "2", "800", "0.80", "0.80", "0.80", "0.80",
                 "<p> </p>", "0.00", "0.80", "1", "0.81", "1", "0.00"],
                ["2881A", "富邦特", "1,000", "2", "62,000", "62.00", "62.00", "62.00", "62.00",
                 "<p> </p>", "0.00", "62.00", "1", "62.10", "1", "0.00"],
            ],
        },
        {},
    ],
}  # fmt: skip
DAY = date(2024, 8, 23)
TPEX: dict[str, Any] = {
    "stat": "ok",
    "date": "20261007",
    "tables": [
        {
            "title": "上櫃股票行情",
            "date": "115/10/07",
            "fields": [
                "代號",
                "名稱",
                "收盤 ",
                "漲跌",
                "開盤 ",
                "最高 ",
                "最低",
                "成交股數  ",
                " 成交金額(元)",
                " 成交筆數 ",
            ],
            "data": [
                [
                    "6488",
                    "環球晶",
                    "307.50",
                    "+6.00 ",
                    "301.50",
                    "307.50",
                    "300.50",
                    "1,985,123",
                    "605,535,001",
                    "2,441",
                ],
                ["3088", "艾訊", "90.20", "除息 ", "90.00", "90.30", "89.90", "55,000", "4,961,000", "44"],
                ["72801", "某權證", "1.00", "0.00", "1.00", "1.00", "1.00", "1,000", "1,000", "1"],
            ],
        }
    ],
}
TPEX_DAY = date(2026, 10, 7)


def figures(row: Row) -> tuple[object, ...]:
    return (row.symbol, row.session, row.open_x100, row.high_x100, row.low_x100, row.close_x100, row.volume_shares,
            row.turnover_twd, row.trades, row.change_x100)  # fmt: skip


def test_twse() -> None:
    reading = twse_bulk.day_of(TWSE, DAY)
    assert [figures(row) for row in reading.rows] == [
        ("0050", DAY, 179_00, 181_35, 178_90, 180_95, 8_316_460, 1_497_506_580, 11_394, 10),
        ("1101", DAY, 32_00, 32_00, 31_80, 31_80, 1000, 31_900, 2, -20),
        ("1102", DAY, 44_00, 44_00, 44_00, 44_00, 5000, 220_000, 3, None),
    ]
    assert reading.rejected == ()
    assert reading.sessions == {DAY}


def test_tpex() -> None:
    reading = tpex_bulk.day_of(TPEX, TPEX_DAY)
    assert [figures(row) for row in reading.rows] == [
        ("6488", TPEX_DAY, 301_50, 307_50, 300_50, 307_50, 1_985_123, 605_535_001, 2_441, 6_00),
        ("3088", TPEX_DAY, 90_00, 90_30, 89_90, 90_20, 55_000, 4_961_000, 44, None),
    ]


def test_no_session() -> None:
    assert twse_bulk.day_of({"stat": "很抱歉，沒有符合條件的資料!"}, DAY).rows == ()
    empty = copy.deepcopy(TPEX)
    empty["tables"][0]["data"] = []
    assert tpex_bulk.day_of(empty, TPEX_DAY).rows == ()


@pytest.mark.parametrize(
    "wrong",
    [{"date": "20240822"}, {"date": None}, {"tables": []}, {"tables": None}, {"stat": "busy"}, {"stat": None}],
)
def test_twse_answers_to_another_question(wrong: dict[str, Any]) -> None:
    with pytest.raises(Transient):
        twse_bulk.day_of({**TWSE, **wrong}, DAY)


def test_twse_table_of_another_day() -> None:
    other = copy.deepcopy(TWSE)
    other["tables"][1]["title"] = "113年08月22日 每日收盤行情(全部)"
    with pytest.raises(Transient, match="for day 20240822, not 20240823"):
        twse_bulk.day_of(other, DAY)


@pytest.mark.parametrize(
    ("top", "table"), [("20261006", "115/10/07"), ("20261007", "115/10/06"), ("", "115/10/07"), (None, "115/10/07")]
)
def test_tpex_answers_to_another_question(top: Any, table: str) -> None:
    other = copy.deepcopy(TPEX)
    other["date"], other["tables"][0]["date"] = top, table
    with pytest.raises(Transient):
        tpex_bulk.day_of(other, TPEX_DAY)


def test_an_unknown_header_refuses_the_whole_answer() -> None:
    other = copy.deepcopy(TPEX)
    other["tables"][0]["fields"][7] = "成交張數"
    with pytest.raises(DataMissing, match="all of 2026-10-07: 0 columns 成交股數"):
        tpex_bulk.day_of(other, TPEX_DAY)


def test_a_bad_row_leaves_the_others() -> None:
    other = copy.deepcopy(TPEX)
    other["tables"][0]["data"][0][7] = "1,985,12"
    reading = tpex_bulk.day_of(other, TPEX_DAY)
    assert [row.symbol for row in reading.rows] == ["3088"]
    [bad] = reading.rejected
    assert (bad.symbol, bad.session, bad.reason) == ("6488", TPEX_DAY, "'1,985,12' is no volume")


def test_shares_without_a_price_are_no_quiet_session() -> None:
    other = copy.deepcopy(TWSE)
    other["tables"][1]["data"][3][2] = "31,200"
    [bad] = twse_bulk.day_of(other, DAY).rejected
    assert (bad.symbol, bad.reason) == ("1103", "no price for 31200 shares")


def test_over_the_wire(loopback: Loopback) -> None:
    loopback.tell(TWSE)
    assert len(twse_bulk.TwseBulk(exchange_config(loopback.url)).day(DAY).rows) == 3
    loopback.tell(TPEX)
    assert len(tpex_bulk.TpexBulk(exchange_config(loopback.url)).day(TPEX_DAY).rows) == 2
    first, second = loopback.requests
    assert (first.path, first.params) == (
        "/rwd/zh/afterTrading/MI_INDEX", {"date": "20240823", "type": "ALLBUT0999", "response": "json"},
    )  # fmt: skip
    assert (second.path, second.params) == (
        "/www/zh-tw/afterTrading/dailyQuotes", {"date": "2026/10/07", "type": "EW", "id": "", "response": "json"},
    )  # fmt: skip
