"""What `twtrader train dataset` does: gather, put each example on its side, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from pathlib import Path

from bot.config import TAIPEI, Config
from bot.core.prompt import COLUMNS, FIELDS
from bot.errors import Refused
from bot.universe import load_universe
from training.analysis import PAST_CLOSES, WEEK_SESSIONS
from training.corpora import load_as
from training.cuts import Cuts, cuts_of
from training.dataset import Manifest, Source, write_dataset
from training.examples import Context, News, Pair, PriceExamples, analysis_examples, mood_examples, price_examples
from training.labelled import Corpus, corpus_of, read_labelled
from training.market_data import Market, headlines_in, headlines_in_store, market_in_folder, market_in_store
from training.records import Form
from training.teacher_file import Told, read_told
from training.windows import Window

PRICE_LICENCE = "daily quotes of TWSE and TPEx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What was asked for; each field is the option of its name."""

    out: Path
    data: Path | None = None
    windows: tuple[Window, ...] = ()
    columns: tuple[str, ...] = FIELDS
    headlines: Path | None = None
    context: Context = "none"
    masked: bool = False
    analysis: bool = False
    teacher: Path | None = None
    corpora: tuple[str, ...] = ()
    texts: Path | None = None
    labelled: Path | None = None
    labelled_test: Path | None = None
    valid_share: float = 0.1
    text_column: str = "text"
    label_column: str = "label"
    cut: date | None = None
    valid_until: date | None = None
    since: date = date.min
    until: date = date.max
    embargo: int = 0
    stride: int = 1
    most: int = 0
    seed: int = 42
    form: Form = "pairs"

    @property
    def longest_answer(self) -> int:
        """Sessions of the longest answer among the examples."""
        weeks = WEEK_SESSIONS if self.analysis else 0
        return max([weeks, *(window.future for window in self.windows)])

    @property
    def reach(self) -> int:
        """Most bars of a window, both sides."""
        weeks = PAST_CLOSES + WEEK_SESSIONS
        return max([weeks, *(window.past + window.future for window in self.windows)])


def make_dataset(config: Config, job: Job) -> Manifest:
    """Write the dataset of `job`.

    Raises:
        Refused: before anything is written: an option, a file, a cut or an empty side is wrong.
    """
    _check(job)
    told = read_told(job.teacher) if job.teacher else Told()
    corpora, times = _corpora(job)
    sources: list[Source] = []
    cuts: Cuts | None = None
    parts: list[Iterator[Iterator[Pair]]] = []
    if job.windows or job.analysis or told.moods:
        market = market_of(config, job.data, job.since, job.until, job.reach)
        cuts = cuts_of(market.sessions, job.cut, job.valid_until, job.embargo or job.longest_answer)
        needs_news = job.context != "none" or job.analysis
        news = news_of(config, job.headlines, job.data, market) if needs_news else None
        parts.append(_dated(job, market, cuts, news, told, sources))
    invented = told.corpus
    corpora += [invented] if invented else []
    parts.append(_moods(job, cuts, corpora, times, told, sources))
    records = chain.from_iterable(chain.from_iterable(parts))
    manifest = Manifest(
        form=job.form,
        made=datetime.now(TAIPEI),
        cuts=cuts,
        columns=job.columns,
        windows=tuple((one.past, one.future) for one in job.windows),
        masked=job.masked,
        context=job.context,
        stride=job.stride,
        most=job.most,
        seed=job.seed,
        sources=(),
    )
    return write_dataset(job.out, records, manifest, lambda: tuple(sources))


def _dated(
    job: Job, market: Market, cuts: Cuts, news: News | None, told: Told, sources: list[Source]
) -> Iterator[Iterator[Pair]]:
    """Examples of prices and weeks; a source is complete when its examples have been read to the end."""
    if job.windows:
        left_out: Counter[str] = Counter()
        wanted = PriceExamples(
            windows=job.windows,
            columns=job.columns,
            context=job.context,
            stride=job.stride,
            most=job.most,
            seed=job.seed,
            masked=job.masked,
        )
        sources.append(Source(name=market.source, licence=PRICE_LICENCE, left_out=left_out))
        yield price_examples(market, wanted, cuts, news, left_out)
    if job.analysis:
        left_out = Counter()
        sources.append(Source(name=f"weeks of {market.source}", licence=PRICE_LICENCE, left_out=left_out))
        yield analysis_examples(
            market, news, cuts, told.analyses, source=told.source, language=told.language, left_out=left_out
        )


def _moods(
    job: Job, cuts: Cuts | None, corpora: list[Corpus], times: dict[str, int], told: Told, sources: list[Source]
) -> Iterator[Iterator[Pair]]:
    """Examples of headlines; without `cuts` there is no dated one among them."""
    if corpora or told.moods:
        left_out: Counter[str] = Counter()
        sources.extend(_corpus_source(corpus) for corpus in corpora)
        name = " and ".join([*(one.name for one in corpora), *([told.source] if told.moods else [])])
        sources.append(Source(name=f"moods of {name}", licence="as above", left_out=left_out))
        yield mood_examples(corpora, told.moods, cuts, job.seed, left_out, valid_share=job.valid_share, times=times)


def _corpus_source(corpus: Corpus) -> Source:
    lost = corpus.removed
    left_out = {"in its test side": lost.in_test, "repeated": lost.repeated, "with two labels": lost.contradicted}
    return Source(name=corpus.name, licence=corpus.licence, left_out=left_out)


def _check(job: Job) -> None:
    """Refuse what can't be right before a file is read."""
    if job.out.exists():
        raise Refused(f"{job.out} exists already")
    if not (job.windows or job.analysis or job.corpora or job.labelled or job.teacher):
        raise Refused("nothing to make examples of: give --windows, --analysis, --corpora, --labelled or --teacher")
    if not job.columns or list(job.columns) != [one for one in COLUMNS if one in job.columns]:
        raise Refused(f"--columns {','.join(job.columns)}: some of {','.join(COLUMNS)} are wanted, in this order")
    if job.embargo and job.embargo < job.longest_answer:
        raise Refused(f"--embargo {job.embargo} is shorter than the longest answer, {job.longest_answer} sessions")
    if not 0 < job.valid_share < 1:
        raise Refused(f"--valid-share {job.valid_share} is no share between 0 and 1")
    if (job.labelled is None) != (job.labelled_test is None):
        raise Refused("--labelled and --labelled-test go together: what is tested on must be told apart")


def _corpora(job: Job) -> tuple[list[Corpus], dict[str, int]]:
    """The corpora that were asked for, and the user's own as the last; and how often each is to be read, by name."""
    loaded = [load_as(name, job.texts) for name in job.corpora]
    found = [corpus for corpus, _ in loaded]
    for part in found:
        if sum(corpus.name == part.name for corpus in found) > 1:
            raise Refused(f"--corpora names {part.name} twice: `{part.name}*2` reads it twice, and tests on it once")
    if any(corpus.name == "own" for corpus in found) and any(corpus.name.startswith("own_") for corpus in found):
        raise Refused("--corpora: own holds own_zh and own_en already")
    if job.labelled and job.labelled_test:
        columns = {"text": job.text_column, "label": job.label_column}
        train, test = (read_labelled(path, **columns) for path in (job.labelled, job.labelled_test))
        found.append(corpus_of(job.labelled.stem, train, test))
    return found, {corpus.name: times for corpus, times in loaded}


def market_of(config: Config, data: Path | None, since: date, until: date, reach: int) -> Market:
    """The universe's bars from a folder, or from the database."""
    companies = load_universe(config.universe)
    if data is not None:
        return market_in_folder(data, companies, since, until, reach)
    return market_in_store(config.store.path, companies, since, until, reach)


def news_of(config: Config, headlines: Path | None, data: Path | None, market: Market) -> News | None:
    """Headlines as a question at the forecast's hour knows them; None where bars come from files and there are none."""
    symbols = {stock.symbol for stock in market.stocks}
    if headlines is None and data is not None:
        return None
    return news_in(config, headlines, symbols)


def news_in(config: Config, headlines: Path | None, symbols: Collection[str]) -> News:
    """Headlines about `symbols` from a CSV, a folder of such or the database, as the forecast's hour knows them."""
    return News(
        headlines=headlines_in(headlines, symbols) if headlines else headlines_in_store(config.store.path, symbols),
        asked_at=config.timetable.at("forecast"),
        lookback_days=config.feeds.newsapi.lookback_days,
    )
