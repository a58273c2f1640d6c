"""The rule and the ledger of bot/core over a whole tape: as plain Python for one run, compiled for a sweep.

numba compiles the very functions that the daemon runs: `compiled` hands it copies whose callees are compiled too.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backtest.tape import Ints, Tape, limit_pcts
from bot.core.costs import CostRates
from bot.core.decide import KNOBS, Knobs, Rules
from bot.core.fills import FILL_RULES
from bot.core.ledger import (
    CASH,
    CLOSED,
    DIVIDENDS,
    EQUITY,
    FEES,
    FILLS,
    LOG_WIDTH,
    MONEY_PLACES,
    ONE_E8,
    TAXES,
    TURNOVER,
    Accounts,
    Tables,
    Terms,
    Track,
    fill_limits,
    knobs_of,
    play_sessions,
    prepare,
    view_of,
)
from bot.core.rule import KNOB_RANGES, SHIPPED, Orders, Plan, Rates, Strategy, rank_edges, strategy_name
from bot.errors import Refused

# Names that `compiled` gives another meaning inside the compiled code.
prange = range
plan: Plan = SHIPPED.plan

KNOB_COUNT: Final = len(KNOBS)
# What `prepare` fills in.
_PREPARED: Final = ("limit_up_x100", "limit_down_x100", "edge_e8", "ranked", "low_edge_e8", "low_ranked")
BLOCK: Final = 16  # accounts that walk through the sessions together: their books stay in the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is the same for all sets of a sweep. `volume_share_bps` 0: no cap; `settlement_sessions` 0 or 2."""

    fill_rule: str
    start_cash_twd: int
    costs: CostRates
    slippage_ticks: int = 0
    volume_share_bps: int = 0
    settlement_sessions: int = 0
    strategy: Strategy = SHIPPED

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            Refused: names the option.
        """
        if self.fill_rule not in FILL_RULES:
            raise Refused(f"no fill rule {self.fill_rule!r}: there are {', '.join(FILL_RULES)}")
        ranges = {
            "start_cash_twd": (1, 10**12),
            "slippage_ticks": (0, 100),
            "volume_share_bps": (0, 10_000),
            "settlement_sessions": (0, 2),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise Refused(f"`{name}` must be between {low:,} and {high:,}")

    @property
    def rates(self) -> Rates:
        """The broker's commission."""
        return Rates(self.costs.commission_e8, self.costs.minimum_twd)

    @property
    def terms(self) -> Terms:
        """How orders trade."""
        return Terms(FILL_RULES[self.fill_rule], self.slippage_ticks, self.volume_share_bps, self.settlement_sessions)


class PlayedFill(NamedTuple):
    """What traded: `session` and `stock` are the tape's row and column; `shares` < 0 is a sale; whole TWD."""

    session: int
    stock: int
    shares: int
    price_x100: int
    commission_twd: int
    tax_twd: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One set's run. `equity_twd` has an entry a session; `trades` are positions closed, `max_drawdown` a fraction."""

    equity_twd: tuple[int, ...]
    max_drawdown: float
    trades: int
    fees_twd: int
    taxes_twd: int
    dividends_twd: int
    turnover_twd: int
    cash_twd: int
    fills: tuple[PlayedFill, ...]

    @property
    def final_equity_twd(self) -> int:
        """What the run came to."""
        return self.equity_twd[-1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlayedMany:
    """A sweep's results, an entry a set in the matrix's order; `equity_twd` is sets x sessions, None unless kept."""

    final_equity_twd: Ints
    max_drawdown: npt.NDArray[np.float64]
    trades: Ints
    fills: Ints
    fees_twd: Ints
    taxes_twd: Ints
    dividends_twd: Ints
    turnover_twd: Ints
    equity_twd: Ints | None = None


def rules_matrix(rules: list[Rules]) -> Ints:
    """A row of knobs for each of `rules`."""
    return np.array([[getattr(one, name) for name in KNOBS] for one in rules], dtype=np.int64).reshape(-1, len(KNOBS))


def play(tape: Tape, rules: Rules, options: Options) -> Played:
    """One set as plain Python, exactly as the daemon would decide, with every fill.

    Raises:
        Refused: the rules name another strategy than the options hold.
    """
    if strategy_name(rules.strategy) != options.strategy.name:
        raise Refused(f"the rules are those of {rules.strategy}, not of {options.strategy.name}")
    tables = plain_tables(tape)
    for now in range(len(tape.sessions) - 1):
        rank_edges(view_of(now, tables), options.rates)
    n, rows = len(tape.symbols), len(tape.sessions)
    accounts = empty_accounts(n, options.start_cash_twd)
    log = [0] * (rows * n * LOG_WIDTH)
    track = Track(drawdown=[0.0], equity_twd=[[0] * rows], equity_on=1, log=log, log_on=1)
    matrix = rules_matrix([rules]).tolist()
    play_sessions(
        options.strategy.plan, tables, options.rates, options.terms, matrix, 0, accounts, empty_orders(n), track
    )
    money = accounts.money[0]
    return Played(
        equity_twd=tuple(track.equity_twd[0]),
        max_drawdown=track.drawdown[0],
        trades=money[CLOSED],
        fees_twd=money[FEES],
        taxes_twd=money[TAXES],
        dividends_twd=money[DIVIDENDS],
        turnover_twd=money[TURNOVER],
        cash_twd=money[CASH],
        fills=tuple(PlayedFill(*log[one * LOG_WIDTH : (one + 1) * LOG_WIDTH]) for one in range(money[FILLS])),
    )


def play_many(tape: Tape, matrix: Ints, options: Options, *, keep_equity: bool = False) -> PlayedMany:
    """Every row of `matrix` (sets x KNOBS) over the tape, compiled, on all cores.

    Memory is 8 numbers a set, and with `keep_equity` one a set and session.

    Raises:
        Refused: the matrix has another width, or a knob is out of its range.
    """
    check_matrix(matrix)
    tables = prepared(tape, options)
    _, play_sets = compiled(options.strategy.plan)
    sets, sessions = len(matrix), len(tape.sessions)
    money = np.zeros((sets, MONEY_PLACES), dtype=np.int64)
    money[:, CASH] = options.start_cash_twd
    drawdown = np.zeros(sets)
    equity = np.zeros((sets, sessions) if keep_equity else (1, 1), dtype=np.int64)
    kept: tuple[Any, ...] = drawdown, equity, int(keep_equity), np.zeros(1, dtype=np.int64), 0
    track = Track(*kept)
    play_sets(tables, options.rates, options.terms, np.ascontiguousarray(matrix), money, track)
    told = {
        name: np.ascontiguousarray(money[:, place])
        for name, place in (
            ("final_equity_twd", EQUITY), ("trades", CLOSED), ("fills", FILLS), ("fees_twd", FEES),
            ("taxes_twd", TAXES), ("dividends_twd", DIVIDENDS), ("turnover_twd", TURNOVER),
        )
    }  # fmt: skip
    return PlayedMany(
        max_drawdown=drawdown,
        equity_twd=equity if keep_equity else None,
        **told,
    )


def check_matrix(matrix: Ints) -> None:
    """Refuse a matrix that is none of rules.

    Raises:
        Refused: names the knob and the first set that is wrong.
    """
    if matrix.dtype != np.int64 or matrix.ndim != 2 or matrix.shape[1] != len(KNOBS):  # noqa: PLR2004
        raise Refused(f"a matrix of rules is int64, sets x {len(KNOBS)} knobs, not {matrix.dtype}{matrix.shape}")
    for column, name in enumerate(KNOBS):
        low, high = KNOB_RANGES[name]
        wrong = (matrix[:, column] < low) | (matrix[:, column] > high)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise Refused(f"set {first}: `{name}` is {matrix[first, column]}, not between {low} and {high}")


def plain_tables(tape: Tape) -> Tables:
    """The tape in lists, for plain Python, with its limits; `rank_edges` has yet to go over it."""
    arrays: Any = _tables(tape)
    tables = Tables(*(table.tolist() for table in arrays))
    fill_limits(tables)
    return tables


def prepared(tape: Tape, options: Options) -> Tables:
    """The tape in arrays, prepared for the rule and the ledger by the compiled `prepare`."""
    tables = _tables(tape)
    compiled(options.strategy.plan)[0](tables, options.rates)
    return tables


def _tables(tape: Tape) -> Tables:
    """The tape as the rule and the ledger read it; `prepare` has to fill in what follows from it."""
    told: dict[str, Any] = {
        name: getattr(tape, name)
        for name in Tables._fields
        if name not in {*_PREPARED, "eventful", "limit_pct", "banded"}
    }
    told |= {name: np.zeros_like(tape.close_x100) for name in _PREPARED}
    told["eventful"] = ((tape.dividend_e8 != 0) | (tape.share_ratio_e8 != ONE_E8)).any(axis=1).astype(np.int64)
    told["limit_pct"] = limit_pcts(tape.sessions)
    told["banded"] = (tape.band_low_x100 != 0).any(axis=1).astype(np.int64)
    return Tables(**told)


def empty_accounts(stocks: int, cash_twd: int) -> Accounts:
    """One account with cash and nothing else, in lists."""
    money = [0] * MONEY_PLACES
    money[CASH] = cash_twd
    held, shares, cost_twd, opened = ([[0] * stocks] for _ in range(4))
    return Accounts(held, shares, cost_twd, opened, [money], [[0, 0]])


def empty_orders(stocks: int) -> Orders:
    """Room for an order a stock, in lists."""
    return Orders(*([0] * stocks for _ in range(4)))


# --- compiling --------------------------------------------------------------------------------------------


@cache
def compiled(plan: Plan) -> tuple[Callable[..., None], Callable[..., None]]:
    """`prepare_all` and `play_sets` as machine code, from numba's cache on disk when nothing has changed."""
    from numba import njit, prange
    from numba.np.unsafe.ndarray import to_fixed_tuple

    done: dict[Any, Any] = {}
    done[knobs_of] = njit(_nrt=False, forceinline=True)(_knobs_of(to_fixed_tuple))
    names = {
        "play_sessions": _compiled(play_sessions, done),
        "plan": _compiled(plan, done),
        "prepare": _compiled(prepare, done),
        "prange": prange,
    }
    digest = _digest(list(done))
    return tuple(
        njit(cache=True, parallel=parallel, error_model="numpy")(_rebound(make(digest), names))
        for make, parallel in ((_prepare_all, False), (_play_sets, True))
    )


def _compiled(function: Any, done: dict[Any, Any]) -> Any:
    """`function` compiled by numba, and every plain function that it calls by name before it."""
    from numba import njit

    if function not in done:
        done[function] = None
        ours = {
            name: _compiled(value, done)
            for name in _names_in(function.__code__)
            if isinstance(value := function.__globals__.get(name), FunctionType)
        }
        done[function] = njit(_nrt=False, forceinline=True, error_model="numpy")(_rebound(function, ours))
    return done[function]


def _rebound(function: Any, names: Mapping[str, Any]) -> Any:
    """`function` with other values behind some of its global names."""
    copy = FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    return copy


def _names_in(code: CodeType) -> set[str]:
    """The global names that `code` and the code nested in it read."""
    names = set(code.co_names)
    for one in code.co_consts:
        if isinstance(one, CodeType):
            names |= _names_in(one)
    return names


def _digest(functions: list[Any]) -> str:
    """What names the sources of `functions`: numba looks at one file only, so this must stand in its cache key."""
    told = hashlib.sha256()
    for source in sorted({inspect.getsource(inspect.getmodule(one) or one) for one in functions}):
        told.update(source.encode())
    return told.hexdigest()


def _knobs_of(to_fixed_tuple: Any) -> Any:
    """`knobs_of` as numba can have it: with the row's length known."""

    def knobs_of(row: Any) -> Knobs:
        return Knobs(*to_fixed_tuple(row, KNOB_COUNT))

    return knobs_of


def _prepare_all(digest: str) -> Any:
    def prepare_all(tables: Tables, rates: Rates) -> None:
        digest  # noqa: B018  (in the cache key)
        prepare(tables, rates)

    return prepare_all


def _play_sets(digest: str) -> Any:
    def play_sets(tables: Tables, rates: Rates, terms: Terms, matrix: Any, money: Any, track: Track) -> None:
        digest  # noqa: B018
        sets, n = len(matrix), len(tables.etf)
        for block in prange((sets + BLOCK - 1) // BLOCK):
            first = block * BLOCK
            rows = min(BLOCK, sets - first)
            books: Any = np.zeros((4, rows, n), np.int64)
            scratch: Any = np.zeros((4, n), np.int64)
            due: Any = np.zeros((rows, 2), np.int64)
            accounts = Accounts(books[0], books[1], books[2], books[3], money[first : first + rows], due)
            orders = Orders(scratch[0], scratch[1], scratch[2], scratch[3])
            play_sessions(plan, tables, rates, terms, matrix, first, accounts, orders, track)

    return play_sets
