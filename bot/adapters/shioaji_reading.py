"""SinoPac's answers turned into our types at the door, or refused. Pure: it only looks at what it is given.

Sources: shioaji 1.7.9 `_core.pyi`; Sinotrade/Shioaji, plugins/shioaji/skills/shioaji/references/ORDERS.md (states,
odd lots, the six characters of `custom_field`), ACCOUNTING.md, ERROR_CODES.md (texts that leave an order in doubt),
issue 216 (a trade of yesterday comes back as `PendingSubmit`), issue 218 (the simulation's list forgets orders).
"""

from __future__ import annotations

import hashlib
import math
import string
from decimal import Decimal
from typing import Any, Final

from bot.adapters.shioaji_sdk import TradeSeen
from bot.core.brokerage import Deal, Report
from bot.core.market import LOT_SHARES, MOST_LOTS
from bot.core.orders import Order, OrderState, Side
from bot.errors import DataMissing

TAG_LENGTH: Final = 6  # `custom_field` holds six letters or digits
_DIGITS: Final = string.digits + string.ascii_letters
COMMON: Final = "Common"
ODD_LOTS: Final = frozenset({"Odd", "IntradayOdd"})
MOST_SHARES: Final = 10**11  # the largest company of the exchange has 26 billion shares

# A trade that "failed" with one of these may exist all the same: "being processed", "please confirm", "timed out",
# "busy, ask again later". Source: ERROR_CODES.md, 3.1
DOUBTFUL_TEXTS: Final = ("處理中", "請再確認", "逾時", "忙線")
# A trade that failed with one of these was not taken because of the hour. Same source.
CLOSED_TEXTS: Final = ("非委託時間", "非預約下單時間", "非交易時間")

_STATES: Final = {
    "PreSubmitted": OrderState.ACCEPTED,  # kept until 08:30 of the next session
    "Submitted": OrderState.ACCEPTED,
    "PartFilled": OrderState.ACCEPTED,
    "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED,
    "Failed": OrderState.REJECTED,
}


def tag_of(key: str) -> str:
    """Six letters and digits that stand for an order's key in SinoPac's list: one of 56,800,235,584."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")
    tag = ""
    for _ in range(TAG_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        tag += _DIGITS[digit]
    return tag


def lot_of(shares: int, odd_lot: str) -> tuple[str, int]:
    """The kind of lot and the quantity in its unit: lots of whole ones, shares of an odd one.

    Raises:
        ValueError: `shares` are none, a mixture or too many, which is several orders (a bug: see `bot.core.legs`).
    """
    if 0 < shares <= MOST_LOTS * LOT_SHARES and shares % LOT_SHARES == 0:
        return COMMON, shares // LOT_SHARES
    if 0 < shares < LOT_SHARES:
        return odd_lot, shares
    raise ValueError(f"{shares} shares are neither up to {MOST_LOTS} whole lots nor an odd lot")


def is_ours(trade: TradeSeen, order: Order) -> bool:
    """Whether a listed trade with the order's tag is the order: same stock, side and shares."""
    side = {"Buy": Side.BUY, "Sell": Side.SELL}.get(text_of(trade.order.action))
    return (str(trade.contract.code), side, shares_asked(trade)) == (order.symbol, order.side, order.shares)


def shares_asked(trade: TradeSeen) -> int:
    """The shares that a listed trade asks for; 0 where its quantity can't be one."""
    quantity = trade.order.quantity
    return quantity * unit_of(trade) if _is_count(quantity) else 0


def unit_of(trade: TradeSeen) -> int:
    """Shares in one of the trade's units."""
    return 1 if text_of(trade.order.order_lot) in ODD_LOTS else LOT_SHARES


def report_of(trade: TradeSeen, order: Order, *, over: bool = False) -> Report:
    """What the list says of `order`; unknown where it isn't sure or disagrees with itself.

    `over`: the session that the order could trade in is. Ours are good for one day, whatever the list still shows.
    """
    order_id, said, note = str(trade.order.id), text_of(trade.status.status), str(trade.status.msg or "")
    try:
        deals = deals_of(trade, order)
    except DataMissing as odd:
        return Report(order_id=order_id, state=OrderState.UNKNOWN, note=str(odd))
    state = _STATES.get(said, OrderState.UNKNOWN)
    if state is OrderState.REJECTED and is_doubtful(note):
        state = OrderState.UNKNOWN
    filled = sum(deal.shares for deal in deals)
    if (state is OrderState.FILLED) != (filled == order.shares) or (state is OrderState.REJECTED and filled):
        note = f"the list says {said} with {filled:,} of {order.shares:,} shares; {note}"
        state = OrderState.UNKNOWN
    if over and state is OrderState.ACCEPTED:
        state = OrderState.UNKNOWN if said == "PreSubmitted" else OrderState.EXPIRED
    return Report(order_id=order_id, state=state, deals=deals, note=f"{said} {note}".strip())


def deals_of(trade: TradeSeen, order: Order) -> tuple[Deal, ...]:
    """The deals of a trade in shares; the same deal told twice is one.

    Raises:
        DataMissing: a deal can't be one, or they are more than the order, or not what the list adds them up to.
    """
    unit, told = unit_of(trade), {}
    for number, one in enumerate(trade.status.deals or ()):
        if not _is_count(one.quantity):
            raise DataMissing(f"{order.key}: a deal of {one.quantity!r}")
        deal = Deal(shares=one.quantity * unit, price_x100=price_x100_of(one.price, order.key))
        told[(str(one.seq), one.ts, deal) if one.seq else number] = deal
    deals = tuple(told.values())
    filled = sum(deal.shares for deal in deals)
    added_up = trade.status.deal_quantity
    if filled > order.shares or (added_up is not None and added_up * unit != filled):
        raise DataMissing(f"{order.key}: deals of {filled:,} shares, {added_up!r} by the list's own count")
    return deals


def is_doubtful(message: str) -> bool:
    """Whether a refusal leaves open if the order exists."""
    return any(text in message for text in DOUBTFUL_TEXTS)


def price_x100_of(price: Any, where: str) -> int:
    """A float in TWD as whole hundredths.

    Raises:
        DataMissing: it is no price, or finer than a hundredth.
    """
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price) or price <= 0:
        raise DataMissing(f"{where}: a price of {price!r}")
    price_x100 = Decimal(str(price)) * 100
    if price_x100 != int(price_x100):
        raise DataMissing(f"{where}: a price of {price!r}, finer than 0.01 TWD")
    return int(price_x100)


def rows_of(answer: Any, what: str) -> list[Any]:
    """The rows of an answer that must be a list: nothing at all is not the same as no rows.

    Raises:
        DataMissing: it is something else.
    """
    if not isinstance(answer, list):
        raise DataMissing(f"{what}: {type(answer).__name__} in place of a list")
    return answer


def book_of(positions: Any) -> dict[str, int]:
    """Shares held by symbol from positions read in shares; several rows of one stock add up.

    Raises:
        DataMissing: a row can't be one, or is a short sale: this account is not ours alone to trade.
    """
    book: dict[str, int] = {}
    for row in rows_of(positions, "holdings"):
        code, shares, direction = row.code, row.quantity, text_of(row.direction)
        if not isinstance(code, str) or not code.strip() or not _is_count(shares, least=0):
            raise DataMissing(f"holdings: {shares!r} shares of {code!r}")
        if direction != "Buy":
            raise DataMissing(f"holdings: {code} is held {direction}, and twtrader trades no short sales")
        book[code] = book.get(code, 0) + shares
    return {code: shares for code, shares in book.items() if shares}


def cash_of(balance: Any, settlements: Any) -> int:
    """Whole TWD with every trade counted: the bank account, and what T+1 and T+2 will still bring (-: cost).

    Today's own settlement (T) has reached the bank account by the time that a session is settled here.

    Raises:
        DataMissing: the bank's answer is an error, or a row can't be one.
    """
    if balance.errmsg:
        raise DataMissing(f"cash: {balance.errmsg}")
    days = [row.T for row in rows_of(settlements, "cash")]
    if sorted(map(repr, days)) != ["0", "1", "2"]:
        raise DataMissing(f"cash: settlements of the days {days!r}, not T, T+1 and T+2")
    pending = sum(_whole_twd(row.amount, f"settlement of {row.date}") for row in settlements if row.T)
    return _whole_twd(balance.acc_balance, "balance") + pending


def text_of(enum: Any) -> str:
    """The text of one of the SDK's enums; of anything else, that as text."""
    return str(getattr(enum, "value", enum))


def _whole_twd(amount: Any, what: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount):
        raise DataMissing(f"cash: a {what} of {amount!r}")
    if amount != int(amount):
        raise DataMissing(f"cash: a {what} of {amount!r}, no whole TWD")
    return int(amount)


def _is_count(value: Any, *, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST_SHARES
