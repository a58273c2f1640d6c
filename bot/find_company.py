"""Which company a person means by a code or a name, as the universe, the exchange or an English newspaper has it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final

from bot.errors import Refused
from bot.ports import Company

SUGGESTIONS: Final = 4


def find_company(told: str, universe: Sequence[Company]) -> Company:
    """The company that `told` names: 2330, 台積電, TSMC, "hon hai"; the universe is asked first.

    The exchange's own names and codes count before the names of newspapers, in which case does not matter.

    Raises:
        Refused: there is none, or there are several; one line with those that may be meant.
    """
    from bot.adapters.company_names import company_names
    from bot.adapters.twstock_codes import all_companies, company_of
    from bot.core.mentions import plain

    wanted = plain(told)
    if not wanted:
        raise Refused("no company was named; write a code or a name, like 2330 or 台積電")
    own = {key: one for one in universe for key in (one.symbol, plain(one.name))}
    if wanted in own:
        return own[wanted]
    try:
        return company_of(told)
    except Refused as no:
        exchange = {one.symbol: one for one in all_companies()} | {one.symbol: one for one in universe}
        names = {text: name.symbols for text, name in company_names().by_text.items() if name.symbols}
        symbols = _symbols(wanted, names)
        if len(symbols) == 1:
            return exchange[symbols[0]]
        if symbols:
            raise Refused(f"{told} may be any of {_list(symbols, exchange)}; name one of them by its code") from no
        near = [] if "; near: " in str(no) else _near(wanted, names)
        raise Refused(f"{no}; by other names: {_list(near, exchange)}" if near else str(no)) from no


def _symbols(wanted: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Every stock that is called so: by the very words, else by the same words in other case."""
    if wanted in names:
        return list(names[wanted])
    folded = wanted.casefold()
    return list(dict.fromkeys(symbol for text, told in names.items() if text.casefold() == folded for symbol in told))


def _near(wanted: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Stocks with a name that holds `wanted` or looks like it."""
    folded = {text.casefold(): told for text, told in names.items()}
    word = wanted.casefold()
    inside = sorted((text for text in folded if len(word) > 1 and word in text), key=len)
    alike = difflib.get_close_matches(word, folded, n=SUGGESTIONS, cutoff=0.6)
    return list(dict.fromkeys(symbol for text in [*inside, *alike] for symbol in folded[text]))[:SUGGESTIONS]


def _list(symbols: Sequence[str], exchange: Mapping[str, Company]) -> str:
    return ", ".join(f"{symbol} {exchange[symbol].name}" for symbol in symbols if symbol in exchange)
