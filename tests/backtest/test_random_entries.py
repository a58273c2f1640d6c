"""Random entries: the same turnover, the same draws plain and compiled, and a percentile that means what it says."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
import pytest
from builders import RATES, days, order
from markets import RULES, SESSIONS, flat, market, random_market

from backtest.forecasters import flat_forecast
from backtest.history import Known
from backtest.kernel import Options, play, play_many, rules_matrix
from backtest.random_entries import RandomEntries, Stay, random_entries, stays
from backtest.random_rule import RANDOM, RANDOM_RULE, drawn, mixed
from backtest.replay import Run, Step, market_days
from backtest.tape import Tape, tape_of
from bot.core.decide import Rules
from bot.core.forecast import Forecast
from bot.core.market import from_x100
from bot.core.orders import Fill, Order, Side
from bot.core.portfolio import Portfolio, Position
from bot.core.rule import Knobs

CASH_TWD = 100_000_000
YEAR = days(date(2024, 1, 2), 250)
MARKET = random_market(["1101", "1216", "2002", "2317", "2330", "2382", "2412", "2454", "2882", "3008"], YEAR)
FILL_RULES = ("open", "range", "touch")


def options(fill_rule: str) -> Options:
    return Options(fill_rule=fill_rule, start_cash_twd=CASH_TWD, costs=RATES)


class Told:
    """A forecaster made of one function from what is known to moves that are promised."""

    name = "told"

    def __init__(self, moves: Callable[[Known], Mapping[str, float]]) -> None:
        self.moves = moves

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        told = self.moves(known)
        return {
            symbol: flat_forecast(
                bar, from_x100(max(1, round(known.closes_x100[symbol] * (1 + told[symbol])))), "told", 1
            )
            for symbol, bar in known.bars.items()
            if symbol in told
        }

    def sentiment_bps(self, session: date) -> Mapping[str, int]:
        return {}

    def digest(self) -> str:
        return self.name


def reversal(known: Known) -> dict[str, float]:
    """What fell over ten sessions will rise."""
    pasts = {symbol: known.past(symbol, 11) for symbol in known.bars}
    return {symbol: float(past[0].close / past[-1].close) - 1 for symbol, past in pasts.items() if len(past) == 11}


def rarely(known: Known) -> dict[str, float]:
    """Buys now and then, sells after a good while."""
    chance = random.Random(known.session.toordinal())
    return {symbol: 0.1 if chance.random() < 0.25 else -0.1 for symbol in known.bars if chance.random() < 0.08}


def knows_tomorrow(known: Known) -> dict[str, float]:
    after = YEAR[min(YEAR.index(known.session) + 1, len(YEAR) - 1)]
    now, then = known.closes_x100, MARKET.closes_x100(after)
    return {symbol: then[symbol] / now[symbol] - 1 for symbol in known.bars}


def wrong_about_tomorrow(known: Known) -> dict[str, float]:
    return {symbol: -move for symbol, move in knows_tomorrow(known).items()}


def tape_told(moves: Callable[[Known], Mapping[str, float]]) -> Tape:
    return tape_of(MARKET, market_days(MARKET, YEAR, Told(moves)), RATES)


def run_of(tape: Tape, fill_rule: str, rules: Rules = RULES) -> Run:
    """The rule over `tape`, as a replay tells it: orders are those that traded, offered a session before."""
    return as_run(tape, play(tape, rules, options(fill_rule)), fill_rule)


def as_run(tape: Tape, played: object, fill_rule: str) -> Run:
    """What the kernel played as a run, so that no two engines are compared here."""
    steps, shares = [], Counter[str]()
    by_session: dict[int, list[Fill]] = {}
    for fill in played.fills:  # type: ignore[attr-defined]
        told = Fill(
            key=f"{fill.session} {fill.stock}", symbol=tape.symbols[fill.stock], session=tape.sessions[fill.session],
            shares=fill.shares, price_x100=fill.price_x100, commission_twd=fill.commission_twd, tax_twd=fill.tax_twd,
        )  # fmt: skip
        by_session.setdefault(fill.session, []).append(told)
    for now in range(1, len(tape.sessions)):
        fills = by_session.get(now, [])
        for fill in fills:
            shares[fill.symbol] += fill.shares
        held = {symbol: Position(shares=count, cost_twd=0) for symbol, count in shares.items() if count}
        orders = tuple(
            order(
                Side.BUY if fill.shares > 0 else Side.SELL, abs(fill.shares), symbol=fill.symbol,
                decided=tape.sessions[now - 1],
            )
            for fill in fills
        )  # fmt: skip
        steps.append(
            Step(
                decided=tape.sessions[now - 1],
                session=tape.sessions[now],
                decision_sha256="",
                orders=orders,
                fills=tuple(fills),
                held=Portfolio(cash_twd=0, positions=held),
                equity_twd=played.equity_twd[now],  # type: ignore[attr-defined]
            )
        )
    return Run(
        forecaster="told", fill_rule=fill_rule, first=tape.sessions[0], start_cash_twd=CASH_TWD, steps=tuple(steps)
    )


def among_draws(
    moves: Callable[[Known], Mapping[str, float]], fill_rule: str, seed: int = 1, draws: int = 1_000
) -> RandomEntries:
    tape = tape_told(moves)
    told = random_entries(run_of(tape, fill_rule), tape, RULES, options(fill_rule), seed=seed, draws=draws)
    assert told is not None
    return told


def lots(seed: int, number: int, chance_bps: int) -> Rules:
    """One draw of the random strategy."""
    return dataclasses.replace(
        RULES, strategy=RANDOM, max_holding_sessions=seed, take_profit_bps=number, stop_bps=chance_bps
    )


# --- the same turnover ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill_rule", FILL_RULES)
@pytest.mark.parametrize("moves", [reversal, rarely], ids=["always invested", "now and then"])
def test_draws_trade_as_much_as_the_rule(moves: Callable[[Known], Mapping[str, float]], fill_rule: str) -> None:
    told = among_draws(moves, fill_rule)
    assert told.entries > 20
    assert told.drawn_entries == pytest.approx(told.entries, rel=0.03)
    assert told.drawn_turnover == pytest.approx(told.turnover, rel=0.1)
    assert told.is_fair


def test_positions_stay_as_long_as_the_rules() -> None:
    """Under `open`, from fill to fill, over all draws: the mean length is the rule's."""
    tape = tape_told(rarely)
    mine = held_sessions(play(tape, RULES, options("open")).fills, len(YEAR))
    pattern = stays(run_of(tape, "open"))
    lengths = sorted(max(1, stay.end - stay.start) for stay in pattern)
    cells = np.array(
        [np.mean(part) for part in np.array_split(np.repeat(lengths, len(tape.symbols)), len(tape.symbols))]
    )
    blind = dataclasses.replace(
        tape,
        target_x100=np.ascontiguousarray(
            np.broadcast_to(np.rint(cells * 1000).astype(np.int64), tape.close_x100.shape)
        ),
    )
    random_rule = dataclasses.replace(options("open"), strategy=RANDOM_RULE)
    theirs = [
        length for number in range(60)
        for length in held_sessions(play(blind, lots(3, number, 300), random_rule).fills, len(YEAR))
    ]  # fmt: skip
    assert np.mean(theirs) == pytest.approx(np.mean(mine), rel=0.15)


def held_sessions(fills: object, sessions: int) -> list[int]:
    """How long each position that was sold was held."""
    opened, found = {}, []
    for fill in fills:  # type: ignore[attr-defined]
        if fill.shares > 0:
            opened[fill.stock] = fill.session
        else:
            found.append(fill.session - opened.pop(fill.stock))
    return found


# --- what the percentile says -----------------------------------------------------------------------------------


def test_who_knows_tomorrow_beats_them_all_and_who_is_always_wrong_none() -> None:
    assert among_draws(knows_tomorrow, "open").percentile > 0.99
    assert among_draws(wrong_about_tomorrow, "open").percentile < 0.01


def test_a_run_drawn_by_lot_stands_anywhere() -> None:
    """Random runs among random runs: their percentiles are spread evenly, 0.5 on average, 0.29 apart."""
    tape = tape_told(lambda known: {})
    tape = dataclasses.replace(tape, target_x100=np.full_like(tape.target_x100, 12_000))  # stays of 12 sessions
    places = []
    for number in range(40):
        rules = lots(77, 5_000 + number, 800)
        played = play(tape, rules, dataclasses.replace(options("open"), strategy=RANDOM_RULE))
        told = random_entries(as_run(tape, played, "open"), tape, RULES, options("open"), seed=number, draws=200)
        assert told is not None
        places.append(told.percentile)
    assert np.mean(places) == pytest.approx(0.5, abs=0.14)  # three standard errors of 0.29 / sqrt(40)
    assert np.std(places) == pytest.approx(0.29, abs=0.1)


def test_a_rule_that_never_bought_has_no_place() -> None:
    tape = tape_told(lambda known: {})
    assert random_entries(run_of(tape, "open"), tape, RULES, options("open"), seed=1, draws=100) is None


def test_a_seed_says_it_all() -> None:
    assert among_draws(rarely, "open", seed=5, draws=100) == among_draws(rarely, "open", seed=5, draws=100)
    assert among_draws(rarely, "open", seed=5, draws=100) != among_draws(rarely, "open", seed=6, draws=100)


# --- the strategy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill_rule", FILL_RULES)
def test_plain_and_compiled_draw_the_same(fill_rule: str) -> None:
    tape = dataclasses.replace(
        tape_told(rarely), target_x100=np.full((len(YEAR), len(MARKET.symbols)), 7_400, dtype=np.int64)
    )
    rules = [lots(seed, number, chance) for seed, number, chance in [(0, 0, 500), (1, 999, 10_000), (9_999, 5, 2_000)]]
    plain = dataclasses.replace(options(fill_rule), strategy=RANDOM_RULE)
    compiled = play_many(tape, rules_matrix(rules), plain, keep_equity=True).equity_twd
    assert compiled is not None
    for row, one in zip(compiled, rules, strict=True):
        assert tuple(int(value) for value in row) == play(tape, one, plain).equity_twd


def test_numbers_are_even_and_draws_have_nothing_in_common() -> None:
    def knobs(number: int) -> Knobs:
        [row] = rules_matrix([lots(1, number, 0)]).tolist()
        return Knobs(*row)

    told = np.array([[drawn(knobs(number), 0, session, 0) / 2**32 for session in range(300)] for number in range(40)])
    assert told.mean() == pytest.approx(0.5, abs=0.01)  # 0.29 / sqrt(12,000) is 0.003
    counts = np.histogram(told, bins=20, range=(0, 1))[0]
    assert ((counts - 600) ** 2 / 600).sum() < 43.8  # chi square with 19 degrees, once in a thousand
    between = np.corrcoef(told)[np.triu_indices(40, 1)]
    assert abs(between).max() < 0.25  # 780 pairs of 300: the largest by chance is about 0.19


def test_one_bit_changes_half_of_all() -> None:
    flips = [(mixed(number) ^ mixed(number ^ 1 << bit)).bit_count() for number in range(200) for bit in range(32)]
    assert np.mean(flips) == pytest.approx(16, abs=0.3)


# --- stays --------------------------------------------------------------------------------------------------------


def test_stays_by_hand() -> None:
    """Bought after session 0; offered after 2, sold only in session 4: it stayed from close 0 to close 2."""
    history = market(s2330=[flat(100)] * 6)
    buy = order(Side.BUY, 1_000, decided=SESSIONS[0])
    fill = Fill(
        key="b", symbol="2330", session=SESSIONS[1], shares=1_000, price_x100=100_00, commission_twd=0, tax_twd=0
    )
    sold = dataclasses.replace(fill, key="s", session=SESSIONS[4], shares=-1_000)
    offers = [order(Side.SELL, 1_000, decided=SESSIONS[i]) for i in (2, 3)]
    holding = Portfolio(cash_twd=0, positions={"2330": Position(shares=1_000, cost_twd=1)})
    told: list[tuple[tuple[Order, ...], tuple[Fill, ...], Portfolio]] = [
        ((buy,), (fill,), holding),
        ((), (), holding),
        ((offers[0],), (), holding),
        ((offers[1],), (sold,), Portfolio(cash_twd=0)),
        ((buy,), (dataclasses.replace(fill, session=SESSIONS[5]),), holding),
    ]
    steps = tuple(
        Step(decided=SESSIONS[i], session=SESSIONS[i + 1], decision_sha256="", orders=orders, fills=fills, held=held,
             equity_twd=CASH_TWD)
        for i, (orders, fills, held) in enumerate(told)
    )  # fmt: skip
    run = Run(forecaster="x", fill_rule="open", first=SESSIONS[0], start_cash_twd=CASH_TWD, steps=steps)
    assert len(history.sessions) == 6
    assert stays(run) == [Stay(start=0, end=2), Stay(start=4, end=5)]
