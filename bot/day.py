"""One trading day: gather -> decide -> act, as six stages that may each be run twice and do their work once.

prices -> settle -> news -> forecast -> decide -> send
"""

from __future__ import annotations

import logging
import time as monotonic
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from bot.adapters.sqlite_bars import BarStore
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import EquityPoint, Journal, StageRun
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_news import NewsStore
from bot.adapters.sqlite_sessions import SessionStore
from bot.adapters.sqlite_signals import SignalStore
from bot.adapters.twstock_codes import listed_on
from bot.calendar import calendar_of
from bot.config import TAIPEI, Config
from bot.core.decide import BPS, MarketDay, decide
from bot.core.exrights import adjusted, references_x100
from bot.core.forecast import Article, Sentiment, mean_score
from bot.core.market import Bar
from bot.core.orders import Order, OrderState
from bot.core.portfolio import as_if_bought
from bot.core.sessions import TRADING_STARTS, Calendar, next_session
from bot.core.settle import Resting, settle
from bot.core.signals import Signal
from bot.errors import DataMissing, EngineFailed, Refused, Transient
from bot.exrights_fetch import catch_up_ex_rights, known_events, refresh_ex_rights
from bot.news import Gathered, Weight, gather_headlines
from bot.ports import (
    BarFeed,
    Broker,
    Clock,
    Company,
    Engine,
    ExRightFeed,
    HeadlineFeeds,
    HolidayFeed,
    NewsFeed,
    Question,
)
from bot.prices import Gate, fill_history, gather_session

log = logging.getLogger("twtrader")

# A stage that waits for the outside world gives up when the stage named here is due.
WAITS_UNTIL: Final = {"prices": "forecast", "settle": "decide", "news": "forecast"}
SIGNAL_BARS: Final = 60  # more than any rule of thumb here looks back


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything a day touches. `news` is None without a key; `engine` starts the model and gives it back."""

    clock: Clock
    bars: BarFeed
    holidays: HolidayFeed
    news: NewsFeed | None
    rss: HeadlineFeeds
    headlines: NewsStore
    engine: Callable[[], Engine]
    broker: Broker
    market: MarketStore
    sessions: SessionStore
    ex_rights: ExRightFeed
    ex_right_store: ExRightStore
    journal: Journal
    companies: tuple[Company, ...]
    choose: Callable[[Mapping[str, list[Bar]], int], list[str]]
    signals_of: Callable[[Iterable[Sequence[Bar]]], list[Signal]]
    signals: SignalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a stage went: done, closed, skipped, waiting or failed, and one line for the status view.

    `in_the_end` is what a waiting stage becomes when it has waited long enough.
    """

    outcome: str
    detail: str
    in_the_end: str = "failed"


def run_stage(stage: str, session: date, ports: Ports, config: Config) -> StageRun:
    """Run one stage of `session` and record how it went. A stage that waited too long has failed.

    Raises:
        LookAheadError, ValueError, KeyError ...: bugs; the daemon halts on them.
    """
    started_at, begun = ports.clock.now(), monotonic.perf_counter()
    try:
        result = STAGE_WORK[stage](session, ports, config)
    except (DataMissing, Transient) as missing:
        result = Outcome(outcome="waiting" if stage in WAITS_UNTIL else "failed", detail=str(missing))
    if result.outcome == "waiting" and started_at >= _gives_up_at(stage, session, config):
        result = Outcome(outcome=result.in_the_end, detail=result.detail)
    run = StageRun(
        session=session,
        stage=stage,
        started_at=started_at,
        duration_s=round(monotonic.perf_counter() - begun, 3),
        outcome=result.outcome,
        detail=result.detail,
    )
    ports.journal.record_stage(run)
    if run.outcome in {"failed", "closed"}:
        ports.journal.record_surprises(session, [f"{stage} {run.outcome}: {run.detail}"], started_at)
    log.info("stage session=%s stage=%s outcome=%s s=%.3f detail=%s", session, stage, run.outcome, run.duration_s,
             run.detail)  # fmt: skip
    return run


def _gives_up_at(stage: str, session: date, config: Config) -> datetime:
    """The moment from which `stage` waits no longer."""
    return datetime.combine(session, config.timetable.at(WAITS_UNTIL.get(stage, stage)))


# --- prices -----------------------------------------------------------------------------------------------


def gather_bars(session: date, ports: Ports, config: Config) -> Outcome:
    """Fetch what is missing up to `session`. No bar of any stock may mean "not published yet" or "closed"."""
    problems = catch_up_ex_rights(session, ports, config.history.sessions)
    gate, now = _gate(session, ports, config), ports.clock.now()
    for company in ports.companies:
        try:
            fill_history(company, session, config.history.sessions, ports.bars, gate, now)
        except DataMissing as missing:
            problems.append(str(missing))
    today = gather_session(session, ports.companies, ports.bars, gate, now, calendar_of(ports))
    problems += today.problems
    present = len(ports.market.bars_of(session).keys() & {company.symbol for company in ports.companies})
    traded = f"{present} of {len(ports.companies)} stocks"
    if problems:
        more = f" (+{len(problems) - 1} more)" if problems[1:] else ""
        return Outcome(outcome="waiting", detail=f"{traded}; {problems[0]}{more}")
    if today.closed:
        return Outcome(outcome="waiting", detail=f"{today.closed}: closed without notice?", in_the_end="closed")
    if today.stored.quarantined:
        rows = f"{today.stored.quarantined} rows in quarantine: see `twtrader data check`"
        ports.journal.record_surprises(session, [f"prices: {rows}"], now)
        return Outcome(outcome="done", detail=f"{traded} traded; {rows}")
    return Outcome(outcome="done", detail=f"{traded} traded")


def _gate(session: date, ports: Ports, config: Config) -> Gate:
    """The gate that prices pass, which knows the ex-dates and the listing dates."""
    events = known_events(ports, session, config.history.sessions)
    references = {(one.symbol, one.ex_date): one.reference_x100 for known in events.values() for one in known}
    return Gate(store=BarStore(ports.market.db), references=references, listed=listed_on())


# --- settle -----------------------------------------------------------------------------------------------


def settle_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Compare the broker's book with the journal, turn the difference into fills, and write the equity line.

    Raises:
        DataMissing: the book could not be read, or orders are open and the session's bars are not there: nothing is
            concluded from that.
    """
    at = ports.clock.now()
    resting = _resting(session, ports)
    if not ports.market.count_bars(session) and ports.journal.orders(OrderState.ACCEPTED, OrderState.UNKNOWN):
        raise DataMissing(f"{session}: no bars, so nothing can be said of the open orders")
    for traded in sorted({one.session for one in resting}):
        ports.broker.end_session(traded, ports.market.bars_of(traded))
    held = ports.journal.portfolio()
    book = ports.broker.holdings()
    result = settle(resting, held, book, ports.broker.prices_x100([one.order for one in resting]), config.costs)
    ports.journal.settle(session, result, at)
    ports.journal.record_surprises(session, result.surprises, at)
    _record_equity(session, ports)
    filled, expired = len(result.fills), sum(state is OrderState.EXPIRED for _, state, _ in result.moves)
    detail = f"{filled} filled, {expired} expired"
    return Outcome(outcome="done", detail=detail + "".join(f"; {text}" for text in result.surprises))


def _resting(session: date, ports: Ports) -> list[Resting]:
    """Orders that left and could have traded by now, with the session they could trade in."""
    resting = []
    for one in ports.journal.orders(OrderState.ACCEPTED, OrderState.UNKNOWN):
        traded = ports.market.session_after(one.order.decided)
        if traded is not None and traded <= session:
            resting.append(Resting(order=one.order, state=one.state, session=traded))
    return resting


def _record_equity(session: date, ports: Ports) -> None:
    """Value the book at the last known closes."""
    held = ports.journal.portfolio()
    closes = ports.market.last_closes(sorted(held.positions), until=session)
    point = EquityPoint(session=session, cash_twd=held.cash_twd, value_twd=held.value_twd(closes))
    ports.journal.record_equity(point)


# --- news and model ---------------------------------------------------------------------------------------


def gather_news(session: date, ports: Ports, config: Config) -> Outcome:
    """Fetch headlines of the last days. They are context: without them the day goes on, sentiment unknown."""
    del session
    gathered = gather_from_sources(ports, config)
    if not gathered:
        return Outcome(outcome="skipped", detail="NEWSAPI_KEY is not set, no RSS feed is: sentiment is unknown")
    failed = any(one.failed for one in gathered)
    return Outcome(outcome="waiting" if failed else "done", detail="; ".join(one.detail for one in gathered))


def gather_from_sources(ports: Ports, config: Config) -> list[Gathered]:
    """Ask every source of headlines that is there."""
    return gather_headlines(
        news=ports.news,
        feeds=ports.rss,
        store=ports.headlines,
        clock=ports.clock,
        companies=ports.companies,
        weights=_news_weights(ports),
        config=config.feeds.newsapi,
    )


def _news_weights(ports: Ports) -> dict[str, Weight]:
    """What each company weighs when news requests are short: what we hold of it, and what was forecast last."""
    today = ports.clock.now().date()
    forecasts = {one.symbol: one for one in ports.market.newest_forecasts()}
    held = ports.journal.portfolio().positions
    closes = ports.market.last_closes(sorted({*forecasts, *held}), until=today)
    return {
        symbol: Weight(
            position_twd=close_x100 * held[symbol].shares // 100 if symbol in held else 0,
            signal_bps=round((forecasts[symbol].target * 100 / close_x100 - 1) * BPS) if symbol in forecasts else 0,
        )
        for symbol, close_x100 in closes.items()
    }


def ask_model(session: date, ports: Ports, config: Config) -> Outcome:
    """Forecasts and sentiments, each computed once. A dead engine means abstention, reported."""
    unknown = refresh_ex_rights(session, ports, config.history.sessions)
    ports.journal.record_surprises(session, [f"ex-dates not known: {text}" for text in unknown], ports.clock.now())
    _compute_signals(session, ports, config)
    questions = _questions(session, ports, config)
    if not questions:
        return Outcome(outcome="failed", detail="no stock has enough bars for a question: no forecast tonight")
    try:
        with _running(ports.engine) as engine:
            made, asked = _forecast(session, questions, engine, ports, config)
            scored = _score_news(engine, ports, config)
    except (EngineFailed, Refused) as failed:
        return Outcome(outcome="failed", detail=f"abstained: {failed}")
    return Outcome(outcome="done", detail=f"{made} of {asked} stocks forecast, {scored}")


def _compute_signals(session: date, ports: Ports, config: Config) -> None:
    """What rules of thumb say of each stock that traded in `session`; stored beside the forecasts, decides nothing."""
    past = [ports.market.bars(one.symbol, until=session, last=SIGNAL_BARS) for one in ports.companies]
    events = known_events(ports, session, config.history.sessions)
    traded = (bars for bars in past if bars and bars[-1].session == session)
    told = ports.signals_of(adjusted(bars, events.get(bars[-1].symbol, ()), session) for bars in traded)
    ports.signals.add(told, ports.clock.now())


def _questions(session: date, ports: Ports, config: Config) -> list[Question]:
    """One question for each stock that traded in `session` and has a full past."""
    wanted = config.model.past_sessions
    reach = max(wanted, config.history.sessions)
    bars = {one.symbol: ports.market.bars(one.symbol, until=session, last=reach) for one in ports.companies}
    bars = {symbol: past for symbol, past in bars.items() if len(past) >= wanted and past[-1].session == session}
    events = known_events(ports, session, config.history.sessions)
    bars = {symbol: adjusted(past, events.get(symbol, ()), session) for symbol, past in bars.items()}
    chosen = set(bars)
    if config.universe.choose:
        chosen = {*ports.choose(bars, config.universe.choose), *ports.journal.portfolio().positions}
    return [
        Question(
            company=company,
            bars=tuple(bars[company.symbol][-wanted:]),
            future_sessions=config.model.future_sessions,
        )
        for company in ports.companies
        if company.symbol in bars and company.symbol in chosen
    ]


def _forecast(
    session: date, questions: list[Question], engine: Engine, ports: Ports, config: Config
) -> tuple[int, int]:
    """Ask what is not stored yet; returns (forecasts there now, questions)."""
    stored = ports.market.forecasts(
        as_of=session,
        model=engine.model,
        past_sessions=config.model.past_sessions,
        future_sessions=config.model.future_sessions,
    )
    open_questions = [one for one in questions if one.company.symbol not in stored]
    answers = [answer for answer in engine.forecast(open_questions) if answer] if open_questions else []
    ports.market.add_forecasts(answers, ports.clock.now())
    return len(questions) - len(open_questions) + len(answers), len(questions)


def _score_news(engine: Engine, ports: Ports, config: Config) -> str:
    """Ask for the mood of headlines that have none yet; says how many, or why none."""
    titles = {article.title for company in ports.companies for article in _recent(company, ports, config)}
    new = sorted(titles - set(ports.market.sentiments(sorted(titles), model=engine.model)))
    if not new:
        return "no new headlines"
    try:
        moods = engine.sentiment(new)
    except EngineFailed as failed:
        return f"sentiment unknown: {failed}"
    ports.market.add_sentiments(engine.model, dict(zip(new, moods, strict=True)), ports.clock.now())
    return f"{len(new)} headlines scored"


def _recent(company: Company, ports: Ports, config: Config) -> list[Article]:
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


# --- decide and send --------------------------------------------------------------------------------------


def decide_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Take the session's decision and journal it, orders included, before anything leaves."""
    if ports.journal.decision_sha256(session) is None:
        day = _market_day(session, ports, config)
        waiting = [one.order for one in ports.journal.open_orders()]
        held = as_if_bought(ports.journal.portfolio(), waiting, config.costs)
        decision = decide(day, held, config.rules, config.costs)
        ports.journal.record_decision(decision, ports.clock.now())
    planned = [one for one in ports.journal.orders() if one.order.decided == session]
    buys = sum(one.order.signed_shares > 0 for one in planned)
    unsure = "" if _is_settled(session, ports) else "; the book is not settled, so nothing is traded"
    return Outcome(outcome="done", detail=f"{buys} to buy, {len(planned) - buys} to sell{unsure}")


def _is_settled(session: date, ports: Ports) -> bool:
    """Whether the broker's book was read and compared this session."""
    run = ports.journal.stage(session, "settle")
    return run is not None and run.outcome == "done"


def _blocked(session: date, symbols: Iterable[str], ports: Ports) -> frozenset[str]:
    """Stocks to keep hands off: an order's fate is open, or book and journal disagree. All, while that is unknown."""
    if not _is_settled(session, ports):
        return frozenset(symbols)
    return frozenset({*(one.order.symbol for one in ports.journal.open_orders()), *ports.journal.unexplained()})


def _market_day(session: date, ports: Ports, config: Config) -> MarketDay:
    """All that is known after the close of `session`."""
    known = {*ports.journal.portfolio().positions, *(one.order.symbol for one in ports.journal.open_orders())}
    symbols = sorted({*(one.symbol for one in ports.companies), *known})
    model = ports.market.model_of(session, config.model.past_sessions, config.model.future_sessions)
    forecasts = {}
    if model is not None:
        forecasts = ports.market.forecasts(
            as_of=session,
            model=model,
            past_sessions=config.model.past_sessions,
            future_sessions=config.model.future_sessions,
        )
    events = [one for many in known_events(ports, session, config.history.sessions).values() for one in many]
    return MarketDay(
        session=session,
        reference_x100=references_x100(events, session, next_session(session, ports.clock.now(), calendar_of(ports))),
        bars={symbol: bar for symbol, bar in ports.market.bars_of(session).items() if symbol in symbols},
        closes_x100=ports.market.last_closes(symbols, until=session),
        forecasts=forecasts,
        sentiment_bps=_sentiment_bps(model, ports, config),
        blocked=_blocked(session, symbols, ports),
    )


def _sentiment_bps(model: str | None, ports: Ports, config: Config) -> dict[str, int]:
    """The mean news score of each company that has scored headlines, in basis points of -1..1."""
    if model is None:
        return {}
    scores: dict[str, int] = {}
    for company in ports.companies:
        titles = [article.title for article in _recent(company, ports, config)]
        moods: list[Sentiment] = list(ports.market.sentiments(titles, model=model).values())
        score = mean_score(moods)
        if score is not None:
            scores[company.symbol] = round(score * BPS)
    return scores


def send_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Send the session's planned orders, sells first, each at most once; too late is not at all."""
    del config
    at = ports.clock.now()
    planned = [one for one in ports.journal.orders(OrderState.PLANNED) if one.order.decided == session]
    deadline = order_deadline(session, at, calendar_of(ports))
    states = [_send(one.order, deadline, ports) for one in planned]
    told = ", ".join(f"{states.count(state)} {state}" for state in OrderState if state in states)
    if planned and set(states) == {OrderState.CANCELLED}:
        return Outcome(outcome="skipped", detail=f"too late for {len(planned)} orders: the next session has begun")
    return Outcome(outcome="done", detail=told or "nothing to send")


def _send(order: Order, deadline: datetime, ports: Ports) -> OrderState:
    """Journal first, then the broker; from `deadline` on the order is cancelled instead."""
    at = ports.clock.now()
    if at >= deadline:
        ports.journal.move(order.key, OrderState.CANCELLED, "too late: the next session has begun", at)
        return OrderState.CANCELLED
    ports.journal.move(order.key, OrderState.SENDING, "", at)
    receipt = ports.broker.submit(order)
    ports.journal.move(order.key, receipt.state, receipt.reply, ports.clock.now())
    return receipt.state


def drop_unsent(session: date, ports: Ports, at: datetime) -> None:
    """Orders of earlier sessions that never left (the daemon was down) are cancelled: their session has begun."""
    for one in ports.journal.orders(OrderState.PLANNED):
        if one.order.decided < session:
            ports.journal.move(one.order.key, OrderState.CANCELLED, "never sent: twtrader was not running", at)


def mark_interrupted(ports: Ports, at: datetime) -> None:
    """An order found `sending` was on the wire when we died: its fate is unknown, and it is never sent again."""
    for one in ports.journal.orders(OrderState.SENDING):
        ports.journal.move(one.order.key, OrderState.UNKNOWN, "interrupted while sending", at)


def order_deadline(session: date, known_at: datetime, calendar: Calendar) -> datetime:
    """The opening of the session after `session`: an order sent later would have seen part of it."""
    return datetime.combine(next_session(session, known_at, calendar), TRADING_STARTS, tzinfo=TAIPEI)


STAGE_WORK: Final[Mapping[str, Callable[[date, Ports, Config], Outcome]]] = {
    "prices": gather_bars,
    "settle": settle_orders,
    "news": gather_news,
    "forecast": ask_model,
    "decide": decide_orders,
    "send": send_orders,
}
