"""A sweep of parameter sets: our kernel beside a bare one, vectorbt, plain Python, bt and backtrader, the same work.

The work is a reduced rule that all of them can do exactly (benchmarks/peers/bare_kernel.py says which) on real bars,
41 stocks x 5 years; every peer's final equity must be ours to NT$1 before its time counts. Ours does the whole job:
all fill rules, odd lots, ex-dates, T+2, slippage and volume cap are in it, switched off. Slow peers get few sets, and
their time for 1,000 is told as 1,000 times the time of one.

Run: .venv/bin/python benchmarks/backtest.py   (needs ../shared/data and the extra [bench])
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests"), str(REPO / "tests/backtest"), str(REPO / "benchmarks")]
SETS = 1_000
ROUNDS = 5


def best_s(work: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, Any]:
    """The shortest wall time of `work` in seconds, and what it gave: others share the machine, and only add to it."""
    taken, told = [], None
    for _ in range(rounds):
        begun = time.perf_counter()
        told = work()
        taken.append(time.perf_counter() - begun)
    return min(taken), told


def the_job() -> tuple[Any, Any, Any, Any]:
    """The tape, the options, 1,000 sets of the reduced rule, and the same as a Job for the peers."""
    import numpy as np
    from builders import RATES
    from peers.reduced import Job
    from tapes import real_tape

    from backtest.kernel import Options, prepared
    from backtest.tape import untold

    tape = real_tape(date(2020, 7, 1), date(2025, 6, 30))
    reference = np.vstack([tape.close_x100[:1], tape.close_x100[:-1]])
    tape = replace(tape, dividend_e8=np.zeros_like(tape.dividend_e8), reference_x100=reference,
                   **(untold(reference.shape) | {"target_x100": slow_opinion(tape)}))  # fmt: skip
    options = Options(fill_rule="open", start_cash_twd=100_000_000, costs=RATES)
    tables = prepared(tape, options)
    job = Job(
        sessions=tape.sessions, symbols=list(tape.symbols), opening=tape.open_x100, high=tape.high_x100,
        low=tape.low_x100, close=tape.close_x100, traded=tape.traded, target=tape.target_x100,
        up=tables.limit_up_x100, down=tables.limit_down_x100, edge=tables.edge_e8, ranked=tables.ranked,
        tax_e8=tape.tax_e8, cash_twd=options.start_cash_twd, lot=1_000, rate_e8=RATES.commission_e8,
        minimum_twd=RATES.minimum_twd, cap_twd=20_000_000,
    )  # fmt: skip
    return tape, options, sets_of(SETS), job


def slow_opinion(tape: Any) -> Any:
    """Targets of a model that changes its mind slowly: noise of 3 % with a half-life of seven sessions."""
    import numpy as np

    chance = np.random.default_rng(41)
    view = np.zeros(tape.close_x100.shape)
    for row in range(1, len(view)):
        view[row] = 0.9 * view[row - 1] + 0.03 * np.sqrt(1 - 0.9**2) * chance.standard_normal(view.shape[1])
    targets = np.maximum((tape.close_x100 * (1 + view)).astype(np.int64), 1)
    return np.where(tape.close_x100 == 0, 0, targets)


def sets_of(count: int) -> Any:
    """Random knobs of the reduced rule: top_k, entry_edge_bps, exit_return_bps, stop_bps, invest_bps."""
    import numpy as np

    chance = np.random.default_rng(5)
    columns = [(1, 11), (0, 300), (-400, 0), (300, 1_500), (5_000, 10_000)]
    return np.column_stack([chance.integers(low, high, count) for low, high in columns]).astype(np.int64)


def matrix_of(sets: Any) -> Any:
    """The reduced knobs as a matrix of all our knobs."""
    import numpy as np
    from markets import RULES

    from backtest.kernel import rules_matrix
    from bot.core.rule import KNOBS

    matrix = np.repeat(rules_matrix([RULES]), len(sets), axis=0)
    for column, name in enumerate(("top_k", "entry_edge_bps", "exit_return_bps", "stop_bps", "invest_bps")):
        matrix[:, KNOBS.index(name)] = sets[:, column]
    return matrix


def check(name: str, told: Any, ours: Any, tolerance: int = 1) -> None:
    """Refuse to time a peer that does other work."""
    import numpy as np

    wrong = np.abs(np.asarray(told) - ours[: len(told)]) > tolerance
    if wrong.any():
        raise SystemExit(f"{name}: {wrong.sum()} of {len(told)} sets end with other money than ours")


def table() -> None:
    """The ratios."""
    from peers import backtrader_peer, bare_kernel, bt_peer, vectorbt_peer

    from backtest.kernel import play, play_many
    from bot.core.rule import KNOBS, Rules

    tape, options, sets, job = the_job()
    matrix = matrix_of(sets)
    terms = (job.cash_twd, job.lot, job.rate_e8, job.minimum_twd, job.cap_twd)
    ours = play_many(tape, matrix, options).final_equity_twd  # compiles, or takes it from the disk
    check("bare kernel", bare_kernel.play(job.market, sets, *terms), ours, 0)
    check("vectorbt", vectorbt_peer.play(job.market, sets[:100], *terms), ours)
    ours_s, _ = best_s(lambda: play_many(tape, matrix, options))
    bare_s, _ = best_s(lambda: bare_kernel.play(job.market, sets, *terms))
    vectorbt_s, told = best_s(lambda: vectorbt_peer.play(job.market, sets, *terms), 2)
    check("vectorbt", told, ours)
    rules = [Rules(**dict(zip(KNOBS, row, strict=True))) for row in matrix[:3].tolist()]
    plain_s, told = best_s(lambda: [play(tape, one, options).final_equity_twd for one in rules], 2)
    check("plain Python", told, ours, 0)
    bt_s, told = best_s(lambda: [bt_peer.play_one(job, one) for one in sets[:3]], 1)
    check("bt", told, ours)
    backtrader_s, told = best_s(lambda: [backtrader_peer.play_one(job, sets[0])], 1)
    check("backtrader", told, ours)
    fills = play_many(tape, matrix, options).fills.mean()
    print(
        f"{len(tape.symbols)} stocks x {len(tape.sessions):,} sessions, {SETS:,} sets of {fills:,.0f} fills on average;"
    )
    print("the same final equity everywhere\n")
    print("| | 1,000 sets | against ours | run |")
    print("|---|---|---|---|")
    for name, taken, how in (
        ("**ours** (numba over bot/core)", ours_s, "1,000 sets"),
        ("a bare numba kernel of only this job", bare_s, "1,000 sets"),
        ("vectorbt, flexible simulator", vectorbt_s, "1,000 sets, 100 at a time"),
        ("ours as plain Python", plain_s / 3 * SETS, "3 sets x 333"),
        ("bt", bt_s / 3 * SETS, "3 sets x 333"),
        ("backtrader", backtrader_s * SETS, "1 set x 1,000"),
    ):
        print(f"| {name} | {taken:,.3f} s | {taken / ours_s:,.2f} x | {how} |")


def linear() -> None:
    """Time against sets and against bars."""
    import numpy as np

    from backtest.kernel import play_many

    tape, options, _, _ = the_job()
    print("\n| sets | sessions | seconds | ns a set and session |")
    print("|---|---|---|---|")
    rows = len(tape.sessions)
    for sets, part in (
        (1_000, rows),
        (2_000, rows),
        (4_000, rows),
        (10_000, rows),
        (4_000, rows // 2),
        (4_000, rows // 4),
    ):
        cut = {name: np.ascontiguousarray(getattr(tape, name)[:part]) for name in vars(tape)
               if name not in {"sessions", "symbols", "etf", "tax_e8"}}  # fmt: skip
        short = replace(tape, sessions=tape.sessions[:part], **cut)
        matrix = matrix_of(sets_of(sets))
        taken, _ = best_s(lambda short=short, matrix=matrix: play_many(short, matrix, options), 3)
        print(f"| {sets:,} | {part:,} | {taken:.3f} | {taken * 1e9 / sets / part:.1f} |")


def memory() -> None:
    """100,000 sets in a process of its own: how far it grows beyond what it was before them."""
    from backtest.kernel import play_many

    tape, options, sets, _ = the_job()
    play_many(tape, matrix_of(sets), options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    played = play_many(tape, matrix_of(sets_of(100_000)), options)
    taken = time.perf_counter() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n100,000 sets: {taken:.1f} s, the process grew by {grown:.0f} MB to {before / 1024 + grown:.0f} MB; "
          f"{int(played.fills.sum()):,} fills")  # fmt: skip


def main() -> None:
    parts = {"table": table, "linear": linear, "memory": memory}
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("part", nargs="?", choices=parts, help="one of them, in this process; else all")
    asked = told.parse_args()
    if asked.part:
        parts[asked.part]()
        return
    for part in parts:  # a process each: their memory is their own
        subprocess.run([sys.executable, __file__, part], check=True)


if __name__ == "__main__":
    main()
