"""Real `twtrader` processes for the chaos runs: forked from a warm server, or started fresh, each watched or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from builders import REPO
from rehearsals import SECRETS

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(REPO), str(REPO / "tests"), str(HERE)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that has ended: exit code (negative: killed by that signal), moment of its start, and its words."""

    code: int
    started: float
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether it died by SIGKILL."""
        return self.code == -9


class ForkServer:
    """Starts processes as forks of one warm interpreter."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": PATHS, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._read()

    def __call__(
        self, config: Path, words: Sequence[str], plan: Mapping[str, Any] | None = None, *, learn: bool = False
    ) -> Ended:
        """Run one command to its end; with `learn`, later ones find everything imported that it imported."""
        told = {
            "words": ["--config", str(config), *words], "folder": str(config.parent), "environment": SECRETS,
            "plan": plan, "learn": learn,
        }  # fmt: skip
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(told) + "\n")
        self._child.stdin.flush()
        answer = self._read()
        out, err = ((config.parent / name).read_text(encoding="utf-8") for name in ("out.txt", "err.txt"))
        return Ended(code=answer["code"], started=answer["started"], out=out, err=err)

    def _read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with {self._child.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(10)
        self._child.stdout.close()


class FreshStarts:
    """Starts each process as a fresh interpreter that runs `python -m bot`."""

    def __call__(self, config: Path, words: Sequence[str], plan: Mapping[str, Any] | None = None) -> Ended:
        """Run one command to its end."""
        watched = ["-m", "bot"]
        if plan is not None:
            plan_path = config.parent / "plan.json"
            plan_path.write_text(json.dumps(plan), encoding="utf-8")
            watched = [str(HERE / "killing_launcher.py"), str(plan_path)]
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, *watched, "--config", str(config), *words],
            env={**os.environ, **SECRETS, "PYTHONPATH": PATHS},
            cwd=config.parent, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return Ended(code=done.returncode, started=started, out=done.stdout, err=done.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return
