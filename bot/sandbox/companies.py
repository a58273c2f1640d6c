"""Who is traded: the owner's companies, and anything else that twstock's own list knows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from bot.ports import Company
from bot.universe import owners_companies

# What English headlines call the owner's companies, by code.
ENGLISH_NAMES: Final[dict[str, str]] = json.loads(files(__package__).joinpath("english_names.json").read_text("utf-8"))


def companies_of(codes: Iterable[str] = ()) -> dict[str, Company]:
    """The companies behind `codes`, sorted by code; the owner's when there are none.

    A code that twstock does not know either is listed under itself on TWSE, so that any CSV can be replayed.
    """
    owners = {company.symbol: company for company in owners_companies()}
    return {code: owners.get(code) or _by_twstock(code) for code in sorted(codes or owners)}


def _by_twstock(code: str) -> Company:
    """The company that twstock lists under `code`."""
    from twstock.codes import codes as known  # a third of a second: only for what is not the owner's

    told = known.get(code)
    if told is None:
        return Company(symbol=code, name=code, board="twse")
    return Company(symbol=code, name=told.name, board=told.data_source)
