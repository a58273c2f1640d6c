"""250 sessions with the status view open: no lock, no leak.

    python tests/soak.py --sessions 250      # `make soak`

The real daemon follows the sandbox's clock; beside it the real `twtrader status` redraws itself in a pseudo-terminal
five times a second, and `status --once --json` is asked now and then.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from builders import at
from rehearsals import SECRETS, command, twtrader
from simulated_year import READY_WITHIN_S, Box, a_box, ready_seconds

STAGE_TIMES: Final = ("15:00", "15:45", "17:00", "18:00", "18:20", "18:30")
MOST_GROWTH: Final = 0.05
MOST_MB: Final = 120.0
COLUMNS, LINES = 140, 60


@dataclass(frozen=True)
class Sample:
    """What the processes and the files took after so many sessions; memory in KiB as the kernel counts it."""

    sessions: int
    daemon_kib: int
    daemon_fds: int
    daemon_threads: int
    view_kib: int
    view_fds: int
    view_threads: int
    database_kib: int
    wal_kib: int


def of_process(pid: int) -> tuple[int, int, int]:
    """Resident memory in KiB, open files, threads."""
    told = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    return int(told["VmRSS"].split()[0]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(told["Threads"])


class View:
    """`twtrader status` in a pseudo-terminal, with someone who looks at it."""

    def __init__(self, config: Path) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command(config, "status", "--every", "0.2"), stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, **SECRETS, "COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm"}, cwd=config.parent,
        )  # fmt: skip
        os.close(slave)
        self.drawn = 0  # bytes
        self.said: set[str] = set()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def _look(self) -> None:
        last = ""
        while True:
            try:
                seen = os.read(self._master, 65_536).decode(errors="replace")
            except OSError:  # the other side is closed
                return
            self.drawn += len(seen)
            self.said |= {word for word in ("locked", "Traceback", "Error") if word in last + seen}
            last = seen[-20:]

    def close(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        self._looking.join(30)
        os.close(self._master)
        return code


def sample(sessions: int, box: Box, view: View) -> Sample:
    assert box.process is not None
    files = [box.config.parent / f"twtrader.db{suffix}" for suffix in ("", "-wal")]
    sizes = [file.stat().st_size // 1024 if file.exists() else 0 for file in files]
    return Sample(sessions, *of_process(box.process.pid), *of_process(view.process.pid), *sizes)


def soak(folder: Path, sessions: int, every: int, first: date = date(2025, 1, 2), seed: int = 7) -> dict[str, Any]:
    """Work `sessions` sessions beside an open view; the samples, taken every so many, and what was judged of them."""
    with a_box(folder, first, seed) as (sandbox, box):
        days = sandbox.sessions(first, first + timedelta(days=sessions * 2))[:sessions]
        box.switch_on()
        box.rests_at(sandbox.clock, 0)
        view, samples, asked = View(box.config), [], 0
        for number, day in enumerate(days, start=1):
            for clock in STAGE_TIMES:
                since = len(box.lines)
                sandbox.move_to(at(day, clock))
                box.rests_at(at(day, clock), since)
            if number % every == 0:
                samples.append(sample(number, box, view))
                seen = twtrader(box.config, "status", "--once", "--json")
                assert seen.returncode == 0, seen.stderr
                assert json.loads(seen.stdout)["equity"][-1]["session"] == day.isoformat()
                asked += 1
        assert view.process.poll() is None
        assert view.close() == 0
        assert view.said == set()
        assert view.drawn > 0
        box.switch_off(signal.SIGTERM)
        since = len(box.lines)
        box.switch_on()
        box.rests_at(sandbox.clock, since)
        ready_s = ready_seconds(box.lines[since:])[0]
        box.switch_off(signal.SIGTERM)
        assert not [line for line in box.lines if "locked" in line or "Traceback" in line or " ERROR " in line]
        return {"samples": samples, "views asked": asked, "ready_s": ready_s, "drawn_mb": view.drawn / 1e6}


def judge(told: dict[str, Any], since: int) -> dict[str, float]:
    """Growth of memory between the sample after `since` sessions and the last; everything else must stand still."""
    samples: list[Sample] = [one for one in told["samples"] if one.sessions >= since]
    first, last = samples[0], samples[-1]
    for name in ("daemon_fds", "daemon_threads", "view_fds", "view_threads"):
        counts = [getattr(one, name) for one in samples]
        assert counts[-1] <= counts[0], (name, counts)
        assert max(counts) - min(counts) <= 1, (name, counts)  # a connection may be between two requests
    growth = {name: getattr(last, name) / getattr(first, name) - 1 for name in ("daemon_kib", "view_kib")}
    assert all(one < MOST_GROWTH for one in growth.values()), growth
    assert last.daemon_kib / 1024 < MOST_MB
    assert told["ready_s"] <= READY_WITHIN_S
    return growth


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--sessions", type=int, default=250)
    asked.add_argument("--every", type=int, default=25)
    asked.add_argument("--seed", type=int, default=7)
    options = asked.parse_args()
    # A shell starts background jobs deaf to ctrl-c, and their children would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = soak(Path(folder), options.sessions, options.every, seed=options.seed)
    for name in asdict(told["samples"][0]):
        print(f"{name:<16}" + "".join(f"{getattr(one, name):>9,}" for one in told["samples"]))
    print(f"ready after {options.sessions} sessions of history: {told['ready_s']:.2f} s; "
          f"drawn {told['drawn_mb']:.1f} MB; {time.monotonic() - begun:.0f} s in all")  # fmt: skip
    for name, grown in judge(told, options.every).items():
        print(f"{name} grew by {grown:+.1%} between session {options.every} and {options.sessions}")


if __name__ == "__main__":
    main()
