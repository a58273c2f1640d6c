"""The stock API's book as a pure state machine: a reservation is taken or refused, then fills or dies at 15:30."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from bot.core.costs import CostRates
from bot.core.fills import TOUCH, fill_price_x100
from bot.core.market import LOT_SHARES, ceil_to_tick_x100, floor_to_tick_x100, is_etf
from bot.core.orders import Fill, OrderState, Side
from bot.core.portfolio import Portfolio, apply_fill
from bot.sandbox.market import Quote
from bot.sandbox.settings import TAIPEI

# The order window and the settlement. Source: api/STOCK_API.md, "Orders"
OPENS_AT: Final = time(16, 0)
CLOSES_AT: Final = time(13, 0)
SETTLES_AT: Final = time(15, 30, tzinfo=TAIPEI)

WINDOW_CLOSED: Final = "當前非交易許可時間"  # the platform's own words, seen in replies
ACCEPTED: Final = "預約成功"
NO_CASH: Final = "可用餘額不足"
NO_SHARES: Final = "庫存股數不足"
_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An order as it is sent: whole lots, `price` in TWD per share as the client wrote it, on a tick or not."""

    symbol: str
    side: Side
    lots: int
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A wish the platform answered. `limit_x100` is on the tick; `state` is accepted, rejected, filled or expired."""

    number: int
    symbol: str
    side: Side
    shares: int
    limit_x100: int
    placed_at: datetime
    state: OrderState
    reply: str
    settled: date | None = None
    fill: Fill | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Cash, positions and every reservation ever sent, oldest first."""

    portfolio: Portfolio
    orders: tuple[Reservation, ...] = ()
    dividends_twd: int = 0  # of `portfolio.cash_twd`, what came as dividends

    @property
    def waiting(self) -> tuple[Reservation, ...]:
        """Reservations for the next settlement."""
        return tuple(order for order in self.orders if order.state is OrderState.ACCEPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How a position came about: its mean price without costs, TWD per share, and the settlement that opened it."""

    price: Decimal
    filled_at: datetime


def window_is_open(now: datetime) -> bool:
    """Whether orders are taken: 16:00 to 13:00 of the next day, on every day of the week."""
    return now.time() >= OPENS_AT or now.time() < CLOSES_AT


def settlement_of(session: date) -> datetime:
    """The moment at which `session` is settled."""
    return datetime.combine(session, SETTLES_AT)


def tick_price_x100(wish: Wish) -> int:
    """The wish's price on the tick, as the platform rounds it: a buy down, a sell up."""
    etf = is_etf(wish.symbol)
    if wish.side is Side.BUY:
        return floor_to_tick_x100(_cents(wish.price, ROUND_FLOOR), etf)
    return ceil_to_tick_x100(_cents(wish.price, ROUND_CEILING), etf)


def reserve(account: Account, wish: Wish, now: datetime, rates: CostRates) -> Account:
    """The account with one more order: accepted, with its cash or shares set aside, or rejected with the reason.

    Raises:
        ValueError: lots or price are not positive.
    """
    if wish.lots <= 0 or wish.price <= 0:
        raise ValueError(f"{wish.symbol}: {wish.lots} lots at {wish.price}")
    asked = Reservation(
        number=len(account.orders) + 1,
        symbol=wish.symbol,
        side=wish.side,
        shares=wish.lots * LOT_SHARES,
        limit_x100=tick_price_x100(wish),
        placed_at=now,
        state=OrderState.ACCEPTED,
        reply=ACCEPTED,
    )
    reason = _refusal(account, asked, now, rates)
    if reason:
        asked = replace(asked, state=OrderState.REJECTED, reply=reason)
    return replace(account, orders=(*account.orders, asked))


def available_twd(account: Account, rates: CostRates) -> int:
    """Cash that no waiting purchase has set aside."""
    return account.portfolio.cash_twd + sum(
        _fill_of(order, order.placed_at.date(), order.limit_x100, rates).cash_change_twd
        for order in account.waiting
        if order.side is Side.BUY
    )


def settle(account: Account, session: date, quotes: Mapping[str, Quote], rates: CostRates) -> Account:
    """The account after `session`: each waiting order filled whole at its price if the range touched it, else dead.

    `quotes` holds the stocks that have a row in `session`. Orders settle as they came in.
    """
    portfolio, orders = account.portfolio, []
    for order in account.orders:
        settled = order
        if order.state is OrderState.ACCEPTED:
            settled = _settled(order, session, quotes.get(order.symbol), rates)
            if settled.fill:
                portfolio = apply_fill(portfolio, settled.fill)
        orders.append(settled)
    return replace(account, portfolio=portfolio, orders=tuple(orders))


def pay(account: Account, per_share_x100: Mapping[str, int]) -> Account:
    """The account after cash dividends on the shares held (hundredths of a TWD a share, by symbol), in whole TWD."""
    paid_twd = sum(account.portfolio.shares_of(symbol) * x100 // 100 for symbol, x100 in per_share_x100.items())
    portfolio = replace(account.portfolio, cash_twd=account.portfolio.cash_twd + paid_twd)
    return replace(account, portfolio=portfolio, dividends_twd=account.dividends_twd + paid_twd)


def opening_of(account: Account, symbol: str) -> Opening:
    """What the purchases of the shares held cost in the mean.

    Raises:
        KeyError: none are held.
    """
    shares, paid_x100 = 0, 0
    filled_at: datetime | None = None
    for order in account.orders:
        if order.symbol != symbol or order.fill is None:
            continue
        if order.fill.shares > 0:
            filled_at = filled_at if shares else settlement_of(order.fill.session)
            shares, paid_x100 = shares + order.fill.shares, paid_x100 + order.fill.shares * order.fill.price_x100
        else:
            left = shares + order.fill.shares
            shares, paid_x100 = left, paid_x100 * left // shares
    if not shares or filled_at is None:
        raise KeyError(symbol)
    return Opening(price=Decimal(paid_x100) / shares / 100, filled_at=filled_at)


def _cents(price: Decimal, rounding: str) -> int:
    """`price` in whole hundredths of a TWD."""
    return int(price.quantize(_CENT, rounding) * 100)


def _refusal(account: Account, asked: Reservation, now: datetime, rates: CostRates) -> str:
    """Why the platform won't take `asked`; empty when it does."""
    if not window_is_open(now):
        return WINDOW_CLOSED
    if asked.side is Side.BUY:
        cost_twd = -_fill_of(asked, now.date(), asked.limit_x100, rates).cash_change_twd
        return NO_CASH if cost_twd > available_twd(account, rates) else ""
    promised = sum(o.shares for o in account.waiting if o.symbol == asked.symbol and o.side is Side.SELL)
    return NO_SHARES if asked.shares > account.portfolio.shares_of(asked.symbol) - promised else ""


def _settled(order: Reservation, session: date, quote: Quote | None, rates: CostRates) -> Reservation:
    """`order` after the settlement of `session`; a stock that did not trade fills nothing."""
    price_x100 = 0
    if quote is not None and quote.traded:
        price_x100 = fill_price_x100(
            TOUCH,
            order.side is Side.BUY,
            order.limit_x100,
            quote.open_x100,
            quote.high_x100,
            quote.low_x100,
            locked=False,  # `touch` does not ask
        )
    if not price_x100:
        return replace(order, state=OrderState.EXPIRED, settled=session)
    return replace(order, state=OrderState.FILLED, settled=session, fill=_fill_of(order, session, price_x100, rates))


def _fill_of(order: Reservation, session: date, price_x100: int, rates: CostRates) -> Fill:
    """What `order` would do to the book at `price_x100`."""
    shares = order.shares if order.side is Side.BUY else -order.shares
    return Fill(
        key=str(order.number),
        symbol=order.symbol,
        session=session,
        shares=shares,
        price_x100=price_x100,
        commission_twd=rates.commission_of(price_x100, shares),
        tax_twd=rates.tax_of(order.symbol, price_x100, shares),
    )
