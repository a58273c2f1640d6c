"""The sandbox's language model: no weights, a seed. It continues prices, names moods, and fills in forms.

It says what its constraint allows, and without one it talks as such models do. Everything is a function of the seed,
the question and the request's own seed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from bot.errors import Refused
from bot.sandbox.dice import dice

# Every word is one token, every digit another, as on most tokenizers of today.
_TOKEN: Final = re.compile(r"\d|\n| ?[^\W\d_]+|.", re.DOTALL)
_CODE_LINE: Final = re.compile(r"^\d{12}$", re.MULTILINE)
_MOST_LINES: Final = 120
LABELS: Final = ("positive", "neutral", "negative")
# What the other words of a vocabulary get of the probability, and in which spelling they are shown.
_OTHERS: Final = {" The": 0.01, "\n": 0.006, " Positive": 0.004, " mixed": 0.002, ",": 0.001}
_GOOD: Final = re.compile(
    "創新高|大單|優於|買回|打入|年增|成長|看好|利多|record|win|beat|raise|double|rise|strong|upgrade|surge|soar|growth"
)
_BAD: Final = re.compile(
    "大減|砍單|不如|停工|跌價|訴訟|下滑|衰退|重挫|賣超|利空|cut|loss|fall|slump|fine|plunge|weak|drop|lawsuit|miss|downgrade"
)
_ROW_START: Final = 500  # the code that says "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What the answer must be: a regular expression, one of some texts, or JSON of a schema."""

    regex: str = ""
    choice: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, and what else its first token could have been: log probabilities by token, the likeliest first."""

    text: str
    first: Mapping[str, float]


def tokens_of(text: str) -> list[str]:
    """How this model cuts `text`."""
    return _TOKEN.findall(text)


def complete(prompt: str, constraint: Constraint | None, *, seed: str, temperature: float) -> Said:
    """The continuation of `prompt`; with a `temperature` of 0 always the same."""
    die = dice(f"{seed}|{prompt}") if temperature else dice(prompt)
    if constraint is None and prompt.rstrip().endswith("Sentiment:"):
        return _mood(prompt, die, temperature)
    text = _constrained(prompt, constraint, die, temperature) if constraint else _freely(prompt, die, temperature)
    return Said(text=text, first={tokens_of(text)[0]: -0.05} if text else {})


def chat(prompt: str, constraint: Constraint | None, *, seed: str, temperature: float) -> Said:
    """The answer of an assistant to a conversation told as one text."""
    die = dice(f"{seed}|{prompt}") if temperature else dice(prompt)
    if constraint:
        text = _constrained(prompt, constraint, die, temperature)
    elif prompt.rstrip().endswith("Sentiment:"):
        return _mood(prompt, die, temperature)
    else:
        text = _form(prompt, die) or "Sure! Predicting share prices is difficult, but here is my view: it depends."
    return Said(text=text, first={tokens_of(text)[0]: -0.05} if text else {})


def shares_of(text: str) -> dict[str, float]:
    """The probabilities of the three moods of a headline, by the words in it."""
    low = text.lower()
    score = len(_GOOD.findall(low)) - len(_BAD.findall(low))
    weights = {"positive": math.exp(1.5 * score), "neutral": 0.6, "negative": math.exp(-1.5 * score)}
    total = sum(weights.values())
    return {label: weights[label] / total for label in LABELS}


def code_lines(prompt: str, count: int, die: Random, temperature: float) -> str:
    """`count` lines of four codes: a drift that belongs to the question, and noise as wide as `temperature`."""
    drift = dice(f"drift|{_head(prompt)}").randint(-20, 30)
    lines = []
    for _ in range(count):
        close = _code(_ROW_START + drift + die.gauss(0, 60) * temperature)
        opened = _code(_ROW_START + die.gauss(0, 15) * temperature)
        high = _code(max(opened, close) + abs(die.gauss(0, 20)) * temperature)
        low = _code(min(opened, close) - abs(die.gauss(0, 20)) * temperature)
        lines.append(f"{opened:03d}{high:03d}{low:03d}{close:03d}\n")
    return "".join(lines)


def _code(steps: float) -> int:
    return min(max(round(steps), 0), 999)


def _head(prompt: str) -> str:
    """What names the question: the line with the close, or all of it."""
    return next((line for line in prompt.splitlines() if ", close " in line), prompt[-200:])


def _mood(prompt: str, die: Random, temperature: float) -> Said:
    """A label as the next word, with the probabilities of what else it could have been."""
    shares = shares_of(_last_headline(prompt))
    left = 1 - sum(_OTHERS.values())
    words = {f" {label}": left * share for label, share in shares.items()} | _OTHERS
    ranked = dict(sorted(words.items(), key=lambda one: -one[1]))
    pick = die.choices(list(ranked), list(ranked.values()))[0] if temperature else next(iter(ranked))
    return Said(text=pick, first={word: math.log(share) for word, share in ranked.items()})


def _last_headline(prompt: str) -> str:
    """The last line that is no question of its own."""
    lines = [line for line in prompt.splitlines() if line.strip() and not line.startswith("Sentiment:")]
    return lines[-1] if lines else ""


def _freely(prompt: str, die: Random, temperature: float) -> str:
    """What a model that only continues text says: rows after rows, prose after prose."""
    if _CODE_LINE.search(prompt):
        return code_lines(prompt, _MOST_LINES, die, temperature)
    return " and so on" * 400


def _constrained(prompt: str, constraint: Constraint, die: Random, temperature: float) -> str:
    """A text that `constraint` allows.

    Raises:
        Refused: this model knows none.
    """
    if constraint.schema is not None:
        return json.dumps(_of_schema(constraint.schema, prompt, die, temperature), ensure_ascii=False)
    if constraint.choice:
        shares = shares_of(_last_headline(prompt))
        return max(constraint.choice, key=lambda one: shares.get(one.strip().lower(), 0.0))
    return _matching(constraint.regex, prompt, die, temperature)


def _matching(pattern: str, prompt: str, die: Random, temperature: float) -> str:
    """A text that matches the whole of `pattern`: rows of codes, or a mood."""
    try:
        wanted = re.compile(pattern)
    except re.error as wrong:
        raise Refused(f"invalid regex: {wrong}") from wrong
    shares = shares_of(_last_headline(prompt))
    for label in sorted(LABELS, key=lambda one: -shares[one]):
        for text in (f" {label}", label):
            if wanted.fullmatch(text):
                return text
    lines = code_lines(prompt, _MOST_LINES, die, temperature)
    row = lines.index("\n") + 1
    for count in range(1, _MOST_LINES + 1):
        for text in (lines[: count * row], lines[: count * row - 1]):
            if wanted.fullmatch(text):
                return text
    raise Refused(f"the sandbox knows no text for the regex {pattern!r}")


# --- forms ---------------------------------------------------------------------------------------------------------

_HEADING: Final = re.compile(r"[\[【]([^\]】\n]{2,40})[\]】]")
_REMARKS: Final = (
    "Orders for AI servers keep the plants full into the next quarter.",
    "Gross margin was above the guidance of the last call.",
    "A strong local currency weighs on exports.",
    "A large customer is said to have cut its forecast.",
    "The yearly growth of sales slows from a high base.",
    "Management bought shares on the open market.",
)


def _form(prompt: str, die: Random) -> str:
    """The form whose [headings] the conversation names, each filled in; empty where it names none."""
    headings = list(dict.fromkeys(_HEADING.findall(prompt)))
    told = []
    for heading in headings:
        first, second = die.sample(_REMARKS, 2)
        if "prediction" in heading.lower() or "預測" in heading:
            rate = die.randint(1, 5)
            body = f"Prediction: {die.choice(('Up', 'Down'))} by {rate - 1}-{rate}%\nAnalysis: {first} {second}"
        else:
            body = f"1. {first}\n2. {second}"
        told.append(f"[{heading}]:\n{body}")
    return "\n\n".join(told)


def _of_schema(schema: Mapping[str, Any], prompt: str, die: Random, temperature: float) -> Any:  # noqa: PLR0911
    """A value that a JSON schema allows: objects, arrays, enums, strings with a pattern, numbers, booleans."""
    if "enum" in schema:
        shares = shares_of(_last_headline(prompt))
        known = [one for one in schema["enum"] if one in shares]
        return max(known, key=lambda one: shares[one]) if known else die.choice(list(schema["enum"]))
    kind = schema.get("type")
    if kind == "object":
        names: Sequence[str] = schema.get("required") or list(schema.get("properties", {}))
        return {name: _of_schema(schema["properties"][name], prompt, die, temperature) for name in names}
    if kind == "array":
        count = int(schema.get("minItems", min(2, schema.get("maxItems", 2))))
        if schema["items"].get("pattern"):
            return code_lines(prompt, count, die, temperature).splitlines()
        return [_of_schema(schema["items"], prompt, die, temperature) for _ in range(count)]
    if kind == "string" and schema.get("pattern"):
        return _matching(schema["pattern"].removeprefix("^").removesuffix("$"), prompt, die, temperature)
    if kind == "string":
        return die.choice(_REMARKS)
    if kind in {"number", "integer"}:
        low, high = schema.get("minimum", 0), schema.get("maximum", 10)
        return die.randint(low, high) if kind == "integer" else round(die.uniform(low, high), 2)
    if kind == "boolean":
        return die.random() < 0.5  # noqa: PLR2004
    raise Refused(f"the sandbox knows no value for the schema {json.dumps(schema)[:80]}")
