"""TPEx's answers about its stocks: a month of one, a day of all. Pure; shapes: api/EXCHANGE_PAYLOADS.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from bot.core.market import LOT_SHARES, from_x100, is_etf, limit_down_x100, limit_pct, limit_up_x100
from bot.ports import Company
from bot.sandbox.exchange_cells import ROC_OFFSET, last_bid_ask, plain_price, price_text, roc_date
from bot.sandbox.market import Quote

TPEX_MONTH_FIELDS: Final = ["日 期", "成交張數", "成交仟元", "開盤", "最高", "最低", "收盤", "漲跌", "筆數"]
TPEX_DAY_FIELDS: Final = [
    "代號", "名稱", "收盤 ", "漲跌", "開盤 ", "最高 ", "最低", "成交股數  ", " 成交金額(元)", " 成交筆數 ",
    "最後買價", "最後買量<br>(張數)", "最後賣價", "最後賣量<br>(張數)", "發行股數 ", "次日漲停價 ", "次日跌停價",
]  # fmt: skip


def tpex_month(company: Company, quotes: Sequence[Quote], asked: date) -> dict[str, Any]:
    """tradingStock: the month of `asked` of one stock over the counter; lots and thousands of TWD.

    A listed stock has no rows, and the answer says ok all the same.
    """
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
    bid, ask = last_bid_ask(company, quote)
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
    """The OpenAPI's day of every stock over the counter, with its own spelling of `LatesAskPrice`; shares and TWD."""
    told = []
    for company, quote in rows:
        bid, ask = last_bid_ask(company, quote)
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
                "NextReferencePrice": plain_price(quote.close_x100) or "0",
                "NextLimitUp": plain_price(up) or "0",
                "NextLimitDown": plain_price(down) or "0",
            }
        )
    return told
