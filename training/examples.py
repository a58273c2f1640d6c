"""Examples: windows of prices, moods of headlines, and analyses with the week that followed, each put on its side.

Everything is asked in the words that the live engine uses (`bot.core.prompt`), of what was known at that moment.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import Final, Literal

from bot.config import TAIPEI
from bot.core.prompt import CONTEXT_LINES, SENTIMENT_SUFFIX, TUNED_MOOD_PREFIX, sentiment_text
from training.analysis import (
    PAST_CLOSES,
    WEEK_SESSIONS,
    Analysis,
    KnownWeek,
    analysis_question,
    answer_of,
    direction,
    label_answer,
    week_label,
)
from training.cuts import Cuts, Split
from training.labelled import Corpus, Labelled, same_text
from training.market_data import Headlines, Market
from training.records import Record
from training.windows import Stock, Window

Context = Literal["none", "known", "only"]

Pair = tuple[Split, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceExamples:
    """Which windows of prices are wanted.

    `context` tells the headlines known at the question: "none", those "known", or "only" windows that have some.
    `stride` takes every so manieth session of the market; `most` is of each side and window, 0 = all of them.
    """

    windows: tuple[Window, ...]
    columns: tuple[str, ...]
    context: Context = "none"
    stride: int = 1
    most: int = 0
    seed: int = 42
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Headlines, and when and how far back a question looks at them: as live at the forecast's hour."""

    headlines: Headlines
    asked_at: time
    lookback_days: int

    def known(self, symbol: str, session: date) -> tuple[str, ...]:
        """The newest headlines that a question on the evening of `session` could tell."""
        moment = datetime.combine(session, self.asked_at, tzinfo=TAIPEI)
        return self.headlines.known(symbol, moment, self.lookback_days)[:CONTEXT_LINES]


def price_examples(
    market: Market, wanted: PriceExamples, cuts: Cuts, news: News | None, left_out: Counter[str]
) -> Iterator[Pair]:
    """Every wanted window of every stock, stock by stock, oldest first; counts in `left_out` what was not taken."""
    chosen = _chosen(market, wanted, cuts, news, left_out)
    for stock in market.stocks:
        for window in wanted.windows:
            for at, split in chosen[stock.symbol, window]:
                yield split, _price_record(stock, at, window, wanted, news)
        stock.forget()


def _price_record(stock: Stock, at: int, window: Window, wanted: PriceExamples, news: News | None) -> Record:
    told = news.known(stock.symbol, stock.session(at)) if news and wanted.context != "none" else ()
    return Record(
        kind="prices",
        input=stock.question(at, window, context=told, masked=wanted.masked, columns=wanted.columns),
        output=stock.answer(at, window),
        symbol=stock.symbol,
        as_of=stock.session(at),
        answer_until=stock.session(at + window.future),
        source=f"prices {window}",
    )


Places = dict[tuple[str, Window], list[tuple[int, Split]]]


def _chosen(market: Market, wanted: PriceExamples, cuts: Cuts, news: News | None, left_out: Counter[str]) -> Places:
    """The windows to write, by stock and window; where there are more than `most`, drawn with the seed."""
    places: Places = {}
    found: dict[tuple[Window, Split], list[tuple[str, int]]] = {}
    for stock in market.stocks:
        for window in wanted.windows:
            places[stock.symbol, window] = []
            for at, split in _places(stock, window, wanted, cuts, news, left_out):
                found.setdefault((window, split), []).append((stock.symbol, at))
        stock.forget()
    draw = random.Random(wanted.seed)  # noqa: S311  (a sample, no secret)
    for (window, split), all_of_them in found.items():
        kept = all_of_them
        if wanted.most and len(all_of_them) > wanted.most:
            kept = draw.sample(all_of_them, wanted.most)
            left_out["beyond the most"] += len(all_of_them) - len(kept)
        for symbol, at in kept:
            places[symbol, window].append((at, split))
    for of_stock in places.values():
        of_stock.sort()
    return places


def _places(
    stock: Stock, window: Window, wanted: PriceExamples, cuts: Cuts, news: News | None, left_out: Counter[str]
) -> Iterator[tuple[int, Split]]:
    """The windows of one stock that are whole, on the stride, and on one side of the cut."""
    fitting = 0
    for at in stock.windows(window):
        fitting += 1
        if stock.places[at] % wanted.stride:
            left_out["off the stride"] += 1
            continue
        split = cuts.split_of(stock.session(at), stock.session(at + window.future))
        if split is None:
            left_out["across a cut or in the embargo"] += 1
        elif wanted.context == "only" and not (news and news.known(stock.symbol, stock.session(at))):
            left_out["without a known headline"] += 1
        else:
            yield at, split
    left_out["over a hole, a missing ex-date or a change of the limit"] += (
        max(0, len(stock.bars) - window.past - window.future + 1) - fitting
    )


# --- moods ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """A labelled headline with its day, from a teacher or a person."""

    text: str
    label: str
    day: date
    source: str


def mood_record(text: str, label: str, source: str, day: date | None = None) -> Record:
    """A headline and its mood, asked as a tuned model is asked live; with a day it is known from then on."""
    return Record(
        kind="mood",
        input=TUNED_MOOD_PREFIX + sentiment_text(text),
        output=f" {label}",
        as_of=day,
        answer_until=day,
        label=label,
        source=source,
    )


def headline_of(record: Record) -> str:
    """The headline that a mood's question is about."""
    return record.input.removeprefix(TUNED_MOOD_PREFIX).removesuffix(SENTIMENT_SUFFIX).strip()


def mood_examples(
    corpora: Sequence[Corpus],
    dated: Sequence[Dated],
    cuts: Cuts | None,
    seed: int,
    left_out: Counter[str],
    *,
    valid_share: float = 0.1,
    times: Mapping[str, int] | None = None,
) -> Iterator[Pair]:
    """Test sides as they are; of the train sides every text, without any text that stands in any test side.

    A corpus brings its own texts for validation, or `valid_share` of its train texts goes there, chosen by a hash of
    seed and text, so that a text stays where it is when other corpora join. Dated ones go where their day belongs.
    `times` says by a corpus's name how often each of its train texts is to be read; once where it says nothing.
    """
    tested: set[str] = set()
    learned: list[Pair] = []
    for split, record in _readable(_dated_moods(dated, cuts, left_out), left_out):
        if split != "test":
            learned.append((split, record))
        elif _key(record) not in tested:
            tested.add(_key(record))
            yield split, record
    for corpus in corpora:
        for one in corpus.train:
            side: Split = "train" if corpus.valid else _undated_split(one, seed, valid_share)
            learned.append((side, mood_record(one.text, one.label, corpus.name)))
        learned += [("valid", mood_record(one.text, one.label, corpus.name)) for one in corpus.valid]
        for one in corpus.test:
            record = mood_record(one.text, one.label, corpus.name)
            tested.add(_key(record))
            yield "test", record
    for split, record in _agreed(learned, tested, left_out):
        for _ in range((times or {}).get(record.source, 1) if split == "train" else 1):
            yield split, record


def _agreed(pairs: Sequence[Pair], tested: set[str], left_out: Counter[str]) -> Iterator[Pair]:
    """Each text once; none that is tested, none that stands there with two labels, none with nothing to read."""
    pairs = list(_readable(pairs, left_out))
    labels: dict[str, set[str | None]] = {}
    for _, record in pairs:
        labels.setdefault(_key(record), set()).add(record.label)
    seen: set[str] = set()
    for split, record in pairs:
        key = _key(record)
        if key in tested:
            left_out["in a test side"] += 1
        elif len(labels[key]) > 1:
            left_out["with two labels"] += 1
        elif key in seen:
            left_out["repeated"] += 1
        else:
            seen.add(key)
            yield split, record


def _readable(pairs: Iterable[Pair], left_out: Counter[str]) -> Iterator[Pair]:
    """All but lone links: nothing is asked of one, live neither."""
    for split, record in pairs:
        if record.input == _MUTE:
            left_out["with nothing to read"] += 1
        else:
            yield split, record


_MUTE: Final = TUNED_MOOD_PREFIX + sentiment_text("")


def _key(record: Record) -> str:
    """By what a mood's texts are the same: the question as it is asked, cut to the length that is read."""
    return same_text(record.input)


def _dated_moods(dated: Sequence[Dated], cuts: Cuts | None, left_out: Counter[str]) -> Iterator[Pair]:
    for one in dated:
        split = cuts.split_of(one.day, one.day) if cuts else None
        if split is None:
            left_out["in the embargo"] += 1
        else:
            yield split, mood_record(one.text, one.label, one.source, one.day)


def _undated_split(one: Labelled, seed: int, valid_share: float) -> Split:
    digest = hashlib.sha256(f"{seed}:{same_text(one.text)}".encode()).digest()
    return "valid" if int.from_bytes(digest[:4]) < valid_share * 2**32 else "train"


# --- analyses ------------------------------------------------------------------------------------------------------


def known_week(stock: Stock, at: int, news: News | None) -> KnownWeek | None:
    """What was known of `stock` after bar `at`; None where there is too little of it, or a hole in it."""
    begin = at - PAST_CLOSES + 1
    if begin < 0 or stock.places[at] - stock.places[begin] != at - begin:
        return None
    session = stock.session(at)
    return KnownWeek(
        symbol=stock.symbol,
        name=stock.name,
        as_of=session,
        closes_x100=tuple(stock.closes_x100(at, PAST_CLOSES)),
        headlines=news.known(stock.symbol, session) if news else (),
    )


def known_weeks(
    market: Market, news: News | None, stride: int, also: Container[tuple[str, date]] = ()
) -> Iterator[tuple[Stock, int, KnownWeek]]:
    """Every so manieth session's week of every stock, and `also` those of these stocks and days."""
    for stock in market.stocks:
        for at in range(len(stock.bars)):
            if stock.places[at] % stride == 0 or (stock.symbol, stock.session(at)) in also:
                week = known_week(stock, at, news)
                if week is not None:
                    yield stock, at, week


def analysis_examples(
    market: Market,
    news: News | None,
    cuts: Cuts,
    told: Mapping[tuple[str, date], Analysis],
    *,
    stride: int = WEEK_SESSIONS,
    source: str = "weeks",
    language: str = "en",
    left_out: Counter[str],
) -> Iterator[Pair]:
    """Questions on every so manieth week, and on those a teacher answered; the move that followed is the label.

    A teacher was not told the outcome. Where its prediction went the other way, its reasons argue for what did not
    come true: they are left out, and what speaks for and against the price stays.
    """
    window = Window(PAST_CLOSES, WEEK_SESSIONS)
    for stock, at, week in known_weeks(market, news, stride, told):
        if not stock.is_whole(at, window):
            left_out["no whole week follows"] += 1
            continue
        until = stock.session(at + WEEK_SESSIONS)
        split = cuts.split_of(week.as_of, until)
        if split is None:
            left_out["across a cut or in the embargo"] += 1
            continue
        label = week_label(*stock.move_x100(at, WEEK_SESSIONS))
        analysis = told.get((week.symbol, week.as_of))
        yield (
            split,
            Record(
                kind="analysis",
                input=analysis_question(week),
                output=label_answer(label) if analysis is None else answer_of(with_outcome(analysis, label), language),
                symbol=week.symbol,
                as_of=week.as_of,
                answer_until=until,
                label=label,
                source="weeks" if analysis is None else source,
            ),
        )


def with_outcome(analysis: Analysis, label: str) -> Analysis:
    """`analysis` with the label that came true; its reasons only where they argued for the same direction."""
    agrees = direction(analysis.label) == direction(label)
    return replace(analysis, label=label, text=analysis.text if agrees else "")
