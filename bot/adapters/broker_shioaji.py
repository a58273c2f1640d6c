"""SinoPac Securities through its SDK: odd lots, cancelling, a list of orders; cash and T+2 with real money.

Simulation unless `broker.live` and TWTRADER_LIVE=1. Our key travels in `custom_field` as six characters, so an
order whose reply was lost is looked up in SinoPac's own list instead of being guessed at. See docs/brokers.md.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any, Final, TypeVar

from bot.adapters.shioaji_reading import (
    CLOSED_TEXTS,
    book_of,
    cash_of,
    is_doubtful,
    is_ours,
    lot_of,
    report_of,
    rows_of,
    tag_of,
    text_of,
)
from bot.adapters.shioaji_sdk import Session, TradeSeen, check_ready, log_in
from bot.config import BrokerConfig
from bot.core.brokerage import T_PLUS_2, Abilities, Report
from bot.core.market import MOST_LOTS, Bar, from_x100
from bot.core.orders import Order, OrderState, Side
from bot.errors import BotError, DataMissing
from bot.live import require_live
from bot.ports import Receipt
from bot.secrets import redacted

REPLY_CHARS: Final = 200
SIMULATION: Final = Abilities(
    lot_shares=1,
    odd_apart=True,
    most_lots=MOST_LOTS,
    can_cancel=True,
    lists_orders=True,
    tells_fills=True,
    fills_in_parts=True,
    settlement_sessions=T_PLUS_2,
)
LIVE: Final = replace(SIMULATION, tells_cash=True)  # the simulation's balance is 0 whatever is traded
_EXCHANGES: Final = {"twse": "TSE", "tpex": "OTC"}
_ODD_LOTS: Final = {"intraday": "IntradayOdd", "after_hours": "Odd"}

# Raised before an order can have reached the trading system: by the SDK itself, or by the door of the server with
# 400, 401, 403, 422. Source: ERROR_CODES.md, 2.1 to 2.6. All else leaves the order in doubt.
_REFUSALS: Final = (
    "AuthError", "BadRequestError", "ValidationError", "CaError", "AccountNotSignError", "AccountNotProvideError",
    "ShioajiValueError", "ShioajiTypeError", "ShioajiPermissionError",
)  # fmt: skip
_REFUSED_AT_THE_DOOR: Final = re.compile(r"\b(?:StatusCode|code): 406\b")  # price off its tick, account not signed

_T = TypeVar("_T")


class ShioajiBroker:
    """One order at a time, one attempt each; reads may log in again, orders never."""

    def __init__(
        self, config: BrokerConfig, board_of: Callable[[str], str], connect: Callable[[], Session] | None = None
    ) -> None:
        """`board_of` a symbol is "twse" or "tpex"; `connect` logs in, at the first call that needs it.

        Raises:
            Refused: the SDK is not installed.
            ConfigError: real money is not unlocked, or a secret or the certificate is missing.
        """
        if config.live:
            require_live("SinoPac with real money", live=config.live)
        if connect is None:
            check_ready(config)
        self.abilities = LIVE if config.live else SIMULATION
        self._connect = connect or partial(log_in, config)
        self._board_of = board_of
        self._odd_lot = _ODD_LOTS[config.shioaji.odd_lots]
        self._timeout_ms = int(config.timeout_s * 1000)
        self._session: Session | None = None
        self._over: date | None = None  # the newest session that is

    def submit(self, order: Order) -> Receipt:
        """Send the order once, with its tag; what the reply leaves open is looked up once, then it is `unknown`.

        Raises:
            ValueError: whole lots and an odd rest in one order (a bug: the rule knows `odd_apart`).
        """
        lot, quantity = lot_of(order.shares, self._odd_lot)
        try:
            session = self._logged_in()
            contract, wanted = self._wanted(session, order, lot, quantity)
        except BotError as failed:  # nothing left yet
            return Receipt(state=OrderState.REJECTED, reply=f"no connection: {failed}")
        try:
            receipt = _receipt(session.api.place_order(contract, wanted, self._timeout_ms))
        except Exception as failed:  # noqa: BLE001  (a closed SDK: whatever it raises, the order may be there)
            receipt = _failed(session, failed)
        return self._looked_up(order, receipt) if receipt.state is OrderState.UNKNOWN else receipt

    def cancel(self, order: Order) -> Receipt:
        """Ask once for the order to be taken back, then look what the list says."""
        try:
            trade = self._listed([order]).get(order.key)
            session = self._logged_in()  # after the reading, which may have logged in anew
        except DataMissing as failed:
            return Receipt(state=OrderState.UNKNOWN, reply=str(failed))
        if trade is None:
            return Receipt(state=OrderState.UNKNOWN, reply="not in SinoPac's list")
        before = self._report(trade, order)
        if before.state is OrderState.ACCEPTED:
            try:
                session.api.cancel_order(trade, self._timeout_ms)
            except Exception as failed:  # noqa: BLE001  (as with an order: the list decides)
                refused = _failed(session, failed)
                if refused.state is OrderState.REJECTED:
                    return refused
        return self._cancelled(order)

    def end_session(self, session: date, bars: Mapping[str, Bar]) -> None:
        """The exchange's session ends by itself; what SinoPac's list still calls open of it is dead from now on."""
        del bars
        self._over = session if self._over is None else max(self._over, session)

    def holdings(self) -> Mapping[str, int]:
        """Shares held by symbol.

        Raises:
            DataMissing: the reading failed or has an odd shape; it is not an empty book.
        """

        def read(session: Session) -> Any:
            return session.api.list_positions(session.account, session.module.Unit.Share, self._timeout_ms)

        return self._shaped("holdings", lambda: book_of(self._read("holdings", read)))

    def cash_twd(self) -> int | None:
        """The bank account and what is still to settle; None in simulation.

        Raises:
            DataMissing: the reading failed or has an odd shape.
        """
        if not self.abilities.tells_cash:
            return None

        def read(session: Session) -> int:
            balance = session.api.account_balance(session.account, self._timeout_ms)
            return cash_of(balance, session.api.settlements(session.account, self._timeout_ms))

        return self._shaped("cash", lambda: self._read("cash", read))

    def order_states(self, orders: Sequence[Order]) -> Mapping[str, Report]:
        """What SinoPac's list says of `orders`; the simulation's list forgets what did not fill.

        Raises:
            DataMissing: the reading failed, or an order is there more than once.
        """
        by_key = {order.key: order for order in orders}
        found = self._listed(orders)
        reports = {key: self._report(trade, by_key[key]) for key, trade in found.items()}
        return {key: replace(report, note=_said(report.note)) for key, report in reports.items()}

    def prices_x100(self, orders: Sequence[Order]) -> Mapping[str, int]:
        """The mean price of what traded, to the nearest hundredth; `order_states` has the deals themselves.

        An order that the list has forgotten is left out.

        Raises:
            DataMissing: the reading failed.
        """
        reports = self.order_states(orders).items()
        return {
            key: (report.value_x100 * 2 + report.filled_shares) // (report.filled_shares * 2)
            for key, report in reports
            if report.filled_shares
        }

    def close(self) -> None:
        """Log out: a person has five connections."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(session.module.ShioajiError):
                session.api.logout()

    # --- what is behind them ------------------------------------------------------------------------------

    def _logged_in(self) -> Session:
        if self._session is None:
            self._session = self._connect()
        return self._session

    def _wanted(self, session: Session, order: Order, lot: str, quantity: int) -> tuple[Any, Any]:
        """The stock and the order in the SDK's types.

        Raises:
            DataMissing: the stock's board is not known.
        """
        sdk, board = session.module, self._board_of(order.symbol)
        if board not in _EXCHANGES:
            raise DataMissing(f"{order.symbol}: on no board that is known ({board!r})")
        contract = sdk.BaseContract("STK", _EXCHANGES[board], order.symbol)
        wanted = sdk.StockOrder(
            action=sdk.Action.Buy if order.side is Side.BUY else sdk.Action.Sell,
            price=float(from_x100(order.limit_x100)),
            quantity=quantity,
            price_type=sdk.StockPriceType.LMT,
            time_in_force=sdk.TimeInForce.ROD,
            order_lot=sdk.StockOrderLot(lot),
            order_cond=sdk.StockOrderCond.Cash,
            custom_field=tag_of(order.key),
            account=session.account,
        )
        return contract, wanted

    def _report(self, trade: TradeSeen, order: Order) -> Report:
        over = self._over is not None and order.decided < self._over
        return report_of(trade, order, over=over)

    def _looked_up(self, order: Order, receipt: Receipt) -> Receipt:
        """`receipt`, or what the list says if that is more."""
        try:
            report = self.order_states([order]).get(order.key)
        except DataMissing:
            return receipt
        if report is None or report.state is OrderState.UNKNOWN:
            return receipt
        state = OrderState.REJECTED if report.state is OrderState.REJECTED else OrderState.ACCEPTED
        return Receipt(state=state, reply=f"{receipt.reply}; then {report.note}")

    def _cancelled(self, order: Order) -> Receipt:
        """What the list says after an order was to be taken back."""
        try:
            report = self.order_states([order]).get(order.key)
        except DataMissing as failed:
            return Receipt(state=OrderState.UNKNOWN, reply=str(failed))
        if report is None:
            return Receipt(state=OrderState.UNKNOWN, reply="not in SinoPac's list any more")
        states = {
            OrderState.CANCELLED: OrderState.CANCELLED,
            OrderState.FILLED: OrderState.REJECTED,
            OrderState.REJECTED: OrderState.REJECTED,
        }
        return Receipt(state=states.get(report.state, OrderState.UNKNOWN), reply=report.note)

    def _listed(self, orders: Sequence[Order]) -> dict[str, TradeSeen]:
        """The trades in SinoPac's list that are `orders`, by key.

        Raises:
            DataMissing: the reading failed, or an order is there more than once.
        """

        def read(session: Session) -> Sequence[TradeSeen]:
            session.api.update_status(session.account, timeout=self._timeout_ms)
            return rows_of(session.api.list_trades(), "orders")

        return self._shaped("orders", lambda: _found(self._read("orders", read), orders))

    def _read(self, what: str, read: Callable[[Session], _T]) -> _T:
        """`read`, with a second login if the first has run out.

        Raises:
            DataMissing: it failed.
        """
        session = self._logged_in()
        try:
            try:
                return read(session)
            except session.module.AuthError:
                self.close()
                session = self._logged_in()
                return read(session)
        except (session.module.ShioajiError, OSError) as failed:
            raise DataMissing(_said(f"{what}: {type(failed).__name__}: {failed}")) from None

    def _shaped(self, what: str, read: Callable[[], _T]) -> _T:
        """`read`, whose answer may lack a field or be no list at all.

        Raises:
            DataMissing: it does.
        """
        try:
            return read()
        except (AttributeError, TypeError) as odd:
            raise DataMissing(f"{what}: an answer of an odd shape ({odd})") from None


def _receipt(trade: TradeSeen) -> Receipt:
    """What the reply to an order says; `PendingSubmit` is no acknowledgement."""
    said, message = text_of(trade.status.status), str(trade.status.msg or "")
    known = {
        "PreSubmitted": OrderState.ACCEPTED,
        "Submitted": OrderState.ACCEPTED,
        "PartFilled": OrderState.ACCEPTED,
        "Filled": OrderState.ACCEPTED,
        "Failed": OrderState.UNKNOWN if is_doubtful(message) else OrderState.REJECTED,
    }
    state = known.get(said, OrderState.UNKNOWN)
    closed = state is OrderState.REJECTED and any(text in message for text in CLOSED_TEXTS)
    return Receipt(state=state, closed=closed, reply=_said(f"{said} {trade.order.id} {message}".strip()))


def _failed(session: Session, failed: Exception) -> Receipt:
    """Refused if the order can't have got through, else unknown."""
    refusals = tuple(getattr(session.module, name) for name in _REFUSALS)
    at_the_door = isinstance(failed, session.module.ServerError) and _REFUSED_AT_THE_DOOR.search(str(failed))
    certain = isinstance(failed, refusals) or bool(at_the_door)
    state = OrderState.REJECTED if certain else OrderState.UNKNOWN
    return Receipt(state=state, reply=_said(f"{type(failed).__name__}: {failed}"))


def _said(text: str) -> str:
    """SinoPac's words without what must not be seen, then cut to a length that can be stored."""
    return redacted(text)[:REPLY_CHARS]


def _found(trades: Sequence[TradeSeen], orders: Sequence[Order]) -> dict[str, TradeSeen]:
    """Each of `orders` that is among `trades`, by key.

    Raises:
        DataMissing: one is there more than once: a person must look.
    """
    by_tag = {tag_of(order.key): order for order in orders}
    found: dict[str, TradeSeen] = {}
    for trade in trades:
        order = by_tag.get(str(trade.order.custom_field or ""))
        if order is None or not is_ours(trade, order):
            continue
        if order.key in found:
            raise DataMissing(f"orders: {order.key} is in SinoPac's list more than once")
        found[order.key] = trade
    return found
