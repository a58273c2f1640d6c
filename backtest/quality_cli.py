"""`twtrader backtest quality`: thin; the heavy imports come with the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backtest.cli import day_option

JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
LONGEST_HORIZON = 250  # sessions, a year


def quality(  # noqa: PLR0917  (typer turns parameters into options)
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First session, like 2024-11-01.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last session.")] = None,
    data: Annotated[Path | None, typer.Option(help="Bars from a folder of CODE.csv files, not the store.")] = None,
    past: Annotated[int | None, typer.Option(min=1, help="Bars in a question; else as the config says.")] = None,
    horizons: Annotated[str, typer.Option(metavar="N,N", help="Sessions ahead that are judged.")] = "1,5,20",
    model: Annotated[str, typer.Option(help="Only stored answers of models whose name starts so.")] = "",
    questions: Annotated[int, typer.Option(min=0, help="Ask the model so many; 0: the stored answers alone.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the sample and of the intervals.")] = 1,
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """What forecasts were worth beside last close, drift and BestFourPoint, and whether that may be chance."""
    import json

    from rich.console import Console

    from backtest.quality_run import Asked, judge
    from backtest.quality_view import lines_of
    from bot.config_file import load_config

    config = load_config(context.obj)
    asked = Asked(
        since=day_option("--from", since),
        until=day_option("--to", until),
        data=data,
        past=past or config.model.past_sessions,
        horizons=_horizons(horizons),
        model=model,
        questions=questions,
        seed=seed,
    )
    judged = judge(config, asked, _tell)
    if as_json:
        typer.echo(json.dumps([one.facts() for one in judged], ensure_ascii=False, indent=2))
        return
    console = Console()
    for one in judged:
        for line in lines_of(one):
            console.print(line, highlight=False)


def _horizons(text: str) -> tuple[int, ...]:
    """The numbers in `text`, each once, smallest first; what is none is bad usage."""
    try:
        told = sorted({int(one) for one in text.split(",")})
    except ValueError:
        told = []
    if not told or told[0] < 1 or told[-1] > LONGEST_HORIZON:
        raise typer.BadParameter(f"{text!r} is no list like 1,5,20", param_hint="--horizons")
    return tuple(told)


def _tell(done: int, total: int) -> None:
    """How far the model is, on a terminal."""
    import sys

    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} of {total:,} answered" + ("\n" if done == total else ""))
        sys.stderr.flush()
