"""SinoPac's trading system in memory, behind the calls of its SDK that we use.

It takes the SDK's real contracts, orders and enums and raises the SDK's real errors. The SDK does not let anyone
but itself make a `Trade`, a `StockPosition` or an `AccountBalance`: those here are ours, and
adapters/test_shioaji_sdk.py holds their fields against the real classes. How it behaves follows SinoPac's ORDERS.md,
ACCOUNTING.md and ERROR_CODES.md: a refusal is a trade that failed, not an error; a reply may say `PendingSubmit`; a
time-out may come after the order is there; a deal may be told twice; cash moves two sessions later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from bot.adapters.shioaji_sdk import Session
from bot.core.costs import CostRates
from bot.core.market import LOT_SHARES
from bot.secrets import hide

os.environ.setdefault("SJ_LOG_PATH", os.devnull)  # or it writes a log into the working folder
sj = pytest.importorskip("shioaji", reason="SinoPac's SDK is not installed (pip install 'twtrader[shioaji]')")

TAG = re.compile(r"[0-9A-Za-z]{0,6}")  # what `custom_field` may hold
LATE = sj.ShioajiTimeoutError("Timeout Topic: api/v1/order/place_order, Corr: 7, Timeout: 15000ms")


@dataclass(frozen=True)
class Deal:
    seq: str
    price: float
    quantity: int
    ts: float


@dataclass(frozen=True)
class OrderResult:
    id: str
    action: Any
    price: float
    quantity: int
    custom_field: str | None
    order_lot: Any
    account: Any


@dataclass(frozen=True)
class OrderStatusInfo:
    status: Any
    msg: str | None = ""
    deal_quantity: int | None = 0
    deals: Sequence[Deal] = ()


@dataclass(frozen=True)
class Trade:
    contract: Any
    order: OrderResult
    status: OrderStatusInfo

    @property
    def unit(self) -> int:
        return LOT_SHARES if self.order.order_lot == sj.StockOrderLot.Common else 1

    @property
    def shares(self) -> int:
        """Signed: a sale is negative."""
        shares = self.order.quantity * self.unit
        return shares if self.order.action == sj.Action.Buy else -shares

    def now(self, **status: Any) -> Trade:
        return replace(self, status=replace(self.status, **status))


@dataclass(frozen=True)
class StockPosition:
    code: str
    direction: Any
    quantity: int


@dataclass(frozen=True)
class AccountBalance:
    acc_balance: float
    errmsg: str = ""


@dataclass(frozen=True)
class SettlementV1:
    date: date
    amount: float
    T: int


@dataclass
class SinoPac:
    """One account. `reply` bends the answer to the next order: it gets the trade as it is in the book."""

    bank_twd: int
    rates: CostRates
    trades: dict[str, Trade] = field(default_factory=dict)
    listed: list[Trade] = field(default_factory=list)  # the client's cache: what `update_status` fetched last
    shares: dict[str, int] = field(default_factory=dict)
    pending_twd: list[int] = field(default_factory=lambda: [0, 0, 0])  # to settle on T, T+1, T+2
    reply: Callable[[Trade], Any] | None = None
    failing: dict[str, Exception] = field(default_factory=dict)  # by call, once
    odd: dict[str, Any] = field(default_factory=dict)  # by call, an answer of an odd shape
    sent: list[str] = field(default_factory=list)
    logins: int = 0

    account = sj.Account(sj.AccountType.Stock, "A123456789", "9A95", "1234567", True, "somebody")

    def session(self) -> Session:
        self.logins += 1
        for one in (self.account.person_id, self.account.account_id):
            hide(one)
        return Session(module=sj, api=self, account=self.account)

    def _call(self, name: str, answer: Any) -> Any:
        if name in self.failing:
            raise self.failing.pop(name)
        return self.odd.pop(name, answer)

    # --- the SDK's calls ----------------------------------------------------------------------------------

    def place_order(self, contract: Any, order: Any, timeout: int) -> Any:
        assert isinstance(contract, sj.BaseContract)
        assert isinstance(order, sj.StockOrder)
        assert timeout > 0
        self.sent.append(order.custom_field)
        self._call("place_order", None)
        if not TAG.fullmatch(order.custom_field or ""):
            raise sj.ValidationError("StatusCode: 422, Detail: custom_field")
        trade = Trade(
            contract=contract,
            order=OrderResult(
                id=f"{len(self.trades) + 1:08x}", action=order.action, price=order.price, quantity=order.quantity,
                custom_field=order.custom_field, order_lot=order.order_lot, account=order.account,
            ),
            status=OrderStatusInfo(status=sj.OrderStatus.PreSubmitted),
        )  # fmt: skip
        refusal = self._refusal(trade)
        if refusal:
            trade = trade.now(status=sj.OrderStatus.Failed, msg=refusal)
        self.trades[trade.order.id] = trade
        bend, self.reply = self.reply, None
        return bend(trade) if bend else trade

    def cancel_order(self, trade: Trade, timeout: int) -> Trade:
        self._call("cancel_order", None)
        here = self.trades[trade.order.id]
        if here.status.status not in (sj.OrderStatus.PreSubmitted, sj.OrderStatus.Submitted, sj.OrderStatus.PartFilled):
            raise sj.BadRequestError("StatusCode: 400, Detail: 無法刪單/改量")
        self.trades[trade.order.id] = here.now(status=sj.OrderStatus.Cancelled)
        return here  # as it was: the reply is not the final state

    def update_status(self, account: Any, *, timeout: int) -> None:
        assert account == self.account
        self._call("update_status", None)
        self.listed = list(self.trades.values())

    def list_trades(self) -> Any:
        return self._call("list_trades", self.listed)

    def list_positions(self, account: Any, unit: Any, timeout: int) -> Any:
        assert account == self.account
        assert unit == sj.Unit.Share
        held = [StockPosition(code, sj.Action.Buy, shares) for code, shares in self.shares.items() if shares]
        return self._call("list_positions", held)

    def account_balance(self, account: Any, timeout: int) -> Any:
        return self._call("account_balance", AccountBalance(float(self.bank_twd)))

    def settlements(self, account: Any, timeout: int) -> Any:
        days = [date(2025, 1, 3), date(2025, 1, 6), date(2025, 1, 7)]
        rows = [
            SettlementV1(day, float(twd), t) for t, (day, twd) in enumerate(zip(days, self.pending_twd, strict=True))
        ]
        return self._call("settlements", rows)

    def logout(self) -> None:
        self._call("logout", None)

    # --- the market ---------------------------------------------------------------------------------------

    def trade_session(self, low: float, high: float, parts: int = 1, *, stop_after: int | None = None) -> None:
        """A session in which every stock trades in low..high; an order within fills at its price, in `parts` deals.

        `stop_after` deals the session ends, and what is left of an order is cancelled with it.
        """
        self.bank_twd += self.pending_twd[1]
        self.pending_twd = [self.pending_twd[1], self.pending_twd[2], 0]
        for order_id, trade in self.trades.items():
            if trade.status.status not in (sj.OrderStatus.PreSubmitted, sj.OrderStatus.Submitted):
                continue
            if low <= trade.order.price <= high:
                self.trades[order_id] = self._filled(trade, parts, stop_after)
            else:
                self.trades[order_id] = trade.now(status=sj.OrderStatus.Cancelled)

    def _filled(self, trade: Trade, parts: int, stop_after: int | None) -> Trade:
        parts = min(parts, trade.order.quantity)
        size, rest = divmod(trade.order.quantity, parts)
        sizes = [size + (number < rest) for number in range(parts)]
        deals = [
            Deal(f"{n:06d}", trade.order.price, one, 1_735_866_000.0 + n) for n, one in enumerate(sizes[:stop_after], 1)
        ]
        done = sum(deal.quantity for deal in deals)
        shares = done * trade.unit * (1 if trade.shares > 0 else -1)
        code = trade.contract.code
        self.shares[code] = self.shares.get(code, 0) + shares
        price_x100 = round(trade.order.price * 100)
        value = price_x100 * abs(shares) // 100
        fees = self.rates.commission_of(price_x100, shares) + self.rates.tax_of(code, price_x100, shares)
        self.pending_twd[2] += (-value if shares > 0 else value) - fees
        whole = done == trade.order.quantity
        status = sj.OrderStatus.Filled if whole else sj.OrderStatus.Cancelled
        return trade.now(status=status, deals=deals, deal_quantity=done)

    def _refusal(self, trade: Trade) -> str:
        if trade.shares < 0 and -trade.shares > self._free_shares(trade.contract.code):
            return "集保賣出餘股數不足，餘股數 0 股"
        cost = round(trade.order.price * 100) * trade.shares // 100
        return "圈存失敗,餘額不足" if cost > self.bank_twd + sum(self.pending_twd[1:]) else ""

    def _free_shares(self, code: str) -> int:
        """What is held and not on sale already: the same share can't be sold by two orders."""
        open_orders = (sj.OrderStatus.PreSubmitted, sj.OrderStatus.Submitted)
        alive = [
            one.shares for one in self.trades.values() if one.contract.code == code and one.status.status in open_orders
        ]
        return self.shares.get(code, 0) + sum(shares for shares in alive if shares < 0)


def odd_answers() -> list[Any]:
    """What no SDK call of ours should ever answer."""
    row = SimpleNamespace
    return [
        None, {}, "", 7, [None], [row()],
        [row(code="2330", direction=sj.Action.Buy, quantity=True)],
        [row(code="2330", direction=sj.Action.Buy, quantity=1.0)],
        [row(code="2330", direction=sj.Action.Buy, quantity=-1)],
        [row(code="2330", direction=sj.Action.Buy, quantity=10**12)],
        [row(code="", direction=sj.Action.Buy, quantity=1)],
        [row(code=2330, direction=sj.Action.Buy, quantity=1)],
        [row(code="2330", direction=sj.Action.Sell, quantity=1)],
        [row(code="2330", direction=None, quantity=1)],
    ]  # fmt: skip
