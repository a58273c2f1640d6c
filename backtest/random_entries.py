"""The baseline that costs nothing: entries at random with the rule's own turnover, a thousand times through the kernel.

What "the same turnover" means: a draw has the rule's positions, each held for as many sessions, as far apart in time as
they were, in slots of the same size; only when the whole pattern begins and which stocks stand in it is drawn. So a
draw is in the market as long as the rule was, with as many stocks, and pays as many commissions and taxes. Exactly:

- A position lasts from the close at which its purchase was decided to the close at which its first sale was.
- The pattern is moved by a random number of sessions round the calendar; what then runs over the end is cut in two.
- A stock is drawn among those not held in which the purchase trades in the next session, as the rule's own did, and of
  which its slot buys at least one lot. An exit is tried until it trades. Stops, profit-taking, longest holding and news
  are off: the rule's are in its holding times already.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from backtest.bootstrap import BAND, Band
from backtest.kernel import Options, play_many, rules_matrix
from backtest.replay import Run
from backtest.tape import Ints, Tape
from bot.core.decide import BPS, NO_SENTIMENT, Rules
from bot.core.fills import FILL_RULES, fill_price_x100, is_locked
from bot.core.market import limit_down_x100, limit_pct, limit_up_x100
from bot.core.orders import Side
from bot.core.rule import affordable_shares, buy_limit_x100

DRAWS: Final = 1_000
SELL_NOW_X100: Final = 1  # a target of one hundredth of a TWD: below any exit
SOLD_BY: Final = 3  # sessions between two positions in one stock, in which the first is surely offered
FAIR: Final = 0.1  # draws whose mean turnover is further than this share from the rule's are no fair comparison
TRIES: Final = 64  # of finding a free stock by lot before all are looked through


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A position in a run: decided after session number `start`, its first sale after number `end` (exclusive)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEntries:
    """Where a run stands among its draws; returns are fractions, turnovers traded value over start cash.

    `percentile` is the share of draws that it beats, half of those that are level included.
    """

    draws: int
    seed: int
    percentile: float
    result: float
    returns: Band
    entries: int
    drawn_entries: float
    turnover: float
    drawn_turnover: float

    @property
    def is_fair(self) -> bool:
        """Whether the draws traded as much as the rule did."""
        return abs(self.drawn_turnover - self.turnover) <= FAIR * self.turnover


def random_entries(
    run: Run, tape: Tape, rules: Rules, options: Options, *, seed: int, draws: int = DRAWS
) -> RandomEntries | None:
    """`run` among `draws` random runs over `tape`, under its own fill rule; None when it never bought.

    `tape` is that of the run's sessions, `options` those that it was played with.
    """
    pattern = stays(run)
    if not pattern:
        return None
    chance = random.Random(seed)  # noqa: S311  (a drawn baseline, no secret)
    entries = enterable(tape, rules, options)
    plain = replace(
        rules,
        entry_edge_bps=0,
        exit_return_bps=0,
        stop_bps=0,
        take_profit_bps=0,
        max_holding_sessions=0,
        min_sentiment_bps=-BPS,
        exit_sentiment_bps=-BPS,
    )
    matrix = rules_matrix([plain])
    quiet = replace(tape, sentiment_bps=np.full_like(tape.sentiment_bps, NO_SENTIMENT))
    finals, bought, turnovers = np.zeros(draws), np.zeros(draws), np.zeros(draws)
    for number in range(draws):
        targets = drawn_targets(pattern, entries, tape, chance)
        played = play_many(replace(quiet, target_x100=targets), matrix, options)
        finals[number] = played.final_equity_twd[0]
        bought[number] = played.fills[0] - played.trades[0]
        turnovers[number] = played.turnover_twd[0]
    start_twd = options.start_cash_twd
    drawn, mine = finals / start_twd - 1, run.equity_twd[-1] / start_twd - 1
    low, middle, high = (float(point) for point in np.quantile(drawn, BAND))
    traded_twd = sum(fill.price_x100 * abs(fill.shares) // 100 for fill in run.fills)
    return RandomEntries(
        draws=draws,
        seed=seed,
        percentile=float(np.mean(drawn < mine) + np.mean(drawn == mine) / 2),
        result=mine,
        returns=Band(low=low, middle=middle, high=high),
        entries=len(pattern),
        drawn_entries=float(bought.mean()),
        turnover=traded_twd / start_twd,
        drawn_turnover=float(turnovers.mean()) / start_twd,
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


def enterable(tape: Tape, rules: Rules, options: Options) -> list[list[int]]:
    """For each session but the last, the stocks of which a purchase decided after it trades in the next one.

    Those of which the first slot does not buy a lot are left out.
    """
    slot_twd = min(options.start_cash_twd * rules.invest_bps // BPS // rules.top_k, rules.max_order_twd)
    tables = (tape.open_x100, tape.high_x100, tape.low_x100, tape.close_x100, tape.reference_x100, tape.traded)
    opens, highs, lows, closes, references, traded = (table.tolist() for table in tables)
    etf, rule = tape.etf.tolist(), FILL_RULES[options.fill_rule]
    found = []
    for row in range(len(tape.sessions) - 1):
        nxt, pct, stocks = row + 1, limit_pct(tape.sessions[row + 1]), []
        for i, is_fund in enumerate(etf):
            if not (traded[row][i] and traded[nxt][i] and closes[row][i]):
                continue
            reference, fund = references[nxt][i], is_fund != 0
            limit = buy_limit_x100(reference, rules.buy_offset_bps, fund, pct)
            if not affordable_shares(limit, slot_twd, rules.lot_shares, options.rates):
                continue
            up, down = limit_up_x100(reference, fund, pct), limit_down_x100(reference, fund, pct)
            high, low = highs[nxt][i], lows[nxt][i]
            locked = is_locked(True, high, low, up, down)
            if fill_price_x100(rule, True, limit, opens[nxt][i], high, low, locked):
                stocks.append(i)
        found.append(stocks)
    return found


def drawn_targets(pattern: Sequence[Stay], entries: Sequence[Sequence[int]], tape: Tape, chance: random.Random) -> Ints:
    """A table of targets (sessions x symbols) that makes the rule take the pattern's positions somewhere else."""
    rows = len(entries)
    by_stock = np.zeros((len(tape.symbols), rows + 1), dtype=np.int64)
    free_from = [0] * len(tape.symbols)
    for start, end in sorted(_moved(pattern, chance.randrange(rows), rows)):
        stock = _free_stock(entries[start], free_from, start, chance)
        if stock is None:
            continue
        by_stock[stock, start:end] = 2 * tape.close_x100[start:end, stock]  # twice the price: it surely pays
        by_stock[stock, end:] = SELL_NOW_X100
        free_from[stock] = end + SOLD_BY
    return np.ascontiguousarray(by_stock.T)


def _moved(pattern: Sequence[Stay], by: int, rows: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of the pattern `by` sessions later, round a calendar of `rows` decisions."""
    for stay in pattern:
        start = (stay.start + by) % rows
        end = start + max(1, stay.end - stay.start)
        if end <= rows:
            yield start, end
        else:
            yield start, rows
            yield 0, end - rows


def _free_stock(stocks: Sequence[int], free_from: Sequence[int], row: int, chance: random.Random) -> int | None:
    """One of `stocks` that is not held any more at `row`; None when there is none."""
    if not stocks:
        return None
    for _ in range(TRIES):
        stock = stocks[int(chance.random() * len(stocks))]
        if free_from[stock] <= row:
            return stock
    return next((stock for stock in stocks if free_from[stock] <= row), None)
