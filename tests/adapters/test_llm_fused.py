"""The model run by hand says what transformers says: same scores, same choices, whoever its neighbours are."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config  # noqa: E402

from bot.adapters.llm_answer import Choice  # noqa: E402
from bot.adapters.llm_decoder import Decoder  # noqa: E402
from bot.adapters.llm_fused import FusedDecoder  # noqa: E402
from bot.adapters.llm_joined import can_fuse  # noqa: E402

SHAPE = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2}
SHAPE |= {"intermediate_size": 80, "vocab_size": 300, "max_position_embeddings": 256}
CHOICES = tuple(
    Choice(digits=1, allowed=tuple(range(10, 20)), forced=(5, 6) if at % 12 == 11 else ()) for at in range(24)
)
LABELS = (3, 4, 5)
dice = random.Random(7)
PREFIX = [dice.randrange(300) for _ in range(9)]
PROMPTS = [[dice.randrange(300) for _ in range(length)] for length in (17, 4, 16, 9, 33, 1, 8)]


def model_of(shape: Any) -> Any:
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(shape, attn_implementation="grouped").eval()
    for weights in model.parameters():  # biases too, which start at zero
        weights.data.normal_(0, 0.15)
    return model


def both(shape: Any) -> tuple[Decoder, FusedDecoder]:
    assert can_fuse(model_of(shape))
    return Decoder(model_of(shape)), FusedDecoder(model_of(shape), rows=4, graphs=False)


@pytest.mark.parametrize(
    "shape",
    [LlamaConfig(**SHAPE), Qwen2Config(**SHAPE), MistralConfig(**SHAPE, sliding_window=None)],
    ids=["llama", "qwen2 with biases", "mistral"],
)
def test_scores_and_choices_are_those_of_transformers(shape: Any) -> None:
    plain, fused = both(shape)

    told = fused.scores(PREFIX, PROMPTS, LABELS)

    assert told.flatten().tolist() == pytest.approx(plain.scores(PREFIX, PROMPTS, LABELS).flatten().tolist(), abs=1e-4)
    for level in (0.1, 0.5, 0.9):
        assert fused.choose(PREFIX, PROMPTS, CHOICES, level) == plain.choose(PREFIX, PROMPTS, CHOICES, level)


def test_an_answer_is_the_same_to_the_last_bit_whoever_its_neighbours_are() -> None:
    _, fused = both(LlamaConfig(**SHAPE))

    together = fused.scores(PREFIX, PROMPTS, LABELS)

    for row, one in enumerate(PROMPTS):
        assert torch.equal(fused.scores(PREFIX, [one], LABELS)[0], together[row])
    assert torch.equal(fused.scores(PREFIX, PROMPTS[::-1], LABELS).flip(0), together)


@pytest.mark.parametrize(
    "shape",
    [
        MistralConfig(**SHAPE, sliding_window=64),
        LlamaConfig(**SHAPE, mlp_bias=True),
        LlamaConfig(**SHAPE, hidden_act="gelu"),
    ],
    ids=["windowed", "biased", "gelu"],
)
def test_another_kind_of_layer_is_left_to_transformers(shape: Any) -> None:
    assert not can_fuse(model_of(shape))


def test_every_place_of_the_window_can_be_read() -> None:
    """A prompt that fits the window and not the angles would end the GPU's process; one beyond the window is no prompt."""
    long = LlamaConfig(**SHAPE | {"hidden_size": 12, "max_position_embeddings": 131_072})
    fused = FusedDecoder(model_of(long), rows=1, graphs=False)

    cos, sin = fused._model._turns()

    assert len(cos) == len(sin) == fused.window
    short = FusedDecoder(model_of(LlamaConfig(**SHAPE)), rows=1, graphs=False)
    assert short.window == SHAPE["max_position_embeddings"]


def test_too_little_memory_halves_the_batch_and_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    _, fused = both(LlamaConfig(**SHAPE))
    expected = fused.choose(PREFIX, PROMPTS, CHOICES)
    small = fused._read

    def read(batch: Sequence[Sequence[int]], buffers: Any) -> None:
        if len(batch) > 1:
            raise torch.OutOfMemoryError
        small(batch, buffers)

    monkeypatch.setattr(fused, "_read", read)
    assert fused.choose(PREFIX, PROMPTS, CHOICES) == expected
    assert fused.rows == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_recorded_and_unrecorded_answers_agree_and_kernels_do_what_torch_does() -> None:
    from bot.adapters import llm_kernels, llm_small_steps

    model = model_of(LlamaConfig(**SHAPE | {"hidden_size": 192, "head_dim": 32})).to("cuda", torch.bfloat16)
    recorded = FusedDecoder(model, rows=4, graphs=True)
    answers = recorded.choose(PREFIX, PROMPTS, CHOICES)
    recorded._recorded = None
    assert recorded.choose(PREFIX, PROMPTS, CHOICES) == answers
    gate_up = torch.randn(3, 5, 160, device="cuda", dtype=torch.bfloat16)
    assert torch.allclose(llm_kernels.swiglu(gate_up), llm_small_steps.swiglu(gate_up), atol=0.04)
