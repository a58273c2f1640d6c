"""The distribution of a close that is read off while an answer is made is the model's own, question by question."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, LlamaConfig  # noqa: E402

from bot.adapters.llm_answer import Choice  # noqa: E402
from bot.adapters.llm_closes import FINE, close_codes  # noqa: E402
from bot.adapters.llm_decoder import Decoder  # noqa: E402
from bot.adapters.llm_fused import FusedDecoder  # noqa: E402

DIGITS = tuple(range(10, 20))  # the tokens of 0..9
CODES = tuple(range(100, 1100))
LINE_END = (5, 6)
BARS = 2
SINGLE = tuple(Choice(digits=1, allowed=DIGITS, forced=LINE_END if at % 12 == 11 else ()) for at in range(12 * BARS))
WHOLE = tuple(Choice(digits=3, allowed=CODES, forced=LINE_END if at % 4 == 3 else ()) for at in range(4 * BARS))
SHAPE = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2}
SHAPE |= {"intermediate_size": 80, "vocab_size": 1100, "max_position_embeddings": 256}
dice = random.Random(5)
PREFIX = [dice.randrange(100) for _ in range(9)]
PROMPTS = [[dice.randrange(100) for _ in range(length)] for length in (17, 4, 16, 9, 33, 1)]


def model_of() -> Any:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), attn_implementation="grouped").eval()
    for weights in model.parameters():
        weights.data.normal_(0, 0.15)
    return model


PLAIN = Decoder(model_of())
FUSED = FusedDecoder(model_of(), rows=4, graphs=False)


WAYS = ((0.5, 0.5), (0.9, 0.2), (0.05, 0.7))


def said(picks: list[int], choices: tuple[Choice, ...], before: int) -> list[int]:
    """The tokens of an answer's first `before` choices."""
    tokens: list[int] = []
    for pick, one in zip(picks[:before], choices[:before], strict=True):
        tokens += [one.allowed[pick], *one.forced]
    return tokens


def shares_after(tokens: list[list[int]], labels: tuple[int, ...]) -> Any:
    """The probabilities of `labels` after each of `tokens`: each asked by itself, as a prompt of its own."""
    return torch.softmax(torch.cat([PLAIN.scores(PREFIX, [one], labels) for one in tokens]), dim=1)


@pytest.mark.parametrize("choices", [SINGLE, WHOLE], ids=["single digits", "whole codes"])
def test_reading_closes_changes_no_answer_and_both_decoders_read_the_same(choices: tuple[Choice, ...]) -> None:
    picks, closes = PLAIN.tell(PREFIX, PROMPTS, choices)

    assert picks[:, 0].tolist() == PLAIN.choose(PREFIX, PROMPTS, choices)
    assert closes.shape == (len(PROMPTS), 1, BARS, 1000)
    assert closes.sum(dim=-1).flatten().tolist() == pytest.approx([1.0] * len(PROMPTS) * BARS, abs=1e-5)
    fused_picks, fused = FUSED.tell(PREFIX, PROMPTS, choices)
    assert torch.equal(fused_picks, picks)
    assert fused_picks[:, 0].tolist() == FUSED.choose(PREFIX, PROMPTS, choices)
    assert torch.allclose(fused, closes, atol=2e-6)


@pytest.mark.parametrize("choices", [SINGLE, WHOLE], ids=["single digits", "whole codes"])
def test_several_ways_are_read_as_if_each_were_the_only_one(choices: tuple[Choice, ...]) -> None:
    picks, closes = PLAIN.tell(PREFIX, PROMPTS, choices, WAYS)

    assert picks.shape == (len(PROMPTS), len(WAYS), len(choices))
    for at, way in enumerate(WAYS):
        alone, read = PLAIN.tell(PREFIX, PROMPTS, choices, [way])
        assert torch.equal(alone[:, 0], picks[:, at])
        assert torch.allclose(read[:, 0], closes[:, at], atol=2e-6)
    assert torch.equal(PLAIN.tell(PREFIX, PROMPTS, choices)[0][:, 0], picks[:, 0])
    fused_picks, fused = FUSED.tell(PREFIX, PROMPTS, choices, WAYS)
    assert torch.equal(fused_picks, picks)
    assert torch.allclose(fused, closes, atol=2e-6)


@pytest.mark.parametrize("choices", [SINGLE, WHOLE], ids=["single digits", "whole codes"])
def test_a_way_takes_each_close_at_its_quantile_and_all_else_at_the_median(choices: tuple[Choice, ...]) -> None:
    picks, closes = PLAIN.tell(PREFIX, PROMPTS, choices, WAYS)
    codes = close_codes(picks, choices)

    assert codes.shape == (len(PROMPTS), len(WAYS), BARS)
    for row in range(len(PROMPTS)):
        for way, levels in enumerate(WAYS):
            for bar, level in enumerate(levels):
                code, upto = int(codes[row, way, bar]), closes[row, way, bar].double().cumsum(dim=0)
                assert upto[code] >= level - 1e-4
                assert code == 0 or upto[code - 1] <= level + 1e-4
    each = len(choices) // BARS
    places = [at for at in range(each) if at >= each // 4]  # of the first bar: its open, high and low
    before = [one + said(picks[row, 2].tolist(), choices, each // 4) for row, one in enumerate(PROMPTS)]
    rest = PLAIN.choose(PREFIX, before, choices[each // 4 : each])
    assert picks[:, 2, places].tolist() == rest


def test_a_token_that_is_a_whole_code_tells_the_distribution_exactly() -> None:
    picks, closes = PLAIN.tell(PREFIX, PROMPTS, WHOLE)

    for row, one in enumerate(PROMPTS):
        for bar in range(BARS):
            before = one + said(picks[row, 0].tolist(), WHOLE, 4 * bar)
            assert torch.allclose(closes[row, 0, bar], shares_after([before], CODES)[0], atol=1e-6)


def test_single_digits_are_those_of_ten_questions_asked_one_by_one() -> None:
    picks, closes = PLAIN.tell(PREFIX, PROMPTS, SINGLE)

    for row, one in enumerate(PROMPTS[:3]):
        for bar in range(BARS):
            start = 12 * bar
            before = one + said(picks[row, 0].tolist(), SINGLE, start)
            first = shares_after([before], DIGITS)[0]
            second = shares_after([[*before, digit] for digit in DIGITS], DIGITS)
            told = closes[row, 0, bar].view(10, 10, 10)
            assert torch.allclose(told.sum(dim=-1), first[:, None] * second, atol=1e-6)
            chosen = picks[row, 0, start].item(), picks[row, 0, start + 1].item()
            for i, j in {chosen, *FINE}:
                third = shares_after([[*before, DIGITS[i], DIGITS[j]]], DIGITS)[0]
                assert torch.allclose(told[i, j], first[i] * second[i, j] * third, atol=1e-6)
            i, j = next((i, j) for i in range(10) for j in range(10) if (i, j) not in {chosen, *FINE})
            assert torch.allclose(told[i, j], (first[i] * second[i, j] / 10).expand(10), atol=1e-6)


@pytest.mark.parametrize("choices", [SINGLE, WHOLE], ids=["single digits", "whole codes"])
def test_what_is_read_is_the_same_to_the_last_bit_whoever_the_neighbours_are(choices: tuple[Choice, ...]) -> None:
    _, together = FUSED.tell(PREFIX, PROMPTS, choices, WAYS)

    for row, one in enumerate(PROMPTS):
        assert torch.equal(FUSED.tell(PREFIX, [one], choices, WAYS)[1][0], together[row])
    assert torch.equal(FUSED.tell(PREFIX, PROMPTS[::-1], choices, WAYS)[1].flip(0), together)


def test_the_told_close_is_the_median_of_what_is_read() -> None:
    for choices in (SINGLE, WHOLE):
        picks, closes = PLAIN.tell(PREFIX, PROMPTS, choices)
        places = len(choices) // BARS
        for row, pick in enumerate(picks[:, 0].tolist()):
            for bar in range(BARS):
                digits = pick[places * bar : places * bar + places // 4]
                code = int("".join(str(one) for one in digits))
                upto = closes[row, 0, bar].cumsum(dim=0)
                assert upto[code] >= 0.5 - 1e-5
                assert code == 0 or upto[code - 1] <= 0.5 + 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("choices", [SINGLE, WHOLE], ids=["single digits", "whole codes"])
def test_on_a_gpu_a_recorded_answer_reads_what_an_unrecorded_one_does(choices: tuple[Choice, ...]) -> None:
    shape = LlamaConfig(**SHAPE | {"hidden_size": 192, "head_dim": 32})
    model = AutoModelForCausalLM.from_config(shape, attn_implementation="grouped").eval().to("cuda", torch.bfloat16)
    recorded = FusedDecoder(model, rows=4, graphs=True)
    picks, closes = recorded.tell(PREFIX, PROMPTS, choices, WAYS)
    assert picks[:, 0].tolist() == recorded.choose(PREFIX, PROMPTS, choices)
    recorded._recorded = None
    again, plain = recorded.tell(PREFIX, PROMPTS, choices, WAYS)
    assert torch.equal(again, picks)
    assert torch.equal(plain, closes)
