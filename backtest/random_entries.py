"""The baseline that costs nothing: entries at random with the rule's own turnover, a thousand runs through the kernel.

What "the same turnover" means here. The rule's run is read as stays: from the close at which a purchase was decided to
the close at which the position was first offered for sale. A draw enters at random sessions, into stocks drawn by lot
among those that trade and of which the slot buys a lot, and each position stays for a length drawn from the rule's own
lengths. How often a free slot buys is set so that the draws make as many purchases as the rule did, on average within
`CLOSE_ENOUGH`; where even buying at once makes too few (because the draws' exits take longer to trade than those of a
rule that sells into strength), all stays are shortened by the same part of a session. Orders have the rule's size and
limits and trade under its fill rule, with its costs; an exit that does not trade is offered again, as the rule does.
Stops, profit-taking, longest holding and news are in the lengths already. So a draw is in the market as much as the
rule was, and pays as much; it only knows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from backtest.bootstrap import BAND, Band
from backtest.kernel import Options, PlayedMany, play_many, rules_matrix
from backtest.luck import Floats
from backtest.random_rule import RANDOM, RANDOM_RULE, THOUSAND
from backtest.replay import Run
from backtest.tape import Ints, Tape
from bot.core.decide import BPS, Rules
from bot.core.orders import Side

DRAWS: Final = 1_000
SEEDS: Final = 10_000  # what the knob that carries the seed can tell apart
CLOSE_ENOUGH: Final = 0.02  # of the rule's purchases
ROUNDS: Final = 6  # of setting how often a slot buys
FEW_DRAWS: Final = 200  # played in each of them
FAIR: Final = 0.1  # draws whose purchases or turnover are further off than this share are no fair comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A position of a run: its purchase was decided after session number `start`, its first sale after `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEntries:
    """Where a run stands among its draws; returns and falls are fractions, turnover is traded value over mean equity.

    `percentile` is the share of draws with a lower return, half of those that are level included; `calmer` the share
    whose largest fall is smaller. `drawn_entries` and `drawn_turnover` are the draws' means.
    """

    draws: int
    seed: int
    result: float
    percentile: float
    returns: Band
    falls: Band
    calmer: float
    entries: int
    drawn_entries: float
    turnover: float
    drawn_turnover: float

    @property
    def is_fair(self) -> bool:
        """Whether the draws traded as much as the rule did."""
        bought = abs(self.drawn_entries - self.entries) <= FAIR * self.entries
        return bought and abs(self.drawn_turnover - self.turnover) <= FAIR * self.turnover


def random_entries(
    run: Run, tape: Tape, rules: Rules, options: Options, *, seed: int, draws: int = DRAWS
) -> RandomEntries | None:
    """`run` among `draws` random runs over `tape`, under its own fill rule; None when it never bought.

    `tape` is that of the run's sessions, `options` those that it was played with.
    """
    pattern = stays(run)
    if not pattern:
        return None
    blind, chance_bps = _as_busy(pattern, tape, rules, options, seed)
    played = _play(blind, rules, options, seed, chance_bps, draws)
    assert played.equity_twd is not None
    equity, mine = played.equity_twd, np.asarray(run.equity_twd)
    returns = equity[:, -1] / equity[:, 0] - 1
    result = mine[-1] / mine[0] - 1
    traded_twd = sum(fill.price_x100 * abs(fill.shares) // 100 for fill in run.fills)
    return RandomEntries(
        draws=draws,
        seed=seed,
        result=float(result),
        percentile=float(np.mean(returns < result) + np.mean(returns == result) / 2),
        returns=_band(returns),
        falls=_band(played.max_drawdown),
        calmer=float(np.mean(played.max_drawdown < _largest_fall(mine))),
        entries=_counted(pattern, tape, options),
        drawn_entries=float(_positions(played, options).mean()),
        turnover=float(traded_twd / mine.mean()),
        drawn_turnover=float(np.mean(played.turnover_twd / equity.mean(axis=1))),
    )


def stays(run: Run) -> list[Stay]:
    """The positions of `run`, oldest first; one that was never offered for sale lasts to the last decision."""
    opened: dict[str, int] = {}
    offered: dict[str, int] = {}
    found = []
    for row, step in enumerate(run.steps):
        for order in step.orders:
            if order.side is Side.SELL and order.symbol in opened:
                offered.setdefault(order.symbol, row)
        for fill in step.fills:
            if fill.shares > 0:
                opened.setdefault(fill.symbol, row)
            elif not step.held.shares_of(fill.symbol) and fill.symbol in opened:
                found.append(Stay(start=opened.pop(fill.symbol), end=offered.pop(fill.symbol, row)))
    found += [Stay(start=row, end=offered.get(symbol, len(run.steps))) for symbol, row in opened.items()]
    return sorted(found, key=lambda one: (one.start, one.end))


def _as_busy(pattern: Sequence[Stay], tape: Tape, rules: Rules, options: Options, seed: int) -> tuple[Tape, int]:
    """A tape of lengths of stay, and how often a free slot must buy (in 1/10,000 a session), for as many purchases.

    From one purchase of a slot to its next pass the stay and the wait for the next purchase, which is as long as the
    chance is small: a straight line over 1 / chance, on which the wanted point is looked for.
    """
    slots, wanted = rules.top_k * (len(tape.sessions) - 1), _counted(pattern, tape, options)
    free = max(1, slots - sum(stay.end - stay.start for stay in pattern))
    wait, shorter = _between(free / wanted), 0.0
    tried: list[tuple[float, float]] = []
    blind = replace(tape, target_x100=_lengths(pattern, tape, shorter))
    for _ in range(ROUNDS):
        played = _play(blind, rules, options, seed, round(BPS / wait), FEW_DRAWS)
        made = max(0.5, float(_positions(played, options).mean()))
        if abs(made - wanted) <= CLOSE_ENOUGH * wanted:
            break
        if wait == 1.0 and made < wanted:
            shorter += slots / made - slots / wanted
            blind = replace(tape, target_x100=_lengths(pattern, tape, shorter))
            continue
        tried.append((wait, slots / made))
        wait = _between(_next_wait(tried, slots / wanted))
    return blind, round(BPS / wait)


def _next_wait(tried: Sequence[tuple[float, float]], wanted: float) -> float:
    """Where the line through the last two points (wait, sessions from purchase to purchase) reaches `wanted`."""
    wait, cycle = tried[-1]
    slope = 1.0
    if len(tried) > 1 and tried[-2][0] != wait:
        slope = max(0.5, (cycle - tried[-2][1]) / (wait - tried[-2][0]))
    return wait + (wanted - cycle) / slope


def _between(wait: float) -> float:
    """`wait` as sessions that a chance in 1/10,000 can tell."""
    return min(float(BPS), max(1.0, wait))


def _lengths(pattern: Sequence[Stay], tape: Tape, shorter: float) -> Ints:
    """The stays' lengths in thousandths of a session as a table of targets: in each row the means of equal groups."""
    lengths = np.sort([max(1.0, stay.end - stay.start - shorter) for stay in pattern])
    groups = np.repeat(lengths, len(tape.symbols)).reshape(len(tape.symbols), -1)
    row = np.rint(groups.mean(axis=1) * THOUSAND).astype(np.int64)
    return np.ascontiguousarray(np.broadcast_to(row, tape.target_x100.shape))


def _play(tape: Tape, rules: Rules, options: Options, seed: int, chance_bps: int, draws: int) -> PlayedMany:
    """`draws` random runs: parameter sets of the random strategy."""
    matrix = rules_matrix(
        [
            replace(
                rules,
                strategy=RANDOM,
                max_holding_sessions=seed % SEEDS,
                take_profit_bps=number,
                stop_bps=chance_bps,
            )
            for number in range(draws)
        ]
    )
    return play_many(tape, matrix, replace(options, strategy=RANDOM_RULE), keep_equity=True)


def _counted(pattern: Sequence[Stay], tape: Tape, options: Options) -> int:
    """The rule's positions as `_positions` counts those of the draws, at least one."""
    last = len(tape.sessions) - 1
    return max(1, sum(stay.end < last for stay in pattern)) if options.volume_share_bps else len(pattern)


def _positions(played: PlayedMany, options: Options) -> Ints:
    """How many positions each draw took: a fill that is no sale opens one, and each sale closes one.

    Under a volume cap both come in parts, and only the closed ones can be counted.
    """
    return played.trades if options.volume_share_bps else played.fills - played.trades


def _largest_fall(equity: Ints) -> float:
    peak = np.maximum.accumulate(equity)
    return float(np.max(1 - equity / peak))


def _band(drawn: Floats) -> Band:
    low, middle, high = (float(point) for point in np.quantile(drawn, BAND))
    return Band(low=low, middle=middle, high=high)
