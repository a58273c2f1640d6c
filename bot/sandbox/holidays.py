"""When Taiwan's exchanges are closed: the published schedule by rule, and typhoons, which no schedule knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from bot.core.closures import CLOSURES
from bot.errors import Refused

SATURDAY: Final = 5
MORE_HOLIDAYS_SINCE: Final = 2025  # Source: 紀念日及節日實施條例, in force since 2025-05-28
_DAY: Final = timedelta(days=1)

# Sessions called off on the eve. One list with the daemon's: it is of facts, and the sandbox uses its dates only to
# keep them out of the schedule that it serves. What the daemon makes of a closing it is not told of is tested with
# the daemon's list emptied.
TYPHOON_CLOSURES: Final = frozenset(CLOSURES)

# First day of the lunar year, dragon boat, mid-autumn. Source: the Directorate-General of Personnel
# Administration's calendars; later years from the astronomical lunar calendar.
_LUNAR: Final = {
    2015: ((2, 19), (6, 20), (9, 27)),
    2016: ((2, 8), (6, 9), (9, 15)),
    2017: ((1, 28), (5, 30), (10, 4)),
    2018: ((2, 16), (6, 18), (9, 24)),
    2019: ((2, 5), (6, 7), (9, 13)),
    2020: ((1, 25), (6, 25), (10, 1)),
    2021: ((2, 12), (6, 14), (9, 21)),
    2022: ((2, 1), (6, 3), (9, 10)),
    2023: ((1, 22), (6, 22), (9, 29)),
    2024: ((2, 10), (6, 10), (9, 17)),
    2025: ((1, 29), (5, 31), (10, 6)),
    2026: ((2, 17), (6, 19), (9, 25)),
    2027: ((2, 6), (6, 9), (9, 15)),
    2028: ((1, 26), (5, 28), (10, 3)),
    2029: ((2, 13), (6, 16), (9, 22)),
    2030: ((2, 3), (6, 5), (9, 12)),
}
YEARS: Final = range(min(_LUNAR), max(_LUNAR) + 1)


def is_weekday(day: date) -> bool:
    """Monday to Friday."""
    return day.weekday() < SATURDAY


def days(first: date, last: date) -> Iterator[date]:
    """Every day of first..last."""
    for offset in range((last - first).days + 1):
        yield first + offset * _DAY


def scheduled(year: int) -> dict[date, str]:
    """Closed weekdays of `year` with their names, by today's rules; bridging days are left out.

    Raises:
        Refused: the lunar calendar of `year` is not known here.
    """
    if year not in _LUNAR:
        raise Refused(f"sandbox: holidays are known for {YEARS[0]} to {YEARS[-1]}, not {year}")
    new_year, dragon_boat, mid_autumn = (date(year, month, day) for month, day in _LUNAR[year])
    closed: dict[date, str] = {}
    _close_lunar_new_year(closed, new_year)
    feasts = (
        (date(year, 1, 1), "中華民國開國紀念日"),
        (date(year, 2, 28), "和平紀念日"),
        (date(year, 4, 4), "兒童節"),
        (date(year, 4, 5), "民族掃墓節"),
        (date(year, 5, 1), "勞動節"),
        (dragon_boat, "端午節"),
        (mid_autumn, "中秋節"),
        (date(year, 10, 10), "國慶日"),
        (date(year + 1, 1, 1), "中華民國開國紀念日"),
    )
    since_2025 = (
        (date(year, 9, 28), "孔子誕辰紀念日"),
        (date(year, 10, 25), "臺灣光復暨金門古寧頭大捷紀念日"),
        (date(year, 12, 25), "行憲紀念日"),
    )
    for feast, name in (*feasts, *(since_2025 if year >= MORE_HOLIDAYS_SINCE else ())):
        closed.setdefault(_observed(feast, closed), name)
    return {day: closed[day] for day in sorted(closed) if day.year == year}


def _close_lunar_new_year(closed: dict[date, str], new_year: date) -> None:
    """Close the eve to the fifth day, and three weekdays before for settlement only."""
    eve = new_year - _DAY
    closed.update((day, "農曆春節") for day in days(eve, new_year + 4 * _DAY) if is_weekday(day))
    before = [day for day in days(eve - 7 * _DAY, eve - _DAY) if is_weekday(day)]
    closed.update((day, "市場無交易，僅辦理結算交割作業") for day in before[-3:])


def _observed(feast: date, closed: dict[date, str]) -> date:
    """The weekday off for `feast`: Friday for a Saturday, Monday for a Sunday, further when that is taken."""
    if is_weekday(feast):
        return feast
    step = -_DAY if feast.weekday() == SATURDAY else _DAY
    while not is_weekday(feast) or feast in closed:
        feast += step
    return feast
