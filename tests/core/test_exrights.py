"""Hand-computed factors, and ten years of real ex-dates without a jump."""

from __future__ import annotations

import csv
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from builders import SHARED, at, bar
from hypothesis import given
from hypothesis import strategies as st

from bot.core.exrights import (
    ExRight,
    Kind,
    adjusted,
    effective,
    going_ex,
    is_estimated,
    parts_e8,
    references_x100,
)
from bot.core.market import Bar, is_etf, limit_pct, tick_x100, to_x100

WED, THU, FRI, MON = date(2025, 6, 11), date(2025, 6, 12), date(2025, 6, 13), date(2025, 6, 16)


def ex_right(
    previous: str, reference: str, ex_date: date = THU, symbol: str = "2330", kind: Kind = "dividend", **more: int
) -> ExRight:
    return ExRight(
        symbol=symbol,
        ex_date=ex_date,
        kind=kind,
        previous_x100=to_x100(Decimal(previous)),
        reference_x100=to_x100(Decimal(reference)),
        source="test",
        known_at=at(ex_date),
        **more,
    )


def closes(bars: list[Bar]) -> list[str]:
    return [str(one.close) for one in bars]


def test_a_dividend_lowers_what_was_before_and_leaves_the_ex_date_as_it_was() -> None:
    # 2330 went ex on 2025-06-12: 1,065 -> 1,060. 1,065 * 1060/1065 = 1,060; 1,000 * 1060/1065 = 995.305...
    bars = [bar("1000", session=date(2025, 6, 10)), bar("1065", session=WED), bar("1045", session=THU)]
    told = adjusted(bars, [ex_right("1065", "1060")], FRI)
    assert closes(told) == ["995.31", "1060.00", "1045"]
    assert told[2] is bars[2]
    assert told[0].volume_shares == bars[0].volume_shares


def test_as_of_the_evening_before_nothing_has_happened_yet() -> None:
    bars = [bar("1000", session=date(2025, 6, 10)), bar("1065", session=WED)]
    assert adjusted(bars, [ex_right("1065", "1060")], WED) == bars


def test_two_events_multiply_and_a_reduction_raises() -> None:
    # 5484 came back on 2019-09-23 at 45.95 after 27.10; 10 * 45.95/27.10 * 0.9 = 15.2601...
    bars = [bar("10", session=WED), bar("17", session=THU), bar("15", session=FRI)]
    events = [ex_right("27.10", "45.95", THU, kind="reduction"), ex_right("100", "90", FRI)]
    assert closes(adjusted(bars, events, MON)) == ["15.26", "15.30", "15"]


def test_a_dividend_on_the_day_of_a_reduction_is_in_its_reference_already() -> None:
    both = [ex_right("100", "150", kind="reduction"), ex_right("100", "95")]
    assert [one.kind for one in effective(both)] == ["reduction"]
    assert references_x100(both, WED, THU) == {"2330": 150_00}


def test_an_ex_date_on_a_day_that_turns_out_closed_holds_on_the_next_session() -> None:
    events = [ex_right("100", "95", THU), ex_right("50", "49", MON, "2317")]
    assert set(going_ex(events, WED, FRI)) == {"2330"}
    assert set(going_ex(events, WED, WED)) == set()
    assert set(going_ex(events, THU, FRI)) == set()
    bars = [bar("100", session=WED), bar("95", session=FRI)]
    assert closes(adjusted(bars, events[:1], FRI)) == ["95.00", "95"]


def test_limits_are_the_exchanges_or_follow_from_the_reference() -> None:
    # As TPEx told them for 2065 on 2024-03-22, and TWSE for 3432 on 2024-01-22.
    assert ex_right("65.70", "62.84").limits_x100(10, etf=False) == (56_60, 69_10)
    assert ex_right("10.65", "19.69", kind="reduction").limits_x100(10, etf=False) == (17_75, 21_65)
    # Where the exchange tells others, its word counts.
    told = ex_right("59.50", "48.42", limit_up_x100=57_00, limit_down_x100=43_60)
    assert told.limits_x100(10, etf=False) == (43_60, 57_00)


@given(
    st.lists(st.tuples(st.integers(500, 200_000), st.integers(50, 200)), max_size=5),
    st.lists(st.integers(100, 300_000), min_size=6, max_size=6),
)
def test_adjusting_keeps_every_ratio_to_the_cent(told: list[tuple[int, int]], prices: list[int]) -> None:
    """What is left between two sessions is their move from the reference price."""
    bars = [bar(str(Decimal(price) / 100), session=date(2025, 6, 2 + i)) for i, price in enumerate(prices)]
    events = [
        ExRight(symbol="2330", ex_date=bars[i + 1].session, kind="dividend", previous_x100=before,
                reference_x100=max(1, before * pct // 100), source="test", known_at=at(THU))
        for i, (before, pct) in enumerate(told)
    ]  # fmt: skip
    factor, expected = Decimal(1), []
    for i in range(5, -1, -1):
        expected.append(bars[i].close * factor)
        if 1 <= i <= len(events):
            factor *= Decimal(events[i - 1].reference_x100) / events[i - 1].previous_x100
    if min(expected) < Decimal("0.01"):
        return
    made = adjusted(bars, events, bars[-1].session)
    assert all(abs(one.close - wanted) <= Decimal("0.0051") for one, wanted in zip(made, expected[::-1], strict=True))


# --- real bars --------------------------------------------------------------------------------------------

needs_data = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")


def real(symbol: str) -> list[Bar]:
    with (SHARED / "prices" / f"{symbol}.csv").open(encoding="utf-8") as file:
        return [
            Bar(
                symbol=symbol,
                session=date.fromisoformat(row["date"]),
                open=Decimal(row["open"]),
                high=Decimal(row["high"]),
                low=Decimal(row["low"]),
                close=Decimal(row["close"]),
                volume_shares=int(row["capacity"]),
            )
            for row in csv.DictReader(file)
            if row["open"]
        ]


def real_events(symbol: str, bars: list[Bar]) -> list[ExRight]:
    """The listed events that lie between two bars: reference = factor x the close before, to the cent."""
    events = []
    with (SHARED / "prices" / "ex_rights.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ex_date, before = date.fromisoformat(row["ex_date"]), None
            if row["code"] == symbol:
                before = next((one for one in reversed(bars) if one.session < ex_date), None)
            if before is not None:
                reference = (before.close * Decimal(row["factor"])).quantize(Decimal("0.01"))
                events.append(ex_right(str(before.close), str(reference), ex_date, symbol))
    return events


@needs_data
def test_2330_by_hand() -> None:
    """Dividends of 4.00, 5.00, 5.00 and 5.00 since September 2024, from the closes before them."""
    bars = real("2330")
    events = [one for one in real_events("2330", bars) if one.ex_date > date(2024, 9, 1)]
    assert [(str(one.ex_date), one.previous_x100, one.reference_x100) for one in events] == [
        ("2024-09-12", 901_00, 897_00),
        ("2024-12-12", 1045_00, 1040_00),
        ("2025-03-18", 970_00, 965_00),
        ("2025-06-12", 1065_00, 1060_00),
    ]
    told = {one.session: one.close for one in adjusted(bars, events, date(2025, 6, 30))}
    # 901 * 897/901 * 1040/1045 * 965/970 * 1060/1065 = 897 * 0.99521531 * 0.99484536 * 0.99530516 = 883.939...
    assert told[date(2024, 9, 11)] == Decimal("883.94")
    assert told[date(2025, 6, 11)] == Decimal("1060.00")
    as_of = {one.session: one.close for one in adjusted(bars, events, date(2025, 6, 11))}
    assert as_of[date(2025, 6, 11)] == 1065


@needs_data
def test_a_capital_reduction_by_hand() -> None:
    """2465 lost half its shares: it stopped at 8.22 on 2017-10-11 and came back on 2017-10-23 from 16.45."""
    bars = real("2465")
    [event] = [one for one in real_events("2465", bars) if one.ex_date == date(2017, 10, 23)]
    assert (event.previous_x100, event.reference_x100) == (8_22, 16_45)
    told = {one.session: one.close for one in adjusted(bars, [event], date(2017, 10, 31))}
    assert told[date(2017, 10, 11)] == Decimal("16.45")


@needs_data
def test_ten_years_of_ex_dates_leave_no_jump() -> None:
    """Within the daily limit of the reference on every ex-date; unadjusted, 26 of them open outside.

    Two sessions lie one tick above it: the file's factor is of the reference price on the tick there (the README's
    over-limit moves), where the exchange counts from the exact one.
    """
    checked, outside, above = 0, [], []
    for path in sorted((SHARED / "prices").glob("[0-9]*.csv")):
        bars = real(path.stem)
        events = {one.ex_date: one for one in real_events(path.stem, bars)}
        told = adjusted(bars, events.values(), bars[-1].session)
        for i, after in enumerate(bars[1:], 1):
            event = events.get(after.session)
            if event is None:
                continue
            checked += 1
            low, high = event.limits_x100(limit_pct(after.session), etf=is_etf(path.stem))
            assert low <= to_x100(after.low), f"{path.stem} {after.session}"
            if to_x100(after.high) > high:
                assert to_x100(after.high) == high + tick_x100(high, is_etf(path.stem))
                above.append((path.stem, str(after.session)))
            move = told[i].open / told[i - 1].close - 1
            assert abs(move) <= Decimal("0.101"), f"{path.stem} {after.session}: {move}"
            if abs(after.open / bars[i - 1].close - 1) > Decimal("0.101"):
                outside.append(after.session)
    assert checked == 380
    assert len(outside) == 26
    assert above == [("2377", "2024-08-26"), ("3540", "2020-07-03")]


# --- what a share gets ----------------------------------------------------------------------------------------


def of_share(previous: int, reference: int, cash: str | None, kind: Kind = "dividend") -> ExRight:
    return ExRight(
        symbol="2330",
        ex_date=date(2025, 1, 3),
        kind=kind,
        previous_x100=previous,
        reference_x100=reference,
        source="test",
        known_at=datetime(2025, 1, 2, 18, tzinfo=UTC),
        cash_dividend=None if cash is None else Decimal(cash),
    )


@pytest.mark.parametrize(
    ("event", "cash_e8", "ratio_e8"),
    [
        (of_share(1065_00, 1060_00, "4.99999999"), 499_999_999, 10**8),  # the rest is rounding
        (of_share(100_00, 97_00, "3"), 300_000_000, 10**8),
        (of_share(100_00, 88_18, "3"), 300_000_000, 110_002_268),  # 97 / 88.18: a tenth more shares
        (of_share(100_00, 90_91, None), 0, 109_998_900),  # not told apart: all of it counts as shares
        (of_share(20_00, 40_00, None, "reduction"), 0, 50_000_000),  # half the shares at twice the price
    ],
)
def test_what_a_share_held_over_an_ex_date_gets(event: ExRight, cash_e8: int, ratio_e8: int) -> None:
    assert parts_e8(event, etf=False) == (cash_e8, ratio_e8)
    assert is_estimated(event, etf=False) == (ratio_e8 != 10**8)
