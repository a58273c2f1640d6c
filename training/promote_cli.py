"""`twtrader train promote`, `rollback` and `status`: which adapter is live, how it came to that, and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.errors import Refused
from bot.option_group import with_options
from training.evaluate_cli import Asked, JsonOption, Wanted, adapter_folder, config_for, run_evaluation

if TYPE_CHECKING:
    from datetime import datetime

    from bot.adapters.adapter_store import AdapterManifest
    from bot.config import Config
    from training.criteria import Verdict
    from training.evaluation import Evaluation
    from training.promoted import Switch

BASE_ALONE = "base"  # what `rollback --to` calls no adapter at all


@with_options("asked", Asked)
def promote_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The adapter's folder.")],
    asked: Asked,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="What `train evaluate --out` wrote about this very adapter; else it is evaluated now."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even if criteria fail; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why, kept with the adapter and its history.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an adapter the live one, if it earned it; the daemon takes it at its next session."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from rich.console import Console

    from training.evaluate_view import show_verdict
    from training.evaluation import HARD

    if force != bool(reason.strip()):
        raise typer.BadParameter("--force and --reason belong together")
    config = config_for(context, asked.base)
    folder = adapter_folder(config, folder)
    manifest = _checked(folder, config)
    found = _stored(evaluation, manifest, config) if evaluation else None
    if found and asked.anything:
        raise typer.BadParameter("--evaluation was made before: it takes no data or corpus")
    if found is None and (asked.anything or not force):
        with_hard = list(dict.fromkeys([*(asked.corpus or ()), HARD]))
        found = run_evaluation(config, Wanted(adapter=folder, asked=replace(asked, corpus=with_hard)))[0].evaluation
    verdict = _judged(found, config) if found else None
    switch = None
    if force or (verdict and verdict.passed):
        at = datetime.now(UTC).replace(microsecond=0)
        switch = _go_live(folder, manifest, config, found, verdict, reason, at)
    if as_json:
        _print({"promoted": switch, "verdict": verdict})
    elif verdict:
        show_verdict(verdict, Console())
    if switch is None:
        assert verdict
        raise Refused(verdict.refusal)
    if not as_json:
        was = f", {switch.origin} before" if switch.origin else ""
        typer.echo(f"{switch.name} is live{' (forced)' if switch.forced else ''}{was}{_hint(config)}")


def rollback_command(
    context: typer.Context,
    to: Annotated[str | None, typer.Option(help="An adapter that was live earlier, or `base` for none.")] = None,
    reason: Annotated[str, typer.Option(help="Why, kept in the history.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make live what was live before; the daemon takes it at its next session."""
    from datetime import UTC, datetime

    from training.promoted import rollback

    config = config_for(context, "")
    at = datetime.now(UTC).replace(microsecond=0)
    switch = rollback(config.model.folder, at=at, reason=reason, to="" if to == BASE_ALONE else to)
    if as_json:
        _print(switch)
    else:
        typer.echo(f"{switch.name or 'the base alone'} is live again, {switch.origin} was{_hint(config)}")


def status_command(context: typer.Context, as_json: JsonOption = False) -> None:
    """Which adapter is live, and how it came to that."""
    from rich.console import Console
    from rich.table import Table

    from bot.adapters.adapter_store import PROMOTED_NAME
    from training.promoted import standing

    config = config_for(context, "")
    told = standing(config.model.folder)
    follows = config.model.adapter == PROMOTED_NAME
    if as_json:
        _print({"live": told.live, "daemon_follows": follows, "history": told.history})
        return
    typer.echo(f"live: {told.live or 'the base alone'}{_hint(config)}")
    if told.history:
        table = Table("when", "what", "adapter", "before", "forced", "reason")
        for one in told.history:
            names = (one.name or "the base alone", one.origin or "the base alone")
            table.add_row(f"{one.at:%Y-%m-%d %H:%M %Z}", one.action, *names, "yes" if one.forced else "", one.reason)
        Console().print(table)


def _checked(folder: Path, config: Config) -> AdapterManifest:
    """The manifest, after every file and the base were checked: no force helps against a wrong one."""
    from bot.adapters.adapter_store import check_base, read_adapter
    from bot.adapters.model_store import find_model

    manifest = read_adapter(folder)
    check_base(manifest, find_model(config.model.name, config.model.folder))
    return manifest


def _stored(folder: Path, manifest: AdapterManifest, config: Config) -> Evaluation:
    """The evaluation in `folder`; it may come from another machine, which computes in float32 where this one has bf16.

    Raises:
        Refused: it is of another adapter, or beside another base.
    """
    from dataclasses import replace

    from bot.adapters.adapter_store import WEIGHTS, but_for_the_device, engine_name, fingerprint
    from bot.forecast_view import along_the_median
    from training.evaluation import read_evaluation

    told = read_evaluation(folder)
    if told.weights_sha256 != manifest.sha256[WEIGHTS]:
        raise Refused(f"{folder} is an evaluation of other weights than {manifest.name}'s: evaluate it anew")
    if fingerprint(manifest) not in told.adapter_model:
        raise Refused(
            f"{folder} is of {manifest.name} asked otherwise, before `train calibrate` perhaps: evaluate it anew"
        )
    now = engine_name(replace(config.model, adapter=""))
    if but_for_the_device(told.base_model) != but_for_the_device(now):
        raise Refused(f"{folder} is an evaluation beside {told.base_model}, the config means {now}: evaluate it anew")
    if along_the_median(told.base_model) != along_the_median(now):
        typer.echo(f"note: judged by the bands of {told.base_model}, the config means {now} (docs/bands.md)", err=True)
    return told


def _judged(told: Evaluation, config: Config) -> Verdict:
    from training.criteria import judge

    return judge(told, past=config.model.past_sessions, future=config.model.future_sessions)


def _go_live(
    folder: Path,
    manifest: AdapterManifest,
    config: Config,
    told: Evaluation | None,
    verdict: Verdict | None,
    reason: str,
    at: datetime,
) -> Switch:
    """Copy, describe and switch."""
    from training.model_card import model_card, with_reason
    from training.promoted import promote

    forced = not (verdict and verdict.passed)
    card = model_card(folder, manifest, told, verdict)
    return promote(
        folder,
        config.model.folder,
        card=with_reason(card, reason) if forced else card,
        scores=told.scores() if told else {},
        at=at,
        reason=reason,
        forced=forced,
    )


def _hint(config: Config) -> str:
    """What a user must still do for the daemon to ask it, where anything."""
    from bot.adapters.adapter_store import PROMOTED_NAME

    return (
        "" if config.model.adapter == PROMOTED_NAME else '; the daemon asks it once config says `adapter = "promoted"`'
    )


def _print(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")
