"""Which company a code or name means, by twstock's list of everything that trades in Taiwan."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final, TypeVar

from bot.errors import Refused
from bot.ports import Company

T = TypeVar("T")

STOCK: Final = "股票"
ETF: Final = "ETF"
BOARD_MARKETS: Final = frozenset({"上市", "上櫃"})  # listed and over the counter; not the innovation board
CODE_DIGITS: Final = 4
# Fund classes that trade in USD or CNY end so; everything here is TWD. Source: TWSE's rules for fund codes
FOREIGN_CURRENCY_LETTERS: Final = ("K", "M", "S", "C")
KINDS: Final = {
    "上市認購(售)權證": "a warrant",
    "上櫃認購(售)權證": "a warrant",
    "特別股": "a preferred stock",
    "ETN": "an exchange-traded note",
    "創新板": "a stock of the innovation board",
    "臺灣存託憑證(TDR)": "a depositary receipt",
    "受益證券-不動產投資信託": "a real estate trust",
    "受益證券-資產基礎證券": "an asset-backed security",
}
_SUGGESTIONS: Final = 3


@dataclass(frozen=True, slots=True)
class _Known:
    """What trades, by code, and what we take, by plainly written name."""

    rows: dict[str, Any]
    companies: dict[str, Company]


def company_of(code_or_name: str | int) -> Company:
    """The listed or OTC common stock or ETF that `code_or_name` names: 2330, "2330" or "台積電".

    A number is padded to four digits: 50 is "0050". Names are compared without the exchange's "*" mark, 臺 and 台
    being one.

    Raises:
        Refused: there is none, or it is something else (a warrant, a TDR, an ETN ...); near names stand in the line.
    """
    known = _known()
    text = str(code_or_name).zfill(CODE_DIGITS) if isinstance(code_or_name, int) else _plain(code_or_name)
    by_name = known.companies.get(text)
    if by_name is not None:
        return by_name
    row = known.rows.get(text)
    if row is None:
        raise Refused(_line(f"{code_or_name}: no such stock", _near(text, known)))
    trouble = _why_not(row)
    if trouble:
        raise Refused(_line(f"{row.code} {row.name} is {trouble}", _near(_plain(row.name), known)))
    return _company(row)


@lru_cache(maxsize=1)
def listed_on() -> Mapping[str, date]:
    """When each stock and fund that we take was listed, by code, as far as twstock's list tells."""
    found: dict[str, date] = {}
    for code, row in _known().rows.items():
        if not _why_not(row):
            with suppress(ValueError):
                found[code] = date.fromisoformat(row.start.replace("/", "-"))
    return found


def all_companies() -> tuple[Company, ...]:
    """Every listed or OTC common stock and ETF that trades in TWD."""
    return tuple(_known().companies.values())


@lru_cache(maxsize=1)
def _known() -> _Known:
    """The list of twstock, read once: it takes a quarter of a second and 40 MB, so not at import."""
    from twstock.codes import codes

    companies = {_plain(row.name): _company(row) for row in codes.values() if not _why_not(row)}
    return _Known(rows=codes, companies=companies)


def _company(row: Any) -> Company:
    return Company(symbol=row.code, name=row.name, board=row.data_source)


def _why_not(row: Any) -> str:
    """What the row is, if it isn't a common stock or fund that trades in TWD on one of the two boards; else ""."""
    if row.type not in {STOCK, ETF} or row.market not in BOARD_MARKETS:
        return KINDS.get(row.type, f"a {row.type}")
    if row.type == ETF and row.code.endswith(FOREIGN_CURRENCY_LETTERS):
        return "a fund that trades in a foreign currency"
    return ""


def _near(text: str, known: _Known) -> list[Company]:
    """Up to three companies that may be meant: names within `text` or around it, then names and codes like it."""
    names = known.companies
    inside = sorted((name for name in names if len(name) > 1 and text.startswith(name)), key=len, reverse=True)
    around = sorted((name for name in names if len(text) > 1 and text in name), key=len)
    alike = difflib.get_close_matches(text, names, n=_SUGGESTIONS)
    by_code = {company.symbol: company for company in names.values()}
    near_codes = difflib.get_close_matches(text, by_code, n=_SUGGESTIONS) if text.isascii() else []
    found = [names[name] for name in _once([*inside, *around, *alike])] + [by_code[code] for code in near_codes]
    return _once(found)[:_SUGGESTIONS]


def _once(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _line(trouble: str, near: list[Company]) -> str:
    """`trouble`, what would do, and what may be meant."""
    wanted = f"{trouble}; a listed or OTC common stock or ETF is wanted"
    if not near:
        return wanted
    return f"{wanted}; near: " + ", ".join(f"{company.symbol} {company.name}" for company in near)


def _plain(text: str) -> str:
    """A name or code for comparison."""
    return unicodedata.normalize("NFKC", text).strip().upper().replace("臺", "台").replace("*", "")
