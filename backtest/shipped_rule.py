"""What a look-ahead test takes apart: a forecaster, the rule that follows it, and the replay that joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from backtest.forecasters import Forecaster
from backtest.replay import Step, market_days, replay
from backtest.scrambled import Data
from bot.core.costs import CostRates
from bot.core.decide import Decision, MarketDay, Rules, decide
from bot.core.portfolio import Portfolio


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRule:
    """A forecaster, made anew from whatever data it is given, and the rule that follows it."""

    name: str
    forecaster: Callable[[Data], Forecaster]
    rules: Rules
    costs: CostRates
    cash_twd: int
    fill_rule: str

    def days(self, data: Data, sessions: Sequence[date]) -> Sequence[MarketDay]:
        """What the forecaster and the market say after each of `sessions`."""
        return market_days(data.history, sessions, self.forecaster(data))

    def decide(self, day: MarketDay, held: Portfolio) -> Decision:
        """The orders of the one decision function."""
        return decide(day, held, self.rules, self.costs)

    def steps(self, data: Data, days: Sequence[MarketDay]) -> Sequence[Step]:
        """The replay."""
        return tuple(replay(data.history, days, self.cash_twd, self.rules, self.costs, self.fill_rule))
