"""Whose time it is: this machine's, or a sandbox's that its user moves."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from bot.config import TAIPEI
from bot.errors import DataMissing, Refused, Transient

if TYPE_CHECKING:
    import httpx  # a tenth of a second that `twtrader status` on this machine's clock need not wait

_TIMEOUT_S = 5.0
_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.1


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The moment, aware, Asia/Taipei."""
        return datetime.now(TAIPEI)


class SandboxClock:
    """The clock of the sandbox at `url`: everything asked of that sandbox happens at this moment."""

    def __init__(self, url: str) -> None:
        """Nothing is asked yet.

        Raises:
            ConfigError: `url` is no address.
        """
        import ssl

        import httpx

        from bot.adapters.door import checked_base_url, is_loopback, shown
        from bot.adapters.retry import Retry

        base_url = checked_base_url(url, "clock.url")
        self._url = f"{base_url}/sandbox/clock"
        self._retry = Retry(source=f"clock at {shown(base_url)}", attempts=_ATTEMPTS, first_pause_s=_FIRST_PAUSE_S)
        # Reading all certificates takes 30 ms and is for nothing on plain http; a context without any trusts nobody.
        verify = True if base_url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=not is_loopback(base_url), verify=verify)

    def now(self) -> datetime:
        """The moment, aware, Asia/Taipei.

        Raises:
            Refused: the sandbox doesn't answer, or not with a moment.
        """
        return self._ask("the time", "GET", None)

    def move_to(self, moment: datetime) -> datetime:
        """The moment after moving the sandbox's clock to `moment` (aware). Safe to repeat: it sets, it doesn't add.

        Raises:
            Refused: as `now`; or the sandbox refuses, as when time would run backwards.
            ValueError: `moment` is naive.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no timezone")
        return self._ask(f"to move to {moment.isoformat()}", "POST", {"now": moment.isoformat()})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, asked: str, method: str, body: dict[str, str] | None) -> datetime:
        try:
            return self._retry(asked, lambda: self._once(method, body))
        except DataMissing as failed:
            raise Refused(str(failed)) from failed

    def _once(self, method: str, body: dict[str, str] | None) -> datetime:
        import httpx

        from bot.adapters.retry import Unreachable

        try:
            response = self._client.request(method, self._url, json=body)
        except httpx.TimeoutException as error:
            raise Unreachable(f"no answer within {_TIMEOUT_S:g} s") from error
        except httpx.HTTPError as error:
            raise Unreachable(_reason(error)) from error
        if response.is_server_error:
            raise Transient(f"HTTP {response.status_code}")
        if not response.is_success:
            raise Refused(f"HTTP {response.status_code}: {response.text[:120]}")
        return _moment(response)


def _moment(response: httpx.Response) -> datetime:
    """The aware moment in the sandbox's {"now": ISO 8601}."""
    try:
        told: Any = response.json()["now"]
        moment = datetime.fromisoformat(told)
    except (ValueError, TypeError, KeyError) as error:
        raise Refused("no sandbox: the answer holds no time") from error
    if moment.tzinfo is None:
        raise Refused(f"the answer {told} has no timezone")
    return moment.astimezone(TAIPEI)


def _reason(error: httpx.HTTPError) -> str:
    """The words of httpx without the errno: "[Errno 111] Connection refused" -> "connection refused"."""
    return str(error).rpartition("] ")[2].lower() or type(error).__name__


def clock_at(url: str) -> SystemClock | SandboxClock:
    """The sandbox's clock at `url`, or this machine's where it is empty."""
    return SandboxClock(url) if url else SystemClock()
