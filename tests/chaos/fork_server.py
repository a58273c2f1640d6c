"""Starts daemons without paying for the imports each time: this process imports `bot` once, and each daemon is a fork.

A forked daemon is a process of its own with its own pid, locks and connections, and dies by SIGKILL like any other.
One JSON line in: {"words", "folder", "environment", "plan"}; one out: {"pid", "started", "code"} when it has ended.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import time
from typing import Any

import killing_launcher

import bot.adapters
import bot.cli
import bot.daemon
import bot.sandbox.settings
import bot.stages
import bot.wiring


def preload() -> None:
    """Import what a day imports; not the LLM, whose engine is no part of this."""
    for package in (bot.adapters, bot.stages):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if "llm" not in module.name and "shioaji" not in module.name:
                importlib.import_module(module.name)


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
    except BaseException:  # the child's outermost frame: what Python itself would print
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
    preload()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.monotonic()
        pid = start(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"pid": pid, "started": started, "code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
