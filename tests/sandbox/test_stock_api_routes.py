"""The stock API over its routes: replies as seen in api/STOCK_API.md, window, settlement on the way."""

from __future__ import annotations

from typing import Any

import pytest
from small_market import Caller

OLD, NEW = "/stock/api/v1", "/stock/trading_api"


def order(**changes: Any) -> dict[str, Any]:
    """A form that would be taken in the evening: one lot of 6488 at 100."""
    return {
        "account": "demo", "password": "secret", "stock_code": "6488", "stock_shares": "1", "stock_price": "100", **changes,
    }  # fmt: skip


def login(**changes: str) -> dict[str, str]:
    return {"account": "demo", "password": "secret", **changes}


@pytest.mark.parametrize("base", [OLD, NEW])
def test_an_order_is_reserved_settled_and_held(call: Caller, base: str) -> None:
    call.move("2025-01-02T18:30")
    assert call.post(f"{base}/buy", **order(stock_shares="3"))["result"] == "success"
    assert call.post(f"{base}/get_user_stocks", **login())["data"] == []
    assert call.move("2025-01-03T15:30").json()["settled"] == ["2025-01-03"]
    told = call.post(f"{base}/get_user_stocks", **login())
    assert told["result"] == "success"
    [row] = told["data"]
    assert row == {
        "usid": 1,
        "stock_name": "環球晶",
        "beginning_price": 100.0 if base == OLD else "100.00000",
        "shares": 3,
        "createtime": 1735889400,  # 2025-01-03T15:30+08:00
        "stock_code_id": "6488",
        "user_uid_id": 1,
    }
    # 300,000 + 427 (427.5 cut).
    assert call.get("/sandbox/book")["cash_twd"] == 1_000_000 - 300_427


def test_settlement_waits_for_half_past_three(call: Caller) -> None:
    call.move("2025-01-02T18:30")
    call.post(f"{OLD}/buy", **order())
    assert call.move("2025-01-03T15:29:59").json()["settled"] == []
    assert call.get("/sandbox/book")["orders"][0]["state"] == "accepted"


def test_one_long_step_settles_every_session_on_the_way_in_order(call: Caller) -> None:
    call.move("2025-01-02T18:30")
    call.post(f"{OLD}/buy", **order())
    assert call.move("2025-01-10T08:00").json()["settled"] == ["2025-01-03", "2025-01-06"]
    [told] = call.get("/sandbox/book")["orders"]
    assert (told["state"], told["settled"], told["fill"]["price_x100"]) == ("filled", "2025-01-03", 100_00)


def test_a_morning_order_settles_the_same_day(call: Caller) -> None:
    assert call.post(f"{OLD}/buy", **order(stock_price="98.5"))["result"] == "success"
    assert call.move("2025-01-02T15:30").json()["settled"] == ["2025-01-02"]
    assert call.get("/sandbox/book")["orders"][0]["fill"]["session"] == "2025-01-02"


def test_an_order_of_friday_evening_waits_for_monday(call: Caller) -> None:
    call.move("2025-01-03T18:30")
    call.post(f"{OLD}/buy", **order(stock_price="103"))
    call.move("2025-01-06T15:30")
    assert call.get("/sandbox/book")["orders"][0]["settled"] == "2025-01-06"


def test_outside_the_window(call: Caller) -> None:
    call.move("2025-01-02T13:00")
    assert call.post(f"{OLD}/buy", **order()) == {"result": "failed", "status": "當前非交易許可時間"}


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"account": "nobody"}, {"account": "", "password": ""}])
def test_a_wrong_login_fails_and_holds_no_data(call: Caller, changes: dict[str, str]) -> None:
    told = call.post(f"{OLD}/get_user_stocks", **login(**changes))
    assert told["result"] == "failed"
    assert "data" not in told
    assert call.post(f"{OLD}/buy", **order(**changes))["result"] == "failed"
    assert call.get("/sandbox/book")["orders"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"stock_shares": "0"},
        {"stock_shares": "-1"},
        {"stock_shares": "1.5"},
        {"stock_shares": ""},
        {"stock_price": "0"},
        {"stock_price": "-5"},
        {"stock_price": "nan"},
        {"stock_price": "1e9"},
        {"stock_price": "ten"},
        {"stock_code": "9999"},
        {"stock_code": ""},
    ],
)
def test_nonsense_fails(call: Caller, changes: dict[str, str]) -> None:
    assert call.post(f"{OLD}/buy", **order(**changes))["result"] == "failed"


def test_more_than_there_is_fails(call: Caller) -> None:
    assert call.post(f"{OLD}/buy", **order(stock_shares="10"))["result"] == "failed"  # 1,000,000 and the fee
    assert call.post(f"{OLD}/sell", **order())["result"] == "failed"


def test_prices_of_the_old_base(call: Caller) -> None:
    call.move("2025-01-03T14:00")
    told = call.get(f"{OLD}/api_get_stock_info_from_date_json/6488/20250101/20250131")
    assert [row["date"] for row in told["data"]] == [1735862400, 1735776000]  # newest first, 00:00 UTC
    row = told["data"][1]
    assert (row["open"], row["high"], row["close"], row["change"]) == (98, 101.5, 101.5, 2)
    assert (row["capacity"], row["turnover"], row["transaction_volume"]) == (1_985_400, 198_540_999, 15_718)
    with pytest.raises(ValueError, match="Expecting value"):
        call.get(f"{OLD}/api_get_stock_info_from_date_json/9999/20250101/20250131")


def test_lists_of_the_new_base(call: Caller) -> None:
    assert call.get(f"{NEW}/stock_list")["6488"] == {"name": "環球晶", "type": "OTC"}
    assert call.get(f"{NEW}/stock_type", stock_code="2330") == {
        "result": "success",
        "stock_code": "2330",
        "type": "TWSE",
    }
    assert call.get(f"{NEW}/stock_type", stock_code="9999")["result"] == "failed"
