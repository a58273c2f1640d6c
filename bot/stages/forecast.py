"""18:00: what the model says of prices and headlines, each question asked once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Final, Protocol

from bot.answers import ask_once
from bot.config import Config
from bot.core.exrights import ExRight, adjusted
from bot.core.forecast import Article
from bot.core.market import Bar
from bot.core.prompt import headline_text
from bot.core.reasons import listed
from bot.errors import EngineFailed, Refused
from bot.exrights_fetch import known_events, refresh_ex_rights
from bot.ports import Company, Engine, Explains, Question
from bot.stages.stage import Outcome, Ports

SIGNAL_BARS: Final = 60  # more than any rule of thumb here looks back


class Window(Protocol):
    """How many bars a question has, and how many its answer: the config's [model], or another."""

    @property
    def past_sessions(self) -> int:
        """Bars in the question."""

    @property
    def future_sessions(self) -> int:
        """Bars in the answer."""


def ask_model(session: date, ports: Ports, config: Config) -> Outcome:
    """Forecasts and sentiments, each computed once. A dead engine means abstention, reported."""
    unknown = refresh_ex_rights(session, ports, config.history.sessions)
    ports.journal.record_surprises(session, [f"ex-dates not known: {text}" for text in unknown], ports.clock.now())
    _compute_signals(session, ports, config)
    questions = questions_of(session, ports, config)
    if not questions:
        return Outcome(outcome="failed", detail="no stock has enough bars for a question: no forecast tonight")
    try:
        with _running(ports.engine) as engine:
            made, asked = _forecast(questions, engine, ports)
            holes = why_missing(engine) if made < asked else ""
            scored = _score_news(engine, ports, config)
    except (EngineFailed, Refused) as failed:
        return Outcome(outcome="failed", detail=f"abstained: {failed}")
    return Outcome(outcome="done", detail=f"{made} of {asked} stocks forecast{holes}, {scored}")


def _compute_signals(session: date, ports: Ports, config: Config) -> None:
    """What rules of thumb say of each stock that traded in `session`; stored beside the forecasts, decides nothing."""
    past = [ports.market.bars(one.symbol, until=session, last=SIGNAL_BARS) for one in ports.companies]
    events = known_events(ports, session, config.history.sessions)
    traded = (bars for bars in past if bars and bars[-1].session == session)
    told = ports.signals_of(adjusted(bars, events.get(bars[-1].symbol, ()), session) for bars in traded)
    ports.signals.add(told, ports.clock.now())


def questions_of(session: date, ports: Ports, config: Config) -> list[Question]:
    """One question for each stock that traded in `session` and has a full past."""
    wanted = config.model.past_sessions
    reach = max(wanted, config.history.sessions)
    past = {one.symbol: ports.market.bars(one.symbol, until=session, last=reach) for one in ports.companies}
    events = known_events(ports, session, config.history.sessions)
    asked = {
        one.symbol: question_after(session, one, past[one.symbol], events.get(one.symbol, ()), config.model)
        for one in ports.companies
    }
    questions = [one for one in asked.values() if one is not None]
    if not config.universe.choose:
        return questions
    told = {
        one.company.symbol: adjusted(past[one.company.symbol], events.get(one.company.symbol, ()), session)
        for one in questions
    }
    chosen = {*ports.choose(told, config.universe.choose), *ports.journal.portfolio().positions}
    return [one for one in questions if one.company.symbol in chosen]


def question_after(
    session: date,
    company: Company,
    past: Sequence[Bar],
    events: Iterable[ExRight],
    window: Window,
    *,
    masked: bool = False,
) -> Question | None:
    """What is asked of a stock after `session`: live, and of history too.

    `past` are its bars up to and with `session`, as they were traded; `events` the ex-dates known by then. None where
    it did not trade in `session`, or has fewer bars than the window wants.
    """
    wanted = window.past_sessions
    if len(past) < wanted or past[-1].session != session:
        return None
    bars = tuple(adjusted(past[-wanted:], events, session))
    return Question(company=company, bars=bars, future_sessions=window.future_sessions, masked=masked)


def _forecast(questions: list[Question], engine: Engine, ports: Ports) -> tuple[int, int]:
    """Ask what is not stored yet; returns (forecasts there now, questions)."""
    answered = ask_once(questions, engine, ports.market.answers, by="live", now=ports.clock.now)
    return len(questions) - answered.abstained, len(questions)


def _score_news(engine: Engine, ports: Ports, config: Config) -> str:
    """Ask for the mood of headlines that have none yet; says how many, or why none.

    One with nothing to read, like a lone link, has no mood: it is not asked about, and told.
    """
    recent = (article for company in ports.companies for article in recent_headlines(company, ports, config))
    told = {article.title for article in recent}
    titles = {title for title in told if headline_text(title)}
    empty = f", {len(told) - len(titles)} with nothing to read" if len(titles) < len(told) else ""
    new = sorted(titles - set(ports.market.sentiments(sorted(titles), model=engine.model)))
    if not new:
        return f"no new headlines{empty}"
    try:
        moods = engine.sentiment(new)
    except EngineFailed as failed:
        return f"sentiment unknown: {failed}{empty}"
    known = {title: mood for title, mood in zip(new, moods, strict=True) if mood is not None}
    ports.market.add_sentiments(engine.model, known, ports.clock.now())
    unknown = f", {len(new) - len(known)} unknown{why_missing(engine)}" if len(known) < len(new) else ""
    return f"{len(known)} headlines scored{unknown}{empty}"


def why_missing(engine: Engine) -> str:
    """` (3 x no answer in 60 s)` of an engine that tells why its last batch has holes; else nothing."""
    reasons = engine.abstentions if isinstance(engine, Explains) else {}
    return f" ({listed(reasons)})" if reasons else ""


def recent_headlines(company: Company, ports: Ports, config: Config) -> list[Article]:
    """The headlines that count now."""
    now = ports.clock.now()
    since = now - timedelta(days=config.feeds.newsapi.lookback_days)
    return ports.market.articles(company.symbol, since=since, known_at=now)


@contextmanager
def _running(start: Callable[[], Engine]) -> Iterator[Engine]:
    """The engine, given back whatever happens."""
    engine = start()
    try:
        yield engine
    finally:
        engine.close()
