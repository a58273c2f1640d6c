"""A teacher on loopback whose every answer a test chooses; it keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | int | dict[str, Any] | None  # content, an HTTP status, a whole body, or a hang-up


class LoopbackTeacher:
    """Answers with what `says(number, body)` returns."""

    def __init__(self, says: Callable[[int, dict[str, Any]], Answer], usage: dict[str, int] | None) -> None:
        self.says, self.usage = says, usage
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._lock = threading.Lock()

    def note(self, body: dict[str, Any], headers: dict[str, str]) -> int:
        with self._lock:
            self.bodies.append(body)
            self.headers.append(headers)
            return len(self.bodies)

    def asked(self) -> list[str]:
        """The last word of the user in each request."""
        return [body["messages"][-1]["content"] for body in self.bodies]


@contextmanager
def loopback_teacher(
    says: Callable[[int, dict[str, Any]], Answer], usage: dict[str, int] | None = None
) -> Iterator[LoopbackTeacher]:
    """A running one."""
    teacher = LoopbackTeacher(says, usage)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told = teacher.says(teacher.note(body, dict(self.headers)), body)
            if told is None:
                self.close_connection = True
                self.connection.close()
                return
            status = told if isinstance(told, int) else 200
            if isinstance(told, str):
                told = {"choices": [{"message": {"role": "assistant", "content": told}, "finish_reason": "stop"}]}
                if teacher.usage:
                    told["usage"] = teacher.usage
            text = json.dumps(told if isinstance(told, dict) else {"error": {"message": "no"}}).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                self.close_connection = True  # the client was killed

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
