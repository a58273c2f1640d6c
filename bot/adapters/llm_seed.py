"""Style "seed" on transformers: a table of past rows, continued in freely sampled text, one stock at a time.

Kept to be compared with; see bot/core/seed_prompt.py. Moods are the usual engine's.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from bot.adapters.llm_batches import in_batches
from bot.adapters.llm_transformers import TransformersEngine
from bot.config import ModelConfig
from bot.core.forecast import Forecast, ForecastBar, Sentiment
from bot.core.samples import bands_of, middle_path, share_above
from bot.core.seed_prompt import SeedUnreadable, read_continuation, seed_question, seed_row
from bot.ports import Question

TOO_LONG: Final = "longer than the model's window"
_SPARE_TOKENS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One sampled text that is wanted: its question's place, text and tokens, the room for it, and its own seed."""

    at: int
    text: str
    ids: tuple[int, ...]
    room: int
    sessions: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """What the model wrote, how many tokens that were, and whether it ended by itself."""

    text: str
    tokens: int
    ended: bool


class SeedEngine:
    """Answers in free text from one model in this process; implements `bot.ports.Engine`."""

    def __init__(self, engine: TransformersEngine, config: ModelConfig) -> None:
        """Use the model that `engine` has loaded."""
        self._engine = engine
        self._config = config
        self._missed: Counter[str] = Counter()

    @property
    def model(self) -> str:
        """The model's name; it says "seed", so that these answers never mix with others."""
        return self._engine.model

    @property
    def abstentions(self) -> Mapping[str, int]:
        """Why the last batch has holes, with how many."""
        return dict(self._missed)

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None, counted, where what was written is no forecast."""
        self._missed.clear()
        began = time.monotonic()
        asked = [one for at, question in enumerate(questions) for one in self._asked(at, question)]
        told = in_batches(asked, self._config.batch or 1, self._continue)
        seconds = (time.monotonic() - began) / max(len(questions), 1)
        given: dict[int, list[tuple[Asked, Continued]]] = {}
        for one, text in zip(asked, told, strict=True):
            given.setdefault(one.at, []).append((one, text))
        return [self._told(question, given.get(at, []), seconds) for at, question in enumerate(questions)]

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        """The mood of each headline, as in every style."""
        self._missed.clear()
        return self._engine.sentiment(titles)

    def close(self) -> None:
        """Give the memory back."""
        self._engine.close()

    def _asked(self, at: int, question: Question) -> list[Asked]:
        """The samples wanted of one question; none, counted, where it does not fit into the model's window."""
        text = seed_question(question.company.name, question.bars, context=question.context, masked=question.masked)
        ids = tuple(self._encode(text, start=True))
        day = question.bars[-1].session.isoformat()
        row = max(len(self._encode(seed_row(day, bar))) for bar in question.bars)
        room = question.future_sessions * (row + row // 2) + _SPARE_TOKENS
        if len(ids) + room > self._engine.weights.config.max_position_embeddings:
            self._missed[TOO_LONG] += 1
            return []
        return [
            Asked(at=at, text=text, ids=ids, room=room, sessions=question.future_sessions, seed=_seed_of(text, number))
            for number in range(self._config.samples)
        ]

    def _encode(self, text: str, *, start: bool = False) -> list[int]:
        """Token ids of `text`; nothing in it can become a special token. `start` adds the model's own first token."""
        cut = self._engine.tokenizer(text, add_special_tokens=start, split_special_tokens=True)
        ids: list[int] = cut["input_ids"]
        return ids

    @torch.inference_mode()
    def _continue(self, batch: Sequence[Asked]) -> list[Continued]:
        """What the model writes after each text, sampled as it is; each text has dice of its own."""
        model, tokenizer = self._engine.weights, self._engine.tokenizer
        ends = _ends_of(model)
        widest = max(len(one.ids) for one in batch)
        ids = torch.zeros(len(batch), widest, dtype=torch.long)
        seen = torch.zeros(len(batch), widest, dtype=torch.long)
        for row, one in enumerate(batch):
            ids[row, widest - len(one.ids) :], seen[row, widest - len(one.ids) :] = torch.tensor(one.ids), 1
        plain = GenerationConfig(
            do_sample=False,  # Dice makes the likeliest token a sampled one
            max_new_tokens=max(one.room for one in batch),
            eos_token_id=list(ends) or None,
            pad_token_id=ends[0] if ends else 0,
        )
        written = model.generate(
            ids.to(model.device),
            attention_mask=seen.to(model.device),
            generation_config=plain,
            logits_processor=[Dice([one.seed for one in batch])],
            stopping_criteria=[EnoughRows(tokenizer, widest, [one.sessions for one in batch])],
        )[:, widest:].tolist()
        return [_continued(tokenizer, row, ends, one) for row, one in zip(written, batch, strict=True)]

    def _told(self, question: Question, given: Sequence[tuple[Asked, Continued]], seconds: float) -> Forecast | None:
        """The forecast that the samples say together; None, counted, where fewer than half of them can be read."""
        paths: list[tuple[ForecastBar, ...]] = []
        reasons: list[str] = []
        for _, one in given:
            try:
                paths.append(
                    read_continuation(
                        one.text, question.bars, question.future_sessions, ended=one.ended, masked=question.masked
                    )
                )
            except SeedUnreadable as wrong:
                reasons.append(str(wrong))
        if not paths or len(paths) < len(reasons):
            self._missed.update(reasons[:1])
            return None
        many = self._config.samples > 1
        return Forecast(
            symbol=question.company.symbol,
            as_of=question.as_of,
            trained_until=self._engine.trained_until,
            model=self.model,
            past_sessions=len(question.bars),
            bars=middle_path(paths),
            prompt_sha256=hashlib.sha256(given[0][0].text.encode()).hexdigest(),
            bands=bands_of(paths) if many else (),
            p_up=share_above(paths, question.bars[-1].close) if many else None,
            tokens=sum(len(one.ids) + text.tokens for one, text in given),
            seconds=seconds,
        )


class Dice(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """Sampling as a choice of the likeliest: Gumbel noise on the scores, each text's from a generator of its own.

    So a text does not depend on those beside it in the batch. Source: E. J. Gumbel; Maddison et al., arXiv 1411.0030.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        """One seed a row."""
        self._dice = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """The scores with noise."""
        drawn = torch.stack([torch.rand(scores.shape[-1], generator=die) for die in self._dice])
        noise = -torch.log(-torch.log(drawn.clamp(1e-12, 1 - 1e-7)))
        noisy: Tensor = torch.log_softmax(scores.float(), dim=-1) + noise.to(scores.device)
        return noisy


class EnoughRows(StoppingCriteria):  # type: ignore[misc]
    """Ends a text when it has as many lines as are wanted."""

    def __init__(self, tokenizer: Any, start: int, rows: Sequence[int]) -> None:
        """Texts begin at the token `start`."""
        self._tokenizer, self._start, self._rows = tokenizer, start, rows

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # noqa: ARG002
        """Whether each text is done."""
        done = [
            _whole_lines(_decoded(self._tokenizer, ids)) >= rows
            for ids, rows in zip(input_ids[:, self._start :].tolist(), self._rows, strict=True)
        ]
        return torch.tensor(done, device=input_ids.device)


def _continued(tokenizer: Any, written: Sequence[int], ends: Sequence[int], asked: Asked) -> Continued:
    """A row of generated tokens as text, up to its own end; what was written while others went on is cut."""
    end = next((place for place, token in enumerate(written) if token in ends), None)
    kept = list(written[: asked.room if end is None else min(end, asked.room)])
    text = _decoded(tokenizer, kept)
    stopped = _whole_lines(text) >= asked.sessions  # by us: what follows is padding, which may be the model's own end
    return Continued(text=text, tokens=len(kept), ended=end is not None and end <= asked.room and not stopped)


def _whole_lines(text: str) -> int:
    """The lines in `text` that are not blank and have their end."""
    return sum(bool(line.strip()) for line in text.split("\n")[:-1])


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _ends_of(model: Any) -> tuple[int, ...]:
    """The tokens with which a model ends a text."""
    told = getattr(model.generation_config, "eos_token_id", None)
    told = model.config.eos_token_id if told is None else told
    return () if told is None else tuple(told) if isinstance(told, list) else (told,)


def _seed_of(text: str, number: int) -> int:
    """A seed of its own for the `number`-th sample of a question: the same on every evening and in every batch."""
    return int.from_bytes(hashlib.sha256(f"{number}|{text}".encode()).digest()[:4])
