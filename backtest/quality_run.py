"""What `twtrader backtest quality` does: answers stored or asked for now, beside what came, as one table a model."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from backtest.forecast_cases import LEAST_RETURNS, Market, cases_of
from backtest.forecast_quality import DRIFT, FOUR_POINT, LAST_CLOSE, Quality, quality, split_seen, verdict
from backtest.questions import Shape
from bot.adapters.askers import OF_FOLDER, OF_STORE
from bot.adapters.sqlite_answers import AnswerStore
from bot.config import Config
from bot.core.forecast import Forecast
from bot.core.market import to_x100
from bot.errors import Refused
from bot.known_bars import read_known
from bot.ports import Company, Engine, Question
from bot.stages.forecast import question_after
from bot.universe import load_universe

BASELINES: Final = (LAST_CLOSE, DRIFT, FOUR_POINT)
BATCH: Final = 41  # answers stored together: so many are lost by a kill
Tell = Callable[[int, int], None]  # questions done, questions in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user wants judged; None where it is left to us. `questions` 0: the stored answers alone."""

    since: date | None = None
    until: date | None = None
    data: Path | None = None
    past: int
    horizons: tuple[int, ...]
    model: str = ""
    questions: int = 0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One model's quality on days it can't know (`clean`) and on days it may have been trained on (`seen`)."""

    model: str
    trained_until: date
    past: int
    since: date
    until: date
    answers: int
    abstained: int
    clean: Quality
    seen: Quality

    @property
    def verdict(self) -> str:
        """One sentence, on the clean days alone."""
        if not self.clean.horizons:
            return f"{self.model}: unknown; no answer of a day after {self.trained_until} has come true yet"
        return verdict(self.clean, self.model)

    def facts(self) -> dict[str, Any]:
        """All of it for JSON."""
        told = {name: str(value) if isinstance(value, date) else value for name, value in _plain(self).items()}
        return told | {"clean": asdict(self.clean), "seen": asdict(self.seen), "verdict": self.verdict}


def _plain(one: Judged) -> dict[str, Any]:
    names = ("model", "trained_until", "past", "since", "until", "answers", "abstained")
    return {name: getattr(one, name) for name in names}


def judge(config: Config, asked: Asked, tell: Tell) -> list[Judged]:
    """The table of each model, those of unseen days first in it.

    With `questions` the config's engine is asked so many, drawn from all stocks and days by the seed; each answer is
    stored at once, so that a run which was stopped goes on where it ended.

    Raises:
        Refused: no bars, no answers, or the model is not there.
        EngineFailed: it died on the way; what was answered is stored.
    """
    from bot.adapters.twstock_signals import best_four_point

    known = read_known(config, asked.data)
    if not known.bars:
        raise Refused("no bars to compare with; fetch or import them, or name a folder with --data")
    market = Market.of(known.bars, known.events)
    told, abstained = _ask(config, asked, market, tell) if asked.questions else (_stored(config, asked, market), 0)
    if not told:
        raise Refused(_none(asked, config))
    judged = []
    for model in sorted({one.model for one in told}):
        ours = [one for one in told if one.model == model]
        clean, seen = split_seen(cases_of({model: ours}, market, asked.horizons, best_four_point))
        judged.append(
            Judged(
                model=model,
                trained_until=max(one.trained_until for one in ours),
                past=asked.past,
                since=min(one.as_of for one in ours),
                until=max(one.as_of for one in ours),
                answers=len(ours),
                abstained=abstained,
                clean=quality(clean, (model, *BASELINES), seed=asked.seed),
                seen=quality(seen, (model, *BASELINES), seed=asked.seed),
            )
        )
    return judged


# --- stored answers ---------------------------------------------------------------------------------------


def _stored(config: Config, asked: Asked, market: Market) -> list[Forecast]:
    """The stored answers about these bars: one after another close was about another market."""
    from bot.adapters.sqlite_read import open_for_reading

    with closing(open_for_reading(config.store.path)) as db:
        found = AnswerStore(db).whole(
            since=asked.since or date.min,
            until=asked.until or date.max,
            past_sessions=asked.past,
            askers=OF_STORE if asked.data is None else OF_FOLDER,
        )
    return [one for one, close_x100 in found if one.model.startswith(asked.model) and _fits(one, close_x100, market)]


def _fits(told: Forecast, close_x100: int | None, market: Market) -> bool:
    place = market.place(told.symbol, told.as_of)
    return place is not None and close_x100 in {None, to_x100(market.bars[told.symbol][place].close)}


def _none(asked: Asked, config: Config) -> str:
    """Why there is nothing to judge."""
    if asked.questions:
        return "the model abstained from every question"
    days = f"{asked.since or 'the beginning'}..{asked.until or 'the end'}"
    whose = f" of a model named {asked.model}" if asked.model else ""
    return (
        f"{config.store.path.name}: no stored answers{whose} with {asked.past} past sessions in {days}; "
        "`backtest fill` makes them, and --questions N asks for a sample"
    )


# --- a sample, asked now ----------------------------------------------------------------------------------


def _ask(config: Config, asked: Asked, market: Market, tell: Tell) -> tuple[list[Forecast], int]:
    """The answers to a sample of questions, those that are stored already taken from there; and the abstentions."""
    from bot.adapters.clocks import SystemClock
    from bot.adapters.sqlite_open import open_database
    from bot.answers import ask_once
    from bot.wiring import engine_of

    questions = sample(config, asked, market)
    told: list[Forecast] = []
    engine: Engine = engine_of(config.model)
    try:
        with closing(open_database(config.store.path)) as db:
            store = AnswerStore(db)
            for start in range(0, len(questions), BATCH):
                batch = questions[start : start + BATCH]
                answered = ask_once(batch, engine, store, by="person", now=SystemClock().now)
                told += [one for one in answered.forecasts if one is not None]
                tell(start + len(batch), len(questions))
    finally:
        engine.close()
    return told, len(questions) - len(told)


def sample(config: Config, asked: Asked, market: Market) -> list[Question]:
    """The questions of the seed: of stocks and days whose answer has come, oldest first.

    Without a first day they are of days after all that the config says the model can know.

    Raises:
        Refused: there are fewer such stocks and days than asked for.
    """
    since, until = asked.since or config.model.trained_until, asked.until or date.max
    ahead, least = max(asked.horizons), max(asked.past - 1, LEAST_RETURNS)
    places = [
        (symbol, place)
        for symbol in sorted(market.bars)
        for place in _places(market, symbol, since, until)
        if least <= place < len(market.bars[symbol]) - ahead
    ]
    if len(places) < asked.questions:
        raise Refused(f"{len(places)} stocks and days in {since}..{until} have a past and came true, not more")
    chosen = random.Random(asked.seed).sample(places, asked.questions)  # noqa: S311  (a sample, no secret)
    companies = _companies(config, sorted({symbol for symbol, _ in chosen}))
    shape = Shape(past_sessions=asked.past, future_sessions=ahead)
    questions = [_question(market, companies[symbol], place, shape) for symbol, place in chosen]
    return sorted((one for one in questions if one), key=lambda one: (one.as_of, one.company.symbol))


def _places(market: Market, symbol: str, since: date, until: date) -> range:
    days = [bar.session for bar in market.bars[symbol]]
    return range(bisect_left(days, since), bisect_right(days, until))


def _question(market: Market, company: Company, place: int, shape: Shape) -> Question | None:
    """The question as the daemon asks it after that session."""
    bars = market.bars[company.symbol]
    past = list(bars[place + 1 - shape.past_sessions : place + 1])
    session = bars[place].session
    events = [one for one in market.events.get(company.symbol, ()) if past[0].session <= one.ex_date <= session]
    return question_after(session, company, past, events, shape)


def _companies(config: Config, symbols: Sequence[str]) -> dict[str, Company]:
    """Each stock by the name that the daemon asks with."""
    from bot.adapters.twstock_codes import company_of

    known = {one.symbol: one for one in load_universe(config.universe)}
    return {symbol: known.get(symbol) or company_of(symbol) for symbol in symbols}
