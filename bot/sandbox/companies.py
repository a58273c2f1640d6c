"""Who is traded: the owner's 41 companies, and names and boards from twstock's own list."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from bot.ports import Company

# English short names by code: what English headlines call a company. The keys are the owner's list.
ENGLISH_NAMES: Final[dict[str, str]] = json.loads(files(__package__).joinpath("companies.json").read_text("utf-8"))


def companies_of(codes: Iterable[str]) -> dict[str, Company]:
    """The companies behind `codes`, in the order of the codes; one unknown to twstock is listed under its code."""
    from twstock.codes import codes as known  # a third of a second, so only in the sandbox's own process

    found = {}
    for code in sorted(codes):
        told = known.get(code)
        found[code] = Company(symbol=code, name=told.name if told else code, board=told.data_source if told else "twse")
    return found
