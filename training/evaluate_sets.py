"""What an adapter is evaluated on: labelled sets by name or file, and questions about unseen days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from backtest.forecast_cases import Market
from bot.adapters.adapter_store import AdapterManifest
from bot.config import Config
from bot.errors import Refused
from training.corpora import CORPORA, load
from training.dataset import Dataset, read_dataset
from training.dataset_job import news_in
from training.evaluate import MoodSet, PriceSet, unseen_after
from training.evaluation import HARD
from training.examples import headline_of
from training.hard_cases import hard_cases
from training.labelled import Labelled, read_labelled, same_text
from training.unseen import unseen_questions

DATASET: Final = "dataset"


def mood_sets(
    names: Sequence[str],
    *,
    texts: Path | None,
    dataset: Path | None,
    text_column: str = "text",
    label_column: str = "label",
) -> list[MoodSet]:
    """The test sides of the corpora `names`, or the files so named; "hard" are the hard cases, which stand last.

    `texts` is the folder of the published corpora. Of a `dataset` the headlines of its test side come first, and no
    text of a set may be among those that it teaches.

    Raises:
        Refused: an unknown name, a file that can't be read, a name told twice, or a text that was taught.
    """
    told = list(dict.fromkeys(names))
    if len(told) != len(names):
        raise Refused(f"a corpus is named twice: {', '.join(names)}")
    sets = [_set_of(name, texts, text_column, label_column) for name in sorted(told, key=lambda one: one == HARD)]
    if dataset:
        read = read_dataset(dataset)
        tested = _headlines(read, "test")
        _check_untaught(read, sets)
        if tested:
            sets.insert(0, MoodSet(name=DATASET, licence="as its sources", rows=tested))
    return sets


def price_set(
    config: Config,
    manifest: AdapterManifest,
    folder: Path | None,
    *,
    past: int,
    future: int,
    most: int,
    baselines: bool,
    since: date = date.min,
    until: date = date.max,
    headlines: Path | None = None,
) -> PriceSet:
    """Questions after all that base and adapter can know of, from `folder` or, without one, from the store.

    They are asked from `since` to `until`, and tell what was known of `headlines`, a CSV or a folder of such.

    Raises:
        Refused, DataMissing: there are no bars, or none late enough.
    """
    from bot.adapters.twstock_codes import all_companies
    from bot.adapters.twstock_signals import best_four_point
    from bot.known_bars import read_known

    known = read_known(config, folder)
    market = Market.of(known.bars, known.events)
    companies = {one.symbol: one for one in all_companies()}
    after = max(unseen_after(config.model, manifest), since - timedelta(days=1) if since > date.min else since)
    news = news_in(config, headlines, frozenset(market.bars)) if headlines else None
    told = {"past": past, "future": future, "most": most}
    questions = unseen_questions(market, companies, after=after, until=until, news=news.known if news else None, **told)
    return PriceSet(market=market, questions=tuple(questions), baselines=baselines, signal=best_four_point)


def check_cut(dataset: Path, manifest: AdapterManifest) -> None:
    """Refuse a dataset that teaches later days than the adapter admits to.

    Raises:
        Refused: its cut is after `trained_until`.
    """
    cut = read_dataset(dataset).cut
    if cut is not None and cut > manifest.trained_until:
        raise Refused(f"{dataset} teaches until {cut}, adapter {manifest.name} says {manifest.trained_until}")


def _set_of(name: str, texts: Path | None, text_column: str, label_column: str) -> MoodSet:
    if name == HARD:
        return MoodSet(name=HARD, licence="MIT", rows=tuple(one.labelled for one in hard_cases()))
    if name in CORPORA:
        corpus = load(name, texts)
        return MoodSet(name=name, licence=corpus.licence, rows=corpus.test)
    path = Path(name)
    if not path.is_file():
        raise Refused(f"{name!r} is neither a file nor one of {', '.join([*sorted(CORPORA), HARD])}")
    found = read_labelled(path, text=text_column, label=label_column)
    if not found:
        raise Refused(f"{path}: no labelled text in it")
    return MoodSet(name=path.stem, licence="unknown", rows=tuple(found))


def _check_untaught(dataset: Dataset, sets: Sequence[MoodSet]) -> None:
    """Refuse a set with a text that the dataset teaches or chooses by."""
    taught = {same_text(row.text) for side in ("train", "valid") for row in _headlines(dataset, side)}
    for one in sets:
        known = sum(same_text(row.text) in taught for row in one.rows)
        if known:
            raise Refused(f"{one.name}: {known} of {len(one.rows)} texts are in what {dataset.folder} teaches")


def _headlines(dataset: Dataset, side: str) -> tuple[Labelled, ...]:
    """The labelled headlines of one side."""
    records = dataset.records("test" if side == "test" else "valid" if side == "valid" else "train")
    return tuple(Labelled(headline_of(one), one.label) for one in records if one.kind == "mood" and one.label)
