"""What a trade costs. Expected TWD are worked out by hand from the rates, cut to whole TWD."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.costs import CostRates, commission_twd, part_twd


def rates(discount: str = "1", *, minimum_twd: int = 20, commission: str = "0.001425") -> CostRates:
    return CostRates(
        commission=Decimal(commission),
        discount=Decimal(discount),
        minimum_twd=minimum_twd,
        stock_tax=Decimal("0.003"),
        etf_tax=Decimal("0.001"),
    )


@pytest.mark.parametrize(
    ("price_x100", "shares", "fee_twd"),
    [
        (1000_00, 1_000, 1_425),  # 1,000,000 x 0.001425
        (64_20, 1_000, 91),  # 91.485
        (1080_00, 3_000, 4_617),  # 3,240,000 x 0.001425 = 4,617 exactly
        (14_75, 1_000, 21),  # 21.018: just above the minimum
        (14_05, 1_000, 20),  # 20.02
        (10_05, 1_000, 20),  # 14.32: the minimum
        (1000_00, 1, 20),  # 1.425: an odd lot
    ],
)
def test_commission_is_cut_to_whole_twd_and_at_least_the_minimum(price_x100: int, shares: int, fee_twd: int) -> None:
    assert rates().commission_of(price_x100, shares) == fee_twd
    assert rates().commission_of(price_x100, -shares) == fee_twd


@pytest.mark.parametrize(
    ("discount", "fee_twd"),
    [("0.6", 855), ("0.28", 399), ("0.65", 926), ("0", 20)],  # 855; 399; 926.25; nothing, so the minimum
)
def test_the_broker_bills_a_discounted_rate(discount: str, fee_twd: int) -> None:
    assert rates(discount).commission_of(1000_00, 1_000) == fee_twd


def test_the_minimum_stands_after_the_discount() -> None:
    assert rates("0.28").commission_of(64_20, 1_000) == 25  # 25.6158
    assert rates("0.2").commission_of(64_20, 1_000) == 20  # 18.297
    assert rates("0.2", minimum_twd=1).commission_of(64_20, 1_000) == 18


@pytest.mark.parametrize(
    ("symbol", "price_x100", "shares", "tax_twd"),
    [
        ("2330", 1000_00, -1_000, 3_000),
        ("2330", 64_20, -1_000, 192),  # 192.6
        ("2330", 1000_00, 1_000, 0),  # a purchase
        ("0050", 180_95, -1_000, 180),  # 180.95 x 1000 x 0.001 = 180.95
        ("00679B", 27_00, -1_000, 27),
        ("2330", 10_00, -1, 0),  # 0.03
    ],
)
def test_sales_tax_is_taken_on_the_way_out_only(symbol: str, price_x100: int, shares: int, tax_twd: int) -> None:
    assert rates().tax_of(symbol, price_x100, shares) == tax_twd


def test_rates_are_exact_in_hundred_millionths() -> None:
    assert rates().commission_e8 == 142_500
    assert rates("0.65").commission_e8 == 92_625
    assert (rates().tax_e8("2330"), rates().tax_e8("0050")) == (300_000, 100_000)


@settings(deadline=None)
@given(price_x100=st.integers(1, 10_000_00), shares=st.integers(1, 10**9), rate_e8=st.integers(0, 10**7))
def test_a_part_is_the_exact_share_cut_down(price_x100: int, shares: int, rate_e8: int) -> None:
    exact = Decimal(price_x100) * shares * rate_e8 / 10**10
    assert part_twd(price_x100, shares, rate_e8) <= exact < part_twd(price_x100, shares, rate_e8) + 1
    assert commission_twd(price_x100, shares, rate_e8, 20) >= 20


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"commission": "0.2"}, "commission"),
        ({"commission": "-0.001"}, "commission"),
        ({"discount": "1.01"}, "discount"),
        ({"discount": "-0.1"}, "discount"),
        ({"minimum_twd": -1}, "minimum_twd"),
    ],
)
def test_rates_that_no_broker_has_are_refused_by_name(changes: dict[str, str | int], name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}`"):
        rates(**changes)  # type: ignore[arg-type]
