"""Promotions that are killed (kill -9) right before each thing they do to the disk, each in a process of its own.

`python dying_promotion.py KIND SOURCE MODELS`: for every step a fresh copy of MODELS, a forked child that dies before
that step, and a line of JSON: the step and what it was, what is live, and whether a second try went through.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from bot.adapters.adapter_store import FOLDER, read_adapter, read_promoted
from training.promoted import promote, rollback

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile", "shutil.rmtree", "sync")


def act(kind: str, source: Path, models: Path) -> None:
    if kind == "promote":
        promote(source, models, card="# a card\n", scores={"x": 1.0}, at=AT)
    else:
        rollback(models, at=AT)


def die_before(step: int, models: Path) -> None:
    """This process kills itself before its `step`th change below `models`."""
    left, where = step, str(models)
    plain = os.fsync

    def happened(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        path = str(args[0]) if args else ""
        if event in CHANGES and path.startswith(where) and not _reads(event, args):
            left -= 1
            if left == 0:
                Path(where + ".died").write_text(f"{event} {Path(path).name}")  # outside `models`: not counted
                os.kill(os.getpid(), signal.SIGKILL)

    def sync(file: int) -> None:
        happened("sync", (str(Path(f"/proc/self/fd/{file}").readlink()),))
        plain(file)

    os.fsync = sync
    sys.addaudithook(happened)


def _reads(event: str, args: tuple[object, ...]) -> bool:
    return event == "open" and not int(args[2]) & (os.O_WRONLY | os.O_RDWR)  # type: ignore[call-overload]


def main() -> None:
    kind, source, models = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    for step in range(1, 200):
        place = models.with_name(f"{models.name}-{step}")
        shutil.copytree(models, place)
        child = os.fork()
        if child == 0:
            die_before(step, place)
            act(kind, source, place)
            os._exit(0)
        ended = os.waitpid(child, 0)[1]
        live = read_promoted(place / FOLDER).live
        if live:
            read_adapter(place / FOLDER / live)  # whole, every hash
        if ended == 0:
            print(json.dumps({"step": step, "what": "end", "live": live, "again": ""}))
            return
        assert os.WTERMSIG(ended) == signal.SIGKILL, ended
        try:
            act(kind, source, place)
            again = read_promoted(place / FOLDER).live
        except Exception as wrong:  # noqa: BLE001  (the test reads it)
            again = str(wrong)
        died = Path(str(place) + ".died").read_text()
        print(json.dumps({"step": step, "what": died, "live": live, "again": again}))
    raise SystemExit("it never came to an end")


if __name__ == "__main__":
    main()
