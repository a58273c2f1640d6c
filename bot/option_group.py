"""Options that several commands share: a dataclass, each of whose fields becomes an option of the command."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints


def with_options(name: str, group: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator for a command: its parameter `name`, a `group`, becomes an option for each field of `group`.

    `group` is a dataclass whose fields have defaults and are annotated as typer wants a command's parameters; the
    options stand in help where the parameter stood.
    """
    hints = get_type_hints(group, include_extras=True)
    options = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in dataclasses.fields(group)
    ]

    def opened(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**told: Any) -> None:
            shared = group(**{one.name: told.pop(one.name) for one in options})
            command(**told, **{name: shared})

        signature = inspect.signature(command, eval_str=True)
        before = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
        at = next(at for at, one in enumerate(before) if one.name == name)
        asked = [*before[:at], *options, *before[at + 1 :]]
        changed: Any = run
        changed.__signature__ = signature.replace(parameters=asked)
        changed.__annotations__ = {one.name: one.annotation for one in asked}
        return run

    return opened
