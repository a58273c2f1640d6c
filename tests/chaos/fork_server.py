"""Starts daemons without paying for the imports each time: this process imports `bot` once, and each daemon is a fork.

A forked daemon is a process of its own with its own pid, locks and connections, and dies by SIGKILL like any other.
One JSON line in: {"words", "folder", "environment", "plan"}; one out: {"pid", "started", "code"} when it has ended. With
"learn": true the server imports, after that daemon's end, what it had imported: no list of modules to keep in step.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import ssl
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import killing_launcher

import bot.cli
from bot.adapters.clocks import SandboxClock
from bot.adapters.twstock_codes import listed_on


def learn(names: list[str]) -> None:
    """Import what a daemon had imported at its end."""
    for name in names:
        with contextlib.suppress(Exception):  # half of the names are parts of other modules, or gone
            importlib.import_module(name)


def take_shortcuts() -> None:
    """Two savings that change no answer; fresh starts go without them.

    The TLS context is made once: the sandbox speaks plain http. The sandbox's clock stands still until the daemon moves
    it, so the daemon asks for the time once a move instead of 150 times a session.
    """
    context = ssl.create_default_context()
    ssl.create_default_context = lambda *_, **__: context
    httpx._transports.default.create_ssl_context = lambda *_, **__: context  # type: ignore[attr-defined,assignment]
    ask, told = SandboxClock._ask, {}

    def ask_once(self: SandboxClock, asked: str, method: str, body: dict[str, str] | None) -> datetime:
        if method == "POST" or "now" not in told:
            told["now"] = ask(self, asked, method, body)
        return told["now"]

    SandboxClock._ask = ask_once  # type: ignore[method-assign]


def start(told: dict[str, Any]) -> int:
    """Fork one `twtrader` process; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.chdir(told["folder"])
        for number, name, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, "out.txt", os.O_WRONLY),
            (2, "err.txt", os.O_WRONLY),
        ):
            file = os.open(name, flags | (os.O_CREAT | os.O_TRUNC if number else 0), 0o600)
            os.dup2(file, number)
            os.close(file)
        os.environ.update(told["environment"])
        code = _run(told)
        if told.get("learn"):
            Path("modules.json").write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")
    finally:
        os._exit(code)  # nothing of the server's own may run in the child


def _run(told: dict[str, Any]) -> int:
    """The command's exit code."""
    watch = killing_launcher.install(told["plan"]) if told["plan"] else None
    sys.argv = ["twtrader", *told["words"]]
    try:
        bot.cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (the child's outermost frame: what Python itself would print)
        sys.excepthook(*sys.exc_info())
        code = 1
    else:
        code = 0
    if watch:
        killing_launcher.finish(told["plan"], watch)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def main() -> None:
    """Serve until standard input ends."""
    take_shortcuts()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        started = time.monotonic()
        pid = start(told)
        _, status = os.waitpid(pid, 0)
        if told.get("learn"):
            learn(json.loads((Path(told["folder"]) / "modules.json").read_text(encoding="utf-8")))
            listed_on()  # twstock's list of 46,000 codes, read once
            gc.freeze()
        print(json.dumps({"pid": pid, "started": started, "code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
