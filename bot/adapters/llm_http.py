"""A model server over httpx: one JSON question, one JSON answer, tried again only where the server says "later"."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import httpx

from bot.adapters.door import checked_base_url, is_loopback, shown
from bot.adapters.retry import AskedToWait, Retry
from bot.errors import ConfigError, EngineFailed, Refused

log = logging.getLogger(__name__)

KEY: Final = "TWTRADER_MODEL_KEY"
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_CONNECT_S: Final = 10.0
_LARGEST: Final = 16 * 1024 * 1024  # bytes; a longer answer is none
# What no other question will change: the key is wrong, or there is no such server or model.
_FOR_ALL: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


class ModelServer:
    """The way to one server; may be used from several threads."""

    def __init__(self, base_url: str, *, key: str, timeout_s: float, attempts: int, connections: int) -> None:
        """`base_url` ends in /v1 on most servers. The key goes into a header only, and into no error.

        Raises:
            ConfigError: `base_url` is no address, or the key is none, or it would travel unencrypted.
        """
        self.base_url = checked_base_url(base_url, "model.server.base_url")
        if key and not re.fullmatch(r"[!-~]+", key):
            raise ConfigError(f"{KEY} is no key: it holds blanks or other odd characters")
        loopback = is_loopback(self.base_url)
        if key and self.base_url.startswith("http:") and not loopback:
            raise ConfigError(f"`model.server.base_url`: {KEY} would travel unencrypted; use https, or set no key")
        self._timeout_s = timeout_s
        self._retry = Retry(
            source=f"model server at {shown(self.base_url)}",
            attempts=attempts,
            first_pause_s=_FIRST_PAUSE_S,
            longest_pause_s=_LONGEST_PAUSE_S,
        )
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=not loopback,
        )

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._retry.source

    def models(self) -> list[dict[str, Any]]:
        """What the server says of the models it serves.

        Raises:
            EngineFailed: it is not there, or does not let us in.
            DataMissing: no trustworthy answer, retries included.
        """
        cards = self._retry("models", lambda: self._once("GET", "models", None)).get("data")
        if not isinstance(cards, list) or not all(isinstance(one, dict) and one.get("id") for one in cards):
            raise EngineFailed(f"{self.name}: its list of models can't be read")
        return cards

    def ask(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that `route` ("completions", "chat/completions") answers to `body`.

        Status 429 and 5xx are tried again, after the pause that the server asks for or a growing one; nothing else is.

        Raises:
            EngineFailed: nobody listens there, or it refuses every question.
            DataMissing: no answer to this question; its cause says why.
        """
        return self._retry(route, lambda: self._once("POST", route, body))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _once(self, method: str, route: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """One request.

        Raises:
            EngineFailed, AskedToWait, Refused: as `ask`.
        """
        try:
            answer = self._http.request(method, f"{self.base_url}/{route}", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as gone:
            raise EngineFailed(f"{self.name}: nobody answers there") from gone
        except httpx.TimeoutException as late:
            raise Refused(f"no answer in {self._timeout_s:g} s") from late
        except httpx.HTTPError as broken:
            raise Refused("the answer broke off") from broken
        self._check_status(answer)
        return _object_in(answer)

    def _check_status(self, answer: httpx.Response) -> None:
        """Refuse an answer whose status is not 200."""
        status = answer.status_code
        if status == HTTPStatus.OK:
            return
        log.info("%s: HTTP %d: %s", self.name, status, _words(answer))
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise AskedToWait(f"HTTP {status}", _retry_after_s(answer.headers.get("Retry-After", "")))
        if status in _FOR_ALL:
            raise EngineFailed(f"{self.name}: HTTP {status}: {_words(answer)}")
        raise Refused(f"HTTP {status}")


def _object_in(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object that `answer` is.

    Raises:
        Refused: it is none.
    """
    try:
        told = answer.json() if len(answer.content) <= _LARGEST else None
    except ValueError:  # UnicodeDecodeError is one
        told = None
    if not isinstance(told, dict):
        raise Refused("not the agreed JSON")
    return told


def _words(answer: httpx.Response) -> str:
    """What the server says of an error: a short line, foreign text."""
    from bot.core.prompt import clean_text

    try:
        told = answer.json()
        message = told["error"]["message"] if isinstance(told.get("error"), dict) else told["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = ""
    return clean_text(str(message), 160) or "no reason told"


def _retry_after_s(text: str) -> float | None:
    """The seconds that the header Retry-After asks for; a date there is taken for "later"."""
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) else None
