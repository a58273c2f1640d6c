"""Dates, prices and changes as TWSE and TPEx write them into their tables. Pure."""

from __future__ import annotations

from datetime import date
from typing import Final

from bot.core.market import from_x100, is_etf, tick_x100
from bot.ports import Company
from bot.sandbox.market import Quote

NO_TRADE: Final = "--"
ROC_OFFSET: Final = 1911  # year 1 of the Republic of China was 1912


def roc_date(session: date, separator: str = "/") -> str:
    """`session` by the calendar of the Republic of China: 114/01/02, or 1140102 with an empty `separator`."""
    return separator.join((str(session.year - ROC_OFFSET), f"{session:%m}", f"{session:%d}"))


def price_text(price_x100: int) -> str:
    """TWD with two decimals, `1,080.00`; `--` for 0, a session without a trade."""
    return f"{from_x100(price_x100):,.2f}" if price_x100 else NO_TRADE


def plain_price(price_x100: int) -> str:
    """TWD as the OpenAPIs write it, `1080.00`; empty for 0, a session without a trade."""
    return str(from_x100(price_x100)) if price_x100 else ""


def change_text(quote: Quote) -> str:
    """TWD since the close before: `+2.00`, `-1.50`, ` 0.00`, or `X0.00` on an ex-date, when nothing is compared."""
    if quote.ex:
        return "X0.00"
    return f"{from_x100(quote.change_x100):+,.2f}" if quote.change_x100 else " 0.00"


def last_bid_ask(company: Company, quote: Quote) -> tuple[str, str]:
    """The last bid and ask in TWD, as text: the close and a tick above it; `--` twice for a session without a trade."""
    ask_x100 = quote.close_x100 + tick_x100(quote.close_x100, is_etf(company.symbol)) if quote.traded else 0
    return price_text(quote.close_x100), price_text(ask_x100)
