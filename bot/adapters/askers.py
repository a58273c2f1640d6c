"""Who asked a model, and whose answer counts where several did. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Final, Literal, NamedTuple

from bot.core.forecast import Forecast

# Who asked: the daemon on its evening, `backtest fill` about stored bars or a folder's, a person.
Asker = Literal["live", "store", "folder", "person"]
# Whose answers a replay takes, the first that there is: what the daemon really said comes before what was made later.
OF_STORE: Final[tuple[Asker, ...]] = ("live", "store")
OF_FOLDER: Final[tuple[Asker, ...]] = ("folder", "live", "store")


class Said(NamedTuple):
    """An answer, who asked, and after which close (in hundredths of a TWD; None where that was not kept)."""

    forecast: Forecast
    asker: Asker
    close_x100: int | None


def counting(
    said: Iterable[Said], askers: Sequence[Asker], close_x100: Callable[[str, date], int | None] | None = None
) -> list[Forecast]:
    """Of each stock, session and model the answer of the first of `askers` that has one, in the order of `said`.

    Answers told after another close than `close_x100` has for the stock and session are of another market, and are
    left out; it tells hundredths of a TWD, and None where it knows of no trade.
    """
    rank = {one: place for place, one in enumerate(askers)}
    found: dict[tuple[date, str, str], Said] = {}
    for one in said:
        key = one.forecast.as_of, one.forecast.symbol, one.forecast.model
        if one.asker not in rank or (key in found and rank[found[key].asker] <= rank[one.asker]):
            continue
        if close_x100 is not None and one.close_x100 is not None:
            close = close_x100(one.forecast.symbol, one.forecast.as_of)
            if close is not None and close != one.close_x100:
                continue
        found[key] = one
    return [one.forecast for one in found.values()]
