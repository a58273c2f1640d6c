"""A month of one stock on either board: twstock knows the addresses and reads the rows again beside our own reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from bot.adapters.door import exchange_door
from bot.adapters.price_rows import (
    ROC_YEAR_0,
    Key,
    Layout,
    check_told,
    compact_date,
    find_columns,
    has_table,
    list_at,
    nothing,
    plain,
    read_roc_date,
    read_table,
)
from bot.config import FeedsConfig
from bot.core.feed_rows import Quarantined, Reading, Row, raw_text
from bot.errors import Transient
from bot.ports import Company

# The columns under every name the boards have used. Source: EXCHANGE_PAYLOADS.md
TWSE_MONTH: Final = Layout(
    key=("日期",),
    volume=("成交股數",),
    turnover=("成交金額",),
    open=("開盤價",),
    high=("最高價",),
    low=("最低價",),
    close=("收盤價",),
    change=("漲跌價差",),
    trades=("成交筆數",),
    zero_is_a_change=True,  # an ex-date says X0.00
)
TPEX_MONTH: Final = Layout(
    key=("日期",),
    volume=("成交張數", "成交仟股"),
    turnover=("成交仟元",),
    open=("開盤",),
    high=("最高",),
    low=("最低",),
    close=("收盤",),
    change=("漲跌",),
    trades=("筆數",),
    thousands=True,
)
_MONTH_TOLD: Final = re.compile(r"([0-9]{2,3})年([0-9]{1,2})月")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: a stock and a month."""

    company: Company
    year: int
    month: int

    def __str__(self) -> str:
        """As errors show it."""
        return f"{self.company.symbol} {self.year}-{self.month:02d}"

    @property
    def compact(self) -> str:
        """YYYYMM, as the boards repeat it in `date`."""
        return f"{self.year}{self.month:02d}"

    def check_month_in(self, text: str) -> None:
        """Refuse a title like "113年10月 2330 ..." that names another month."""
        found = _MONTH_TOLD.search(text)
        check_told("month", f"{int(found[1]) + ROC_YEAR_0}{int(found[2]):02d}" if found else "", self.compact)

    def key_of(self, cell: str) -> Key:
        """Whose a row is, by its date.

        Raises:
            ValueError: there is no such day.
            Transient: the day is in another month.
        """
        session = read_roc_date(cell)
        check_told("month", f"{session:%Y%m}", self.compact)
        return Key(symbol=self.company.symbol, session=session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of an answer that has been found to be for the asked stock and month."""

    fields: Sequence[Any]
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """How one board is asked and read."""

    fetcher: str  # the class in twstock.stock that knows its address and its rows
    layout: Layout
    params: Callable[[Asked], Mapping[str, str]]
    table: Callable[[Mapping[str, Any], Asked], Table]
    wrap: Callable[[list[str]], dict[str, Any]]  # one row in the shape that the fetcher's `purify` takes


class TwstockBars:
    """Months of single stocks over twstock's fetchers, for both boards."""

    def __init__(self, feeds: FeedsConfig) -> None:
        """Nothing is imported or asked before the first month is wanted.

        Raises:
            ConfigError: a base address is none.
        """
        self._doors = {"twse": exchange_door("twse", feeds.twse), "tpex": exchange_door("tpex", feeds.tpex)}

    def month(self, company: Company, year: int, month: int) -> Reading:
        """The month's rows so far; sessions without a trade are left out. Nothing in it is checked yet.

        Raises:
            DataMissing: no trustworthy answer, retries included.
            ValueError: no such month.
        """
        date(year, month, 1)
        asked = Asked(company=company, year=year, month=month)
        board, door = BOARDS[company.board], self._doors[company.board]
        path = urlsplit(self._fetchers[company.board].REPORT_URL).path
        return door.ask(str(asked), lambda: self.reading_of(door.get_json(path, board.params(asked)), asked))

    def close(self) -> None:
        """Close the connections."""
        for door in self._doors.values():
            door.close()

    def reading_of(self, answer: Mapping[str, Any], asked: Asked) -> Reading:
        """The rows in a board's JSON `answer`; what can't be read, or what twstock reads otherwise, is rejected.

        Raises:
            Transient: the answer isn't for `asked`, or says to come back.
            Refused: the board can't answer `asked`.
            DataMissing: the header is unknown.
        """
        board, symbol = BOARDS[asked.company.board], asked.company.symbol
        table = board.table(answer, asked)
        reading = read_table(str(asked), table.fields, table.rows, board.layout, asked.key_of, symbol=symbol)
        places = find_columns(table.fields, board.layout.columns, str(asked)) if table.rows else []
        agreed: list[Row] = []
        rejected = list(reading.rejected)
        for row in reading.rows:
            trouble = self._twstock_disagrees(row, places, asked.company.board)
            if trouble:
                rejected.append(
                    Quarantined(
                        symbol=symbol, session=row.session, kind="twstock", reason=trouble, raw=raw_text(row.raw)
                    )
                )
            else:
                agreed.append(row)
        return replace(reading, rows=tuple(agreed), rejected=tuple(rejected), source=f"{asked.company.board} month")

    def _twstock_disagrees(self, row: Row, places: Sequence[int], board: str) -> str:
        """What twstock reads otherwise than we do; empty when nothing."""
        assert isinstance(row.raw, list)
        cells = [plain(row.raw[place]) for place in places]
        try:
            # A copy: twstock writes its values into the row.
            [read] = self._fetchers[board].purify(BOARDS[board].wrap(_as_twstock_reads(cells)))
        except (ValueError, TypeError, ArithmeticError) as error:
            return f"twstock: {error}"
        ours = {
            "open": row.open_x100 / 100,
            "high": row.high_x100 / 100,
            "low": row.low_x100 / 100,
            "close": row.close_x100 / 100,
            "capacity": row.volume_shares,
            "turnover": row.turnover_twd or 0,
            "transaction": row.trades or 0,
        }
        wrong = [name for name, value in ours.items() if getattr(read, name) != value]
        if read.date.date() != row.session:
            wrong.append("date")
        return f"twstock reads {', '.join(wrong)} otherwise" if wrong else ""

    @cached_property
    def _fetchers(self) -> dict[str, Any]:
        import twstock.stock

        return {name: getattr(twstock.stock, board.fetcher)() for name, board in BOARDS.items()}


def _as_twstock_reads(cells: Sequence[str]) -> list[str]:
    """The cells without what twstock 1.5.1 stumbles over: date marks, empty counts, words for a price change.

    Its change is not compared with ours (it is 0 on ex-dates), so what isn't a plain number may as well be 0.
    """
    day, volume, turnover, *prices, change, trades = cells
    plain_change = change.replace(" ", "")
    if not re.fullmatch(r"[-+]?[0-9.,]+", plain_change):
        plain_change = "0.00"
    counts = ["0" if nothing(count) else count for count in (volume, turnover, trades)]
    return [day.rstrip("*"), counts[0], counts[1], *prices, plain_change, counts[2]]


def _twse_params(asked: Asked) -> Mapping[str, str]:
    return {"response": "json", "date": f"{asked.compact}01", "stockNo": asked.company.symbol}


def _twse_table(answer: Mapping[str, Any], asked: Asked) -> Table:
    """The rows of TWSE's STOCK_DAY; title and date must be those of `asked`."""
    if not has_table(answer):
        return Table(fields=(), rows=())
    title = plain(str(answer.get("title", "")))
    asked.check_month_in(title)
    told = title.split()
    check_told("stock", told[1] if len(told) > 1 else "", asked.company.symbol)
    check_told("month", str(answer.get("date", ""))[:6], asked.compact)
    rows = list_at(answer, "data")
    return Table(fields=list_at(answer, "fields") if rows else (), rows=rows)


def _tpex_params(asked: Asked) -> Mapping[str, str]:
    return {
        "code": asked.company.symbol,
        "date": f"{asked.year}/{asked.month:02d}/01",
        "id": "",
        "response": "json",
    }


def _tpex_table(answer: Mapping[str, Any], asked: Asked) -> Table:
    """The rows of TPEx's tradingStock; the code and whatever it tells of the month must be those of `asked`.

    A parameter that TPEx doesn't understand makes it answer the current month with status ok: an answer without
    rows must therefore tell its month.
    """
    if not has_table(answer):
        return Table(fields=(), rows=())
    tables = list_at(answer, "tables")
    table = tables[0] if tables else {}
    if not isinstance(table, Mapping):
        raise Transient("an answer whose table is none")
    subtitle = plain(str(table.get("subtitle", "")))  # "6488 環球晶 114年05月"
    check_told("stock", str(answer.get("code") or subtitle.partition(" ")[0]), asked.company.symbol)
    dates = [str(there["date"]) for there in (answer, table) if there.get("date")]
    for told in dates:
        check_told("month", compact_date(told)[:6], asked.compact)
    if subtitle:
        asked.check_month_in(subtitle)
    rows = list_at(table, "data") if tables else []
    if not rows and not dates and not subtitle:
        check_told("month", "", asked.compact)
    return Table(fields=list_at(table, "fields") if rows else (), rows=rows)


BOARDS: Final = {
    "twse": Board(
        fetcher="TWSEFetcher",
        layout=TWSE_MONTH,
        params=_twse_params,
        table=_twse_table,
        wrap=lambda row: {"data": [row]},
    ),
    "tpex": Board(
        fetcher="TPEXFetcher",
        layout=TPEX_MONTH,
        params=_tpex_params,
        table=_tpex_table,
        wrap=lambda row: {"tables": [{"data": [row]}]},
    ),
}
