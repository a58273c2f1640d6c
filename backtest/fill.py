"""Filling history with a model's answers: those that are missing, in batches, each kept the moment it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from backtest.history import History, check_covers
from backtest.questions import Shape, events_beside, questions_of_history
from bot.adapters.asked_questions import Named, named
from bot.adapters.askers import Asker
from bot.adapters.clocks import SystemClock
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.answers import ask_named, columns_of
from bot.config import Config
from bot.core.exrights import ExRight
from bot.core.forecast import Forecast
from bot.core.prompt import headline_text
from bot.errors import EngineFailed, Refused
from bot.ports import Company, Engine, Explains, Question
from bot.universe import load_universe
from bot.wiring import engine_of

FIRST_BATCH: Final = 41  # as many as a CPU answers together
LARGEST_BATCH: Final = 16_384  # what the fused decoder takes at once
SHORT_S, LONG_S = 5.0, 20.0  # a batch that took less grows, one that took longer shrinks: so much is lost by a kill
LOOKED_UP: Final = 4_096  # questions looked for in the store at a time
DAYS_PER_SESSION: Final = 2  # generous: 245 sessions a year


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be filled; None and () where it is left to us. `batch` 0: as fits the time it takes."""

    since: date | None = None
    until: date | None = None
    data: Path | None = None
    symbols: tuple[str, ...] = ()
    past_sessions: int | None = None
    future_sessions: int | None = None
    masked: bool = False
    batch: int = 0
    news: bool = True


@dataclass(slots=True, kw_only=True)
class Filled:
    """What a fill came to, so far. Counts are questions; `short` are stocks and sessions without a full past.

    `known_to_model` are those of the questions whose session the model may know (see backtest/knowledge.py).
    """

    model: str
    since: date
    until: date
    stocks: int
    past_sessions: int
    future_sessions: int
    masked: bool
    asked: int = 0
    there: int = 0
    made: int = 0
    abstained: int = 0
    short: int = 0
    known_to_model: int = 0
    trained_until: date | None = None
    tokens: int = 0
    seconds: float = 0.0
    headlines: int = 0
    headlines_there: int = 0
    headlines_made: int = 0
    headlines_why: str = ""
    stopped: str = ""
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Questions that nobody asked yet."""
        return self.asked - self.there - self.made - self.abstained

    def facts(self) -> dict[str, Any]:
        """All of it as plain values."""
        told = {name: str(value) if isinstance(value, date) else value for name, value in asdict(self).items()}
        return told | {"left": self.left}


class Progress:
    """What is told on the way; a screen overrides it."""

    def begin(self, what: str, total: int | None) -> None:
        """A part of the work begins; `total` is None where nobody knows how much it is."""

    def forward(self, count: int) -> None:
        """So much more of it is done."""


def fill(config: Config, wanted: Wanted, progress: Progress) -> Filled:
    """Ask the config's engine all questions of history that are wanted and not answered yet, and store its answers.

    A batch is kept when it is answered: whatever ends this, a second run goes on where it ended. Ctrl-C and a dead
    engine end it in order: `stopped` says why.

    Raises:
        Refused: no bars for the asked days, an unknown stock, or the model is not there.
    """
    shape = Shape(
        past_sessions=wanted.past_sessions or config.model.past_sessions,
        future_sessions=wanted.future_sessions or config.model.future_sessions,
        masked=wanted.masked,
    )
    with _store(config) as store, _engine(config) as engine:
        history, sessions = _history(store, config, wanted, shape)
        companies = _companies(store, config, history.symbols)
        events = _events(store, wanted, history, sessions)
        filled = Filled(
            model=engine.model,
            since=sessions[0],
            until=sessions[-1],
            stocks=len(history.symbols),
            **asdict(shape),
        )
        questions = questions_of_history(history, sessions, companies, events, shape)
        try:
            missing = _missing(questions, engine, store, filled, wanted, progress)
            _ask(missing, engine, store, filled, wanted, progress)
            if wanted.news and not wanted.masked:
                _score_headlines(engine, store, config, filled, progress)
        except KeyboardInterrupt:
            filled.stopped = "interrupted"
        except EngineFailed as failed:
            filled.stopped = str(failed)
    return filled


# --- prices -----------------------------------------------------------------------------------------------


def _missing(
    questions: Iterator[Question | None],
    engine: Engine,
    store: MarketStore,
    filled: Filled,
    wanted: Wanted,
    progress: Progress,
) -> list[Named]:
    """The questions without an answer; the answers that are there count for this history from now on."""
    progress.begin("looking for stored answers", None)
    missing: list[Named] = []
    columns, by = columns_of(engine), _asker(wanted)
    for some in _chunks(questions, LOOKED_UP):
        full = [named(one, columns) for one in some if one is not None]
        known = store.answers.known(full, engine.model)
        pairs = [(full[place], one) for place, one in known.items()]
        store.answers.take(pairs, _now(), by=by)
        _count_known(filled, [one for _, one in pairs])
        new = [one for place, one in enumerate(full) if place not in known]
        store.answers.supersede(new, engine.model, _now(), by=by)
        missing += new
        filled.short += len(some) - len(full)
        filled.asked += len(full)
        filled.there += len(known)
        progress.forward(len(full))
    return missing


def _ask(
    missing: Sequence[Named],
    engine: Engine,
    store: MarketStore,
    filled: Filled,
    wanted: Wanted,
    progress: Progress,
) -> None:
    """Ask them, a batch at a time."""
    progress.begin("asking the model", len(missing))
    size, done = wanted.batch or FIRST_BATCH, 0
    while done < len(missing):
        batch, begun = missing[done : done + size], time.monotonic()
        answered = ask_named(batch, engine, store.answers, by=_asker(wanted), now=_now)
        done += len(batch)
        engine_s = sum(one.seconds for one in answered.made)
        filled.made += len(answered.made)
        filled.there += answered.there
        filled.abstained += answered.abstained
        filled.tokens += sum(one.tokens for one in answered.made)
        filled.seconds += time.monotonic() - begun
        _count_known(filled, [one for one in answered.forecasts if one is not None])
        if answered.abstained:
            for why, count in _reasons(engine, answered.abstained).items():
                filled.reasons[why] = filled.reasons.get(why, 0) + count
        progress.forward(len(batch))
        if not wanted.batch:
            size = next_size(size, engine_s or time.monotonic() - begun)


def _reasons(engine: Engine, abstained: int) -> dict[str, int]:
    """Why the last batch has holes; an engine that does not tell has one reason only."""
    told = dict(engine.abstentions) if isinstance(engine, Explains) else {}
    return told or {f"the question does not fit into the window of {engine.model}": abstained}


def next_size(size: int, took_s: float) -> int:
    """A batch is large enough to keep a GPU busy and small enough that a kill costs seconds."""
    if took_s < SHORT_S:
        return min(4 * size, LARGEST_BATCH)
    return max(size // 2, 1) if took_s > LONG_S else size


def _count_known(filled: Filled, forecasts: Sequence[Forecast]) -> None:
    for one in forecasts:
        filled.known_to_model += one.as_of < one.trained_until
        filled.trained_until = max(filled.trained_until or date.min, one.trained_until)


def _asker(wanted: Wanted) -> Asker:
    return "folder" if wanted.data is not None else "store"


def _chunks(questions: Iterator[Question | None], size: int) -> Iterator[list[Question | None]]:
    """Lists of at most `size`."""
    some: list[Question | None] = []
    for one in questions:
        some.append(one)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


# --- headlines --------------------------------------------------------------------------------------------


def _score_headlines(engine: Engine, store: MarketStore, config: Config, filled: Filled, progress: Progress) -> None:
    """The mood of every archived headline that a decision of these sessions looked at."""
    back = timedelta(days=config.feeds.newsapi.lookback_days)
    archived = store.titles(since=filled.since - back, until=filled.until)
    titles = [title for title in archived if headline_text(title)]  # else nothing to read, live neither
    known = store.sentiments(titles, model=engine.model)
    new = [title for title in titles if title not in known]
    filled.headlines, filled.headlines_there = len(titles), len(known)
    progress.begin("scoring headlines", len(new))
    size, done = FIRST_BATCH, 0
    while done < len(new):
        batch, begun = new[done : done + size], time.monotonic()
        try:
            moods = engine.sentiment(batch)
        except EngineFailed as failed:
            filled.headlines_why = str(failed)
            return
        told = {title: mood for title, mood in zip(batch, moods, strict=True) if mood is not None}
        store.add_sentiments(engine.model, told, _now())
        done += len(batch)
        filled.headlines_made += len(told)
        if len(told) < len(batch):
            filled.headlines_why = ", ".join(engine.abstentions) if isinstance(engine, Explains) else "no answer"
        progress.forward(len(batch))
        size = next_size(size, time.monotonic() - begun)


# --- what there is ----------------------------------------------------------------------------------------


def _history(store: MarketStore, config: Config, wanted: Wanted, shape: Shape) -> tuple[History, tuple[date, ...]]:
    """The bars, with as many before the first session as a question wants, and the sessions to ask after."""
    since, until = wanted.since, wanted.until or date.max
    if since and since > until:
        raise Refused(f"--from {since} must not be after --to {until}")
    # Suspended stocks reach further back for as many bars: a year more costs little.
    first = since - timedelta(days=DAYS_PER_SESSION * shape.past_sessions + 365) if since else date.min
    if wanted.data is not None:
        listed = [one.symbol for one in load_universe(config.universe)] if config.universe.file else []
        history = History.from_csv(wanted.data, symbols=wanted.symbols or listed or None, since=first, until=until)
    else:
        asked = wanted.symbols or tuple(one.symbol for one in load_universe(config.universe))
        history = History.from_store(store, symbols=asked, since=first, until=until)
        absent = sorted(set(wanted.symbols) - set(history.symbols))
        if absent:
            raise Refused(f"no stored bars of {', '.join(absent)}")
    sessions = history.between(since or date.min, until)
    check_covers(sessions, wanted.since, wanted.until)
    return history, sessions


def _companies(store: MarketStore, config: Config, symbols: Sequence[str]) -> dict[str, Company]:
    """Each stock with the name that the daemon would ask about.

    Raises:
        Refused: nobody knows its name.
    """
    known = {one.symbol: one for one in (*store.companies(symbols), *load_universe(config.universe))}
    for symbol in symbols:
        if symbol not in known:
            from bot.adapters.twstock_codes import company_of

            known[symbol] = company_of(symbol)
    return known


def _events(
    store: MarketStore, wanted: Wanted, history: History, sessions: Sequence[date]
) -> Mapping[str, Sequence[ExRight]]:
    """The ex-dates of the bars: of the store, or of the file beside a folder's bars."""
    if wanted.data is not None:
        return events_beside(wanted.data, history)
    events: dict[str, list[ExRight]] = {}
    for one in ExRightStore(store.db).events(history.symbols, since=history.sessions[0], until=sessions[-1]):
        events.setdefault(one.symbol, []).append(one)
    return events


@contextmanager
def _store(config: Config) -> Iterator[MarketStore]:
    db = open_database(config.store.path)
    try:
        yield MarketStore(db)
    finally:
        db.close()


@contextmanager
def _engine(config: Config) -> Iterator[Engine]:
    engine = engine_of(config.model)
    try:
        yield engine
    finally:
        engine.close()


_now = SystemClock().now
