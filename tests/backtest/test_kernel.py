"""The kernel, plain and compiled, against a slow ledger of its own, against vectorbt's books and against pinned runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pytest
from builders import RATES, REPO
from markets import RULES
from slow_ledger import SlowLedger, SlowMarket, SlowRun
from tapes import random_rules, random_tape, real_tape, with_forecasts

from backtest.kernel import Options, Played, PlayedMany, play, play_many, rules_matrix
from backtest.tape import Tape
from bot.core.rule import KNOBS, Rules
from bot.errors import Refused

FILL_RULES = ["open", "range", "touch"]
WINDOWS = [
    (date(2020, 7, 1), date(2020, 8, 20)),
    (date(2022, 6, 15), date(2022, 8, 5)),
    (date(2024, 7, 1), date(2024, 8, 15)),
]


def options(seed: int, **more: Any) -> Options:
    chance = np.random.default_rng([seed, 13])
    told: dict[str, Any] = {
        "fill_rule": FILL_RULES[seed % 3],
        "start_cash_twd": int(chance.integers(500_000, 100_000_000)),
        "costs": RATES,
        "slippage_ticks": int(chance.integers(0, 3)),
        "volume_share_bps": int(chance.choice([0, 100, 5_000])),
        "settlement_sessions": int(chance.choice([0, 2])),
    }
    return Options(**(told | more))


def slow(market: SlowMarket, rules: Rules, told: Options) -> SlowRun:
    return SlowLedger(market, {name: getattr(rules, name) for name in KNOBS}, told.costs, told).play()


def figures(run: SlowRun) -> dict[str, Any]:
    return {
        "final_equity_twd": run.equity[-1],
        "max_drawdown": pytest.approx(run.drawdown, rel=1e-12),
        "trades": run.closed,
        "fees_twd": run.fees,
        "taxes_twd": run.taxes,
        "dividends_twd": run.dividends,
        "turnover_twd": run.turnover,
    }


def of_plain(played: Played) -> dict[str, Any]:
    return {name: getattr(played, name) for name in figures(SlowRun(equity=[1]))}


def of_compiled(played: PlayedMany, one: int) -> dict[str, Any]:
    return {name: getattr(played, name)[one].item() for name in figures(SlowRun(equity=[1]))}


@pytest.mark.parametrize("seed", range(30))
def test_plain_compiled_and_slow_ledger_agree_on_random_markets(seed: int) -> None:
    tape, rules, told = random_tape(seed), random_rules(seed), options(seed)
    expected = slow(SlowMarket.of(tape), rules, told)
    plain = play(tape, rules, told)
    assert sorted(
        (one.session, tape.symbols[one.stock], one.shares, one.price_x100, one.commission_twd, one.tax_twd)
        for one in plain.fills
    ) == sorted(
        (now, symbol, shares, int(price * 100), fee, tax) for now, symbol, shares, price, fee, tax in expected.fills
    )
    assert list(plain.equity_twd) == expected.equity
    assert of_plain(plain) == figures(expected)
    compiled = play_many(tape, rules_matrix([rules]), told, keep_equity=True)
    assert compiled.equity_twd is not None
    assert compiled.equity_twd[0].tolist() == expected.equity
    assert of_compiled(compiled, 0) == figures(expected)


def test_the_random_markets_hold_what_they_are_to_try() -> None:
    runs = [
        (tape := random_tape(seed), slow(SlowMarket.of(tape), random_rules(seed), options(seed))) for seed in range(30)
    ]
    assert sum(len(run.fills) for _, run in runs) > 1_000
    assert sum(run.dividends > 0 for _, run in runs) > 5
    assert any((tape.share_ratio_e8 != 10**8).any() for tape, _ in runs)
    assert any(fee == 20 for _, run in runs for *_, fee, _ in run.fills), "no trade at the least commission"


@cache
def windows() -> list[tuple[Tape, SlowMarket]]:
    tapes = [real_tape(since, until) for since, until in WINDOWS]
    return [(tape, SlowMarket.of(tape)) for tape in tapes]


@cache
def many_slow() -> list[tuple[int, Rules, Options, SlowRun]]:
    """500 random sets on real bars: window, rules, options and what the slow ledger says."""
    told = []
    for seed in range(500):
        place = seed % len(WINDOWS)
        rules, option = random_rules(seed), options(seed // 50, start_cash_twd=20_000_000)
        told.append((place, rules, option, slow(windows()[place][1], rules, option)))
    return told


def test_500_random_sets_on_real_bars_agree_to_the_dollar() -> None:
    groups: dict[tuple[int, int], list[tuple[Rules, Options, SlowRun]]] = {}
    for seed, (place, rules, option, run) in enumerate(many_slow()):
        groups.setdefault((place, seed // 50), []).append((rules, option, run))
    for (place, _), members in groups.items():
        tape = windows()[place][0]
        compiled = play_many(tape, rules_matrix([rules for rules, _, _ in members]), members[0][1])
        for one, (_, _, run) in enumerate(members):
            assert of_compiled(compiled, one) == figures(run)
        rules, option, run = members[0]
        assert of_plain(play(tape, rules, option)) == figures(run)
    assert sum(len(run.fills) for *_, run in many_slow()) > 10_000


def test_vectorbt_s_books_of_the_same_500_sets_agree_to_the_dollar() -> None:
    """vectorbt is handed the fills; what it does not know (dividends in cash) is added to its cash."""
    import vectorbt as vbt

    for place in range(len(WINDOWS)):
        tape = windows()[place][0]
        runs = [run for where, _, _, run in many_slow() if where == place]
        shape = len(tape.sessions), len(runs), len(tape.symbols)
        size, price, fees = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
        column = {symbol: i for i, symbol in enumerate(tape.symbols)}
        for one, run in enumerate(runs):
            for now, symbol, shares, paid, fee, tax in run.fills:
                where = now, one, column[symbol]
                size[where], price[where] = shares, float(paid)
                cents = float(paid * abs(shares) % 1)  # what the books cut from the value
                fees[where] = fee + tax + (-cents if shares > 0 else cents)
        close = np.where(tape.close_x100 == 0, 100, tape.close_x100) / 100
        flat = (shape[0], shape[1] * shape[2])
        books = vbt.Portfolio.from_orders(
            np.tile(close, (1, shape[1])), size=size.reshape(flat), price=price.reshape(flat),
            fixed_fees=fees.reshape(flat), init_cash=20_000_000.0, cash_sharing=True, freq="1D",
            group_by=np.repeat(np.arange(shape[1]), shape[2]), raise_reject=True, allow_partial=False,
        )  # fmt: skip
        final = books.final_value().to_numpy() + [run.dividends for run in runs]
        # Positions in odd lots are valued to the cent by vectorbt and to whole dollars, a stock each, by us.
        np.testing.assert_allclose(final, [run.equity[-1] for run in runs], rtol=0, atol=len(tape.symbols))
        whole = [one for one, run in enumerate(runs) if all(fill[2] % 100 == 0 for fill in run.fills)]
        np.testing.assert_allclose(final[whole], [runs[one].equity[-1] for one in whole], rtol=0, atol=1)
        assert len(whole) > 20


# Made by the slow ledger alone: 41 stocks, 2020-07-01..2025-06-30, RULES with take-profit 20 % and 60 sessions at most,
# forecasts of tapes.with_forecasts(seed=41), one tick of slippage, 2 % of the volume, T+2, NT$100,000,000.
PINNED = {
    "open": {
        "final_equity_twd": 86_821_323, "trades": 304, "fees_twd": 7_699_106, "taxes_twd": 8_008_321,
        "dividends_twd": 8_135_100, "turnover_twd": 5_403_156_050, "fills": 786,
    },
    "range": {
        "final_equity_twd": 128_564_415, "trades": 341, "fees_twd": 9_209_845, "taxes_twd": 9_669_190,
        "dividends_twd": 5_311_800, "turnover_twd": 6_463_351_150, "fills": 896,
    },
    "touch": {
        "final_equity_twd": 85_600_976, "trades": 419, "fees_twd": 10_330_150, "taxes_twd": 10_803_624,
        "dividends_twd": 4_598_200, "turnover_twd": 7_249_585_950, "fills": 1_063,
    },
}  # fmt: skip


@cache
def five_years() -> tuple[Tape, SlowMarket]:
    tape = real_tape(date(2020, 7, 1), date(2025, 6, 30))
    return tape, SlowMarket.of(tape)


@pytest.mark.parametrize("fill_rule", FILL_RULES)
def test_golden_runs_over_five_years_of_real_bars(fill_rule: str) -> None:
    rules = replace(RULES, take_profit_bps=2_000, max_holding_sessions=60, exit_return_bps=-400)
    told = options(0, fill_rule=fill_rule, start_cash_twd=100_000_000, slippage_ticks=1, volume_share_bps=200,
                   settlement_sessions=2)  # fmt: skip
    tape, market = five_years()
    run = slow(market, rules, told)
    pinned = {name: value for name, value in figures(run).items() if name != "max_drawdown"} | {"fills": len(run.fills)}
    assert pinned == PINNED[fill_rule]
    plain = play(tape, rules, told)
    assert (of_plain(plain), len(plain.fills)) == (figures(run), len(run.fills))
    compiled = play_many(tape, rules_matrix([rules]), told)
    assert of_compiled(compiled, 0) == figures(run)


def test_a_second_process_takes_the_compiled_kernel_from_the_disk() -> None:
    play_many(random_tape(0), rules_matrix([RULES]), options(0))  # compiled by now, here or in a run before
    code = (
        "import sys; sys.path[:0] = ['tests', 'tests/backtest']\n"
        "from tapes import random_tape; from markets import RULES; from test_kernel import options\n"
        "from backtest.kernel import compiled, play_many, rules_matrix\n"
        "from bot.core.rule import plan_orders\n"
        "play_many(random_tape(0), rules_matrix([RULES]), options(0))\n"
        "print([sum(one.stats.cache_hits.values()) for one in compiled(plan_orders)],\n"
        "      [sum(one.stats.cache_misses.values()) for one in compiled(plan_orders)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout.strip() == "[1, 1] [0, 0]"


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knob", "value", "line"),
    [("top_k", 0, "set 1: `top_k` is 0, not between 1 and 1000"), ("stop_bps", 10_001, "set 1: `stop_bps` is 10001")],
)
def test_a_set_outside_the_knobs_ranges_is_refused_by_name(knob: str, value: int, line: str) -> None:
    matrix = rules_matrix([RULES, RULES])
    matrix[1, KNOBS.index(knob)] = value
    with pytest.raises(Refused, match=line):
        play_many(random_tape(0), matrix, options(0))


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(Refused, match="sets x 15 knobs"):
        play_many(random_tape(0), rules_matrix([RULES])[:, :5], options(0))


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"fill_rule": "best"}, "no fill rule 'best'"),
        ({"slippage_ticks": -1}, "`slippage_ticks`"),
        ({"volume_share_bps": 10_001}, "`volume_share_bps`"),
    ],
)
def test_options_that_can_t_be_are_refused(told: dict[str, Any], line: str) -> None:
    with pytest.raises(Refused, match=line):
        options(0, **told)


def test_a_tape_with_a_price_that_can_t_be_is_refused_by_stock_and_day() -> None:
    tape = random_tape(3)
    row, column = np.argwhere(tape.traded == 1)[7]
    broken = tape.low_x100.copy()
    broken[row, column] = tape.high_x100[row, column] + 1
    with pytest.raises(Refused, match=f"{tape.symbols[column]} {tape.sessions[row]}: low_x100 is"):
        replace(tape, low_x100=broken)


def test_knobs_and_rules_name_the_same_things_in_the_same_order() -> None:
    assert [name for name in asdict(RULES) if name != "strategy"] == list(KNOBS)


# --- look-ahead ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{}, {"min_p_up_bps": 4_000}, {"edge_from_low": 1, "entry_edge_bps": -500}])
def test_what_comes_later_changes_nothing_before(knobs: dict[str, int]) -> None:
    tape, rules = random_tape(5), replace(RULES, **knobs)
    plain = play(tape, rules, options(5))
    assert plain.fills
    for cut in (10, 25, 40):
        later = with_forecasts(tape, seed=99)
        mixed = replace(
            tape,
            target_x100=np.vstack([tape.target_x100[:cut], later.target_x100[cut:]]),
            sentiment_bps=np.vstack([tape.sentiment_bps[:cut], later.sentiment_bps[cut:]]),
            p_up_bps=np.vstack([tape.p_up_bps[:cut], later.p_up_bps[cut:]]),
            band_low_x100=np.vstack([tape.band_low_x100[:cut], later.band_low_x100[cut:]]),
        )
        assert play(mixed, rules, options(5)).equity_twd[: cut + 1] == plain.equity_twd[: cut + 1]
