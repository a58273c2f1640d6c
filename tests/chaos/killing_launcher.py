"""`python -m bot`, watched: the process kills itself with SIGKILL when it passes an armed point.

As a program: `python killing_launcher.py PLAN WORDS...` runs `python -m bot WORDS...` in this fresh interpreter.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, Literal

from kill_points import Watch


class Log:
    """Lines that survive SIGKILL: each is one write to a file opened for appending."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(self, **told: object) -> None:
        """Add one line; `at` is the machine's monotonic time, the same for all processes."""
        os.write(self._file, (json.dumps({"at": time.monotonic(), **told}) + "\n").encode())


def install(plan: dict[str, Any]) -> Watch:
    """Watch this process as `plan` says: {"armed": {point: passages left}, "log": path}."""
    log = Log(plan["log"])

    def die(point: str) -> None:
        log.say(killed=point, armed=watch.armed)
        os.kill(os.getpid(), signal.SIGKILL)

    watch = Watch(armed=dict(plan["armed"]), die=die, ready=lambda: log.say(ready=True))
    _watch_database(watch)
    _watch_wire(watch)
    return watch


def finish(plan: dict[str, Any], watch: Watch) -> None:
    """The process ends by itself: say how many passages are left."""
    Log(plan["log"]).say(ended=True, armed=watch.armed)


def _watch_database(watch: Watch) -> None:
    class Watched(sqlite3.Connection):
        """A connection that tells what it is about to do and what it has committed."""

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            watch.statement(sql, parameters.values() if isinstance(parameters, dict) else parameters)
            cursor = super().execute(sql, parameters)
            if sql.lstrip()[:6].upper() == "COMMIT":
                watch.committed()
            return cursor

        def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
            rows = [row.values() if isinstance(row, dict) else row for row in parameters]
            watch.statement(sql, (value for row in rows for value in row))
            return super().executemany(sql, parameters)

        def commit(self) -> None:
            if self.in_transaction:
                watch.statement("COMMIT", ())
                super().commit()
                watch.committed()

        def rollback(self) -> None:
            watch.statement("ROLLBACK", ())
            super().rollback()

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> Literal[False]:
            if kind is None:
                self.commit()
            else:
                self.rollback()
            return False

    real = sqlite3.connect

    def connect(*words: Any, **more: Any) -> sqlite3.Connection:
        return real(*words, **{"factory": Watched, **more})

    sqlite3.connect = connect  # type: ignore[assignment]


def _watch_wire(watch: Watch) -> None:
    import httpx

    real = httpx.HTTPTransport.handle_request

    def handle_request(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "POST" and path.endswith("/sandbox/clock"):
            watch.moves_clock()
        watch.leaving(path)

        def trace(event: str, _: dict[str, Any]) -> None:
            if event == "http11.receive_response_headers.started":
                watch.sent(path)

        request.extensions = {**request.extensions, "trace": trace}
        try:
            return real(self, request)
        finally:
            watch.answered(path)

    httpx.HTTPTransport.handle_request = handle_request  # type: ignore[method-assign]


def main() -> None:
    """Run the product's own `python -m bot` in this interpreter, watched."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    watch = install(plan)
    sys.argv = ["twtrader", *sys.argv[2:]]
    try:
        runpy.run_module("bot", run_name="__main__", alter_sys=True)
    finally:
        finish(plan, watch)


if __name__ == "__main__":
    main()
