from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.adapters.pace import Pace, pace_of


class FakeTime:
    """Seconds that pass only by sleeping and by working."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, pause_s: float) -> None:
        self.slept.append(pause_s)
        self.now_s += pause_s


def test_three_pass_at_once_and_the_fourth_waits_for_the_first_to_be_a_window_ago() -> None:
    time = FakeTime()
    pace = Pace(3, 5.0, monotonic=time.monotonic, sleep=time.sleep)
    for _ in range(4):
        with pace.turn():
            time.now_s += 1.0
    assert time.slept == [3.0]  # answers came at 101, 102, 103; it may start at 106


def test_a_request_that_fails_counts_too() -> None:
    time = FakeTime()
    pace = Pace(1, 5.0, monotonic=time.monotonic, sleep=time.sleep)
    with pytest.raises(OSError, match="gone"), pace.turn():
        raise OSError("gone")
    with pace.turn():
        assert time.slept == [5.0]


@settings(deadline=None)
@given(
    requests=st.integers(1, 5),
    window_s=st.floats(0.5, 10),
    work=st.lists(st.tuples(st.floats(0, 4), st.floats(0, 1), st.floats(0, 3)), min_size=1, max_size=30),
)
def test_the_server_never_sees_more_than_the_pace_however_slow_the_way_to_it_is(
    requests: int, window_s: float, work: list[tuple[float, float, float]]
) -> None:
    time = FakeTime()
    pace = Pace(requests, window_s, monotonic=time.monotonic, sleep=time.sleep)
    arrivals = []
    for took_s, arrived_at, idle_s in work:
        with pace.turn():
            arrivals.append(time.now_s + took_s * arrived_at)
            time.now_s += took_s
        time.now_s += idle_s
    for first, one_too_many in zip(arrivals, arrivals[requests:], strict=False):
        assert one_too_many - first >= window_s - 1e-9


def test_threads_take_turns() -> None:
    time = FakeTime()
    pace = Pace(3, 5.0, monotonic=time.monotonic, sleep=time.sleep)
    started: list[float] = []

    def ask() -> None:
        with pace.turn():
            started.append(time.now_s)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started == [100.0] * 3 + [105.0] * 3 + [110.0] * 3 + [115.0] * 3


def test_feeds_on_one_host_share_a_pace() -> None:
    assert pace_of("a.example", 3, 5.0) is pace_of("a.example", 3, 5.0)
    assert pace_of("a.example", 3, 5.0) is not pace_of("b.example", 3, 5.0)


def test_refuses_what_is_no_pace() -> None:
    with pytest.raises(ValueError, match="0 requests"):
        Pace(0, 5.0)
