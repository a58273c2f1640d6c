"""The commands that talk to the model store and the LLM; bot/cli.py mounts them.

    app.add_typer(model_app, name="model")     print_forecast(config.model, company, bars, past, future)
                                               print_sentiment(config.model, read_titles(texts, file))

Nothing heavy is imported here: torch stays in the child process, rich inside the function that prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import DataMissing, EngineFailed, Refused

if TYPE_CHECKING:
    from rich.table import Table

    from bot.adapters.model_store import Manifest
    from bot.config import ModelConfig
    from bot.core.forecast import Forecast, Sentiment
    from bot.core.market import Bar
    from bot.ports import Company

SMALL_MODEL = "smollm2-135m"

model_app = typer.Typer(help="The models on this disk.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="A name from `twtrader model list`.")]
VerifiedArgument = Annotated[str, typer.Argument(help="A name from `twtrader model list`, or an adapter's folder.")]
FolderOption = Annotated[Path | None, typer.Option(help="Where models lie; else as `model.folder` says.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


@model_app.command("pull")
def model_pull(context: typer.Context, name: NameArgument = SMALL_MODEL, folder: FolderOption = None) -> None:
    """Fetch a model, check its hash, convert it once. Does nothing when it is already whole."""
    from rich.console import Console

    from bot.adapters.model_store import pull

    where = model_folder(context, folder)
    with Console(stderr=True).status(f"{name}: fetching and converting, about a minute, once"):
        manifest = pull(name, where)
    typer.echo(f"{manifest.name}: ready in {where / manifest.name}, from {manifest.source} ({manifest.licence})")


@model_app.command("list")
def model_list(context: typer.Context, folder: FolderOption = None, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """The models that are here and those that can be pulled, and the adapters."""
    from rich.console import Console
    from rich.table import Table

    from bot.adapters.model_store import CATALOGUE, installed

    where = model_folder(context, folder)
    here, adapters = installed(where), _adapters(where)
    if as_json:
        typer.echo(_json({"catalogue": sorted(CATALOGUE), "installed": here, "adapters": adapters}))
        return
    table = Table("model", "here", "weights", "licence", "knows until", "source")
    for manifest in here:
        table.add_row(*_row(manifest))
    for name in sorted(set(CATALOGUE) - {manifest.name for manifest in here}):
        source = CATALOGUE[name]
        table.add_row(name, "no", "", source.licence, str(source.knowledge_until), source.requirement)
    Console().print(table)
    if adapters:
        Console().print(_adapter_table(adapters))


@model_app.command("verify")
def model_verify(
    context: typer.Context,
    name: VerifiedArgument = SMALL_MODEL,
    folder: FolderOption = None,
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """Hash every file of a model or an adapter and compare with its manifest; an adapter must fit its base, too."""
    from bot.adapters.adapter_store import adapter_at, verify_adapter
    from bot.adapters.model_store import verify

    where = model_folder(context, folder)
    adapter = adapter_at(name, where)
    if adapter is None:
        manifest = verify(name, where)
        typer.echo(_json(manifest) if as_json else f"{name}: {len(manifest.sha256)} files, each as it was pulled")
        return
    described = verify_adapter(adapter, where)
    fits = f"it belongs to {described.base}, which is here"
    line = f"{described.name}: {len(described.sha256)} files, each as it was trained; {fits}"
    typer.echo(_json(described) if as_json else line)


def model_folder(context: typer.Context, told: Path | None) -> Path:
    """Where models lie: what was told, else what the configuration says."""
    from bot.config import load_config

    if told is not None:
        return told
    return load_config(context.obj or Path("config.toml")).model.folder


def print_forecast(
    config: ModelConfig, company: Company, bars: Sequence[Bar], past: int, future: int, *, as_json: bool = False
) -> None:
    """Ask the model for `future` bars after the last `past` of `bars` (oldest first) and print them.

    Raises:
        DataMissing: there are fewer bars than `past`.
        Refused: the model is not there.
        EngineFailed: it gave no answer.
    """
    from rich.console import Console

    from bot.ports import Explains, Question
    from bot.wiring import engine_of

    if len(bars) < past:
        raise DataMissing(f"{company.symbol}: {len(bars)} bars are known, {past} are asked for")
    question = Question(company=company, bars=tuple(bars[-past:]), future_sessions=future)
    engine = engine_of(config)
    try:
        (forecast,) = engine.forecast([question])
    finally:
        engine.close()
    if forecast is None:
        reasons = engine.abstentions if isinstance(engine, Explains) else {}
        why = ", ".join(reasons) or "the question does not fit into its window"
        raise EngineFailed(f"{company.symbol}: no forecast from {engine.model}: {why}")
    if as_json:
        typer.echo(_json(forecast))
    else:
        Console().print(_forecast_table(company, question.bars[-1], forecast))


def print_sentiment(config: ModelConfig, titles: Sequence[str], *, as_json: bool = False) -> None:
    """Ask the model for the mood of each headline and print it; raises as `print_forecast`."""
    from rich.console import Console

    from bot.wiring import engine_of

    if not titles:
        raise Refused("no headline was given")
    engine = engine_of(config)
    try:
        moods = engine.sentiment(titles)
    finally:
        engine.close()
    if as_json:
        told = [_mood_facts(title, mood) for title, mood in zip(titles, moods, strict=True)]
        typer.echo(_json({"model": engine.model, "sentiments": told}))
    else:
        Console().print(_mood_table(titles, moods, engine.model))


def read_titles(texts: Sequence[str], file: Path | None) -> list[str]:
    """The headlines given as arguments, then those in `file`, one a line, blank lines left out.

    Raises:
        Refused: the file can't be read as UTF-8 text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as wrong:
        raise Refused(f"{file}: {wrong}") from wrong
    return [text.strip() for text in (*texts, *lines) if text.strip()]


def _forecast_table(company: Company, last: Bar, forecast: Forecast) -> Table:
    """The forecast's bars, with the close's change from the last known close."""
    from rich.table import Table

    table = Table("session", "open", "high", "low", "close", "change", title=f"{company.symbol} {company.name}")
    table.caption = f"after {forecast.as_of}, close {last.close}; {forecast.model}"
    for step, bar in enumerate(forecast.bars, start=1):
        prices = (f"{price:.2f}" for price in (bar.open, bar.high, bar.low, bar.close))
        table.add_row(f"+{step}", *prices, f"{float(bar.close / last.close - 1):+.2%}")
    return table


def _row(manifest: Manifest) -> tuple[str, ...]:
    """An installed model's line in the list."""
    weights = next((digest[:12] for file, digest in manifest.sha256.items() if file.endswith(".safetensors")), "")
    return manifest.name, "yes", weights, manifest.licence, str(manifest.knowledge_until), manifest.source


def _adapters(models: Path) -> list[dict[str, Any]]:
    """The adapters in models/adapters with the facts of their manifests; a damaged one says why."""
    from bot.adapters.adapter_store import FOLDER, adapter_folders, fingerprint, read_adapter_manifest, read_promoted

    live = read_promoted(models / FOLDER).live
    found: list[dict[str, Any]] = []
    for folder in adapter_folders(models):
        facts: dict[str, Any] = {"name": folder.name, "live": folder.name == live}
        try:
            manifest = read_adapter_manifest(folder)
        except Refused as damaged:
            found.append(facts | {"damaged": str(damaged)})
        else:
            found.append(facts | {"fingerprint": fingerprint(manifest), "manifest": manifest})
    return found


def _adapter_table(adapters: Sequence[dict[str, Any]]) -> Table:
    """A line for each adapter."""
    from rich.table import Table

    table = Table("adapter", "live", "weights", "licence", "knows until", "base", "asked", "columns")
    for facts in adapters:
        live = "yes" if facts["live"] else "no"
        if "damaged" in facts:
            table.add_row(facts["name"], live, facts["damaged"])
        else:
            told = facts["manifest"]
            until, columns = str(told.trained_until), " ".join(told.columns)
            base = f"{told.base} {told.base_sha256[:12]}"
            table.add_row(facts["name"], live, facts["fingerprint"], told.licence, until, base, told.mood, columns)
    return table


def _mood_facts(title: str, mood: Sentiment | None) -> dict[str, Any]:
    """A headline's mood for JSON; a label of null is unknown."""
    if mood is None:
        return {"title": title, "label": None}
    return {"title": title, "label": mood.label, "score": mood.score} | _shares(mood)


def _mood_table(titles: Sequence[str], moods: Sequence[Sentiment | None], model: str) -> Table:
    """A line for each headline."""
    from rich.table import Table

    from bot.core.prompt import TITLE_CHARS, clean_text

    table = Table("headline", "mood", "positive", "neutral", "negative", caption=model)
    for title, mood in zip(titles, moods, strict=True):
        told = (mood.label, *(f"{share:.0%}" for share in _shares(mood).values())) if mood else ("unknown",)
        table.add_row(clean_text(title, TITLE_CHARS), *told)
    return table


def _shares(mood: Sentiment) -> dict[str, float]:
    """The three probabilities by name."""
    return {"positive": mood.positive, "neutral": mood.neutral, "negative": mood.negative}


def _json(value: object) -> str:
    """Any of our values as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()
