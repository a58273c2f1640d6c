"""Bands and P(up) from distributions of codes: hand-computed numbers, and what must hold of any distribution."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.distribution import Outlook, Path, outlooks, tradable_x100
from bot.core.market import floor_to_tick_x100, limit_down_x100, limit_up_x100, to_x100
from bot.core.prompt import CODES, code_of, price_of_x100

UNCHANGED, UP, DOWN = 500, 525, 475  # at TWD 100 a tick is 0.50 up, 25 codes, and 0.10 down, 5 codes


def row(**shares: float) -> list[float]:
    """A distribution by code, `c525=0.3`."""
    told = [0.0] * CODES
    for code, share in shares.items():
        told[int(code[1:])] = share
    return told


def point(code: int) -> list[float]:
    """All on one code."""
    return row(**{f"c{code}": 1.0})


def path_of(*closes: str, last: str = "100", etf: bool = False, pct: int = 10) -> Path:
    told = tuple(to_x100(Decimal(close)) for close in closes)
    return Path(last_x100=to_x100(Decimal(last)), closes_x100=told, etf=etf, pct=pct)


def one(rows: list[list[float]], path: Path) -> Outlook:
    """The outlook of one window."""
    [found] = outlooks(np.array([rows]), [path])
    return found


def bounds(outlook: Outlook) -> list[tuple[str, str]]:
    return [(str(band.low), str(band.high)) for band in outlook.bands]


def test_one_session_is_read_off_the_codes() -> None:
    """Codes 475, 500, 525 from 100.00 are 99.50, 100.00 and 100.50; a tenth lies below, two tenths above."""
    told = one([row(c475=0.1, c500=0.7, c525=0.2)], path_of("100"))

    assert bounds(told) == [("99.50", "100.50")]
    assert told.p_up == pytest.approx(0.2 + 0.7 / 2)
    inside = one([row(c475=0.09, c500=0.82, c525=0.09)], path_of("100"))
    assert bounds(inside) == [("100.00", "100.00")]
    assert inside.p_up == pytest.approx(0.5)


def test_two_sessions_are_added_as_independent_steps() -> None:
    """From 1000 the codes 475 and 525 are 995 and 1005; of two steps a quarter goes down twice, a quarter up twice.

    Half of all windows return to where they began, and count as half up. Source: by hand, 2 x 2 outcomes.
    """
    steps = row(c475=0.5, c525=0.5)
    told = one([steps, steps], path_of("995", "990", last="1000"))

    assert bounds(told) == [("995.00", "1005.00"), ("990.00", "1010.00")]
    assert told.p_up == pytest.approx(0.25 + 0.5 / 2, abs=1e-6)


def test_a_band_of_several_sessions_is_that_of_all_their_outcomes() -> None:
    """Three steps of three codes each: the 27 outcomes, listed, have these quantiles and this share above the start."""
    codes, shares = (440, 500, 545), (0.3, 0.4, 0.3)
    steps = [row(c440=0.3, c500=0.4, c545=0.3)] * 3
    outcomes = sorted(
        (np.prod([1 + (code - 500) / 5000 for code, _ in chosen]), np.prod([share for _, share in chosen]))
        for chosen in product(zip(codes, shares, strict=True), repeat=3)
    )
    upto = np.cumsum([share for _, share in outcomes])
    low, high = (outcomes[int(np.argmax(upto >= level - 1e-9))][0] for level in (0.1, 0.9))
    up = sum(share for factor, share in outcomes if factor > 1.0005)
    same = sum(share for factor, share in outcomes if abs(factor - 1) <= 0.0005)

    told = one(steps, path_of("800", "800", "800", last="800"))

    assert float(told.bands[-1].low) == pytest.approx(800 * low, abs=1.0)  # the tick is 1
    assert float(told.bands[-1].high) == pytest.approx(800 * high, abs=1.0)
    assert told.p_up == pytest.approx(up + same / 2, abs=0.005)


def test_bands_stop_at_the_compounded_limits() -> None:
    """All mass at the limits of 100.00: 90.00 and 110.00, then 81.00 and 121.00."""
    ends = row(c0=0.5, c999=0.5)
    told = one([ends, ends], path_of("90", "81"))
    assert bounds(told) == [("90.00", "110.00"), ("81.00", "121.00")]


def test_a_band_holds_the_told_close_even_where_the_sum_of_medians_is_no_median() -> None:
    """Steps of +2 % with 45 %: each median is "unchanged", and after 20 of them nearly nobody is."""
    steps = [row(c500=0.55, c600=0.45)] * 20
    told = one(steps, path_of(*["100"] * 20))
    assert told.bands[-1].low == Decimal("100.00")
    assert told.p_up > 0.99


@pytest.mark.parametrize(("last", "etf"), [("100", False), ("49.95", False), ("9.99", False), ("180.05", True)])
def test_certainty_has_a_band_of_no_width(last: str, etf: bool) -> None:
    closes, before, codes = [], to_x100(Decimal(last)), (503, 470, 612)
    for code in codes:
        before = price_of_x100(code, before, etf)
        closes.append(before)
    path = Path(last_x100=to_x100(Decimal(last)), closes_x100=tuple(closes), etf=etf, pct=10)

    told = one([point(code) for code in codes], path)

    assert [(to_x100(band.low), to_x100(band.high)) for band in told.bands] == [(close, close) for close in closes]
    assert told.p_up == (1.0 if before > path.last_x100 else 0.0)


def test_what_is_no_distribution_is_refused() -> None:
    for wrong in ([0.0] * CODES, [-1.0, 2.0] + [0.0] * 998, [float("nan")] * CODES, [0.5, 0.5]):
        with pytest.raises(ValueError, match=r"distribution|codes"):
            one([wrong], path_of("100"))


prices = st.integers(5_00, 3_000_00)


@given(before=prices, etf=st.booleans(), pct=st.sampled_from([7, 10]))
def test_all_codes_at_once_are_the_prices_of_the_codes_one_by_one(before: int, etf: bool, pct: int) -> None:
    before = floor_to_tick_x100(before, etf)
    expected = [price_of_x100(code, before, etf, pct) for code in range(CODES)]
    assert tradable_x100(np.array([before]), etf, pct)[0].tolist() == expected


@st.composite
def windows(draw: Any) -> tuple[np.ndarray[Any, Any], list[Path]]:
    """Some windows of as many bars, each bar a few codes with any weights, told along any path."""
    bars = draw(st.integers(1, 6))
    rows, paths = [], []
    for _ in range(draw(st.integers(1, 3))):
        etf = draw(st.booleans())
        last = before = floor_to_tick_x100(draw(prices), etf)
        told, closes = np.zeros((bars, CODES)), []
        for bar in range(bars):
            weights = draw(st.dictionaries(st.integers(0, 999), st.floats(0.01, 1.0), min_size=1, max_size=6))
            for code, weight in weights.items():
                told[bar, code] = weight
            middle = int(np.argmax(np.cumsum(told[bar]) >= told[bar].sum() / 2))
            before = price_of_x100(middle, before, etf)
            closes.append(before)
        rows.append(told)
        paths.append(Path(last_x100=last, closes_x100=tuple(closes), etf=etf, pct=10))
    return np.array(rows), paths


@settings(deadline=None, max_examples=60)
@given(windows())
def test_any_band_is_ordered_tradable_and_inside_the_limits(told: tuple[np.ndarray[Any, Any], list[Path]]) -> None:
    closes, paths = told
    found = outlooks(closes, paths)
    for outlook, path in zip(found, paths, strict=True):
        assert type(outlook.p_up) is float  # a numpy number can't be sent as JSON
        assert 0 <= outlook.p_up <= 1
        lowest = highest = path.last_x100
        for band, close in zip(outlook.bands, path.closes_x100, strict=True):
            lowest, highest = limit_down_x100(lowest, path.etf), limit_up_x100(highest, path.etf)
            low, high = to_x100(band.low), to_x100(band.high)
            assert lowest <= low <= close <= high <= highest
            assert low == floor_to_tick_x100(low, path.etf)
            assert high == floor_to_tick_x100(high, path.etf)
    alone = [outlooks(closes[at : at + 1], [path])[0] for at, path in enumerate(paths)]
    assert [one.bands for one in alone] == [one.bands for one in found]


@settings(deadline=None, max_examples=30)
@given(
    weights=st.dictionaries(st.integers(1, 499), st.floats(0.01, 1.0), min_size=1, max_size=5), still=st.floats(0, 1)
)
def test_as_much_up_as_down_is_half(weights: dict[int, float], still: float) -> None:
    """Where ticks are as wide up as down; in one session, as compounded codes are not symmetric."""
    told = np.zeros((1, 1, CODES))
    told[0, 0, 500] = still
    for away, weight in weights.items():
        told[0, 0, 500 - away] = told[0, 0, 500 + away] = weight
    [found] = outlooks(told, [path_of("200", last="200")])
    assert found.p_up == pytest.approx(0.5, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(before=st.sampled_from([120_00, 300_00, 620_00]), moved=st.integers(-8, 8))
def test_moving_everything_up_never_lowers_anything(before: int, moved: int) -> None:
    """The same shares, `moved` ticks higher: P(up) and both ends of the band move no other way."""

    def told(by: int) -> Outlook:
        tick = 50 if before < 500_00 else 100
        levels = [before + (by + step) * tick for step in (-4, -1, 0, 2, 5)]
        closes = np.zeros((1, 1, CODES))
        for level, share in zip(levels, (0.15, 0.2, 0.3, 0.2, 0.15), strict=True):
            closes[0, 0, code_of(level, before)] += share
        return outlooks(closes, [Path(last_x100=before, closes_x100=(levels[2],), etf=False, pct=10)])[0]

    here, there = told(0), told(moved)
    assert (there.p_up - here.p_up) * moved >= -1e-9
    assert (there.bands[0].low - here.bands[0].low) * moved >= 0
    assert (there.bands[0].high - here.bands[0].high) * moved >= 0
