"""Planted look-ahead is caught, each in its own way; what does not look ahead passes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import fmean, pstdev

import pytest
from builders import RATES, TAIPEI, at, days, forecast
from markets import RULES, random_market

from backtest.forecasters import BestFourPoint, Forecaster, Naive, Stored, flat_forecast
from backtest.history import History, Known
from backtest.kernel import Options
from backtest.lookahead import Checked, check, edge
from backtest.scrambled import Data, How, drawn_anew, without_future
from backtest.shipped_rule import ForecastRule
from bot.adapters.twstock_signals import best_four_point
from bot.core.decide import MarketDay
from bot.core.exrights import ExRight
from bot.core.forecast import Forecast
from bot.core.market import from_x100
from bot.errors import Refused
from bot.strategies.registry import find_strategy

SESSIONS = days(date(2024, 1, 2), 140)
MARKET = random_market(["1101", "2317", "2330", "2382", "2454", "3008"], SESSIONS)


@dataclass(frozen=True)
class Told:
    """A forecaster made of one function from what is known to targets in hundredths of a TWD."""

    targets_x100: Callable[[Known], Mapping[str, int]]
    name: str = "planted"

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        targets = self.targets_x100(known)
        return {
            symbol: flat_forecast(bar, from_x100(targets[symbol]), self.name, 1)
            for symbol, bar in known.bars.items()
            if symbol in targets
        }

    def sentiment_bps(self, session: date) -> Mapping[str, int]:
        return {}

    def digest(self) -> str:
        return self.name


def rule(forecaster: Callable[[Data], Forecaster], name: str = "planted") -> ForecastRule:
    options = Options(fill_rule="open", start_cash_twd=100_000_000, costs=RATES)
    return ForecastRule(name=name, forecaster=forecaster, rules=RULES, options=options)


def checked(forecaster: Callable[[Data], Forecaster], data: Data | None = None, cuts: int = 40) -> Checked:
    [told] = check([rule(forecaster)], data or Data(history=MARKET), SESSIONS, cuts=cuts, seed=20261122, compiled=False)
    return told


def promised(known: Known, symbol: str, share: float) -> int:
    """The close of `symbol`, moved by `share`."""
    return max(1, round(known.closes_x100[symbol] * (1 + share)))


def reversal(data: Data) -> Forecaster:
    """Honest: what fell over five sessions will rise, and the other way round."""

    def targets(known: Known) -> dict[str, int]:
        found = {}
        for symbol in known.bars:
            past = known.past(symbol, 6)
            if len(past) == 6:
                found[symbol] = promised(known, symbol, float(past[0].close / past[-1].close) - 1)
        return found

    return Told(targets)


def tomorrows_close(data: Data) -> Forecaster:
    """Looks ahead: the close of the session after."""
    history = data.history
    after = dict(zip(history.sessions, history.sessions[1:], strict=False))

    def targets(known: Known) -> dict[str, int]:
        tomorrow = after.get(known.session)
        return dict(history.closes_x100(tomorrow)) if tomorrow else {}

    return Told(targets)


def z_score_over_all_days(data: Data) -> Forecaster:
    """Looks ahead softly: mean and deviation of all days, the later ones included."""
    closes = {symbol: [one.close_x100 for one in data.history.series(symbol).quotes] for symbol in data.history.symbols}
    mean = {symbol: fmean(told) for symbol, told in closes.items()}
    deviation = {symbol: pstdev(told) or 1.0 for symbol, told in closes.items()}

    def targets(known: Known) -> dict[str, int]:
        now = known.closes_x100
        return {
            symbol: promised(known, symbol, -0.02 * (now[symbol] - mean[symbol]) / deviation[symbol]) for symbol in now
        }

    return Told(targets)


def five_sessions_ahead(data: Data) -> Forecaster:
    """Looks ahead past the next session."""
    history = data.history

    def targets(known: Known) -> dict[str, int]:
        place = history.sessions.index(known.session)
        return dict(history.closes_x100(history.sessions[min(place + 5, len(history.sessions) - 1)]))

    return Told(targets)


def reads_the_row_below(data: Data) -> Forecaster:
    """Looks ahead and stumbles where there is nothing."""
    history = data.history

    def targets(known: Known) -> dict[str, int]:
        found = {}
        for symbol in known.bars:
            series = history.series(symbol)
            place = series.sessions.index(known.session)
            if known.session != history.sessions[-1]:
                found[symbol] = series.quotes[min(place + 1, len(MARKET.series(symbol).quotes) - 1)].close_x100
        return found

    return Told(targets)


# --- what is honest passes --------------------------------------------------------------------------------------


def test_an_honest_rule_passes_every_cut_and_the_canary() -> None:
    told = checked(reversal, cuts=90)
    assert told.clean, told.verdict
    assert told.canary.shuffled.orders > 50
    assert "90 of 90 decisions stay the same" in told.verdict


@pytest.mark.parametrize("seed", range(5))
def test_no_seed_accuses_an_honest_rule(seed: int) -> None:
    [told] = check([rule(reversal)], Data(history=MARKET), SESSIONS, cuts=6, seed=seed, compiled=False)
    assert told.clean, told.verdict


def test_the_baselines_pass() -> None:
    told = checked(lambda _: BestFourPoint(signal=best_four_point, rules=RULES, costs=RATES), cuts=30)
    assert told.clean, told.verdict
    idle = checked(lambda _: Naive(), cuts=30)
    assert idle.clean
    assert "an edge can't be told from none" in idle.verdict


def test_stored_forecasts_pass_and_later_ones_are_not_read() -> None:
    chance = random.Random(4)
    told = {
        session: {
            symbol: replace(
                forecast("1", symbol=symbol, as_of=session, until=date(2023, 6, 30)),
                bars=flat_forecast(bar, bar.close * Decimal(chance.choice(["0.97", "1.04"])), "stored", 1).bars,
            )
            for symbol, bar in MARKET.bars(session).items()
        }
        for session in SESSIONS
    }
    told = {
        session: {
            symbol: replace(one, bars=tuple(replace(bar, close=round(bar.close, 2)) for bar in one.bars))
            for symbol, one in by.items()
        }
        for session, by in told.items()
    }
    moods = {session: dict.fromkeys(MARKET.symbols, 100) for session in SESSIONS}
    data = Data(history=MARKET, forecasts=told, sentiment_bps=moods)
    result = checked(
        lambda one: Stored(name="stored", by_session=one.forecasts, sentiment_by_session=one.sentiment_bps), data
    )
    assert result.clean, result.verdict
    assert result.canary.shuffled.orders > 50


# --- what looks ahead is caught -----------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [tomorrows_close, five_sessions_ahead, z_score_over_all_days, reads_the_row_below])
def test_planted_look_ahead_is_caught_by_the_cuts(planted: Callable[[Data], Forecaster]) -> None:
    told = checked(planted)
    assert not told.clean
    assert len(told.leaks) > 30, "nearly every cut shows it"
    assert told.verdict.startswith("planted looks ahead: ")


def test_the_report_says_where_it_leaked() -> None:
    [first, *_] = [leak for leak in checked(tomorrows_close).leaks if leak.how == How.REPLACED]
    assert first.field == "target_x100"
    assert first.field_of == first.symbol
    after = MARKET.sessions[MARKET.sessions.index(first.session) + 1]
    assert int(first.seen) == MARKET.closes_x100(after)[first.symbol]
    assert first.line.startswith(f"{first.session}: with the data of {first.symbol} replaced after that session")
    ordered = [leak.order for leak in checked(tomorrows_close).leaks if leak.order]
    assert any("is not ordered any more" in one or "is ordered then" in one for one in ordered)


def test_one_leak_in_six_stocks_is_found() -> None:
    """Only 2330's forecast looks ahead: the cuts of 2330 show it, the others do not."""

    def planted(data: Data) -> Forecaster:
        honest, peeking = reversal(data), tomorrows_close(data)

        def targets(known: Known) -> dict[str, int]:
            found = {symbol: round(one.target * 100) for symbol, one in honest.forecasts(known).items()}
            ahead = peeking.forecasts(known)
            return found | ({"2330": round(ahead["2330"].target * 100)} if "2330" in ahead else {})

        return Told(targets)

    told = checked(planted, cuts=120)
    assert told.leaks
    assert {leak.symbol for leak in told.leaks} == {"2330"}


def test_a_mood_of_tomorrow_is_caught() -> None:
    moods = {session: dict.fromkeys(MARKET.symbols, place * 10) for place, session in enumerate(SESSIONS)}

    class Peeks(Told):
        def __init__(self, data: Data) -> None:
            super().__init__(reversal(data).targets_x100)  # type: ignore[attr-defined]
            object.__setattr__(self, "moods", data.sentiment_bps)

        def sentiment_bps(self, session: date) -> Mapping[str, int]:
            place = SESSIONS.index(session)
            later: Mapping[str, int] = self.moods[SESSIONS[min(place + 1, len(SESSIONS) - 1)]]  # type: ignore[attr-defined]
            return later

    told = checked(Peeks, Data(history=MARKET, sentiment_bps=moods))
    assert told.leaks
    assert {leak.field for leak in told.leaks} == {"sentiment_bps"}


class ReadsTheNextOpen(ForecastRule):
    """Looks ahead through the reference price: limits count from the open of the session to come."""

    def day(self, data: Data, session: date, coming: date) -> MarketDay:
        return self._with_opens(data, super().day(data, session, coming), coming)

    def days(self, data: Data, sessions: Sequence[date]) -> Sequence[MarketDay]:
        told = super().days(data, sessions)
        return [*(self._with_opens(data, one, after) for one, after in zip(told, sessions[1:], strict=False)), told[-1]]

    def _with_opens(self, data: Data, day: MarketDay, coming: date) -> MarketDay:
        known = data.history.after(coming)
        opens = {symbol: quote.open_x100 for symbol in day.bars if (quote := known.quote(symbol))}
        return replace(day, reference_x100=opens)


def test_a_reference_price_of_tomorrow_is_caught() -> None:
    honest = rule(reversal)
    peeking = ReadsTheNextOpen(name="planted", forecaster=honest.forecaster, rules=honest.rules, options=honest.options)
    [told] = check([peeking], Data(history=MARKET), SESSIONS, cuts=60, seed=2, compiled=False)
    assert len(told.leaks) > 40
    assert {leak.field for leak in told.leaks} == {"reference_x100"}
    assert all(leak.field_of == leak.symbol for leak in told.leaks)
    assert any(leak.order for leak in told.leaks), "and orders follow it"


def ex_date(symbol: str, place: int, known: int) -> ExRight:
    """A dividend of SESSIONS[place] that was told in the evening of SESSIONS[known]."""
    close = MARKET.closes_x100(SESSIONS[place - 1])[symbol]
    return ExRight(
        symbol=symbol, ex_date=SESSIONS[place], kind="dividend", previous_x100=close, reference_x100=close * 96 // 100,
        source="test", known_at=at(SESSIONS[known], "17:00"), cash_dividend=from_x100(close - close * 96 // 100),
    )  # fmt: skip


def test_ex_dates_are_known_the_evening_before_and_not_earlier() -> None:
    """Honest with dividends in it: those to come are cut and changed, and no decision is."""
    events = tuple(ex_date(symbol, place, place - 1) for symbol in MARKET.symbols for place in range(9, 139, 13))
    data = Data(history=MARKET, ex_rights=events)
    [told] = check([rule(reversal)], data, SESSIONS, cuts=150, seed=4, compiled=False)
    assert told.clean, told.verdict


class ReadsDividendsToCome(ForecastRule):
    """Looks ahead in the ex-dates: it knows today what goes ex within ten sessions."""

    def day(self, data: Data, session: date, coming: date) -> MarketDay:
        return self._with_dividends(data, super().day(data, session, coming))

    def days(self, data: Data, sessions: Sequence[date]) -> Sequence[MarketDay]:
        return [self._with_dividends(data, one) for one in super().days(data, sessions)]

    def _with_dividends(self, data: Data, day: MarketDay) -> MarketDay:
        place = SESSIONS.index(day.session)
        soon = SESSIONS[place + 1 : place + 11]
        rich = {one.symbol: 500 for one in data.ex_rights if one.ex_date in soon}
        return replace(day, sentiment_bps=rich)


def test_a_dividend_to_come_is_caught() -> None:
    honest = rule(reversal)
    events = tuple(ex_date(symbol, place, place - 1) for symbol in MARKET.symbols for place in range(9, 139, 13))
    peeking = ReadsDividendsToCome(
        name="planted", forecaster=honest.forecaster, rules=honest.rules, options=honest.options
    )
    [told] = check([peeking], Data(history=MARKET, ex_rights=events), SESSIONS, cuts=60, seed=5, compiled=False)
    assert told.leaks
    assert {leak.field for leak in told.leaks} == {"sentiment_bps"}


# --- strategies of users ------------------------------------------------------------------------------------------

HONEST = """
from bot.core.rule import plan_orders


def plan(now, view, book, holdings, purse, rates, rules, orders):
    return plan_orders(now, view, book, holdings, purse, rates, rules, orders)
"""

# With more stocks than the trial market has, an index beyond the last one.
READS_BEYOND = """
from bot.core.rule import plan_orders


def plan(now, view, book, holdings, purse, rates, rules, orders):
    n = len(view.etf)
    if n > 3 and view.close_x100[n] < 0:
        return 0
    return plan_orders(now, view, book, holdings, purse, rates, rules, orders)
"""

# The same, and it does not stumble: in plain Python it sees nothing there, compiled the next session's closes.
READS_BEYOND_AND_HIDES_IT = """
from bot.core.rule import plan_orders


def tomorrow(view, i):
    try:
        return view.close_x100[len(view.etf) + i]
    except Exception:
        return 0


def plan(now, view, book, holdings, purse, rates, rules, orders):
    count = plan_orders(now, view, book, holdings, purse, rates, rules, orders)
    kept = 0
    for k in range(count):
        i = orders.stock[k]
        after = tomorrow(view, i)
        if after == 0 or orders.shares[k] < 0 or after > view.close_x100[i]:
            orders.stock[kept] = i
            orders.shares[kept] = orders.shares[k]
            orders.limit_x100[kept] = orders.limit_x100[k]
            orders.reason[kept] = orders.reason[k]
            kept += 1
    return kept
"""


def by_file(folder: Path, text: str) -> ForecastRule:
    """The strategy in a file of the user's."""
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    rules = replace(RULES, strategy=str(path))
    options = Options(
        fill_rule="open", start_cash_twd=100_000_000, costs=RATES, strategy=find_strategy.__wrapped__(str(path))
    )
    return ForecastRule(name="mine", forecaster=reversal, rules=rules, options=options)


def test_a_strategy_of_the_users_that_is_honest_passes(tmp_path: Path) -> None:
    [told] = check([by_file(tmp_path, HONEST)], Data(history=MARKET), SESSIONS, cuts=20, seed=6, compiled=False)
    assert told.clean, told.verdict


def test_a_strategy_that_reads_beyond_its_session_fails_before_it_trades(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="mine fails on the real data: IndexError"):
        check([by_file(tmp_path, READS_BEYOND)], Data(history=MARKET), SESSIONS, cuts=1, seed=6, compiled=False)


def test_a_strategy_that_only_looks_ahead_when_compiled_is_caught(tmp_path: Path) -> None:
    [told] = check([by_file(tmp_path, READS_BEYOND_AND_HIDES_IT)], Data(history=MARKET), SESSIONS, cuts=5, seed=6)
    assert not told.leaks, "as plain Python it sees nothing"
    assert told.compiled_differs is not None
    assert f"compiled it is worth something else from {told.compiled_differs} on" in told.verdict


def test_the_canary_catches_tomorrows_close_by_itself() -> None:
    told = checked(tomorrows_close, cuts=0)
    assert (told.leaks, told.clean) == ((), False)
    assert told.canary.changed is not None
    assert told.canary.shuffled.errors is not None
    assert told.canary.shuffled.errors > 5, "no past says anything about this market, and yet it earns"


def test_the_edge_of_orders_by_hand() -> None:
    [told] = check([rule(tomorrows_close)], Data(history=MARKET), SESSIONS, cuts=1, seed=1, compiled=False)
    real = told.canary.real
    assert real.mean_bps is not None
    assert real.mean_bps > 50  # who knows tomorrow's close of six stocks buys the best ones


def test_few_sessions_are_refused() -> None:
    with pytest.raises(Refused, match="3 sessions are too few"):
        check([rule(reversal)], Data(history=MARKET), SESSIONS[:3], cuts=1, seed=1, compiled=False)


def test_a_seed_says_it_all() -> None:
    assert checked(tomorrows_close, cuts=9) == checked(tomorrows_close, cuts=9)


# --- other futures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(How))
def test_another_future_leaves_the_past_and_the_other_stocks_alone(how: How) -> None:
    after = SESSIONS[60]
    event = ExRight(
        symbol="2330", ex_date=SESSIONS[62], kind="dividend", previous_x100=100_00, reference_x100=97_00,
        source="test", known_at=datetime(2024, 1, 2, tzinfo=TAIPEI),
    )  # fmt: skip
    later = replace(event, ex_date=SESSIONS[90], known_at=datetime.combine(SESSIONS[80], datetime.min.time(), TAIPEI))
    other = without_future(
        Data(history=MARKET, ex_rights=(event, later)), "2330", after, SESSIONS[61], how, random.Random(1)
    )
    assert event in other.ex_rights
    assert later not in other.ex_rights
    for symbol in MARKET.symbols:
        real, changed = MARKET.series(symbol), other.history.series(symbol)
        end = sum(session <= after for session in real.sessions)
        assert changed.quotes[:end] == real.quotes[:end]
        assert (changed.quotes == real.quotes) == (symbol != "2330")
    ahead = other.history.series("2330").sessions[-1] > after
    assert ahead == (how is not How.CUT)


def test_a_market_drawn_anew_keeps_the_past_and_moves_together() -> None:
    after = SESSIONS[40]
    other = drawn_anew(Data(history=MARKET), after, random.Random(2)).history
    assert other.sessions == MARKET.sessions
    for symbol in MARKET.symbols:
        real, changed = MARKET.series(symbol), other.series(symbol)
        assert changed.sessions == real.sessions
        end = sum(session <= after for session in real.sessions)
        assert changed.quotes[:end] == real.quotes[:end]
        assert changed.quotes[end:] != real.quotes[end:]


def test_stocks_that_moved_as_one_still_do() -> None:
    """Two stocks with the same moves have the same moves afterwards: sessions are drawn for all stocks at once."""
    twin = random_market(["2330"], SESSIONS).series("2330")
    copy = type(twin)("2331", list(twin.sessions), list(twin.quotes))
    other = drawn_anew(Data(history=History([twin, copy])), SESSIONS[40], random.Random(3)).history
    assert other.series("2330").quotes == other.series("2331").quotes


def test_edges_need_orders() -> None:
    told = edge(MARKET, [])
    assert (told.sessions, told.mean_bps, told.errors) == (0, None, None)
