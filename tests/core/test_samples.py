"""Many sampled paths as one forecast: hand-counted quantiles, and a middle that keeps the market's rules."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from bot.core.forecast import Band, ForecastBar
from bot.core.market import limit_down_x100, limit_up_x100, to_x100
from bot.core.prompt import read_answer
from bot.core.samples import bands_of, middle_path, ranked, share_above


def flat(*closes: int) -> tuple[ForecastBar, ...]:
    return tuple(
        ForecastBar(open=Decimal(one), high=Decimal(one), low=Decimal(one), close=Decimal(one)) for one in closes
    )


def test_a_quantile_is_one_of_the_values() -> None:
    values = [Decimal(one) for one in (5, 1, 4, 2, 3)]

    assert [ranked(values, percent) for percent in (10, 50, 90)] == [1, 3, 5]
    assert [ranked([Decimal(one) for one in range(1, 21)], percent) for percent in (10, 50, 90)] == [2, 10, 18]
    assert ranked([Decimal(7)], 10) == 7


def test_bands_and_the_chance_to_rise_are_counted() -> None:
    paths = [flat(100, close) for close in (90, 95, 100, 105, 110)]

    assert middle_path(paths) == flat(100, 100)
    assert bands_of(paths) == (Band(low=Decimal(100), high=Decimal(100)), Band(low=Decimal(90), high=Decimal(110)))
    assert share_above(paths, Decimal(100)) == 0.4  # 105 and 110; 100 is no rise


ROW = st.integers(0, 10**12 - 1).map(lambda digits: f"{digits:012d}\n")
ANSWERS = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(ROW, min_size=size, max_size=size).map("".join), min_size=1, max_size=9)
)


@given(ANSWERS, st.integers(1_00, 3_000_00))
def test_the_middle_of_tradable_paths_is_tradable(answers: list[str], close_x100: int) -> None:
    last = Decimal(close_x100) / 100
    paths = [read_answer(one, last) for one in answers]

    middle, bands = middle_path(paths), bands_of(paths)

    before = close_x100
    for bar, band in zip(middle, bands, strict=True):
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert limit_down_x100(before, etf=False) <= to_x100(bar.low)
        assert to_x100(bar.high) <= limit_up_x100(before, etf=False)
        assert band.low <= bar.close <= band.high
        before = to_x100(bar.close)
    assert 0 <= share_above(paths, last) <= 1
