"""`twtrader model ...`: the commands that talk to the model store; bot/cli.py mounts them. Nothing heavy is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import Refused

if TYPE_CHECKING:
    from rich.table import Table

    from bot.adapters.model_store import Manifest

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
    from bot.config_file import load_config

    if told is not None:
        return told
    return load_config(context.obj or Path("config.toml")).model.folder


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


def _json(value: object) -> str:
    """Any of our values as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()
