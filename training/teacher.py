"""Ask a teacher: within a budget, again where it broke the contract, and from where a kill stopped it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

import httpx

from bot.adapters.door import checked_base_url, is_loopback, shown
from bot.adapters.llm_http import ModelServer
from bot.adapters.retry import AskedToWait, Retry, Unreachable
from bot.errors import ConfigError, DataMissing, EngineFailed, Refused, Transient
from bot.teacher_config import TeacherConfig
from training.teacher_log import Line, TeacherLog
from training.teacher_tasks import Answer, Task, messages_of

KEY: Final = "TWTRADER_TEACHER_KEY"
_TOKENS_A_TURN: Final = 16  # what a chat template adds to a message, generously
_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did. Costs are in the currency of the prices; `left` tasks were not asked any more, `why`."""

    accepted: int
    refused: int
    rejected: int
    left: int
    why: str
    tokens_in: int
    tokens_out: int
    spent: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer with what it cost; tokens are None where the server didn't say."""

    text: str
    cut: bool
    tokens_in: int | None
    tokens_out: int | None


class TeacherServer:
    """One try at a time at an OpenAI-compatible server: each may cost money, so each is the caller's decision."""

    def __init__(self, config: TeacherConfig, key: str) -> None:
        """The key goes into a header only.

        Raises:
            ConfigError: no address, or the key would travel unencrypted.
        """
        url = checked_base_url(config.base_url, "teacher.base_url")
        if key and url.startswith("http:") and not is_loopback(url):
            raise ConfigError(f"`teacher.base_url`: {KEY} would travel unencrypted; use https, or set no key")
        self.name = f"teacher at {shown(url)}"
        self._http = ModelServer(url, key=key, timeout_s=config.timeout_s, attempts=1, connections=config.concurrency)

    def ask(self, body: dict[str, Any]) -> Reply:
        """The answer to `body`.

        Raises:
            EngineFailed: it will answer nothing at all (a wrong key, no such model).
            Late: no answer in time, or half of one: it may have been billed.
            Transient: it may answer next time, and has billed nothing.
            Refused: no answer to this request, ever.
        """
        try:
            return _reply(self._http.ask("chat/completions", body))
        except EngineFailed as failed:
            if isinstance(failed.__cause__, httpx.HTTPError):
                raise Unreachable("nobody answers there") from failed
            raise
        except DataMissing as missing:
            cause = missing.__cause__
            if isinstance(cause, AskedToWait):
                raise AskedToWait(str(cause), cause.retry_after_s) from missing
            if cause is not None and isinstance(cause.__cause__, httpx.HTTPError):
                raise Late(str(cause)) from missing
            raise Refused(str(cause or missing)) from missing

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class Late(Transient):
    """No whole answer came, and nobody knows whether it was billed: it counts as the most it can have cost."""


def _reply(told: dict[str, Any]) -> Reply:
    """The first choice of an answer.

    Raises:
        Refused: there is none.
    """
    try:
        choice = told["choices"][0]
        text = choice["message"]["content"]
        usage = told.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError) as wrong:
        raise Refused("not OpenAI's shape of an answer") from wrong
    known = [one if isinstance(one, int) and not isinstance(one, bool) and one >= 0 else None for one in counts]
    cut = isinstance(choice, dict) and choice.get("finish_reason") == "length"
    return Reply(text=text if isinstance(text, str) else "", cut=cut, tokens_in=known[0], tokens_out=known[1])


def body_of(task: Task, messages: Sequence[dict[str, str]], config: TeacherConfig, tried: int) -> dict[str, Any]:
    """The request: chat completions, with the contract as a JSON schema where the server takes one."""
    seed = int.from_bytes(hashlib.sha256(f"{task.key} {tried}".encode()).digest()[:4]) >> 1
    body: dict[str, Any] = {
        "model": config.model,
        "messages": list(messages),
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
        "seed": seed,
    }
    if config.structured:
        schema = {"name": task.kind, "strict": True, "schema": task.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def cost_micro(tokens_in: int, tokens_out: int, config: TeacherConfig) -> int:
    """What tokens cost in millionths of the currency, rounded up: prices are for a million tokens."""
    exact = tokens_in * config.price_in + tokens_out * config.price_out
    return int(exact.to_integral_value(ROUND_CEILING))


def most_tokens_in(body: dict[str, Any]) -> int:
    """No tokenizer makes more tokens of a request: each is at least a byte. The schema may be told to the model too."""
    schema = json.dumps(body.get("response_format", ""), ensure_ascii=False)
    texts = sum(len(turn["content"].encode()) + _TOKENS_A_TURN for turn in body["messages"])
    return texts + len(schema.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request as it was written down."""

    task: Task
    body: dict[str, Any]
    number: int
    most_micro: int


class Teacher:
    """A run over tasks, in their order, a few at once."""

    def __init__(
        self, server: TeacherServer, log: TeacherLog, config: TeacherConfig, tell: Callable[[str], None]
    ) -> None:
        """`tell` gets a line a finished task."""
        self.server, self.log, self.config, self.tell = server, log, config, tell
        self.budget_micro = int(config.budget * 10**6)
        self.why = ""

    def run(self, tasks: Sequence[Task]) -> Outcome:
        """Ask every task that is not settled; ends early where the budget ends or nobody answers any more.

        Raises:
            EngineFailed: the server will answer nothing at all.
        """
        state = self.log.state
        before = (len(state.accepted), len(state.refused), sum(state.rejections.values()))
        todo = [task for task in _once_each(tasks) if not state.is_settled(task)]
        with ThreadPoolExecutor(self.config.concurrency) as pool:
            while todo and not self.why:
                chunk = self._affordable(todo[: self.config.concurrency])
                if not chunk:
                    self.why = f"one more request could pass the budget of {self.config.budget}"
                    break
                self._ask(pool, chunk)
                todo = [task for task in todo if not state.is_settled(task)]
        return Outcome(
            accepted=len(state.accepted) - before[0],
            refused=len(state.refused) - before[1],
            rejected=sum(state.rejections.values()) - before[2],
            left=len(todo),
            why=self.why,
            tokens_in=state.tokens_in,
            tokens_out=state.tokens_out,
            spent=Decimal(state.spent_micro) / 10**6,
        )

    def _affordable(self, tasks: Sequence[Task]) -> list[_Asked]:
        """As many of the first tasks as the budget surely allows, each with all its attempts."""
        state, shown_before = self.log.state, self.log.state.shown()
        found, micro = [], state.spent_micro
        for place, task in enumerate(tasks, start=1):
            messages = messages_of(task, shown_before if self.config.shown else ())
            messages = _fewer(messages, self.config.shown)
            body = body_of(task, messages, self.config, state.rejections[task.key])
            most = cost_micro(most_tokens_in(body), self.config.max_tokens, self.config)
            micro += most * self.config.attempts
            if self.budget_micro and micro > self.budget_micro:
                break
            found.append(_Asked(task=task, body=body, number=state.asked + place, most_micro=most))
        return found

    def _ask(self, pool: ThreadPoolExecutor, chunk: Sequence[_Asked]) -> None:
        """Write the requests down, send them, and write down what came of each as it comes."""
        attempts = self.config.attempts
        self.log.add(
            [Line(event="asked", key=one.task.key, number=one.number, micro=one.most_micro * attempts) for one in chunk]
        )
        running: dict[Future[tuple[Reply | Exception, int]], _Asked] = {
            pool.submit(self._one, one): one for one in chunk
        }
        gone: EngineFailed | None = None
        for done in as_completed(running):
            asked = running[done]
            reply, late = done.result()
            if isinstance(reply, EngineFailed):
                gone = reply
            self.log.add(list(self._lines(asked, reply, late)))
        if gone is not None:
            raise gone

    def _one(self, asked: _Asked) -> tuple[Reply | Exception, int]:
        """The reply to one request or what went wrong, and how many attempts may have been billed for nothing."""
        late = 0

        def attempt() -> Reply:
            nonlocal late
            try:
                return self.server.ask(asked.body)
            except Late:
                late += 1
                raise

        retry = Retry(
            source=self.server.name,
            attempts=self.config.attempts,
            first_pause_s=self.config.pause_s,
            longest_pause_s=_LONGEST_PAUSE_S,
        )
        try:
            return retry(asked.task.key, attempt), late
        except (DataMissing, EngineFailed) as failed:
            return failed, late

    def _lines(self, asked: _Asked, reply: Reply | Exception, late: int) -> Iterator[Line]:
        """What is written down of one reply."""
        wasted = asked.most_micro * late
        if isinstance(reply, Exception):
            yield Line(event="answered", key=asked.task.key, number=asked.number, micro=wasted)
            state = self.log.state
            only_this = isinstance(reply.__cause__, Refused) and (state.accepted or state.rejections)
            if only_this:
                yield from self._rejected(asked, str(reply.__cause__))
            else:
                self.why = str(reply)  # what comes next would fail alike, and can be asked again
            return
        tokens_in = most_tokens_in(asked.body) if reply.tokens_in is None else reply.tokens_in
        tokens_out = self.config.max_tokens if reply.tokens_out is None else reply.tokens_out
        yield Line(
            event="answered",
            key=asked.task.key,
            number=asked.number,
            micro=cost_micro(tokens_in, tokens_out, self.config) + wasted,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )
        yield from self._judged(asked, reply)

    def _judged(self, asked: _Asked, reply: Reply) -> Iterator[Line]:
        """Accepted, or rejected, or refused for good."""
        task, state = asked.task, self.log.state
        try:
            answer = _fresh(_whole(task, reply), state.hashes)
        except ValueError as wrong:
            yield from self._rejected(asked, str(wrong))
            return
        self.tell(f"accepted: {task.key[:60]}: {answer.label}")
        yield Line(
            event="accepted",
            key=task.key,
            number=asked.number,
            kind=task.kind,
            language=task.language,
            model=self.config.model,
            day=task.day,
            symbol=task.symbol,
            question=task.question,
            answer=answer.text,
            label=answer.label,
            texts=_kept_texts(task, answer),
            hashes=tuple(_hash(one) for one in answer.keys),
        )

    def _rejected(self, asked: _Asked, reason: str) -> Iterator[Line]:
        """An answer that is none; the question is refused for good when its tries are spent."""
        key, tries = asked.task.key, self.config.tries
        yield Line(event="rejected", key=key, number=asked.number, reason=reason[:300])
        if self.log.state.rejections[key] + 1 >= tries:
            self.tell(f"refused: {key[:60]}: {reason[:100]}")
            yield Line(event="refused", key=key, reason=f"{tries} answers were none, the last: {reason}"[:300])


def _whole(task: Task, reply: Reply) -> Answer:
    """What a reply answers.

    Raises:
        ValueError: it was cut, or breaks the contract.
    """
    if reply.cut:
        raise ValueError("the answer was cut: it is longer than max_tokens")
    return task.read(reply.text)


def _kept_texts(task: Task, answer: Answer) -> tuple[str, ...]:
    """The texts that a dataset takes: invented headlines, or the headline that was judged."""
    title = getattr(task, "title", None)
    return (title,) if title else answer.texts


def _fresh(answer: Answer, said: dict[str, str]) -> Answer:
    """`answer` without texts that were said before.

    Raises:
        ValueError: nothing new is left.
    """
    pairs = list(zip(answer.texts, answer.keys, strict=True))
    new = tuple(text for text, key in pairs if _hash(key) not in said)
    if pairs and not new:
        raise ValueError(f"repeats the answer to {said[_hash(pairs[0][1])]}")
    return replace(answer, texts=new)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _once_each(tasks: Sequence[Task]) -> list[Task]:
    """The tasks without repeats, in their order."""
    return list({task.key: task for task in reversed(tasks)}.values())[::-1]


def _fewer(messages: list[dict[str, str]], shown_most: int) -> list[dict[str, str]]:
    """The same chat with at most `shown_most` examples, the newest ones."""
    examples = messages[1:-1]
    kept = examples[len(examples) - 2 * shown_most :] if 2 * shown_most < len(examples) else examples
    return [messages[0], *kept, messages[-1]]
