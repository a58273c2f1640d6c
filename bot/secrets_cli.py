"""`twtrader secrets`: put secrets into the keyring, see which are there, take them out. No value is ever shown."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from bot.errors import Refused

secrets_app = typer.Typer(help="Passwords and keys, kept in the keyring of this machine.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Like TWTRADER_PASSWORD; `secrets list` shows all.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


@secrets_app.command("set")
def set_secret(name: NameArgument) -> None:
    """Ask for a secret without showing it, and keep it. From a pipe, its first line is taken."""
    from bot.secrets import check_name, keep

    check_name(name)
    keep(name, _typed(name))
    typer.echo(f"{name} is in the keyring")


@secrets_app.command("list")
def list_secrets(as_json: JsonOption = False) -> None:
    """Every secret that twtrader reads, and where it would come from."""
    from bot.secrets import KNOWN

    rows = [{"name": name, "what": what, "from": _source(name)} for name, what in KNOWN.items()]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    names, sources = (max(len(row[column]) for row in rows) for column in ("name", "from"))
    for row in rows:
        typer.echo(f"{row['name']:<{names}}  {row['from']:<{sources}}  {row['what']}")


@secrets_app.command()
def forget(name: NameArgument) -> None:
    """Take a secret out of the keyring. The environment is yours."""
    from bot.secrets import forget as forget_secret

    forget_secret(name)
    typer.echo(f"{name} is no longer in the keyring")


def _source(name: str) -> str:
    """Where `name` would come from, or why it can't be known."""
    from bot.secrets import where

    try:
        return where(name) or "not set"
    except Refused as why:
        return f"not set ({why})"


def _typed(name: str) -> str:
    """What the user types, unseen; or the first line of a pipe.

    Raises:
        Refused: nothing came.
    """
    import getpass

    try:
        value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    except (EOFError, KeyboardInterrupt):
        value = ""
    if not value:
        raise Refused(f"{name}: nothing was typed, so nothing was kept")
    return value
