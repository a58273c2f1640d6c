"""Which stocks are looked at: the owner's 41 companies, or the user's JSON list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bot.config import UniverseConfig
from bot.errors import ConfigError, Refused
from bot.ports import Company

OWNERS: Final = Path(__file__).with_name("companies.json")
KEYS: Final = frozenset({"code", "name_zh"})


def load_universe(config: UniverseConfig) -> tuple[Company, ...]:
    """The companies of `config.file`, in its order; of the owner's list when it is "".

    Raises:
        ConfigError: the file is absent, no JSON, or not of the form [{"name_zh": "台積電"}, {"code": 3711}].
        Refused: an entry names no listed or OTC common stock or ETF.
    """
    return companies_in(Path(config.file)) if config.file else owners_companies()


def owners_companies() -> tuple[Company, ...]:
    """The owner's 41 companies, by code. Board and name stand in the list, so that twstock need not be read."""
    entries = json.loads(OWNERS.read_text(encoding="utf-8"))
    return tuple(Company(symbol=one["code"], name=one["name_zh"], board=one["board"]) for one in entries)


def companies_in(path: Path) -> tuple[Company, ...]:
    """The companies in the user's JSON list at `path`.

    Raises:
        ConfigError, Refused: as `load_universe`.
    """
    known = {key: company for company in owners_companies() for key in (company.symbol, company.name)}
    found: dict[str, Company] = {}
    for number, entry in enumerate(_entries(path), start=1):
        where = f"{path}: entry {number}"
        company = _resolved(entry, known, where)
        if company.symbol in found:
            raise ConfigError(f"{where}: {company.symbol} {company.name} stands there twice")
        found[company.symbol] = company
    return tuple(found.values())


def _entries(path: Path) -> list[Any]:
    """The JSON list at `path`, at least one entry long."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as absent:
        raise ConfigError(f"{path}: no such file (`universe.file`)") from absent
    except (OSError, ValueError, RecursionError) as wrong:
        raise ConfigError(f"{path}: {wrong}") from wrong
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path}: a list like [{{"name_zh": "台積電"}}, {{"code": 3711}}] is wanted')
    return entries


def _resolved(entry: Any, known: dict[str, Company], where: str) -> Company:
    """The company that `entry` names; one with a code and a name must mean the same by both."""
    if not isinstance(entry, dict) or not entry or not entry.keys() <= KEYS:
        raise ConfigError(f'{where}: {{"code": ...}} or {{"name_zh": ...}} is wanted, not {_short(entry)}')
    companies = [_company(key, value, known, where) for key, value in entry.items()]
    if companies[0] != companies[-1]:
        one, other = companies
        raise ConfigError(
            f"{where}: the code is that of {one.symbol} {one.name}, the name that of {other.symbol} {other.name}"
            if "code" in list(entry)[:1]
            else f"{where}: the name is that of {one.symbol} {one.name}, the code that of {other.symbol} {other.name}"
        )
    return companies[0]


def _company(key: str, value: Any, known: dict[str, Company], where: str) -> Company:
    wanted = str | int if key == "code" else str
    if not isinstance(value, wanted) or isinstance(value, bool) or value == "":
        raise ConfigError(f"{where}: `{key}` must be {'a code' if key == 'code' else 'a name'}, not {_short(value)}")
    if str(value) in known:
        return known[str(value)]
    from bot.adapters.twstock_codes import company_of

    try:
        return company_of(value)
    except Refused as no:
        raise Refused(f"{where}: {no}") from no


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:60]
