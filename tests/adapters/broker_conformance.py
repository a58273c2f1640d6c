"""What every broker must do, whatever it is: its test file subclasses `BrokerConformance` and gives a `bench`.

All prices and costs are worked out by hand. 2330 trades on FRIDAY in 99.50..102.00 and on MONDAY in 100.50..103.00,
the fee is 0.1425 % cut to whole TWD (at least 20), the sales tax 0.3 %; the account opened with NT$100,000,000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import pytest
from builders import FRIDAY, bar, order

from bot.core.brokerage import Abilities
from bot.core.legs import leg_shares
from bot.core.orders import OrderState, Side
from bot.errors import DataMissing
from bot.ports import Broker, Cancels

START_TWD = 100_000_000
MONDAY = FRIDAY + timedelta(days=3)
SESSIONS = {
    FRIDAY: bar("101", session=FRIDAY, open="100.5", high="102", low="99.5"),
    MONDAY: bar("102", session=MONDAY, open="101", high="103", low="100.5"),
}

Arm = Callable[[], object]


@dataclass
class Bench:
    """A broker on the evening of THURSDAY, and the strings of what stands behind it.

    `pass_session` lets a session happen there. `sent` counts the orders that reached the other side. `doubts` bend
    the reply to the next order, `failures` the next reading of holdings; each gives the broker to use (some doubts
    need a hasty one). `secrets` may stand in nothing that the broker says.
    """

    broker: Broker
    pass_session: Callable[[date], object]
    sent: Callable[[], int] | None = None
    doubts: Mapping[str, Arm] = field(default_factory=dict)
    failures: Mapping[str, Arm] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    def end(self, session: date) -> None:
        """Let `session` pass, and tell the broker as the settlement does."""
        self.pass_session(session)
        self.broker.end_session(session, {"2330": SESSIONS[session]})

    @property
    def can(self) -> Abilities:
        return self.broker.abilities


class BrokerConformance:
    """The suite."""

    def test_what_it_declares_is_what_it_has(self, bench: Bench) -> None:
        can = bench.can
        assert isinstance(bench.broker, Cancels) == can.can_cancel
        assert (bench.broker.cash_twd() is not None) == can.tells_cash
        assert (bench.broker.order_states([order()]) is not None) == can.lists_orders
        assert (bench.broker.prices_x100([order()]) is not None) == can.tells_fills

    def test_a_new_book_is_empty(self, bench: Bench) -> None:
        assert bench.broker.holdings() == {}
        assert bench.broker.order_states([order()]) in (None, {})
        assert bench.broker.prices_x100([order()]) in (None, {})

    def test_an_order_rests_and_fills_whole_in_the_next_session(self, bench: Bench) -> None:
        assert bench.broker.submit(order(shares=3_000)).state is OrderState.ACCEPTED
        assert bench.broker.holdings() == {}
        bench.end(FRIDAY)
        assert bench.broker.holdings() == {"2330": 3_000}
        bench.end(MONDAY)  # and it fills once
        assert bench.broker.holdings() == {"2330": 3_000}

    def test_fills_and_states_are_told_where_that_is_declared(self, bench: Bench) -> None:
        bought, missed = order(shares=3_000), order(Side.BUY, limit=95_00, leg=2)
        for one in (bought, missed):
            assert bench.broker.submit(one).state is OrderState.ACCEPTED
        resting = bench.broker.order_states([bought, missed])
        bench.end(FRIDAY)
        done = bench.broker.order_states([bought, missed])
        if bench.can.tells_fills:
            assert bench.broker.prices_x100([bought, missed]) == {bought.key: 100_00}
        if bench.can.lists_orders:
            assert resting is not None
            assert {key: one.state for key, one in resting.items()} == {
                bought.key: OrderState.ACCEPTED,
                missed.key: OrderState.ACCEPTED,
            }
            assert done is not None
            assert done[bought.key].state is OrderState.FILLED
            assert (done[bought.key].filled_shares, done[bought.key].value_x100) == (3_000, 3_000 * 100_00)
            assert done[missed.key].state in {OrderState.EXPIRED, OrderState.CANCELLED}
            assert done[missed.key].deals == ()

    def test_an_order_out_of_reach_is_gone_after_the_session(self, bench: Bench) -> None:
        assert bench.broker.submit(order(limit=95_00)).state is OrderState.ACCEPTED
        bench.end(FRIDAY)
        assert bench.broker.holdings() == {}

    def test_what_is_not_held_or_affordable_is_rejected_with_a_reason(self, bench: Bench) -> None:
        # 400,000 shares at 300.00 are NT$120,000,000, and the account has 100,000,000
        for one in (order(Side.SELL), order(shares=400_000, limit=300_00)):
            receipt = bench.broker.submit(one)
            assert receipt.state is OrderState.REJECTED
            assert receipt.reply
        bench.end(FRIDAY)
        assert bench.broker.holdings() == {}

    def test_a_sale_takes_shares_out_of_the_book(self, bench: Bench) -> None:
        bench.broker.submit(order(shares=3_000))
        bench.end(FRIDAY)
        assert bench.broker.submit(order(Side.SELL, limit=101_00, decided=FRIDAY)).state is OrderState.ACCEPTED
        bench.end(MONDAY)
        assert bench.broker.holdings() == {"2330": 2_000}

    def test_cash_is_right_to_a_dollar_or_not_told(self, bench: Bench) -> None:
        if not bench.can.tells_cash:
            assert bench.broker.cash_twd() is None
            return
        assert bench.broker.cash_twd() == START_TWD
        bench.broker.submit(order(shares=3_000))
        assert bench.broker.cash_twd() == START_TWD  # nothing traded yet
        bench.end(FRIDAY)
        # 3,000 at 100.00: 300,000 and a fee of 427.5, cut to 427
        assert bench.broker.cash_twd() == START_TWD - 300_427
        bench.broker.submit(order(Side.SELL, limit=101_00, decided=FRIDAY))
        bench.end(MONDAY)
        # 1,000 at 101.00: 101,000, a fee of 143.925, cut to 143, and a tax of 303
        assert bench.broker.cash_twd() == START_TWD - 300_427 + 100_554

    def test_odd_lots_are_taken_where_declared_and_refused_where_not(self, bench: Bench) -> None:
        odd = order(shares=345)
        if bench.can.takes_odd_lots:
            assert bench.broker.submit(odd).state is OrderState.ACCEPTED
            bench.end(FRIDAY)
            assert bench.broker.holdings() == {"2330": 345}
            return
        before = bench.sent() if bench.sent else 0
        with pytest.raises(ValueError, match="345"):
            bench.broker.submit(odd)
        assert (bench.sent() if bench.sent else 0) == before

    def test_a_mixture_of_lots_and_odd_shares_arrives_whole_as_its_legs(self, bench: Bench) -> None:
        if not bench.can.takes_odd_lots:
            with pytest.raises(ValueError, match="2345"):
                leg_shares(2_345, bench.can)
            return
        if bench.can.odd_apart:
            with pytest.raises(ValueError, match="2345"):
                bench.broker.submit(order(shares=2_345))
        legs = [order(shares=part, leg=leg) for leg, part in enumerate(leg_shares(2_345, bench.can), start=1)]
        assert [bench.broker.submit(leg).state for leg in legs] == [OrderState.ACCEPTED] * len(legs)
        bench.end(FRIDAY)
        assert bench.broker.holdings() == {"2330": 2_345}

    def test_the_same_order_twice_is_one_where_that_is_declared(self, bench: Bench) -> None:
        if not bench.can.takes_once:
            return  # then only the journal stands between an intent and a second order: tests/test_day.py, tests/chaos
        for _ in range(2):
            assert bench.broker.submit(order()).state is OrderState.ACCEPTED
        bench.end(FRIDAY)
        assert bench.broker.holdings() == {"2330": 1_000}

    def test_an_order_is_taken_back_where_that_is_declared(self, bench: Bench) -> None:
        broker = bench.broker
        if not isinstance(broker, Cancels):
            assert not hasattr(broker, "cancel")
            return
        assert broker.cancel(order()).state is OrderState.UNKNOWN  # never seen there: nobody can say
        bench.broker.submit(order())
        for _ in range(2):
            assert broker.cancel(order()).state is OrderState.CANCELLED
        bench.end(FRIDAY)
        assert bench.broker.holdings() == {}

    def test_what_has_traded_is_not_taken_back(self, bench: Bench) -> None:
        broker = bench.broker
        if not isinstance(broker, Cancels):
            return
        bench.broker.submit(order())
        bench.end(FRIDAY)
        assert broker.cancel(order()).state is OrderState.REJECTED
        assert bench.broker.holdings() == {"2330": 1_000}

    def test_a_doubtful_reply_is_unknown_and_the_order_was_sent_once(self, bench: Bench) -> None:
        """Each doubt by itself, a stock of its own each time: the order's key and its symbol differ."""
        for number, (doubt, arm) in enumerate(bench.doubts.items()):
            assert bench.sent is not None
            one, before = order(leg=number + 1), bench.sent()
            broker = arm()
            assert isinstance(broker, type(bench.broker))
            receipt = broker.submit(one)
            assert receipt.state is OrderState.UNKNOWN, f"{doubt}: {receipt}"
            assert bench.sent() == before + 1, doubt
            assert not any(secret in receipt.reply for secret in bench.secrets), doubt

    def test_a_failed_reading_is_never_an_empty_book(self, bench: Bench) -> None:
        bench.broker.submit(order())
        bench.end(FRIDAY)
        for failure, arm in bench.failures.items():
            arm()
            with pytest.raises(DataMissing, match="holdings") as failed:
                pytest.fail(f"{failure}: {bench.broker.holdings()}")
            assert not any(secret in str(failed.value) for secret in bench.secrets), failure
            assert bench.broker.holdings() == {"2330": 1_000}, f"after {failure}"

    def test_no_secret_is_in_anything_that_is_said(self, bench: Bench) -> None:
        said = [
            str(bench.broker.submit(one))
            for one in (order(), order(Side.SELL), order(shares=400_000, limit=300_00, leg=2))
        ]
        said += [str(bench.broker.order_states([order()])), repr(bench.broker)]
        if isinstance(bench.broker, Cancels):
            said += [str(bench.broker.cancel(order()))]
        assert not any(secret in text for secret in bench.secrets for text in said)
