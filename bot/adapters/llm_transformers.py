"""The LLM on transformers, CPU or CUDA: constrained answers for many questions in lockstep, moods from label logits.

Only this file, the worker that runs it and the model conversion import torch. The daemon uses it through
llm_child.ChildEngine, in a process of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from bot.adapters.llm_answer import Choice, answer_choices, fill_answer, label_ids
from bot.adapters.llm_decoder import Decoder
from bot.adapters.llm_fused import FusedDecoder, can_fuse
from bot.adapters.llm_outlook import windows_at_once, with_outlooks
from bot.adapters.model_store import check_weights, find_model, fingerprint, read_manifest
from bot.config import ModelConfig
from bot.core import prompt
from bot.core.forecast import Forecast, Sentiment
from bot.errors import EngineFailed, Refused
from bot.ports import Question

USUAL_BATCH: Final = {"cpu": 41, "cuda": 128}
FUSED_CALL: Final = 16_384  # prompts handed to the fused decoder at once

Item = TypeVar("Item")
Result = TypeVar("Result")


class TransformersEngine:
    """Answers from one model in this process; implements `bot.ports.Engine`."""

    def __init__(self, config: ModelConfig) -> None:
        """Load the model that `config` names.

        Raises:
            Refused: it is not there, was changed since it was pulled, or its tokenizer cuts numbers unevenly.
        """
        path = find_model(config.name, config.folder)
        check_weights(path)
        self._config = config
        self._name = f"{config.name}@{fingerprint(path)}"
        manifest = read_manifest(path)
        # The later word counts: a model is never taken to know less than its manifest says.
        self._trained_until = max(config.trained_until, manifest.knowledge_until) if manifest else config.trained_until
        self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        self._choices = answer_choices(self._tokenizer)
        device = pick_device(config.device)
        self._batch = config.batch or USUAL_BATCH[device]
        self._decoder = decoder_of(load_weights(str(path), device), self._batch)
        self._mood_labels = label_ids(self._tokenizer)
        self._usual: Tensor | None = None  # the labels' scores of an ordinary headline

    @property
    def model(self) -> str:
        """The model's name and the first 12 hex digits of the sha256 of its weights."""
        return self._name

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None where a question does not fit into the model's window."""
        texts = [prompt.question_text(one.company.name, one.bars) for one in questions]
        prefix = self._encode(prompt.QUESTION_PREFIX, start=True)
        asked = [self._encode(text.removeprefix(prompt.QUESTION_PREFIX)) for text in texts]
        answers: list[Forecast | None] = [None] * len(questions)
        places = sorted(range(len(questions)), key=lambda at: questions[at].future_sessions)
        for sessions, group in groupby(places, key=lambda at: questions[at].future_sessions):
            choices = self._choices * sessions
            room = self._decoder.window - len(prefix) - sum(1 + len(one.forced) for one in choices)
            fitting = [at for at in group if len(asked[at]) <= room]

            def answer(
                batch: Sequence[int], choices: Sequence[Choice] = choices, sessions: int = sessions
            ) -> list[Forecast]:
                picks, closes = self._picked(prefix, [asked[at] for at in batch], choices)
                told = [
                    self._told(questions[at], texts[at], fill_answer(pick, choices, sessions))
                    for at, pick in zip(batch, picks, strict=True)
                ]
                return told if closes is None else with_outlooks(told, [questions[at].bars[-1] for at in batch], closes)

            at_once = min(self._at_once, windows_at_once(sessions))
            for at, told in zip(fitting, in_batches(fitting, at_once, answer), strict=True):
                answers[at] = told
        return answers

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        """The mood of each headline, in order: the probabilities of the three labels as the next word.

        They are seen relative to prompt.REFERENCE_TITLES; a headline's mood does not depend on its neighbours.
        """
        if self._usual is None:
            self._usual = self._label_scores(prompt.REFERENCE_TITLES).mean(dim=0)
        moods = torch.softmax(self._label_scores(titles) - self._usual, dim=1).tolist() if titles else []
        return [Sentiment(**dict(zip(prompt.LABELS, shares, strict=True))) for shares in moods]

    def close(self) -> None:
        """Give the memory back as far as Python does; a child process is what gives it back for certain."""
        del self._decoder
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _picked(
        self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], choices: Sequence[Choice]
    ) -> tuple[list[list[int]], Tensor | None]:
        """What is chosen for each prompt, and where bands are wanted the distributions of the closes."""
        if self._config.bands:
            return self._decoder.tell(prefix, prompts, choices)
        return self._decoder.choose(prefix, prompts, choices), None

    def _label_scores(self, titles: Sequence[str]) -> Tensor:
        """The labels' log scores, titles x labels, in one pass; the shared beginning is read once for all."""
        prefix = self._encode(prompt.SENTIMENT_PREFIX, start=True)
        asked = [self._encode(prompt.sentiment_text(title)) for title in titles]
        places = sorted(range(len(asked)), key=lambda at: len(asked[at]))  # alike in length, so little padding

        def score(batch: Sequence[int]) -> list[Tensor]:
            return list(self._decoder.scores(prefix, [asked[at] for at in batch], self._mood_labels))

        scores = dict(zip(places, in_batches(places, self._at_once, score), strict=True))
        return torch.stack([scores[at] for at in range(len(titles))])

    @property
    def _at_once(self) -> int:
        """Prompts for one call; the fused decoder makes its own batches of them, and keeps the GPU busy in between."""
        return FUSED_CALL if isinstance(self._decoder, FusedDecoder) else self._batch

    def _encode(self, text: str, *, start: bool = False) -> list[int]:
        """Token ids of `text`; nothing in it can become a special token. `start` adds the model's own first token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=start, split_special_tokens=True)["input_ids"]
        return ids

    def _told(self, question: Question, text: str, answer: str) -> Forecast:
        """The forecast that `answer` says."""
        return Forecast(
            symbol=question.company.symbol,
            as_of=question.as_of,
            trained_until=self._trained_until,
            model=self._name,
            past_sessions=len(question.bars),
            bars=prompt.read_forecast(answer, question.bars[-1]),
            prompt_sha256=hashlib.sha256(text.encode()).hexdigest(),
        )


# --- loading and running -------------------------------------------------------------------------------------------


def pick_device(wanted: str) -> str:
    """The device that config's `auto`, `cpu` or `cuda` means here.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise Refused("the config asks for device cuda and this machine has none")
    return "cuda" if present and wanted != "cpu" else "cpu"


def load_weights(path: str, device: str) -> Any:
    """The model in the folder `path`: float32 on the CPU (bf16 was measured slower there), bf16 on CUDA."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation="grouped",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return model.to(device).eval()


def decoder_of(model: Any, rows: int) -> Decoder | FusedDecoder:
    """The fastest way to run `model`: by hand on CUDA if its layers are plain, else through transformers."""
    if model.device.type == "cuda" and can_fuse(model):
        return FusedDecoder(model, rows=rows, graphs=True)
    return Decoder(model)


def in_batches(items: Sequence[Item], size: int, run: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """`run` over all items, `size` at a time; half as many at a time whenever the memory does not suffice.

    Raises:
        EngineFailed: the memory does not suffice for one.
    """
    done: list[Result] = []
    while len(done) < len(items):
        try:
            done += run(items[len(done) : len(done) + size])
        except (RuntimeError, MemoryError) as wrong:
            if not _out_of_memory(wrong):
                raise
            if size == 1:
                raise EngineFailed("not enough memory for a single question") from wrong
            size = max(size // 2, 1)
    return done


def _out_of_memory(wrong: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch says so only in words."""
    return isinstance(wrong, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(wrong)
