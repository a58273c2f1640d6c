"""`twtrader train evaluate`: an adapter beside its base. Heavy things are imported inside the command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.option_group import with_options
from training.dataset_cli import day_of

if TYPE_CHECKING:
    from bot.config import Config
    from bot.ports import Engine
    from training.evaluate import Evaluated, MoodSet

QUESTIONS = 1_000
STEADY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an adapter is evaluated on: the options that `train evaluate` and `train promote` share."""

    base: Annotated[str, typer.Option(help="The base; else as `model.name` says.")] = ""
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="own, own_zh, own_en, hard, fpb900, fpb, tfns, fiqa, or a labelled file; repeatable."),
    ] = None
    texts: Annotated[Path | None, typer.Option(help="The folder of the published corpora.")] = None
    text_column: Annotated[str, typer.Option(help="The column of the text in your files.")] = "text"
    label_column: Annotated[str, typer.Option(help="The column of the label.")] = "label"
    dataset: Annotated[
        Path | None,
        typer.Option(help="What the adapter learned from: its test headlines are asked, taught ones refused."),
    ] = None
    data: Annotated[Path | None, typer.Option(help="Bars from this folder of CODE.csv files.")] = None
    store: Annotated[bool, typer.Option("--store", help="Bars from the database.")] = False
    questions: Annotated[int, typer.Option(min=0, help="About so many price questions; 0 = all unseen ones.")] = 1_000
    steady: Annotated[int, typer.Option(min=0, help="Questions and headlines asked again alone and unmerged.")] = 200
    out: Annotated[Path | None, typer.Option("--out", help="Write evaluation.json and CSV files into this folder.")] = (
        None
    )

    @property
    def anything(self) -> bool:
        """Whether headlines or prices were named."""
        return bool(self.corpus or self.dataset or self.data or self.store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An evaluation: of which adapter, on what, and which price questions; 0 bars mean as the config says."""

    adapter: Path
    asked: Asked
    past: int = 0
    future: int = 0
    baselines: bool = False
    since: date = date.min
    until: date = date.max
    headlines: Path | None = None


JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


@with_options("asked", Asked)
def evaluate_command(
    context: typer.Context,
    adapter: Annotated[Path, typer.Option("--adapter", help="The adapter's folder.")],
    asked: Asked,
    past: Annotated[int, typer.Option(min=0, help="Bars in a question; 0 = as `model.past_sessions` says.")] = 0,
    future: Annotated[int, typer.Option(min=0, help="Bars in an answer; 0 = as `model.future_sessions` says.")] = 0,
    baselines: Annotated[bool, typer.Option(help="Train an LSTM and boosted trees on the same cut.")] = True,
    since: Annotated[str, typer.Option(help="Ask about no day before this one.")] = "",
    until: Annotated[str, typer.Option(help="Ask about no day after this one.")] = "",
    headlines: Annotated[
        Path | None, typer.Option(help="Tell what was known of the headlines in this CSV (time, title) or folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Base and adapter side by side on what neither has seen: headlines, forecasts, baselines, steadiness."""
    from rich.console import Console

    from training.evaluate_view import show
    from training.evaluation import facts

    wanted = Wanted(
        adapter=adapter,
        asked=asked,
        past=past,
        future=future,
        baselines=baselines,
        since=day_of(since) or date.min,
        until=day_of(until) or date.max,
        headlines=headlines,
    )
    told, _ = run_evaluation(config_for(context, asked.base), wanted)
    if as_json:
        typer.echo(_json(facts(told.evaluation)))
    else:
        show(told.evaluation, Console())


def config_for(context: typer.Context, base: str) -> Config:
    """The configuration, with the base that the command line names."""
    from bot.config_file import load_config

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


def run_evaluation(config: Config, wanted: Wanted) -> tuple[Evaluated, list[MoodSet]]:
    """Evaluate what is wanted, and write its files where a folder is told.

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
    asked = wanted.asked
    if asked.out:
        check_writable(asked.out)
    if asked.dataset:
        check_cut(asked.dataset, manifest)
    sets = mood_sets(
        asked.corpus or (),
        texts=asked.texts,
        dataset=asked.dataset,
        text_column=asked.text_column,
        label_column=asked.label_column,
    )
    prices = None
    if asked.data or asked.store:
        prices = price_set(
            config,
            manifest,
            asked.data,
            past=wanted.past or config.model.past_sessions,
            future=wanted.future or config.model.future_sessions,
            most=asked.questions,
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
            steady=asked.steady,
            start=_engine,
            say=status.update if console.is_terminal else console.print,
        )
    if asked.out:
        write_files(asked.out, told, sets)
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
