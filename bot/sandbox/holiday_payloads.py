"""The year's schedule as TWSE answers it: closings, and first and last days of trading. Pure."""

from __future__ import annotations

from datetime import date
from typing import Any

from bot.sandbox.exchange_cells import ROC_OFFSET, roc_date
from bot.sandbox.market import Market


def holiday_rows(market: Market, year: int) -> list[tuple[date, str, str]]:
    """The schedule of `year` as (day, name, description), by date: closings, and what is said of days of trading.

    Those are the year's first, the last before and the first after the lunar new year, and Saturdays that trade.
    """
    closed = market.holidays(year)
    rows = [(day, name, "依規定放假1日。") for day, name in closed.items()]
    sessions = [session for session in market.sessions if session.year == year]
    if sessions and date(year, 1, 1) in closed:
        rows.append((sessions[0], "國曆新年開始交易日", "國曆新年開始交易。"))
    spring = [day for day, name in closed.items() if name == "農曆春節"]
    before = [session for session in sessions if spring and session < min(spring)]
    after = [session for session in sessions if spring and session > max(spring)]
    if before and after:
        rows.append((before[-1], "農曆春節前最後交易日", "農曆春節前最後交易。"))
        rows.append((after[0], "農曆春節後開始交易日", "農曆春節後開始交易。"))
    rows += [(day, "補行上班日開始交易", "補行上班日，有交易。") for day in sessions if day.weekday() > 4]  # noqa: PLR2004
    return sorted(rows)


def holiday_schedule(market: Market, year: int) -> dict[str, Any]:
    """The website's holidaySchedule."""
    return {
        "stat": "ok",
        "title": f"{year - ROC_OFFSET} 年市場開休市日期",
        "fields": ["日期", "名稱", "說明"],
        "data": [[day.isoformat(), name, why] for day, name, why in holiday_rows(market, year)],
        "queryYear": year - ROC_OFFSET,
    }


def open_holiday_schedule(market: Market, year: int) -> list[dict[str, str]]:
    """The OpenAPI's holidaySchedule."""
    return [
        {"Name": name, "Date": roc_date(day, ""), "Weekday": "一二三四五六日"[day.weekday()], "Description": why}
        for day, name, why in holiday_rows(market, year)
    ]
