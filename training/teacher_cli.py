"""`twtrader train teacher`: a larger model writes analyses and labels headlines. Heavy things wait in the command."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.errors import Refused
from training.dataset_cli import config_of_context, day_of

WHAT = ("analyses", "headlines", "invent")


def teacher_command(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="analyses, headlines (label them) or invent (write new ones).")],
    out: Annotated[Path, typer.Option("--out", help="The teacher's file; a run goes on where the last one ended.")],
    data: Annotated[Path | None, typer.Option(help="Bars from a folder of CODE.csv files, not the database.")] = None,
    headlines: Annotated[Path | None, typer.Option(help="Headlines from this CSV (time, title) or folder.")] = None,
    since: Annotated[str, typer.Option(help="Ask as of no day before this one.")] = "",
    until: Annotated[str, typer.Option(help="Ask as of no day after this one.")] = "",
    stride: Annotated[int, typer.Option(min=1, help="Ask after every so manieth session.")] = 5,
    most: Annotated[int, typer.Option(min=0, help="At most so many questions, drawn with --seed; 0 = all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 42,
    language: Annotated[str, typer.Option(help="Of the answers: en or zh-TW.")] = "en",
    url: Annotated[str, typer.Option(help="The server; default: teacher.base_url of the config.")] = "",
    model: Annotated[str, typer.Option(help="The model there; default: teacher.model.")] = "",
    temperature: Annotated[float | None, typer.Option(help="Default: teacher.temperature.")] = None,
    price_in: Annotated[str, typer.Option(help="Of a million tokens read; default: teacher.price_in.")] = "",
    price_out: Annotated[str, typer.Option(help="Of a million tokens written; default: teacher.price_out.")] = "",
    budget: Annotated[str, typer.Option(help="The most that the file may cost in all; 0 = no limit.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Let a teacher answer. It is told what was known on each day and never what came after."""
    from training.teacher_tasks import LANGUAGES

    if what not in WHAT:
        raise Refused(f"{what}: one of {', '.join(WHAT)} is wanted")
    if language not in LANGUAGES:
        raise Refused(f"--language {language}: one of {', '.join(LANGUAGES)} is wanted")
    config = config_of_context(context)
    told: dict[str, Any] = {
        "base_url": url or None,
        "model": model or None,
        "temperature": temperature,
        "price_in": _amount("--price-in", price_in),
        "price_out": _amount("--price-out", price_out),
        "budget": _amount("--budget", budget),
    }
    try:
        teacher = replace(config.teacher, **{name: value for name, value in told.items() if value is not None})
    except ValueError as wrong:
        raise Refused(str(wrong)) from wrong
    from training.teacher_job import Wanted, ask_teacher

    wanted = Wanted(
        what=what,
        data=data,
        headlines=headlines,
        since=day_of(since) or date.min,
        until=day_of(until) or date.max,
        stride=stride,
        most=most,
        seed=seed,
        language=language,
    )
    outcome = ask_teacher(replace(config, teacher=teacher), wanted, out, tell=lambda line: typer.echo(line, err=True))
    _print(outcome, out, as_json=as_json)


def _amount(option: str, text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation as wrong:
        raise Refused(f"{option} {text}: no number") from wrong


def _print(outcome: Any, out: Path, *, as_json: bool) -> None:
    """What the run did; the command fails where the server stopped answering."""
    import msgspec

    if as_json:
        typer.echo(msgspec.json.encode(outcome).decode())
    else:
        typer.echo(
            f"{out}: {outcome.accepted} accepted, {outcome.refused} refused, {outcome.rejected} answers rejected; "
            f"{outcome.tokens_in:,} tokens read and {outcome.tokens_out:,} written so far, cost {outcome.spent}"
        )
    if outcome.left:
        raise Refused(f"{outcome.left} questions are left: {outcome.why}; the same command goes on from here")
