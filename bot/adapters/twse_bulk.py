"""All listed stocks of one day in one request: TWSE's MI_INDEX. Source of the shape: EXCHANGE_PAYLOADS.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

from bot.adapters.door import exchange_door
from bot.adapters.price_rows import (
    Layout,
    check_told,
    day_in,
    day_key_of,
    has_table,
    list_at,
    plain,
    read_table,
)
from bot.config import ExchangeFeedConfig
from bot.core.feed_rows import Reading
from bot.errors import Transient

PATH: Final = "/rwd/zh/afterTrading/MI_INDEX"
ALL_BUT_WARRANTS: Final = "ALLBUT0999"
TWSE_DAY: Final = Layout(
    key=("證券代號",),
    volume=("成交股數",),
    turnover=("成交金額",),
    open=("開盤價",),
    high=("最高價",),
    low=("最低價",),
    close=("收盤價",),
    change=("漲跌價差",),
    trades=("成交筆數",),
    sign=("漲跌(+/-)",),
    zero_is_a_change=True,  # an ex-date has the sign X
)


class TwseBulk:
    """Every listed stock's row of a day."""

    def __init__(self, config: ExchangeFeedConfig) -> None:
        """Nothing is asked before the first day is wanted.

        Raises:
            ConfigError: the base address is none.
        """
        self._door = exchange_door("twse", config)

    def day(self, session: date) -> Reading:
        """The rows of `session`, none where there was none. Nothing in it is checked yet.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """
        params = {"date": f"{session:%Y%m%d}", "type": ALL_BUT_WARRANTS, "response": "json"}
        return self._door.ask(f"all of {session}", lambda: day_of(self._door.get_json(PATH, params), session))

    def close(self) -> None:
        """Close the connection."""
        self._door.close()


def day_of(answer: Mapping[str, Any], session: date) -> Reading:
    """The rows of the one table of stocks in MI_INDEX's `answer`.

    Raises:
        Transient: the answer isn't for `session`, or says to come back.
        Refused: the board can't answer.
        DataMissing: the header is unknown.
    """
    source = "twse day"
    if not has_table(answer):
        return Reading(rows=(), source=source)
    wanted = f"{session:%Y%m%d}"
    check_told("day", str(answer.get("date", "")), wanted)
    tables = [table for table in list_at(answer, "tables") if isinstance(table, Mapping) and _is_of_stocks(table)]
    if len(tables) != 1:
        raise Transient(f"an answer with {len(tables)} tables of stocks")
    check_told("day", day_in(plain(str(tables[0].get("title", "")))), wanted)
    fields, rows = list_at(tables[0], "fields"), list_at(tables[0], "data")
    return replace(read_table(f"all of {session}", fields, rows, TWSE_DAY, day_key_of(session)), source=source)


def _is_of_stocks(table: Mapping[str, Any]) -> bool:
    """Whether the table is the one of all stocks: the others are of indices and of counts."""
    return "每日收盤行情" in plain(str(table.get("title", "")))
