"""What every stage gets, the ports, and what it gives back, its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bot.adapters.halt_switch import HaltSwitch
from bot.adapters.sqlite_breaker import BreakerStore
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_news import NewsStore
from bot.adapters.sqlite_sessions import SessionStore
from bot.adapters.sqlite_signals import SignalStore
from bot.core.market import Bar
from bot.core.signals import Signal
from bot.ports import (
    BarFeed,
    Broker,
    Clock,
    Company,
    Engine,
    ExRightFeed,
    HeadlineFeeds,
    HolidayFeed,
    NewsFeed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything a day touches. `news` is None without a key; `engine` starts the model and gives it back."""

    clock: Clock
    bars: BarFeed
    holidays: HolidayFeed
    news: NewsFeed | None
    rss: HeadlineFeeds
    headlines: NewsStore
    engine: Callable[[], Engine]
    broker: Broker
    market: MarketStore
    sessions: SessionStore
    ex_rights: ExRightFeed
    ex_right_store: ExRightStore
    journal: Journal
    companies: tuple[Company, ...]
    choose: Callable[[Mapping[str, list[Bar]], int], list[str]]
    signals_of: Callable[[Iterable[Sequence[Bar]]], list[Signal]]
    signals: SignalStore
    halt: HaltSwitch
    breaker: BreakerStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a stage went: done, closed, skipped, waiting or failed, and one line for the status view.

    `in_the_end` is what a waiting stage becomes when it has waited long enough.
    """

    outcome: str
    detail: str
    in_the_end: str = "failed"
