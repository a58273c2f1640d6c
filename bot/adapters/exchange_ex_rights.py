"""Ex-dates as the boards publish them: results of ex-dividend days and of capital reductions, over a range of days.

The shapes are those of public recordings of 2024 and 2026 (node-twstock's fixtures; audits that fetched whole years):
TWSE `exRight/TWT49U` and `reducation/TWTAUU` answer GET, tell the range in the title and, for reductions, as
strDate/endDate; TPEx `bulletin/exDailyQ` and `bulletin/revivt` tell it as date "20240322~20240323", and answer the
range only to a POST with slashes in the dates: exDailyQ silently answers today to anything else. Tomorrow's row of
TWT49U is there on the evening before (seen 2026-09-16); a reduction to come stands there with "-" for its prices.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from bot.adapters.door import Door, exchange_door
from bot.config import FeedsConfig
from bot.core.exrights import ExRight, Kind
from bot.core.market import to_x100
from bot.errors import DataMissing, Transient
from bot.ports import Clock

ROC_YEAR_0: Final = 1911
_NO_ROWS: Final = re.compile("沒有符合條件|查無")
_DATE: Final = re.compile(r"(\d{2,3})[年/]?(\d{2})[月/]?(\d{2})日?", re.ASCII)  # 113年01月22日, 113/01/22, 1130205
_RANGE_TOLD: Final = re.compile(r"(\d{2,3})年(\d{2})月(\d{2})日\s*至\s*(\d{2,3})年(\d{2})月(\d{2})日", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d{1,9})(?:\.\d{1,10})?", re.ASCII)
_UNKNOWN: Final = re.compile(r"-*|0(?:\.0+)?|NA|尚未公告")  # "-" and "--" before it is fixed, 0.00 where there is none

# Tighter than any event seen in 2013-2026 would need: beyond it is a broken row, not a stock.
_FACTORS: Final[Mapping[Kind, tuple[Decimal, Decimal]]] = {
    "dividend": (Decimal("0.05"), Decimal("1.5")),
    "reduction": (Decimal("0.2"), Decimal(40)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Where one board publishes one kind, and under which headers."""

    path: str
    source: str
    ex_date: str
    symbol: str
    previous: str
    reference: str
    limit_up: str
    limit_down: str
    override: str | None = None  # the reference in its place where new shares follow at once
    cash: str | None = None


_TABLES: Final[Mapping[tuple[str, Kind], _Table]] = {
    ("twse", "dividend"): _Table(
        path="rwd/zh/exRight/TWT49U", source="TWSE TWT49U", ex_date="資料日期", symbol="股票代號",
        previous="除權息前收盤價", reference="除權息參考價", limit_up="漲停價格", limit_down="跌停價格",
    ),
    ("twse", "reduction"): _Table(
        path="rwd/zh/reducation/TWTAUU", source="TWSE TWTAUU", ex_date="恢復買賣日期", symbol="股票代號",
        previous="停止買賣前收盤價格", reference="恢復買賣參考價", limit_up="漲停價格", limit_down="跌停價格",
        override="除權參考價",
    ),
    ("tpex", "dividend"): _Table(
        path="www/zh-tw/bulletin/exDailyQ", source="TPEx exDailyQ", ex_date="除權息日期", symbol="代號",
        previous="除權息前收盤價", reference="除權息參考價", limit_up="漲停價", limit_down="跌停價", cash="現金股利",
    ),
    ("tpex", "reduction"): _Table(
        path="www/zh-tw/bulletin/revivt", source="TPEx revivt", ex_date="恢復買賣日期", symbol="股票代號",
        previous="最後交易日之收盤價格", reference="減資恢復買賣開始日參考價格", limit_up="漲停價格",
        limit_down="跌停價格", override="除權參考價",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: a board's events of one kind in first..last."""

    board: str
    kind: Kind
    first: date
    last: date

    @property
    def table(self) -> _Table:
        """Where and how it is answered."""
        return _TABLES[self.board, self.kind]

    def __str__(self) -> str:
        """As errors show it."""
        return f"{self.table.source} {self.first}..{self.last}"


class ExchangeExRights:
    """ExRightFeed over both boards' own tables."""

    def __init__(self, feeds: FeedsConfig, clock: Clock) -> None:
        """Nothing is asked yet. `clock` tells when an event was read.

        Raises:
            ConfigError: a base address is none.
        """
        self._doors: dict[str, Door] = {
            "twse": exchange_door("twse", feeds.twse),
            "tpex": exchange_door("tpex", feeds.tpex),
        }
        self._clock = clock

    def close(self) -> None:
        """Close the connections."""
        for door in self._doors.values():
            door.close()

    def events(self, board: str, kind: Kind, first: date, last: date, symbols: Collection[str]) -> list[ExRight]:
        """The events of `symbols` with ex_date in first..last whose prices are fixed, oldest first. One request.

        Raises:
            DataMissing: no trustworthy answer, retries included, or a row of one of `symbols` that can't be read.
        """
        asked = Asked(board=board, kind=kind, first=first, last=last)
        return self._doors[board].ask(str(asked), lambda: self._events(self._answer(asked), asked, symbols))

    def _answer(self, asked: Asked) -> dict[str, Any]:
        form = "%Y%m%d" if asked.board == "twse" else "%Y/%m/%d"
        params = {"startDate": f"{asked.first:{form}}", "endDate": f"{asked.last:{form}}", "response": "json"}
        door = self._doors[asked.board]
        return (
            door.get_json(asked.table.path, params)
            if asked.board == "twse"
            else door.post_json(asked.table.path, params)
        )

    def _events(self, answer: Mapping[str, Any], asked: Asked, symbols: Collection[str]) -> list[ExRight]:
        now = self._clock.now()
        found: dict[tuple[date, str], ExRight] = {}
        for cells in rows_of(answer, asked):
            symbol = _plain(cells[asked.table.symbol])
            if symbol not in symbols:
                continue
            event = _event(symbol, cells, asked, now)
            if event is None:
                continue
            if (event.ex_date, symbol) in found:
                raise DataMissing(f"{asked}: {symbol} {event.ex_date}: two rows")
            found[event.ex_date, symbol] = event
        return [found[key] for key in sorted(found)]


def rows_of(answer: Mapping[str, Any], asked: Asked) -> list[dict[str, Any]]:
    """The rows by header name, of an answer that has been found to be for the asked range, each dated inside it.

    Raises:
        Transient: another status, another range, or rows from outside it: a cache's or today's answer.
        DataMissing: a column is absent or twice there, or a row has another width: the board has changed its format.
    """
    stat = str(answer.get("stat", ""))
    if stat.upper() != "OK":
        if _NO_ROWS.search(stat):
            return []
        raise Transient(f"status {stat[:60]!r}" if stat else "an answer without a status")
    table = _twse_table(answer, asked) if asked.board == "twse" else _tpex_table(answer, asked)
    fields, data = table.get("fields"), table.get("data")
    if not isinstance(data, list) or not isinstance(fields, list):
        raise Transient("an answer without rows")
    headers = [_plain(field).replace(" ", "") for field in fields]
    _check_headers(headers, asked)
    rows = []
    for row in data:
        if not isinstance(row, list) or len(row) != len(headers):
            raise DataMissing(f"{asked}: a row is no list of {len(headers)} cells: {str(row)[:80]}")
        cells = dict(zip(headers, row, strict=True))
        day = _day(cells[asked.table.ex_date], asked)
        if not asked.first <= day <= asked.last:
            raise Transient(f"a row of {day} in the answer for {asked.first}..{asked.last}")
        rows.append(cells)
    return rows


def _twse_table(answer: Mapping[str, Any], asked: Asked) -> Mapping[str, Any]:
    """The answer itself, its title checked."""
    title = _plain(answer.get("title", ""))
    told = _RANGE_TOLD.search(title)
    if not told or _two_days(told.groups()) != (asked.first, asked.last):
        raise Transient(f"the answer is for {title[:60] or '(no range told)'}, not {asked.first}..{asked.last}")
    return answer


def _tpex_table(answer: Mapping[str, Any], asked: Asked) -> Mapping[str, Any]:
    """The first table, the range checked."""
    told, wanted = str(answer.get("date", "")), f"{asked.first:%Y%m%d}~{asked.last:%Y%m%d}"
    if told != wanted:
        raise Transient(f"the answer is for {told[:40] or '(no range told)'}, not {wanted}")
    tables = answer.get("tables")
    if not isinstance(tables, list) or not tables or not isinstance(tables[0], Mapping):
        raise Transient("an answer without a table")
    return tables[0]


def _two_days(parts: Sequence[str]) -> tuple[date, date] | None:
    year, month, day, last_year, last_month, last_day = (int(part) for part in parts)
    try:
        return date(year + ROC_YEAR_0, month, day), date(last_year + ROC_YEAR_0, last_month, last_day)
    except ValueError:
        return None


def _check_headers(headers: Sequence[str], asked: Asked) -> None:
    """Refuse a table that lacks a column, or has it twice."""
    table = asked.table
    wanted = [table.ex_date, table.symbol, table.previous, table.reference, table.limit_up, table.limit_down]
    wanted += [name for name in (table.override, table.cash) if name]
    if asked.board == "twse" and asked.kind == "dividend":
        wanted += ["權值+息值", "權/息"]
    for name in wanted:
        if headers.count(name) != 1:
            raise DataMissing(f"{asked}: {headers.count(name)} columns {name} in the header {', '.join(headers)}")


def _event(symbol: str, cells: Mapping[str, Any], asked: Asked, now: Any) -> ExRight | None:
    """The row's event; None while its prices are not fixed."""
    table, day = asked.table, _day(cells[asked.table.ex_date], asked)
    where = f"{asked}: {symbol} {day}"

    def price_x100(name: str) -> int | None:
        told = _number(cells[name], f"{where}: {name}")
        try:
            return None if told is None else to_x100(told)
        except ValueError as error:
            raise DataMissing(f"{where}: {name}: {error}") from error

    previous, reference = price_x100(table.previous), price_x100(table.reference)
    if table.override:
        reference = price_x100(table.override) or reference
    if previous is None or reference is None:
        return None
    low, high = price_x100(table.limit_down), price_x100(table.limit_up)
    least, most = _FACTORS[asked.kind]
    if min(previous, reference) <= 0 or not least <= Decimal(reference) / previous <= most:
        raise DataMissing(f"{where}: {reference / 100:.2f} after {previous / 100:.2f} can't be")
    if not (low or reference) <= reference <= (high or reference):
        raise DataMissing(f"{where}: the reference {reference / 100:.2f} lies outside the limits")
    return ExRight(
        symbol=symbol,
        ex_date=day,
        kind=asked.kind,
        previous_x100=previous,
        reference_x100=reference,
        limit_up_x100=high,
        limit_down_x100=low,
        cash_dividend=_cash(cells, asked, where),
        source=table.source,
        known_at=now,
    )


def _cash(cells: Mapping[str, Any], asked: Asked, where: str) -> Decimal | None:
    """The dividend in cash, TWD per share; TWSE tells it only where nothing else makes the price fall."""
    if asked.table.cash:
        return _number(cells[asked.table.cash], f"{where}: {asked.table.cash}")
    if asked.kind == "dividend" and _plain(cells["權/息"]) in {"息", "除息"}:
        return _number(cells["權值+息值"], f"{where}: 權值+息值")
    return None


def _day(cell: Any, asked: Asked) -> date:
    """The cell's date, in any of the boards' three spellings.

    Raises:
        DataMissing: it is none.
    """
    found = _DATE.fullmatch(_plain(cell))
    try:
        if found:
            return date(int(found[1]) + ROC_YEAR_0, int(found[2]), int(found[3]))
    except ValueError:
        pass
    raise DataMissing(f"{asked}: {str(cell)[:20]!r} is no date")


def _number(cell: Any, where: str) -> Decimal | None:
    """The cell's number; None where the board tells none yet.

    Raises:
        DataMissing: it is no number, or a negative one.
    """
    text = _plain(cell)
    if _UNKNOWN.fullmatch(text):
        return None
    if not _NUMBER.fullmatch(text) or text.startswith("-"):
        raise DataMissing(f"{where}: {text[:20]!r} is no number")
    return Decimal(text.replace(",", ""))


def _plain(text: Any) -> str:
    """`text` with full-width characters as plain ones, without blanks around; empty for what is no text."""
    return unicodedata.normalize("NFKC", text).strip() if isinstance(text, str) else ""
