"""Daily bars of both boards: twstock reads the rows, we fetch them and check that they answer the question."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from bot.adapters.door import exchange_door
from bot.config import FeedsConfig
from bot.core.market import Bar, from_x100, to_x100
from bot.errors import DataMissing, Refused, Transient
from bot.ports import Company

ROC_YEAR_0: Final = 1911  # ROC year 1 is 1912
NO_ROWS: Final = re.compile("沒有符合條件|查無")  # both boards' way to say that the month has none
NOT_ASKABLE: Final = re.compile("查詢日期|參數輸入錯誤")  # outside what the exchange keeps, or not understood

# The columns in twstock's order, under every name the boards have used, blanks removed. Source: EXCHANGE_PAYLOADS.md
_TWSE_COLUMNS: Final = (
    ("日期",),
    ("成交股數",),
    ("成交金額",),
    ("開盤價",),
    ("最高價",),
    ("最低價",),
    ("收盤價",),
    ("漲跌價差",),
    ("成交筆數",),
)
_TPEX_COLUMNS: Final = (
    ("日期",),
    ("成交張數", "成交仟股"),
    ("成交仟元",),
    ("開盤",),
    ("最高",),
    ("最低",),
    ("收盤",),
    ("漲跌",),
    ("筆數",),
)

_DATE: Final = re.compile(r"([0-9]{2,3})/([0-9]{2})/([0-9]{2})\**")
_COUNT: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3}){0,4}|[0-9]{1,15}")
_PRICE: Final = re.compile(r"([0-9]{1,3}(,[0-9]{3}){0,2}|[0-9]{1,7})(\.[0-9]{1,4})?")
_CHANGE: Final = re.compile(r"[-+X]? ?([0-9]{1,3}(,[0-9]{3})*|[0-9]+)(\.[0-9]+)?|除[權息]{1,2}|-*")
_NOTHING: Final = re.compile(r"-*")  # "--", "---" or an empty cell
_DATE_TOLD: Final = re.compile(r"([0-9]{4}|[0-9]{2,3}(?=/))/?([0-9]{2})(/?[0-9]{2})?")
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

    def check(self, what: str, told: str, wanted: str) -> None:
        """Refuse an answer to another question; the exchanges' caches have given such with status 200.

        Raises:
            Transient: `told` isn't `wanted`.
        """
        if told != wanted:
            raise Transient(f"the answer is for {what} {told or '(not told)'}, not {wanted}")

    def check_month_in(self, text: str) -> None:
        """Refuse a title like "113年10月 2330 ..." that names another month."""
        found = _MONTH_TOLD.search(text)
        told = f"{int(found[1]) + ROC_YEAR_0}{int(found[2]):02d}" if found else ""
        self.check("month", told, self.compact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of an answer that has been found to be for the asked stock and month."""

    fields: Sequence[Any]
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """How one board is asked and read."""

    fetcher: str  # the class in twstock.stock that knows its address and its rows
    columns: tuple[tuple[str, ...], ...]
    params: Callable[[Asked], Mapping[str, str]]
    table: Callable[[Mapping[str, Any], Asked], Table]
    wrap: Callable[[list[str]], dict[str, Any]]  # one row in the shape that the fetcher's `purify` takes


class TwstockBars:
    """BarFeed over twstock's fetchers, for both boards."""

    def __init__(self, feeds: FeedsConfig) -> None:
        """Nothing is imported or asked before the first month is wanted.

        Raises:
            ConfigError: a base address is none.
        """
        self._doors = {"twse": exchange_door("twse", feeds.twse), "tpex": exchange_door("tpex", feeds.tpex)}

    def month(self, company: Company, year: int, month: int) -> list[Bar]:
        """The month's bars so far, oldest first; sessions without a trade are left out.

        Raises:
            DataMissing: no trustworthy answer, retries included, or a row that cannot be a bar.
            ValueError: no such month.
        """
        date(year, month, 1)
        asked = Asked(company=company, year=year, month=month)
        board, door = BOARDS[company.board], self._doors[company.board]
        path = urlsplit(self._fetchers[company.board].REPORT_URL).path
        return door.ask(str(asked), lambda: self.bars_of(door.get_json(path, board.params(asked)), asked))

    def close(self) -> None:
        """Close the connections."""
        for door in self._doors.values():
            door.close()

    def bars_of(self, answer: Mapping[str, Any], asked: Asked) -> list[Bar]:
        """The bars in a board's JSON `answer`, oldest first.

        Raises:
            Transient: the answer isn't for `asked`, or says to come back.
            Refused: the board can't answer `asked`.
            DataMissing: a row or the table can't be read.
        """
        board = BOARDS[asked.company.board]
        table = board.table(answer, asked)
        places = _places(table.fields, board.columns, asked) if table.rows else []
        bars: dict[date, Bar] = {}
        for row in table.rows:
            cells = _cells(row, len(table.fields), places, asked)
            if all(_NOTHING.fullmatch(cell) for cell in cells[3:7]):
                continue
            bar = self._bar(cells, asked)
            if bar.session in bars:
                raise DataMissing(f"{asked.company.symbol} {bar.session}: two rows")
            bars[bar.session] = bar
        return [bars[session] for session in sorted(bars)]

    def _bar(self, cells: list[str], asked: Asked) -> Bar:
        """One row's bar, as twstock reads it; its floats must agree with the digits on the wire."""
        board, symbol = BOARDS[asked.company.board], asked.company.symbol
        try:
            # A copy: twstock writes its values into the row.
            [read] = self._fetchers[asked.company.board].purify(board.wrap(_as_twstock_reads(cells)))
            session = read.date.date()
            asked.check("month", f"{session:%Y%m}", asked.compact)
            prices = [
                _price(cells[3 + i], value) for i, value in enumerate((read.open, read.high, read.low, read.close))
            ]
        except (ValueError, TypeError, ArithmeticError) as error:
            raise DataMissing(f"{symbol} {cells[0]}: {error}") from error
        return Bar(
            symbol=symbol,
            session=session,
            open=prices[0],
            high=prices[1],
            low=prices[2],
            close=prices[3],
            volume_shares=read.capacity,
            turnover_twd=None if _NOTHING.fullmatch(cells[2]) else read.turnover,
            trades=None if _NOTHING.fullmatch(cells[8]) else read.transaction,
        )

    @cached_property
    def _fetchers(self) -> dict[str, Any]:
        import twstock.stock

        return {name: getattr(twstock.stock, board.fetcher)() for name, board in BOARDS.items()}


def _places(fields: Sequence[Any], columns: tuple[tuple[str, ...], ...], asked: Asked) -> list[int]:
    """Where each of twstock's columns stands under the header `fields`.

    Raises:
        DataMissing: a column is absent or twice there: the board has changed its format.
    """
    headers = [_plain(field).replace(" ", "") if isinstance(field, str) else "" for field in fields]
    places = []
    for names in columns:
        found = [place for place, header in enumerate(headers) if header in names]
        if len(found) != 1:
            raise DataMissing(f"{asked}: {len(found)} columns {'/'.join(names)} in the header {', '.join(headers)}")
        places.append(found[0])
    return places


def _cells(row: Any, width: int, places: list[int], asked: Asked) -> list[str]:
    """The row's cells in twstock's order, in plain characters, each of a form that its column may have.

    Raises:
        DataMissing: one isn't.
    """
    if not isinstance(row, list) or len(row) != width or not all(isinstance(row[place], str) for place in places):
        raise DataMissing(f"{asked}: a row is no list of {width} texts: {str(row)[:80]}")
    cells = [_plain(row[place]) for place in places]
    for cell, (name, form, may_be_empty) in zip(cells, _FORMS, strict=True):
        if not (form.fullmatch(cell) or (may_be_empty and _NOTHING.fullmatch(cell))):
            raise DataMissing(f"{asked.company.symbol} {cells[0][:12]}: {cell[:20]!r} is no {name}")
    return cells


_FORMS: Final = (
    ("date", _DATE, False),
    ("volume", _COUNT, False),
    ("turnover", _COUNT, True),
    ("open", _PRICE, True),
    ("high", _PRICE, True),
    ("low", _PRICE, True),
    ("close", _PRICE, True),
    ("change", _CHANGE, True),
    ("number of trades", _COUNT, True),
)


def _as_twstock_reads(cells: list[str]) -> list[str]:
    """The cells without what twstock 1.5.1 stumbles over: date marks, empty counts, words for a price change.

    The change is never used (it is 0 on ex-dates), so what isn't a plain number may as well be 0.
    """
    day, volume, turnover, *prices, change, trades = cells
    plain_change = change.replace(" ", "")
    if not re.fullmatch(r"[-+]?[0-9.,]+", plain_change):
        plain_change = "0.00"
    counts = ["0" if _NOTHING.fullmatch(count) else count for count in (volume, turnover, trades)]
    return [day.rstrip("*"), counts[0], counts[1], *prices, plain_change, counts[2]]


def _price(cell: str, read: float | None) -> Decimal:
    """The cell's exact price, TWD with two decimals.

    Raises:
        ValueError: it is finer than 0.01, missing in a session that traded, or not what twstock read.
    """
    if read is None or _NOTHING.fullmatch(cell):
        raise ValueError(f"a price is missing ({cell!r})")
    price = Decimal(cell.replace(",", ""))
    if float(price) != read:
        raise ValueError(f"twstock read {cell} as {read}")
    return from_x100(to_x100(price))


def _plain(text: str) -> str:
    """`text` with full-width characters as plain ones, without blanks around."""
    return unicodedata.normalize("NFKC", text).strip()


def _has_table(answer: Mapping[str, Any]) -> bool:
    """Whether the answer has a table; False says that the month has no rows.

    Raises:
        Transient: another status, for instance that too many people are asking.
        Refused: the board doesn't keep that month.
    """
    stat = str(answer.get("stat", ""))
    if stat.upper() == "OK":
        return True
    if NO_ROWS.search(stat):
        return False
    if NOT_ASKABLE.search(stat):
        raise Refused(stat)
    raise Transient(f"status {stat[:60]!r}" if stat else "an answer without a status")


def _compact_month(text: str) -> str:
    """YYYYMM of a date as TPEx tells it: 20251001, 2025/10/01, 114/10/01 or 114/10; else `text` itself."""
    found = _DATE_TOLD.fullmatch(text)
    if not found:
        return text
    year = int(found[1])
    return f"{year if year > ROC_YEAR_0 else year + ROC_YEAR_0}{found[2]}"


def _list_at(table: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`; an answer cut short in the middle has none."""
    value = table.get(key)
    if not isinstance(value, list):
        raise Transient(f"an answer without `{key}`")
    return value


def _twse_params(asked: Asked) -> Mapping[str, str]:
    return {"response": "json", "date": f"{asked.compact}01", "stockNo": asked.company.symbol}


def _twse_table(answer: Mapping[str, Any], asked: Asked) -> Table:
    """The rows of TWSE's STOCK_DAY; title and date must be those of `asked`."""
    if not _has_table(answer):
        return Table(fields=(), rows=())
    title = _plain(str(answer.get("title", "")))
    asked.check_month_in(title)
    told = title.split()
    asked.check("stock", told[1] if len(told) > 1 else "", asked.company.symbol)
    asked.check("month", str(answer.get("date", ""))[:6], asked.compact)
    rows = _list_at(answer, "data")
    return Table(fields=_list_at(answer, "fields") if rows else (), rows=rows)


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
    if not _has_table(answer):
        return Table(fields=(), rows=())
    tables = _list_at(answer, "tables")
    table = tables[0] if tables else {}
    if not isinstance(table, Mapping):
        raise Transient("an answer whose table is none")
    subtitle = _plain(str(table.get("subtitle", "")))  # "6488 環球晶 114年05月"
    asked.check("stock", str(answer.get("code") or subtitle.partition(" ")[0]), asked.company.symbol)
    dates = [str(there["date"]) for there in (answer, table) if there.get("date")]
    for told in dates:
        asked.check("month", _compact_month(told), asked.compact)
    if subtitle:
        asked.check_month_in(subtitle)
    rows = _list_at(table, "data") if tables else []
    if not rows and not dates and not subtitle:
        asked.check("month", "", asked.compact)
    return Table(fields=_list_at(table, "fields") if rows else (), rows=rows)


BOARDS: Final = {
    "twse": Board(
        fetcher="TWSEFetcher",
        columns=_TWSE_COLUMNS,
        params=_twse_params,
        table=_twse_table,
        wrap=lambda row: {"data": [row]},
    ),
    "tpex": Board(
        fetcher="TPEXFetcher",
        columns=_TPEX_COLUMNS,
        params=_tpex_params,
        table=_tpex_table,
        wrap=lambda row: {"tables": [{"data": [row]}]},
    ),
}
