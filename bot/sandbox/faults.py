"""Counts every request and, when told to, breaks the answer in the ways the real servers do."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bot.errors import Refused

HTTP_503_AFTER: Final = "http_503_after"
HANG: Final = "hang"
RESET: Final = "reset"
WRONG_MONTH: Final = "twse_wrong_month"
REPEAT_LAST_SESSION: Final = "repeat_last_session"
BAD_ROW: Final = "bad_row"
_THE_ROUTE_PLAYS: Final = frozenset({WRONG_MONTH, REPEAT_LAST_SESSION, BAD_ROW})

# Faults that answer in the application's stead: nothing is bought, nothing is read.
_ANSWERS: Final[Mapping[str, Callable[[], Response]]] = {
    "http_500": lambda: PlainTextResponse("Internal Server Error", 500),
    "html": lambda: HTMLResponse(
        "<!DOCTYPE html><html><body><h1>因為安全性考量，您所執行的頁面無法呈現</h1></body></html>"
    ),
    "empty": lambda: Response(b"", media_type="application/json"),
    "wrong_json": lambda: JSONResponse({"unexpected": True}),
    "twse_busy": lambda: HTMLResponse("<html><body>Precondition Required</body></html>", 428),
}
KINDS: Final = frozenset({*_ANSWERS, *_THE_ROUTE_PLAYS, HTTP_503_AFTER, HANG, RESET})
_CONTROL: Final = "/sandbox/"
_SCOPE_KEY: Final = "sandbox.fault"
_LOG_LENGTH: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to the next `times` requests whose path begins with `path`.

    `http_503_after` and `hang` act first: the order is booked, and the answer says 503 or comes `seconds` late.
    """

    path: str
    kind: str
    times: int = 1
    seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse a fault that could not happen.

        Raises:
            Refused: names what is wrong.
        """
        if self.kind not in KINDS:
            raise Refused(f"unknown fault {self.kind!r}: one of {', '.join(sorted(KINDS))}")
        if not self.path.startswith("/") or self.times < 1 or self.seconds < 0:
            raise Refused("a fault needs a path that begins with /, times of at least 1 and seconds of at least 0")


class Wire:
    """What passes between the clients and the application: a log of requests and the faults that wait."""

    def __init__(self) -> None:
        """Nothing has passed, nothing is broken."""
        self.counts: Counter[str] = Counter()
        self.recent: deque[dict[str, Any]] = deque(maxlen=_LOG_LENGTH)
        self.faults: list[Fault] = []

    def saw(self, method: str, path: str, query: str = "") -> None:
        """Write a request down."""
        self.counts[path] += 1
        self.recent.append({"method": method, "path": path, "query": query, "seconds": time.monotonic()})

    def take(self, path: str) -> Fault | None:
        """The oldest fault that waits for `path`, once fewer from now on."""
        for index, fault in enumerate(self.faults):
            if path.startswith(fault.path):
                left = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                self.faults[index : index + 1] = left
                return fault
        return None


class FaultMiddleware:
    """Stands outside the application and passes requests through `wire`."""

    def __init__(self, app: ASGIApp, wire: Wire) -> None:
        """`app` is what answers when nothing is broken."""
        self._app = app
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, then answer rightly or wrongly. The sandbox's own routes are neither counted nor broken."""
        if scope["type"] != "http" or scope["path"].startswith(_CONTROL):
            await self._app(scope, receive, send)
            return
        self._wire.saw(scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
        fault = self._wire.take(scope["path"])
        kind = fault.kind if fault else ""
        if fault is None or kind in _THE_ROUTE_PLAYS:
            await self._app({**scope, _SCOPE_KEY: kind}, receive, send)
        elif kind in _ANSWERS:
            await _ANSWERS[kind]()(scope, receive, send)
        elif kind == RESET:
            reset_connection(scope)
        else:
            await self._late_or_lost(fault, scope, receive, send)

    async def _late_or_lost(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application act, then send its answer late, or a 503 in its place."""
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, receive, keep)
        if fault.kind == HTTP_503_AFTER:
            await PlainTextResponse("Service Unavailable", 503)(scope, receive, send)
            return
        await asyncio.sleep(fault.seconds)
        for message in answer:
            await send(message)


def fault_of(scope: Scope) -> str:
    """The kind of fault that the route itself must play; empty when none."""
    return str(scope.get(_SCOPE_KEY, ""))


_OPEN_CONNECTIONS: Final[dict[tuple[str, int], asyncio.Transport]] = {}


class ResettableProtocol(H11Protocol):
    """uvicorn's protocol that also remembers whose connection is whose: ASGI knows no way to cut one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection by the client's address."""
        super().connection_made(transport)
        if self.client:
            _OPEN_CONNECTIONS[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self.client:
            _OPEN_CONNECTIONS.pop(self.client, None)
        super().connection_lost(exc)


def reset_connection(scope: Scope) -> None:
    """Cut the connection of the request `scope` with a TCP reset."""
    transport = _OPEN_CONNECTIONS[tuple(scope["client"])]
    connection = transport.get_extra_info("socket")
    # Linger on, for 0 seconds: closing sends RST instead of FIN.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
