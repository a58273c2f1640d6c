"""How an order is split for a broker that takes whole lots and odd lots apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.brokerage import Abilities
from bot.core.legs import leg_shares

APART = Abilities(lot_shares=1, odd_apart=True)
MIXED = Abilities(lot_shares=1)
LOTS = Abilities(lot_shares=1000)
LIMITED = Abilities(lot_shares=1, odd_apart=True, most_lots=499)


@pytest.mark.parametrize(
    ("shares", "abilities", "legs"),
    [
        (2_345, APART, (2_000, 345)), (999, APART, (999,)), (1_000, APART, (1_000,)), (1_001, APART, (1_000, 1)),
        (2_345, MIXED, (2_345,)), (3_000, LOTS, (3_000,)), (499_000, LIMITED, (499_000,)),
        (1_000_345, LIMITED, (499_000, 499_000, 2_000, 345)), (999, LIMITED, (999,)),
    ],
)  # fmt: skip
def test_whole_lots_and_the_odd_rest_are_two_orders_where_the_broker_wants_it(
    shares: int, abilities: Abilities, legs: tuple[int, ...]
) -> None:
    assert leg_shares(shares, abilities) == legs


@pytest.mark.parametrize(("shares", "abilities"), [(0, APART), (-5, MIXED), (999, LOTS), (1_500, LOTS)])
def test_what_the_broker_does_not_take_is_refused(shares: int, abilities: Abilities) -> None:
    with pytest.raises(ValueError, match="can't be ordered"):
        leg_shares(shares, abilities)


@given(st.integers(min_value=1, max_value=10**7), st.sampled_from([APART, LIMITED]))
def test_legs_lose_no_share_and_each_is_one_that_the_broker_takes(shares: int, abilities: Abilities) -> None:
    legs = leg_shares(shares, abilities)
    assert sum(legs) == shares
    assert all(0 < leg < 1_000 or leg % 1_000 == 0 for leg in legs)
    assert sum(leg < 1_000 for leg in legs) <= 1
    assert abilities is APART or max(legs) <= 499_000
