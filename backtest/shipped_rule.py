"""What a look-ahead test takes apart: a forecaster, the strategy that follows it, and the replay that joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from backtest.forecasters import Forecaster
from backtest.history import Known
from backtest.replay import Step, market_days, replay
from backtest.scrambled import Data
from bot.core.costs import CostRates
from bot.core.decide import Decision, MarketDay, Rules, decide
from bot.core.forecast import Forecast
from bot.core.portfolio import Portfolio


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRule:
    """A forecaster, made anew from whatever data it is given, and the strategy that follows it."""

    name: str
    forecaster: Callable[[Data], Forecaster]
    rules: Rules
    costs: CostRates
    cash_twd: int
    fill_rule: str

    def days(self, data: Data, sessions: Sequence[date]) -> Sequence[MarketDay]:
        """What the forecaster and the market say after each of `sessions`."""
        return market_days(data.history, sessions, self.forecaster(data))

    def day(self, data: Data, session: date, coming: date) -> MarketDay:
        """The same after `session` alone: the forecaster is not asked about `coming`, which may be cut away."""
        sessions = [session, coming] if coming in data.history.sessions else [session]
        return market_days(data.history, sessions, _OnlyAfter(session, self.forecaster(data)))[0]

    def decide(self, day: MarketDay, held: Portfolio, sessions: Sequence[date]) -> Decision:  # noqa: ARG002
        """The orders of the one decision function."""
        return decide(day, held, self.rules, self.costs)

    def steps(self, data: Data, days: Sequence[MarketDay]) -> Sequence[Step]:
        """The replay."""
        return tuple(replay(data.history, days, self.cash_twd, self.rules, self.costs, self.fill_rule))


@dataclass(frozen=True, slots=True)
class _OnlyAfter:
    """A forecaster that is asked after one session and silent after all others."""

    session: date
    asked: Forecaster

    @property
    def name(self) -> str:
        return self.asked.name

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        return self.asked.forecasts(known) if known.session == self.session else {}

    def sentiment_bps(self, session: date) -> Mapping[str, int]:
        return self.asked.sentiment_bps(session) if session == self.session else {}

    def digest(self) -> str:
        return self.asked.digest()
