"""All that one sandbox holds, read by the routes at one moment: clock, market, headlines and books."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime

from starlette.requests import Request

from bot.core.costs import CostRates
from bot.core.portfolio import Portfolio
from bot.sandbox.account import Account, Reservation, Wish, pay, reserve, settle, settlement_of
from bot.sandbox.clock import SandboxClock
from bot.sandbox.generator import GeneratedMarket
from bot.sandbox.market import Market, Published
from bot.sandbox.news import NewsDesk
from bot.sandbox.replay import ReplayMarket
from bot.sandbox.settings import SandboxSettings


class World:
    """The state behind the routes. One event loop reads and writes it, so a request never sees half a settlement."""

    def __init__(self, settings: SandboxSettings, market: Market, clock: SandboxClock) -> None:
        """Every account opens with the settings' cash; what was before the start is settled history."""
        self.settings = settings
        self.market = market
        self.clock = clock
        self.news = NewsDesk(market, settings.seed)
        self.newsapi_key = settings.newsapi_key
        self.passwords = dict(settings.accounts)
        self.rates: CostRates = settings.costs
        self.pays_dividends = settings.dividends
        self.accounts = {
            name: Account(portfolio=Portfolio(cash_twd=settings.cash_twd)) for name, _ in settings.accounts
        }
        self.before_settlement = dict(self.accounts)  # each book as it was before the last session was settled
        self._settled = _sessions_settled(market, clock.now())

    def now(self) -> datetime:
        """The moment, with every settlement that lies before it done."""
        now = self.clock.now()
        self._settle_until(now)
        return now

    def move_to(self, moment: datetime) -> list[date]:
        """Move the clock and settle what lies on the way, in order; the sessions settled.

        Raises:
            Refused: `moment` lies in the past.
        """
        before = self._settled
        self.clock.move_to(moment)
        self.now()
        return list(self.market.sessions[before : self._settled])

    def published(self) -> Published:
        """The market as everybody may know it now."""
        return Published(market=self.market, now=self.now())

    def place(self, name: str, wish: Wish) -> Reservation:
        """Send `wish` to the book of account `name`; what became of it."""
        now = self.now()
        self.accounts[name] = reserve(self.accounts[name], wish, now, self.rates)
        return self.accounts[name].orders[-1]

    def _settle_until(self, now: datetime) -> None:
        """Settle each session whose 15:30 has passed, oldest first."""
        due = _sessions_settled(self.market, now)
        for index, session in enumerate(self.market.sessions[self._settled : due], start=self._settled):
            self.before_settlement = dict(self.accounts)
            self._pay_dividends(index)
            for name, account in self.accounts.items():
                symbols = {order.symbol for order in account.waiting}
                rows = {symbol: self.market.quotes(symbol).get(session) for symbol in symbols}
                quotes = {symbol: quote for symbol, quote in rows.items() if quote is not None}
                self.accounts[name] = settle(account, session, quotes, self.rates)
        self._settled = max(self._settled, due)

    def _pay_dividends(self, index: int) -> None:
        """Pay what went ex since the session before the `index`-th, on the shares held at that one's close."""
        if not self.pays_dividends:
            return
        session = self.market.sessions[index]
        before = self.market.sessions[index - 1] if index else date.min
        for name, account in self.accounts.items():
            falls = {
                event.code: event.previous_x100 - event.reference_x100
                for symbol in account.portfolio.positions
                for event in self.market.ex_events(symbol)
                if not event.reduction and before < event.ex_date <= session
            }
            self.accounts[name] = pay(account, falls)


def world_of(settings: SandboxSettings) -> World:
    """The world that `settings` describe, at its first moment.

    Raises:
        Refused: the market can't be had.
    """
    start = SandboxClock(settings.start).now()
    limits = (settings.codes, settings.first, settings.last)
    market: Market
    if settings.prices:
        market = ReplayMarket(settings.prices, *limits)
    else:
        market = GeneratedMarket(settings.seed, start, *limits)
    return World(settings, market, SandboxClock(start, settings.speed))


def world_behind(request: Request) -> World:
    """The world that the application of `request` serves."""
    world = request.app.state.world
    assert isinstance(world, World)
    return world


def _sessions_settled(market: Market, now: datetime) -> int:
    """How many sessions are settled by `now`."""
    index = bisect_right(market.sessions, now.date())
    if index and settlement_of(market.sessions[index - 1]) > now:
        index -= 1
    return index
