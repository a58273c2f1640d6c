"""Reading a table of prices in any of the exchanges' spellings: columns by header name, cells by their form.

Shared by every price feed. A cell that can't be read puts its row into quarantine; a header that can't be understood
refuses the whole answer, because then no cell can be trusted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final

from bot.core.feed_rows import Quarantined, Reading, Row, raw_text
from bot.core.market import LOT_SHARES
from bot.errors import DataMissing, Refused, Transient

ROC_YEAR_0: Final = 1911  # ROC year 1 is 1912
NO_ROWS: Final = re.compile("沒有符合條件|查無")  # both boards' way to say that there are none
NOT_ASKABLE: Final = re.compile("查詢日期|參數輸入錯誤")  # outside what the exchange keeps, or not understood

# What we keep of the boards: common stocks, and funds that trade in TWD. Warrants, bonds, preferred stocks, depositary
# receipts and trusts have other codes. Source: TWSE's rules for securities codes.
STOCK_CODE: Final = re.compile(r"[1-8][0-9]{3}|9[02-9][0-9]{2}")
FUND_CODE: Final = re.compile(r"00[0-9]{2,4}|00[0-9]{3}[ABLRUTDFGH]")
ANY_CODE: Final = re.compile(r"[0-9]{4}[0-9A-Z]{0,3}")

_DATE: Final = re.compile(r"([0-9]{2,3})/([0-9]{2})/([0-9]{2})\**")
_ISO_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_COUNT: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){0,4}|[0-9]{1,15}")
_PRICE: Final = re.compile(r"([0-9]{1,3}(?:,[0-9]{3}){0,2}|[0-9]{1,7})(?:\.([0-9]{1,4}))?")
_CHANGE: Final = re.compile(r"([-+X]?) ?([0-9]{1,3}(?:,[0-9]{3})*|[0-9]+)(?:\.([0-9]+))?|除[權息]{1,2}|-*")
_SIGN: Final = re.compile(r"(?:<p[^<>]*>)?\s*([-+X]?)\s*(?:</p>)?")
_DATE_TOLD: Final = re.compile(r"([0-9]{4}|[0-9]{2,3}(?=/))/?([0-9]{2})(?:/?([0-9]{2}))?")
_DAY_IN_TITLE: Final = re.compile(r"([0-9]{2,3})年([0-9]{1,2})月([0-9]{1,2})日")
_MARKUP: Final = re.compile(r"<[^<>]*>|\s")
_CENTS: Final = 2  # digits after the point that a price may have


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one kind of answer spells its columns, blanks and markup removed, and what its figures count.

    `key` is the column that says whose the row is: a date or a code. `sign` is a column of its own for the direction
    of the change, where there is one. `thousands`: volume in lots, turnover in thousands of TWD.
    """

    key: tuple[str, ...]
    volume: tuple[str, ...]
    turnover: tuple[str, ...]
    open: tuple[str, ...]
    high: tuple[str, ...]
    low: tuple[str, ...]
    close: tuple[str, ...]
    change: tuple[str, ...]
    trades: tuple[str, ...]
    sign: tuple[str, ...] | None = None
    thousands: bool = False
    zero_is_a_change: bool = False  # a plain 0 says "unchanged": days on which nothing is compared say so otherwise

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """The columns in the order of `Cells`, without the sign."""
        return (self.key, self.volume, self.turnover, self.open, self.high, self.low, self.close, self.change,
                self.trades)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Whose a row is."""

    symbol: str
    session: date


KeyOf = Callable[[str], Key | None]  # of the key cell; None: not ours. ValueError: can't be read. Transient: not asked


def read_table(
    asked: str, fields: Sequence[Any], rows: Sequence[Any], layout: Layout, key_of: KeyOf, *, symbol: str = ""
) -> Reading:
    """Every row of a table; `asked` names the question in errors, `symbol` the stock where all rows are of one.

    Raises:
        DataMissing: the header isn't one that we know.
        Transient: a row answers another question.
    """
    if not rows:
        return Reading(rows=())
    places = find_columns(fields, layout.columns, asked)
    sign = find_columns(fields, (layout.sign,), asked)[0] if layout.sign else None
    read: list[Row] = []
    rejected: list[Quarantined] = []
    sessions: set[date] = set()
    for raw in rows:
        key: Key | None = None
        try:
            cells = _cells(raw, len(fields), places)
            key = key_of(cells[0])
            if key is None:
                continue
            sessions.add(key.session)
            row = _row(key, cells, _plain_sign(raw[sign]) if sign is not None else "", layout, raw)
        except (ValueError, ArithmeticError) as wrong:
            rejected.append(
                Quarantined(
                    symbol=key.symbol if key else symbol,
                    session=key.session if key else None,
                    kind="cell",
                    reason=str(wrong),
                    raw=raw_text(raw),
                )
            )
            continue
        if row is not None:
            read.append(row)
    return Reading(rows=tuple(read), rejected=tuple(rejected), sessions=frozenset(sessions))


def find_columns(fields: Sequence[Any], columns: Sequence[tuple[str, ...]], asked: str) -> list[int]:
    """Where each of `columns` stands under the header `fields`.

    Raises:
        DataMissing: a column is absent or twice there: the format has changed.
    """
    headers = [_MARKUP.sub("", plain(field)) if isinstance(field, str) else "" for field in fields]
    places = []
    for names in columns:
        found = [place for place, header in enumerate(headers) if header in names]
        if len(found) != 1:
            raise DataMissing(f"{asked}: {len(found)} columns {'/'.join(names)} in the header {', '.join(headers)}")
        places.append(found[0])
    return places


def _cells(raw: Any, width: int, places: Sequence[int]) -> list[str]:
    """The row's cells in the layout's order, in plain characters.

    Raises:
        ValueError: it is no list of as many texts as the header has.
    """
    if not isinstance(raw, list) or len(raw) != width or not all(isinstance(raw[place], str) for place in places):
        raise ValueError(f"a row is no list of {width} texts")
    return [plain(raw[place]) for place in places]


def _row(key: Key, cells: Sequence[str], sign: str, layout: Layout, raw: object) -> Row | None:
    """One row; None for a session without a trade.

    Raises:
        ValueError: a cell isn't of the form that its column has, or prices lack where shares changed hands.
    """
    unit = LOT_SHARES if layout.thousands else 1
    volume = read_count(cells[1], "volume")
    turnover = read_count(cells[2], "turnover")
    prices = [read_price(cell, name) for cell, name in zip(cells[3:7], ("open", "high", "low", "close"), strict=True)]
    change = read_change(cells[7], sign)
    if change == 0 and not layout.zero_is_a_change:
        change = None
    trades = read_count(cells[8], "number of trades")
    if not any(price is not None for price in prices):
        # Odd lots alone make no price. Source: 當日統計資訊含零股, the note under STOCK_DAY
        if (volume or 0) * unit >= LOT_SHARES:
            raise ValueError(f"no price for {(volume or 0) * unit} shares")
        return None
    opened, high, low, close = (_there(price) for price in prices)
    if volume is None:
        raise ValueError("no volume")
    return Row(
        symbol=key.symbol,
        session=key.session,
        open_x100=opened,
        high_x100=high,
        low_x100=low,
        close_x100=close,
        volume_shares=volume * unit,
        turnover_twd=None if turnover is None else turnover * unit,
        trades=trades,
        change_x100=change,
        thousands=layout.thousands,
        raw=raw,
    )


def _there(price_x100: int | None) -> int:
    if price_x100 is None:
        raise ValueError("a price is missing")
    return price_x100


# --- cells ------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """`text` with full-width characters as plain ones, without blanks around."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFKC", text).strip()


def nothing(cell: str) -> bool:
    """Whether the cell is empty or dashes."""
    return not cell.strip("-")


def read_count(cell: str, name: str) -> int | None:
    """A whole number with or without commas; None for an empty cell or dashes.

    Raises:
        ValueError: it is something else; `name` says of what.
    """
    if _COUNT.fullmatch(cell):
        return int(cell.replace(",", ""))
    if nothing(cell):
        return None
    raise ValueError(f"{cell[:20]!r} is no {name}")


@lru_cache(65_536)
def read_price(cell: str, name: str) -> int | None:
    """A price in hundredths of a TWD, exactly; None for an empty cell or dashes. Remembered: prices repeat.

    Raises:
        ValueError: it is something else, or finer than 0.01 TWD.
    """
    found = _PRICE.fullmatch(cell)
    if not found:
        if nothing(cell):
            return None
        raise ValueError(f"{cell[:20]!r} is no {name}")
    cents = (found[2] or "").rstrip("0")
    if len(cents) > _CENTS:
        raise ValueError(f"{cell} is finer than 0.01 TWD")
    return int(found[1].replace(",", "")) * 100 + int((cents + "00")[:_CENTS])


@lru_cache(65_536)
def read_change(cell: str, sign: str) -> int | None:
    """The change to the close before, hundredths of a TWD; None where the exchange compares nothing.

    `sign` is the direction where it stands in a cell of its own. X0.00 and words say that nothing is compared.

    Raises:
        ValueError: it is something else.
    """
    found = _CHANGE.fullmatch(cell)
    if not found:
        raise ValueError(f"{cell[:20]!r} is no change")
    if found[2] is None or "X" in {found[1], sign}:
        return None
    cents = (found[3] or "").rstrip("0")
    if len(cents) > _CENTS:
        raise ValueError(f"a change of {cell} is finer than 0.01 TWD")
    size = int(found[2].replace(",", "")) * 100 + int((cents + "00")[:_CENTS])
    return -size if "-" in {found[1], sign} else size


def _plain_sign(cell: object) -> str:
    """`+`, `-` or `X` of the cell before TWSE's unsigned change, which is HTML.

    Raises:
        ValueError: it is something else.
    """
    found = _SIGN.fullmatch(plain(cell)) if isinstance(cell, str) else None
    if not found:
        raise ValueError(f"{str(cell)[:30]!r} is no sign of a change")
    return found[1]


@lru_cache(8_192)
def read_roc_date(cell: str) -> date:
    """`113/10/01` as a date, marks behind it ignored.

    Raises:
        ValueError: there is no such day.
    """
    found = _DATE.fullmatch(cell)
    if not found:
        raise ValueError(f"{cell[:20]!r} is no date")
    return date(int(found[1]) + ROC_YEAR_0, int(found[2]), int(found[3]))


@lru_cache(8_192)
def read_iso_date(cell: str) -> date:
    """`2024-10-01` as a date.

    Raises:
        ValueError: there is no such day.
    """
    found = _ISO_DATE.fullmatch(cell)
    if not found:
        raise ValueError(f"{cell[:20]!r} is no date")
    return date(int(found[1]), int(found[2]), int(found[3]))


def day_key_of(session: date) -> KeyOf:
    """Whose a row is in an answer of all stocks of `session`, by its code; None for what we don't keep."""

    def of(code: str) -> Key | None:
        if STOCK_CODE.fullmatch(code) or FUND_CODE.fullmatch(code):
            return Key(symbol=code, session=session)
        if ANY_CODE.fullmatch(code):
            return None
        raise ValueError(f"{code[:20]!r} is no code")

    return of


# --- the answer around the table --------------------------------------------------------------------------


def check_told(what: str, told: str, wanted: str) -> None:
    """Refuse an answer to another question; the exchanges' caches have given such with status 200.

    Raises:
        Transient: `told` isn't `wanted`.
    """
    if told != wanted:
        raise Transient(f"the answer is for {what} {told or '(not told)'}, not {wanted}")


def compact_date(text: str) -> str:
    """YYYYMMDD (or YYYYMM) of a date as a board tells it: 20251001, 2025/10/01, 114/10/01, 114/10; else `text`."""
    found = _DATE_TOLD.fullmatch(text)
    if not found:
        return text
    year = int(found[1])
    return f"{year if year > ROC_YEAR_0 else year + ROC_YEAR_0}{found[2]}{found[3] or ''}"


def day_in(title: str) -> str:
    """YYYYMMDD of a title like "113年08月23日 ..."; empty when it names no day."""
    found = _DAY_IN_TITLE.search(title)
    return f"{int(found[1]) + ROC_YEAR_0}{int(found[2]):02d}{int(found[3]):02d}" if found else ""


def has_table(answer: Mapping[str, Any]) -> bool:
    """Whether the answer has a table; False says that there are no rows.

    Raises:
        Transient: another status, for instance that too many people are asking.
        Refused: the board doesn't keep that time.
    """
    stat = str(answer.get("stat", ""))
    if stat.upper() == "OK":
        return True
    if NO_ROWS.search(stat):
        return False
    if NOT_ASKABLE.search(stat):
        raise Refused(stat)
    raise Transient(f"status {stat[:60]!r}" if stat else "an answer without a status")


def list_at(table: Mapping[str, Any], key: str) -> list[Any]:
    """The list under `key`.

    Raises:
        Transient: there is none: an answer cut short in the middle.
    """
    value = table.get(key)
    if not isinstance(value, list):
        raise Transient(f"an answer without `{key}`")
    return value
