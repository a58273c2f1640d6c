"""The short form of `make year`: three sessions with each kind of mischief once, judged like the whole year."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from builders import at
from simulated_year import Year, lived

MONDAY, TUESDAY, WEDNESDAY = date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5)
MINUTES, A_DAY = timedelta(minutes=9), timedelta(hours=23)


def all_mischief_once(year: Year) -> None:
    year.move(at(MONDAY, "15:01"))
    year.step(-300.0)  # it says 14:56 now, and the bars are there already
    year.kill(at(MONDAY, "15:52"), MINUTES)
    year.come_back()
    year.step(300.0)
    year.move(at(MONDAY, "17:00"))
    year.second(at(MONDAY, "18:01"))
    year.terminate(at(MONDAY, "18:22"), MINUTES)
    year.come_back()
    year.step(0.0)
    year.move(at(TUESDAY, "17:30"))
    year.sleep(at(TUESDAY, "17:40"), A_DAY)  # the rest of Tuesday's evening is slept through
    year.come_back()
    year.move(at(WEDNESDAY, "18:40"))


def test_three_sessions_with_all_mischief_once(tmp_path: Path) -> None:
    told = lived(tmp_path, MONDAY, seed=3, mischief=0.0, live=all_mischief_once)
    done = ("kill -9", "restart", "sleep", "second start refused", "clock forth", "clock back")
    assert [told[name] for name in done] == [1, 1, 1, 1, 1, 2]
    assert told["sessions with missed stages"] == 1
    assert told["stages missed and said"] == 3  # Tuesday's forecast, decide and send
    assert told["orders"] >= 4
