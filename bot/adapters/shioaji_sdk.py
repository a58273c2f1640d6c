"""The seam to SinoPac's SDK `shioaji`: the calls and fields that we use, and the login. Nothing else imports it.

Read from shioaji 1.7.9 (`_core.pyi`) and https://github.com/Sinotrade/Shioaji, plugins/shioaji/skills. The SDK is
closed and optional: `pip install twtrader[shioaji]`. It logs to a file in the working folder as soon as it is
imported, and its constructor asks the network, so both happen at the first call that needs the broker.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from bot.config import BrokerConfig
from bot.errors import ConfigError, DataMissing, Refused
from bot.secrets import hide as hide_everywhere
from bot.secrets import optional_secret, redacted, secret

KEY = "TWTRADER_SHIOAJI_KEY"
SECRET = "TWTRADER_SHIOAJI_SECRET"  # noqa: S105  (the name of the variable)
NOT_INSTALLED = '`broker.kind` is "shioaji", but SinoPac\'s SDK is not installed: pip install "twtrader[shioaji]"'
ACCOUNT = "TWTRADER_SHIOAJI_ACCOUNT"
CA_PASSWORD = "TWTRADER_SHIOAJI_CA_PASSWORD"  # noqa: S105


class EnumSeen(Protocol):
    """One of the SDK's enums."""

    @property
    def value(self) -> Any:
        """Its text."""


class DealSeen(Protocol):
    """A part of an order that traded; `quantity` in the order's own unit."""

    @property
    def seq(self) -> Any:
        """The exchange's number of the deal."""

    @property
    def price(self) -> Any:
        """TWD per share, a float."""

    @property
    def quantity(self) -> Any:
        """Lots, or shares of an odd-lot order."""

    @property
    def ts(self) -> Any:
        """Unix seconds."""


class OrderSeen(Protocol):
    """The order half of a trade."""

    @property
    def id(self) -> Any:
        """SinoPac's id."""

    @property
    def action(self) -> Any:
        """Buy or Sell."""

    @property
    def quantity(self) -> Any:
        """Lots, or shares of an odd-lot order."""

    @property
    def custom_field(self) -> Any:
        """Our tag."""

    @property
    def order_lot(self) -> Any:
        """Common, Odd, IntradayOdd, ..."""


class StatusSeen(Protocol):
    """The status half of a trade."""

    @property
    def status(self) -> Any:
        """PendingSubmit, PreSubmitted, Submitted, PartFilled, Filled, Cancelled, Failed or Inactive."""

    @property
    def msg(self) -> Any:
        """Why, in Chinese."""

    @property
    def deal_quantity(self) -> Any:
        """What traded, in the order's own unit; may be None."""

    @property
    def deals(self) -> Any:
        """A sequence of deals."""


class ContractSeen(Protocol):
    """What a trade is in."""

    @property
    def code(self) -> Any:
        """The stock's code."""


class TradeSeen(Protocol):
    """An order as SinoPac's list shows it."""

    @property
    def contract(self) -> ContractSeen:
        """The stock."""

    @property
    def order(self) -> OrderSeen:
        """What was asked for."""

    @property
    def status(self) -> StatusSeen:
        """What became of it."""


class Sdk(Protocol):
    """A `shioaji.Shioaji` after its login. Timeouts are milliseconds."""

    def place_order(self, contract: Any, order: Any, timeout: int) -> TradeSeen:
        """Send an order; a refusal by the trading system is a trade that failed, not an exception."""

    def cancel_order(self, trade: TradeSeen, timeout: int) -> TradeSeen:
        """Ask for an order to be taken back."""

    def update_status(self, account: Any, *, timeout: int) -> None:
        """Fetch the account's orders into the list."""

    def list_trades(self) -> Sequence[TradeSeen]:
        """The list as it was fetched last."""

    def list_positions(self, account: Any, unit: Any, timeout: int) -> Sequence[Any]:
        """What is held."""

    def account_balance(self, account: Any, timeout: int) -> Any:
        """The bank account behind the account; of no use in simulation."""

    def settlements(self, account: Any, timeout: int) -> Sequence[Any]:
        """What is still to be paid or received on T, T+1 and T+2; empty in simulation."""

    def logout(self) -> Any:
        """Give one of the person's five connections back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login: the SDK's module (types and errors), its client and the account."""

    module: ModuleType
    api: Sdk
    account: Any


def load_sdk() -> ModuleType:
    """The SDK's module.

    Raises:
        Refused: it is not installed.
    """
    # It writes its own log into the working folder unless told otherwise. We can't vouch for what is in it.
    os.environ.setdefault("SJ_LOG_PATH", os.devnull)
    try:
        import shioaji
    except ImportError as absent:
        raise Refused(NOT_INSTALLED) from absent
    module: ModuleType = shioaji
    return module


def check_ready(config: BrokerConfig) -> None:
    """Find out now, not at 18:30, that something is missing. Touches no network and imports nothing.

    Raises:
        Refused: the SDK is not installed.
        ConfigError: a secret or the certificate is missing.
    """
    if importlib.util.find_spec("shioaji") is None:
        raise Refused(NOT_INSTALLED)
    secret(KEY)
    secret(SECRET)
    if config.live:
        secret(CA_PASSWORD)
        if not config.shioaji.ca_path.is_file():
            raise ConfigError(
                f"`broker.shioaji.ca_path`: no file at {str(config.shioaji.ca_path)!r}; live orders need it"
            )


def log_in(config: BrokerConfig) -> Session:
    """A session in SinoPac's simulation, or with real money when `broker.live` is on (and the caller let it pass).

    Raises:
        Refused: the SDK is not installed.
        ConfigError: a secret or the certificate is missing, or SinoPac's SDK says that a secret can't be one.
        DataMissing: SinoPac could not be reached or refused; nothing was sent.
    """
    check_ready(config)
    module = load_sdk()
    try:
        api = module.Shioaji(simulation=not config.live)
        accounts = list(api.login(api_key=secret(KEY), secret_key=secret(SECRET), subscribe_trade=False))
        account = account_of(accounts, optional_secret(ACCOUNT))
        if config.live and not api.activate_ca(ca_path=str(config.shioaji.ca_path), ca_passwd=secret(CA_PASSWORD)):
            raise DataMissing("Shioaji: the certificate was not accepted")
    except module.ShioajiValueError as wrong:
        raise ConfigError(redacted(f"{KEY} or {SECRET}: {wrong}")) from None
    except module.ShioajiError as failed:
        raise DataMissing(redacted(f"Shioaji login: {type(failed).__name__}: {failed}")) from None
    for private in (str(account.person_id), str(account.account_id)):
        hide_everywhere(private)
    return Session(module=module, api=api, account=account)


def account_of(accounts: Sequence[Any], wanted: str) -> Any:
    """The stock account whose number is `wanted`, or the only one there is when `wanted` is empty.

    Raises:
        ConfigError: there is none, or more than one to choose from.
    """
    stock = [one for one in accounts if one.account_type.name == "Stock"]
    fitting = [one for one in stock if one.account_id == wanted] if wanted else stock
    if len(fitting) != 1:
        raise ConfigError(f"{ACCOUNT} fits {len(fitting)} of {len(stock)} stock accounts; it must fit one")
    return fitting[0]
