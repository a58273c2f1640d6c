"""Cash dividends in whole TWD, against hand-computed amounts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.core.dividends import dividend_twd, per_share_e8


@pytest.mark.parametrize(
    ("per_share", "shares", "paid_twd"),
    [
        ("4.5", 1_000, 4_500),
        ("4.50002133", 1_000, 4_500),  # 4500.02133
        ("0.39999999", 2_500, 999),  # 999.999975
        ("5", 0, 0),
    ],
)
def test_a_dividend_is_cut_to_whole_twd(per_share: str, shares: int, paid_twd: int) -> None:
    assert dividend_twd(shares, per_share_e8(Decimal(per_share))) == paid_twd


@pytest.mark.parametrize("odd", ["-1", "NaN", "Infinity", "0.123456789"])
def test_what_is_no_dividend_is_refused(odd: str) -> None:
    with pytest.raises(ValueError, match="no dividend"):
        per_share_e8(Decimal(odd))
