"""SinoPac's broker, driven with the SDK's own orders, enums and errors against SinoPac's behaviour in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from broker_conformance import START_TWD, Bench, BrokerConformance
from builders import FRIDAY, RATES, THURSDAY, config, order
from hypothesis import given
from hypothesis import strategies as st
from sinopac import LATE, Deal, SinoPac, Trade, odd_answers, sj

from bot.adapters.broker_shioaji import LIVE, SIMULATION, ShioajiBroker
from bot.adapters.shioaji_reading import book_of, cash_of, deals_of, report_of, tag_of
from bot.core.market import LOT_SHARES
from bot.core.orders import Order, OrderState, Side
from bot.errors import ConfigError, DataMissing

RANGES = {FRIDAY: (99.5, 102.0)}
MONDAY_RANGE = (100.5, 103.0)
GONE = sj.ShioajiConnectionError("connection lost of A123456789")


def broker_at(there: SinoPac, folder: Path, monkeypatch: Any, *, live: bool = False, **keys: Any) -> ShioajiBroker:
    if live:
        monkeypatch.setenv("TWTRADER_LIVE", "1")
    told = config(folder, broker={"kind": "shioaji", "live": live, "shioaji": keys}).broker
    return ShioajiBroker(told, lambda _symbol: "twse", there.session)


def doubts_of(there: SinoPac, broker: ShioajiBroker) -> dict[str, Callable[[], object]]:
    """Replies after which nobody knows, the list being gone too."""

    def failing(error: Exception) -> Callable[[], object]:
        def arm() -> object:
            there.failing |= {"place_order": error, "update_status": GONE}
            return broker

        return arm

    def saying(status: Any, message: str = "") -> Callable[[], object]:
        def arm() -> object:
            there.reply = lambda trade: trade.now(status=status, msg=message)
            there.failing["update_status"] = GONE
            return broker

        return arm

    return {
        "timeout": failing(LATE),
        "connection": failing(GONE),
        "409": failing(sj.OrderOutcomeUnknownError("OrderOutcomeUnknown")),
        "408": failing(sj.ServerError("place_order: request api/v1/order code: 408, detail: STS Request Timeout")),
        "500": failing(sj.ServerError("StatusCode: 500, Detail: STS Sending Error")),
        "503": failing(sj.SystemMaintenance("StatusCode: 503, Detail: STS Service Unavailable")),
        "garbled": failing(sj.DecodeError("msgpack")),
        "a bug of the SDK": failing(RuntimeError("called `Option::unwrap()` on a `None` value")),
        "pending": saying(sj.OrderStatus.PendingSubmit),
        "inactive": saying(sj.OrderStatus.Inactive),
        "in progress": saying(sj.OrderStatus.Failed, "處理中, 請再確認委託狀態"),
        "timed out there": saying(sj.OrderStatus.Failed, "連線逾時,請再確認委託狀態"),
        "a status from the future": saying("Frozen"),
    }


def failures_of(there: SinoPac) -> dict[str, Callable[[], object]]:
    """Readings of the book that fail."""
    told: dict[str, Callable[[], object]] = {
        type(error).__name__: lambda error=error: there.failing.update(list_positions=error)
        for error in (LATE, GONE, sj.ServerError("StatusCode: 500"), sj.SystemMaintenance("503"), OSError("down"))
    }
    odd = {f"odd answer {number}": answer for number, answer in enumerate(odd_answers())}
    # None of these is `[]`, the one answer that means an empty book.
    return told | {name: lambda answer=answer: there.odd.update(list_positions=answer) for name, answer in odd.items()}


@pytest.fixture
def there() -> SinoPac:
    return SinoPac(START_TWD, RATES)


@pytest.fixture
def broker(there: SinoPac, tmp_path: Path, monkeypatch: Any) -> ShioajiBroker:
    return broker_at(there, tmp_path, monkeypatch)


class TestConformance(BrokerConformance):
    @pytest.fixture(params=["simulation", "live"])
    def bench(self, request: Any, there: SinoPac, tmp_path: Path, monkeypatch: Any) -> Bench:
        broker = broker_at(there, tmp_path, monkeypatch, live=request.param == "live")

        def pass_session(session: date) -> None:
            there.trade_session(*RANGES.get(session, MONDAY_RANGE))

        return Bench(
            broker=broker,
            pass_session=pass_session,
            sent=lambda: len(there.sent),
            doubts=doubts_of(there, broker),
            failures=failures_of(there),
            secrets=(there.account.person_id, there.account.account_id),
        )


# --- what leaves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "keys", "lot", "quantity"),
    [
        (3_000, {}, "Common", 3),
        (345, {}, "IntradayOdd", 345),
        (345, {"odd_lots": "after_hours"}, "Odd", 345),
    ],
)
def test_the_order_is_a_limit_order_for_the_day_in_its_own_kind_of_lot(
    shares: int, keys: Any, lot: str, quantity: int, there: SinoPac, tmp_path: Path, monkeypatch: Any
) -> None:
    seen: list[Any] = []
    place = there.place_order
    monkeypatch.setattr(there, "place_order", lambda contract, wanted, ms: seen.append((contract, wanted, ms)) or place(contract, wanted, ms))  # fmt: skip
    one = order(Side.BUY, shares, 98_70)
    assert broker_at(there, tmp_path, monkeypatch, **keys).submit(one).state is OrderState.ACCEPTED
    [(contract, wanted, ms)] = seen
    assert (contract.security_type, contract.exchange, contract.code) == ("STK", "TSE", "2330")
    assert (wanted.action, wanted.price, wanted.quantity) == (sj.Action.Buy, 98.7, quantity)
    assert (wanted.price_type, wanted.time_in_force) == (sj.StockPriceType.LMT, sj.TimeInForce.ROD)
    assert (wanted.order_lot, wanted.order_cond) == (sj.StockOrderLot(lot), sj.StockOrderCond.Cash)
    assert (wanted.custom_field, str(wanted.account), ms) == (tag_of(one.key), str(there.account), 15_000)


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_a_tag_is_six_letters_or_digits_and_tells_keys_apart(one: str, two: str) -> None:
    assert len(tag_of(one)) == 6
    assert tag_of(one).isascii()
    assert tag_of(one).isalnum()
    assert (tag_of(one) == tag_of(two)) == (one == two)


def test_the_tags_of_a_long_life_hardly_ever_meet() -> None:
    keys = {
        f"forecast_edge:2025-{day:03d}:{symbol}:{side}:1" for day in range(250) for symbol in range(41) for side in "bs"
    }
    assert len({tag_of(key) for key in keys}) == len(keys) == 20_500


def test_an_otc_stock_goes_to_its_own_board_and_an_unknown_one_nowhere(
    there: SinoPac, tmp_path: Path, monkeypatch: Any
) -> None:
    told = config(tmp_path, broker={"kind": "shioaji"}).broker
    boards = {"6488": "tpex"}
    one = ShioajiBroker(told, lambda symbol: boards.get(symbol, ""), there.session)
    assert one.submit(order(symbol="6488")).state is OrderState.ACCEPTED
    assert next(iter(there.trades.values())).contract.exchange == "OTC"
    receipt = one.submit(order(symbol="9999"))
    assert receipt.state is OrderState.REJECTED
    assert "on no board" in receipt.reply
    assert len(there.sent) == 1


# --- what comes back --------------------------------------------------------------------------------------


def test_a_lost_reply_is_looked_up_in_sinopacs_own_list(there: SinoPac, broker: ShioajiBroker) -> None:
    def lose(trade: Trade) -> Any:
        raise LATE  # the order is in the book

    there.reply = lose
    receipt = broker.submit(order())
    assert receipt.state is OrderState.ACCEPTED
    assert "ShioajiTimeoutError" in receipt.reply
    assert len(there.sent) == 1


def test_a_lost_reply_that_the_list_does_not_know_stays_unknown(there: SinoPac, broker: ShioajiBroker) -> None:
    there.failing["place_order"] = LATE  # it never got there
    assert broker.submit(order()).state is OrderState.UNKNOWN
    assert broker.order_states([order()]) == {}


def test_pending_is_no_acknowledgement_but_the_list_may_have_one(there: SinoPac, broker: ShioajiBroker) -> None:
    there.reply = lambda trade: trade.now(status=sj.OrderStatus.PendingSubmit)
    assert broker.submit(order()).state is OrderState.ACCEPTED
    assert broker.order_states([order()])[order().key].state is OrderState.ACCEPTED


@pytest.mark.parametrize(
    "error",
    [
        sj.BadRequestError("StatusCode: 400, Detail: Ca is empty"),
        sj.ValidationError("StatusCode: 422"),
        sj.TokenError("StatusCode: 401, Detail: Token is expired"),
        sj.CaError("CA not activated for: A123456789"),
        sj.ShioajiPermissionError("StatusCode: 403"),
        sj.ShioajiValueError("Invalid Action: buy"),
        sj.ServerError("place_order: request api/v1/order code: 406, detail: Order price error."),
        sj.ServerError("StatusCode: 406, Detail: Account Not Acceptable."),
    ],
)
def test_what_was_refused_at_the_door_is_rejected(error: Exception, there: SinoPac, broker: ShioajiBroker) -> None:
    there.failing["place_order"] = error
    receipt = broker.submit(order())
    assert receipt.state is OrderState.REJECTED
    assert "A123456789" not in receipt.reply


def test_without_a_login_nothing_leaves_and_the_order_is_rejected(
    there: SinoPac, tmp_path: Path, monkeypatch: Any
) -> None:
    def refuse() -> Any:
        raise DataMissing("Shioaji login: TokenError")

    told = config(tmp_path, broker={"kind": "shioaji"}).broker
    one = ShioajiBroker(told, lambda _symbol: "twse", refuse)
    assert one.submit(order()).state is OrderState.REJECTED
    with pytest.raises(DataMissing, match="login"):
        one.holdings()
    assert there.sent == []


def test_a_reading_logs_in_again_when_the_session_ran_out_and_an_order_does_not(
    there: SinoPac, broker: ShioajiBroker
) -> None:
    assert broker.holdings() == {}
    there.failing["list_positions"] = sj.TokenError("StatusCode: 401, Detail: Token is expired")
    assert broker.holdings() == {}
    assert there.logins == 2
    there.failing["place_order"] = sj.TokenError("StatusCode: 401, Detail: Token is expired")
    assert broker.submit(order()).state is OrderState.REJECTED
    assert len(there.sent) == 1


# --- the list ---------------------------------------------------------------------------------------------


def test_an_order_fills_in_parts_and_each_deal_is_told(there: SinoPac, broker: ShioajiBroker) -> None:
    one = order(shares=5_000)
    broker.submit(one)
    there.trade_session(99.5, 102.0, parts=3, stop_after=2)
    broker.end_session(FRIDAY, {})
    report = broker.order_states([one])[one.key]
    assert (report.state, [deal.shares for deal in report.deals]) == (OrderState.CANCELLED, [2_000, 2_000])
    assert broker.prices_x100([one]) == {one.key: 100_00}
    assert broker.holdings() == {"2330": 4_000}


def test_the_price_of_several_deals_is_their_mean_to_the_nearest_hundredth(
    there: SinoPac, broker: ShioajiBroker
) -> None:
    one = order(shares=3_000, limit=101_00)
    broker.submit(one)
    [trade] = there.trades.values()
    deals = [Deal("1", 100.5, 1, 1.0), Deal("2", 101.0, 2, 1.0)]
    there.trades[trade.order.id] = trade.now(status=sj.OrderStatus.Filled, deals=deals, deal_quantity=3)
    # (100.50 + 2 x 101.00) / 3 = 100.8333
    assert broker.prices_x100([one]) == {one.key: 100_83}
    assert broker.order_states([one])[one.key].value_x100 == 1_000 * 100_50 + 2_000 * 101_00


def test_a_deal_told_twice_counts_once(there: SinoPac, broker: ShioajiBroker) -> None:
    broker.submit(order(shares=2_000))
    [trade] = there.trades.values()
    deal = Deal("000001", 100.0, 2, 5.0)
    there.trades[trade.order.id] = trade.now(status=sj.OrderStatus.Filled, deals=[deal, deal], deal_quantity=2)
    assert broker.order_states([order(shares=2_000)])[order().key].filled_shares == 2_000


@pytest.mark.parametrize(
    ("status", "deals", "deal_quantity"),
    [
        ("Filled", [], 0),
        ("Filled", [Deal("1", 100.0, 1, 1.0)], 1),
        ("Submitted", [Deal("1", 100.0, 2, 1.0)], 2),
        ("Failed", [Deal("1", 100.0, 1, 1.0)], 1),
        ("Filled", [Deal("1", 100.0, 3, 1.0)], 3),
        ("PartFilled", [Deal("1", 100.0, 1, 1.0)], 2),
        ("PartFilled", [Deal("1", float("nan"), 1, 1.0)], 1),
        ("PartFilled", [Deal("1", 100.001, 1, 1.0)], 1),
        ("PartFilled", [Deal("1", 100.0, True, 1.0)], 1),
        ("PendingSubmit", [], 0),
    ],
)
def test_a_list_that_disagrees_with_itself_leaves_the_order_unknown(
    status: str, deals: list[Deal], deal_quantity: int, there: SinoPac, broker: ShioajiBroker
) -> None:
    broker.submit(order(shares=2_000))
    [trade] = there.trades.values()
    there.trades[trade.order.id] = trade.now(status=sj.OrderStatus(status), deals=deals, deal_quantity=deal_quantity)
    assert broker.order_states([order(shares=2_000)])[order().key].state is OrderState.UNKNOWN


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ("非委託時間", OrderState.REJECTED),
        ("圈存失敗,餘額不足", OrderState.REJECTED),
        ("處理中, 請再確認委託狀態", OrderState.UNKNOWN),
        ("連線逾時,請再確認委託狀態", OrderState.UNKNOWN),
        ("忙線中, 請稍後再查", OrderState.UNKNOWN),
    ],
)
def test_a_failure_that_asks_to_look_again_is_no_rejection(
    message: str, state: OrderState, there: SinoPac, broker: ShioajiBroker
) -> None:
    there.reply = lambda trade: trade.now(status=sj.OrderStatus.Failed, msg=message)
    there.failing["update_status"] = GONE
    assert broker.submit(order()).state is state
    there.failing.clear()
    [trade] = there.trades.values()
    there.trades[trade.order.id] = trade.now(status=sj.OrderStatus.Failed, msg=message)
    assert broker.order_states([order()])[order().key].state is state


def test_a_refusal_because_of_the_hour_says_so(there: SinoPac, broker: ShioajiBroker) -> None:
    for leg, (message, closed) in enumerate([("非委託時間", True), ("無此商品代碼", False)], start=1):
        there.reply = lambda trade, message=message: trade.now(status=sj.OrderStatus.Failed, msg=message)
        receipt = broker.submit(order(leg=leg))
        assert (receipt.state, receipt.closed) == (OrderState.REJECTED, closed)


def test_an_order_that_is_there_twice_is_no_reading(there: SinoPac, broker: ShioajiBroker) -> None:
    broker.submit(order())
    [trade] = there.trades.values()
    there.trades["another"] = replace(trade, order=replace(trade.order, id="another"))
    with pytest.raises(DataMissing, match="more than once"):
        broker.order_states([order()])


def test_another_order_with_the_same_tag_is_not_ours(there: SinoPac, broker: ShioajiBroker) -> None:
    broker.submit(order())
    [trade] = there.trades.values()
    for told in (order(shares=2_000), order(symbol="2317"), order(Side.SELL)):
        there.trades[trade.order.id] = replace(trade, order=replace(trade.order, custom_field=tag_of(told.key)))
        assert broker.order_states([told]) == {}


def test_an_order_of_a_session_that_is_over_is_dead_whatever_the_list_still_shows(
    there: SinoPac, broker: ShioajiBroker
) -> None:
    one = order(decided=THURSDAY)
    broker.submit(one)
    [trade] = there.trades.values()
    there.trades[trade.order.id] = trade.now(status=sj.OrderStatus.Submitted)
    assert broker.order_states([one])[one.key].state is OrderState.ACCEPTED
    broker.end_session(THURSDAY, {})  # the session before it
    assert broker.order_states([one])[one.key].state is OrderState.ACCEPTED
    broker.end_session(FRIDAY, {})
    assert broker.order_states([one])[one.key].state is OrderState.EXPIRED


@pytest.mark.parametrize("call", ["update_status", "list_trades"])
def test_a_list_that_can_not_be_read_says_nothing_of_any_order(
    call: str, there: SinoPac, broker: ShioajiBroker
) -> None:
    broker.submit(order())
    there.failing[call] = GONE
    with pytest.raises(DataMissing, match="orders") as failed:
        broker.order_states([order()])
    assert "A123456789" not in str(failed.value)
    there.odd["list_trades"] = [SimpleNamespace()]
    with pytest.raises(DataMissing, match="odd shape"):
        broker.order_states([order()])


# --- taking back ------------------------------------------------------------------------------------------


def test_a_lost_reply_to_a_cancellation_is_what_the_list_says(there: SinoPac, broker: ShioajiBroker) -> None:
    broker.submit(order())
    there.failing["cancel_order"] = LATE  # it never got there: the order still works
    assert broker.cancel(order()).state is OrderState.UNKNOWN
    assert broker.cancel(order()).state is OrderState.CANCELLED


def test_without_the_list_nobody_can_say_whether_an_order_was_taken_back(there: SinoPac, broker: ShioajiBroker) -> None:
    broker.submit(order())
    there.failing["update_status"] = GONE
    assert broker.cancel(order()).state is OrderState.UNKNOWN


# --- cash -------------------------------------------------------------------------------------------------


def test_the_simulation_tells_no_cash_and_real_money_does() -> None:
    assert (SIMULATION.tells_cash, LIVE.tells_cash) == (False, True)
    assert replace(LIVE, tells_cash=False) == SIMULATION


@pytest.mark.parametrize("call", ["account_balance", "settlements"])
def test_cash_that_can_not_be_read_is_no_cash_at_all(
    call: str, there: SinoPac, tmp_path: Path, monkeypatch: Any
) -> None:
    live = broker_at(there, tmp_path, monkeypatch, live=True)
    there.failing[call] = LATE
    with pytest.raises(DataMissing, match="cash"):
        live.cash_twd()
    there.odd[call] = None
    with pytest.raises(DataMissing, match="cash"):
        live.cash_twd()
    assert live.cash_twd() == START_TWD


def settlement(day: int, amount: Any) -> Any:
    return SimpleNamespace(T=day, amount=amount, date=FRIDAY)


def test_cash_is_the_bank_account_and_what_tomorrow_and_the_day_after_bring() -> None:
    bank = SimpleNamespace(acc_balance=1_000_000.0, errmsg="")
    days = [settlement(0, -5_000.0), settlement(1, -300_427.0), settlement(2, 100_554.0)]
    assert cash_of(bank, days) == 1_000_000 - 300_427 + 100_554


@pytest.mark.parametrize(
    ("balance", "error", "days"),
    [
        (1.0, "SP Bank Error (Code: 7)", [(0, 0.0), (1, 0.0), (2, 0.0)]),
        (1.5, "", [(0, 0.0), (1, 0.0), (2, 0.0)]),
        (float("nan"), "", [(0, 0.0), (1, 0.0), (2, 0.0)]),
        (True, "", [(0, 0.0), (1, 0.0), (2, 0.0)]),
        ("1", "", [(0, 0.0), (1, 0.0), (2, 0.0)]),
        (1.0, "", []),
        (1.0, "", [(0, 0.0), (1, 0.0)]),
        (1.0, "", [(0, 0.0), (1, 0.0), (1, 0.0), (2, 0.0)]),
        (1.0, "", [(0, 0.0), (1, float("inf")), (2, 0.0)]),
    ],
)
def test_cash_of_an_odd_shape_is_refused(balance: Any, error: str, days: list[tuple[int, float]]) -> None:
    with pytest.raises(DataMissing, match="cash"):
        cash_of(SimpleNamespace(acc_balance=balance, errmsg=error), [settlement(*day) for day in days])


# --- the gate ---------------------------------------------------------------------------------------------


def test_real_money_needs_both_keys(there: SinoPac, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("TWTRADER_LIVE", raising=False)
    told = config(tmp_path, broker={"kind": "shioaji", "live": True}).broker
    with pytest.raises(ConfigError, match="TWTRADER_LIVE=1"):
        ShioajiBroker(told, lambda _symbol: "twse", there.session)
    assert there.logins == 0


def test_nothing_is_asked_of_the_network_before_it_must_be(there: SinoPac, broker: ShioajiBroker) -> None:
    assert there.logins == 0
    broker.close()
    assert there.logins == 0
    broker.holdings()
    broker.close()
    assert there.logins == 1


# --- any answer is a right one or refused -----------------------------------------------------------------

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
)  # fmt: skip
CODES = st.sampled_from(["2330", "2317", "0050"])


@given(st.lists(st.tuples(CODES | ANYTHING, st.integers(0, 10**6) | ANYTHING, st.sampled_from([sj.Action.Buy, sj.Action.Sell, None]))))  # fmt: skip
def test_any_positions_are_the_right_book_or_no_book(rows: list[tuple[Any, Any, Any]]) -> None:
    positions = [SimpleNamespace(code=code, quantity=quantity, direction=side) for code, quantity, side in rows]
    sound = all(
        isinstance(code, str) and code.strip() and type(quantity) is int and 0 <= quantity <= 10**11 and side == sj.Action.Buy
        for code, quantity, side in rows
    )  # fmt: skip
    if not sound:
        with pytest.raises(DataMissing):
            book_of(positions)
        return
    expected: dict[str, int] = {}
    for code, quantity, _ in rows:
        expected[code] = expected.get(code, 0) + quantity
    assert book_of(positions) == {code: held for code, held in expected.items() if held}


STATUSES = ["PendingSubmit", "PreSubmitted", "Submitted", "PartFilled", "Filled", "Cancelled", "Failed", "Inactive"]


@given(
    status=st.sampled_from(STATUSES),
    message=st.sampled_from(["", "非委託時間", "處理中, 請再確認委託狀態"]),
    deals=st.lists(st.tuples(st.sampled_from(["", "1", "2"]), st.sampled_from([100.0, 99.95, -1.0]), st.integers(-1, 3)), max_size=4),
    added_up=st.none() | st.integers(0, 6),
    shares=st.sampled_from([345, 1_000, 3_000]),
    over=st.booleans(),
)  # fmt: skip
def test_no_report_says_more_than_the_list_can_know(
    status: str, message: str, deals: list[Any], added_up: int | None, shares: int, over: bool
) -> None:
    one = order(shares=shares)
    trade = listed(one, sj.OrderStatus(status), message, deals, added_up)
    report = report_of(trade, one, over=over)
    assert 0 <= report.filled_shares <= one.shares
    assert report.state is not OrderState.FILLED or report.filled_shares == one.shares
    assert report.state is not OrderState.REJECTED or (not report.deals and "確認" not in message)
    assert report.state in {OrderState.ACCEPTED, OrderState.UNKNOWN} or status not in {"PendingSubmit", "Inactive"}
    assert not (over and report.state is OrderState.ACCEPTED)
    if report.deals:
        assert report.deals == deals_of(trade, one)


def listed(one: Order, status: Any, message: str, deals: list[Any], added_up: int | None) -> Any:
    """A trade of the list as it might come."""
    whole = one.shares % LOT_SHARES == 0
    asked = SimpleNamespace(
        id="1", action=sj.Action.Buy, custom_field=tag_of(one.key), quantity=one.shares // LOT_SHARES if whole else one.shares,
        order_lot=sj.StockOrderLot.Common if whole else sj.StockOrderLot.IntradayOdd,
    )  # fmt: skip
    told = [Deal(seq, price, quantity, 1.0) for seq, price, quantity in deals]
    state = SimpleNamespace(status=status, msg=message, deal_quantity=added_up, deals=told)
    return SimpleNamespace(contract=SimpleNamespace(code=one.symbol), order=asked, status=state)
