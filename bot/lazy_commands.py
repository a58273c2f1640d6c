"""Command groups that import a command's module when the command is called: `twtrader status` loads no trainer.

`--help` of a group still loads all that it lists, because their first lines stand there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import typer
from typer.core import TyperGroup


def lazily(where: Mapping[str, str]) -> type[TyperGroup]:
    """A group's class for `typer.Typer(cls=...)`: to its own commands it adds `where`, name -> "module:attribute".

    An attribute is a command's function or a whole `typer.Typer`.
    """

    class LazyGroup(TyperGroup):
        """A group whose commands are found by name first and imported second."""

        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(self.commands, where)

        def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer's signature)
            """The names, in order, without loading anything."""
            return list(self.commands)

    return LazyGroup


class _Commands(MutableMapping[str, Any]):
    """Commands by name, those of `where` imported at first sight."""

    def __init__(self, own: Mapping[str, Any], where: Mapping[str, str]) -> None:
        self._loaded, self._where = dict(own), dict(where)
        self._names = dict.fromkeys([*own, *where])

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._where[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command
        self._names[name] = None

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        self._loaded.pop(name, None)
        self._where.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _load(name: str, address: str) -> Any:
    """The command at "module:attribute", under `name`."""
    module, attribute = address.split(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        command: Any = typer.main.get_group(found)
    else:
        alone = typer.Typer(add_completion=False)
        alone.command()(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command
