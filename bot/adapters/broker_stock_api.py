"""The owner's simulated exchange over httpx. No order id, no cancel, no cash, no idempotency key: see STOCK_API.md.

A client must treat what it does not know as hostile: an order whose reply was lost is `unknown` and never sent
again, and a holdings answer of any odd shape is a failed reading, never an empty book.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from bot.config import BrokerConfig, secret
from bot.core.brokerage import Abilities
from bot.core.market import LOT_SHARES, Bar, from_x100
from bot.core.orders import Order, OrderState
from bot.errors import ConfigError, DataMissing
from bot.ports import Receipt

REPLY_CHARS: Final = 200  # enough to read why, too little to store a page of HTML
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class _Reply(msgspec.Struct):
    """What the API answers to an order."""

    result: str
    status: str = ""


class _Row(msgspec.Struct):
    """One holding. `shares` counts lots; the other fields have several spellings and are not needed."""

    stock_code_id: str
    shares: int


class _Book(msgspec.Struct):
    """What the API answers to get_user_stocks; a failure has no `data`."""

    result: str
    status: str = ""
    data: list[_Row] | None = None


class StockApiBroker:
    """One call at a time, one attempt an order, redirects never followed."""

    # Source: api/STOCK_API.md, "Orders"
    abilities: Final = Abilities(
        lot_shares=LOT_SHARES,
        fills_by_touch=True,
        window_opens=time(16, 0),
        window_closes=time(13, 0),
        settles_at=time(15, 30),
    )

    def __init__(self, config: BrokerConfig) -> None:
        """Read the secrets from the environment.

        Raises:
            ConfigError: a secret is not set, plain http is not allowed, or a live account is not unlocked.
        """
        check_address(config)
        self._account = secret("TWTRADER_ACCOUNT")
        self._password = secret("TWTRADER_PASSWORD")
        self._base = config.base_url.rstrip("/")
        self._http = httpx.Client(timeout=config.timeout_s, follow_redirects=False, trust_env=False)

    def submit(self, order: Order) -> Receipt:
        """Send the order once; any doubt about the reply is `unknown`.

        Raises:
            ValueError: the order is not in whole lots (a bug: the rule knows `lot_shares`).
        """
        if order.shares % LOT_SHARES:
            raise ValueError(f"{order.key}: {order.shares} shares are no whole lots")
        form = {
            "stock_code": order.symbol,
            "stock_shares": str(order.shares // LOT_SHARES),
            "stock_price": str(from_x100(order.limit_x100)),
        }
        try:
            answer = self._post(str(order.side), form)
        except httpx.ConnectError as refused:
            # No connection, so no order: the one failure whose meaning is certain.
            return Receipt(state=OrderState.REJECTED, reply=self._redact(f"no connection: {refused}"))
        except httpx.HTTPError as lost:
            return Receipt(state=OrderState.UNKNOWN, reply=self._redact(f"{type(lost).__name__}: {lost}"))
        return self._receipt(answer)

    def end_session(self, session: date, bars: Mapping[str, Bar]) -> None:
        """The exchange settles by itself at 15:30."""

    def holdings(self) -> Mapping[str, int]:
        """Shares held by symbol; several rows of one stock add up.

        Raises:
            DataMissing: the reading failed or has an odd shape; it is not an empty book.
        """
        try:
            answer = self._post("get_user_stocks", {})
        except httpx.HTTPError as lost:
            raise DataMissing(self._redact(f"holdings: {type(lost).__name__}: {lost}")) from None
        try:
            if answer.status_code != httpx.codes.OK:
                raise DataMissing(f"holdings: HTTP {answer.status_code}")
            book = msgspec.json.decode(answer.content, type=_Book)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise DataMissing(self._redact(f"holdings: not the agreed JSON: {answer.text[:REPLY_CHARS]}")) from None
        if book.result != "success" or book.data is None:
            raise DataMissing(self._redact(f"holdings: {book.result}: {book.status}"))
        shares: dict[str, int] = {}
        for row in book.data:
            if row.shares < 0:
                raise DataMissing(f"holdings: {row.shares} lots of {row.stock_code_id}")
            shares[row.stock_code_id] = shares.get(row.stock_code_id, 0) + row.shares * LOT_SHARES
        return {symbol: held for symbol, held in shares.items() if held}

    def prices_x100(self, orders: Sequence[Order]) -> None:
        """The API never says at what price; by its rule an order fills at its limit."""
        del orders

    def cash_twd(self) -> None:
        """The API has no call for it."""

    def order_states(self, orders: Sequence[Order]) -> None:
        """The API has no list of orders."""
        del orders

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, call: str, form: Mapping[str, str]) -> httpx.Response:
        return self._http.post(
            f"{self._base}/{call}", data={"account": self._account, "password": self._password, **form}
        )

    def _receipt(self, answer: httpx.Response) -> Receipt:
        """Only the two agreed answers are believed."""
        said = self._redact(f"HTTP {answer.status_code}: {answer.text[:REPLY_CHARS]}")
        if answer.status_code != httpx.codes.OK:
            return Receipt(state=OrderState.UNKNOWN, reply=said)
        try:
            reply = msgspec.json.decode(answer.content, type=_Reply)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Receipt(state=OrderState.UNKNOWN, reply=said)
        known = {"success": OrderState.ACCEPTED, "failed": OrderState.REJECTED}
        state = known.get(reply.result, OrderState.UNKNOWN)
        return Receipt(state=state, reply=said if state is OrderState.UNKNOWN else self._redact(reply.status))

    def _redact(self, text: str) -> str:
        """`text` without the secrets, should the other side echo them."""
        for hidden in (self._password, self._account):
            text = text.replace(hidden, "***")
        return text


def check_address(config: BrokerConfig) -> None:
    """Refuse to send a password in clear, or real orders by accident.

    Raises:
        ConfigError: names the key that would allow it.
    """
    parts = urlsplit(config.base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"`broker.base_url`: {config.base_url!r} is no http(s) address")
    loopback = parts.hostname in _LOOPBACK
    if parts.scheme == "http" and not loopback and not config.allow_plain_http:
        raise ConfigError("`broker.base_url` is plain http, which shows the password: see `broker.allow_plain_http`")
    if loopback:
        return
    if not config.live:
        raise ConfigError(f"`broker.live` is false, so no order may leave for {parts.hostname}")
    if os.environ.get("TWTRADER_LIVE") != "1":
        raise ConfigError(f"TWTRADER_LIVE=1 is not set, so no order may leave for {parts.hostname}")
