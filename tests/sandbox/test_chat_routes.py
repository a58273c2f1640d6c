"""The sandbox's model servers: OpenAI's shapes, and each server honours its own constraint only."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from small_market import Caller

from bot.errors import Refused
from bot.sandbox.gbnf import regex_of

QUESTION = "Daily prices\n2330 TSMC, close 100 on 2025-01-02\n500510490505\n"
REGEX = "([0-9]{12}\\n){3}"
CONSTRAINTS: dict[str, dict[str, Any]] = {
    "vllm": {"structured_outputs": {"regex": REGEX}},
    "sglang": {"regex": REGEX},
    "llamacpp": {"grammar": 'root ::= row row row\nrow ::= [0-9]{12} "\\n"'},
}


def complete(call: Caller, flavour: str, **more: Any) -> dict[str, Any]:
    body = {"model": "sandbox-llm", "prompt": QUESTION, "max_tokens": 100, "temperature": 0, **more}
    reply = call("POST", f"/llm/{flavour}/v1/completions", json=body)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


@pytest.mark.parametrize("flavour", CONSTRAINTS)
def test_a_server_honours_its_own_constraint_and_no_other(call: Caller, flavour: str) -> None:
    for name, constraint in CONSTRAINTS.items():
        (choice,) = complete(call, flavour, **constraint)["choices"]
        assert bool(re.fullmatch(REGEX, choice["text"])) == (name == flavour)
        assert choice["finish_reason"] == ("stop" if name == flavour else "length")


def test_the_shape_is_openais(call: Caller) -> None:
    told = complete(call, "vllm", **CONSTRAINTS["vllm"], n=2)

    assert told["object"] == "text_completion"
    assert [one["index"] for one in told["choices"]] == [0, 1]
    assert told["usage"]["completion_tokens"] == 2 * 39  # each digit and each line end is a token
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + 78


def test_greedy_is_the_same_and_a_seed_is_its_own(call: Caller) -> None:
    def text(**more: Any) -> str:
        return str(complete(call, "vllm", **CONSTRAINTS["vllm"], **more)["choices"][0]["text"])

    assert text() == text()
    hot = {"temperature": 1.0}
    assert text(seed=1, **hot) == text(seed=1, **hot) != text(seed=2, **hot)
    assert text(**hot) != text(**hot)


def test_an_answer_ends_where_its_tokens_do(call: Caller) -> None:
    (choice,) = complete(call, "vllm", max_tokens=5)["choices"]

    assert (len(choice["text"]), choice["finish_reason"]) == (5, "length")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"model": "other"}, 404, "NotFoundError"),
        ({"prompt": 7}, 400, "invalid_request_error"),
        ({"stream": True}, 400, "invalid_request_error"),
        ({"n": 1_000}, 400, "invalid_request_error"),
        ({"max_tokens": 5_000}, 400, "BadRequestError"),
        ({"structured_outputs": {"regex": "[a-z]+@[a-z]+"}}, 400, "BadRequestError"),
        ({"structured_outputs": {"regex": "("}}, 400, "BadRequestError"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, 400, "BadRequestError"),
    ],
)
def test_errors_are_openais_objects(call: Caller, body: dict[str, Any], status: int, kind: str) -> None:
    told = {"model": "sandbox-llm", "prompt": QUESTION, "max_tokens": 40, **body}
    reply = call("POST", "/llm/vllm/v1/completions", json=told)

    assert reply.status_code == status
    assert reply.json()["error"]["type"] == kind
    assert reply.json()["error"]["message"]


def test_a_teacher_gets_the_form_it_asks_for(call: Caller) -> None:
    rules = "Answer as [Positive Developments], [Potential Concerns] and [Prediction & Analysis]."
    turns = [{"role": "system", "content": rules}, {"role": "user", "content": "2330 台積電"}]
    body = {"model": "sandbox-llm", "messages": turns}

    text = call("POST", "/llm/vllm/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]

    assert re.findall(r"^\[(.+)\]:$", text, re.MULTILINE) == [
        "Positive Developments",
        "Potential Concerns",
        "Prediction & Analysis",
    ]
    assert re.search(r"^Prediction: (Up|Down) by \d-\d%$", text, re.MULTILINE)


def test_a_schema_is_filled_in(call: Caller) -> None:
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": ["positive", "neutral", "negative"]},
            "reasons": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            "confidence": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["label", "reasons", "confidence"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {
        "model": "sandbox-llm",
        "messages": [{"role": "user", "content": "Profit plunges on weak demand"}],
        "response_format": form,
    }

    for flavour, model in (("vllm", "sandbox-llm"), ("ollama", "sandbox-llm:latest")):
        reply = call("POST", f"/llm/{flavour}/v1/chat/completions", json={**body, "model": model}).json()
        told = json.loads(reply["choices"][0]["message"]["content"])
        assert told["label"] == "negative"
        assert len(told["reasons"]) == 2
        assert told["confidence"] in range(1, 6)


@pytest.mark.parametrize(
    ("grammar", "yes", "no"),
    [
        ('root ::= "a" [0-9]+ ("x" | "y")?', ["a1", "a12x", "a3y"], ["a", "b1", "a1z"]),
        ('root ::= row{2}\nrow ::= [0-9]{3} "\\n"', ["123\n456\n"], ["123\n", "123456\n"]),
        ('root ::= " " label\nlabel ::= "positive" | "neutral"', [" positive"], ["positive", " negative"]),
        ('root ::= "."', ["."], ["a"]),
    ],
)
def test_a_regular_grammar_is_a_regular_expression(grammar: str, yes: list[str], no: list[str]) -> None:
    pattern = regex_of(grammar)

    assert all(re.fullmatch(pattern, text) for text in yes)
    assert not any(re.fullmatch(pattern, text) for text in no)


@pytest.mark.parametrize("grammar", ["", 'start ::= "a"', 'root ::= root "a"', "root ::= other", 'root ::= "a" %'])
def test_what_is_no_regular_grammar_is_refused(grammar: str) -> None:
    with pytest.raises(Refused, match="failed to parse grammar"):
        regex_of(grammar)
