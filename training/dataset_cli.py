"""`twtrader train dataset`: write a folder of examples. Heavy things are imported inside the command."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.core.prompt import COLUMNS, FIELDS
from bot.errors import Refused

if TYPE_CHECKING:
    from bot.config import Config


CORPORA_HELP = (
    "Labelled corpora: of own,own_zh,own_en,fpb900,fpb,tfns,fiqa; fpb- leaves neutral texts out, fiqa*2 reads twice."
)


def dataset_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; it must not be there yet.")],
    data: Annotated[
        Path | None, typer.Option(help="Bars from this folder of CODE.csv files, not the database.")
    ] = None,
    windows: Annotated[str, typer.Option(help="Price windows, past:future; empty for none.")] = "1:1,5:5,20:5,60:20",
    columns: Annotated[str, typer.Option(help="What past bars tell: of close,open,high,low,volume.")] = ",".join(
        FIELDS
    ),
    headlines: Annotated[Path | None, typer.Option(help="Headlines from this CSV (time, title) or folder.")] = None,
    with_context: Annotated[bool, typer.Option("--context", help="Tell known headlines in price questions.")] = False,
    context_only: Annotated[bool, typer.Option(help="Only price windows that have a known headline.")] = False,
    masked: Annotated[bool, typer.Option("--masked", help="Hide names, codes and days in price questions.")] = False,
    analysis: Annotated[bool, typer.Option("--analysis", help="Add questions on each week with its outcome.")] = False,
    teacher: Annotated[Path | None, typer.Option(help="A teacher's answers: analyses and labelled headlines.")] = None,
    corpora: Annotated[str, typer.Option(help=CORPORA_HELP)] = "",
    texts: Annotated[Path | None, typer.Option(help="The folder of the published corpora.")] = None,
    labelled: Annotated[Path | None, typer.Option(help="Your own labelled CSV, JSON or JSONL to learn from.")] = None,
    labelled_test: Annotated[Path | None, typer.Option(help="The same to test on, without a common text.")] = None,
    valid_share: Annotated[float, typer.Option(help="Share of undated train texts that validates.")] = 0.1,
    text_column: Annotated[str, typer.Option(help="The column of the text in your files.")] = "text",
    label_column: Annotated[str, typer.Option(help="The column of the label.")] = "label",
    cut: Annotated[str, typer.Option(help="Train answers end by this day; default: after 80 % of the sessions.")] = "",
    valid_until: Annotated[str, typer.Option(help="Validation answers end by this day; default: after 90 %.")] = "",
    since: Annotated[str, typer.Option(help="No bar before this day.")] = "",
    until: Annotated[str, typer.Option(help="No bar after this day.")] = "",
    embargo: Annotated[int, typer.Option(min=0, help="Sessions between the sides; 0 = the longest answer.")] = 0,
    stride: Annotated[int, typer.Option(min=1, help="Ask after every so manieth session.")] = 1,
    most: Annotated[int, typer.Option(min=0, help="At most so many of each side and window; 0 = all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draw where there are more, and of validation texts.")] = 42,
    form: Annotated[str, typer.Option(help="pairs (input/output JSONL), chat (messages JSONL) or csv.")] = "pairs",
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Write examples for training: price windows, moods of headlines, weekly analyses; split by date."""
    from rich.console import Console

    from training.dataset_job import Job, make_dataset
    from training.records import FORMS
    from training.windows import window_of

    if form not in FORMS:
        raise Refused(f"--form {form}: one of {', '.join(FORMS)} is wanted")
    with Console(stderr=True).status(f"writing examples to {out}"):
        told = make_dataset(
            config_of_context(context),
            Job(
                out=out,
                data=data,
                windows=tuple(sorted({window_of(one) for one in windows.split(",") if one.strip()})),
                columns=_in_order(columns),
                headlines=headlines,
                context="only" if context_only else "known" if with_context else "none",
                masked=masked,
                analysis=analysis,
                teacher=teacher,
                corpora=tuple(one.strip() for one in corpora.split(",") if one.strip()),
                texts=texts,
                labelled=labelled,
                labelled_test=labelled_test,
                valid_share=valid_share,
                text_column=text_column,
                label_column=label_column,
                cut=day_of(cut),
                valid_until=day_of(valid_until),
                since=day_of(since) or date.min,
                until=day_of(until) or date.max,
                embargo=embargo,
                stride=stride,
                most=most,
                seed=seed,
                form=form,
            ),
        )
    print_manifest(out, told, as_json=as_json)


def _in_order(columns: str) -> tuple[str, ...]:
    """The names in `columns` in the order that questions tell them in; unknown ones last, for the job to refuse."""
    names = [one.strip() for one in columns.split(",") if one.strip()]
    return tuple(sorted(names, key=lambda one: COLUMNS.index(one) if one in COLUMNS else len(COLUMNS)))


def day_of(text: str) -> date | None:
    """`text` as a date, None where it is empty.

    Raises:
        Refused: it is no ISO date.
    """
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"{text!r} is no date; write 2025-03-31") from wrong


def config_of_context(context: typer.Context) -> Config:
    """The configuration that the command was given."""
    from bot.config_file import load_config

    return load_config(context.obj or Path("config.toml"))


def print_manifest(folder: Path, manifest: Any, *, as_json: bool) -> None:
    """The facts of a dataset: as a table, or as dataset.json has them."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    if as_json:
        typer.echo(msgspec.json.encode(manifest).decode())
        return
    kinds = sorted({kind for counts in manifest.counts.values() for kind in counts})
    table = Table("side", "days", *kinds, title=str(folder))
    days = _days(manifest.cuts)
    for split, counts in manifest.counts.items():
        table.add_row(split, days[split], *(f"{counts.get(kind, 0):,}" for kind in kinds))
    if manifest.cuts:
        table.caption = f"embargo {manifest.cuts.embargo_sessions} sessions"
    console = Console()
    console.print(table)
    for source in manifest.sources:
        left_out = "; ".join(f"{count:,} {why}" for why, count in source.left_out.items() if count)
        console.print(f"{source.name} ({source.licence})" + (f": left out {left_out}" if left_out else ""))


def _days(cuts: Any) -> dict[str, str]:
    """In words, which days each side holds."""
    if cuts is None:
        return dict.fromkeys(("train", "valid", "test"), "no dates")
    return {
        "train": f"answers end by {cuts.cut}",
        "valid": f"{cuts.valid_from} .. {cuts.valid_until}",
        "test": f"asked from {cuts.test_from} on",
    }
