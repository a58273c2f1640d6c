"""`twtrader backtest ...`: thin; the heavy imports come with the command that needs them."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from backtest.runs_cli import compare, report, runs, show_run
from bot.lazy_commands import lazily

MORE: Final = {
    "sweep": "backtest.sweep_cli:sweep",
    "fill": "backtest.fill_cli:fill",
    "luck": "backtest.luck_cli:luck",
    "quality": "backtest.quality_cli:quality",
    "lookahead": "backtest.luck_cli:lookahead",
    "walk-forward": "backtest.sweep_cli:walk_forward",
}

backtest_app = typer.Typer(
    cls=lazily(MORE), help="Replay the daemon's decisions on history and score them.", no_args_is_help=True
)


class ForecasterName(StrEnum):
    """Whose forecasts are replayed."""

    STORED = "stored"
    NAIVE = "naive"
    BESTFOURPOINT = "bestfourpoint"
    ALL = "all"


@backtest_app.callback()
def backtest() -> None:
    """Replay the daemon's decisions on history and score them."""


@backtest_app.command()
def run(  # noqa: PLR0917
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First session, like 2024-07-01.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last session.")] = None,
    data: Annotated[Path | None, typer.Option(help="Bars from a folder of CODE.csv files, not the store.")] = None,
    forecaster: Annotated[
        ForecasterName, typer.Option(help="Whose forecasts; all: whatever is there.")
    ] = ForecasterName.ALL,
    model: Annotated[str | None, typer.Option(help="Only stored forecasts of models whose name starts so.")] = None,
    vectorbt: Annotated[
        bool, typer.Option("--vectorbt", help="Let vectorbt count the figures (slow to import).")
    ] = False,
    masked_beside: Annotated[
        bool, typer.Option("--masked-beside", help="Score masked answers, too, beside the plain ones.")
    ] = False,
    luck: Annotated[bool, typer.Option("--luck", help="Judge it too, as `backtest luck` does, and keep that.")] = False,
    page: Annotated[bool, typer.Option("--html/--no-html", help="Write report.html, too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Score forecasters under each fill rule of the config, beside buy-and-hold; store the run and its report."""
    from backtest.run import Asked
    from backtest.run_command import run_and_store
    from bot.config_file import load_config

    asked = Asked(
        since=day_option("--from", since),
        until=day_option("--to", until),
        data=data,
        forecaster=forecaster.value,
        model=model,
        vectorbt=vectorbt,
        known_too=True,
        masked_beside=masked_beside,
    )
    config = load_config(context.obj)
    show_run(run_and_store(config, asked, with_luck=luck, with_page=page), as_json=as_json)


backtest_app.command()(report)
backtest_app.command()(runs)
backtest_app.command()(compare)


@backtest_app.command()
def parity(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Play the recorded live days again: the same decision hashes and, by the broker's fill rule, the same book."""
    import json

    from backtest.book_parity import replay_account
    from backtest.parity import check_parity, first_difference, parity_lines
    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config
    from bot.core.rule import SHIPPED
    from bot.errors import Refused
    from bot.strategies.registry import find_strategy

    config = load_config(context.obj)
    strategies = (SHIPPED, find_strategy(config.rules.strategy))
    db = open_for_reading(config.store.path)
    checks = check_parity(db, strategies)
    book = replay_account(db, config, strategies)
    if as_json:
        facts = {"decisions": [check.facts() for check in checks], "book": book.facts()}
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join(parity_lines(checks, book)))
    difference = first_difference(checks) or book.first_difference
    if difference:
        raise Refused(difference)


def day_option(option: str, text: str | None) -> date | None:
    """The date in `text`; what is none is bad usage."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise typer.BadParameter(f"{text!r} is no date like 2024-07-01", param_hint=option) from wrong
