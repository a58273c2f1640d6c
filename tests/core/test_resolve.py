"""What a person may say of an order, and what it does to the books."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import FRIDAY, RATES, order
from hypothesis import given
from hypothesis import strategies as st

from bot.core.explain import Resting
from bot.core.orders import Fill, OrderState, Side
from bot.core.resolve import filled, not_filled
from bot.core.settle import Fate
from bot.errors import Refused

S = OrderState


def doubtful(state: OrderState = S.UNKNOWN, shares: int = 2_000, side: Side = Side.BUY) -> Resting:
    return Resting(order=order(side, shares), state=state, session=FRIDAY)


def as_filled(one: Resting, **more: object) -> Fate:
    told = {"traded": FRIDAY, "reason": "seen on the platform", "left": True, **more}
    return filled(one, told.pop("traded"), told.pop("reason"), RATES, **told)


def test_all_of_it_at_its_limit() -> None:
    fate = as_filled(doubtful())
    # 200,000 x 0.1425 % = 285
    assert fate.fills == (
        Fill(key=fate.key, symbol="2330", session=FRIDAY, shares=2_000, price_x100=100_00, commission_twd=285,
             tax_twd=0),
    )  # fmt: skip
    assert (fate.state, fate.late, fate.note) == (S.FILLED, False, "seen on the platform")


def test_a_part_at_a_better_price_and_the_rest_is_dead() -> None:
    fate = as_filled(doubtful(side=Side.SELL), shares=1_000, price_x100=101_00)
    [fill] = fate.fills
    # 101,000: commission 143.9 -> 143, tax 303
    assert (fill.shares, fill.price_x100, fill.commission_twd, fill.tax_twd) == (-1_000, 101_00, 143, 303)
    assert fate.state is S.EXPIRED


@pytest.mark.parametrize("state", [S.EXPIRED, S.REJECTED])
def test_an_order_thought_dead_is_a_late_correction(state: OrderState) -> None:
    assert as_filled(doubtful(state)).late


@pytest.mark.parametrize(
    ("one", "words", "message"),
    [
        (doubtful(), {"shares": 3_000}, "3,000 shares can't have traded, 2,000 were left to"),
        (doubtful(), {"shares": 0}, "0 shares can't have traded"),
        (doubtful(), {"price_x100": 100_50}, "100.50 is no price for a buy limited to 100.00"),
        (doubtful(side=Side.SELL), {"price_x100": 99_50}, "99.50 is no price for a sell limited to 100.00"),
        (doubtful(), {"traded": None}, "isn't over"),
        (doubtful(), {"reason": " "}, "--reason"),
        (doubtful(S.CANCELLED), {"left": False}, "is cancelled, and it never left"),
        (doubtful(S.FILLED), {}, "is filled"),
        (doubtful(S.PLANNED), {"left": False}, "is planned, and it never left"),
        (doubtful(S.SENDING), {}, "is sending"),
    ],
)
def test_what_makes_no_sense_is_refused(one: Resting, words: dict[str, object], message: str) -> None:
    with pytest.raises(Refused, match=message):
        as_filled(one, **words)


def test_not_filled_is_expired_or_before_its_session_never_arrived() -> None:
    assert not_filled(doubtful(), FRIDAY, "not in the list").state is S.EXPIRED
    assert not_filled(doubtful(), None, "not in the list").state is S.REJECTED
    assert not_filled(doubtful(S.ACCEPTED), FRIDAY, "not in the list").state is S.EXPIRED
    with pytest.raises(Refused, match="may still fill"):
        not_filled(doubtful(S.ACCEPTED), None, "x")
    with pytest.raises(Refused, match="is expired: only"):
        not_filled(doubtful(S.EXPIRED), FRIDAY, "x")
    with pytest.raises(Refused, match="--reason"):
        not_filled(doubtful(), FRIDAY, "")


@given(st.sampled_from(list(OrderState)), st.integers(-5, 5_000), st.integers(0, 3), st.booleans())
def test_a_person_can_never_book_more_than_was_ordered(
    state: OrderState, shares: int, lots_known: int, session_over: bool
) -> None:
    parts = tuple(
        Fill(key=order().key, symbol="2330", session=FRIDAY, shares=1_000, price_x100=100_00, commission_twd=142,
             tax_twd=0, n=n)
        for n in range(1, lots_known + 1)
    )  # fmt: skip
    one = replace(doubtful(state, 3_000), fills=parts)
    try:
        fate = as_filled(one, shares=shares, traded=FRIDAY if session_over else None)
    except Refused:
        return
    assert session_over
    total = 1_000 * lots_known + sum(fill.shares for fill in fate.fills)
    assert total <= 3_000
    assert (total == 3_000) == (fate.state is S.FILLED)
    assert [fill.n for fill in fate.fills] == [lots_known + 1]
