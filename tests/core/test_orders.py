"""Orders, fills and the states an order may pass through."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from builders import FRIDAY, order

from bot.core.orders import LATE_STATES, NEXT_STATES, OPEN_STATES, Fill, OrderState, Side, check_transition

S = OrderState


def test_the_key_names_session_stock_and_side_but_not_the_quantity() -> None:
    assert order(shares=1_000).key == order(shares=2_000).key == "forecast_edge:2025-01-02:2330:buy:1"
    keys = [order(Side.BUY), order(Side.SELL), order(leg=2), order(strategy="other"), order(symbol="2317"),
            order(decided=FRIDAY)]  # fmt: skip
    assert len({one.key for one in keys}) == len(keys)


@pytest.mark.parametrize("odd", [{"strategy": "a:b"}, {"strategy": ""}, {"leg": 0}])
def test_two_intents_can_never_share_a_key(odd: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no order of strategy"):
        order(**odd)


def test_signed_shares_are_negative_for_a_sale() -> None:
    assert (order(Side.BUY, 3_000).signed_shares, order(Side.SELL, 3_000).signed_shares) == (3_000, -3_000)


def fill(shares: int, price_x100: int, commission_twd: int, tax_twd: int) -> Fill:
    return Fill(
        key="k",
        symbol="2330",
        session=FRIDAY,
        shares=shares,
        price_x100=price_x100,
        commission_twd=commission_twd,
        tax_twd=tax_twd,
    )


def test_a_purchase_takes_value_and_commission_out_of_the_cash() -> None:
    assert fill(2_000, 585_00, 1_667, 0).cash_change_twd == -1_171_667


def test_a_sale_brings_value_less_commission_and_tax() -> None:
    assert fill(-2_000, 585_00, 1_667, 3_510).cash_change_twd == 1_164_823


def test_the_value_of_an_odd_lot_is_cut_to_whole_twd_both_ways() -> None:
    assert fill(37, 10_05, 20, 0).cash_change_twd == -391  # 371.85
    assert fill(-37, 10_05, 20, 1).cash_change_twd == 350


def test_an_order_goes_its_way_from_plan_to_fill() -> None:
    for before, after in itertools.pairwise([S.PLANNED, S.SENDING, S.ACCEPTED, S.FILLED]):
        check_transition(before, after)


def test_an_order_of_unknown_fate_can_never_be_sent_again() -> None:
    assert S.SENDING not in NEXT_STATES[S.UNKNOWN]
    assert not any(S.PLANNED in following for following in NEXT_STATES.values())


@pytest.mark.parametrize("ended", [S.REJECTED, S.FILLED, S.EXPIRED, S.CANCELLED])
def test_what_has_ended_stays_ended(ended: OrderState) -> None:
    assert ended not in OPEN_STATES
    for state in OrderState:
        with pytest.raises(ValueError, match=f"from {ended} to {state}"):
            check_transition(ended, state)


def test_only_a_correction_finds_that_the_dead_had_filled_and_nothing_is_ever_taken_back() -> None:
    check_transition(S.EXPIRED, S.FILLED, late=True)
    assert S.FILLED not in LATE_STATES
    assert not any(following & OPEN_STATES for following in LATE_STATES.values())
    with pytest.raises(ValueError, match="from filled to expired"):
        check_transition(S.FILLED, S.EXPIRED, late=True)


def test_every_state_is_known_and_can_be_reached() -> None:
    assert set(NEXT_STATES) == set(OrderState)
    assert {S.PLANNED}.union(*NEXT_STATES.values()) == set(OrderState)
