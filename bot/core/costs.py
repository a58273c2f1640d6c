"""What a trade costs in Taiwan: commission each side, sales tax on the way out. Whole TWD, as brokers bill it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from bot.core.market import is_etf

E8: Final = 10**8
STOCK_SALES_TAX_E8: Final = 300_000  # 0.3 %. Source: Securities Transaction Tax Act, art. 2
ETF_SALES_TAX_E8: Final = 100_000  # 0.1 %. Source: the same act, beneficiary certificates


def part_twd(price_x100: int, shares: int, rate_e8: int) -> int:
    """`rate_e8` hundred-millionths of the trade's value, cut to whole TWD; split so that it fits 64 bits."""
    value_x100 = price_x100 * shares
    return value_x100 // 10_000_000_000 * rate_e8 + value_x100 % 10_000_000_000 * rate_e8 // 10_000_000_000


def commission_twd(price_x100: int, shares: int, rate_e8: int, minimum_twd: int) -> int:
    """The broker's commission on a trade of `shares` > 0, at least `minimum_twd`."""
    return max(minimum_twd, part_twd(price_x100, shares, rate_e8))


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRates:
    """What the broker and the state take. Fractions: 0.001425 is 0.1425 %.

    `discount` multiplies the commission rate: 0.6 means the broker bills 60 % of it.
    """

    commission: Decimal
    discount: Decimal
    minimum_twd: int
    stock_tax: Decimal
    etf_tax: Decimal

    def __post_init__(self) -> None:
        """Refuse rates that no broker has.

        Raises:
            ValueError: a rate is outside 0..0.1, the discount outside 0..1, or the minimum negative.
        """
        for name in ("commission", "stock_tax", "etf_tax"):
            if not 0 <= getattr(self, name) <= Decimal("0.1"):
                raise ValueError(f"`{name}` must be between 0 and 0.1")
        if not 0 <= self.discount <= 1:
            raise ValueError("`discount` must be between 0 and 1")
        if self.minimum_twd < 0:
            raise ValueError("`minimum_twd` must not be negative")

    @property
    def commission_e8(self) -> int:
        """The commission rate after the discount, in hundred-millionths."""
        return int(self.commission * self.discount * E8)

    def tax_e8(self, symbol: str) -> int:
        """The sales tax of `symbol`, in hundred-millionths."""
        return int((self.etf_tax if is_etf(symbol) else self.stock_tax) * E8)

    def commission_of(self, price_x100: int, shares: int) -> int:
        """Commission in TWD on a trade; `shares` may be negative for a sale."""
        return commission_twd(price_x100, abs(shares), self.commission_e8, self.minimum_twd)

    def tax_of(self, symbol: str, price_x100: int, shares: int) -> int:
        """Sales tax in TWD; nothing on a purchase (`shares` > 0)."""
        return 0 if shares >= 0 else part_twd(price_x100, -shares, self.tax_e8(symbol))
