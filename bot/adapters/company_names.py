"""All names by which a headline may call a company: twstock's list of the exchange, and our own JSON of aliases."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from bot.adapters.twstock_codes import all_companies
from bot.core.mentions import Grade, Name, Names, mentioned, plain
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


def symbols_of(text: str) -> tuple[str, ...]:
    """The symbols of all companies that `text` speaks of, in the order of their first mention."""
    return mentioned(text, company_names())


@lru_cache(maxsize=1)
def english_names() -> dict[str, str]:
    """What English headlines call a company, by symbol, where we know it: the first English alias."""
    told: dict[str, Any] = json.loads(files("bot").joinpath("mentions.json").read_text("utf-8"))
    aliases = {symbol: [text for text in texts if text.isascii()] for symbol, texts in told["aliases"].items()}
    return {symbol: texts[0] for symbol, texts in aliases.items() if texts}


def names_of(companies: dict[str, Company], told: dict[str, Any]) -> Names:
    """The names of `companies`, graded as the JSON `told` says."""
    grades = _grades(told)

    def grade_of(text: str) -> Grade:
        return grades.get(text, Grade.SURE if len(text) > SHORT else Grade.CAREFUL)

    found: dict[str, Name] = {}
    for symbol, company in companies.items():
        for text in _spellings(company.name):
            found.setdefault(text, Name(symbols=(symbol,), grade=grade_of(text)))
    for symbol, aliases in told["aliases"].items():
        if symbol in companies:
            for text in aliases:
                name = Name(symbols=(symbol,), grade=grades.get(text, Grade.SURE))
                found |= {plain(text): name, plain(text).upper(): name}
    for text, symbols in told["groups"].items():
        found[text] = Name(symbols=tuple(one for one in symbols if one in companies), grade=Grade.SURE)
    found |= {plain(text): Name(symbols=(), grade=Grade.SURE) for text in told["others"]}
    return Names(by_text=found, symbols=frozenset(companies), adrs=told["adrs"])


def _grades(told: dict[str, Any]) -> dict[str, Grade]:
    """The grades of the names that the JSON has an opinion on."""
    kinds = {"sure": Grade.SURE, "careful": Grade.CAREFUL, "words": Grade.WORD, "coded": Grade.CODED}
    return {text: grade for kind, grade in kinds.items() for text in told[kind]}


def _spellings(name: str) -> list[str]:
    """The exchange's name, and as a newspaper shortens it."""
    full = plain(name)
    short = full
    for ending in _LEFT_OUT:
        short = short.removesuffix(ending)
    return [full] if len(short) < SHORT else list(dict.fromkeys([full, short]))
