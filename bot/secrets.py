"""Secrets: where they come from (environment, then keyring), and `redacted`, the last line before they would be shown.

They are never in config.toml, on a command line, in the database or in a log. Whatever was read here is known to
`redacted`, which the log's formatter, the last handler of exceptions and the journal's notes pass through.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import sys
import threading
from functools import lru_cache
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, quote_plus

from bot.errors import ConfigError, Refused

SERVICE: Final = "twtrader"  # the name under which a keyring holds ours
HIDDEN: Final = "***"
# A shorter value would blank half the words of a log: it is hidden by whoever holds it, not by `redacted`.
SHORTEST: Final = 4
KNOWN: Final = {
    "TWTRADER_ACCOUNT": "the stock API's account",
    "TWTRADER_PASSWORD": "the stock API's password",
    "NEWSAPI_KEY": "NewsAPI's key",
    "TWTRADER_TEACHER_KEY": "the key of the server that `train teacher` asks",
    "TWTRADER_MODEL_KEY": "the key of the model server, where it wants one",
    "TWTRADER_SHIOAJI_KEY": "SinoPac's API key",
    "TWTRADER_SHIOAJI_SECRET": "SinoPac's secret key",
    "TWTRADER_SHIOAJI_ACCOUNT": "the number of the stock account at SinoPac, where there is more than one",
    "TWTRADER_SHIOAJI_CA_PASSWORD": "the password of SinoPac's certificate, for live orders",
}

_seen: dict[str, None] = {}  # values that were handed out; a dict keeps their order
_from_keyring: dict[str, str] = {}  # asked once a process: a locked keyring must not ask at every wake-up


def secret(name: str) -> str:
    """The secret `name`, from the environment or the keyring.

    Raises:
        ConfigError: it is in neither.
    """
    value = optional_secret(name)
    if not value:
        raise ConfigError(
            f"the environment variable {name} is not set, and {_keyring_says(name)}: see `twtrader secrets`"
        )
    return value


def optional_secret(name: str) -> str:
    """The secret `name`, from the environment or the keyring; empty where it is in neither."""
    value = os.environ.get(name, "")
    if not value:
        try:
            value = _kept(name)
        except Refused:
            value = ""
    hide(value)
    return value


def hide(value: str) -> None:
    """Let `redacted` know `value` from now on."""
    if len(value) >= SHORTEST and value not in _seen:
        _seen[value] = None
        _spellings.cache_clear()


def redacted(text: str) -> str:
    """`text` without any secret that was handed out, however it is spelled."""
    for spelling in _spellings():
        if spelling in text:
            text = text.replace(spelling, HIDDEN)
    return text


@lru_cache(maxsize=1)
def _spellings() -> tuple[str, ...]:
    """Every known secret in every spelling, longest first so that none leaves a rest of another."""
    found = {spelling for value in _seen for spelling in spellings(value)}
    return tuple(sorted(found, key=lambda one: (-len(one), one)))


def spellings(value: str) -> set[str]:
    """`value` as a form, a page, JSON, base64 or a `repr` would show it."""
    raw = value.encode()
    told = {
        value,
        html.escape(value),
        html.escape(value, quote=False),
        ascii(value)[1:-1],
        raw.hex(),
        raw.hex().upper(),
    }
    told |= {repr(value)[1:-1], repr(raw)[2:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    told |= {one.replace("/", "\\/") for one in list(told)}  # as PHP writes JSON
    for quoted in (quote(value), quote(value, safe=""), quote_plus(value)):
        told |= {quoted, _lower_percent(quoted)}
    told |= _base64(raw)
    return {one for one in told if len(one) >= SHORTEST}


def _lower_percent(quoted: str) -> str:
    """%2F as %2f."""
    parts = quoted.split("%")
    return parts[0] + "".join("%" + part[:2].lower() + part[2:] for part in parts[1:])


def _base64(raw: bytes) -> set[str]:
    """What is the same of `raw` in base64 wherever it stands in a longer text: three alignments, both alphabets."""
    told = set()
    for before in range(3):
        # Characters that mix with a neighbour's bits are left off at both ends.
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        skip = (0, 2, 3)[before]
        whole = (before + len(raw)) * 8 // 6
        told |= {text[skip:whole], text[skip:whole].replace("+", "-").replace("/", "_")}
    return told


# --- the keyring ------------------------------------------------------------------------------------------


def where(name: str) -> str:
    """Where `name` would be read from: "environment", "keyring", or "" where it is in neither.

    Raises:
        Refused: the keyring does not answer.
    """
    if os.environ.get(name):
        return "environment"
    return "keyring" if _kept(name) else ""


def keep(name: str, value: str) -> None:
    """Put a secret into the keyring.

    Raises:
        Refused: there is none, or it refuses; or the value can't be a secret.
    """
    check_name(name)
    if len(value) < SHORTEST or value != value.strip() or any(ord(sign) < ord(" ") for sign in value):
        raise Refused(f"{name}: at least {SHORTEST} characters, without blanks around it or control characters")
    hide(value)
    _ask_keyring("set_password", SERVICE, name, value)
    _from_keyring.pop(name, None)


def forget(name: str) -> None:
    """Take a secret out of the keyring.

    Raises:
        Refused: it is not there, or there is no keyring.
    """
    check_name(name)
    if not _kept(name):
        raise Refused(f"{name} is not in the keyring")
    _ask_keyring("delete_password", SERVICE, name)
    _from_keyring.pop(name, None)


def check_name(name: str) -> None:
    """Refuse a name that nothing would ever read.

    Raises:
        Refused: names those that are read.
    """
    if name not in KNOWN:
        raise Refused(f"{name!r} is no secret of twtrader: one of {', '.join(sorted(KNOWN))}")


def _kept(name: str) -> str:
    """What the keyring holds of `name`; empty where it holds nothing. Asked once a process."""
    if name not in _from_keyring:
        _from_keyring[name] = _ask_keyring("get_password", SERVICE, name) or ""
    return _from_keyring[name]


def _ask_keyring(call: str, *words: str) -> str | None:
    """One call to the keyring's backend.

    Raises:
        Refused: there is no backend, or it failed. No word of the call is in the message.
    """
    try:
        import keyring
        import keyring.errors
    except ImportError as absent:
        raise Refused("the package keyring is not installed") from absent
    try:
        answer: str | None = getattr(keyring, call)(*words)
    except keyring.errors.NoKeyringError:
        raise Refused("no keyring is on this machine") from None
    except Exception as failed:  # noqa: BLE001  (backends raise what they like: D-Bus, Win32, their own)
        raise Refused(f"the keyring failed: {type(failed).__name__}") from None
    return answer


def _keyring_says(name: str) -> str:
    try:
        _kept(name)
    except Refused as why:
        return str(why)
    return "it is not in the keyring"


# --- what is shown ----------------------------------------------------------------------------------------


class Redacting(logging.Formatter):
    """Formats a record whole, its traceback included, and only then takes the secrets out."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text without secrets."""
        return redacted(super().format(record))


def guard_output() -> None:
    """Pass every traceback of this process through `redacted`; no locals are ever shown."""
    sys.excepthook = _show_exception
    if logging.lastResort is not None:  # what logs where nobody has set logging up
        logging.lastResort.setFormatter(Redacting("%(message)s"))
    threading.excepthook = _show_thread_exception


def _show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    import traceback

    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(redacted(text))


def _show_thread_exception(args: Any) -> None:
    if args.exc_type is not SystemExit:
        _show_exception(args.exc_type, args.exc_value, args.exc_traceback)
