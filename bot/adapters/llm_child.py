"""The LLM from outside: an Engine whose model lives in a child process, so that the daemon stays small.

The child starts with the first question and gives all its memory back at `close`, on a time-out, and when we die.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import msgspec

from bot.adapters.adapter_store import but_for_the_device, engine_name, learned_columns, pin_adapter
from bot.adapters.engine_ways import require_engine
from bot.adapters.llm_worker import (
    Answer,
    Failed,
    Forecasts,
    Hello,
    Moods,
    Ready,
    Request,
    Titles,
    Told,
    decode_answer,
    encode,
)
from bot.adapters.model_store import require_llm_packages
from bot.config import ModelConfig
from bot.core.forecast import Forecast, Sentiment
from bot.core.foreign_text import storable
from bot.errors import EngineFailed, Refused
from bot.ports import Question

OURS: Final = Path(__file__).resolve().parents[2]  # where the child finds the package bot
GOODBYE_S: Final = 5.0  # for a child to end by itself
SECRETS: Final = ("TWTRADER_", "NEWSAPI_")  # what a model has no business to see


class ChildEngine:
    """Asks a model in a child process; implements `bot.ports.Engine`. One call at a time, from any thread."""

    def __init__(self, config: ModelConfig) -> None:
        """Remember the configuration; nothing starts before the first question."""
        self._config = config
        self._child: _Child | None = None
        self._model = ""
        self._lock = threading.Lock()
        self._abstentions: dict[str, int] = {}

    @property
    def abstentions(self) -> dict[str, int]:
        """Why the last batch has holes, with how many, as far as the engine in the child tells."""
        return self._abstentions

    @property
    def model(self) -> str:
        """The model's name and the first 12 hex digits of the sha256 of its weights and its adapter's; starts no child.

        Raises:
            Refused: the model or its adapter is not there, or they do not belong together.
        """
        if not self._model:
            self._config = pin_adapter(self._config)  # one evening, one adapter, whatever is promoted meanwhile
            self._model = engine_name(self._config)
        return self._model

    @property
    def columns(self) -> tuple[str, ...]:
        """What a past bar's line tells this model; starts no child.

        Raises:
            Refused: as `model`.
        """
        _ = self.model  # which adapter it is
        return learned_columns(self._config)

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is no child."""
        return self._child.process.pid if self._child else None

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None where a question does not fit into the model's window.

        Raises:
            Refused: the model or the packages that run it are not there.
            EngineFailed: the child died, failed or took longer than the config allows; the next call starts another.
        """
        if not questions:
            return []
        answer = self._ask(Forecasts(questions=tuple(map(_storable, questions))))
        if not isinstance(answer, Told) or len(answer.forecasts) != len(questions):
            raise EngineFailed(f"{self.model}: the child's answer does not fit the question")
        self._abstentions = answer.abstentions
        return answer.forecasts

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment | None]:
        """The mood of each headline, in order; raises as `forecast`."""
        if not titles:
            return []
        answer = self._ask(Titles(titles=tuple(map(storable, titles))))
        if not isinstance(answer, Moods) or len(answer.sentiments) != len(titles):
            raise EngineFailed(f"{self.model}: the child's answer does not fit the question")
        self._abstentions = answer.abstentions
        return answer.sentiments

    def close(self) -> None:
        """End the child, which gives the memory back; a later question starts another."""
        with self._lock:
            self._stop()

    def _ask(self, request: Request) -> Answer:
        """The child's answer, within the time that the config allows for it and for a start."""
        with self._lock:
            deadline = time.monotonic() + self._config.timeout_s
            if self._child is None:
                self._child = self._started(deadline)
            try:
                return _checked(self._child.ask(request, deadline))
            finally:
                if not self._child.usable:
                    self._stop()

    def _started(self, deadline: float) -> _Child:
        """A child that has loaded the model."""
        require_llm_packages()
        require_engine(self._config)
        child = _Child(self.model)  # `model` refuses an absent one before anything starts
        try:
            ready = _checked(child.ask(Hello(config=self._config), deadline))
            _check_loaded(ready, child.model)
        except BaseException:
            child.end()
            raise
        return child

    def _stop(self) -> None:
        """No child any more."""
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _Child:
    """A running worker with its pipes; `usable` while it owes no answer."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.usable = True
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bot.adapters.llm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        self._stdin = self.process.stdin
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._said: deque[str] = deque(maxlen=20)
        self._listener = _in_thread(_queue_lines, self.process.stdout, self._lines)
        self._reporter = _in_thread(_keep_lines, self.process.stderr, self._said)

    def ask(self, request: Request, deadline: float) -> Answer:
        """The answer to `request`, which must come before `deadline` on the monotonic clock.

        Raises:
            EngineFailed: it did not come, or can't be read; this child is of no use any more.
        """
        self.usable = False  # whatever interrupts us now, a late answer must not be taken for the next one's
        try:
            self._stdin.write(encode(request))
            self._stdin.flush()
            line = self._lines.get(timeout=max(deadline - time.monotonic(), 0.001))
            if line:
                answer = decode_answer(line)
                self.usable = True
                return answer
            reason = self._death()
        except queue.Empty:
            reason = "no answer in the time that model.timeout_s allows"
        except BrokenPipeError:
            reason = self._death()
        except msgspec.DecodeError as wrong:
            reason = f"an answer that can't be read ({wrong})"
        raise EngineFailed(f"{self.model}: {reason}")

    def end(self) -> None:
        """Close the child's stdin, at which it ends; kill it when it doesn't."""
        if not self.usable:
            self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self.process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for thread in (self._listener, self._reporter):
            thread.join(GOODBYE_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def _death(self) -> str:
        """Why there is no child any more, in one line."""
        try:
            code = self.process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            return "the child closed its output"
        self._reporter.join(GOODBYE_S)
        how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        last = f": {self._said[-1]}" if self._said else ""
        return f"the child was {how}{last}" if code < 0 else f"the child {how}{last}"


def _storable(question: Question) -> Question:
    """The question as the pipe can carry it: a stranger's words may hold half a character."""
    return replace(question, context=tuple(map(storable, question.context))) if question.context else question


def _checked(answer: Answer) -> Answer:
    """The answer, unless it is a failure."""
    if isinstance(answer, Failed):
        raise Refused(answer.message) if answer.refused else EngineFailed(answer.message)
    return answer


def _check_loaded(ready: Answer, model: str) -> None:
    """Refuse a child that answers for other weights than those it was started for, or in another precision."""
    if isinstance(ready, Ready) and ready.model == model:
        return
    if isinstance(ready, Ready) and but_for_the_device(ready.model) == but_for_the_device(model):
        raise Refused(
            f"{model}: torch finds another device here than this machine's signs say, and loaded {ready.model}: "
            'set model.device to "cpu" or "cuda" in config.toml'
        )
    raise EngineFailed(f"{model}: the child loaded something else")


def _environment() -> dict[str, str]:
    """The child's environment: no secrets, no network for the model hub, and the package bot in reach.

    Threads that wait for each other sleep: where others use the cores too, spinning was measured 5 to 20 times slower.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    path = os.pathsep.join(filter(None, (str(OURS), kept.get("PYTHONPATH", ""))))
    ours = {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {"OMP_WAIT_POLICY": "PASSIVE"} | kept | ours


def _in_thread(work: object, *args: object) -> threading.Thread:
    """A daemon thread that is running `work`."""
    thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def _queue_lines(pipe: IO[bytes], lines: queue.Queue[bytes]) -> None:
    """Every line of the child's stdout; an empty one at its end."""
    for line in pipe:
        lines.put(line)
    lines.put(b"")


def _keep_lines(pipe: IO[bytes], said: deque[str]) -> None:
    """The last lines that the child said on stderr."""
    for line in pipe:
        text = line.decode(errors="replace").strip()
        if text:
            said.append(text[:300])
