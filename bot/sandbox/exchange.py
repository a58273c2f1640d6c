"""The routes of TWSE and TPEx: month of a stock, all stocks of a day, holiday schedule.

They look up what was asked for; twse_payloads, tpex_payloads and holiday_payloads say how an answer looks.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bot.ports import Company
from bot.sandbox.exchange_cells import ROC_OFFSET
from bot.sandbox.faults import BAD_ROW, REPEAT_LAST_SESSION, WRONG_MONTH, fault_of
from bot.sandbox.holiday_payloads import holiday_schedule, open_holiday_schedule
from bot.sandbox.market import Quote
from bot.sandbox.tpex_payloads import open_tpex_day, tpex_day, tpex_month
from bot.sandbox.twse_payloads import mi_index, open_stock_day_all, stock_day, stock_day_all
from bot.sandbox.world import world_behind


def _asked_day(request: Request) -> date | None:
    """The `date` that was asked for, as YYYYMMDD, YYYY/MM/DD or ROC YYY/MM/DD; today without one, None when bad."""
    text = request.query_params.get("date", "")
    if not text:
        return world_behind(request).now().date()
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)|(\d{3,4})/(\d\d)/(\d\d)", text)
    if not found:
        return None
    year, month, day = (int(part) for part in found.groups() if part)
    try:
        return date(year if year >= ROC_OFFSET else year + ROC_OFFSET, month, day)
    except ValueError:
        return None


def _month(
    request: Request, code: str, payload: Callable[[Company, Sequence[Quote], date], dict[str, Any]]
) -> JSONResponse:
    """The asked month of `code`; another one while that fault is on, and it still says OK."""
    asked = _asked_day(request)
    if asked is None:
        return JSONResponse(payload(_nobody(code), [], world_behind(request).now().date()))
    if fault_of(request.scope) == WRONG_MONTH:
        asked = (asked.replace(day=1) - timedelta(days=1)).replace(day=1)
    published = world_behind(request).published()
    last = asked.replace(day=monthrange(asked.year, asked.month)[1])
    company = published.company(code) or _nobody(code)
    return JSONResponse(payload(company, published.between(code, asked.replace(day=1), last), asked))


def _nobody(code: str) -> Company:
    """A company on no board: the answers about it hold no rows."""
    return Company(symbol=code, name="", board="")


async def _stock_day(request: Request) -> JSONResponse:
    return _month(request, request.query_params.get("stockNo", ""), stock_day)


async def _tpex_month(request: Request) -> JSONResponse:
    return _month(request, request.query_params.get("code", ""), tpex_month)


async def _stock_day_all(request: Request) -> JSONResponse:
    published = world_behind(request).published()
    latest = published.latest
    return JSONResponse(stock_day_all(published.day(latest, "twse") if latest else [], latest))


async def _open_stock_day_all(request: Request) -> JSONResponse:
    published = world_behind(request).published()
    latest = published.latest
    return JSONResponse(open_stock_day_all(published.day(latest, "twse") if latest else []))


def _day(request: Request, asked: date, board: str) -> list[tuple[Company, Quote]]:
    """Every stock of `board` on the asked day; other rows, or one that can't be, while that fault is on."""
    published = world_behind(request).published()
    fault = fault_of(request.scope)
    if fault == REPEAT_LAST_SESSION:
        earlier = [session for session in published.market.sessions if session < asked]
        return [(company, replace(quote, session=asked)) for company, quote in published.day(earlier[-1], board)]
    rows = published.day(asked, board)
    if fault == BAD_ROW and rows:
        company, quote = rows[0]
        rows[0] = (company, replace(quote, high_x100=quote.low_x100, low_x100=quote.high_x100 + 100))
    return rows


async def _mi_index(request: Request) -> JSONResponse:
    asked = _asked_day(request)
    rows = _day(request, asked, "twse") if asked else []
    wanted = request.query_params.get("type", "ALL") in {"ALL", "ALLBUT0999"}
    return JSONResponse(mi_index(rows if wanted else [], asked))


async def _tpex_day(request: Request) -> JSONResponse:
    published = world_behind(request).published()
    asked = _asked_day(request) or published.now.date()
    return JSONResponse(tpex_day(_day(request, asked, "tpex"), asked))


async def _open_tpex_day(request: Request) -> JSONResponse:
    published = world_behind(request).published()
    latest = published.latest
    return JSONResponse(open_tpex_day(published.day(latest, "tpex") if latest else []))


def _asked_year(request: Request) -> int:
    """The year of `date` (YYYYMMDD), or `queryYear`, ROC or western; this year without either."""
    text = request.query_params.get("date", "")[:4] or request.query_params.get("queryYear", "")
    now = world_behind(request).now()
    if not re.fullmatch(r"\d{2,4}", text):
        return now.year
    return int(text) if int(text) >= ROC_OFFSET else int(text) + ROC_OFFSET


async def _holidays(request: Request) -> JSONResponse:
    return JSONResponse(holiday_schedule(world_behind(request).market, _asked_year(request)))


async def _open_holidays(request: Request) -> JSONResponse:
    return JSONResponse(open_holiday_schedule(world_behind(request).market, _asked_year(request)))


TWSE_ROUTES: Final = [
    Route("/exchangeReport/STOCK_DAY", _stock_day),
    Route("/rwd/zh/afterTrading/STOCK_DAY", _stock_day),
    Route("/exchangeReport/STOCK_DAY_ALL", _stock_day_all),
    Route("/rwd/zh/afterTrading/STOCK_DAY_ALL", _stock_day_all),
    Route("/v1/exchangeReport/STOCK_DAY_ALL", _open_stock_day_all),
    Route("/rwd/zh/afterTrading/MI_INDEX", _mi_index),
    Route("/holidaySchedule/holidaySchedule", _holidays),
    Route("/rwd/zh/holidaySchedule/holidaySchedule", _holidays),
    Route("/v1/holidaySchedule/holidaySchedule", _open_holidays),
]
TPEX_ROUTES: Final = [
    Route("/www/zh-tw/afterTrading/tradingStock", _tpex_month),
    Route("/www/zh-tw/afterTrading/dailyQuotes", _tpex_day),
    Route("/openapi/v1/tpex_mainboard_daily_close_quotes", _open_tpex_day),
]
