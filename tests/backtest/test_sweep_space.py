"""Grids counted by hand, draws inside their ranges, and what can't be swept."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import config_table
from hypothesis import given
from hypothesis import strategies as st
from markets import RULES
from sweeps import sweep_config

from backtest.sweep_space import drawn, rules_of, space_of, uniforms
from bot.config_file import config_of
from bot.core.rule import KNOBS
from bot.errors import ConfigError
from bot.sweep_config import KnobRange

TOP_K, EDGE, STOP = (KNOBS.index(name) for name in ("top_k", "entry_edge_bps", "stop_bps"))


def test_a_grid_is_every_combination_once_and_nothing_else() -> None:
    space = space_of(RULES, sweep_config())
    assert space.size == 3 * 3 * 2
    rows = [tuple(int(row[place]) for place in (TOP_K, EDGE, STOP)) for row in space.matrix(0, 999)]
    assert rows == list(itertools.product([1, 2, 4], [0, 100, 200], [0, 300]))


def test_a_knob_that_is_not_swept_keeps_its_value_and_a_row_is_the_rules() -> None:
    space = space_of(RULES, sweep_config())
    rules = rules_of(space.matrix(17, 1)[0], RULES)
    assert (rules.top_k, rules.entry_edge_bps, rules.stop_bps) == (4, 200, 300)
    assert (rules.invest_bps, rules.lot_shares, rules.strategy) == (RULES.invest_bps, 1000, RULES.strategy)


@given(method=st.sampled_from(["grid", "random"]), first=st.integers(0, 20), count=st.integers(0, 20))
def test_any_stretch_of_sets_is_the_same_as_cut_from_all(method: Any, first: int, count: int) -> None:
    space = space_of(RULES, sweep_config(method=method, sets=18))
    assert np.array_equal(space.matrix(first, count), space.matrix(0, 18)[first : first + count])


def test_a_seed_gives_the_same_draws_for_ever() -> None:
    """splitmix64 written out in Python's own integers, not in numpy's."""

    def reference(state: int) -> float:
        z = state % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return ((z ^ (z >> 31)) >> 11) / 2**53

    # blake2b of "7 top_k", 8 bytes; the counter steps by the golden gamma.
    import hashlib

    start = int.from_bytes(hashlib.blake2b(b"7 top_k", digest_size=8).digest(), "big")
    wanted = [reference(start + (number + 1) * 0x9E3779B97F4A7C15) for number in range(5, 9)]
    assert uniforms(7, "top_k", 5, 4).tolist() == wanted


@pytest.mark.parametrize(
    ("knob", "expected"),
    [
        ((3, 5, 8), {3: 1 / 3, 5: 1 / 3, 8: 1 / 3}),
        (KnobRange(low=0, high=20, step=10), {0: 1 / 3, 10: 1 / 3, 20: 1 / 3}),
        (KnobRange(low=-1, high=2), {-1: 1 / 4, 0: 1 / 4, 1: 1 / 4, 2: 1 / 4}),
        # P(k) = log((k + 1) / k) / log(4)
        (KnobRange(low=1, high=3, draw="log"), {1: 0.5, 2: 0.2925, 3: 0.2075}),
        # The triangle over -0.5..2.5 with its top at 1: its outer thirds hold 2/9 each.
        (KnobRange(low=0, high=2, draw="triangular", mode=1), {0: 2 / 9, 1: 5 / 9, 2: 2 / 9}),
    ],
)
def test_draws_have_their_distribution(knob: Any, expected: dict[int, float]) -> None:
    count = 40_000
    seen = Counter(drawn(knob, uniforms(3, "x", 0, count)).tolist())
    assert set(seen) == set(expected)
    for value, share in expected.items():
        assert seen[value] / count == pytest.approx(share, abs=0.01)


@given(
    low=st.integers(1, 500),
    span=st.integers(0, 500),
    draw=st.sampled_from(["uniform", "log", "triangular"]),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_draw_never_leaves_its_range(low: int, span: int, draw: Any, chance: float) -> None:
    knob = KnobRange(low=low, high=low + span, draw=draw, mode=low + span // 3 if draw == "triangular" else None)
    [value] = drawn(knob, np.array([chance]))
    assert low <= value <= low + span


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sweep: sweep["knobs"].update(topk=[1]), "`sweep.knobs.topk`: the rule has no such knob"),
        (
            lambda sweep: sweep["knobs"].update(top_k=[3, 0]),
            "`sweep.knobs.top_k`: 0 is out of range, `top_k` must be between 1 and 1000",
        ),
        (
            lambda sweep: sweep["knobs"].update(stop_bps={"low": 0, "high": 20_000, "step": 5_000}),
            "`sweep.knobs.stop_bps`: 20000 is out of range, `stop_bps` must be between 0 and 10000",
        ),
        (lambda sweep: sweep["knobs"].update(top_k=[]), "`knobs.top_k` is an empty list"),
        (lambda sweep: sweep["knobs"].update(top_k=[2, 2]), "`knobs.top_k` names a value twice"),
        (lambda sweep: sweep.update(knobs={}), "`knobs` must name at least one knob"),
        (lambda sweep: sweep["knobs"].update(stop_bps={"low": 5, "high": 1}), "`low` 5 is above `high` 1"),
        (lambda sweep: sweep["knobs"].update(stop_bps={"low": 0, "high": 9, "step": 2}), "whole number of steps of 2"),
        (lambda sweep: sweep["knobs"].update(stop_bps={"low": 0, "high": 9}), "`sweep.knobs.stop_bps` has no `step`"),
        (
            lambda sweep: sweep["knobs"].update(stop_bps={"low": 0, "high": 9, "sep": 3}),
            "unknown key `sweep.knobs.stop_bps.sep`",
        ),
        (lambda sweep: sweep["knobs"].update(stop_bps={"low": 0, "high": 9, "draw": "log"}), "a `low` of at least 1"),
        (
            lambda sweep: sweep["knobs"].update(stop_bps={"low": 0, "high": 9, "draw": "triangular"}),
            "`mode` belongs to",
        ),
        (lambda sweep: sweep.update(most_sets=100, sets=50), "the grid of `sweep.knobs` has 2,160 sets, more than"),
        (lambda sweep: sweep.update(sets=0), "`sets` must be between 1 and 1,000,000"),
        (lambda sweep: sweep.update(objective="luck"), "`sweep.objective`"),
        (lambda sweep: sweep["walk_forward"].update(train_sessions=1), "`train_sessions` must be at least 20"),
    ],
)
def test_one_line_names_the_knob(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    told = config_table()
    change(told["sweep"])
    with pytest.raises(ConfigError) as refused:
        config_of(told, Path("config.toml"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
