"""Questions about real stocks and days, for the benchmarks that judge answers: ../shared/data/prices by a seed.

questions = draw(config, [(20, 5)] * 41, random.Random(7))
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from backtest.forecast_cases import Market
from bot.config import Config
from bot.known_bars import read_known
from bot.ports import Company, Question
from bot.universe import owners_companies

PRICES = Path(__file__).resolve().parents[2] / "shared/data/prices"


def draw(config: Config, windows: Sequence[tuple[int, int]], dice: random.Random) -> list[Question]:
    """A question for each window of (past, future) sessions: a drawn stock and last bar, in the prices of that day.

    Its past is whole; what came afterwards may be unknown. Needs the files in PRICES.
    """
    known = read_known(config, PRICES)
    market = Market.of(known.bars, known.events)
    companies = {one.symbol: one for one in owners_companies()}
    symbols = sorted(known.bars)
    found = []
    for past, future in windows:
        symbol = dice.choice([one for one in symbols if len(known.bars[one]) >= past])
        place = dice.randrange(past - 1, len(known.bars[symbol]))
        company = companies.get(symbol, Company(symbol=symbol, name=symbol, board="twse"))
        bars, _ = market.around(symbol, place, past, 0)
        found.append(Question(company=company, bars=tuple(bars), future_sessions=future))
    return found
