"""The gate: rows by hand, the owner's bars of ten years, and every closure that came without notice."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from builders import SHARED, bar

from bot.core.check import CheckedBars, check_rows
from bot.core.feed_rows import Reading, Row, row_of
from bot.core.phantom_day import shown, suspected_closure
from bot.core.row_rules import Known, Last
from bot.price_files import read_folder, references_beside
from bot.sandbox.holidays import TYPHOON_CLOSURES

MON, TUE, WED, THU, FRI = (date(2025, 3, day) for day in (3, 4, 5, 6, 7))
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")


def row(session: date = TUE, close: int = 100_00, **told: Any) -> Row:
    """A flat, sound row of 2330: 1,000 shares at the close."""
    figures: dict[str, Any] = {"open_x100": close, "high_x100": close, "low_x100": close, "close_x100": close}
    figures |= {"volume_shares": 1000, "turnover_twd": close * 10, "trades": 3, "symbol": "2330"} | told
    return Row(session=session, **figures)


def check(*rows: Row, **known: Any) -> CheckedBars:
    sessions = frozenset(one.session for one in rows)
    return check_rows(Reading(rows=rows, sessions=sessions, source="test"), Known(**known))


def kinds(checked: CheckedBars) -> list[str]:
    return [one.kind for one in checked.quarantined]


def test_only_the_gate_makes_checked_bars() -> None:
    with pytest.raises(TypeError, match="check_rows only"):
        CheckedBars([row()], [], key=object())
    assert check(row()).bars == (replace_volume(bar("100.00", session=TUE)),)


def replace_volume(one: Any) -> Any:
    return replace(one, volume_shares=1000, turnover_twd=100_000, trades=3)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"low_x100": 0}, "row"),
        ({"open_x100": 99_00}, "row"),  # below the low
        ({"high_x100": 100_25}, "row"),  # the tick is 0.5 from 100 on
        ({"volume_shares": 0}, "row"),
        ({"trades": 0}, "row"),
        ({"trades": 1001}, "row"),
        ({"turnover_twd": 3}, "average"),
        ({"turnover_twd": 10_000_000}, "average"),
        ({"turnover_twd": None}, ""),
        ({"turnover_twd": 108_000}, ""),  # a block trade within the limit
    ],
)
def test_a_row_alone(told: dict[str, Any], kind: str) -> None:
    assert kinds(check(row(**told))) == ([kind] if kind else [])


@pytest.mark.parametrize(("close", "passes"), [(110_00, True), (110_50, False), (90_00, True), (89_90, False)])
def test_the_daily_limit_is_of_the_close_before(close: int, *, passes: bool) -> None:
    assert bool(check(row(close=close), last={"2330": Last(MON, 100_00)}).rows) is passes


def test_the_limit_was_seven_percent_before_june_2015() -> None:
    friday, monday = date(2015, 5, 29), date(2015, 6, 1)
    assert kinds(check(row(friday, 108_00), last={"2330": Last(date(2015, 5, 28), 100_00)})) == ["limit"]
    assert kinds(check(row(monday, 108_00), last={"2330": Last(friday, 100_00)})) == []


def test_an_ex_date_counts_from_its_reference_price() -> None:
    known = {"last": {"2330": Last(MON, 100_00)}, "references": {("2330", TUE): 80_00}}
    assert check(row(close=75_00), **known).rows
    assert kinds(check(row(close=100_00), **known)) == ["limit"]


def test_a_new_listing_has_no_limit_for_five_sessions() -> None:
    rows = [
        row(day, close) for day, close in ((MON, 100_00), (TUE, 150_00), (WED, 250_00), (THU, 400_00), (FRI, 300_00))
    ]
    listed = {"listed": {"2330": MON}, "sessions": {MON, TUE, WED, THU, FRI}}
    assert len(check(*rows, **listed).rows) == 5
    sixth = row(date(2025, 3, 10), 400_00)
    assert kinds(check(*rows, sixth, **listed)) == ["limit"]


def test_funds_have_limits_that_the_code_does_not_tell() -> None:
    assert check(row(close=20_00, symbol="00632R"), last={"00632R": Last(MON, 10_00)}).rows


def test_after_a_hole_the_reason_says_that_the_reference_is_not_known() -> None:
    [one] = check(row(FRI, 150_00), last={"2330": Last(MON, 100_00)}, sessions={TUE, WED, THU}).quarantined
    assert (one.kind, one.symbol, one.session) == ("limit", "2330", FRI)
    assert one.reason.endswith("of the close of 2025-03-03; sessions lie between, so the reference price is not known")


def test_a_move_over_the_limit_does_not_condemn_the_next_session() -> None:
    checked = check(row(TUE, 150_00), row(WED, 152_00), last={"2330": Last(MON, 100_00)})
    assert [one.session for one in checked.rows] == [WED]
    later = {"last": {"2330": Last(MON, 100_00)}, "doubtful": {"2330": [Last(TUE, 150_00)]}}
    assert check(row(WED, 152_00), **later).rows


def test_the_exchanges_own_change_must_lead_from_close_to_close() -> None:
    last = {"last": {"2330": Last(MON, 100_00)}}
    assert check(row(close=102_00, change_x100=2_00), **last).rows
    assert kinds(check(row(close=103_00, change_x100=2_00), **last)) == ["change"]
    assert check(row(close=103_00, change_x100=None), **last).rows  # an ex-date, or nothing told
    assert check(row(WED, 103_00, change_x100=2_00), **last).rows  # Tuesday may have been a session: not compared


def test_a_wrong_close_is_quarantined_and_the_next_right_one_passes() -> None:
    rows = [
        row(TUE, 103_00, change_x100=2_00),  # truly 102
        row(WED, 104_00, change_x100=2_00),
        row(THU, 105_00, change_x100=1_00),
    ]
    checked = check(*rows, last={"2330": Last(MON, 100_00)})
    assert [one.session for one in checked.rows] == [WED, THU]
    wrong_change = [row(TUE, 102_00, change_x100=3_00), *rows[1:]]
    assert [one.session for one in check(*wrong_change, last={"2330": Last(MON, 100_00)}).rows] == [WED, THU]


def test_where_nothing_vouches_for_the_first_of_two_neither_passes() -> None:
    assert kinds(check(row(TUE, 103_00), row(WED, 104_00, change_x100=2_00))) == ["change", "change"]


def test_two_rows_for_a_day_are_both_quarantined() -> None:
    assert kinds(check(row(), row())) == ["duplicate", "duplicate"]


def test_thousands_leave_room_for_what_they_leave_out() -> None:
    told = {"volume_shares": 1000, "turnover_twd": 199_000, "trades": 1}
    assert kinds(check(row(**told))) == ["average"]
    assert kinds(check(row(**told, thousands=True))) == []  # 1,990 shares may have changed hands


class TestClosures:
    def test_no_rows_and_few_rows(self) -> None:
        assert suspected_closure([], {}) == "no stock has a bar"
        usual = [900] * 20
        assert suspected_closure([row(symbol=str(code)) for code in range(1000, 1044)], {}, usual)
        assert not suspected_closure([row(symbol=str(code)) for code in range(1000, 1045)], {}, usual)

    def test_nine_in_ten_closes_of_the_session_before(self) -> None:
        before = {str(code): shown(row(symbol=str(code))) for code in range(1000, 1020)}

        def day(moved: int) -> list[Row]:
            return [
                row(symbol=str(code), close=101_00 if code < 1000 + moved else 100_00) for code in range(1000, 1020)
            ]

        assert suspected_closure(day(2), before) == "18 of 20 stocks repeat the last session"
        assert not suspected_closure(day(3), before)

    def test_a_few_stocks_may_close_unchanged(self) -> None:
        before = {"2330": shown(row(MON)), "2317": shown(row(MON, symbol="2317"))}
        again = [row(), row(symbol="2317")]
        assert suspected_closure(again, before)
        assert not suspected_closure([replace(again[0], volume_shares=2000), again[1]], before)


@needs_data
class TestTenYears:
    """All 95,704 bars of ../shared/data/prices."""

    @pytest.fixture(scope="class")
    def reading(self) -> Reading:
        reading = read_folder(SHARED / "prices")
        assert (len(reading.rows), reading.rejected) == (95_704, ())
        return reading

    def test_the_ten_over_limit_moves_are_flagged_and_no_other_row(self, reading: Reading) -> None:
        references = references_beside(SHARED / "prices", reading.rows)
        checked = check_rows(reading, Known(references=references, sessions=reading.sessions))
        found = [(one.symbol, str(one.session), "sessions lie between" in one.reason) for one in checked.quarantined]
        assert found == [
            ("2317", "2018-10-26", True),  # capital reductions after a halt
            ("2377", "2024-08-26", False),  # the factor was made in a hole of its source
            ("2465", "2017-10-23", True),
            ("3540", "2020-07-03", False),  # a factor rounded to the tick
            ("5371", "2016-08-26", True),
            ("5484", "2019-09-23", True),
            ("5484", "2021-11-08", True),
            ("6125", "2020-07-10", False),  # an ex-date in no list
            ("6125", "2024-12-09", True),  # holes of the source
            ("6579", "2024-09-02", True),
        ]
        assert {one.kind for one in checked.quarantined} == {"limit"}
        assert len(checked.rows) == 95_694

    def test_no_session_looks_closed_and_every_typhoon_does(self, reading: Reading) -> None:
        by_day: dict[date, list[Row]] = {}
        for one in reading.rows:
            by_day.setdefault(one.session, []).append(one)
        sessions = sorted(by_day)
        before: dict[str, Any] = {}
        for index, session in enumerate(sessions):
            usual = [len(by_day[day]) for day in sessions[max(0, index - 20) : index]]
            assert suspected_closure(by_day[session], before, usual) == ""
            before = {one.symbol: shown(one) for one in by_day[session]}
        typhoons = [day for day in sorted(TYPHOON_CLOSURES) if day <= sessions[-1]]
        assert len(typhoons) == 13
        for typhoon in typhoons:
            assert typhoon not in by_day
            last = max(day for day in sessions if day < typhoon)
            known = {one.symbol: shown(one) for one in by_day[last]}
            repeated = [replace(one, session=typhoon) for one in by_day[last]]
            assert suspected_closure([], known)
            assert suspected_closure(repeated, known)


def test_a_bar_and_its_row_say_the_same() -> None:
    told = replace(bar("100.5"), turnover_twd=100_500_000)
    assert check(row_of(told)).bars == (told,)
