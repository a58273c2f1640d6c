"""All names by which a headline may call a company: twstock's list of the exchange, and our own JSON of aliases."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from bot.adapters.twstock_codes import all_companies
from bot.core.mentions import Grade, Name, Names, plain
from bot.ports import Company

SHORT: Final = 2  # characters; a longer Chinese name is hardly ever part of other words
# What the exchange adds to a name and a newspaper leaves out: a foreign registration, a holding company.
_LEFT_OUT: Final = ("-KY", "投控", "控股")


@lru_cache(maxsize=1)
def company_names() -> Names:
    """The names of every listed or OTC common stock and ETF; read once, a third of a second.

    An alias for a company that isn't listed any longer is left out.
    """
    told: dict[str, Any] = json.loads(files("bot").joinpath("mentions.json").read_text("utf-8"))
    companies = {one.symbol: one for one in all_companies()}
    return names_of(companies, told)


def names_of(companies: dict[str, Company], told: dict[str, Any]) -> Names:
    """The names of `companies`, graded as the JSON `told` says."""
    coded, words, careful, sure = (frozenset(told[kind]) for kind in ("coded", "words", "careful", "sure"))

    def grade_of(text: str) -> Grade:
        if text in coded:
            return Grade.CODED
        if text in words:
            return Grade.WORD
        if text in careful:
            return Grade.CAREFUL
        return Grade.SURE if len(text) > SHORT or text in sure else Grade.CAREFUL

    found: dict[str, Name] = {}
    for symbol, company in companies.items():
        for text in _spellings(company.name):
            found.setdefault(text, Name(symbols=(symbol,), grade=grade_of(text)))
    for symbol, aliases in told["aliases"].items():
        if symbol in companies:
            for text in aliases:
                found[plain(text)] = Name(symbols=(symbol,), grade=Grade.SURE)
    for text, symbols in told["groups"].items():
        found[text] = Name(symbols=tuple(one for one in symbols if one in companies), grade=Grade.SURE)
    for text in told["others"]:
        found[plain(text)] = Name(symbols=(), grade=Grade.SURE)
    return Names(by_text=found, symbols=frozenset(companies), adrs=told["adrs"])


def _spellings(name: str) -> list[str]:
    """The exchange's name, and as a newspaper shortens it."""
    full = plain(name).replace("*", "")
    short = full
    for ending in _LEFT_OUT:
        short = short.removesuffix(ending)
    return [full] if len(short) < SHORT else list(dict.fromkeys([full, short]))
