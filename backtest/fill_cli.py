"""`twtrader backtest fill`: thin; the heavy imports come with the command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from backtest.cli import day_option

if TYPE_CHECKING:
    from backtest.fill import Filled

MaskedOption = Annotated[bool, typer.Option("--masked", help="Hide name, code and day from the model.")]
NewsOption = Annotated[bool, typer.Option("--news/--no-news", help="Score the archive's headlines, too.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def fill(  # noqa: PLR0917  (typer turns parameters into options)
    context: typer.Context,
    since: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First session, like 2024-07-01.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last session.")] = None,
    data: Annotated[Path | None, typer.Option(help="Bars from a folder of CODE.csv files, not the store.")] = None,
    symbols: Annotated[str, typer.Option(metavar="CODES", help="Only these stocks, like 2330,2317.")] = "",
    past: Annotated[int | None, typer.Option(min=1, help="Bars in a question; else as the config says.")] = None,
    future: Annotated[int | None, typer.Option(min=1, help="Bars in an answer; else as the config says.")] = None,
    masked: MaskedOption = False,  # noqa: FBT002
    batch: Annotated[int, typer.Option(min=0, help="Questions asked and stored together; 0: some seconds' worth.")] = 0,
    news: NewsOption = True,  # noqa: FBT002
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """Ask the model what it would have said on past sessions; stop it at any time, it goes on from there."""
    import json

    from backtest.fill import Wanted
    from backtest.fill import fill as fill_history
    from bot.config_file import load_config
    from bot.errors import Refused

    wanted = Wanted(
        since=day_option("--from", since),
        until=day_option("--to", until),
        data=data,
        symbols=tuple(dict.fromkeys(code.strip() for code in symbols.split(",") if code.strip())),
        past_sessions=past,
        future_sessions=future,
        masked=masked,
        batch=batch,
        news=news,
    )
    with _screen() as progress:
        filled = fill_history(load_config(context.obj), wanted, progress)
    if as_json:
        typer.echo(json.dumps(filled.facts(), ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join(fill_lines(filled)))
    if filled.stopped:
        raise Refused(f"stopped: {filled.stopped}; what was answered is stored, the same command goes on from there")


def fill_lines(filled: Filled) -> list[str]:
    """What a fill came to, in plain words."""
    kind = " masked" if filled.masked else ""
    window = f"{filled.past_sessions} past and {filled.future_sessions} future sessions"
    speed = f" in {filled.seconds:.1f} s, {filled.made / filled.seconds:,.1f} a second" if filled.made else ""
    tokens = f", {filled.tokens:,} tokens" if filled.tokens else ""
    lines = [
        f"{filled.model}: {filled.stocks} stocks, {filled.since}..{filled.until}, {window}",
        f"{filled.asked:,}{kind} questions: {filled.made:,} answered now{speed}{tokens}; {filled.there:,} were there; "
        f"{filled.abstained:,} abstained" + (f"; {filled.left:,} left" if filled.left else ""),
    ]
    lines += [f"abstained: {count:,}: {why}" for why, count in filled.reasons.items()]
    if filled.short:
        lines.append(f"{filled.short:,} without a question: fewer than {filled.past_sessions} bars up to that session")
    if filled.known_to_model:
        lines.append(
            f"{filled.known_to_model:,} are as of sessions that the model may know (trained until "
            f"{filled.trained_until}): a backtest shows them marked and never as its headline"
        )
    if filled.headlines:
        why = f"; the others have none: {filled.headlines_why}" if filled.headlines_why else ""
        lines.append(
            f"{filled.headlines:,} headlines: {filled.headlines_made:,} scored now; {filled.headlines_there:,} were "
            f"there{why}"
        )
    return lines


def _screen() -> Any:
    """A progress bar on stderr, with answers a second and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    from backtest.fill import Progress

    class Speed(ProgressColumn):
        """Answers a second."""

        def render(self, task: Any) -> Text:
            """The rate of the last half minute."""
            return Text(f"{task.speed:,.1f}/s" if task.speed else "")

    class Screen(Progress):
        """Draws what it is told."""

        def __init__(self) -> None:
            console = Console(stderr=True)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                Speed(),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=30)
            self._task: Any = None

        def __enter__(self) -> Self:
            self._bar.start()
            return self

        def __exit__(self, *_: object) -> None:
            self._bar.stop()

        def begin(self, what: str, total: int | None) -> None:
            if self._task is not None:
                self._bar.update(self._task, visible=False)
            self._task = self._bar.add_task(what, total=total)

        def forward(self, count: int) -> None:
            self._bar.advance(self._task, count)

    return Screen()
