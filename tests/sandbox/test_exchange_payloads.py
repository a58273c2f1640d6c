"""TWSE's and TPEx's answers, cell by cell. Expected texts follow api/EXCHANGE_PAYLOADS.md, not our code."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_market import FRI, MON, START, THU, Caller, SmallMarket

from bot.sandbox.holiday_payloads import holiday_rows
from bot.sandbox.holidays import TYPHOON_CLOSURES, scheduled
from bot.sandbox.market import Published

NO_DATA = {"stat": "很抱歉，沒有符合條件的資料!"}
MONTH = "/twse/exchangeReport/STOCK_DAY"


@pytest.mark.parametrize("path", [MONTH, "/twse/rwd/zh/afterTrading/STOCK_DAY"])
def test_stock_day(call: Caller, path: str) -> None:
    call.move("2025-01-06T14:00")
    told = call.get(path, response="json", date="20250101", stockNo="2330")
    assert (told["stat"], told["date"]) == ("OK", "20250101")
    assert told["title"] == "114年01月 2330 台積電           各日成交資訊"
    assert told["fields"][-1] == "註記"
    assert told["data"] == [
        [
            "114/01/02",
            "45,851,963",
            "9,053,856,108",
            "1,055.00",
            "1,080.00",
            "1,055.00",
            "1,080.00",
            "+2.00",
            "15,718",
            "",
        ],
        [
            "114/01/03",
            "45,851,963",
            "9,053,856,108",
            "1,070.00",
            "1,085.00",
            "1,070.00",
            "1,085.00",
            "-1.50",
            "15,718",
            "",
        ],
        [
            "114/01/06",
            "45,851,963",
            "9,053,856,108",
            "1,090.00",
            "1,125.00",
            "1,090.00",
            "1,125.00",
            "X0.00",
            "15,718",
            "",
        ],
    ]


def test_a_session_without_a_trade_has_dashes(call: Caller) -> None:
    call.move("2025-01-02T14:00")
    [row] = call.get(MONTH, date="20250101", stockNo="1101")["data"]
    assert row == ["114/01/02", "0", "0", "--", "--", "--", "--", " 0.00", "0", ""]


@pytest.mark.parametrize(
    ("code", "month"),
    [("2330", "20241201"), ("2330", "20250201"), ("9999", "20250101"), ("6488", "20250101"), ("2330", "x")],
)
def test_no_rows_are_an_apology(call: Caller, code: str, month: str) -> None:
    call.move("2025-01-06T14:00")
    assert call.get(MONTH, date=month, stockNo=code) == NO_DATA


def test_a_session_is_out_at_two_o_clock(call: Caller) -> None:
    call.move("2025-01-02T13:59:59")
    assert call.get(MONTH, date="20250101", stockNo="2330") == NO_DATA
    assert call.get("/twse/v1/exchangeReport/STOCK_DAY_ALL") == []
    call.move("2025-01-02T14:00:00")
    assert len(call.get(MONTH, date="20250101", stockNo="2330")["data"]) == 1


@given(st.datetimes(START.replace(tzinfo=None), START.replace(day=9, tzinfo=None)))
def test_nothing_of_the_future_is_known(moment) -> None:
    published = Published(market=SmallMarket(), now=moment.replace(tzinfo=START.tzinfo))
    out = [day for day in (THU, FRI, MON) if (moment.date(), moment.hour >= 14) >= (day, True)]
    assert [quote.session for quote in published.between("2330", date.min, date.max)] == out
    assert [day for day in (THU, FRI, MON) if published.day(day, "twse")] == out
    assert published.latest == (out[-1] if out else None)


def test_stock_day_all(call: Caller) -> None:
    call.move("2025-01-03T18:00")
    web = call.get("/twse/exchangeReport/STOCK_DAY_ALL", date="20240101")  # the date is ignored
    assert (web["stat"], web["date"]) == ("OK", "20250103")
    assert web["data"][1] == [
        "2330", "台積電", "45,851,963", "9,053,856,108", "1,070.00", "1,085.00", "1,070.00", "1,085.00", "-1.50", "15,718",
    ]  # fmt: skip
    [untraded, traded] = call.get("/twse/v1/exchangeReport/STOCK_DAY_ALL")
    assert traded == {
        "Date": "1140103",
        "Code": "2330",
        "Name": "台積電",
        "TradeVolume": "45851963",
        "TradeValue": "9053856108",
        "OpeningPrice": "1070.00",
        "HighestPrice": "1085.00",
        "LowestPrice": "1070.00",
        "ClosingPrice": "1085.00",
        "Change": "-1.5000",
        "Transaction": "15718",
    }
    assert (untraded["TradeVolume"], untraded["ClosingPrice"]) == ("0", "")


def test_mi_index(call: Caller) -> None:
    call.move("2025-01-06T18:00")
    told = call.get("/twse/rwd/zh/afterTrading/MI_INDEX", date="20250103", type="ALLBUT0999", response="json")
    assert told["stat"] == "OK"
    [table] = [table for table in told["tables"] if "每日收盤行情" in table.get("title", "")]
    row = dict(zip(table["fields"], table["data"][1], strict=True))
    assert (row["證券代號"], row["成交筆數"], row["成交金額"]) == ("2330", "15,718", "9,053,856,108")
    assert (row["漲跌(+/-)"], row["漲跌價差"]) == ("<p style= color:green>-</p>", "1.50")
    assert told["tables"][-1] == {}
    assert call.get("/twse/rwd/zh/afterTrading/MI_INDEX", date="20250104", type="ALLBUT0999") == NO_DATA


def test_the_tpex_month_counts_lots_and_thousands(call: Caller) -> None:
    call.move("2025-01-06T18:00")
    told = call.get("/tpex/www/zh-tw/afterTrading/tradingStock", code="6488", date="2025/01/01", response="json")
    assert (told["stat"], told["code"]) == ("ok", "6488")
    [table] = told["tables"]
    assert table["fields"] == ["日 期", "成交張數", "成交仟元", "開盤", "最高", "最低", "收盤", "漲跌", "筆數"]
    assert table["data"][0] == ["114/01/02", "1,985", "198,540", "98.00", "101.50", "98.00", "101.50", "2.00", "15,718"]


def test_the_tpex_month_of_a_listed_stock_is_empty(call: Caller) -> None:
    call.move("2025-01-06T18:00")
    told = call.get("/tpex/www/zh-tw/afterTrading/tradingStock", code="2330", date="2025/01/01")
    assert (told["stat"], told["code"], told["tables"][0]["data"]) == ("ok", "2330", [])


def test_the_tpex_day(call: Caller) -> None:
    call.move("2025-01-06T18:00")
    told = call.get("/tpex/www/zh-tw/afterTrading/dailyQuotes", date="2025/01/02", type="EW")
    [table] = told["tables"]
    assert table["fields"][:7] == ["代號", "名稱", "收盤 ", "漲跌", "開盤 ", "最高 ", "最低"]
    assert table["data"][0][:9] == [
        "6488", "環球晶", "101.50", "+2.00", "98.00", "101.50", "98.00", "1,985,400", "198,540,999",
    ]  # fmt: skip
    # 10 % of 101.50: 111.65 cut to the tick of 0.5, 91.35 raised to the tick of 0.1.
    assert table["data"][0][-2:] == ["111.50", "91.40"]
    assert call.get("/tpex/www/zh-tw/afterTrading/dailyQuotes", date="2025/01/05")["tables"][0]["data"] == []


def test_the_tpex_open_api(call: Caller) -> None:
    call.move("2025-01-02T18:00")
    [row] = call.get("/tpex/openapi/v1/tpex_mainboard_daily_close_quotes")
    assert (row["Date"], row["SecuritiesCompanyCode"], row["Close"]) == ("1140102", "6488", "101.50")
    assert (row["Change"], row["TradingShares"], row["LatesAskPrice"]) == ("+2.00", "1985400", "102.00")


def test_the_holiday_schedule_names_trading_days_too(call: Caller) -> None:
    told = call.get("/twse/holidaySchedule/holidaySchedule", response="json", queryYear="114")
    assert told["title"] == "114 年市場開休市日期"
    assert told["data"] == [
        ["2025-01-01", "中華民國開國紀念日", "依規定放假1日。"],
        ["2025-01-02", "國曆新年開始交易日", "國曆新年開始交易。"],
    ]
    assert call.get("/twse/v1/holidaySchedule/holidaySchedule", queryYear="114")[0] == {
        "Name": "中華民國開國紀念日",
        "Date": "1140101",
        "Weekday": "三",
        "Description": "依規定放假1日。",
    }


def test_a_saturday_session_stands_in_the_schedule_as_a_trading_day() -> None:
    market = SmallMarket()
    market.sessions = [date(2025, 1, 4)]
    assert (date(2025, 1, 4), "補行上班日開始交易", "補行上班日，有交易。") in holiday_rows(market, 2025)


def test_holidays_by_rule_are_those_of_the_exchange_in_2024() -> None:
    # Source: TWSE's schedule of 2024.
    told = "0101 0206 0207 0208 0209 0212 0213 0214 0228 0404 0405 0501 0610 0917 1010"
    assert [f"{day:%m%d}" for day in scheduled(2024)] == told.split()
    assert not TYPHOON_CLOSURES & set(scheduled(2024))


def test_holidays_that_a_law_of_2025_added() -> None:
    assert [f"{day:%m%d}" for day in scheduled(2025) if day.month > 8] == ["0929", "1006", "1010", "1024", "1225"]
