"""The LLM on a GPU: the owner's old way and ours in one run, beside what the machine itself can do.

The shape is Llama-3.2-3B's with random weights: speed does not depend on them. Prompts are random tokens of the lengths
that our questions have: 44 to 48 after a shared beginning for 5 past bars, 118 to 124 for 20, and headlines of 40. The
old way is transformers' generate, one stock at a time, 305 sampled tokens.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

from bot.adapters.llm_answer import Choice
from bot.adapters.llm_decoder import Decoder
from bot.adapters.llm_fused import FusedDecoder
from bot.core import distribution

SHAPE = LlamaConfig(
    hidden_size=3072, num_hidden_layers=28, num_attention_heads=24, num_key_value_heads=8, head_dim=128,
    intermediate_size=8192, vocab_size=128256, max_position_embeddings=131072, tie_word_embeddings=True,
    rope_theta=500000.0,
)  # fmt: skip
STOCKS, SESSIONS, HEADLINES, OLD_TOKENS = 41, 250, 8192, 305
BODY_FLOP = 2 * 2_818_572_288  # a token, without the embedding
dice = random.Random(1)


def main() -> None:
    """Measure and print."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--rows", type=int, nargs="+", default=[128, 256], help="prompts at once")
    asked = told.parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    copying()
    multiplying()
    model = random_model()
    old_s = timed(lambda: old_way(model))[1]
    print(f"old way: {old_s:.1f} s a forecast, {OLD_TOKENS / old_s:.0f} tokens a second")
    model.set_attn_implementation("grouped")
    by_layers(model)
    fused = FusedDecoder(model, rows=asked.rows[0], graphs=True)
    for rows in asked.rows:
        fused.rows = rows
        fused.forget()
        ours(fused, old_s)


def by_layers(model: Any) -> None:
    """The same answers through transformers' own layers."""
    layered, questions = Decoder(model), prompts(STOCKS, 44, 48)
    layered.choose(PREFIX, questions, choices(5))
    took = timed(lambda: layered.choose(PREFIX, questions, choices(5)))[1]
    print(f"through transformers' layers: {STOCKS} forecasts 5->5 in {took:.3f} s")


PREFIX = [dice.randrange(1_000, 120_000) for _ in range(30)]
SHOWN = [dice.randrange(1_000, 120_000) for _ in range(120)]
ALLOWED = tuple(dice.sample(range(200, 120_000), 1_000))


def choices(sessions: int) -> tuple[Choice, ...]:
    """The places of an answer on a tokenizer with 3-digit tokens: four codes and a line end a bar."""
    return tuple(Choice(digits=3, allowed=ALLOWED, forced=(198,) if at % 4 == 3 else ()) for at in range(4 * sessions))


def prompts(count: int, shortest: int, longest: int) -> list[list[int]]:
    """Random prompts."""
    return [[dice.randrange(1_000, 120_000) for _ in range(dice.randint(shortest, longest))] for _ in range(count)]


def timed(work: Callable[[], Any], times: int = 1) -> tuple[Any, float]:
    """What `work` returns, and its seconds, the GPU's included."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        done = work()
    torch.cuda.synchronize()
    return done, (time.perf_counter() - began) / times


def copying() -> None:
    """The memory's own rate."""
    here = torch.empty(4 << 30, dtype=torch.uint8, device="cuda")
    there = torch.empty_like(here)
    timed(lambda: there.copy_(here), 3)
    print(f"copy: {2 * here.numel() / timed(lambda: there.copy_(here), 10)[1] / 1e12:.2f} TB/s")


def multiplying() -> None:
    """The tensor cores' own rate."""
    for tokens, out, into in ((8192, 8192, 8192), (20480, 16384, 3072), (20480, 3072, 8192)):
        left = torch.randn(tokens, into, device="cuda", dtype=torch.bfloat16)
        right = torch.randn(out, into, device="cuda", dtype=torch.bfloat16)
        timed(lambda left=left, right=right: linear(left, right), 3)
        took = timed(lambda left=left, right=right: linear(left, right), 20)[1]
        print(f"matmul {tokens} x {out} x {into}: {2 * tokens * out * into / took / 1e12:.0f} TFLOP/s")


def random_model() -> Any:
    """Random weights in bf16, made on the GPU."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(SHAPE, attn_implementation="sdpa").eval()
    torch.set_default_dtype(torch.float32)
    return model


def old_way(model: Any) -> Any:
    """One forecast in free text."""
    ids = torch.tensor(prompts(1, 300, 300), device="cuda")
    return model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.5, min_p=0.1, pad_token_id=0,
        max_new_tokens=OLD_TOKENS, min_new_tokens=OLD_TOKENS,
    )  # fmt: skip


def ours(fused: FusedDecoder, old_s: float) -> None:
    """One evening, a year of them, and headlines; and whether an answer depends on its neighbours."""
    print(f"by hand, {fused.rows} prompts at once:")
    evening, deep = prompts(STOCKS, 44, 48), prompts(STOCKS, 118, 124)
    answers, first_s = timed(lambda: fused.choose(PREFIX, evening, choices(5)))
    again_s = timed(lambda: fused.choose(PREFIX, evening, choices(5)), 5)[1]
    print(f"  {STOCKS} forecasts 5->5: {again_s:.3f} s (the first time, recording: {first_s:.1f} s)")
    fused.tell(PREFIX, evening, choices(5))
    print(f"  with the closes' distributions: {timed(lambda: fused.tell(PREFIX, evening, choices(5)), 5)[1]:.3f} s")
    fused.choose(PREFIX, deep, choices(5))
    print(f"  {STOCKS} forecasts 20->5: {timed(lambda: fused.choose(PREFIX, deep, choices(5)), 3)[1]:.3f} s")
    alone = [fused.choose(PREFIX, [one], choices(5))[0] for one in evening]
    print(f"  answers that differ when asked alone: {sum(a != b for a, b in zip(alone, answers, strict=True))}")
    year = prompts(STOCKS * SESSIONS, 44, 48)
    took = timed(lambda: fused.choose(PREFIX, year, choices(5)))[1]
    read = sum(map(len, year)) + 24 * len(year)
    share = read * BODY_FLOP / took / 1e12
    print(
        f"  {len(year)} forecasts 5->5: {took:.1f} s, {len(year) / took:.0f} a second, {read / took:,.0f} tokens a "
        f"second, {share:.0f} TFLOP/s; {old_s / (took / len(year)):,.0f} x the old way"
    )
    (_, closes), took = timed(lambda: fused.tell(PREFIX, year, choices(5)))
    paths = [distribution.Path(last_x100=100_00, closes_x100=(100_00,) * 5, etf=False, pct=10)] * len(year)
    added = timed(lambda: distribution.outlooks(closes.numpy(), paths))[1]
    print(f"  with the closes' distributions: {took:.1f} s, and {added:.1f} s on one core to bands and P(up)")
    titles = prompts(HEADLINES, 40, 40)
    fused.scores(SHOWN, titles[: fused.rows], (5, 6, 7))
    took = timed(lambda: fused.scores(SHOWN, titles, (5, 6, 7)))[1]
    print(f"  headlines: {HEADLINES / took:,.0f} a second, {HEADLINES * 40 * BODY_FLOP / took / 1e12:.0f} TFLOP/s")
    print(f"  GPU memory at most {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
