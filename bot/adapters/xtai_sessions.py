"""Scheduled closings from exchange_calendars (XTAI), as a table in the repository, with our corrections.

The library imports pandas (0.5 s, 45 MB), which an idle daemon does not have to spare, and its table ends a year
ahead of the day it runs on, so its answers change with time. Hence a table made once, with the version inside; a test
makes it again and compares. `python -m bot.adapters.xtai_sessions` writes it anew.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from bot.core.closures import CLOSURES, MAKE_UP_SESSIONS, SCHEDULED_BUT_ABSENT
from bot.core.sessions import SATURDAY, YearSchedule
from bot.errors import DataMissing

TABLE: Final = Path(__file__).parents[1] / "xtai_sessions.json"
FIRST_YEAR: Final = 2015
LAST_YEAR: Final = 2027  # the year after the next list of the exchange's: it is the stronger word anyway


def table_schedule(year: int) -> YearSchedule:
    """What was scheduled for `year`, by the library and our corrections; closings at short notice are not in it.

    Raises:
        DataMissing: the table does not reach to that year.
    """
    table = _table()
    closed = table["closed"].get(str(year))
    if closed is None:
        raise DataMissing(f"no schedule of {year}: the table of {table['library']} has {FIRST_YEAR} to {LAST_YEAR}")
    days = {date.fromisoformat(f"{year}-{day}"): name for day, name in closed.items()}
    days |= {day: name for day, name in SCHEDULED_BUT_ABSENT.items() if day.year == year}
    return YearSchedule(
        closed={day: name for day, name in sorted(days.items()) if day not in CLOSURES},
        weekend_sessions={day: "make-up session" for day in sorted(MAKE_UP_SESSIONS) if day.year == year},
        source=f"{table['library']} {table['version']}",
    )


def make_table() -> dict[str, Any]:
    """The closed weekdays of each year with their names, as the installed exchange_calendars has them."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XTAI", start=f"{FIRST_YEAR}-01-01", end=f"{LAST_YEAR}-12-31")
    sessions = {moment.date() for moment in calendar.sessions}
    names = calendar.regular_holidays.holidays(f"{FIRST_YEAR}-01-01", f"{LAST_YEAR}-12-31", return_name=True)
    named = {moment.date(): name for moment, name in names.items()}
    closed: dict[str, dict[str, str]] = {str(year): {} for year in range(FIRST_YEAR, LAST_YEAR + 1)}
    day = date(FIRST_YEAR, 1, 1)
    while day.year <= LAST_YEAR:
        if day.weekday() < SATURDAY and day not in sessions:
            closed[str(day.year)][f"{day:%m-%d}"] = named.get(day, "holiday")
        day += timedelta(days=1)
    return {"library": "exchange_calendars", "version": exchange_calendars.__version__, "closed": closed}


@lru_cache(1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


if __name__ == "__main__":
    TABLE.write_text(json.dumps(make_table(), indent=1) + "\n", encoding="utf-8")
