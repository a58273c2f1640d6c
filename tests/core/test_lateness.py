"""Order windows and late jobs: each case worked out on the stock API's hours, 16:00 to 13:00 of the next day."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import get_args

import pytest
from builders import at
from hypothesis import given
from hypothesis import strategies as st

from bot.core.lateness import Chance, Late, Window, chance

API = Window(opens=time(16), closes=time(13))
MORNING = Window(opens=time(8, 30), closes=time(13, 30))
FRIDAY, SATURDAY, SUNDAY, MONDAY = (date(2025, 3, day) for day in (7, 8, 9, 10))


def weekend(now: datetime, late: Late, window: Window | None = API) -> Chance:
    """An order decided on FRIDAY for MONDAY, due at 18:30."""
    return chance(now, due=at(FRIDAY, "18:30"), opening=at(MONDAY, "09:00"), window=window, late=late)


@pytest.mark.parametrize("late", get_args(Late))
@pytest.mark.parametrize("clock", [(FRIDAY, "18:30"), (FRIDAY, "23:59"), (SATURDAY, "12:59")])
def test_in_its_own_window_it_is_sent_without_a_word(clock: tuple[date, str], late: Late) -> None:
    assert weekend(at(*clock), late) == Chance(act="send")


def test_in_a_later_window_before_its_session_it_is_carried_or_skipped() -> None:
    for late in ("carry", "send"):
        found = weekend(at(SATURDAY, "17:00"), late)  # type: ignore[arg-type]
        assert (found.act, found.reason) == ("send", "carried: its order window closed at 03-08 13:00")
    assert weekend(at(SATURDAY, "17:00"), "skip") == Chance(
        act="cancel", reason="late: its order window closed at 03-08 13:00 (timetable.late = skip)"
    )


def test_between_two_windows_it_waits_for_the_next() -> None:
    found = weekend(at(SUNDAY, "14:00"), "carry")
    assert (found.act, found.until) == ("wait", at(SUNDAY, "16:00"))
    assert found.reason.endswith("the next opens at 03-09 16:00")
    assert weekend(at(SATURDAY, "13:00"), "skip").act == "cancel"


def test_from_the_opening_on_it_is_too_late_unless_the_user_wants_it_sent_all_the_same() -> None:
    for late in ("skip", "carry"):
        found = weekend(at(MONDAY, "09:00"), late)  # type: ignore[arg-type]
        assert (found.act, found.reason) == ("cancel", "too late: the next session has begun at 03-10 09:00")
    found = weekend(at(MONDAY, "10:15"), "send")
    assert (found.act, found.reason) == ("send", "sent 75 min into its session (timetable.late = send)")


def test_it_is_never_sent_for_another_session() -> None:
    # At 13:00 MONDAY's window closes; from 16:00 on orders are for Tuesday.
    for clock in ("13:00", "14:30", "16:00", "20:00"):
        found = weekend(at(MONDAY, clock), "send")
        assert (found.act, found.reason.endswith("and its order window is closed")) == ("cancel", True)


def test_no_window_before_the_session_is_the_end_of_it() -> None:
    # A broker that opens at 08:30 and closes at 13:30: due on Friday evening, the window before Monday's opening is
    # that of Monday itself, and it is in time.
    assert weekend(at(FRIDAY, "18:30"), "carry", MORNING).until == at(SATURDAY, "08:30")
    afternoon = Window(opens=time(14), closes=time(15))
    found = chance(
        at(FRIDAY, "15:00"), due=at(FRIDAY, "14:30"), opening=at(SATURDAY, "09:00"), window=afternoon, late="carry"
    )
    assert (found.act, found.reason) == (
        "cancel",
        "late: its order window closed at 03-07 15:00, and none opens before its session",
    )


def test_a_job_before_its_window_waits_for_it() -> None:
    found = chance(at(FRIDAY, "15:00"), due=at(FRIDAY, "15:00"), opening=at(MONDAY, "09:00"), window=API, late="skip")
    assert (found.act, found.until) == ("wait", at(FRIDAY, "16:00"))


@pytest.mark.parametrize("late", get_args(Late))
def test_a_broker_without_a_window_takes_orders_until_the_opening(late: Late) -> None:
    assert weekend(at(SUNDAY, "14:00"), late, None).act == "send"
    assert weekend(at(MONDAY, "08:59"), late, None).act == "send"
    assert weekend(at(MONDAY, "09:00"), late, None).act == "cancel"


TIMES = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))


@given(TIMES, TIMES, st.integers(0, 4 * 24 * 4))
def test_a_window_is_as_an_eye_on_the_clock_sees_it(opens: time, closes: time, quarter: int) -> None:
    window, now = Window(opens=opens, closes=closes), at(FRIDAY, "00:00") + timedelta(minutes=15 * quarter)
    clock = now.time()
    seen = opens <= clock < closes if opens < closes else clock >= opens or clock < closes
    around = window.around(now)
    assert (around is not None) == seen
    if around:
        assert around[0] <= now < around[1] <= around[0] + timedelta(days=1)
    start = window.next_start(now)
    assert now < start <= now + timedelta(days=1)
    assert start.time() == opens


@given(TIMES, TIMES, st.integers(0, 4 * 24 * 4), st.sampled_from(get_args(Late)))
def test_what_is_sent_is_sent_in_an_open_window_and_what_waits_waits_for_one_before_the_opening(
    opens: time, closes: time, quarter: int, late: Late
) -> None:
    window, now = Window(opens=opens, closes=closes), at(FRIDAY, "18:30") + timedelta(minutes=15 * quarter)
    found = weekend(now, late, window)
    if found.act == "send":
        assert window.around(now)
        assert now < at(MONDAY, "09:00") or late == "send"
    if found.act == "wait":
        assert found.until is not None
        assert now < found.until < at(MONDAY, "09:00")
        assert not window.around(now)
    if now >= at(MONDAY, "09:00"):
        assert found.act != "wait"
