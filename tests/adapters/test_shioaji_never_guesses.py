"""Orders, faults, cancellations and sessions in any order: what our broker says is true, or `unknown`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from builders import FRIDAY, RATES, THURSDAY, config, order
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sinopac import LATE, SinoPac, Trade, sj

from bot.adapters.broker_shioaji import ShioajiBroker
from bot.adapters.shioaji_reading import tag_of
from bot.core.orders import Order, OrderState, Side
from bot.errors import DataMissing

START_TWD = 2_000_000
GONE = sj.ShioajiConnectionError("lost")
# What may go wrong with an order: before it is in SinoPac's book, or after.
BEFORE = (LATE, GONE, sj.ServerError("StatusCode: 500"), sj.BadRequestError("StatusCode: 400, Detail: Ca is empty"))
AFTER = (LATE, GONE, sj.OrderOutcomeUnknownError("409"), sj.DecodeError("msgpack"), RuntimeError("panicked"))
REPLIES = (
    ("PendingSubmit", ""),
    ("Inactive", ""),
    ("Failed", "處理中, 請再確認委託狀態"),
    ("Failed", "連線逾時,請再確認委託狀態"),
)

ORDERS: dict[str, st.SearchStrategy[Any]] = {
    "side": st.sampled_from(Side),
    "shares": st.sampled_from([1, 345, 999, 1_000, 5_000]),
    "limit": st.sampled_from([95_00, 100_00, 101_50]),
}


@dataclass
class Told:
    """An order and the last that we were told of it."""

    order: Order
    state: OrderState
    sent: int = field(default=0)


class AtSinoPac(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.there = SinoPac(START_TWD, RATES)
        with tempfile.TemporaryDirectory() as folder:
            told = config(Path(folder), broker={"kind": "shioaji"}).broker
        self.broker = ShioajiBroker(told, lambda _symbol: "twse", self.there.session)
        self.told: dict[str, Told] = {}
        self.session: date = THURSDAY

    def booked(self, one: Order) -> Trade | None:
        """What SinoPac itself has of it."""
        return next(
            (trade for trade in self.there.trades.values() if trade.order.custom_field == tag_of(one.key)), None
        )

    def submit(self, side: Side, shares: int, limit: int) -> Told:
        one = order(side, shares, limit, decided=self.session, leg=len(self.told) + 1)
        before = len(self.there.sent)
        self.told[one.key] = Told(one, self.broker.submit(one).state, len(self.there.sent) - before)
        self.there.failing.clear()
        return self.told[one.key]

    @rule(**ORDERS)
    def send(self, side: Side, shares: int, limit: int) -> None:
        assert self.submit(side, shares, limit).state is not OrderState.UNKNOWN

    @rule(error=st.sampled_from(BEFORE), **ORDERS)
    def send_and_lose_it(self, error: Exception, side: Side, shares: int, limit: int) -> None:
        self.there.failing["place_order"] = error
        assert self.submit(side, shares, limit).state is not OrderState.ACCEPTED

    @rule(error=st.sampled_from(AFTER), list_too=st.booleans(), **ORDERS)
    def send_and_lose_the_reply(self, error: Exception, list_too: bool, side: Side, shares: int, limit: int) -> None:
        def lose(_trade: Trade) -> Any:
            raise error

        self.there.reply = lose
        if list_too:
            self.there.failing["update_status"] = GONE
        told = self.submit(side, shares, limit)
        assert (told.state is OrderState.UNKNOWN) == list_too

    @rule(reply=st.sampled_from(REPLIES), list_too=st.booleans(), **ORDERS)
    def send_and_get_an_unclear_reply(
        self, reply: tuple[str, str], list_too: bool, side: Side, shares: int, limit: int
    ) -> None:
        self.there.reply = lambda trade: trade.now(status=sj.OrderStatus(reply[0]), msg=reply[1])
        if list_too:
            self.there.failing["update_status"] = GONE
        assert (self.submit(side, shares, limit).state is OrderState.UNKNOWN) == list_too

    @precondition(lambda self: self.told)
    @rule(data=st.data(), lost=st.booleans())
    def take_back(self, data: st.DataObject, lost: bool) -> None:
        told = data.draw(st.sampled_from(list(self.told.values())))
        if lost:
            self.there.failing["cancel_order"] = LATE
        state = self.broker.cancel(told.order).state
        self.there.failing.clear()
        booked = self.booked(told.order)
        status = booked.status.status if booked else None
        assert (state is OrderState.CANCELLED) <= (status == sj.OrderStatus.Cancelled)
        assert (state is OrderState.REJECTED) <= (status in (sj.OrderStatus.Filled, sj.OrderStatus.Failed))

    @rule(parts=st.integers(1, 3), stop_after=st.none() | st.integers(1, 2))
    def let_a_session_pass(self, parts: int, stop_after: int | None) -> None:
        self.session = self.session + timedelta(days=1) if self.session < FRIDAY else self.session + timedelta(days=3)
        self.there.trade_session(99.5, 102.0, parts, stop_after=stop_after)
        self.broker.end_session(self.session, {})

    @invariant()
    def every_order_was_sent_once_at_most(self) -> None:
        assert all(told.sent <= 1 for told in self.told.values())
        assert len(self.there.sent) == len(set(self.there.sent))

    @invariant()
    def what_was_said_is_true(self) -> None:
        for told in self.told.values():
            booked = self.booked(told.order)
            lives = booked is not None and booked.status.status != sj.OrderStatus.Failed
            assert told.state is not OrderState.ACCEPTED or lives
            assert told.state is not OrderState.REJECTED or not lives

    @invariant()
    def the_list_and_the_book_are_sinopacs_own(self) -> None:
        reports = self.broker.order_states([told.order for told in self.told.values()])
        assert self.broker.holdings() == {code: shares for code, shares in self.there.shares.items() if shares}
        for key, report in reports.items():
            booked = self.booked(self.told[key].order)
            assert booked is not None
            assert report.filled_shares == sum(deal.quantity for deal in booked.status.deals) * booked.unit
        signed = {key: -1 if self.told[key].order.side is Side.SELL else 1 for key in reports}
        net = sum(signed[key] * report.filled_shares for key, report in reports.items())
        assert net == self.there.shares.get("2330", 0)

    @rule()
    def a_book_that_can_not_be_read_is_none(self) -> None:
        self.there.failing["list_positions"] = GONE
        try:
            book = self.broker.holdings()
        except DataMissing:
            return
        raise AssertionError(book)


AtSinoPac.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAtSinoPac = AtSinoPac.TestCase
