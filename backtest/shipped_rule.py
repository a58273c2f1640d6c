"""What a look-ahead test takes apart: a forecaster, the strategy that follows it, and the replay that joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from backtest.forecasters import Forecaster
from backtest.history import Known
from backtest.kernel import Options, play_many, rules_matrix
from backtest.replay import Step, market_days, replay
from backtest.scrambled import Data
from backtest.tape import tape_of
from bot.core.decide import Decision, MarketDay, Rules, decide
from bot.core.forecast import Forecast
from bot.core.portfolio import Portfolio


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRule:
    """A forecaster, made anew from whatever data it is given, and the strategy that follows it."""

    name: str
    forecaster: Callable[[Data], Forecaster]
    rules: Rules
    options: Options

    def days(self, data: Data, sessions: Sequence[date]) -> Sequence[MarketDay]:
        """What the forecaster and the market say after each of `sessions`."""
        return market_days(data.history, sessions, self.forecaster(data), data.ex_rights)

    def day(self, data: Data, session: date, coming: date) -> MarketDay:
        """The same after `session` alone: the forecaster is not asked about `coming`."""
        asked = _OnlyAfter(session, self.forecaster(data))
        return market_days(data.history, [session, coming], asked, data.ex_rights)[0]

    def decide(self, day: MarketDay, held: Portfolio, sessions: Sequence[date]) -> Decision:
        """The orders of the one decision function; ages are counted as the replay counts them."""
        now = sessions.index(day.session) + 1
        ages = {
            symbol: now - sessions.index(position.since)
            for symbol, position in held.positions.items()
            if position.since is not None
        }
        return decide(day, held, self.rules, self.options.costs, held_sessions=ages, strategy=self.options.strategy)

    def steps(self, data: Data, days: Sequence[MarketDay]) -> Sequence[Step]:
        """The replay."""
        return tuple(replay(data.history, days, self.rules, self.options, data.ex_rights))

    def compiled_equity_twd(self, data: Data, days: Sequence[MarketDay]) -> Sequence[int]:
        """What the compiled strategy is worth after each of `days`."""
        tape = tape_of(data.history, days, self.options.costs, data.ex_rights)
        equity = play_many(tape, rules_matrix([self.rules]), self.options, keep_equity=True).equity_twd
        assert equity is not None
        line: list[int] = equity[0].tolist()
        return line


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
