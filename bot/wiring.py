"""From the configuration to the ports: which adapters a day gets. The only place that chooses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from bot.adapters.broker_paper import PaperBroker
from bot.adapters.broker_stock_api import StockApiBroker
from bot.adapters.clocks import SandboxClock, clock_at
from bot.adapters.company_names import symbols_of
from bot.adapters.halt_switch import HaltSwitch
from bot.adapters.sqlite_breaker import BreakerStore
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_news import NewsStore
from bot.adapters.sqlite_open import open_database
from bot.adapters.sqlite_sessions import SessionStore
from bot.adapters.sqlite_signals import SignalStore
from bot.config import BrokerConfig, Config, ModelConfig
from bot.core.brokerage import Abilities
from bot.errors import ConfigError
from bot.news import NEWSAPI
from bot.ports import BarFeed, Broker, Clock, Company, Engine, HolidayFeed, NewsFeed
from bot.secrets import optional_secret
from bot.stages.stage import Ports
from bot.universe import load_universe


@runtime_checkable
class Closes(Protocol):
    """Holds a connection that is given back at the end."""

    def close(self) -> None:
        """Give it back."""


def broker_of(config: Config, db: Any) -> Broker:
    """The broker the config names.

    Raises:
        ConfigError: a secret is missing, or the address is not allowed.
    """
    if config.broker.kind == "paper":
        return PaperBroker(db, config.broker.start_cash_twd, config.broker.fill_rule, config.costs)
    if config.broker.kind == "shioaji":
        from bot.adapters.broker_shioaji import SIMULATION, ShioajiBroker

        check_abilities(config, SIMULATION)
        return ShioajiBroker(config.broker, partial(board_of, config, db))
    check_abilities(config, StockApiBroker.abilities)
    return StockApiBroker(config.broker)


def board_of(config: Config, db: Any, symbol: str) -> str:
    """The board that `symbol` trades on, "twse" or "tpex"; "" where nobody knows."""
    known = [*load_universe(config.universe), *MarketStore(db).companies({symbol})]
    return next((one.board for one in known if one.symbol == symbol), "")


def account_address(config: BrokerConfig) -> str:
    """Where the account is: a rehearsal's books never become the real ones."""
    if config.kind == "shioaji":
        return "SinoPac live" if config.live else "SinoPac simulation"
    return config.base_url if config.kind == "stock_api" else ""


def check_abilities(config: Config, abilities: Abilities) -> None:
    """Refuse a rule or a timetable that the broker can't follow.

    Raises:
        ConfigError: names the key.
    """
    kind = config.broker.kind
    if config.rules.lot_shares % abilities.lot_shares:
        raise ConfigError(f"`rules.lot_shares` must be {abilities.lot_shares}: {kind} takes whole lots only")
    settle, send = (config.timetable.at(stage).replace(tzinfo=None) for stage in ("settle", "send"))
    if abilities.settles_at is not None and settle < abilities.settles_at:
        raise ConfigError(f"`timetable.settle`: {kind} settles at {abilities.settles_at:%H:%M}")
    if not abilities.takes_orders_at(send):
        raise ConfigError(f"`timetable.send`: {kind} takes orders from {abilities.window_opens:%H:%M}")


def engine_of(config: ModelConfig) -> Engine:
    """The model the config names; a child process that starts with its first question.

    Raises:
        Refused: the model is not there.
        ConfigError: it claims to know the future.
    """
    if config.engine == "naive":
        from bot.adapters.naive_forecaster import NaiveEngine

        return NaiveEngine()
    if config.engine == "openai":
        from bot.adapters.llm_server import ServerEngine

        return ServerEngine(config, optional_secret("TWTRADER_MODEL_KEY"))
    from bot.adapters.llm_child import ChildEngine

    return ChildEngine(config)


def check_engine(config: Config) -> None:
    """Find out now, not at 18:00, that the model isn't there.

    Raises:
        Refused: the model is not there.
    """
    if config.model.engine == "naive":
        return
    today = clock_at(config.clock.url).now().date()
    if config.model.trained_until > today:
        raise ConfigError(f"`model.trained_until` is {config.model.trained_until}, after today, {today}")
    engine = engine_of(config.model)
    if config.model.engine != "openai":  # a server may be away now and back at 18:00: only its address is checked
        _ = engine.model
    engine.close()


def news_of(config: Config, clock: Clock, store: NewsStore) -> NewsFeed | None:
    """NewsAPI, if its key is set; each request is counted in `store` before it leaves."""
    key = optional_secret("NEWSAPI_KEY")
    if not key:
        return None
    from bot.adapters.newsapi_articles import NewsApiArticles

    def spend() -> None:
        store.spend(NEWSAPI, clock.now(), config.feeds.newsapi.requests_per_day)

    return NewsApiArticles(config.feeds.newsapi, key, clock, symbols_of=symbols_of, spend=spend)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePorts:
    """What fetching prices touches: no broker, no secret."""

    clock: Clock
    bars: BarFeed
    holidays: HolidayFeed
    market: MarketStore
    sessions: SessionStore
    companies: tuple[Company, ...]


@contextmanager
def open_prices(config: Config) -> Iterator[PricePorts]:
    """The price feeds and the store alone.

    Raises:
        ConfigError, Refused: something in the config can't be had.
    """
    from bot.adapters.price_feed import PriceFeed
    from bot.adapters.twse_holidays import TwseHolidays

    with ExitStack() as opened:
        clock = clock_at(config.clock.url)
        if isinstance(clock, SandboxClock):
            opened.callback(clock.close)
        db = open_database(config.store.path)
        opened.callback(db.close)
        bars, holidays = PriceFeed(config.feeds), TwseHolidays(config.feeds.twse)
        opened.callback(bars.close)
        opened.callback(holidays.close)
        yield PricePorts(
            clock=clock,
            bars=bars,
            holidays=holidays,
            market=MarketStore(db),
            sessions=SessionStore(db),
            companies=load_universe(config.universe),
        )


@contextmanager
def open_ports(config: Config) -> Iterator[Ports]:
    """Everything a day touches, with a database connection of its own for the calling thread.

    Raises:
        ConfigError, Refused: something in the config can't be had.
    """
    from bot.adapters.exchange_ex_rights import ExchangeExRights
    from bot.adapters.rss_articles import RssArticles
    from bot.adapters.twstock_signals import choose, signals_of

    with open_prices(config) as prices, ExitStack() as opened:
        clock, market, db = prices.clock, prices.market, prices.market.db
        journal, headlines = Journal(db), NewsStore(db)
        address = account_address(config.broker)
        journal.open_account(config.broker.kind, config.broker.start_cash_twd, address, clock.now())
        # A held stock that left the universe is still looked after: its stop and its exit need bars and forecasts.
        theirs = {*journal.portfolio().positions, *(one.order.symbol for one in journal.orders.open())}
        companies = prices.companies + market.companies(theirs - {one.symbol for one in prices.companies})
        market.add_companies(companies)
        ex_rights, rss = ExchangeExRights(config.feeds, clock), RssArticles(config.feeds.rss, clock, symbols_of)
        news, broker = news_of(config, clock, headlines), broker_of(config, db)
        for door in (ex_rights, news, rss, broker):
            if isinstance(door, Closes):
                opened.callback(door.close)
        yield Ports(
            clock=clock,
            bars=prices.bars,
            holidays=prices.holidays,
            news=news,
            rss=rss,
            headlines=headlines,
            engine=lambda: engine_of(config.model),
            broker=broker,
            market=market,
            sessions=prices.sessions,
            ex_rights=ex_rights,
            ex_right_store=ExRightStore(db),
            journal=journal,
            companies=companies,
            choose=choose,
            signals_of=signals_of,
            signals=SignalStore(db),
            halt=HaltSwitch(config.store.path, db),
            breaker=BreakerStore(db),
        )
