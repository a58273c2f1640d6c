"""Base and adapter, the same questions, the engine that trades: answers first, then their scores.

Each is loaded as the daemon would load it, one after the other, so that one model's memory is enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import chain, compress
from pathlib import Path
from typing import Final

from backtest.forecast_cases import Market, Signal, cases_of
from backtest.forecast_quality import DRIFT, FOUR_POINT, LAST_CLOSE, Case, quality
from bot.adapters.adapter_store import WEIGHTS, AdapterManifest, check_base, read_adapter
from bot.adapters.model_store import find_model, read_manifest
from bot.config import ModelConfig
from bot.core.forecast import Forecast, Sentiment
from bot.core.market import is_etf, limit_down_x100, limit_pct_after, limit_up_x100, to_x100
from bot.errors import DataMissing, EngineFailed, Refused
from bot.ports import Engine, Question
from training.baselines import GBM, LSTM, boosted, recurrent, thinned, with_views
from training.evaluation import ADAPTER, BASE, Differing, Evaluation, GroupResult, MoodResult, PriceResult, Steadiness
from training.labelled import Labelled
from training.mood_scores import commonest, paired, rate, score_moods
from training.price_arrays import windows_at, windows_known_by
from training.price_scores import compare_losses, mean_loss

HORIZONS: Final = (1, 5, 20)
Say = Callable[[str], None]
Start = Callable[[ModelConfig], Engine]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodSet:
    """A labelled set that the adapter was not trained on."""

    name: str
    licence: str
    rows: tuple[Labelled, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSet:
    """The market, the questions about days after all that base and adapter know, and whether baselines are trained."""

    market: Market
    questions: tuple[Question, ...]
    baselines: bool = True
    signal: Signal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one model said to everything."""

    model: str
    forecasts: list[Forecast | None]
    moods: list[Sentiment]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """The evaluation, and the answers behind it for the CSV files."""

    evaluation: Evaluation
    base: Answers
    adapter: Answers
    cases: list[Case]


def unseen_after(config: ModelConfig, manifest: AdapterManifest) -> date:
    """The last day that base or adapter can know of: the latest that anything says."""
    known = read_manifest(find_model(config.name, config.folder))
    return max(config.trained_until, manifest.trained_until, known.knowledge_until if known else date.min)


def evaluate(
    folder: Path,
    config: ModelConfig,
    *,
    moods: Sequence[MoodSet],
    prices: PriceSet | None,
    steady: int,
    start: Start,
    say: Say = lambda _: None,
) -> Evaluated:
    """The adapter in `folder` beside the base that `config` names.

    `steady` is how many questions, and as many headlines, are asked again alone and with the adapter lying otherwise.

    Raises:
        Refused: the adapter is damaged, or belongs to another base.
        EngineFailed: a model gave no answer.
    """
    manifest = read_adapter(folder)
    check_base(manifest, find_model(config.name, config.folder))
    questions = prices.questions if prices else ()
    titles = [row.text for one in moods for row in one.rows]
    if not questions and not titles:
        raise Refused("nothing to evaluate on: give --data, or at least one --corpus")
    live = replace(config, adapter=str(folder))
    say(f"base: {len(questions)} questions, {len(titles)} headlines")
    with _running(start, replace(config, adapter="")) as engine:
        base = ask(engine, questions, titles)
    say(f"adapter: {len(questions)} questions, {len(titles)} headlines")
    some, few = _spread(questions, steady), _spread(titles, steady)
    with _running(start, live) as engine:
        adapter = ask(engine, questions, titles)
        say(f"adapter, one at a time: {len(some)} questions, {len(few)} headlines")
        alone = [ask(engine, [questions[at]], []).forecasts[0] for at in some]
        alone_moods = [ask_moods(engine, [titles[at]])[0] for at in few]
    say(f"adapter, {'beside the weights' if live.merge else 'merged'}: the same")
    with _running(start, replace(live, merge=not live.merge)) as engine:
        other = ask(engine, [questions[at] for at in some], [titles[at] for at in few])
    batched, batched_moods = [adapter.forecasts[at] for at in some], [adapter.moods[at] for at in few]
    steadiness = Steadiness(
        merged=differing(batched, other.forecasts, batched_moods, other.moods),
        alone=differing(batched, alone, batched_moods, alone_moods),
    )
    scored: PriceResult | None = None
    cases: list[Case] = []
    if prices:
        say("scores and baselines")
        scored, cases = score_prices(prices, base.forecasts, adapter.forecasts, manifest)
    evaluation = Evaluation(
        adapter=manifest.name,
        weights_sha256=manifest.sha256[WEIGHTS],
        base_model=base.model,
        adapter_model=adapter.model,
        trained_until=manifest.trained_until,
        unseen_after=unseen_after(config, manifest),
        learned_prices=bool(manifest.windows),
        learned_moods=manifest.mood == "tuned",
        made=datetime.now(UTC).replace(microsecond=0),
        seconds={BASE: base.seconds, ADAPTER: adapter.seconds},
        moods=tuple(score_sets(moods, base.moods, adapter.moods)),
        prices=scored,
        steadiness=steadiness,
    )
    return Evaluated(evaluation=evaluation, base=base, adapter=adapter, cases=cases)


def ask(engine: Engine, questions: Sequence[Question], titles: Sequence[str]) -> Answers:
    """Everything at once, in the engine's own batches."""
    began = time.perf_counter()
    forecasts = engine.forecast(questions) if questions else []
    moods = ask_moods(engine, titles)
    return Answers(model=engine.model, forecasts=forecasts, moods=moods, seconds=time.perf_counter() - began)


def ask_moods(engine: Engine, titles: Sequence[str]) -> list[Sentiment]:
    """The mood of every headline.

    Raises:
        EngineFailed: one has none, so that its set can't be scored.
    """
    told = [one for one in engine.sentiment(titles) if one] if titles else []
    if len(told) != len(titles):
        raise EngineFailed(f"{engine.model}: {len(titles) - len(told)} of {len(titles)} headlines got no answer")
    return told


def score_sets(
    sets: Sequence[MoodSet], base: Sequence[Sentiment], adapter: Sequence[Sentiment]
) -> Iterator[MoodResult]:
    """Each set's scores; the answers stand in the order of all sets' rows."""
    begin = 0
    for one in sets:
        labels = [row.label for row in one.rows]
        end = begin + len(labels)
        usual = commonest(labels)
        right = [
            [mood.label == label for mood, label in zip(moods[begin:end], labels, strict=True)]
            for moods in (base, adapter)
        ]
        yield MoodResult(
            corpus=one.name,
            licence=one.licence,
            base=score_moods(labels, base[begin:end]),
            adapter=score_moods(labels, adapter[begin:end]),
            against_base=paired(right[1], right[0]),
            commonest=usual,
            against_commonest=paired(right[1], [label == usual for label in labels]),
            groups=tuple(score_groups([row.groups for row in one.rows], *right)),
        )
        begin = end


def score_groups(
    groups: Sequence[Sequence[str]], base: Sequence[bool], adapter: Sequence[bool]
) -> Iterator[GroupResult]:
    """What each reader got right of each group; all three are told text by text, and a text may be in several."""
    for name in dict.fromkeys(chain.from_iterable(groups)):
        inside = [name in of for of in groups]
        shares = [rate(sum(compress(right, inside)), sum(inside)) for right in (base, adapter)]
        yield GroupResult(group=name, base=shares[0], adapter=shares[1])


def score_prices(
    prices: PriceSet,
    base: Sequence[Forecast | None],
    adapter: Sequence[Forecast | None],
    manifest: AdapterManifest,
) -> tuple[PriceResult, list[Case]]:
    """The forecasts' scores beside the baselines', and the cases that they are of.

    Raises:
        DataMissing: not one question was answered by both.
    """
    questions = prices.questions
    past, future = len(questions[0].bars), questions[0].future_sessions
    told = {name: [one for one in answers if one] for name, answers in ((BASE, base), (ADAPTER, adapter))}
    cases = cases_of(told, prices.market, range(1, future + 1), signal=prices.signal)
    cases = [case for case in cases if {BASE, ADAPTER} <= case.views.keys()]
    if not cases:
        raise DataMissing("no question was answered by both base and adapter")
    names = [BASE, ADAPTER, LAST_CLOSE, DRIFT, *([FOUR_POINT] if prices.signal else [])]
    if prices.baselines:
        cases = _with_baselines(cases, prices, manifest, past, future)
        names += [GBM, LSTM]
    shown = {one for one in HORIZONS if one <= future} | {future}
    days = sorted({one.as_of for one in questions})
    whole = [case for case in cases if all(name in case.views for name in names)]  # one set of cases for all figures
    against = {name: compare_losses(whole, ADAPTER, name) for name in names if name != ADAPTER}
    losses = {name: mean_loss(whole, name) for name in names}
    result = PriceResult(
        past=past,
        future=future,
        first=days[0],
        last=days[-1],
        days=len(days),
        questions=len(questions),
        unanswered={
            name: sum(not is_whole(question, answer) for question, answer in zip(questions, answers, strict=True))
            for name, answers in ((BASE, base), (ADAPTER, adapter))
        },
        losses={name: loss for name, loss in losses.items() if loss is not None},
        against={name: one for name, one in against.items() if one is not None},
        quality=quality([case for case in cases if case.horizon in shown], names),
    )
    return result, cases


def is_whole(question: Question, answer: Forecast | None) -> bool:
    """Whether every session asked for is answered, with prices that hold together inside the daily limits."""
    if answer is None or len(answer.bars) != question.future_sessions:
        return False
    symbol, pct = question.company.symbol, limit_pct_after(question.as_of)
    before = to_x100(question.bars[-1].close)
    for bar in answer.bars:
        low, high = limit_down_x100(before, is_etf(symbol), pct), limit_up_x100(before, is_etf(symbol), pct)
        prices = [to_x100(price) for price in (bar.low, bar.open, bar.close, bar.high)]
        if not (low <= prices[0] <= min(prices[1:3]) <= max(prices[1:3]) <= prices[3] <= high):
            return False
        before = prices[2]
    return True


def differing(
    first: Sequence[Forecast | None],
    second: Sequence[Forecast | None],
    moods: Sequence[Sentiment] = (),
    other_moods: Sequence[Sentiment] = (),
) -> Differing:
    """How many answers are not the same: a forecast in any price of its bars, a headline in its label."""
    bars = [(one and one.bars) != (other and other.bars) for one, other in zip(first, second, strict=True)]
    labels = [one.label != other.label for one, other in zip(moods, other_moods, strict=True)]
    return Differing(count=len(bars) + len(labels), differ=sum(bars) + sum(labels))


def _with_baselines(
    cases: list[Case], prices: PriceSet, manifest: AdapterManifest, past: int, future: int
) -> list[Case]:
    """The cases with trees and LSTM beside, which learn from windows whose answers the adapter could know too."""
    train = thinned(windows_known_by(prices.market, cut=manifest.trained_until, past=past, future=future))
    keys = [(one.company.symbol, one.as_of) for one in prices.questions]
    asked = windows_at(prices.market, keys, past=past, future=future)
    for name, learn in ((GBM, boosted), (LSTM, recurrent)):
        cases = with_views(cases, name, learn(train, asked, seed=1), keys)
    return cases


def _spread(items: Sequence[object], most: int) -> list[int]:
    """Places of at most `most` of `items`, evenly over them."""
    count = min(most, len(items))
    return [at * len(items) // count for at in range(count)]


@contextmanager
def _running(start: Start, config: ModelConfig) -> Iterator[Engine]:
    """The engine, given back whatever happens."""
    engine = start(config)
    try:
        yield engine
    finally:
        engine.close()
