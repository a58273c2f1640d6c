"""When an order trades, under each rule. A session that opened at 100, went up to 103 and down to 98."""

from __future__ import annotations

import pytest

from bot.core.fills import FILL_RULES, OPEN, RANGE, TOUCH, capped_shares, fill_price_x100, is_locked, slipped_range_x100

OPEN_X100, HIGH_X100, LOW_X100 = 100_00, 103_00, 98_00
BUY, SELL = True, False


def price(rule: int, limit_x100: int, *, buys: bool, locked: bool = False) -> int:
    return fill_price_x100(rule, buys, limit_x100, OPEN_X100, HIGH_X100, LOW_X100, locked)


@pytest.mark.parametrize(
    ("buys", "limit_x100", "paid_x100"),
    [
        (BUY, 101_00, 100_00),  # the opening price is better than the limit
        (BUY, 100_00, 100_00),
        (BUY, 99_50, 0),
        (SELL, 99_00, 100_00),
        (SELL, 100_00, 100_00),
        (SELL, 100_50, 0),
    ],
)
def test_open_trades_at_the_open_if_the_limit_allows_it(*, buys: bool, limit_x100: int, paid_x100: int) -> None:
    assert price(OPEN, limit_x100, buys=buys) == paid_x100


@pytest.mark.parametrize("buys", [BUY, SELL])
@pytest.mark.parametrize(
    ("limit_x100", "range_x100", "touch_x100"),
    [
        (97_90, 0, 0),
        (98_00, 0, 98_00),  # the low itself: somebody traded there, but perhaps not we
        (98_10, 98_10, 98_10),
        (102_90, 102_90, 102_90),
        (103_00, 0, 103_00),
        (103_50, 0, 0),  # a purchase above the high would have traded in the market; the API refuses it all the same
    ],
)
def test_range_wants_the_limit_strictly_inside_and_touch_does_not(
    *, buys: bool, limit_x100: int, range_x100: int, touch_x100: int
) -> None:
    assert price(RANGE, limit_x100, buys=buys) == range_x100
    assert price(TOUCH, limit_x100, buys=buys) == touch_x100


@pytest.mark.parametrize("buys", [BUY, SELL])
def test_in_a_locked_session_only_touch_trades(*, buys: bool) -> None:
    assert price(OPEN, 100_00, buys=buys, locked=True) == 0
    assert price(RANGE, 100_00, buys=buys, locked=True) == 0
    assert price(TOUCH, 100_00, buys=buys, locked=True) == 100_00


@pytest.mark.parametrize(
    ("buys", "high_x100", "low_x100", "locked"),
    [
        (BUY, 110_00, 110_00, True),  # at the upper limit all day: nobody sells
        (SELL, 110_00, 110_00, False),
        (SELL, 90_00, 90_00, True),
        (BUY, 90_00, 90_00, False),
        (BUY, 110_00, 109_50, False),  # it came off the limit
        (SELL, 90_50, 90_00, False),
        (BUY, 100_00, 100_00, False),  # one price all day, but none of the limits
        (SELL, 100_00, 100_00, False),
    ],
)
def test_locked_is_one_price_all_day_at_the_limit_against_us(
    *, buys: bool, high_x100: int, low_x100: int, locked: bool
) -> None:
    assert is_locked(buys, high_x100, low_x100, 110_00, 90_00) is locked


def test_the_config_names_all_rules() -> None:
    assert FILL_RULES == {"open": OPEN, "range": RANGE, "touch": TOUCH}


# --- slippage and the volume cap ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buys", "ticks", "seen"),
    [
        (BUY, 0, (100_00, 103_00, 98_00)),
        (BUY, 2, (101_00, 103_00, 98_20)),  # ticks of 0.5 from 100 up, of 0.1 below
        (BUY, 9, (103_00, 103_00, 98_90)),  # 104.50 was never traded
        (SELL, 2, (99_80, 102_00, 98_00)),
        (SELL, 30, (98_00, 97_60, 98_00)),  # six ticks of 0.5 down to 100, then 24 of 0.1; the open stops at the low
    ],
)
def test_slippage_moves_the_open_and_the_end_of_the_range_against_us(
    *, buys: bool, ticks: int, seen: tuple[int, int, int]
) -> None:
    assert slipped_range_x100(buys, OPEN_X100, HIGH_X100, LOW_X100, ticks, False) == seen


@pytest.mark.parametrize(
    ("shares", "volume", "share_bps", "lot", "filled"),
    [
        (9_000, 50_000, 0, 1_000, 9_000),  # no cap
        (9_000, 90_000, 1_000, 1_000, 9_000),
        (9_000, 89_999, 1_000, 1_000, 8_000),
        (-9_000, 45_999, 1_000, 1_000, -4_000),
        (9_000, 45_999, 1_000, 1, 4_599),
        (9_000, 9_000, 1_000, 1_000, 0),
        (700, 7_000, 1_000, 1_000, 700),  # an odd lot that fits is not cut
    ],
)
def test_a_fill_takes_its_share_of_the_volume_in_whole_lots(
    shares: int, volume: int, share_bps: int, lot: int, filled: int
) -> None:
    assert capped_shares(shares, volume, share_bps, lot) == filled
