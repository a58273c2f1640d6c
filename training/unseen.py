"""Questions about days that a model can't know of, asked as the daemon asks them, and what came afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

from backtest.forecast_cases import Market
from bot.errors import DataMissing
from bot.ports import Company, Question


def unseen_questions(
    market: Market,
    companies: Mapping[str, Company],
    *,
    after: date,
    past: int,
    future: int,
    most: int = 0,
    until: date = date.max,
    news: Callable[[str, date], tuple[str, ...]] | None = None,
) -> list[Question]:
    """A question for each stock and session after the day `after` whose answer is known by now, oldest first.

    `most` > 0 leaves out stocks, others on each session, until so many questions are left: many days with few
    stocks tell more than few days with many, as stocks rise and fall together. `news` says which headlines a question
    tells.

    Raises:
        DataMissing: there is none.
    """
    asked: dict[date, list[Question]] = {}
    for symbol, bars in market.bars.items():
        for place in range(past - 1, len(bars) - future):
            session = bars[place].session
            if not after < session <= until:
                continue
            before, came = market.around(symbol, place, past, future)
            if len(came) == future:
                company = companies.get(symbol, Company(symbol=symbol, name=symbol, board="twse"))
                told = news(symbol, session) if news else ()
                question = Question(company=company, bars=tuple(before), future_sessions=future, context=told)
                asked.setdefault(session, []).append(question)
    if not asked:
        raise DataMissing(f"no question {past}:{future} after {after}: the bars end too early")
    days = [sorted(asked[session], key=lambda one: one.company.symbol) for session in sorted(asked)]
    # Each session begins with another stock, so that no stock is always the one left out.
    turned = [one for at, day in enumerate(days) for one in (*day[at % len(day) :], *day[: at % len(day)])]
    if not most or len(turned) <= most:
        return turned
    return [turned[at * len(turned) // most] for at in range(most)]
