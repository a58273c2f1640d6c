"""Bands and P(up) from several paths: hand-computed numbers, a full enumeration, and what must hold of any of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.distribution import Outlook, Path, outlooks
from bot.core.market import from_x100, limit_down_x100, limit_up_x100
from bot.core.mixture import mixed_outlooks
from bot.core.prompt import CODES, price_of_x100


def row(**shares: float) -> list[float]:
    """A distribution by code, `c525=0.3`."""
    told = [0.0] * CODES
    for code, share in shares.items():
        told[int(code[1:])] = share
    return told


def path_of(last: int, *closes: int) -> Path:
    """A told window in TWD."""
    return Path(last_x100=last * 100, closes_x100=tuple(one * 100 for one in closes), etf=False, pct=10)


def one(ways: list[list[list[float]]], codes: list[list[int]], path: Path) -> Outlook:
    [found] = mixed_outlooks(np.array([ways]), np.array([codes]), [path])
    return found


def bounds(outlook: Outlook) -> list[tuple[str, str]]:
    return [(str(band.low), str(band.high)) for band in outlook.bands]


def test_what_follows_a_rise_and_a_fall_is_seen_from_each() -> None:
    """From 1000 to 1005 or 995; then the riser surely gains 0.5 % and the faller surely loses as much.

    By hand: 1010.025 is 1010 on a tick of 5, 990.025 is 990 on a tick of 1. Independent steps would bring half of all
    windows back to 1000.
    """
    first = row(c475=0.5, c525=0.5)
    told = one([[first, row(c525=1.0)], [first, row(c475=1.0)]], [[525, 525], [475, 475]], path_of(1000, 1000, 1000))

    assert bounds(told) == [("995.00", "1005.00"), ("990.00", "1010.00")]
    assert told.p_up == pytest.approx(0.5)


def test_the_ways_count_alike_and_unchanged_is_half_up() -> None:
    """One way ends at 1005 for certain, one at 1000, two at 995: P(up) = 1/4 + 1/8, and 995 is the 10 % quantile."""
    ends = [row(c525=1.0), row(c500=1.0), row(c475=1.0), row(c475=1.0)]
    told = one([[end] for end in ends], [[525], [500], [475], [475]], path_of(1000, 1000))

    assert bounds(told) == [("995.00", "1005.00")]
    assert told.p_up == pytest.approx(0.375)


def test_equally_probable_ways_are_the_whole_tree() -> None:
    """Each session moves by a step up or down that depends on the move before: 4 ways of 2 bars tell all 8 outcomes."""
    after = {None: (450, 550), 450: (400, 640), 550: (480, 530)}
    ways, codes, ends = [], [], []
    for first, second in product((0, 1), repeat=2):
        one_, two = after[None][first], after[after[None][first]][second]
        three = after[550 if two > 500 else 450]
        ways.append([even(after[None]), even(after[one_]), even(three)])
        codes.append([one_, two, three[0]])
        for last in three:
            price = 800_00
            for code in (one_, two, last):
                price = price_of_x100(code, price, etf=False)
            ends.append(price)

    told = one(ways, codes, path_of(800, 800, 800, 800))

    ranked = sorted(ends)
    assert (told.bands[2].low, told.bands[2].high) == (from_x100(ranked[0]), from_x100(ranked[7]))
    assert told.p_up == pytest.approx(sum(end > 800_00 for end in ends) / 8 + sum(end == 800_00 for end in ends) / 16)


def even(codes: tuple[int, ...]) -> list[float]:
    return row(**{f"c{code}": 1 / len(codes) for code in codes})


def test_a_band_holds_the_told_close() -> None:
    told = one([[row(c525=1.0)]], [[525]], path_of(1000, 995))
    assert bounds(told) == [("995.00", "1005.00")]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_ways_give_bands_in_order_inside_the_limits(data: st.DataObject) -> None:
    dice = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ways, bars = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    last = data.draw(st.integers(10, 2_000)) * 100
    shares = dice.dirichlet(np.full(CODES, data.draw(st.sampled_from([0.01, 1.0]))), size=(1, ways, bars))
    codes = dice.integers(0, CODES, size=(1, ways, bars))
    closes, before = [], last
    for _ in range(bars):
        before = price_of_x100(500, before, etf=False)
        closes.append(before)
    path = Path(last_x100=last, closes_x100=tuple(closes), etf=False, pct=10)

    [told] = mixed_outlooks(shares, codes, [path])

    low, high = last, last
    for band, close in zip(told.bands, closes, strict=True):
        low, high = limit_down_x100(low, etf=False), limit_up_x100(high, etf=False)
        assert from_x100(low) <= band.low <= from_x100(close) <= band.high <= from_x100(high)
    assert 0 <= told.p_up <= 1
    [alone] = outlooks(shares[:, 0, :1], [Path(last_x100=last, closes_x100=(closes[0],), etf=False, pct=10)])
    same = mixed_outlooks(shares[:, :1, :1], codes[:, :1, :1], [Path(**{**fields(path), "closes_x100": (closes[0],)})])
    assert same[0].bands == alone.bands  # of one session and one way, both readings are exact
    assert same[0].p_up == pytest.approx(alone.p_up, abs=0.02)  # by cells of 1e-4, and by ticks


def fields(path: Path) -> dict[str, object]:
    return {name: getattr(path, name) for name in ("last_x100", "closes_x100", "etf", "pct")}


def test_many_windows_are_told_as_each_alone_in_their_order() -> None:
    dice = np.random.default_rng(4)
    paths = [
        Path(last_x100=100_00 + 50 * at, closes_x100=(100_00 + 50 * at,) * 2, etf=at % 3 == 0, pct=10)
        for at in range(9)
    ]
    shares, codes = dice.dirichlet(np.ones(CODES), size=(9, 3, 2)), dice.integers(0, CODES, size=(9, 3, 2))

    together = mixed_outlooks(shares, codes, paths)

    assert together == [mixed_outlooks(shares[at : at + 1], codes[at : at + 1], [paths[at]])[0] for at in range(9)]


@pytest.mark.parametrize("shape", [(1, 2, 1, 999), (1, 1, 1, 1000), (1, 2, 2, 1000)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="is not 1 windows x 2 ways x 1 bars x 1000 codes"):
        mixed_outlooks(np.ones(shape), np.full((1, 2, 1), 500), [path_of(100, 100)])


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_what_is_no_distribution_is_refused(wrong: float) -> None:
    shares = np.full((1, 2, 1, CODES), 0.001)
    shares[0, 1, 0, 7] = wrong
    with pytest.raises(ValueError, match="no distribution"):
        mixed_outlooks(shares, np.full((1, 2, 1), 500), [path_of(100, 100)])
