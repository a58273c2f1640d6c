"""The embedded broker: fills resting orders against the session's bars under a named rule. Its book is in SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_open import writing
from bot.config import FillRule
from bot.core.brokerage import Abilities, Deal, Report
from bot.core.costs import CostRates
from bot.core.fills import FILL_RULES, fill_price_x100, is_locked
from bot.core.market import Bar, is_etf, limit_down_x100, limit_pct, limit_up_x100, to_x100
from bot.core.orders import Fill, Order, OrderState, Side
from bot.ports import Receipt


class PaperBroker:
    """Takes every affordable order once, fills it in the next session or drops it. Its book outlives the daemon."""

    abilities: Final = Abilities(lot_shares=1, takes_once=True, lists_orders=True, tells_cash=True, tells_fills=True)

    def __init__(self, db: Any, start_cash_twd: int, fill_rule: FillRule, costs: CostRates) -> None:
        """`db` comes from `open_database`."""
        self.db = db
        self.start_cash_twd = start_cash_twd
        self.rule = FILL_RULES[fill_rule]
        self.costs = costs

    def submit(self, order: Order) -> Receipt:
        """Take the order to rest; the same key twice is one order."""
        if list(self.db.query("select 1 from paper_orders where key = ?", [order.key])):
            return Receipt(state=OrderState.ACCEPTED, reply="known already")
        refusal = self._refusal(order)
        if refusal:
            return Receipt(state=OrderState.REJECTED, reply=refusal)
        self.db["paper_orders"].insert(
            {"key": order.key, "symbol": order.symbol, "decided": order.decided.isoformat(),
             "side": str(order.side), "shares": order.shares, "limit_x100": order.limit_x100,
             "state": "resting", "session": None, "price_x100": None}
        )  # fmt: skip
        return Receipt(state=OrderState.ACCEPTED, reply="resting")

    def end_session(self, session: date, bars: Mapping[str, Bar]) -> None:
        """Fill or drop every order that rested for `session`; a second time finds none."""
        rows = list(
            self.db.query("select * from paper_orders where state = 'resting' and decided < ?", [session.isoformat()])
        )
        with writing(self.db):
            for row in rows:
                price_x100 = self._price_x100(row, bars.get(row["symbol"]))
                state = "filled" if price_x100 else "expired"
                self.db["paper_orders"].update(
                    row["key"], {"state": state, "session": session.isoformat(), "price_x100": price_x100 or None}
                )

    def holdings(self) -> Mapping[str, int]:
        """Shares held by symbol, from the filled orders."""
        rows = self.db.query(
            "select symbol, sum(case side when 'buy' then shares else -shares end) as held "
            "from paper_orders where state = 'filled' group by symbol having held != 0"
        )
        return {row["symbol"]: row["held"] for row in rows}

    def prices_x100(self, orders: Sequence[Order]) -> Mapping[str, int]:
        """The price each filled order traded at."""
        keys = {order.key for order in orders}
        rows = self.db.query("select key, price_x100 from paper_orders where state = 'filled'")
        return {row["key"]: row["price_x100"] for row in rows if row["key"] in keys}

    def cash_twd(self) -> int:
        """Cash after every fill; what resting orders have set aside still counts as there."""
        rows = self.db.query("select * from paper_orders where state = 'filled'")
        return self.start_cash_twd + self._dividends_twd() + sum(self._cash_change_twd(row) for row in rows)

    def order_states(self, orders: Sequence[Order]) -> Mapping[str, Report]:
        """What became of each order that was taken; one that was refused left no trace."""
        keys = {order.key for order in orders}
        rows = self.db.query("select rowid, * from paper_orders")
        return {row["key"]: _report(row) for row in rows if row["key"] in keys}

    def _price_x100(self, row: Mapping[str, Any], bar: Bar | None) -> int:
        """Where a resting order traded in `bar`, 0 when it did not (a stock that didn't trade fills nothing)."""
        if bar is None:
            return 0
        buys = row["side"] == Side.BUY
        high, low = to_x100(bar.high), to_x100(bar.low)
        reference = self._reference_x100(row["symbol"], bar.session)
        locked = False
        if reference:
            etf, pct = is_etf(row["symbol"]), limit_pct(bar.session)
            up, down = limit_up_x100(reference, etf, pct), limit_down_x100(reference, etf, pct)
            locked = is_locked(buys, high, low, up, down)
        return fill_price_x100(self.rule, buys, row["limit_x100"], to_x100(bar.open), high, low, locked)

    def _reference_x100(self, symbol: str, session: date) -> int:
        """The exchange's reference price of an ex-date, else the close before; 0 when no earlier bar is stored."""
        rows = self.db.query(
            "select session, close_x100 from bars where symbol = ? and session < ? order by session desc limit 1",
            [symbol, session.isoformat()],
        )
        before = next(rows, None)
        if before is None:
            return 0
        after = date.fromisoformat(before["session"])
        return ExRightStore(self.db).reference_x100(symbol, after, session) or int(before["close_x100"])

    def _refusal(self, order: Order) -> str:
        """Why the book can't carry the order; empty when it can. Resting orders keep what they reserved."""
        if order.side is Side.SELL:
            reserved = sum(
                row["shares"]
                for row in self.db.query(
                    "select shares from paper_orders where state = 'resting' and side = 'sell' and symbol = ?",
                    [order.symbol],
                )
            )
            return "not enough shares" if order.shares > self.holdings().get(order.symbol, 0) - reserved else ""
        cash_twd = self.start_cash_twd + self._dividends_twd()
        for row in self.db.query("select * from paper_orders where state = 'filled' or side = 'buy'"):
            if row["state"] != "expired":
                cash_twd += self._cash_change_twd(row)
        needed = order.limit_x100 * order.shares // 100 + self.costs.commission_of(order.limit_x100, order.shares)
        return "not enough cash" if needed > cash_twd else ""

    def _dividends_twd(self) -> int:
        """Dividends so far: those that the journal has worked out are those that this broker pays."""
        told = next(self.db.query("select sum(amount_twd) as twd from cash_events where kind = 'dividend'"))
        return int(told["twd"] or 0)

    def _cash_change_twd(self, row: Mapping[str, Any]) -> int:
        """What a filled order did to cash, or what a resting purchase reserves."""
        price_x100 = row["price_x100"] or row["limit_x100"]
        shares = row["shares"] if row["side"] == Side.BUY else -row["shares"]
        fill = Fill(
            key=row["key"],
            symbol=row["symbol"],
            session=date.fromisoformat(row["decided"]),
            shares=shares,
            price_x100=price_x100,
            commission_twd=self.costs.commission_of(price_x100, shares),
            tax_twd=self.costs.tax_of(row["symbol"], price_x100, shares),
        )
        return fill.cash_change_twd


def _report(row: Mapping[str, Any]) -> Report:
    """A row of the book as a report."""
    states = {"resting": OrderState.ACCEPTED, "filled": OrderState.FILLED, "expired": OrderState.EXPIRED}
    deals = (Deal(shares=row["shares"], price_x100=row["price_x100"]),) if row["state"] == "filled" else ()
    return Report(order_id=str(row["rowid"]), state=states[row["state"]], deals=deals)
