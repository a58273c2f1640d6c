"""`twtrader backtest report`, `runs` and `compare`: stored runs looked at again, without a replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from backtest.stored_run import StoredRun

RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="Its name, or how it begins: see `backtest runs`.")]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def show_run(run: StoredRun, *, as_json: bool) -> None:
    """A stored run on stdout."""
    from backtest.report import facts, print_report

    if as_json:
        typer.echo(json.dumps(facts(run), ensure_ascii=False, indent=2))
    else:
        print_report(run)


def report(
    context: typer.Context,
    run_id: RunId,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write its page to FILE.")] = None,
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Show a stored run again, and write its page again, the same to the byte; nothing is replayed."""
    from backtest.run_command import page_of
    from backtest.stored_run import code_note, find_run, read_run
    from bot.config_file import load_config
    from bot.errors import Refused

    config = load_config(context.obj)
    run = read_run(find_run(config.backtest.reports, run_id))
    show_run(run, as_json=as_json)
    note = code_note(run.facts)
    if note:
        typer.echo(f"note: {note}", err=True)
    if page is not None:
        try:
            page_of(run, config, page)
        except OSError as wrong:
            raise Refused(f"{page}: {wrong.strerror}") from wrong


def runs(context: typer.Context, as_json: Json = False) -> None:  # noqa: FBT002
    """List the stored runs: their days, what the worst fill rule left, and the code they were made by."""
    from backtest.compare import listed, print_runs
    from bot.config_file import load_config

    found = listed(load_config(context.obj).backtest.reports)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print_runs(found)


def compare(
    context: typer.Context,
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="A stored run.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="Another one.")],
    as_json: Json = False,  # noqa: FBT002
) -> None:
    """Say what differs between two stored runs: in what they follow from, and in their figures."""
    from backtest.compare import compared, print_comparison
    from backtest.stored_run import find_run, read_run
    from bot.config_file import load_config

    reports = load_config(context.obj).backtest.reports
    told = compared(read_run(find_run(reports, run_a)), read_run(find_run(reports, run_b)))
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print_comparison(told)
