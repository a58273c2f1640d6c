"""What a sandbox is started with, and the same as command-line words, so that a child process gets it whole."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from bot.core.costs import CostRates
from bot.errors import Refused

TAIPEI: Final = ZoneInfo("Asia/Taipei")

# What the stock API takes. Source: api/STOCK_API.md, "Orders"
STOCK_API_COSTS: Final = CostRates(
    commission=Decimal("0.001425"),
    discount=Decimal(1),
    minimum_twd=20,
    stock_tax=Decimal("0.003"),
    etf_tax=Decimal("0.001"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """One sandbox.

    `prices` is a folder of CSV bars to replay; None invents a market from `seed`. `codes` empty means all there
    are. `first`..`last` limit the sessions that exist. `start` is the first moment on the clock, Taipei when
    naive; `speed` is how many times faster than real time the clock runs by itself, 0 = it stands still.
    `accounts` are (account, password). `newsapi_key` and `model_key` empty let any key in. `dividends` are paid in
    cash on the ex-date, which the real stock API does not do as far as is known. `port` 0 lets the system choose.
    """

    start: datetime
    prices: Path | None = None
    codes: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    seed: int = 7
    port: int = 0
    accounts: tuple[tuple[str, str], ...] = (("demo", "demo"),)
    cash_twd: int = 100_000_000
    speed: float = 0.0
    newsapi_key: str = ""
    model_key: str = ""
    until_stdin_closes: bool = False
    dividends: bool = False
    costs: CostRates = field(default=STOCK_API_COSTS)

    def __post_init__(self) -> None:
        """Refuse what no sandbox could run on.

        Raises:
            Refused: names the setting.
        """
        if self.first and self.last and self.first > self.last:
            raise Refused(f"sandbox: from {self.first} is after to {self.last}")
        if self.speed < 0:
            raise Refused(f"sandbox: speed {self.speed} must not be negative")
        if self.cash_twd <= 0:
            raise Refused(f"sandbox: cash {self.cash_twd} must be positive")
        if not 0 <= self.port <= 65_535:  # noqa: PLR2004  (the largest TCP port)
            raise Refused(f"sandbox: port {self.port} must be between 0 and 65535")
        if not self.accounts or not all(name for name, _ in self.accounts):
            raise Refused("sandbox: at least one account with a name is needed")

    def words(self) -> list[str]:
        """The command line that `settings_of` reads back; `costs` stay as they are by default."""
        options: dict[str, object] = {
            "--start": self.start.isoformat(),
            "--prices": self.prices.resolve() if self.prices else None,
            "--codes": ",".join(self.codes) or None,
            "--from": self.first,
            "--to": self.last,
            "--seed": self.seed,
            "--port": self.port,
            "--cash": self.cash_twd,
            "--speed": self.speed,
            "--newsapi-key": self.newsapi_key or None,
            "--model-key": self.model_key or None,
        }
        # One word each, `--name=value`: a value may begin with a dash.
        words = [f"{name}={value}" for name, value in options.items() if value is not None]
        for account, password in self.accounts:
            words += [f"--account={account}", f"--password={password}"]
        words += ["--dividends"] if self.dividends else []
        return [*words, "--until-stdin-closes"] if self.until_stdin_closes else words


def moment(text: str) -> datetime:
    """The ISO 8601 moment in `text`; Taipei when it says no offset.

    Raises:
        Refused: it is no such moment.
    """
    try:
        told = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"sandbox: {text!r} is no date and time like 2025-01-02T08:00") from wrong
    return aware(told)


def aware(told: datetime) -> datetime:
    """`told` in Taipei; taken for Taipei time when it says no offset."""
    return told.astimezone(TAIPEI) if told.tzinfo else told.replace(tzinfo=TAIPEI)


def day(text: str) -> date:
    """The ISO 8601 date in `text`.

    Raises:
        Refused: it is no such date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"sandbox: {text!r} is no date like 2025-01-02") from wrong


def settings_of(words: Sequence[str] | None = None) -> SandboxSettings:
    """The settings that the command line `words` tells; sys.argv when None.

    Raises:
        Refused: a value can't be used.
        SystemExit: an option is unknown or missing (2), or help was asked for (0).
    """
    told = _parser().parse_args(words)
    accounts, passwords = told.account or ["demo"], told.password or ["demo"]
    if len(accounts) != len(passwords):
        raise Refused(f"sandbox: {len(accounts)} accounts but {len(passwords)} passwords")
    return SandboxSettings(
        start=moment(told.start),
        prices=told.prices,
        codes=tuple(code.strip() for code in told.codes.split(",") if code.strip()),
        first=day(told.first) if told.first else None,
        last=day(told.last) if told.last else None,
        seed=told.seed,
        port=told.port,
        accounts=tuple(zip(accounts, passwords, strict=True)),
        cash_twd=told.cash,
        speed=told.speed,
        newsapi_key=told.newsapi_key,
        model_key=told.model_key,
        until_stdin_closes=told.until_stdin_closes,
        dividends=told.dividends,
    )


def _parser() -> argparse.ArgumentParser:
    """The options of `python -m bot.sandbox.serve`."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.serve", description=__doc__)
    parser.add_argument("--start", required=True, help="first moment on the clock, e.g. 2025-01-02T08:00")
    parser.add_argument("--prices", type=Path, help="folder of CSV bars to replay (default: invent a market)")
    parser.add_argument("--codes", default="", help="stocks, e.g. 2330,2317 (default: all there are)")
    parser.add_argument("--from", dest="first", help="no session before this date exists")
    parser.add_argument("--to", dest="last", help="no session after this date exists")
    parser.add_argument("--seed", type=int, default=7, help="of the invented market and the headlines (default 7)")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 = any free one (default 0)")
    parser.add_argument("--account", action="append", help="may be repeated, each with a --password (default demo)")
    parser.add_argument("--password", action="append", help="default demo")
    parser.add_argument("--cash", type=int, default=100_000_000, help="whole TWD an account opens with")
    parser.add_argument("--speed", type=float, default=0.0, help="clock runs N times real time (default 0: stands)")
    parser.add_argument("--newsapi-key", default="", help="the one NewsAPI key let in (default: any)")
    parser.add_argument("--model-key", default="", help="the one key let in at /llm (default: any, or none)")
    parser.add_argument("--dividends", action="store_true", help="pay cash dividends on ex-dates (default: don't)")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input reaches its end")
    return parser
