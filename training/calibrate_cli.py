"""`twtrader train calibrate`: how surely an adapter reads headlines. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.evaluate_cli import JsonOption, adapter_folder, config_for

if TYPE_CHECKING:
    from training.calibrate import Calibrated


def calibrate_command(
    context: typer.Context,
    adapter: Annotated[Path, typer.Argument(help="The adapter's folder.")],
    dataset: Annotated[Path, typer.Option(help="What it learned from: the headlines of its valid side are asked.")],
    base: Annotated[str, typer.Option(help="The base; else as `model.name` says.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Fit how surely an adapter reads headlines, on validation texts; no label changes, its name in answers does."""
    from training.calibrate import calibrate, mood_scores

    config = config_for(context, base)
    told = calibrate(adapter_folder(config, adapter), dataset, config.model, mood_scores)
    if as_json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        _show(told)


def _show(told: Calibrated) -> None:
    """A line a source, their mean, and what is not known."""
    from rich.console import Console
    from rich.table import Table

    table = Table("source", "texts", "right", "NLL before", "after", "ECE before", "after", title=told.adapter)
    for one in told.parts:
        figures = (one.before.loss, one.after.loss, one.before.error, one.after.error)
        table.add_row(one.source, f"{one.texts:,}", f"{one.after.accuracy:.1%}", *(f"{each:.4f}" for each in figures))
    if len(told.parts) > 1:
        pairs = [(one.before.loss, one.after.loss, one.before.error, one.after.error) for one in told.parts]
        means = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        right = sum(one.after.accuracy for one in told.parts) / len(pairs)
        texts = sum(one.texts for one in told.parts)
        table.add_row("mean of sources", f"{texts:,}", f"{right:.1%}", *(f"{each:.4f}" for each in means))
    Console().print(table)
    typer.echo(f"mood_temperature {told.temperature:g}, was {told.before:g}; written into adapter.json")
    if told.unknown:
        typer.echo(f"unknown: {told.unknown}")
