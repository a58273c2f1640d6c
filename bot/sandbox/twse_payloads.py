"""TWSE's answers about listed stocks: a month of one, a day of all. Pure; shapes: api/EXCHANGE_PAYLOADS.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from bot.core.market import from_x100
from bot.ports import Company
from bot.sandbox.exchange_cells import ROC_OFFSET, change_text, last_bid_ask, plain_price, price_text, roc_date
from bot.sandbox.market import Quote

NO_DATA: Final = {"stat": "很抱歉，沒有符合條件的資料!"}

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
_SIGN_NOTE: Final = "符號說明:+/-/X表示漲/跌/不比價"


def stock_day(company: Company, quotes: Sequence[Quote], asked: date) -> dict[str, Any]:
    """STOCK_DAY: the month of `asked` of one listed stock; `NO_DATA` for another stock or a month without rows."""
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
    """STOCK_DAY_ALL of the website: every listed stock on the newest day; `NO_DATA` where there is none."""
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
            "OpeningPrice": plain_price(quote.open_x100),
            "HighestPrice": plain_price(quote.high_x100),
            "LowestPrice": plain_price(quote.low_x100),
            "ClosingPrice": plain_price(quote.close_x100),
            "Change": f"{0 if quote.ex else quote.change_x100 / 100:.4f}",
            "Transaction": str(quote.trades),
        }
        for company, quote in rows
    ]


def mi_index(rows: Sequence[tuple[Company, Quote]], session: date | None) -> dict[str, Any]:
    """MI_INDEX: every listed stock of one day, among other tables; `NO_DATA` on a day without rows."""
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
    bid, ask = last_bid_ask(company, quote)
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
