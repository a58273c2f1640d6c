"""All stocks over the counter of one day in one request: TPEx's dailyQuotes. Source: EXCHANGE_PAYLOADS.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final

from bot.adapters.door import exchange_door
from bot.adapters.price_rows import (
    Layout,
    check_told,
    compact_date,
    day_key_of,
    has_table,
    list_at,
    plain,
    read_table,
)
from bot.config import ExchangeFeedConfig
from bot.core.feed_rows import Reading
from bot.errors import Transient

PATH: Final = "/www/zh-tw/afterTrading/dailyQuotes"
ALL_BUT_WARRANTS: Final = "EW"
TPEX_DAY: Final = Layout(
    key=("代號",),
    volume=("成交股數",),
    turnover=("成交金額(元)",),
    open=("開盤",),
    high=("最高",),
    low=("最低",),
    close=("收盤",),
    change=("漲跌",),
    trades=("成交筆數",),
)


class TpexBulk:
    """The row of a day of every stock over the counter."""

    def __init__(self, config: ExchangeFeedConfig) -> None:
        """Nothing is asked before the first day is wanted.

        Raises:
            ConfigError: the base address is none.
        """
        self._door = exchange_door("tpex", config)

    def day(self, session: date) -> Reading:
        """The rows of `session`, none where there was none. Nothing in it is checked yet.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """
        params = {"date": f"{session:%Y/%m/%d}", "type": ALL_BUT_WARRANTS, "id": "", "response": "json"}
        return self._door.ask(f"all of {session}", lambda: day_of(self._door.get_json(PATH, params), session))

    def close(self) -> None:
        """Close the connection."""
        self._door.close()


def day_of(answer: Mapping[str, Any], session: date) -> Reading:
    """The rows of dailyQuotes' `answer`. An answer without rows must tell its day as well.

    Raises:
        Transient: the answer isn't for `session`, or says to come back.
        Refused: the board can't answer.
        DataMissing: the header is unknown.
    """
    source = "tpex day"
    if not has_table(answer):
        return Reading(rows=(), source=source)
    wanted = f"{session:%Y%m%d}"
    check_told("day", compact_date(str(answer.get("date", ""))), wanted)
    tables = list_at(answer, "tables")
    table = tables[0] if tables else {}
    if not isinstance(table, Mapping):
        raise Transient("an answer whose table is none")
    if table.get("date"):
        check_told("day", compact_date(plain(str(table["date"]))), wanted)
    rows = list_at(table, "data") if tables else []
    fields = list_at(table, "fields") if rows else []
    return replace(read_table(f"all of {session}", fields, rows, TPEX_DAY, day_key_of(session)), source=source)
