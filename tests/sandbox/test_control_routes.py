"""Clock, book, sessions, faults and the log of requests."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from small_market import START, Caller

from bot.errors import Refused
from bot.sandbox.clock import SandboxClock

BUY = "/stock/api/v1/buy"
ORDER = {"account": "demo", "password": "secret", "stock_code": "6488", "stock_shares": "1", "stock_price": "100"}
HOLDINGS = "/stock/api/v1/get_user_stocks"
MONTH = "/twse/exchangeReport/STOCK_DAY"


def test_the_clock_moves_forward_only(call: Caller) -> None:
    assert call.get("/sandbox/clock") == {"now": "2025-01-02T08:00:00+08:00"}
    assert call.move("2025-01-02T01:00:00+00:00").json()["now"] == "2025-01-02T09:00:00+08:00"
    back = call.move("2025-01-02T08:00:00+08:00")
    assert back.status_code == 409
    assert back.json()["error"] == (
        "the sandbox clock is at 2025-01-02T09:00:00+08:00 and can't go back to 2025-01-02T08:00:00+08:00"
    )
    assert call.move("2025-01-02T09:00:00").status_code == 200  # standing still is no way back


def test_a_readers_clock_may_be_off_and_the_exchanges_own_never_is(call: Caller) -> None:
    call.move("2025-01-02T15:29:00")
    shown = call("POST", "/sandbox/clock", json={"skew_s": 300}).json()
    assert shown == {"now": "2025-01-02T15:34:00+08:00", "settled": []}  # 15:30 has not been
    assert call.get("/sandbox/clock")["now"] == "2025-01-02T15:34:00+08:00"
    moved = call("POST", "/sandbox/clock", json={"now": "2025-01-02T15:30:00+08:00", "skew_s": -300}).json()
    assert moved == {"now": "2025-01-02T15:25:00+08:00", "settled": ["2025-01-02"]}
    assert call("POST", "/sandbox/clock", json={"now": "2025-01-02T15:29:00+08:00"}).status_code == 409
    assert call("POST", "/sandbox/clock", json={"skew_s": 0}).json()["now"] == "2025-01-02T15:30:00+08:00"


@pytest.mark.parametrize("skew_s", ["soon", None, 1e12, float("nan")])
def test_a_skew_that_is_none_is_refused(call: Caller, skew_s: object) -> None:
    reply = call("POST", "/sandbox/clock", content=json.dumps({"skew_s": skew_s}).encode())
    assert reply.status_code == 400
    assert "within ten years" in reply.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"now": "tomorrow"}', b"{}"])
def test_a_clock_told_nonsense_says_so(call: Caller, body: bytes) -> None:
    reply = call("POST", "/sandbox/clock", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]


def test_a_running_clock_runs_so_many_times_real_time() -> None:
    real = [100.0]
    clock = SandboxClock(START, speed=60.0, real_s=lambda: real[0])
    real[0] += 2.5
    assert clock.now() == START + timedelta(seconds=150)
    clock.move_to(START + timedelta(hours=1))
    real[0] += 1
    assert clock.now() == START + timedelta(hours=1, minutes=1)
    with pytest.raises(Refused, match="can't go back"):
        clock.move_to(START)


def test_sessions_may_be_asked_ahead(call: Caller) -> None:
    assert call.get("/sandbox/sessions") == {"sessions": ["2025-01-02", "2025-01-03", "2025-01-06"]}
    assert call.get("/sandbox/sessions", **{"from": "2025-01-03", "to": "2025-01-05"}) == {"sessions": ["2025-01-03"]}
    assert call("GET", "/sandbox/sessions?from=soon").status_code == 400


def test_the_book_of_an_unknown_account(call: Caller) -> None:
    assert call("GET", "/sandbox/book?account=x").status_code == 404


def test_every_request_is_counted_but_the_sandboxs_own(call: Caller) -> None:
    for _ in range(3):
        call.get(MONTH)
    call.post(BUY)
    told = call.get("/sandbox/requests")
    assert told["counts"] == {MONTH: 3, BUY: 1}
    assert [(one["method"], one["path"]) for one in told["recent"]][2:] == [("GET", MONTH), ("POST", BUY)]


def test_a_fault_happens_so_many_times_and_does_not_act(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": "http_500", "times": 2})
    assert [call("POST", BUY, data=ORDER).status_code for _ in range(3)] == [500, 500, 200]
    assert len(call.get("/sandbox/book")["orders"]) == 1


def test_a_lost_answer_has_acted(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": "http_503_after"})
    assert call("POST", BUY, data=ORDER).status_code == 503
    assert [order["state"] for order in call.get("/sandbox/book")["orders"]] == ["accepted"]


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("html_after", 200, "<!DOCTYPE html>"),
        ("empty_after", 200, ""),
        ("wrong_json_after", 200, '{"unexpected":true}'),
    ],
)
def test_another_answer_in_the_place_of_one_that_has_acted(call: Caller, kind: str, status: int, content: str) -> None:
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": kind})
    reply = call("POST", BUY, data=ORDER)
    assert (reply.status_code, reply.text[: len(content)]) == (status, content)
    assert bool(reply.text) == bool(content)
    assert [order["state"] for order in call.get("/sandbox/book")["orders"]] == ["accepted"]


def test_a_false_no_session_takes_nothing(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": "no_session"})
    assert call.post(BUY, **ORDER) == {"result": "failed", "status": "當前非交易許可時間"}
    assert call.get("/sandbox/book")["orders"] == []
    assert call.post(BUY, **ORDER)["result"] == "success"  # the window was open all the time


def test_one_post_may_be_taken_twice(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": "accepted_twice"})
    assert call.post(BUY, **ORDER)["result"] == "success"
    orders = call.get("/sandbox/book")["orders"]
    assert [(order["number"], order["symbol"], order["shares"], order["state"]) for order in orders] == [
        (1, "6488", 1_000, "accepted"),
        (2, "6488", 1_000, "accepted"),
    ]
    assert [post["reservations"] for post in call.get("/sandbox/posts")["posts"]] == [[1, 2]]


def test_a_stale_book_is_that_of_one_settlement_before(call: Caller) -> None:
    def held(kind: str) -> dict[str, int]:
        call("POST", "/sandbox/faults", json={"path": HOLDINGS, "kind": kind})
        told = call.post(HOLDINGS, account="demo", password="secret")
        assert told["result"] == "success"
        return {row["stock_code_id"]: row["shares"] for row in told["data"]}

    assert held("holdings_stale") == {}  # nothing was settled yet: the book it opened with
    call.move("2025-01-02T18:30")
    call.post(BUY, **ORDER)
    call.move("2025-01-03T15:30")
    assert (held("none"), held("holdings_stale")) == ({"6488": 1}, {})
    call.move("2025-01-03T18:30")
    call.post(BUY, **{**ORDER, "stock_price": "105"})  # Monday's range is 103 to 108.5
    call.move("2025-01-06T15:30")
    assert (held("none"), held("holdings_stale")) == ({"6488": 2}, {"6488": 1})


def test_a_failed_reading_holds_no_data(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": HOLDINGS, "kind": "holdings_failed"})
    told = call.post(HOLDINGS, account="demo", password="secret")
    assert told["result"] == "failed"
    assert "data" not in told


def test_none_keeps_a_place_in_the_queue(call: Caller) -> None:
    for kind in ("none", "http_500"):
        call("POST", "/sandbox/faults", json={"path": BUY, "kind": kind})
    assert [call("POST", BUY, data=ORDER).status_code for _ in range(3)] == [200, 500, 200]


def test_every_post_is_written_down_whole_but_for_the_password(call: Caller) -> None:
    call.move("2025-01-02T18:30")
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": "http_500"})
    call("POST", BUY, data=ORDER)
    call.post(BUY, **ORDER)
    form = {name: text for name, text in ORDER.items() if name != "password"}
    told = {"at": "2025-01-02T18:30:00+08:00", "path": BUY, "form": form}
    assert call.get("/sandbox/posts")["posts"] == [
        {"number": 1, **told, "fault": "http_500", "reservations": []},
        {"number": 2, **told, "fault": "", "reservations": [1]},
    ]


def test_a_late_answer_has_acted(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": BUY, "kind": "hang", "seconds": 0})
    assert call("POST", BUY, data=ORDER).json()["result"] == "success"


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("html", 200, "<!DOCTYPE html>"),
        ("empty", 200, ""),
        ("wrong_json", 200, '{"unexpected":true}'),
        ("twse_busy", 428, "<html>"),
    ],
)
def test_answers_that_are_none(call: Caller, kind: str, status: int, content: str) -> None:
    call("POST", "/sandbox/faults", json={"path": "/twse", "kind": kind})
    reply = call("GET", MONTH)
    assert (reply.status_code, reply.text[: len(content)]) == (status, content)
    assert bool(reply.text) == bool(content)


def test_another_month_that_says_ok(call: Caller) -> None:
    call.move("2025-01-06T18:00")
    call("POST", "/sandbox/faults", json={"path": MONTH, "kind": "twse_wrong_month"})
    told = call.get(MONTH, date="20250201", stockNo="2330")
    assert (told["stat"], told["date"], told["title"][:7]) == ("OK", "20250101", "114年01月")


@pytest.mark.parametrize(
    "fault",
    [{"path": "/x", "kind": "fire"}, {"path": "x", "kind": "html"}, {"path": "/x", "kind": "html", "times": 0}, {}, []],
)
def test_a_fault_that_could_not_happen_is_refused(call: Caller, fault: object) -> None:
    assert call("POST", "/sandbox/faults", json=fault).status_code == 400


def test_faults_can_be_cleared(call: Caller) -> None:
    call("POST", "/sandbox/faults", json={"path": "/", "kind": "http_500", "times": 9})
    call("DELETE", "/sandbox/faults")
    assert call("GET", MONTH).status_code == 200
