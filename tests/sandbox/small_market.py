"""A market small enough to work out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from starlette.applications import Starlette

from bot.ports import Company
from bot.sandbox.market import ExEvent, Quote

TAIPEI = ZoneInfo("Asia/Taipei")
THU, FRI, MON = date(2025, 1, 2), date(2025, 1, 3), date(2025, 1, 6)
START = datetime(2025, 1, 2, 8, tzinfo=TAIPEI)


def quote(session: date, low: int = 95_00, high: int = 105_00, **more: Any) -> Quote:
    """A session that opened at its low and closed at its high, in hundredths of a TWD."""
    told = {
        "open_x100": low,
        "close_x100": high,
        "volume_shares": 45_851_963,
        "turnover_twd": 9_053_856_108,
        "trades": 15_718,
        "change_x100": 2_00,
        **more,
    }
    return Quote(session=session, low_x100=low, high_x100=high, **told)


def no_trade(session: date) -> Quote:
    """A session in which nobody traded."""
    return quote(session, 0, 0, volume_shares=0, turnover_twd=0, trades=0, change_x100=0)


class SmallMarket:
    """Three sessions of two stocks that trade and one that does not."""

    def __init__(self) -> None:
        self.companies: Mapping[str, Company] = {
            "1101": Company(symbol="1101", name="台泥", board="twse"),
            "2330": Company(symbol="2330", name="台積電", board="twse"),
            "6488": Company(symbol="6488", name="環球晶", board="tpex"),
        }
        self.sessions: Sequence[date] = [THU, FRI, MON]
        self._quotes = {
            "1101": {day: no_trade(day) for day in self.sessions},
            "2330": {
                THU: quote(THU, 1055_00, 1080_00),
                FRI: quote(FRI, 1070_00, 1085_00, change_x100=-1_50),
                MON: quote(MON, 1090_00, 1125_00, ex=True, change_x100=-9_00),
            },
            "6488": {
                THU: quote(THU, 98_00, 101_50, volume_shares=1_985_400, turnover_twd=198_540_999),
                FRI: quote(FRI, 99_00, 103_00, change_x100=0),
                MON: quote(MON, 103_00, 108_50),
            },
        }

    def quotes(self, code: str) -> Mapping[date, Quote]:
        return self._quotes[code]

    def holidays(self, year: int) -> dict[date, str]:
        return {date(2025, 1, 1): "中華民國開國紀念日"} if year == 2025 else {}

    def ex_events(self, code: str) -> list[ExEvent]:
        """2330 goes ex on Monday: a dividend of 9.50 off Friday's close of 1,085."""
        event = ExEvent(code="2330", ex_date=MON, previous_x100=1085_00, reference_x100=1075_50, reduction=False)
        return [event] if code == "2330" else []

    def mood(self, code: str, session: date) -> int:
        return {("2330", THU): 1, ("6488", THU): -1}.get((code, session), 0)


class Caller:
    """Asks an application without a socket; answers come back as httpx responses."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path: str, **params: Any) -> Any:
        return self("GET", path, params=params).json()

    def post(self, path: str, **form: Any) -> Any:
        return self("POST", path, data=form).json()

    def move(self, moment: str) -> httpx.Response:
        """Move the clock."""
        return self("POST", "/sandbox/clock", json={"now": moment})
