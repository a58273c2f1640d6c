"""The stock API as it answers, both of its bases. Source of every shape: api/STOCK_API.md.

Its words for a wrong password, missing cash and the like were never seen; those here are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.core.market import LOT_SHARES, is_etf
from bot.core.orders import OrderState, Side
from bot.ports import Company
from bot.sandbox.account import Account, Wish, opening_of
from bot.sandbox.faults import HOLDINGS_STALE, fault_of, post_of
from bot.sandbox.market import Quote
from bot.sandbox.world import World, world_behind

WRONG_LOGIN: Final = "帳號或密碼錯誤"
WRONG_FIELDS: Final = "參數錯誤"
UNKNOWN_STOCK: Final = "查無此股票代號"
_MAX_LOTS: Final = 1_000_000
_PRICE: Final = re.compile(r"\d{1,7}(\.\d{1,10})?")
_BOARDS: Final = {"twse": "TWSE", "tpex": "OTC"}


def failed(status: str) -> dict[str, Any]:
    """A failure, with no data beside it."""
    return {"result": "failed", "status": status}


def wish_of(form: Mapping[str, Any], side: Side) -> Wish | None:
    """The order in the form; None when a field is missing or no positive number."""
    code, lots, price = (str(form.get(name, "")).strip() for name in ("stock_code", "stock_shares", "stock_price"))
    if not code or not re.fullmatch(r"\d{1,7}", lots) or not _PRICE.fullmatch(price):
        return None
    try:
        wish = Wish(symbol=code, side=side, lots=int(lots), price=Decimal(price))
    except InvalidOperation:
        return None
    return wish if 0 < wish.lots <= _MAX_LOTS and wish.price >= Decimal("0.01") else None


def holdings(account: Account, companies: Mapping[str, Company], *, as_text: bool) -> list[dict[str, Any]]:
    """A row a stock held, `shares` in lots; `as_text` writes the opening price as the new base does: "34.40000"."""
    rows = []
    for number, (symbol, position) in enumerate(sorted(account.portfolio.positions.items()), start=1):
        opening = opening_of(account, symbol)
        rows.append(
            {
                "usid": number,
                "stock_name": companies[symbol].name,
                "beginning_price": f"{opening.price:.5f}" if as_text else float(round(opening.price, 5)),
                "shares": position.shares // LOT_SHARES,
                "createtime": int(opening.filled_at.timestamp()),
                "stock_code_id": symbol,
                "user_uid_id": 1,
            }
        )
    return rows


def price_row(symbol: str, quote: Quote) -> dict[str, Any]:
    """One session: shares, TWD, number of trades; `date` is 00:00 UTC of the day in Unix seconds."""
    midnight = datetime(quote.session.year, quote.session.month, quote.session.day, tzinfo=UTC)
    return {
        "capacity": quote.volume_shares,
        "change": _number(0 if quote.ex else quote.change_x100),
        "close": _number(quote.close_x100),
        "date": int(midnight.timestamp()),
        "high": _number(quote.high_x100),
        "low": _number(quote.low_x100),
        "open": _number(quote.open_x100),
        "shdid": quote.session.toordinal() * 10_000 + int(symbol[:4]),
        "stock_code_id": symbol,
        "transaction_volume": quote.trades,
        "turnover": quote.turnover_twd,
    }


def kind_of(company: Company) -> str:
    """The new base's word for where a stock trades."""
    return "ETF" if is_etf(company.symbol) else _BOARDS[company.board]


def _number(price_x100: int) -> int | float:
    """136, or 137.5: JSON numbers as the platform writes them."""
    return price_x100 // 100 if price_x100 % 100 == 0 else price_x100 / 100


async def _form_of(request: Request) -> dict[str, Any]:
    """The form's fields."""
    async with request.form() as form:
        return dict(form)


def _account_of(form: Mapping[str, Any], world: World) -> str | None:
    """The account whose password stands in the form."""
    name = str(form.get("account", ""))
    return name if name in world.passwords and world.passwords[name] == form.get("password") else None


async def _order(request: Request, side: Side) -> JSONResponse:
    """Take a reservation, or say why not."""
    world, form = world_behind(request), await _form_of(request)
    name = _account_of(form, world)
    if name is None:
        return JSONResponse(failed(WRONG_LOGIN))
    wish = wish_of(form, side)
    if wish is None:
        return JSONResponse(failed(WRONG_FIELDS))
    if wish.symbol not in world.market.companies:
        return JSONResponse(failed(UNKNOWN_STOCK))
    order = world.place(name, wish)
    post_of(request.scope)["reservations"].append(order.number)
    if order.state is OrderState.REJECTED:
        return JSONResponse(failed(order.reply))
    return JSONResponse({"result": "success", "status": order.reply})


async def _buy(request: Request) -> JSONResponse:
    return await _order(request, Side.BUY)


async def _sell(request: Request) -> JSONResponse:
    return await _order(request, Side.SELL)


async def _holdings(request: Request, *, as_text: bool) -> JSONResponse:
    """The positions; nothing of cash or orders."""
    world, form = world_behind(request), await _form_of(request)
    name = _account_of(form, world)
    if name is None:
        return JSONResponse(failed(WRONG_LOGIN))
    world.now()  # settles what is due
    account = world.before_settlement[name] if fault_of(request.scope) == HOLDINGS_STALE else world.accounts[name]
    rows = holdings(account, world.market.companies, as_text=as_text)
    return JSONResponse({"result": "success", "status": "取得使用者庫存成功", "data": rows})


async def _holdings_old(request: Request) -> JSONResponse:
    return await _holdings(request, as_text=False)


async def _holdings_new(request: Request) -> JSONResponse:
    return await _holdings(request, as_text=True)


async def _prices(request: Request) -> Response:
    """Bars of one stock, newest first; an unknown code gets no JSON at all."""
    published = world_behind(request).published()
    code = request.path_params["code"]
    first, last = (_compact(request.path_params[name]) for name in ("first", "last"))
    if published.company(code) is None or first is None or last is None:
        return PlainTextResponse("stock not found")
    quotes = [quote for quote in published.between(code, first, last) if quote.traded]
    return JSONResponse({"result": "success", "data": [price_row(code, quote) for quote in reversed(quotes)]})


def _compact(text: str) -> date | None:
    """The date YYYYMMDD; None when it is none."""
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{8}", text) else None
    except ValueError:
        return None


async def _stock_list(request: Request) -> JSONResponse:
    companies = world_behind(request).market.companies
    return JSONResponse({code: {"name": company.name, "type": kind_of(company)} for code, company in companies.items()})


async def _stock_type(request: Request) -> JSONResponse:
    code = request.query_params.get("stock_code", "")
    company = world_behind(request).market.companies.get(code)
    if company is None:
        return JSONResponse(failed(UNKNOWN_STOCK))
    return JSONResponse({"result": "success", "stock_code": code, "type": kind_of(company)})


STOCK_API_ROUTES: Final = [
    Route("/api/v1/buy", _buy, methods=["POST"]),
    Route("/api/v1/sell", _sell, methods=["POST"]),
    Route("/api/v1/get_user_stocks", _holdings_old, methods=["POST"]),
    Route("/api/v1/api_get_stock_info_from_date_json/{code}/{first}/{last}", _prices),
    Route("/trading_api/buy", _buy, methods=["POST"]),
    Route("/trading_api/sell", _sell, methods=["POST"]),
    Route("/trading_api/get_user_stocks", _holdings_new, methods=["POST"]),
    Route("/trading_api/stock_list", _stock_list),
    Route("/trading_api/stock_type", _stock_type),
]
