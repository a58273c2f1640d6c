"""The stock API at both of its bases: the suite against the real sandbox process, and answers that can't be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from broker_conformance import START_TWD, Bench, BrokerConformance
from builders import THURSDAY, at, config, order
from hypothesis import given
from hypothesis import strategies as st
from loopback import Answer, Loopback

from bot.adapters.broker_stock_api import StockApiBroker
from bot.adapters.stock_api_answers import book_of, reply_of
from bot.core.orders import OrderState
from bot.errors import ConfigError, DataMissing
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

CSV = """date,capacity,turnover,open,high,low,close,change,transaction
2025-01-02,1000000,100000000,100.0,101.0,99.0,100.0,0.0,500
2025-01-03,1000000,100000000,100.5,102.0,99.5,101.0,1.0,500
2025-01-06,1000000,100000000,101.0,103.0,100.5,102.0,1.0,500
"""
ACCOUNT, PASSWORD = "acc-canary", "s3cret-canary/+"
NEW, OLD = "stock/trading_api", "stock/api/v1"
# Each acts before or after the order is booked; the answer tells neither.
DOUBTS = ("http_500", "http_503_after", "html", "html_after", "empty", "empty_after", "wrong_json", "wrong_json_after",
          "reset", "reset_after", "hang", "hang_before")  # fmt: skip
FAILURES = ("http_500", "html", "empty", "wrong_json", "reset", "holdings_failed")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One process for the file; each test begins it anew."""
    folder = tmp_path_factory.mktemp("prices")
    (folder / "2330.csv").write_text(CSV, encoding="utf-8")
    accounts = ((ACCOUNT, PASSWORD),)
    with start_sandbox(SandboxSettings(start=at(THURSDAY, "18:30"), prices=folder, accounts=accounts)) as running:
        yield running


@pytest.fixture
def evening(sandbox: Sandbox) -> Sandbox:
    """The evening of THURSDAY, with a book of its own."""
    sandbox.reset(start=at(THURSDAY, "18:30"), seed=7, codes=(), cash_twd=START_TWD)
    return sandbox


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: Any) -> None:
    monkeypatch.setenv("TWTRADER_ACCOUNT", ACCOUNT)
    monkeypatch.setenv("TWTRADER_PASSWORD", PASSWORD)


def broker_at(url: str, folder: Path, **keys: Any) -> StockApiBroker:
    return StockApiBroker(config(folder, broker={"kind": "stock_api", "base_url": url, **keys}).broker)


class TestConformance(BrokerConformance):
    @pytest.fixture(params=[NEW, OLD])
    def bench(self, request: Any, evening: Sandbox, tmp_path: Path) -> Iterator[Bench]:
        base = f"/{request.param}"
        broker = broker_at(evening.url + base, tmp_path)
        hasty = broker_at(evening.url + base, tmp_path, timeout_s=0.3)

        def pass_session(session: date) -> None:
            evening.move_to(at(session, "16:05"))

        def doubt(kind: str) -> StockApiBroker:
            evening.fault(f"{base}/buy", kind, seconds=5.0)
            return hasty if kind.startswith("hang") else broker

        def fail(kind: str) -> None:
            evening.fault(f"{base}/get_user_stocks", kind)

        yield Bench(
            broker=broker,
            pass_session=pass_session,
            sent=lambda: sum(count for path, count in evening.requests().items() if path.endswith(("/buy", "/sell"))),
            doubts={kind: partial(doubt, kind) for kind in DOUBTS},
            failures={kind: partial(fail, kind) for kind in FAILURES},
            secrets=(ACCOUNT, PASSWORD),
        )
        broker.close()
        hasty.close()


@pytest.fixture
def broker(evening: Sandbox, tmp_path: Path) -> StockApiBroker:
    return broker_at(f"{evening.url}/{NEW}", tmp_path)


# --- what is known of its answers -------------------------------------------------------------------------


def test_a_wrong_password_is_a_failed_reading(evening: Sandbox, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TWTRADER_PASSWORD", "another")
    stranger = broker_at(f"{evening.url}/{NEW}", tmp_path)
    with pytest.raises(DataMissing, match="failed"):
        stranger.holdings()
    assert stranger.submit(order()).state is OrderState.REJECTED


def test_outside_the_order_window_it_is_rejected_in_the_apis_own_words(
    evening: Sandbox, broker: StockApiBroker
) -> None:
    evening.fault(f"/{NEW}/buy", "no_session")
    receipt = broker.submit(order())
    assert (receipt.state, receipt.reply, receipt.closed) == (OrderState.REJECTED, "當前非交易許可時間", True)


def test_nobody_there_is_a_rejection_because_nothing_left(tmp_path: Path) -> None:
    receipt = broker_at("http://127.0.0.1:9/x", tmp_path).submit(order())
    assert (receipt.state, receipt.reply.startswith("no connection")) == (OrderState.REJECTED, True)


def test_a_redirect_is_not_followed_and_leaves_the_order_in_doubt(loopback: Loopback, tmp_path: Path) -> None:
    loopback.tell(Answer({"result": "success", "status": ""}, status=307, headers={"Location": f"{loopback.url}/else"}))
    one = broker_at(loopback.url, tmp_path)
    assert one.submit(order()).state is OrderState.UNKNOWN
    with pytest.raises(DataMissing, match="HTTP 307"):
        one.holdings()
    assert [request.path for request in loopback.requests] == ["/buy", "/get_user_stocks"]


def test_an_answer_cut_short_is_no_answer(loopback: Loopback, tmp_path: Path) -> None:
    whole = {"result": "success", "status": "", "data": []}
    loopback.tell(Answer(whole, promised=500))
    one = broker_at(loopback.url, tmp_path, timeout_s=0.5)
    assert one.submit(order()).state is OrderState.UNKNOWN
    with pytest.raises(DataMissing, match="holdings"):
        one.holdings()


@pytest.mark.parametrize("before", [0, 100, 182])  # a cut before the hiding would leave half of the password
@pytest.mark.parametrize("status", [200, 500])
def test_a_page_that_shows_our_form_again_does_not_show_the_secrets(
    status: int, before: int, loopback: Loopback, tmp_path: Path
) -> None:
    for spelled in (PASSWORD, "s3cret-canary%2F%2B", json.dumps(PASSWORD)):
        loopback.tell(Answer(f"{'x' * before}{spelled} {ACCOUNT}{'y' * 500}".encode(), status=status))
        said = [broker_at(loopback.url, tmp_path).submit(order()).reply]
        with pytest.raises(DataMissing) as failed:
            broker_at(loopback.url, tmp_path).holdings()
        said.append(str(failed.value))
        assert all("s3c" not in text and "canary" not in text for text in said), said
        assert all(len(text) <= 200 for text in said)


# --- holdings: right, or refused --------------------------------------------------------------------------


def row(code: Any = "1213", shares: Any = 1, price: Any = 7.1, usid: Any = 4291) -> dict[str, Any]:
    """As seen. Source: api/STOCK_API.md, "Holdings"."""
    return {"usid": usid, "stock_name": "大飲", "beginning_price": price, "shares": shares, "createtime": 1712129497,
            "stock_code_id": code, "user_uid_id": 1124}  # fmt: skip


def answer(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"result": "success", "status": "取得使用者庫存成功", "data": list(rows), **more}).encode()


def test_both_spellings_of_the_opening_price_are_the_same_book() -> None:
    number, text = answer(row(price=7.1)), answer(row(price="7.10000"))
    assert book_of(number) == book_of(text) == {"1213": 1_000}


def test_several_rows_of_a_stock_add_up_and_no_row_is_an_empty_book() -> None:
    assert book_of(answer(row(usid=1), row(shares=2, usid=2), row("2330", 5, usid=3))) == {"1213": 3_000, "2330": 5_000}
    assert book_of(answer(row(shares=0))) == {}
    assert book_of(answer()) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"null", b"{}", b'"success"', b"\xff\xfe", b"<html>", b'{"result":"success"}',
        answer(data=None), answer(data={}), answer(data="[]"), answer(data=[None]), answer(data=[[]]),
        answer(result="failed"), answer(result=None), answer(result="Success"), answer(result=["success"]),
        b'{"result":"failed","status":"x"}', answer(data={"data": []}), b'{"data":[]}', answer()[:-1],
        b'{"result":"failed","result":"success","status":"","data":[]}', answer() + b"x",
        b'{"result":"success","data":[{"stock_code_id":"2330","shares":1}],"data":[]}',
        answer(row(shares=True)), answer(row(shares=1.0)), answer(row(shares=-1)), answer(row(shares=10**12)),
        answer(row(shares="1")), answer(row(shares=None)), answer(row(shares=[1])), answer(row(shares=float("nan"))),
        answer(row(shares=10**400)), answer(row(code=1213)), answer(row(code="")), answer(row(code=" 1213")),
        answer(row(code="臺積電")), answer(row(code=None)), answer(row(), row()), answer({"shares": 1}), answer({"stock_code_id": "2330"}),
        b"[" * 200_000, b'{"result":"success","data":' + b"[" * 100_000, answer(status=7),
        b'{"result":"success","status":"","data":[{"stock_code_id":"2330","shares":1e3}]}',
    ],
)  # fmt: skip
def test_anything_but_a_whole_sound_answer_is_a_failed_reading(content: bytes) -> None:
    with pytest.raises(DataMissing, match="holdings"):
        book_of(content)


CODES = st.from_regex(r"[0-9]{4}", fullmatch=True) | st.sampled_from(["00631L", "0050", "006208"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.tuples(CODES, st.integers(0, 10_000), st.floats(0.01, 5_000) | st.from_regex(r"[0-9]{1,4}\.[0-9]{5}", fullmatch=True))))  # fmt: skip
def test_every_sound_answer_is_the_book_that_its_rows_add_up_to(rows: list[tuple[str, int, Any]]) -> None:
    expected: dict[str, int] = {}
    for code, lots, _ in rows:
        expected[code] = expected.get(code, 0) + lots * 1_000
    content = answer(*(row(code, lots, price, usid) for usid, (code, lots, price) in enumerate(rows)))
    assert book_of(content) == {code: held for code, held in expected.items() if held}


@given(st.binary(max_size=200) | JSON.map(lambda told: json.dumps(told).encode()))
def test_no_other_bytes_are_ever_a_book(content: bytes) -> None:
    with pytest.raises(DataMissing, match="holdings"):
        book_of(content)


@given(
    result=st.just("success") | JSON, data=st.lists(st.builds(row, CODES | JSON, st.integers(-2, 3) | JSON, JSON, JSON), max_size=3) | JSON,
)  # fmt: skip
def test_an_answer_with_anything_odd_in_it_is_a_right_book_or_none(result: Any, data: Any) -> None:
    sound = result == "success" and isinstance(data, list) and all(is_sound(one) for one in data)
    content = json.dumps({"result": result, "status": "", "data": data}).encode()
    try:
        book = book_of(content)
    except DataMissing:
        return
    assert sound
    assert sum(book.values()) == sum(one["shares"] for one in data) * 1_000


def is_sound(one: Any) -> bool:
    """Whether a row can be a holding."""
    if not isinstance(one, dict):
        return False
    code, shares = one.get("stock_code_id"), one.get("shares")
    return isinstance(code, str) and code[:4].isdigit() and type(shares) is int and shares >= 0


@given(st.integers(1, 400))
def test_a_cut_answer_is_never_a_smaller_book(cut: int) -> None:
    whole = answer(*(row(str(1101 + number), 1, 7.1, number) for number in range(5)))
    with pytest.raises(DataMissing):
        book_of(whole[: -min(cut, len(whole))])


# --- replies to orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        (b'{"result":"success","status":"ok"}', OrderState.ACCEPTED, "ok"),
        (b'{"result":"failed","status":"no"}', OrderState.REJECTED, "no"),
        (b'{"result":"success"}', OrderState.ACCEPTED, ""),
        (b'{"result":"SUCCESS","status":""}', OrderState.UNKNOWN, ""),
        (b'{"result":"failed","result":"success","status":""}', OrderState.UNKNOWN, ""),
        (b'{"result":"success","status":7}', OrderState.UNKNOWN, ""),
        (b'{"result":true}', OrderState.UNKNOWN, ""),
        (b'["success"]', OrderState.UNKNOWN, ""),
        (b"", OrderState.UNKNOWN, ""),
        (b"[" * 200_000, OrderState.UNKNOWN, ""),
    ],
)
def test_only_the_two_agreed_answers_are_believed(content: bytes, state: OrderState, words: str) -> None:
    assert reply_of(content) == (state, words)


@given(st.binary(max_size=200) | JSON.map(lambda told: json.dumps(told).encode()))
def test_no_other_bytes_accept_or_reject_an_order(content: bytes) -> None:
    assert reply_of(content) == (OrderState.UNKNOWN, "")


# --- nothing leaves by accident ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "environment", "message"),
    [
        ({"base_url": "http://example.test/x"}, {}, "allow_plain_http"),
        ({"base_url": "https://example.test/x"}, {}, "`broker.live` is false"),
        ({"base_url": "https://example.test/x", "live": True}, {}, "TWTRADER_LIVE=1"),
        ({"base_url": "ftp://example.test"}, {}, "no http"),
        ({"base_url": "http://127.0.0.1:1/x"}, {"TWTRADER_PASSWORD": ""}, "TWTRADER_PASSWORD is not set"),
    ],
)
def test_no_order_leaves_by_accident(
    keys: dict[str, Any], environment: dict[str, str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        StockApiBroker(config(tmp_path, broker={"kind": "stock_api", **keys}).broker)
