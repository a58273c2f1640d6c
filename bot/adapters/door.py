"""One server that a feed reads from: base address from the config, time-out, pace, retries, and errors in plain words.

The feeds' libraries (twstock, newsapi-python) know how to ask and how to read; this adds what their own HTTP lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from bot.adapters.pace import Pace, pace_of
from bot.adapters.retry import AskedToWait, Retry, Unreachable
from bot.config import ExchangeFeedConfig
from bot.errors import ConfigError, Refused, Transient

T = TypeVar("T")

# What an exchange's content network answers to a client that asks too often, and what passes by itself.
# Source: EXCHANGE_PAYLOADS.md (428 seen from TWSE's); RFC 9110 for the rest.
_LATER: Final = frozenset({403, 408, 425, 428, 429})
_DEEPEST_CAUSE: Final = 10


def shown(url: str) -> str:
    """`url` as errors show it: without user, password, query or trailing slash."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether `url` is on this machine, so that a proxy of the environment must not stand between."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_base_url(url: str, key: str) -> str:
    """`url` without a trailing slash.

    Raises:
        ConfigError: it is no http(s) address; `key` is its name in config.toml.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"`{key}` must be an address like https://example.org, not {url!r}")
    return url.rstrip("/")


class Door:
    """The way to one server."""

    def __init__(
        self,
        feed: str,
        base_url: str,
        *,
        timeout_s: float,
        attempts: int,
        pace: Pace | None = None,
        open_session: Callable[[], Any] | None = None,
    ) -> None:
        """`open_session` makes the requests.Session on first use; nothing heavy is imported before.

        Raises:
            ConfigError: `base_url` is no address.
        """
        self.base_url = checked_base_url(base_url, f"feeds.{feed}.base_url")
        self._timeout_s = timeout_s
        self._pace = pace
        self._open_session = open_session or _plain_session
        self._retry = Retry(source=f"{feed} at {shown(self.base_url)}", attempts=attempts)
        self._unreachable = False

    def ask(self, asked: str, read: Callable[[], T]) -> T:
        """What `read` returns, tried again as Retry says; `asked` names it in errors.

        While nobody answers at all, later calls get one try each instead of all: an evening over 41 stocks must not
        wait out every pause 41 times.

        Raises:
            DataMissing: no trustworthy answer.
        """
        retry = replace(self._retry, attempts=1) if self._unreachable else self._retry
        try:
            answer = retry(asked, read)
        except Exception as failed:
            self._unreachable = isinstance(failed.__cause__, Unreachable)
            raise
        self._unreachable = False
        return answer

    def send(
        self, path: str, params: Mapping[str, Any], auth: Any = None, *, form: Mapping[str, str] | None = None
    ) -> Any:
        """One GET, or a POST of `form`, whatever its status.

        Redirects are not followed, since an exchange has none and bans by them.

        Raises:
            Unreachable: nobody answered.
            Transient: the answer broke off.
        """
        import requests

        turn: AbstractContextManager[None] = self._pace.turn() if self._pace else nullcontext()
        url = f"{self.base_url}/{path.lstrip('/')}"
        with turn:
            try:
                return self._session.request(
                    "GET" if form is None else "POST", url, params=params, data=form, auth=auth,
                    timeout=self._timeout_s, allow_redirects=False,
                )  # fmt: skip
            except requests.Timeout as error:
                raise Unreachable(f"no answer within {self._timeout_s:g} s") from error
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
                raise Transient("the answer broke off") from error
            except requests.RequestException as error:
                raise Unreachable(_reason(error)) from error

    def get_json(self, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that one GET answers.

        Raises:
            Transient: no answer, or one that may be better next time.
            Refused: the server doesn't know the question.
        """
        response = self.send(path, params)
        check_status(response)
        return json_object(response)

    def post_json(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object that one POST of `form` answers; only for questions, which may safely be asked twice.

        Raises:
            Transient, Refused: as `get_json`.
        """
        response = self.send(path, {}, form=form)
        check_status(response)
        return json_object(response)

    def close(self) -> None:
        """Close the connections, if any were opened."""
        if "_session" in self.__dict__:
            self._session.close()

    @cached_property
    def _session(self) -> Any:
        session = self._open_session()
        if is_loopback(self.base_url):
            session.trust_env = False
        return session


def exchange_door(feed: str, config: ExchangeFeedConfig) -> Door:
    """The door to a board's server, `feed` being "twse" or "tpex"; its proxies are twstock's.

    All doors to one host share one pace.

    Raises:
        ConfigError: the base address is none.
    """
    return Door(
        feed,
        config.base_url,
        timeout_s=config.timeout_s,
        attempts=config.attempts,
        pace=pace_of(urlsplit(config.base_url).netloc, config.requests_per_window, config.window_s),
        open_session=partial(exchange_session, config.base_url),
    )


def check_status(response: Any) -> None:
    """Refuse an answer whose HTTP status isn't 200.

    Raises:
        AskedToWait: too many requests, or the server is busy; with the pause it asked for, if it did.
        Refused: anything else: asking again would not help.
    """
    status: int = response.status_code
    if status == HTTPStatus.OK:
        return
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait_s = _retry_after_s(response.headers)
        raise AskedToWait(f"HTTP {status}" + (f", come back in {wait_s:g} s" if wait_s else ""), wait_s)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        # A ban looks so too, hence not for ever: the exchanges send a banned client to a page of words.
        raise AskedToWait(f"HTTP {status}, a redirect", None)
    raise Refused(f"HTTP {status}")


def json_object(response: Any) -> dict[str, Any]:
    """The answer's body as a JSON object.

    Raises:
        Transient: it is none: the exchanges answer an overload or a ban with a page of HTML.
    """
    body: bytes = response.content
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "HTML" if body.lstrip()[:1] == b"<" else "a broken answer"
        raise Transient(f"{what} instead of JSON" if body.strip() else "an empty answer") from error
    if not isinstance(value, dict):
        raise Transient("JSON, but no object")
    return value


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The pause that a Retry-After header asks for, seconds. A date counts from the answer's own Date header."""
    told = headers.get("Retry-After", "").strip()
    if told.isascii() and told.isdigit():
        return float(told[:9])
    try:
        wait_s = (parsedate_to_datetime(told) - parsedate_to_datetime(headers.get("Date", ""))).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0.0, wait_s)


def _reason(error: BaseException) -> str:
    """Why a connection failed, in the operating system's words: requests buries them four layers deep."""
    import ssl

    seen: BaseException | None = error
    for _ in range(_DEEPEST_CAUSE):
        if seen is None:
            break
        if isinstance(seen, ssl.SSLError):
            return f"TLS: {getattr(seen, 'verify_message', '') or seen.reason or seen}"
        if isinstance(seen, OSError) and seen.errno is not None and seen.strerror:
            return seen.strerror.lower()
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None)
        seen = seen.__cause__ or seen.__context__ or (inner if isinstance(inner, BaseException) else None)
    return "the connection failed"


def _plain_session() -> Any:
    import requests

    return requests.Session()


def exchange_session(base_url: str) -> Any:
    """A session that verifies the exchanges' certificates (see bot/adapters/tls.py), with the proxies of twstock."""
    import requests
    from twstock.proxy import get_proxies

    from bot.adapters.tls import VerifiedAdapter, client_context, is_exchange

    ours = is_exchange(urlsplit(base_url).hostname or "")
    session = requests.Session()
    session.mount("https://", VerifiedAdapter(client_context(exchange=ours), complete=ours))
    session.proxies.update(get_proxies())
    return session
