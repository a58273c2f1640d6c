"""config.toml -> Config, once, at start. A missing, unknown or wrong key is refused by name."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from bot.config import Config, ShioajiConfig
from bot.errors import ConfigError
from bot.sweep_config import unknown_knob_key


def load_config(path: Path) -> Config:
    """The configuration in the file at `path`; relative paths in it are taken from the file's folder.

    Raises:
        ConfigError: the file is absent or no TOML, or a key is missing, unknown, of the wrong type or out of range.
    """
    try:
        with path.open("rb") as file:
            told = tomllib.load(file, parse_float=Decimal)
    except FileNotFoundError as absent:
        raise ConfigError(f"{path}: no such file; start from the config.toml of the repository") from absent
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{path}: {wrong}") from wrong
    return config_of(told, path)


def config_of(told: Mapping[str, Any], path: Path) -> Config:
    """The configuration in the parsed TOML `told`; `path` names it in errors and anchors relative paths.

    Raises:
        ConfigError: as `load_config`.
    """
    _refuse_secrets(told, path)
    unknown = _unknown_key(told, Config, "") or unknown_knob_key(told.get("sweep", {}).get("knobs"))
    if unknown:
        secret = _SECRET_WORDS.search(unknown.lower())
        why = "; secrets are never kept here: see `twtrader secrets`" if secret else ""
        raise ConfigError(f"{path}: unknown key `{unknown}`{why}")
    try:
        config = msgspec.convert(told, Config, dec_hook=_decode)
    except msgspec.ValidationError as wrong:
        raise ConfigError(f"{path}: {_plain(str(wrong))}") from wrong
    base = path.resolve().parent
    return dataclasses.replace(
        config,
        store=dataclasses.replace(config.store, path=base / config.store.path),
        model=dataclasses.replace(
            config.model, folder=base / config.model.folder, adapter=_adapter_at(config.model.adapter, base)
        ),
        backtest=dataclasses.replace(config.backtest, reports=base / config.backtest.reports),
        broker=dataclasses.replace(config.broker, shioaji=_anchored(config.broker.shioaji, base)),
        rules=dataclasses.replace(config.rules, strategy=_strategy_at(config.rules.strategy, base)),
        universe=dataclasses.replace(
            config.universe, file=str(base / config.universe.file) if config.universe.file else ""
        ),
    )


def _anchored(shioaji: ShioajiConfig, base: Path) -> ShioajiConfig:
    """The same with its certificate's path taken from `base`; an empty path stays empty."""
    named = shioaji.ca_path != Path()
    return dataclasses.replace(shioaji, ca_path=base / shioaji.ca_path) if named else shioaji


def _adapter_at(adapter: str, base: Path) -> str:
    """The adapter as it is named; a path is looked for from the config's folder."""
    return str(base / Path(adapter).expanduser()) if "/" in adapter else adapter


def _strategy_at(strategy: str, base: Path) -> str:
    """The strategy as it is named; one in a file is looked for from the config's folder."""
    return str(base / strategy) if strategy.endswith(".py") else strategy


def _decode(kind: type, value: Any) -> Any:
    """Paths are the one type here that msgspec does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")


_USER_IN_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@")
# What names a secret in a key that config.toml doesn't have.
_SECRET_WORDS: Final = re.compile(
    r"pass(word|wd|phrase|code)?$|secret|token$|credential|(^|_)(api_?)?key$|account$|person_?id$"
)


def _refuse_secrets(told: Mapping[str, Any], path: Path, prefix: str = "") -> None:
    """Refuse an address with a name or a password in it. No value is in the message.

    Raises:
        ConfigError: names the key.
    """
    for key, value in told.items():
        if isinstance(value, Mapping):
            _refuse_secrets(value, path, f"{prefix}{key}.")
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and _USER_IN_ADDRESS.match(text.strip()) for text in texts):
            raise ConfigError(f"{path}: `{prefix}{key}` has a secret in its address: leave the part before the @ away")


def _unknown_key(told: Mapping[str, Any], kind: type, prefix: str) -> str | None:
    """The first key in `told` that the dataclass `kind` does not have, with its path."""
    types_of = typing.get_type_hints(kind)
    for key, value in told.items():
        if key not in types_of:
            return prefix + key
        inner = types_of[key]
        if isinstance(value, Mapping) and dataclasses.is_dataclass(inner) and isinstance(inner, type):
            deeper = _unknown_key(value, inner, f"{prefix}{key}.")
            if deeper:
                return deeper
    return None


def _plain(message: str) -> str:
    """The message of msgspec with the key in the user's spelling: `model.batch`, not `$.model.batch`."""
    what, _, where = message.partition(" - at `$.")
    if not where:
        return what.replace("Object missing required field", "missing key")
    table = where.rstrip("`")
    if "missing required field" in what:
        return f"missing key `{table}.{what.split('`')[1]}`"
    return f"`{table}`: {what}"
