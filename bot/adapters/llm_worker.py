"""The child process that holds the LLM: one JSON request a line on stdin, one JSON answer a line on stdout.

`python -m bot.adapters.llm_worker`; bot/adapters/llm_child.py starts it. The first line is the configuration, and its
answer says which model is loaded. The process ends when its stdin does, in the middle of an answer too.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from bot.config import ModelConfig
from bot.core.forecast import Forecast, Sentiment
from bot.errors import BotError
from bot.ports import Engine, Explains, Question


class Hello(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Load this model; answered by `Ready`."""

    config: ModelConfig


class Forecasts(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Forecast these; answered by `Told`."""

    questions: tuple[Question, ...]


class Titles(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Read these headlines; answered by `Moods`."""

    titles: tuple[str, ...]


class Ready(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The model is loaded."""

    model: str


class Told(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A forecast, or None, for each question."""

    forecasts: list[Forecast | None]
    abstentions: dict[str, int] = {}


class Moods(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The mood of each headline."""

    sentiments: list[Sentiment | None]
    abstentions: dict[str, int] = {}


class Failed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """No answer, and why; `refused` when trying again would not help. The process goes on."""

    message: str
    refused: bool


Request = Hello | Forecasts | Titles
Answer = Ready | Told | Moods | Failed
_ANSWERS: Final[msgspec.json.Decoder[Answer]] = msgspec.json.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """A message as one line."""
    return msgspec.json.encode(message, enc_hook=_encode) + b"\n"


def decode_answer(line: bytes) -> Answer:
    """The answer in a line from the child.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _ANSWERS.decode(line)


def main() -> None:
    """Load the model, then answer until stdin ends."""
    out = _take_stdout()
    lines = _lines_of(sys.stdin.buffer)
    decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request, dec_hook=_decode)
    engine: Engine | None = None
    while True:
        try:
            request = decoder.decode(lines.get())
            if isinstance(request, Hello):
                engine = _load(request.config)
                answer: Answer = Ready(model=engine.model)
            else:
                answer = _answer(engine, request)
        except BotError as wrong:
            answer = Failed(message=str(wrong), refused=type(wrong).__name__ == "Refused")
        except Exception as wrong:  # noqa: BLE001  (this answer failed; the parent abstains and reports)
            answer = Failed(message=f"{type(wrong).__name__}: {wrong}".splitlines()[0], refused=False)
        out.write(encode(answer))
        out.flush()


def _load(config: ModelConfig) -> Engine:
    """The engine that the configuration names."""
    if config.engine == "transformers":  # vLLM and unsloth get the whole of it: with that they ran on a GPU
        import bot.adapters.lean_transformers  # noqa: F401  (before transformers)

    from transformers.utils import logging  # isort: skip

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if config.engine == "vllm":
        from bot.adapters.llm_vllm import VllmEngine

        return VllmEngine(config)
    from bot.adapters.llm_transformers import TransformersEngine

    engine = TransformersEngine(config)
    if config.style == "seed":
        from bot.adapters.llm_seed import SeedEngine

        return SeedEngine(engine, config)
    return engine


def _answer(engine: Engine | None, request: Forecasts | Titles) -> Told | Moods:
    """The engine's answer to one request."""
    if engine is None:
        raise RuntimeError("no model was loaded")
    if isinstance(request, Titles):
        return Moods(sentiments=list(engine.sentiment(request.titles)), abstentions=_reasons(engine))
    return Told(forecasts=engine.forecast(request.questions), abstentions=_reasons(engine))


def _reasons(engine: Engine) -> dict[str, int]:
    """Why the engine's last batch has holes, where it tells."""
    return dict(engine.abstentions) if isinstance(engine, Explains) else {}


def _take_stdout() -> BinaryIO:
    """The real stdout, for answers only: whatever libraries print goes to stderr from here on."""
    ours = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return ours


def _lines_of(stdin: BinaryIO) -> queue.Queue[bytes]:
    """The lines of stdin as they come; its end ends the process at once."""
    lines: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        for line in stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return lines


def _encode(value: Any) -> str:
    """Paths are the one type here that msgspec does not know."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decode(kind: type, value: Any) -> Path:
    """The way back."""
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind.__name__)


if __name__ == "__main__":
    main()
