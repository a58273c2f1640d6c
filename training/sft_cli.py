"""The command `twtrader train sft`, with an option for every knob of `[train]`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import typer

from bot.errors import Refused
from bot.train_config import TrainConfig


def _sft(context: typer.Context, dataset: Path, out: Path, **told: Any) -> None:
    """Fine-tune a model on a dataset (`train dataset` makes one): an adapter, its log and its loss curves.

    Several GPUs: torchrun --nproc-per-node N -m bot train sft ... A killed run goes on when the same is asked again.
    """
    from rich.console import Console

    from bot.config_file import load_config

    config = load_config(context.obj or Path("config.toml"))
    config = dataclasses.replace(config, train=knobs_of(config.train, told))
    from training.sft import run_sft

    made = run_sft(config, dataset, out, Console())
    if made is not None:
        now = made.progress
        best = f", best validation loss {now.best_loss:.4f} at step {now.best_step}" if now.best_step else ""
        typer.echo(f"{made.adapter}: {now.step} steps, {now.tokens_a_second:,.0f} tokens/s{best}")


def knobs_of(train: TrainConfig, told: dict[str, Any]) -> TrainConfig:
    """The knobs of the configuration, with those of the command line in their place.

    Raises:
        Refused: one is out of range.
    """
    changed = {name: value for name, value in told.items() if value is not None}
    if "targets" in changed:
        changed["targets"] = tuple(one.strip() for one in changed["targets"].split(","))
    try:
        return msgspec.convert({**dataclasses.asdict(train), **changed}, TrainConfig)
    except msgspec.ValidationError as wrong:
        raise Refused(f"[train] {wrong}") from wrong


def _with_knobs(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each field of TrainConfig, as typer reads a signature."""
    hints = get_type_hints(TrainConfig)
    options = [_option(field.name, hints[field.name]) for field in dataclasses.fields(TrainConfig)]
    given = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        inspect.Parameter(
            "dataset",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=Annotated[Path, typer.Argument(help="A folder that `train dataset` made.")],
        ),
        inspect.Parameter(
            "out",
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[Path, typer.Option(help="The run's folder; its name becomes the adapter's.")],
        ),
    ]
    told: Any = command
    told.__signature__ = inspect.Signature([*given, *options])
    told.__annotations__ = {one.name: one.annotation for one in (*given, *options)}
    return command


def _option(name: str, kind: Any) -> inspect.Parameter:
    """`--name VALUE`, or `--name/--no-name`; not given means as the configuration says."""
    choices = f" One of: {', '.join(get_args(kind))}." if get_origin(kind) is not tuple and get_args(kind) else ""
    simple = str if get_args(kind) else kind
    words = f"train.{name} of config.toml.{choices}"
    annotation = Annotated[simple | None, typer.Option(help=words, rich_help_panel="Knobs")]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


sft_command = _with_knobs(_sft)
