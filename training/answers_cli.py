"""`twtrader train answers`: what a base and its adapter write in free text, side by side. Heavy things wait inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.errors import Refused
from training.dataset_cli import config_of_context

if TYPE_CHECKING:
    from training.answers import Answered

KINDS = ("analysis", "mood", "prices")


def answers_command(
    context: typer.Context,
    adapter: Annotated[Path, typer.Option("--adapter", help="The adapter's folder, or its name in models/adapters/.")],
    dataset: Annotated[Path, typer.Option(help="Its test side is asked.")],
    base: Annotated[str, typer.Option(help="The base; else as `model.name` says.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Questions, spread evenly over the test side.")] = 5,
    kind: Annotated[str, typer.Option(help="analysis, mood or prices.")] = "analysis",
    tokens: Annotated[int, typer.Option(min=1, help="The longest answer.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Ask base and adapter the same questions, and show both answers beside what came true."""
    from bot.adapters.adapter_store import read_adapter_manifest
    from training.dataset import read_dataset
    from training.evaluate_cli import adapter_folder

    if kind not in KINDS:
        raise Refused(f"--kind {kind}: one of {', '.join(KINDS)} is wanted")
    config = config_of_context(context)
    if base:
        config = replace(config, model=replace(config.model, name=base))
    folder = adapter_folder(config, adapter)
    records = [one for one in read_dataset(dataset).test if one.kind == kind]
    if not records:
        raise Refused(f"{dataset}: no {kind} question on its test side")
    asked = [records[at * len(records) // count] for at in range(min(count, len(records)))]
    from transformers.utils import logging

    from training.answers import answers_of

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    told = answers_of(config.model, folder, asked, tokens)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(told).decode())
    else:
        _show(told, read_adapter_manifest(folder).name)


def _show(told: list[Answered], name: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("question", "base", name, "came true", show_lines=True)
    for one in told:
        table.add_row(*(Text(text.strip()) for text in (one.question, one.base, one.tuned, one.label or "")))
    console = Console()
    console.print(table)
    known = [one for one in told if one.label]
    for who, said in (("base", [one.base_label for one in known]), (name, [one.tuned_label for one in known])):
        told_any = len(known) - said.count(None)
        right = sum(label == one.label for label, one in zip(said, known, strict=True))
        way = sum(bool(label) and str(label)[0] == str(one.label)[0] for label, one in zip(said, known, strict=True))
        console.print(
            f"{who}: {told_any} of {len(known)} say a label, {right} the right one, {way} its direction",
            soft_wrap=True,
        )
