"""One backtest from the configuration: bars and forecasters found, replayed, scored; what `backtest run` shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from backtest.forecasters import BestFourPoint, Forecaster, Naive, Stored
from backtest.history import History, check_covers, hole_notes
from backtest.kernel import Options
from backtest.knowledge import Knowledge, Player, knowledge_of
from backtest.masked import Market, MaskedBeside, masked_beside
from backtest.played_run import PlayedRun, play_hold, play_rules
from backtest.replay import Run, hold, replay
from backtest.run_id import inputs_of, run_id_of
from backtest.score import Score, figures, score, sessions_a_year, worst
from backtest.stored_answers import allowed, cutoffs_of, masked_of, of_these_bars, said_of
from backtest.tape import Tape, market_tape
from backtest.told import told_by
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_read import open_for_reading
from bot.config import Config
from bot.core.decide import MarketDay
from bot.core.exrights import ExRight
from bot.core.forecast import Forecast
from bot.core.ledger import ONE_E8
from bot.errors import Refused
from bot.moods import past_moods
from bot.strategies.registry import find_strategy
from bot.universe import load_universe

WARM_UP: Final = timedelta(days=60)  # bars before the first session: BestFourPoint looks back 10 sessions
HOLD: Final = "buy-and-hold"

ForecasterChoice = Literal["stored", "naive", "bestfourpoint", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user wants scored; None where it is left to us."""

    since: date | None = None
    until: date | None = None
    data: Path | None = None
    forecaster: ForecasterChoice = "all"
    model: str | None = None
    vectorbt: bool = False  # have vectorbt count the figures, from the fills alone
    known_too: bool = False  # score sessions that a model may know, marked; else they are refused or left out
    masked_beside: bool = False  # the scores of masked answers beside the plain ones

    @property
    def reads_forecasts(self) -> bool:
        """Whether stored forecasts are looked for: a folder's bars may be of another market than the store's."""
        return self.forecaster == "stored" or self.model is not None or (self.forecaster == "all" and self.data is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """The outcome: runs and scores in the same order, buy-and-hold last, and what a reader has to know.

    `tapes` are the market with each forecaster's word; `inputs` say what the figures follow from.
    """

    run_id: str
    inputs: Mapping[str, Any]
    sessions_a_year: float
    runs: tuple[PlayedRun, ...]
    scores: tuple[Score, ...]
    tapes: Mapping[str, Tape]
    horizons: Mapping[str, int]
    notes: tuple[str, ...]
    names: Mapping[str, str]
    knowledge: tuple[Knowledge, ...] = ()  # of models that may know some of the sessions: they have no headline
    masked: tuple[MaskedBeside, ...] = ()

    @property
    def by_forecaster(self) -> dict[str, list[Score]]:
        """The scores of each forecaster under each fill rule; buy-and-hold, which has no rule, left out."""
        groups: dict[str, list[Score]] = {}
        for one in self.scores[:-1]:
            groups.setdefault(one.forecaster, []).append(one)
        return groups

    @property
    def headlines(self) -> list[Score]:
        """The worst fill rule of each forecaster: what counts."""
        return [worst(scores) for scores in self.by_forecaster.values()]


def run_backtest(config: Config, asked: Asked) -> Backtest:
    """Replay every forecaster asked for under each fill rule of the config, and score it beside buy-and-hold.

    Raises:
        Refused: no bars or forecasts for the asked days, a hole in them, or a model that saw the days it is asked for.
    """
    loaded = load(config, asked)
    history, sessions, forecasters = loaded.history, loaded.sessions, loaded.forecasters
    market = market_tape(history, sessions, config.costs, loaded.events)
    tapes = {one.name: told_by(one, market, history, known_too=asked.known_too) for one in forecasters}
    all_options = [options_of(config, fill_rule) for fill_rule in config.backtest.fill_rules]
    runs = [run for name, tape in tapes.items() for run in play_rules(tape, name, config.rules, all_options)]
    free = replace(options_of(config, "open"), slippage_ticks=0, volume_share_bps=0, settlement_sessions=0)
    runs.append(play_hold(history, market, HOLD, free, config.rules.lot_shares))
    year_sessions = sessions_a_year(history)
    inputs = inputs_of(config, history, sessions, forecasters, loaded.events)
    player = Player(
        history=history, rules=config.rules, options=all_options, hold_options=free, year_sessions=year_sessions
    )
    knew = [knowledge_of(name, day, tapes[name], player, HOLD) for name, day in loaded.cutoffs.items()]
    knowledge = tuple(one for one in knew if one is not None)
    beside = Market(
        history=history,
        tape=market,
        events=loaded.events,
        rules=config.rules,
        options=all_options[0],
        player=player,
    )
    both = [masked_beside(one, loaded.masked[one.name], loaded.cutoffs[one.name], beside) for one in forecasters
            if isinstance(one, Stored) and one.name in loaded.masked]  # fmt: skip
    return Backtest(
        run_id=run_id_of(inputs),
        inputs=inputs,
        sessions_a_year=year_sessions,
        runs=tuple(runs),
        scores=tuple(_scores(history, runs, year_sessions, market, with_vectorbt=asked.vectorbt)),
        tapes=tapes,
        horizons={one.name: config.model.future_sessions if isinstance(one, Stored) else 1 for one in forecasters},
        notes=(
            *(one.note for one in knowledge),
            *loaded.notes,
            *_notes(history, sessions, forecasters, runs),
            *_dividend_notes(config, loaded, market),
        ),
        names=loaded.names,
        knowledge=knowledge,
        masked=tuple(one for one in both if one is not None),
    )


def _scores(
    history: History, runs: Sequence[PlayedRun], year_sessions: float, market: Tape, *, with_vectorbt: bool
) -> list[Score]:
    """A score for each of `runs`.

    Raises:
        Refused: vectorbt is to count, and there were ex-dates, of which its portfolio knows nothing.
    """
    if not with_vectorbt:
        return [figures(run, year_sessions) for run in runs]
    if market.dividend_e8.any() or (market.share_ratio_e8 != ONE_E8).any():
        raise Refused("--vectorbt: its portfolio knows no dividends, and these sessions have ex-dates")
    return score(history, runs, year_sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a backtest is about: bars, the sessions to replay, who forecasts, and what a reader has to know of them."""

    history: History
    sessions: tuple[date, ...]
    forecasters: tuple[Forecaster, ...]
    notes: tuple[str, ...]
    names: Mapping[str, str]
    events: tuple[ExRight, ...] = ()
    cutoffs: Mapping[str, date] = field(default_factory=dict)  # by model, the last day that it can know of
    masked: Mapping[str, Stored] = field(default_factory=dict)  # by model, its answers to masked questions


def load(config: Config, asked: Asked) -> Loaded:
    """Bars and forecasters for what is asked.

    Raises:
        Refused: as `run_backtest`.
    """
    if asked.since and asked.until and asked.since >= asked.until:
        raise Refused(f"--from {asked.since} must be before --to {asked.until}")
    names = {company.symbol: company.name for company in load_universe(config.universe)}
    with _store(config, asked) as store:
        said = said_of(store, config, asked)
        cutoffs = cutoffs_of(said, config)
        stored, notes = allowed(said, cutoffs, asked)
        since = asked.since or min((one.forecast.as_of for one in stored), default=None)
        history = _history(store, config, asked, since, names)
        sessions = _sessions(history, asked, since)
        forecasts, foreign = of_these_bars(stored, history, asked)
        forecasters = _forecasters(store, config, asked, forecasts, sessions)
        masked = masked_of(store, config, asked, history, cutoffs) if asked.masked_beside else {}
        events = _events(store, config, asked, history.symbols, sessions)
    return Loaded(
        history=history,
        sessions=sessions,
        forecasters=tuple(forecasters),
        notes=(*notes, *foreign),
        names=names,
        events=tuple(events),
        cutoffs={one.name: cutoffs[one.name] for one in forecasters if one.name in cutoffs},
        masked=masked,
    )


# --- what there is ----------------------------------------------------------------------------------------


@contextmanager
def _store(config: Config, asked: Asked) -> Iterator[MarketStore | None]:
    """The store, or None when neither bars nor forecasts are to come from it.

    Raises:
        Refused: it does not exist.
    """
    if asked.data is not None and not asked.reads_forecasts:
        yield None
        return
    with closing(open_for_reading(config.store.path)) as db:
        yield MarketStore(db)


def _sessions(history: History, asked: Asked, since: date | None) -> tuple[date, ...]:
    """The sessions to replay.

    Raises:
        Refused: the bars leave out a stretch of the asked days, or there is but one session.
    """
    sessions = history.between(since or date.min, asked.until or date.max)
    check_covers(sessions, asked.since, asked.until)
    if len(sessions) < 2:  # noqa: PLR2004
        raise Refused(f"{sessions[0]} is the only session with bars: what it decides trades in the next one")
    return sessions


def _history(
    store: MarketStore | None, config: Config, asked: Asked, since: date | None, names: Collection[str]
) -> History:
    """The bars from a little before `since`: of the universe from the store, or of every stock in the folder.

    A folder is cut to the universe too when the config names its own list.
    """
    first = since - WARM_UP if since else date.min
    until = asked.until or date.max
    if asked.data is not None:
        symbols = names if config.universe.file else None
        return History.from_csv(asked.data, symbols=symbols, since=first, until=until)
    assert store is not None
    return History.from_store(store, symbols=names, since=first, until=until)


def _events(
    store: MarketStore | None, config: Config, asked: Asked, symbols: Sequence[str], sessions: Sequence[date]
) -> list[ExRight]:
    """The stored ex-dates among `sessions`, as the config's broker pays them; none with a folder's bars.

    At a broker that pays no dividends nothing comes of an ex-date but the next session's reference price.
    """
    if store is None or asked.data is not None:
        return []
    events = ExRightStore(store.db).events(symbols, since=sessions[0], until=sessions[-1])
    if config.broker.pays_dividends:
        return events
    return [replace(one, cash_dividend=Decimal(0), previous_x100=one.reference_x100) for one in events]


def _forecasters(
    store: MarketStore | None, config: Config, asked: Asked, stored: Sequence[Forecast], sessions: Sequence[date]
) -> list[Forecaster]:
    """Those asked for, each model by itself, the baselines after them.

    Raises:
        Refused: stored forecasts were asked for, and none is as of a session that has a session after it.
    """
    forecasters: list[Forecaster] = []
    decided = set(sessions[:-1])
    for model in sorted({one.model for one in stored}):
        by_session: dict[date, dict[str, Forecast]] = {}
        for one in stored:
            if one.model == model and one.as_of in decided:
                by_session.setdefault(one.as_of, {})[one.symbol] = one
        if by_session:
            assert store is not None
            moods = _sentiment_by_session(store, model, sorted(by_session), config)
            forecasters.append(Stored(name=model, by_session=by_session, sentiment_by_session=moods))
    if not forecasters and asked.forecaster == "stored":
        raise Refused(f"no stored forecast is as of {sessions[0]}..{sessions[-2]}, the sessions that have a next one")
    if asked.forecaster in {"naive", "all"}:
        forecasters.append(Naive())
    if asked.forecaster in {"bestfourpoint", "all"}:
        from bot.adapters.twstock_signals import best_four_point

        forecasters.append(BestFourPoint(signal=best_four_point, rules=config.rules, costs=config.costs))
    return forecasters


def _sentiment_by_session(
    store: MarketStore, model: str, sessions: Sequence[date], config: Config
) -> dict[date, dict[str, int]]:
    """Each session's news scores by stock, in basis points, from the headlines known at its decision time."""
    moods = past_moods(store.db, sessions, model, config)
    return {
        session: {symbol: mood.score_bps for symbol, mood in by_symbol.items()} for session, by_symbol in moods.items()
    }


# --- what it does -----------------------------------------------------------------------------------------


def replay_all(
    history: History,
    days: Sequence[MarketDay],
    forecaster: str,
    config: Config,
    events: Sequence[ExRight] = (),
) -> Iterator[Run]:
    """One run over `days`, which `forecaster` told, for each fill rule of the config."""
    cash_twd = config.backtest.start_cash_twd
    for fill_rule in config.backtest.fill_rules:
        options = options_of(config, fill_rule)
        steps = replay(history, days, config.rules, options, events)
        yield Run(
            forecaster=forecaster,
            fill_rule=fill_rule,
            first=days[0].session,
            start_cash_twd=cash_twd,
            steps=tuple(steps),
        )


def options_of(config: Config, fill_rule: str) -> Options:
    """How the ledger plays what the config says, under one fill rule."""
    return Options(
        fill_rule=fill_rule,
        start_cash_twd=config.backtest.start_cash_twd,
        costs=config.costs,
        slippage_ticks=config.backtest.slippage_ticks,
        volume_share_bps=config.backtest.volume_share_bps,
        settlement_sessions=config.backtest.settlement_sessions,
        strategy=find_strategy(config.rules.strategy),
    )


def hold_run(history: History, sessions: Sequence[date], config: Config, events: Sequence[ExRight] = ()) -> Run:
    """Buy-and-hold over the same sessions, with the same cash, costs and lots."""
    cash_twd = config.backtest.start_cash_twd
    steps = hold(history, sessions, cash_twd, config.costs, config.rules.lot_shares, events)
    return Run(forecaster=HOLD, fill_rule="open", first=sessions[0], start_cash_twd=cash_twd, steps=tuple(steps))


def _notes(
    history: History, sessions: Sequence[date], forecasters: Sequence[Forecaster], runs: Sequence[PlayedRun]
) -> Iterator[str]:
    """What a reader of the figures has to know."""
    for forecaster in forecasters:
        if isinstance(forecaster, Stored) and len(forecaster.by_session) < len(sessions) - 1:
            silent = [session for session in sessions[:-1] if session not in forecaster.by_session]
            yield (
                f"{forecaster.name}: no forecast as of {len(silent)} of {len(sessions) - 1} sessions, "
                f"the first {silent[0]}: it abstains"
            )
        if isinstance(forecaster, BestFourPoint):
            yield f"{forecaster.name}: one draw among many equal buys; another draw gives quite another line"
    for name in dict.fromkeys(run.forecaster for run in runs[:-1]):
        if not any(run.fills for run in runs if run.forecaster == name):
            yield f"{name}: no trade under any fill rule: {_why_idle(run for run in runs if run.forecaster == name)}"
    yield from hole_notes(history, sessions)
    yield "the stocks are those of today's list: one that vanished is not in it, which flatters every line, holding too"


def _dividend_notes(config: Config, loaded: Loaded, market: Tape) -> Iterator[str]:
    """What came of ex-dates."""
    count = len(loaded.events)
    if not count:
        yield "no ex-dates are stored of these sessions: dividends are counted neither in the runs nor in buy-and-hold"
    elif not config.broker.pays_dividends:
        yield (
            f"{count} ex-dates set the reference price only: `broker.dividends` says that nothing is paid, neither in "
            "the runs nor in buy-and-hold"
        )
    else:
        guessed = int((market.share_ratio_e8 != ONE_E8).sum())
        told = f"; {guessed} of them by new shares, as the fall of the price tells" if guessed else ""
        yield f"{count} ex-dates are counted, in the runs and in buy-and-hold{told}"


def _why_idle(runs: Iterable[PlayedRun]) -> str:
    """Why nothing traded, in words."""
    ordered = sum(run.order_count for run in runs)
    return f"none of its {ordered} orders was filled" if ordered else "it never promised enough to pay the costs"
