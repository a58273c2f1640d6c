"""The exchange's own list of scheduled closings. Typhoon closings come at short notice and are never in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from bot.adapters.door import exchange_door
from bot.config import ExchangeFeedConfig
from bot.core.sessions import SATURDAY, YearSchedule
from bot.errors import DataMissing, Transient

# With `date`, this one answers the year that was asked for; the older address without /rwd/zh ignores the year, and
# `queryYear` is a field of the answer only. Source: public clients that say so, tried on 2021-2026 in 2026-09.
PATH: Final = "rwd/zh/holidaySchedule/holidaySchedule"
ROC_YEAR_0: Final = 1911
TRADES: Final = re.compile("開始交易|最後交易")  # first and last sessions around a holiday stand in the list too


class TwseHolidays:
    """HolidayFeed over TWSE's web answer; both boards keep the same sessions."""

    def __init__(self, feed: ExchangeFeedConfig) -> None:
        """`feed` is the config of TWSE's server, as for bars.

        Raises:
            ConfigError: the base address is none.
        """
        self._door = exchange_door("twse", feed)

    def close(self) -> None:
        """Close the connections."""
        self._door.close()

    def schedule(self, year: int) -> YearSchedule:
        """Closed weekdays of `year` and weekend sessions, with their names; other days that trade are not in it.

        Raises:
            DataMissing: no trustworthy answer, retries included; or the year isn't published yet.
        """
        params = {"response": "json", "date": f"{year}0101"}
        return self._door.ask(f"holidays of {year}", lambda: schedule_of(self._door.get_json(PATH, params), year))


def schedule_of(answer: Mapping[str, Any], year: int) -> YearSchedule:
    """The closed weekdays and weekend sessions in TWSE's JSON `answer`.

    Raises:
        Transient: the answer isn't for `year`.
        DataMissing: it can't be read, or holds no day.
    """
    stat = str(answer.get("stat", ""))
    if "沒有符合條件" in stat:
        raise DataMissing(f"holidays of {year}: not published")
    if stat.lower() != "ok":
        raise Transient(f"status {stat[:60]!r}")
    told = re.search(r"([0-9]{2,3}) *年", str(answer.get("title", "")))
    if not told or int(told[1]) + ROC_YEAR_0 != year:
        raise Transient(f"the answer is for {answer.get('title') or '(no year told)'}, not {year}")
    fields, rows = answer.get("fields"), answer.get("data")
    if not isinstance(fields, list) or not isinstance(rows, list):
        raise Transient("an answer without rows")
    if not rows:
        raise DataMissing(f"holidays of {year}: an empty list")
    days = dict(_day(row, fields, year) for row in rows)
    weekend = {day: name for day, name in days.items() if day.weekday() >= SATURDAY}
    return YearSchedule(
        closed={day: name for day, name in days.items() if day not in weekend and not TRADES.search(name)},
        weekend_sessions={day: name for day, name in weekend.items() if TRADES.search(name)},
    )


def _day(row: Any, fields: list[Any], year: int) -> tuple[date, str]:
    """A row's day and name."""
    try:
        cells = dict(zip(fields, row, strict=True))
        day = date.fromisoformat(cells["日期"].strip())
        name = str(cells["名稱"]).strip()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataMissing(f"holidays of {year}: {str(row)[:80]}: {error}") from error
    if day.year != year:
        raise DataMissing(f"holidays of {year}: {day} is of another year")
    return day, name
