"""Counts every request and, when told to, breaks the answer in the ways the real servers do."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from bot.errors import Refused
from bot.sandbox.account import WINDOW_CLOSED

NONE: Final = "none"
HANG: Final = "hang"
HANG_BEFORE: Final = "hang_before"
RESET: Final = "reset"
RESET_AFTER: Final = "reset_after"
ACCEPTED_TWICE: Final = "accepted_twice"
HOLDINGS_STALE: Final = "holdings_stale"
WRONG_MONTH: Final = "twse_wrong_month"
REPEAT_LAST_SESSION: Final = "repeat_last_session"
BAD_ROW: Final = "bad_row"
LLM_CUT: Final = "llm_cut"
LLM_GARBAGE: Final = "llm_garbage"
_THE_ROUTE_PLAYS: Final = frozenset(
    {NONE, WRONG_MONTH, REPEAT_LAST_SESSION, BAD_ROW, HOLDINGS_STALE, LLM_CUT, LLM_GARBAGE}
)

# Faults that answer in the application's stead: nothing is bought, nothing is read.
_ANSWERS: Final[Mapping[str, Callable[[], Response]]] = {
    "http_500": lambda: PlainTextResponse("Internal Server Error", 500),
    "html": lambda: HTMLResponse(
        "<!DOCTYPE html><html><body><h1>因為安全性考量，您所執行的頁面無法呈現</h1></body></html>"
    ),
    "empty": lambda: Response(b"", media_type="application/json"),
    "wrong_json": lambda: JSONResponse({"unexpected": True}),
    "twse_busy": lambda: HTMLResponse("<html><body>Precondition Required</body></html>", 428),
    # A false "no session today" has been seen. Source: api/STOCK_API.md, "Orders"
    "no_session": lambda: JSONResponse({"result": "failed", "status": WINDOW_CLOSED}),
    # A model server whose queue is full says when to come back. Source: RFC 6585; OpenAI's error object
    "http_429": lambda: JSONResponse(
        {"error": {"message": "Rate limit reached", "type": "rate_limit_error", "param": None, "code": 429}},
        429,
        headers={"Retry-After": "0"},
    ),
    "holdings_failed": lambda: JSONResponse({"result": "failed", "status": "取得使用者庫存失敗"}),
}
# Faults that let the application act, and then answer something else: the order is booked, its answer lost.
_ANSWERS_AFTER: Final[Mapping[str, Callable[[], Response]]] = {
    "http_503_after": lambda: PlainTextResponse("Service Unavailable", 503),
    "html_after": _ANSWERS["html"],
    "empty_after": _ANSWERS["empty"],
    "wrong_json_after": _ANSWERS["wrong_json"],
}
# Faults that send back what came in, secrets included: a debug page, and a failure that quotes the form.
_ECHOES: Final[Mapping[str, Callable[[bytes], Response]]] = {
    "echo_html": lambda body: HTMLResponse(f"<html><body><h1>Whoops</h1><pre>{_echo(body)}</pre></body></html>"),
    "echo_json": lambda body: JSONResponse({"result": "failed", "status": _echo(body)}),
}
_ON_THE_WIRE: Final = frozenset({HANG, HANG_BEFORE, RESET, RESET_AFTER, ACCEPTED_TWICE})
KINDS: Final = frozenset({*_ANSWERS, *_ANSWERS_AFTER, *_ECHOES, *_THE_ROUTE_PLAYS, *_ON_THE_WIRE})
_CONTROL: Final = "/sandbox/"
_STOCK_API: Final = "/stock/"
_SCOPE_KEY: Final = "sandbox.fault"
_POST_KEY: Final = "sandbox.post"
_LOG_LENGTH: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to the next `times` requests whose path begins with `path`.

    Kinds that end in `_after`, and `hang`, act first: the order is booked and its answer lost, or `seconds` late.
    `hang_before` keeps the request as long without acting, and then cuts the connection. Neither waits longer than
    the client does, so that "30 s late" costs a client with a time-out of 0.1 s just that. `none` breaks nothing: it
    keeps a place in the queue, so that the third order may go wrong and the first two not.
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
        self.posts: list[dict[str, Any]] = []
        self.faults: list[Fault] = []

    def forget(self) -> None:
        """Begin anew, as with a new process."""
        self.counts.clear()
        self.recent.clear()
        self.posts.clear()
        self.faults.clear()

    def posted(self, path: str, body: bytes, fault: str, at: str) -> dict[str, Any]:
        """Write a POST to the stock API down, whole but for the password; the route adds what came of it."""
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        form.pop("password", None)
        post = {"number": len(self.posts) + 1, "at": at, "path": path, "form": form, "fault": fault, "reservations": []}
        self.posts.append(post)
        return post

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
        kind, body = fault.kind if fault else "", b""
        if scope["method"] == "POST" and scope["path"].startswith(_STOCK_API):
            body = await _body_of(receive)
            at = scope["app"].state.world.now().isoformat()
            scope = {**scope, _POST_KEY: self._wire.posted(scope["path"], body, kind, at)}
            receive = _again(body, receive)
        if fault is None or kind in _THE_ROUTE_PLAYS:
            await self._app({**scope, _SCOPE_KEY: kind}, receive, send)
        elif kind in _ANSWERS:
            await _ANSWERS[kind]()(scope, receive, send)
        elif kind in _ECHOES:
            await _ECHOES[kind](body + _header_lines(scope))(scope, receive, send)
        elif kind == RESET:
            reset_connection(scope)
        elif kind == HANG_BEFORE:
            if not await _hung_up(receive, fault.seconds):
                reset_connection(scope)
        elif kind == ACCEPTED_TWICE:
            await self._twice(scope, receive, send)
        else:
            await self._late_or_lost(fault, scope, receive, send)

    async def _late_or_lost(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application act, then send its answer late, another one in its place, or none."""
        answer = await self._act(scope, receive)
        if fault.kind in _ANSWERS_AFTER:
            await _ANSWERS_AFTER[fault.kind]()(scope, receive, send)
        elif fault.kind == RESET_AFTER:
            reset_connection(scope)
        elif not await _hung_up(receive, fault.seconds):
            for message in answer:
                await send(message)

    async def _twice(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application act two times on one request, and send its first answer."""
        body = await _body_of(receive)
        first = await self._act(scope, _again(body, receive))
        await self._act(scope, _again(body, receive))
        for message in first:
            await send(message)

    async def _act(self, scope: Scope, receive: Receive) -> list[Message]:
        """What the application answers, kept back."""
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app({**scope}, receive, keep)  # the routers write into a scope, and it may be used again
        return answer


def _header_lines(scope: Scope) -> bytes:
    """The request's headers, as a debug page shows them."""
    return b"".join(b"\n" + name + b": " + value for name, value in scope["headers"])


def _echo(body: bytes) -> str:
    """A form as it came, and its fields as a page, JSON and base64 would show them."""
    text = body.decode(errors="replace")
    form = dict(parse_qsl(text))
    plain = " ".join(form.values())
    told = (plain, text, html.escape(plain), json.dumps(form), base64.b64encode(body).decode(), repr(form))
    return " | ".join(told)


async def _body_of(receive: Receive) -> bytes:
    """The whole body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives `body` once more, and then whatever comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


async def _hung_up(receive: Receive, seconds: float) -> bool:
    """Wait `seconds`, but no longer than the client does; whether it has hung up."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


def post_of(scope: Scope) -> dict[str, Any]:
    """The entry in the log of POSTs that belongs to a request of the stock API."""
    post: dict[str, Any] = scope[_POST_KEY]
    return post


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
