"""How far a clock is believed."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from builders import at

from bot.core.clockmark import MEANING, Trust, trust

MARK = at(date(2025, 3, 4), "15:02")


@pytest.mark.parametrize(
    ("later", "found"),
    [
        (timedelta(0), Trust.STEADY),
        (timedelta(hours=20), Trust.STEADY),  # a night asleep
        (timedelta(days=2), Trust.STEADY),
        (timedelta(days=2, seconds=1), Trust.AHEAD),
        (timedelta(days=365), Trust.AHEAD),
        (-timedelta(seconds=60), Trust.STEADY),  # NTP's
        (-timedelta(seconds=61), Trust.BEHIND),
        (-timedelta(days=365), Trust.BEHIND),
    ],
)
def test_a_clock_is_judged_by_the_highest_moment_seen(later: timedelta, found: Trust) -> None:
    assert trust(MARK + later, MARK) is found


def test_the_first_start_has_nothing_to_judge_by() -> None:
    assert trust(MARK, None) is Trust.STEADY


def test_each_verdict_is_explained() -> None:
    assert set(MEANING) == set(Trust)
