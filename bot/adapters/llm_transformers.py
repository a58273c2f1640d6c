"""The LLM on transformers, CPU or CUDA: constrained answers for many questions in lockstep, moods from label logits.

Only this file, the worker that runs it and the model conversion import torch. The daemon uses it through
llm_child.ChildEngine, in a process of its own.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from bot.adapters.adapter_store import engine_name, find_adapter, read_adapter_manifest
from bot.adapters.engine_ways import paths_of
from bot.adapters.llm_answer import Choice, answer_choices, fill_answer, label_ids, moods_of
from bot.adapters.llm_batches import in_batches, steady_batches
from bot.adapters.llm_closes import close_codes
from bot.adapters.llm_fused import FusedDecoder
from bot.adapters.llm_loading import check_precision, decoder_of, load_model, load_tokenizer, pick_device
from bot.adapters.llm_outlook import ways_of, windows_at_once, with_outlooks
from bot.adapters.model_store import check_files, find_model, read_manifest
from bot.config import ModelConfig
from bot.core import prompt
from bot.core.forecast import Forecast, Sentiment
from bot.ports import Question

USUAL_BATCH: Final = {"cpu": 41, "cuda": 128}
FUSED_CALL: Final = 16_384  # prompts handed to the fused decoder at once

Result = TypeVar("Result")


class TransformersEngine:
    """Answers from one model in this process; implements `bot.ports.Engine`."""

    def __init__(self, config: ModelConfig) -> None:
        """Load the model that `config` names, with its adapter.

        Raises:
            Refused: one is not there, was changed or does not belong to the other, the machine can't give the
                precision, or the tokenizer cuts numbers unevenly.
        """
        device = pick_device(config.device)
        check_precision(config.precision, device)
        path, folder = find_model(config.name, config.folder), find_adapter(config)
        check_files(path)
        self._config = config
        self._name = engine_name(config, device)
        adapter = read_adapter_manifest(folder) if folder else None
        manifest = read_manifest(path)
        # The latest word counts: a model is never taken to know less than any of them says.
        known = [config.trained_until, manifest and manifest.knowledge_until, adapter and adapter.trained_until]
        self._trained_until = max(day for day in known if day)
        self._columns = adapter.columns if adapter else prompt.FIELDS
        self._tuned = adapter is not None and adapter.mood == "tuned"
        self._temperature = adapter.mood_temperature if adapter else 1.0
        self._tokenizer = load_tokenizer(path)
        self._choices = answer_choices(self._tokenizer)
        self._paths = paths_of(config, device)
        self._mood_labels = label_ids(self._tokenizer)
        self._batch = config.batch or USUAL_BATCH[device]
        weights = load_model(path, device, config.precision, folder, through=config.engine)
        # Style "seed" goes on using the model itself; beside the fused decoder it would be in memory twice.
        free = config.style == "seed"
        self._decoder = decoder_of(weights, self._batch, merge=config.merge, fuse=not free)
        self._weights = weights if free else None
        self._usual: Tensor | None = None  # the labels' scores of an ordinary headline

    @property
    def model(self) -> str:
        """The model's name and the first 12 hex digits of the sha256 of its weights, and its adapter's."""
        return self._name

    @property
    def columns(self) -> tuple[str, ...]:
        """What a past bar's line tells this model: the adapter's columns, without one the prices."""
        return self._columns

    @property
    def weights(self) -> Any:
        """The loaded model, in style "seed"; None otherwise."""
        return self._weights

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._tokenizer

    @property
    def trained_until(self) -> date:
        """The last day that the model can know of."""
        return self._trained_until

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None where a question does not fit into the model's window."""
        texts = [self._question_text(one) for one in questions]
        first_line = texts[0].partition("\n")[0] + "\n" if texts else ""  # the same in all of them
        prefix = self._encode(first_line, start=True)
        asked = [self._encode(text.removeprefix(first_line)) for text in texts]
        answers: list[Forecast | None] = [None] * len(questions)
        places = sorted(range(len(questions)), key=lambda at: questions[at].future_sessions)
        for sessions, group in groupby(places, key=lambda at: questions[at].future_sessions):
            choices = self._choices * sessions
            written = sum(1 + len(one.forced) for one in choices)
            room = self._decoder.window - len(prefix) - written
            fitting = [at for at in group if len(asked[at]) <= room]

            def answer(
                batch: Sequence[int], choices: Sequence[Choice] = choices, sessions: int = sessions
            ) -> list[Forecast]:
                picks, closes = self._picked(prefix, [asked[at] for at in batch], choices, sessions)
                told = [
                    self._told(questions[at], texts[at], fill_answer(pick, choices, sessions))
                    for at, pick in zip(batch, picks[:, 0].tolist(), strict=True)
                ]
                if closes is None:
                    return told
                lasts = [questions[at].bars[-1] for at in batch]
                return with_outlooks(told, lasts, close_codes(picks, choices), closes)

            begun = time.perf_counter()
            most, ways = windows_at_once(sessions, self._paths), 1 + self._paths
            given = self._in_batches(fitting, asked, answer, most=most, each=ways)
            seconds = (time.perf_counter() - begun) / max(1, len(fitting))
            for at, told in zip(fitting, given, strict=True):
                # The shared beginning is read once for all, but counted in each: a batch of one has the same count.
                # What bands read beside the answer is no text, and not counted.
                answers[at] = replace(told, tokens=len(prefix) + len(asked[at]) + written, seconds=seconds)
        return answers

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        """The mood of each headline, in order: the probabilities of the three labels as the next word.

        They are seen relative to prompt.REFERENCE_TITLES, unless an adapter learned them as they are, and as surely as
        its `mood_temperature` says; a headline's mood does not depend on its neighbours.
        """
        return moods_of(self.mood_scores(titles), self._temperature) if titles else []

    def mood_scores(self, titles: Sequence[str]) -> Tensor:
        """What `sentiment` tells, as log scores before any temperature, titles x labels; at least one title."""
        return self._label_scores(titles) - self._usual_scores()

    def _usual_scores(self) -> Tensor:
        """The labels' log scores of an ordinary headline; zeros where the model was tuned to need no correction."""
        if self._usual is None:
            ordinary = () if self._tuned else prompt.REFERENCE_TITLES
            self._usual = self._label_scores(ordinary).mean(dim=0) if ordinary else torch.zeros(len(prompt.LABELS))
        return self._usual

    def close(self) -> None:
        """Give the memory back as far as Python does; a child process is what gives it back for certain."""
        del self._decoder, self._weights
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _picked(
        self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], choices: Sequence[Choice], sessions: int
    ) -> tuple[Tensor, Tensor | None]:
        """What is chosen for each prompt on each way, the median first, and, for bands, the closes' distributions."""
        if self._config.bands:
            ways = ways_of(self._paths, sessions)
            # The fused decoder makes its own batches of ways; elsewhere `batch` counts each of them too.
            most = len(ways) if isinstance(self._decoder, FusedDecoder) else self._batch
            parts = [ways[at : at + most] for at in range(0, len(ways), most)]
            told = [self._decoder.tell(prefix, prompts, choices, part) for part in parts]
            return torch.cat([picks for picks, _ in told], dim=1), torch.cat([closes for _, closes in told], dim=1)
        return torch.tensor(self._decoder.choose(prefix, prompts, choices))[:, None], None

    def _label_scores(self, titles: Sequence[str]) -> Tensor:
        """The labels' log scores, titles x labels, in one pass; the shared beginning is read once for all."""
        prefix = self._encode(prompt.TUNED_MOOD_PREFIX if self._tuned else prompt.SENTIMENT_PREFIX, start=True)
        asked = [self._encode(prompt.sentiment_text(title)) for title in titles]
        places = sorted(range(len(asked)), key=lambda at: len(asked[at]))  # alike in length, so little padding

        def score(batch: Sequence[int]) -> list[Tensor]:
            return list(self._decoder.scores(prefix, [asked[at] for at in batch], self._mood_labels))

        scores = dict(zip(places, self._in_batches(places, asked, score), strict=True))
        return torch.stack([scores[at] for at in range(len(titles))])

    def _question_text(self, one: Question) -> str:
        """The question in the form that this model learned."""
        return prompt.question_text(
            one.company.name, one.bars, context=one.context, masked=one.masked, columns=self._columns
        )

    def _in_batches(
        self,
        places: Sequence[int],
        asked: Sequence[Sequence[int]],
        run: Callable[[Sequence[int]], Sequence[Result]],
        *,
        most: int = FUSED_CALL,
        each: int = 1,
    ) -> list[Result]:
        """`run` over the `places` in `asked`, as many at once as suits the decoder, and at most `most`.

        Each is answered in `each` ways at once.

        The fused decoder makes its own batches of all it gets, and keeps the GPU busy in between.
        """
        if isinstance(self._decoder, FusedDecoder):
            return in_batches(places, min(most, FUSED_CALL), run)
        size = min(most, max(1, self._batch // each))
        if self._decoder.steady:
            return steady_batches(places, [len(asked[at]) for at in places], size, run)
        return in_batches(places, size, run)

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
