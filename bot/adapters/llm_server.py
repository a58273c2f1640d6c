"""Any model server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, Ollama, one box or many behind an address.

The question and the answer language are those of every other engine; the server is told the language as a constraint,
and whatever it answers is checked against it. What weights it runs can't be known from here, and the model's name says
so.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bot.adapters.llm_http import ModelServer
from bot.adapters.llm_wire import (
    NO_SHARES,
    Unreadable,
    label_scores,
    mood_request,
    price_request,
    rows_in,
    samples_at_once,
    tokens_in,
)
from bot.config import ModelConfig
from bot.core import prompt
from bot.core.forecast import Forecast, ForecastBar, Sentiment
from bot.core.reasons import listed
from bot.core.samples import bands_of, middle_path, share_above
from bot.errors import DataMissing, EngineFailed, Refused
from bot.ports import Question

Item = TypeVar("Item")
Result = TypeVar("Result")
OUT_OF_TIME: Final = "no time left"
_NOT_A_FINGERPRINT: Final = frozenset({"created", "permission", "modified_at"})  # differs at every start


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """No usable answer, and why; `lost` when none arrived, as against one that can't be read."""

    reason: str
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The sampled paths of one reply, why others of it can't be read, and the tokens that the server counted."""

    paths: tuple[tuple[ForecastBar, ...], ...]
    unread: tuple[str, ...]
    tokens: int


class ServerEngine:
    """Asks a server, many questions at once; implements `bot.ports.Engine`."""

    def __init__(self, config: ModelConfig, key: str) -> None:
        """Nothing is asked yet. `key` is empty where the server wants none.

        Raises:
            ConfigError: the address or the key can't be used.
        """
        self._config, self._at = config, config.server
        self._server = ModelServer(
            self._at.base_url,
            key=key,
            timeout_s=self._at.timeout_s,
            attempts=self._at.attempts,
            connections=self._at.concurrency,
        )
        self._served: tuple[str, str] | None = None  # the id to ask for, and the whole name
        self._usual: tuple[float, ...] | None = None  # the labels' scores of an ordinary headline
        self._missed: Counter[str] = Counter()

    @property
    def model(self) -> str:
        """The model's name, with what the server says of it: weights that nobody has hashed are "@unverified".

        Raises:
            EngineFailed: the server is not there.
            Refused: it does not serve this model.
        """
        return self._known()[1]

    @property
    def abstentions(self) -> Mapping[str, int]:
        """Why the last batch has holes, with how many."""
        return dict(self._missed)

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None where the server gave none that can be used.

        Raises:
            EngineFailed: the server is gone, or no answer came to any question.
            Refused: it does not serve this model.
        """
        served, name = self._known()
        self._missed.clear()
        texts = [_question_text(one) for one in questions]
        a_reply = self._config.samples if samples_at_once(self._at.structured) else 1
        replies = self._config.samples // a_reply
        jobs = [(at, number) for at in range(len(questions)) for number in range(replies)]

        def ask(job: tuple[int, int]) -> Answered:
            at, number = job
            seed = _seed_of(texts[at], number) if self._config.samples > 1 else None
            return self._answer(served, questions[at], texts[at], seed, a_reply)

        began = time.monotonic()
        told = self._each(jobs, ask)
        seconds = (time.monotonic() - began) / max(len(questions), 1)
        self._check_alive(told)
        answers = [told[at * replies : (at + 1) * replies] for at in range(len(questions))]
        return [
            self._forecast(name, question, text, given, seconds)
            for question, text, given in zip(questions, texts, answers, strict=True)
        ]

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment | None]:
        """The mood of each headline, in order; None, unknown, where the server's probabilities don't tell it.

        As with our own engine, moods are seen relative to ordinary headlines, unless the model was fine-tuned on moods.

        Raises:
            EngineFailed: the server is gone, or tells no probabilities at all.
            Refused: it does not serve this model.
        """
        served, _ = self._known()
        self._missed.clear()
        if self._usual is None:
            self._usual = self._ordinary(served)
        told = self._each(titles, lambda title: self._scores(served, title))
        self._check_alive(told)
        self._missed.update(one.reason for one in told if isinstance(one, Missed))
        return [None if isinstance(one, Missed) else _mood(one, self._usual) for one in told]

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    # --- one question ----------------------------------------------------------------------------------------------

    def _answer(self, served: str, question: Question, text: str, seed: int | None, answers: int) -> Answered:
        """One reply of so many `answers`: sampled with `seed`, or with None the likeliest one."""
        sessions = question.future_sessions
        route, body = price_request(self._at, served, text, sessions, seed, answers=answers)
        reply = self._server.ask(route, body)
        paths: list[tuple[ForecastBar, ...]] = []
        unread: list[str] = []
        for number in range(answers):
            try:
                rows = rows_in(reply, self._at.structured, sessions, number)
                paths.append(prompt.read_forecast(rows, question.bars[-1]))
            except Unreadable as wrong:
                unread.append(str(wrong))
        return Answered(paths=tuple(paths), unread=tuple(unread), tokens=tokens_in(reply))

    def _scores(self, served: str, title: str) -> tuple[float, ...]:
        """The labels' log probabilities after `title`."""
        return label_scores(self._server.ask(*mood_request(self._at, served, title)))

    def _ordinary(self, served: str) -> tuple[float, ...]:
        """The labels' mean scores over the reference headlines; zeros for a model that needs no correction."""
        if self._at.mood == "tuned":
            return (0.0,) * len(prompt.LABELS)
        told = self._each(prompt.REFERENCE_TITLES, lambda title: self._scores(served, title))
        self._check_alive(told)
        scores = [one for one in told if not isinstance(one, Missed)]
        if len(scores) < len(told):  # a correction from some of them would be another one every evening
            reasons = Counter(one.reason for one in told if isinstance(one, Missed))
            raise EngineFailed(f"{self._server.name}: the reference headlines have no mood: {listed(reasons)}")
        return tuple(sum(column) / len(scores) for column in zip(*scores, strict=True))

    def _forecast(
        self, name: str, question: Question, text: str, given: Sequence[Answered | Missed], seconds: float
    ) -> Forecast | None:
        """The forecast that the samples say together; None, counted, where fewer than half of them can be read."""
        paths = [path for one in given if isinstance(one, Answered) for path in one.paths]
        if 2 * len(paths) < self._config.samples:
            reasons = [
                reason for one in given for reason in (one.unread if isinstance(one, Answered) else [one.reason])
            ]
            self._missed[reasons[0]] += 1
            return None
        many = self._config.samples > 1
        return Forecast(
            symbol=question.company.symbol,
            as_of=question.as_of,
            trained_until=self._config.trained_until,
            model=name,
            past_sessions=len(question.bars),
            bars=middle_path(paths),
            prompt_sha256=hashlib.sha256(text.encode()).hexdigest(),
            bands=bands_of(paths) if many else (),
            p_up=share_above(paths, question.bars[-1].close) if many else None,
            tokens=sum(one.tokens for one in given if isinstance(one, Answered)),
            seconds=seconds,
        )

    # --- all of them -----------------------------------------------------------------------------------------------

    def _each(self, items: Sequence[Item], ask: Callable[[Item], Result]) -> list[Result | Missed]:
        """`ask` for every item, several at a time, within model.timeout_s; what could not be had is Missed.

        Raises:
            EngineFailed: the server is gone; what is not on its way yet is not asked any more.
        """
        deadline = time.monotonic() + self._config.timeout_s
        gone = threading.Event()

        def one(item: Item) -> Result | Missed:
            if gone.is_set() or time.monotonic() > deadline:
                return Missed(reason=OUT_OF_TIME, lost=True)
            try:
                return ask(item)
            except Unreadable as wrong:
                return Missed(reason=str(wrong), lost=False)
            except DataMissing as missing:
                return Missed(reason=str(missing.__cause__ or missing), lost=True)
            except BaseException:
                gone.set()
                raise

        with ThreadPoolExecutor(max_workers=self._at.concurrency, thread_name_prefix="model-server") as pool:
            return list(pool.map(one, items))

    def _check_alive(self, told: Sequence[object]) -> None:
        """Refuse to go on with a server that answered nothing at all.

        Raises:
            EngineFailed: it tells why, in one line.
        """
        lost = [one.reason for one in told if isinstance(one, Missed) and (one.lost or one.reason == NO_SHARES)]
        if lost and len(lost) == len(told):
            raise EngineFailed(f"{self._server.name}: no answer to {len(told)} questions: {listed(Counter(lost))}")

    def _known(self) -> tuple[str, str]:
        """The id that the server knows the model by, and the model's whole name."""
        if self._served is None:
            try:
                cards = self._server.models()
            except DataMissing as missing:
                raise EngineFailed(str(missing)) from missing
            card = _card_of(cards, self._at.model, self._server.name)
            self._served = str(card["id"]), self._name_of(card)
        return self._served

    def _name_of(self, card: Mapping[str, Any]) -> str:
        """The name under which answers are stored: whatever may change them is in it."""
        facts = {key: value for key, value in card.items() if key not in _NOT_A_FINGERPRINT}
        told = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        named = self._at.model or self._config.name
        served = "" if card["id"] == named else f"({prompt.clean_text(str(card['id']), 80)})"
        return f"{named}{served}@unverified-{told}{self._way_tag()}"

    def _way_tag(self) -> str:
        """How the model is asked, where that is not the usual way: the same weights answer otherwise then."""
        way = "" if self._at.api == "completions" else "+chat"
        way += "" if self._at.structured == "vllm" else f"+{self._at.structured}"
        way += "" if self._at.mood == "shown" else "+tuned"
        return way + (f"+n{self._config.samples}" if self._config.samples > 1 else "")


def _card_of(cards: Sequence[dict[str, Any]], wanted: str, server: str) -> dict[str, Any]:
    """What the server says of the model `wanted`; "" = the only one it serves. Ollama adds ":latest".

    Raises:
        Refused: it does not serve it, or serves several.
    """
    found = [one for one in cards if not wanted or one["id"] in {wanted, f"{wanted}:latest"}]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(prompt.clean_text(str(one["id"]), 80) for one in cards[:10]) or "none"
    raise Refused(f"{server}: `model.server.model` must name one of its models: {ids}")


def _question_text(question: Question) -> str:
    """What is asked, in the words of every engine."""
    return prompt.question_text(question.company.name, question.bars, context=question.context, masked=question.masked)


def _seed_of(text: str, number: int) -> int:
    """A seed of its own for the `number`-th sample of a question: the same on every evening and in every batch."""
    return int.from_bytes(hashlib.sha256(f"{number}|{text}".encode()).digest()[:4]) & 0x7FFFFFFF


def _mood(scores: Sequence[float], usual: Sequence[float]) -> Sentiment:
    """Probabilities from log scores, relative to those of an ordinary headline."""
    raised = [score - common for score, common in zip(scores, usual, strict=True)]
    weights = [math.exp(one - max(raised)) for one in raised]
    shares = [one / sum(weights) for one in weights]
    return Sentiment(**dict(zip(prompt.LABELS, shares, strict=True)))
