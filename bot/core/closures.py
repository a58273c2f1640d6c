"""Days on which the exchanges were closed although their schedule said nothing, each with its source.

Taiwan's exchanges close when the Taipei City Government suspends work, which it tells on the eve. The list is for
history and for `twtrader sessions`: on the day itself the daemon finds out by the bars that do not come, list or not.
The sandbox, which plays the exchange, takes the dates from here, and keeps them out of the schedule that it serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Final

TAIPEI: Final = timezone(timedelta(hours=8))  # no summer time since 1980; core reads no time zone files

# News agencies had the word before 20:00 (cnyes, 2019-08-08 19:31, of the next day); the minute isn't known for each
# day, so we count it as known from 22:00 of the eve, which is later than any of the announcements we have seen.
TOLD_AT: Final = time(22, 0, tzinfo=TAIPEI)

_NO_ROWS: Final = "a weekday without a row in the exchange's data of any stock, and not in its yearly schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """A session called off. From `known_at` on, everybody could know."""

    day: date
    reason: str
    source: str

    @property
    def known_at(self) -> datetime:
        """22:00 of the day before, Asia/Taipei."""
        return datetime.combine(self.day - timedelta(days=1), TOLD_AT)


def _typhoon(year: int, month: int, day: int, name: str, source: str = _NO_ROWS) -> Closure:
    return Closure(day=date(year, month, day), reason=f"typhoon {name}".strip(), source=source)


_LIBRARY: Final = f"{_NO_ROWS}; an ad-hoc holiday of exchange_calendars 4.13.2"
_EXCHANGE_TOLD: Final = "TWSE's announcement as the press reported it"

UNSCHEDULED: Final = (
    _typhoon(2015, 7, 10, "Chan-hom", _LIBRARY),
    _typhoon(2015, 9, 29, "Dujuan", _LIBRARY),
    _typhoon(2016, 7, 8, "Nepartak", _LIBRARY),
    _typhoon(2016, 9, 27, "Megi", _LIBRARY),
    _typhoon(2016, 9, 28, "Megi", _LIBRARY),
    _typhoon(2019, 8, 9, "Lekima", f"{_LIBRARY}; {_EXCHANGE_TOLD}, cnyes 2019-08-08 19:31"),
    _typhoon(2019, 9, 30, "Mitag", _LIBRARY),
    _typhoon(2023, 8, 3, "Khanun", _LIBRARY),
    _typhoon(2024, 7, 24, "Gaemi", _LIBRARY),
    _typhoon(2024, 7, 25, "Gaemi", f"{_LIBRARY}; {_EXCHANGE_TOLD}, udn 2024-07-24"),
    _typhoon(2024, 10, 2, "Krathon", _LIBRARY),
    _typhoon(2024, 10, 3, "Krathon", f"{_LIBRARY}; {_EXCHANGE_TOLD}, moneyweekly 2024-10-02"),
    _typhoon(2024, 10, 31, "Kong-rey", f"{_NO_ROWS}; exchange_calendars 4.13.2 has it as a session"),
    _typhoon(
        2026,
        7,
        10,
        "",
        "three public data projects note the closing; exchange_calendars 4.13.2 has a session",
    ),
)
CLOSURES: Final = {one.day: one for one in UNSCHEDULED}

# Saturdays on which the exchanges traded to make up for a bridging day. The library knows none of them.
# Source: rows of every stock on these days in the exchange's own data.
MAKE_UP_SESSIONS: Final = frozenset(
    {
        date(2016, 1, 30),
        date(2016, 6, 4),
        date(2016, 9, 10),
        date(2017, 2, 18),
        date(2017, 6, 3),
        date(2017, 9, 30),
        date(2018, 3, 31),
        date(2018, 12, 22),
    }
)

# Scheduled closings that exchange_calendars 4.13.2 has as sessions. Source: no row of any stock in the exchange's
# data; both belong to the lunar new year's closing, in the exchange's schedule of that year.
SCHEDULED_BUT_ABSENT: Final = {date(2022, 2, 4): "農曆春節", date(2023, 1, 18): "市場無交易，僅辦理結算交割作業"}
