from __future__ import annotations

import copy
import json
import re
import unicodedata
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Answer, Loopback, feeds_config, recorded

from bot.adapters.twstock_bars import Asked, TwstockBars
from bot.core.check import check_rows
from bot.core.feed_rows import Reading, bar_of
from bot.core.market import Bar
from bot.core.row_rules import Known
from bot.errors import BotError, DataMissing, Transient
from bot.ports import Company

TSMC = Company(symbol="2330", name="台積電", board="twse")
GLOBAL_WAFERS = Company(symbol="6488", name="環球晶", board="tpex")
TWSE = recorded("twse_stock_day.json")
TPEX = recorded("tpex_trading_stock.json")
TWSE_ASKED = Asked(company=TSMC, year=2017, month=5)
TPEX_ASKED = Asked(company=GLOBAL_WAFERS, year=2025, month=10)
NO_DATA = {"stat": "很抱歉，沒有符合條件的資料!"}
FEED = TwstockBars(feeds_config("http://127.0.0.1:9"))


def bar(symbol: str, day: str, prices: str, volume_shares: int, turnover_twd: int, trades: int) -> Bar:
    opened, high, low, close = (Decimal(price) for price in prices.split())
    return Bar(
        symbol=symbol,
        session=date.fromisoformat(day),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume_shares=volume_shares,
        turnover_twd=turnover_twd,
        trades=trades,
    )


# Copied by hand from the recorded answers; 2017-05-03 and 2025-10-03 had no trade.
TSMC_BARS = [
    bar("2330", "2017-05-02", "198.50 199.00 195.50 196.50", 45_851_963, 9_053_856_108, 15_718),
    bar("2330", "2017-05-04", "197.00 197.00 194.50 194.50", 25_896_604, 5_055_171_906, 9_000),
    bar("2330", "2017-05-05", "1000.00 1005.00 995.00 1000.00", 1_020_000, 1_020_255_000, 2),
]
WAFER_BARS = [
    bar("6488", "2025-10-01", "301.50 307.50 300.50 307.50", 1_985_000, 605_535_000, 2_441),
    bar("6488", "2025-10-02", "310.00 310.00 310.00 310.00", 9_000, 2_790_000, 3),
]


def changed(answer: Any, **top: Any) -> Any:
    return {**copy.deepcopy(answer), **top}


def with_row(row: list[Any], answer: Any = TWSE) -> Any:
    """The recorded answer with this one row in its place."""
    other = copy.deepcopy(answer)
    (other if "data" in other else other["tables"][0])["data"] = [row]
    return other


def bars_of(answer: Any, asked: Asked) -> list[Bar]:
    """The answer's bars, each row alone through the gate: prices of different years stand in one answer here.

    Raises:
        DataMissing: a row is for the quarantine; the first one's reason.
    """
    return bars_in(FEED.reading_of(answer, asked))


def bars_in(reading: Reading) -> list[Bar]:
    bad = list(reading.rejected)
    bars: list[Bar] = []
    for row in sorted(reading.rows, key=lambda row: row.session):
        twins = tuple(one for one in reading.rows if one.session == row.session)
        checked = check_rows(replace(reading, rows=twins, rejected=()), Known())
        bars += checked.bars
        bad += checked.quarantined
    if bad:
        assert bad[0].symbol == reading.rows[0].symbol if reading.rows else True
        assert bad[0].raw
        raise DataMissing(bad[0].reason)
    return bars


def twse_bars(answer: Any) -> list[Bar]:
    return bars_of(answer, TWSE_ASKED)


def tpex_bars(answer: Any) -> list[Bar]:
    return bars_of(answer, TPEX_ASKED)


class TestOverTheWire:
    def test_twse(self, loopback: Loopback) -> None:
        loopback.tell(TWSE)
        assert bars_in(TwstockBars(feeds_config(loopback.url)).month(TSMC, 2017, 5)) == TSMC_BARS
        [request] = loopback.requests
        assert request.path == "/exchangeReport/STOCK_DAY"
        assert request.params == {"response": "json", "date": "20170501", "stockNo": "2330"}

    def test_tpex_counts_in_thousands(self, loopback: Loopback) -> None:
        loopback.tell(TPEX)
        assert bars_in(TwstockBars(feeds_config(loopback.url)).month(GLOBAL_WAFERS, 2025, 10)) == WAFER_BARS
        [request] = loopback.requests
        assert request.path == "/www/zh-tw/afterTrading/tradingStock"
        assert request.params == {"code": "6488", "date": "2025/10/01", "id": "", "response": "json"}

    def test_asks_again_when_banned_broken_or_answered_for_another_month(self, loopback: Loopback) -> None:
        other_month = changed(TWSE, title="113年10月 2330 台積電 各日成交資訊", date="20241001")
        loopback.tell(Answer(b"<html>", status=428), Answer(b'{"stat":"OK","da'), other_month, TWSE)
        assert bars_in(TwstockBars(feeds_config(loopback.url)).month(TSMC, 2017, 5)) == TSMC_BARS

    def test_an_answer_for_another_stock_is_an_error_and_never_no_data(self, loopback: Loopback) -> None:
        loopback.tell(changed(TWSE, title="106年05月 2303 聯電             各日成交資訊"))
        with pytest.raises(DataMissing) as failed:
            TwstockBars(feeds_config(loopback.url)).month(TSMC, 2017, 5)
        assert str(failed.value) == (
            f"twse at {loopback.url}: 2330 2017-05: the answer is for stock 2303, not 2330, 4 tries"
        )

    def test_a_bad_row_is_not_asked_for_again_and_the_good_ones_pass(self, loopback: Loopback) -> None:
        bad = ["106/05/05", "1", "1", "0.0O", "0.00", "0.00", "0.00", "", "1", ""]
        loopback.tell(changed(TWSE, data=[*TWSE["data"][:3], bad]))
        reading = TwstockBars(feeds_config(loopback.url)).month(TSMC, 2017, 5)
        assert [bar_of(row) for row in reading.rows] == TSMC_BARS[:2]
        [one] = reading.rejected
        assert (one.symbol, one.session, one.reason) == ("2330", date(2017, 5, 5), "'0.0O' is no open")
        assert json.loads(one.raw) == bad
        assert len(loopback.requests) == 1


class TestNoData:
    def test_a_month_without_rows_is_empty_on_either_board(self) -> None:
        assert twse_bars(NO_DATA) == []
        assert twse_bars(changed(TWSE, data=[])) == []
        empty = copy.deepcopy(TPEX)
        empty["tables"][0] |= {"data": [], "totalCount": 0}
        assert tpex_bars(empty) == []

    def test_an_empty_tpex_answer_that_does_not_tell_its_month_is_no_answer(self) -> None:
        with pytest.raises(Transient, match="month"):
            tpex_bars({"stat": "ok", "code": "6488", "tables": [{"title": "個股日成交資訊", "fields": [], "data": []}]})

    @pytest.mark.parametrize("stat", ["", "很抱歉，目前線上人數過多，請您稍候再試"])
    def test_another_status_is_tried_again(self, stat: str) -> None:
        with pytest.raises(Transient):
            twse_bars({"stat": stat})

    def test_a_month_that_the_exchange_does_not_keep_is_not(self, loopback: Loopback) -> None:
        loopback.tell({"stat": "查詢日期小於99年1月4日，請重新查詢!"})
        with pytest.raises(DataMissing, match="查詢日期小於99年1月4日"):
            TwstockBars(feeds_config(loopback.url)).month(TSMC, 2009, 5)
        assert len(loopback.requests) == 1


class TestAnotherQuestionsAnswer:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"title": "106年06月 2330 台積電 各日成交資訊"},
            {"title": "105年05月 2330 台積電 各日成交資訊"},
            {"title": "106年05月 02330 台積電 各日成交資訊"},
            {"title": "各日成交資訊"},
            {"title": None},
            {"date": "20170601"},
            {"date": None},
            {"data": None},
            {"fields": None},
        ],
    )
    def test_twse(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(Transient):
            twse_bars(changed(TWSE, **wrong))

    @pytest.mark.parametrize(
        "wrong",
        [{"code": "5347"}, {"date": "20251101"}, {"date": "2025/11/01"}, {"tables": None}, {"tables": ["x"]}],
    )
    def test_tpex(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(Transient):
            tpex_bars(changed(TPEX, **wrong))

    @pytest.mark.parametrize("told", ["20251001", "2025/10/01", "114/10/01", "114/10"])
    def test_tpex_tells_its_month_in_either_calendar(self, told: str) -> None:
        assert tpex_bars(changed(TPEX, date=told)) == WAFER_BARS

    @pytest.mark.parametrize("told", ["114/09/01", "1141001", "2025", "10/01"])
    def test_tpex_date_of_another_month(self, told: str) -> None:
        with pytest.raises(Transient):
            tpex_bars(changed(TPEX, date=told))

    def test_tpex_subtitle(self) -> None:
        for subtitle in ("6488 環球晶 114年09月", "6488 環球晶"):
            wrong = copy.deepcopy(TPEX)
            wrong["tables"][0]["subtitle"] = subtitle
            with pytest.raises(Transient):
                tpex_bars(wrong)

    def test_a_row_of_another_month(self) -> None:
        row = list(TWSE["data"][0])
        row[0] = "106/06/02"
        with pytest.raises(Transient, match="for month 201706, not 201705"):
            twse_bars(with_row(row))


class TestShapes:
    def test_nine_columns_as_before_2026(self) -> None:
        nine = changed(TWSE, fields=TWSE["fields"][:9], data=[row[:9] for row in TWSE["data"]])
        assert twse_bars(nine) == TSMC_BARS

    def test_columns_are_found_by_name_not_by_place(self) -> None:
        order = [9, 6, 0, 3, 8, 5, 1, 7, 4, 2]
        moved = changed(
            TWSE,
            fields=[TWSE["fields"][place] for place in order],
            data=[[row[place] for place in order] for row in TWSE["data"]],
        )
        assert twse_bars(moved) == TSMC_BARS

    def test_tpex_headers_in_their_other_spelling(self) -> None:
        other = copy.deepcopy(TPEX)
        other["tables"][0]["fields"] = [
            "日期",
            "成交仟股",
            "成交仟元",
            "開盤 ",
            " 最高",
            "最　低",
            "收盤",
            "漲跌",
            "筆數",
        ]
        assert tpex_bars(other) == WAFER_BARS

    def test_a_tpex_header_that_counts_shares_is_refused_and_not_multiplied(self) -> None:
        other = copy.deepcopy(TPEX)
        other["tables"][0]["fields"][1] = "成交股數"
        with pytest.raises(DataMissing, match="6488 2025-10: 0 columns 成交張數/成交仟股"):
            tpex_bars(other)

    def test_full_width_digits_and_marks(self) -> None:
        row = [
            "１０６/０５/０２＊＊",
            "45,851,963",
            "9,053,856,108",
            "１９８．５０",
            "199",
            "195.5",
            "196.50",
            "＋2.00",
            "15,718",
            "",
        ]
        assert twse_bars(with_row(row)) == TSMC_BARS[:1]

    @pytest.mark.parametrize("dash", ["--", "---", "－－", ""])
    def test_rows_without_a_trade_are_left_out(self, dash: str) -> None:
        assert twse_bars(with_row(["106/05/02", "0", "0", dash, dash, dash, dash, "0.00", "0", ""])) == []

    def test_empty_turnover_and_trades_are_unknown_not_zero(self) -> None:
        row = ["106/05/02", "45,851,963", "", "198.50", "199.00", "195.50", "196.50", "", "--", ""]
        [one] = twse_bars(with_row(row))
        assert (one.turnover_twd, one.trades, one.volume_shares) == (None, None, 45_851_963)

    def test_rows_come_back_oldest_first(self) -> None:
        assert twse_bars(changed(TWSE, data=TWSE["data"][::-1])) == TSMC_BARS

    @pytest.mark.parametrize(
        ("place", "cell", "line"),
        [
            (0, "106/02/30", r"day is out of range for month|must be in range"),
            (0, "2017/05/02", r"'2017/05/02' is no date"),
            (1, "4,5851,963", r"'4,5851,963' is no volume"),
            (1, "0", r"prices without volume"),
            (2, "90,538,561,080", r"turnover 90538561080 over volume 45851963 is no price in"),
            (2, "15,718", r"turnover 15718 over volume 45851963 is no price in"),
            (1, "-5", r"is no volume"),
            (3, "nan", r"'nan' is no open"),
            (3, "1_98.5", r"is no open"),
            (3, "198.505", r"198.505 is finer than 0.01 TWD"),
            (3, "--", r"a price is missing"),
            (4, "198.00", r"open or close is outside low..high"),
            (3, "198.45", r"198.45 is not on the tick"),
            (5, "-195.50", r"is no low"),
            (7, "+2.0O", r"is no change"),
            (8, "15.5", r"is no number of trades"),
            (8, "45,851,964", r"45851964 trades of 45851963 shares"),
            (3, 198.5, r"a row is no list of 10 texts"),
        ],
    )
    def test_rows_that_cannot_be_a_bar_say_why(self, place: int, cell: Any, line: str) -> None:
        row: list[Any] = list(TWSE["data"][0])
        row[place] = cell
        with pytest.raises(DataMissing, match=line):
            twse_bars(with_row(row))

    def test_two_rows_for_a_day(self) -> None:
        with pytest.raises(DataMissing, match="two rows"):
            twse_bars(changed(TWSE, data=TWSE["data"][:1] * 2))

    def test_a_row_too_short(self) -> None:
        with pytest.raises(DataMissing, match="no list of 10 texts"):
            twse_bars(with_row(TWSE["data"][0][:9]))


CELLS = st.one_of(
    st.text(alphabet="0123456789.,-+X/＊* -０９除息", max_size=12),
    st.text(max_size=5),
    st.sampled_from(["--", "---", "", "X0.00", "除權息", "1,000.00", "nan", "1e3", "０", "113/10/01", "106/05/31"]),
    st.none(),
    st.integers(),
    st.floats(),
)


@st.composite
def mutations(draw: st.DrawFn, answer: Any) -> Any:
    """The answer with one to four things done to its header or to one row."""
    other = copy.deepcopy(answer)
    table = other if "data" in other else other["tables"][0]
    table["data"] = [draw(st.sampled_from(table["data"]))]
    for _ in range(draw(st.integers(1, 4))):
        target = draw(st.sampled_from([table["data"][0]] * 4 + [table["fields"]]))
        if not target:
            continue
        place = draw(st.integers(0, len(target) - 1))
        kind = draw(st.sampled_from(["set", "set", "swap", "drop", "double", "digit"]))
        if kind == "set":
            target[place] = draw(CELLS)
        elif kind == "swap":
            there = draw(st.integers(0, len(target) - 1))
            target[place], target[there] = target[there], target[place]
        elif kind == "drop":
            del target[place]
        elif kind == "double":
            target.insert(place, target[place])
        elif isinstance(target[place], str) and target[place]:
            at = draw(st.integers(0, len(target[place]) - 1))
            target[place] = target[place][:at] + draw(st.characters()) + target[place][at + 1 :]
    return other


def check_against_the_cells(answer: Any, asked: Asked, names: tuple[str, ...], thousands: int) -> None:
    """A typed error, or a bar that says exactly what stands under the headers."""
    table = answer if "data" in answer else answer["tables"][0]
    try:
        bars = bars_of(answer, asked)
    except BotError:
        return
    header = [re.sub(r"\s", "", str(field)) for field in table["fields"]]
    cells = [unicodedata.normalize("NFKC", table["data"][0][header.index(name)]).strip() for name in names]
    if not bars:
        assert all(set(cell) <= {"-"} for cell in cells[3:7])
        assert set(cells[1]) <= {"-"} or int(cells[1].replace(",", "")) * thousands < 1000
        return
    [one] = bars
    assert f"{one.session.year - 1911:d}{one.session:/%m/%d}" == cells[0].rstrip("*").lstrip("0")
    assert [one.open, one.high, one.low, one.close] == [Decimal(cell.replace(",", "")) for cell in cells[3:7]]
    counts = [one.volume_shares, one.turnover_twd, one.trades]
    for count, cell, unit in zip(counts, (cells[1], cells[2], cells[8]), (thousands, thousands, 1), strict=True):
        assert count == (None if set(cell) <= {"-"} else int(cell.replace(",", "")) * unit)


@settings(deadline=None)
@given(answer=mutations(TWSE))
def test_a_mutated_twse_row_is_an_error_or_exactly_the_right_bar(answer: Any) -> None:
    names = ("日期", "成交股數", "成交金額", "開盤價", "最高價", "最低價", "收盤價", "漲跌價差", "成交筆數")
    check_against_the_cells(answer, TWSE_ASKED, names, 1)


@settings(deadline=None)
@given(answer=mutations(TPEX))
def test_a_mutated_tpex_row_is_an_error_or_exactly_the_right_bar(answer: Any) -> None:
    names = ("日期", "成交張數", "成交仟元", "開盤", "最高", "最低", "收盤", "漲跌", "筆數")
    check_against_the_cells(answer, TPEX_ASKED, names, 1000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(key=st.sampled_from(sorted(TWSE)), value=JSON)
def test_any_twse_envelope_is_an_error_or_the_right_bars(key: str, value: Any) -> None:
    try:
        bars = twse_bars(changed(TWSE, **{key: value}))
    except BotError:
        return
    assert bars in ([], TSMC_BARS)
    if not bars:
        assert (key, value) == ("data", [])


@settings(deadline=None)
@given(place=st.sampled_from(["top", "table"]), key=st.text(max_size=3), value=JSON, data=st.data())
def test_any_tpex_envelope_is_an_error_or_the_right_bars(place: str, key: str, value: Any, data: st.DataObject) -> None:
    answer = copy.deepcopy(TPEX)
    target = answer if place == "top" else answer["tables"][0]
    key = data.draw(st.sampled_from(sorted(target)))
    target[key] = value
    try:
        bars = tpex_bars(answer)
    except BotError:
        return
    assert bars in ([], WAFER_BARS)
    if not bars:
        assert (key, value) in (("data", []), ("tables", []))
