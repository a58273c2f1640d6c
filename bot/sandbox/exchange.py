"""TWSE and TPEx as they answer: month of a stock, all stocks of a day, holiday schedule.

Source of every shape: api/EXCHANGE_PAYLOADS.md. Payload functions are pure; the routes at the end only look up.
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

from bot.core.market import (
    LOT_SHARES,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    tick_x100,
)
from bot.ports import Company
from bot.sandbox.faults import BAD_ROW, REPEAT_LAST_SESSION, WRONG_MONTH, fault_of
from bot.sandbox.market import Market, Quote
from bot.sandbox.world import world_behind

NO_DATA: Final = {"stat": "很抱歉，沒有符合條件的資料!"}
NO_TRADE: Final = "--"
ROC_OFFSET: Final = 1911  # year 1 of the Republic of China was 1912

STOCK_DAY_FIELDS: Final = [
    "日期", "成交股數", "成交金額", "開盤價", "最高價", "最低價", "收盤價", "漲跌價差", "成交筆數", "註記",
]  # fmt: skip
STOCK_DAY_ALL_FIELDS: Final = [
    "證券代號", "證券名稱", "成交股數", "成交金額", "開盤價", "最高價", "最低價", "收盤價", "漲跌價差", "成交筆數",
]  # fmt: skip
MI_INDEX_FIELDS: Final = [
    "證券代號", "證券名稱", "成交股數", "成交筆數", "成交金額", "開盤價", "最高價", "最低價", "收盤價", "漲跌(+/-)",
    "漲跌價差", "最後揭示買價", "最後揭示買量", "最後揭示賣價", "最後揭示賣量", "本益比",
]  # fmt: skip
TPEX_MONTH_FIELDS: Final = ["日 期", "成交張數", "成交仟元", "開盤", "最高", "最低", "收盤", "漲跌", "筆數"]
TPEX_DAY_FIELDS: Final = [
    "代號", "名稱", "收盤 ", "漲跌", "開盤 ", "最高 ", "最低", "成交股數  ", " 成交金額(元)", " 成交筆數 ",
    "最後買價", "最後買量<br>(張數)", "最後賣價", "最後賣量<br>(張數)", "發行股數 ", "次日漲停價 ", "次日跌停價",
]  # fmt: skip
_SIGN_NOTE: Final = "符號說明:+/-/X表示漲/跌/不比價"


def roc_date(session: date, separator: str = "/") -> str:
    """`session` by the calendar of the Republic of China: 114/01/02."""
    return separator.join((str(session.year - ROC_OFFSET), f"{session:%m}", f"{session:%d}"))


def price_text(price_x100: int) -> str:
    """`1,080.00`; `--` for 0, a session without a trade."""
    return f"{from_x100(price_x100):,.2f}" if price_x100 else NO_TRADE


def change_text(quote: Quote) -> str:
    """`+2.00`, `-1.50`, ` 0.00`, or `X0.00` on an ex-date, when the exchange compares nothing."""
    if quote.ex:
        return "X0.00"
    return f"{from_x100(quote.change_x100):+,.2f}" if quote.change_x100 else " 0.00"


def stock_day(company: Company, quotes: Sequence[Quote], asked: date) -> dict[str, Any]:
    """STOCK_DAY: the month of `asked` of one listed stock."""
    if company.board != "twse" or not quotes:
        return NO_DATA
    data = [
        [
            roc_date(quote.session),
            f"{quote.volume_shares:,}",
            f"{quote.turnover_twd:,}",
            price_text(quote.open_x100),
            price_text(quote.high_x100),
            price_text(quote.low_x100),
            price_text(quote.close_x100),
            change_text(quote),
            f"{quote.trades:,}",
            "",
        ]
        for quote in quotes
    ]
    month = f"{asked.year - ROC_OFFSET}年{asked:%m}月"
    return {
        "stat": "OK",
        "date": f"{asked:%Y%m%d}",
        "title": f"{month} {company.symbol} {company.name:<14}各日成交資訊",
        "fields": STOCK_DAY_FIELDS,
        "data": data,
        "notes": [_SIGN_NOTE, "當日統計資訊含一般、零股、盤後定價、鉅額交易，不含拍賣、標購。"],
        "total": len(data),
    }


def stock_day_all(rows: Sequence[tuple[Company, Quote]], session: date | None) -> dict[str, Any]:
    """STOCK_DAY_ALL of the website: every listed stock on the newest day."""
    if session is None or not rows:
        return NO_DATA
    data = [
        [
            company.symbol,
            company.name,
            f"{quote.volume_shares:,}",
            f"{quote.turnover_twd:,}",
            price_text(quote.open_x100),
            price_text(quote.high_x100),
            price_text(quote.low_x100),
            price_text(quote.close_x100),
            change_text(quote),
            f"{quote.trades:,}",
        ]
        for company, quote in rows
    ]
    year, month, day = roc_date(session).split("/")
    return {
        "stat": "OK",
        "date": f"{session:%Y%m%d}",
        "title": f"{year}年{month}月{day}日 當日成交資訊",
        "fields": STOCK_DAY_ALL_FIELDS,
        "data": data,
        "notes": [_SIGN_NOTE],
    }


def open_stock_day_all(rows: Sequence[tuple[Company, Quote]]) -> list[dict[str, str]]:
    """STOCK_DAY_ALL of the OpenAPI: plain numbers in strings; empty where none traded."""
    return [
        {
            "Date": roc_date(quote.session, ""),
            "Code": company.symbol,
            "Name": company.name,
            "TradeVolume": str(quote.volume_shares),
            "TradeValue": str(quote.turnover_twd),
            "OpeningPrice": _plain(quote.open_x100),
            "HighestPrice": _plain(quote.high_x100),
            "LowestPrice": _plain(quote.low_x100),
            "ClosingPrice": _plain(quote.close_x100),
            "Change": f"{0 if quote.ex else quote.change_x100 / 100:.4f}",
            "Transaction": str(quote.trades),
        }
        for company, quote in rows
    ]


def mi_index(rows: Sequence[tuple[Company, Quote]], session: date | None) -> dict[str, Any]:
    """MI_INDEX: every listed stock of one day, among other tables."""
    if session is None or not rows:
        return NO_DATA
    year, month, day = roc_date(session).split("/")
    title = f"{year}年{month}月{day}日"
    indices = {
        "title": f"{title} 價格指數(臺灣證券交易所)",
        "fields": ["指數", "收盤指數", "漲跌(+/-)", "漲跌點數", "漲跌百分比(%)", "特殊處理註記"],
        "data": [],
    }
    quotes = {
        "title": f"{title} 每日收盤行情(全部)",
        "fields": MI_INDEX_FIELDS,
        "data": [_mi_index_row(company, quote) for company, quote in rows],
        "hints": "單位：元、股",
        "notes": ["漲跌(+/-)欄位符號說明:+/-/X表示漲/跌/不比價。"],
    }
    return {"stat": "OK", "date": f"{session:%Y%m%d}", "tables": [indices, quotes, {}]}


def _mi_index_row(company: Company, quote: Quote) -> list[str]:
    """One stock: trades before turnover, direction as HTML, the change without sign."""
    bid, ask = _last_bid_ask(company, quote)
    return [
        company.symbol,
        company.name,
        f"{quote.volume_shares:,}",
        f"{quote.trades:,}",
        f"{quote.turnover_twd:,}",
        price_text(quote.open_x100),
        price_text(quote.high_x100),
        price_text(quote.low_x100),
        price_text(quote.close_x100),
        _direction(quote),
        f"{from_x100(0 if quote.ex else abs(quote.change_x100)):,.2f}",
        bid,
        "12" if quote.traded else "0",
        ask,
        "34" if quote.traded else "0",
        "0.00",
    ]


def _direction(quote: Quote) -> str:
    """The HTML cell before the change."""
    if quote.ex:
        return "<p>X</p>"
    if quote.change_x100 > 0:
        return "<p style= color:red>+</p>"
    return "<p style= color:green>-</p>" if quote.change_x100 < 0 else "<p> </p>"


def _last_bid_ask(company: Company, quote: Quote) -> tuple[str, str]:
    """The last quotes shown: the close and a tick above it."""
    ask_x100 = quote.close_x100 + tick_x100(quote.close_x100, is_etf(company.symbol)) if quote.traded else 0
    return price_text(quote.close_x100), price_text(ask_x100)


def tpex_month(company: Company, quotes: Sequence[Quote], asked: date) -> dict[str, Any]:
    """tradingStock: the month of `asked` of one stock over the counter; lots and thousands of TWD."""
    data = [_tpex_month_row(quote) for quote in quotes] if company.board == "tpex" else []
    return {
        "stat": "ok",
        "code": company.symbol,
        "name": company.name,
        "date": f"{asked:%Y%m%d}",
        "tables": [
            {
                "title": "個股日成交資訊",
                "subtitle": f"{company.symbol} {company.name} {asked.year - ROC_OFFSET}年{asked:%m}月",
                "date": f"{asked:%Y%m%d}",
                "fields": TPEX_MONTH_FIELDS,
                "data": data,
                "totalCount": len(data),
                "notes": [],
                "summary": [],
            }
        ],
    }


def _tpex_month_row(quote: Quote) -> list[str]:
    """One session; a star marks the date of a day on which prices are not compared."""
    return [
        roc_date(quote.session) + ("＊" if quote.ex else ""),
        f"{quote.volume_shares // LOT_SHARES:,}",
        f"{quote.turnover_twd // 1_000:,}",
        price_text(quote.open_x100),
        price_text(quote.high_x100),
        price_text(quote.low_x100),
        price_text(quote.close_x100),
        f"{from_x100(0 if quote.ex else quote.change_x100):,.2f}",
        f"{quote.trades:,}",
    ]


def tpex_day(rows: Sequence[tuple[Company, Quote]], session: date) -> dict[str, Any]:
    """dailyQuotes: every stock over the counter of one day; no rows on a day without session."""
    data = [_tpex_day_row(company, quote) for company, quote in rows]
    table = {
        "title": "上櫃股票行情",
        "date": roc_date(session),
        "fields": TPEX_DAY_FIELDS,
        "data": data,
        "totalCount": len(data),
    }
    return {"stat": "ok", "date": f"{session:%Y%m%d}", "tables": [table]}


def _tpex_day_row(company: Company, quote: Quote) -> list[str]:
    """One stock; the close comes first."""
    bid, ask = _last_bid_ask(company, quote)
    up, down = _next_limits(company, quote)
    return [
        company.symbol,
        company.name,
        price_text(quote.close_x100),
        "除權息 " if quote.ex else f"{from_x100(quote.change_x100):+,.2f}",
        price_text(quote.open_x100),
        price_text(quote.high_x100),
        price_text(quote.low_x100),
        f"{quote.volume_shares:,}",
        f"{quote.turnover_twd:,}",
        f"{quote.trades:,}",
        bid,
        "12" if quote.traded else "0",
        ask,
        "34" if quote.traded else "0",
        "0",
        price_text(up),
        price_text(down),
    ]


def _next_limits(company: Company, quote: Quote) -> tuple[int, int]:
    """Limit up and down of the next session in hundredths; 0 when the close is not known."""
    etf, pct = is_etf(company.symbol), limit_pct(quote.session)
    if not quote.traded:
        return 0, 0
    return limit_up_x100(quote.close_x100, etf, pct), limit_down_x100(quote.close_x100, etf, pct)


def open_tpex_day(rows: Sequence[tuple[Company, Quote]]) -> list[dict[str, str]]:
    """The OpenAPI's day of every stock over the counter, with its own spelling of `LatesAskPrice`."""
    told = []
    for company, quote in rows:
        bid, ask = _last_bid_ask(company, quote)
        up, down = _next_limits(company, quote)
        average_x100 = quote.turnover_twd * 100 // quote.volume_shares if quote.volume_shares else 0
        told.append(
            {
                "Date": roc_date(quote.session, ""),
                "SecuritiesCompanyCode": company.symbol,
                "CompanyName": company.name,
                "Close": price_text(quote.close_x100),
                "Change": f"{from_x100(0 if quote.ex else quote.change_x100):+.2f}",
                "Open": price_text(quote.open_x100),
                "High": price_text(quote.high_x100),
                "Low": price_text(quote.low_x100),
                "Average": price_text(average_x100),
                "TradingShares": str(quote.volume_shares),
                "TransactionAmount": str(quote.turnover_twd),
                "TransactionNumber": str(quote.trades),
                "LatestBidPrice": bid,
                "LatesAskPrice": ask,
                "Capitals": "0",
                "NextReferencePrice": _plain(quote.close_x100) or "0",
                "NextLimitUp": _plain(up) or "0",
                "NextLimitDown": _plain(down) or "0",
            }
        )
    return told


def holiday_rows(market: Market, year: int) -> list[tuple[date, str, str]]:
    """The schedule of `year`: closings, and around the lunar new year the last and first days of trading."""
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


def _plain(price_x100: int) -> str:
    """`1080.00`; empty for 0, a session without a trade."""
    return str(from_x100(price_x100)) if price_x100 else ""


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
