"""A sandbox as a child process, for the demo and the end-to-end tests; it dies with its parent."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import httpx

from bot.errors import Refused
from bot.sandbox.settings import SandboxSettings, aware, moment

_ROOT: Final = Path(__file__).parents[2]  # where `bot` is imported from
_TIMEOUT_S: Final = 30.0
_END_WITHIN_S: Final = 5.0


class Sandbox:
    """A running sandbox: its address, its clock and its books. Close it, or use it in a `with`."""

    def __init__(self, child: subprocess.Popen[str], url: str) -> None:
        """`child` listens at `url`."""
        self._child = child
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)
        self.url = url

    @property
    def clock(self) -> datetime:
        """The moment on its clock."""
        return moment(self._ask("GET", "/sandbox/clock")["now"])

    def move_to(self, target: datetime) -> list[date]:
        """Move its clock to `target` (Taipei when naive); the sessions settled on the way.

        Raises:
            Refused: `target` lies in its past.
        """
        told = self._ask("POST", "/sandbox/clock", {"now": aware(target).isoformat()})
        return [date.fromisoformat(session) for session in told["settled"]]

    def skew(self, seconds: float) -> None:
        """Let the clock that clients read be off by `seconds`; the exchange's own time stays as it is."""
        self._ask("POST", "/sandbox/clock", {"skew_s": seconds})

    def book(self, account: str = "") -> dict[str, Any]:
        """Cash, positions and orders of `account`, the first one by default."""
        return self._ask("GET", f"/sandbox/book?account={account}")

    def sessions(self, first: date, last: date) -> list[date]:
        """The trading days in first..last, future ones too."""
        told = self._ask("GET", f"/sandbox/sessions?from={first}&to={last}")
        return [date.fromisoformat(session) for session in told["sessions"]]

    def fault(self, path: str, kind: str, *, times: int = 1, seconds: float = 30.0) -> None:
        """Break the next `times` answers under `path`; kinds are in bot/sandbox/faults.py.

        Raises:
            Refused: there is no such fault.
        """
        self._ask("POST", "/sandbox/faults", {"path": path, "kind": kind, "times": times, "seconds": seconds})

    def clear_faults(self) -> None:
        """Break nothing any more."""
        self._ask("DELETE", "/sandbox/faults")

    def publish(self, code: str, title: str, *, language: str = "zh") -> None:
        """Print a headline about `code`, word for word, at the moment on its clock.

        Raises:
            Refused: it has no such company.
        """
        self._ask("POST", "/sandbox/headlines", {"code": code, "title": title, "language": language})

    def requests(self) -> dict[str, int]:
        """How often each path was asked for."""
        return dict(self._ask("GET", "/sandbox/requests")["counts"])

    def asked(self) -> list[dict[str, Any]]:
        """The last requests, oldest first: method, path, query, and the seconds on the machine's clock."""
        return list(self._ask("GET", "/sandbox/requests")["recent"])

    def posts(self) -> list[dict[str, Any]]:
        """Every POST to the stock API, oldest first: number, at, path, form, fault, numbers of its reservations."""
        return list(self._ask("GET", "/sandbox/posts")["posts"])

    def reset(self, *, start: datetime, seed: int, codes: Sequence[str], cash_twd: int) -> None:
        """Another world in the same process, as a new sandbox with these settings would be.

        Raises:
            Refused: the market can't be had; everything is as it was.
        """
        told = {"start": aware(start).isoformat(), "seed": seed, "codes": list(codes), "cash_twd": cash_twd}
        self._ask("POST", "/sandbox/reset", told)

    def close(self) -> None:
        """End it."""
        self._http.close()
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON answer of a control route.

        Raises:
            Refused: in its own words.
        """
        content = None if body is None else json.dumps(body)  # in ASCII: half a character comes through as well
        reply = self._http.request(method, path, content=content, headers={"content-type": "application/json"})
        told: dict[str, Any] = reply.json()
        if reply.status_code != httpx.codes.OK:
            raise Refused(told["error"])
        return told


def start_sandbox(settings: SandboxSettings) -> Sandbox:
    """A sandbox in a process of its own, ready to answer.

    Raises:
        Refused: it would not start, in its own words.
    """
    words = dataclasses.replace(settings, until_stdin_closes=True).words()
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        child = subprocess.Popen(  # noqa: S603  (our own interpreter and words)
            [sys.executable, "-m", "bot.sandbox.serve", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            encoding="utf-8",
        )
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise Refused(_last_words(child, errors))
    return Sandbox(child, json.loads(line)["listening"])


def _last_words(child: subprocess.Popen[str], errors: IO[str]) -> str:
    """Why `child` ended before it listened."""
    code = child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
    errors.seek(0)
    lines = errors.read().strip().splitlines()
    return lines[-1] if lines else f"sandbox: ended with exit code {code} and said nothing"
