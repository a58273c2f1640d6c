"""`twtrader train evaluate`: an adapter beside its base. Heavy things are imported inside the command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.dataset_cli import day_of

if TYPE_CHECKING:
    from bot.config import Config
    from bot.ports import Engine
    from training.evaluate import Evaluated, MoodSet

QUESTIONS = 1_000
STEADY = 200

BaseOption = Annotated[str, typer.Option(help="The base; else as `model.name` says.")]
CorpusOption = Annotated[
    list[str] | None,
    typer.Option("--corpus", help="fpb900, fpb, tfns, fiqa, hard, or a labelled CSV, JSON or JSONL; may be repeated."),
]
TextsOption = Annotated[Path | None, typer.Option(help="The folder of the published corpora.")]
TextColumn = Annotated[str, typer.Option(help="The column of the text in your files.")]
LabelColumn = Annotated[str, typer.Option(help="The column of the label.")]
DatasetOption = Annotated[
    Path | None, typer.Option(help="What the adapter learned from: its test headlines are asked, taught ones refused.")
]
DataOption = Annotated[Path | None, typer.Option(help="Bars from this folder of CODE.csv files.")]
StoreOption = Annotated[bool, typer.Option("--store", help="Bars from the database.")]
PastOption = Annotated[int, typer.Option(min=0, help="Bars in a question; 0 = as `model.past_sessions` says.")]
FutureOption = Annotated[int, typer.Option(min=0, help="Bars in an answer; 0 = as `model.future_sessions` says.")]
QuestionsOption = Annotated[int, typer.Option(min=0, help="About so many price questions; 0 = all unseen ones.")]
SteadyOption = Annotated[int, typer.Option(min=0, help="Questions and headlines asked again alone and unmerged.")]
BaselinesOption = Annotated[bool, typer.Option(help="Train an LSTM and boosted trees on the same cut.")]
SinceOption = Annotated[str, typer.Option(help="Ask about no day before this one.")]
UntilOption = Annotated[str, typer.Option(help="Ask about no day after this one.")]
HeadlinesOption = Annotated[
    Path | None, typer.Option(help="Tell what was known of the headlines in this CSV (time, title) or folder.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write evaluation.json and CSV files into this folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks to be evaluated."""

    adapter: Path
    base: str
    corpora: tuple[str, ...]
    texts: Path | None
    text_column: str
    label_column: str
    dataset: Path | None
    data: Path | None
    store: bool
    past: int
    future: int
    questions: int
    steady: int
    baselines: bool
    since: date = date.min
    until: date = date.max
    headlines: Path | None = None


def evaluate_command(
    context: typer.Context,
    adapter: Annotated[Path, typer.Option("--adapter", help="The adapter's folder.")],
    base: BaseOption = "",
    corpus: CorpusOption = None,
    texts: TextsOption = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    dataset: DatasetOption = None,
    data: DataOption = None,
    store: StoreOption = False,
    past: PastOption = 0,
    future: FutureOption = 0,
    questions: QuestionsOption = QUESTIONS,
    steady: SteadyOption = STEADY,
    baselines: BaselinesOption = True,
    since: SinceOption = "",
    until: UntilOption = "",
    headlines: HeadlinesOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Base and adapter side by side on what neither has seen: headlines, forecasts, baselines, steadiness."""
    from rich.console import Console

    from training.evaluate_view import show
    from training.evaluation import facts

    wanted = Wanted(
        adapter=adapter,
        base=base,
        corpora=tuple(corpus or ()),
        texts=texts,
        text_column=text_column,
        label_column=label_column,
        dataset=dataset,
        data=data,
        store=store,
        past=past,
        future=future,
        questions=questions,
        steady=steady,
        baselines=baselines,
        since=day_of(since) or date.min,
        until=day_of(until) or date.max,
        headlines=headlines,
    )
    told, _ = run_evaluation(config_for(context, base), wanted, out)
    if as_json:
        typer.echo(_json(facts(told.evaluation)))
    else:
        show(told.evaluation, Console())


def config_for(context: typer.Context, base: str) -> Config:
    """The configuration, with the base that the command line names."""
    from bot.config import load_config

    config = load_config(context.obj or Path("config.toml"))
    return replace(config, model=replace(config.model, name=base)) if base else config


def adapter_folder(config: Config, told: Path) -> Path:
    """The adapter's folder: `told`, or the one of that name in models/adapters/; "promoted" is whichever is live.

    Raises:
        Refused: there is none.
    """
    from bot.adapters.adapter_store import find_adapter
    from bot.errors import Refused

    folder = find_adapter(replace(config.model, adapter=str(told)))
    if folder is None:
        raise Refused(f"{told}: no adapter is live")
    return folder


def run_evaluation(config: Config, wanted: Wanted, out: Path | None) -> tuple[Evaluated, list[MoodSet]]:
    """Evaluate what is wanted, and write its files into `out` if it is told.

    Raises:
        Refused, DataMissing: something wanted is not there; before a model is loaded, as far as that can be seen.
        EngineFailed: a model gave no answer.
    """
    from rich.console import Console

    from bot.adapters.adapter_store import read_adapter
    from training.evaluate import evaluate
    from training.evaluate_files import check_writable, write_files
    from training.evaluate_sets import check_cut, mood_sets, price_set

    folder = adapter_folder(config, wanted.adapter)
    manifest = read_adapter(folder)
    if out:
        check_writable(out)
    if wanted.dataset:
        check_cut(wanted.dataset, manifest)
    sets = mood_sets(
        wanted.corpora,
        texts=wanted.texts,
        dataset=wanted.dataset,
        text_column=wanted.text_column,
        label_column=wanted.label_column,
    )
    prices = None
    if wanted.data or wanted.store:
        prices = price_set(
            config,
            manifest,
            wanted.data,
            past=wanted.past or config.model.past_sessions,
            future=wanted.future or config.model.future_sessions,
            most=wanted.questions,
            baselines=wanted.baselines,
            since=wanted.since,
            until=wanted.until,
            headlines=wanted.headlines,
        )
    console = Console(stderr=True)
    with console.status("loading") as status:
        told = evaluate(
            folder,
            config.model,
            moods=sets,
            prices=prices,
            steady=wanted.steady,
            start=_engine,
            say=status.update if console.is_terminal else console.print,
        )
    if out:
        write_files(out, told, sets)
    return told, sets


def _engine(config: object) -> Engine:
    """The engine that the daemon's child process runs, in this process."""
    from transformers.utils import logging

    from bot.adapters.llm_transformers import TransformersEngine
    from bot.config import ModelConfig

    assert isinstance(config, ModelConfig)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return TransformersEngine(config)


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()
