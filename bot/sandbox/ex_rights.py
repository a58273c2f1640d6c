"""Ex-dates as TWSE and TPEx answer them: results of ex-dividend days and capital reductions, over a range of days.

Shapes: bot/adapters/exchange_ex_rights.py says where they were seen. As there, TPEx's exDailyQ silently answers today
to anything but a POST with slashes in its dates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bot.core.market import (
    ceil_to_tick_x100,
    floor_to_tick_x100,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
)
from bot.sandbox.exchange_cells import ROC_OFFSET, price_text, roc_date
from bot.sandbox.market import ExEvent
from bot.sandbox.world import world_behind

TWT49U_FIELDS: Final = [
    "資料日期", "股票代號", "股票名稱", "除權息前收盤價", "除權息參考價", "權值+息值", "權/息", "漲停價格", "跌停價格",
    "開盤競價基準", "減除股利參考價", "詳細資料", "最近一次申報資料 季別/日期", "最近一次申報每股 (單位)淨值",
    "最近一次申報每股 (單位)盈餘",
]  # fmt: skip
TWTAUU_FIELDS: Final = [
    "恢復買賣日期", "股票代號", "名稱", "停止買賣前收盤價格", "恢復買賣參考價", "漲停價格", "跌停價格", "開盤競價基準",
    "除權參考價", "減資原因", "詳細資料",
]  # fmt: skip
EX_DAILY_FIELDS: Final = [
    "除權息日期", "代號", "名稱", "除權息前收盤價", "除權息參考價", "權值", "息值", "權值+息值", "權/息", "漲停價",
    "跌停價", "開始交易基準價", "減除股利參考價", "現金股利", "每仟股無償配股", "現金增資股數", "現金增資認購價",
    "公開承銷股數", "員工認購股數", "原股東認購股數", "按持股比例仟股認購",
]  # fmt: skip
REVIVT_FIELDS: Final = [
    "恢復買賣日期", "股票代號", "名稱", "最後交易日之收盤價格", "減資恢復買賣開始日參考價格", "漲停價格", "跌停價格",
    "開始交易基準價", "除權參考價", "減資原因", "詳細資料",
]  # fmt: skip
_REASON: Final = "退還股款"


def _long_date(day: date) -> str:
    return f"{day.year - ROC_OFFSET}年{day:%m}月{day:%d}日"


def _dividend(event: ExEvent, decimals: int) -> str:
    return f"{from_x100(event.previous_x100 - event.reference_x100):.{decimals}f}"


def _limits(event: ExEvent) -> tuple[str, str, str]:
    """Upper and lower limit, and the reference on the nearest tick."""
    etf, pct, reference = is_etf(event.code), limit_pct(event.ex_date), event.reference_x100
    below, above = floor_to_tick_x100(reference, etf), ceil_to_tick_x100(reference, etf)
    nearest = below if reference - below < above - reference else above
    return (
        price_text(limit_up_x100(reference, etf, pct)),
        price_text(limit_down_x100(reference, etf, pct)),
        price_text(nearest),
    )


def twt49u(events: Sequence[ExEvent], names: Mapping[str, str], first: date, last: date) -> dict[str, Any]:
    """TWSE's results of ex-dividend days; the fall of the price is told as cash."""
    data = []
    for event in events:
        up, down, nearest = _limits(event)
        previous, reference = price_text(event.previous_x100), price_text(event.reference_x100)
        data.append(
            [_long_date(event.ex_date), event.code, names[event.code], previous, reference, _dividend(event, 6), "息",
             up, down, nearest, reference, f"{event.code},{event.ex_date:%Y%m%d}", "", "", ""]
        )  # fmt: skip
    title = f"{_long_date(first)} 至 {_long_date(last)} 除權除息計算結果表"
    return {"stat": "OK", "title": title, "fields": TWT49U_FIELDS, "data": data, "total": len(data)}


def twtauu(events: Sequence[ExEvent], names: Mapping[str, str], first: date, last: date) -> dict[str, Any]:
    """TWSE's results of capital reductions."""
    data = []
    for event in events:
        up, down, nearest = _limits(event)
        data.append(
            [roc_date(event.ex_date), event.code, names[event.code], price_text(event.previous_x100),
             price_text(event.reference_x100), up, down, nearest, "--", _REASON, f"{event.code}  ,"]
        )  # fmt: skip
    return {
        "stat": "OK",
        "title": f"{_long_date(first)} 至 {_long_date(last)} 股票減資恢復買賣參考價格",
        "fields": TWTAUU_FIELDS,
        "data": data,
        "strDate": f"{first:%Y%m%d}",
        "endDate": f"{last:%Y%m%d}",
    }


def ex_daily(events: Sequence[ExEvent], names: Mapping[str, str], first: date, last: date) -> dict[str, Any]:
    """TPEx's results of ex-dividend days."""
    data = []
    for event in events:
        up, down, nearest = _limits(event)
        previous, reference, cash = (
            price_text(event.previous_x100),
            price_text(event.reference_x100),
            _dividend(event, 6),
        )
        data.append(
            [roc_date(event.ex_date), event.code, f"{names[event.code]:<12}", previous, reference, "0.000000", cash,
             cash, "除息", up, down, nearest, reference, _dividend(event, 8), "0.00000000", "0", "0.00", "0", "0", "0",
             "0.00000000"]
        )  # fmt: skip
    return _tpex_answer(EX_DAILY_FIELDS, data, first, last)


def revivt(events: Sequence[ExEvent], names: Mapping[str, str], first: date, last: date) -> dict[str, Any]:
    """TPEx's results of capital reductions."""
    data = []
    for event in events:
        up, down, nearest = _limits(event)
        data.append(
            [roc_date(event.ex_date, ""), event.code, names[event.code], price_text(event.previous_x100),
             price_text(event.reference_x100), up, down, nearest, "0.00", _REASON, "<table></table>"]
        )  # fmt: skip
    return _tpex_answer(REVIVT_FIELDS, data, first, last)


def _tpex_answer(fields: list[str], data: list[list[str]], first: date, last: date) -> dict[str, Any]:
    table = {"title": "", "totalCount": len(data), "fields": fields, "data": data, "summary": [], "notes": []}
    return {"date": f"{first:%Y%m%d}~{last:%Y%m%d}", "tables": [table], "stat": "ok"}


def _day(text: object, form: str) -> date | None:
    found = re.fullmatch(form, str(text))
    try:
        return date(*(int(part) for part in found.groups())) if found else None
    except ValueError:
        return None


def _answer(request: Request, told: Mapping[str, Any], *, board: str, reductions: bool) -> JSONResponse:
    """The range that was asked for; today's when it can't be understood."""
    form = r"(\d{4})(\d\d)(\d\d)" if board == "twse" else r"(\d{4})/(\d\d)/(\d\d)"
    published = world_behind(request).published()
    first, last = _day(told.get("startDate"), form), _day(told.get("endDate"), form)
    if first is None or last is None:
        if board == "tpex" and reductions:
            return JSONResponse({"stat": "參數錯誤"})
        first = last = published.now.date()
    events = [one for one in published.ex_events(board, first, last) if one.reduction is reductions]
    names = {code: company.name for code, company in published.market.companies.items()}
    payload = (revivt if reductions else ex_daily) if board == "tpex" else (twtauu if reductions else twt49u)
    return JSONResponse(payload(events, names, first, last))


async def _twt49u(request: Request) -> JSONResponse:
    return _answer(request, request.query_params, board="twse", reductions=False)


async def _twtauu(request: Request) -> JSONResponse:
    return _answer(request, request.query_params, board="twse", reductions=True)


async def _ex_daily(request: Request) -> JSONResponse:
    async with request.form() as form:
        return _answer(request, form, board="tpex", reductions=False)


async def _revivt(request: Request) -> JSONResponse:
    async with request.form() as form:
        told = form if request.method == "POST" else request.query_params
        return _answer(request, told, board="tpex", reductions=True)


TWSE_EX_ROUTES: Final = [
    Route("/rwd/zh/exRight/TWT49U", _twt49u),
    Route("/rwd/zh/reducation/TWTAUU", _twtauu),
]
TPEX_EX_ROUTES: Final = [
    Route("/www/zh-tw/bulletin/exDailyQ", _ex_daily, methods=["GET", "POST"]),
    Route("/www/zh-tw/bulletin/revivt", _revivt, methods=["GET", "POST"]),
]
