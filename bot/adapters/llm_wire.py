"""Our questions in the words of OpenAI's protocol, and the servers' answers read back: no network, no clock.

The answer language is told to each server in its own way. Sources: docs.vllm.ai (structured outputs), docs.sglang.io
(structured outputs), ggml-org/llama.cpp grammars/README.md, ollama docs/openai.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bot.core import prompt
from bot.server_config import ServerConfig, Structured

ROW: Final = "[0-9]{12}"
_ROW_CHARS: Final = 13  # with its line end; no tokenizer makes more tokens than characters of it
_SPARE_TOKENS: Final = 8
_JSON_ROW_TOKENS: Final = 20  # with quotes, comma and white space
TOP: Final = 20  # alternatives a token asked for; the most that vLLM gives by default
UNSEEN_SHARE: Final = 0.02  # a label that no list shows may weigh this much, beside those shown, and no more
NOT_AN_ANSWER: Final = "not in the answer language"
NOT_THE_SHAPE: Final = "not the agreed shape"
NO_SHARES: Final = "the server tells no label probabilities"
UNCLEAR: Final = "a label is missing from the probabilities"

_RULES: Final = (
    "You continue tables of daily prices. The last lines of the user's message are sessions, each a line of four "
    "3-digit codes without blanks, told as the first line says. Answer with the next {count} lines of 12 digits each"
)
_RULES_END: Final[Mapping[bool, str]] = {
    True: ', as JSON: {{"lines": ["...", ...]}} and nothing else.',
    False: ", one below the other, and nothing else.",
}
_MOOD_RULES: Final = "You complete the last line with one word: positive, neutral or negative. Say that word only."

# Sampling as it is, whatever a model's own defaults are: the shares that we count must be the model's.
_PLAIN_SAMPLING: Final[Mapping[Structured, Mapping[str, Any]]] = {
    "vllm": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0},
    "json_schema": {},
    "none": {},
}


class Unreadable(ValueError):  # noqa: N818  (reads as a sentence where it is caught)
    """An answer that says nothing we may use; the text is the reason, one of few."""


def rows_regex(sessions: int) -> str:
    """The answer language as a regular expression: `sessions` lines of 12 digits."""
    return f"({ROW}\\n){{{sessions}}}"


def constraint(structured: Structured, sessions: int) -> dict[str, Any]:
    """What the request says of the answer's form, in the server's own words."""
    if structured == "vllm":
        return {"structured_outputs": {"regex": rows_regex(sessions)}}
    if structured == "sglang":
        return {"regex": rows_regex(sessions)}
    if structured == "llamacpp":
        return {"grammar": f'root ::= row{{{sessions}}}\nrow ::= {ROW} "\\n"\n'}
    if structured == "json_schema":
        row = {"type": "string", "pattern": f"^{ROW}$"}
        schema = {
            "type": "object",
            "properties": {"lines": {"type": "array", "items": row, "minItems": sessions, "maxItems": sessions}},
            "required": ["lines"],
            "additionalProperties": False,
        }
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "bars", "schema": schema}}}
    return {}


def price_request(
    config: ServerConfig, model: str, question: str, sessions: int, seed: int | None, *, answers: int = 1
) -> tuple[str, dict[str, Any]]:
    """Route and body that ask for `sessions` bars after `question`: sampled with `seed`, or the likeliest (None).

    Several `answers` in one reply are for servers in `samples_at_once` only.
    """
    in_json = config.structured == "json_schema"
    room = sessions * (_JSON_ROW_TOKENS if in_json else _ROW_CHARS) + _SPARE_TOKENS
    body: dict[str, Any] = {"model": model, "max_tokens": room, "temperature": 0.0}
    if seed is not None:
        body |= {"temperature": 1.0, "top_p": 1.0, "seed": seed, **_PLAIN_SAMPLING[config.structured]}
    body |= {"n": answers} if answers > 1 else {}
    body |= constraint(config.structured, sessions)
    rules = _RULES.format(count=sessions) + _RULES_END[in_json].format()
    return _put(config, body, rules, question)


def samples_at_once(structured: Structured) -> bool:
    """Whether the server reads a question once for several samples, each with a seed of its own made from ours.

    VLLM does (v1/engine/parallel_sampling.py adds a sample's number to the seed). Of others it isn't known, or `n` is
    limited (llama.cpp: to its slots) or ignored (Ollama): they get a request a sample.
    """
    return structured == "vllm"


def mood_request(config: ServerConfig, model: str, title: str) -> tuple[str, dict[str, Any]]:
    """Route and body that ask for the probabilities of the labels as the next word after a headline."""
    prefix = prompt.SENTIMENT_PREFIX if config.mood == "shown" else prompt.TUNED_MOOD_PREFIX
    chatting = config.api == "chat"
    body: dict[str, Any] = {"model": model, "max_tokens": 1, "temperature": 0.0}
    body |= {"logprobs": True, "top_logprobs": TOP} if chatting else {"logprobs": TOP}
    return _put(config, body, _MOOD_RULES, prefix + prompt.sentiment_text(title))


def _put(config: ServerConfig, body: dict[str, Any], rules: str, text: str) -> tuple[str, dict[str, Any]]:
    """`text` as a text to be continued, or as a user's turn after `rules`."""
    if config.api == "completions":
        return "completions", body | {"prompt": text}
    turns = [{"role": "system", "content": rules}, {"role": "user", "content": text}]
    return "chat/completions", body | {"messages": turns}


def rows_in(reply: Mapping[str, Any], structured: Structured, sessions: int, at: int = 0) -> str:
    """The `at`-th answer of `sessions` lines that a reply holds; what stands behind them is not read.

    Raises:
        Unreadable: it holds none.
    """
    text = _text_in(_choice_in(reply, at))
    if structured != "json_schema":
        return checked_rows(text, sessions)
    try:
        lines = json.loads(text)["lines"]
    except (ValueError, TypeError, KeyError, RecursionError) as wrong:
        raise Unreadable(NOT_AN_ANSWER) from wrong
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Unreadable(NOT_AN_ANSWER)
    return checked_rows("\n".join(lines), sessions)


def checked_rows(text: str, sessions: int) -> str:
    """The first `sessions` lines of `text` in the answer language, blank space around it left off.

    Raises:
        Unreadable: they are not in it.
    """
    lines = text.strip().split("\n")[:sessions]
    if len(lines) < sessions or not all(re.fullmatch(ROW, line, re.ASCII) for line in lines):
        raise Unreadable(NOT_AN_ANSWER)
    return "".join(f"{line}\n" for line in lines)


def tokens_in(reply: Mapping[str, Any]) -> int:
    """The tokens that the server says it read and wrote; 0 where it says none."""
    usage = reply.get("usage")
    told = usage.get("total_tokens") if isinstance(usage, dict) else None
    return told if isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= 2**31 else 0


def label_scores(reply: Mapping[str, Any]) -> tuple[float, ...]:
    """The log probabilities of prompt.LABELS as the reply's first word.

    A label that the server's list does not reach is less likely than the last one listed. It counts as that where this
    is next to nothing; where it may be more, the mood is unknown.

    Raises:
        Unreadable: the reply tells no probabilities, or not enough.
    """
    tops = _first_token(_choice_in(reply))
    if not tops:
        raise Unreadable(NO_SHARES)
    found = [[math.exp(score) for word, score in tops.items() if _begins(word, label)] for label in prompt.LABELS]
    least = math.exp(min(tops.values()))
    shown = sum(map(sum, found))
    if shown == 0 or (any(not one for one in found) and least > UNSEEN_SHARE * shown):
        raise Unreadable(UNCLEAR)
    return tuple(math.log(max(sum(one), 1e-30) if one else max(least, 1e-30)) for one in found)


def _begins(word: str, label: str) -> bool:
    """Whether the token `word` begins `label` and no other label."""
    start = word.strip().lower()
    return bool(start) and [one for one in prompt.LABELS if one.startswith(start)] == [label]


def _choice_in(reply: Mapping[str, Any], at: int = 0) -> Mapping[str, Any]:
    """The `at`-th choice of a reply."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or len(choices) <= at or not isinstance(choices[at], dict):
        raise Unreadable(NOT_THE_SHAPE)
    choice: Mapping[str, Any] = choices[at]
    return choice


def _text_in(choice: Mapping[str, Any]) -> str:
    """The text of a choice of either route."""
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    if not isinstance(text, str):
        raise Unreadable(NOT_THE_SHAPE)
    return text


def _first_token(choice: Mapping[str, Any]) -> dict[str, float]:
    """What the first token could have been, with log probabilities; empty where the server tells none.

    /v1/completions has `top_logprobs`, a list of tables; chat, and both routes of llama.cpp, `content` with a list of
    entries.
    """
    told = choice.get("logprobs")
    if not isinstance(told, dict):
        return {}
    content, tops = told.get("content"), told.get("top_logprobs")
    pairs: Sequence[tuple[Any, Any]] = ()
    if isinstance(content, list) and content and isinstance(content[0], dict):
        entries = content[0].get("top_logprobs")
        listed = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
        pairs = [(one.get("token"), one.get("logprob")) for one in listed]
    elif isinstance(tops, list) and tops and isinstance(tops[0], dict):
        pairs = list(tops[0].items())
    return {word: float(score) for word, score in pairs if isinstance(word, str) and _is_log(score)}


def _is_log(score: Any) -> bool:
    """Whether `score` can be the logarithm of a probability; servers round, so a hair above 0 is one."""
    return isinstance(score, int | float) and not isinstance(score, bool) and score <= 1e-3  # noqa: PLR2004
