"""The LLM on a GPU: the owner's old way and ours in one run, beside what the machine itself can do.

The shape is Llama-3.2-3B's with random weights: speed does not depend on them. Prompts are random tokens of the lengths
that our questions have: 44 to 48 after a shared beginning for 5 past bars, 118 to 124 for 20, and headlines of 40. The
old way is transformers' generate, one stock at a time, 305 sampled tokens.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

from bot.adapters.llm_answer import Choice
from bot.adapters.llm_closes import close_codes
from bot.adapters.llm_decoder import Decoder
from bot.adapters.llm_fused import FusedDecoder
from bot.adapters.llm_outlook import ways_of
from bot.core import distribution
from bot.core.mixture import mixed_outlooks

SHAPE = LlamaConfig(
    hidden_size=3072, num_hidden_layers=28, num_attention_heads=24, num_key_value_heads=8, head_dim=128,
    intermediate_size=8192, vocab_size=128256, max_position_embeddings=131072, tie_word_embeddings=True,
    rope_theta=500000.0,
)  # fmt: skip
STOCKS, SESSIONS, HEADLINES, OLD_TOKENS = 41, 250, 8192, 305
PATHS = 8  # [model] paths
BODY_FLOP = 2 * 2_818_572_288  # a token, without the embedding
dice = random.Random(1)


def main() -> None:
    """Measure and print."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--rows", type=int, nargs="+", default=[128, 256], help="prompts at once")
    told.add_argument("--peer", action="store_true", help="vLLM alone, as this script starts it")
    asked = told.parse_args()
    if asked.peer:
        vllm()
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    peer()
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


def peer() -> None:
    """VLLM on the same shape and lengths, in a process of its own; left out where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        print("vLLM is not installed: nothing to compare with")
        return
    told = {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--peer"]
    ran = subprocess.run(command, env=os.environ | told, capture_output=True, text=True, check=False)
    print("".join(line for line in ran.stdout.splitlines(keepends=True) if line.startswith("vLLM")), end="", flush=True)
    if ran.returncode:
        print(f"vLLM failed: {' | '.join(ran.stderr.strip().splitlines()[-4:])[:800]}", flush=True)


def vllm() -> None:
    """One evening, a year and headlines on vLLM with random weights; greedy, free and with the same 1,000 tokens."""
    from vllm import LLM, SamplingParams, __version__

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig.from_dict({**SHAPE.to_dict(), "architectures": ["LlamaForCausalLM"]}).save_pretrained(folder)
        engine = LLM(
            model=folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_model_len=1024,
            enable_prefix_caching=True, gpu_memory_utilization=0.85, max_num_seqs=512, max_num_batched_tokens=16_384,
        )  # fmt: skip
    print(f"vLLM {__version__}: ready after {time.perf_counter() - began:.0f} s", flush=True)
    free = {"temperature": 0.0, "max_tokens": 25, "min_tokens": 25, "ignore_eos": True, "detokenize": False}
    ways = {"free": free, "with the mask": free | {"allowed_token_ids": sorted(ALLOWED)}}
    for name, words in ways.items():
        asked = SamplingParams(**words)

        def answer(count: int, asked: Any = asked) -> float:
            new = [{"prompt_token_ids": PREFIX + one} for one in prompts(count, 44, 48)]  # none is cached
            return timed(lambda: engine.generate(new, asked, use_tqdm=False))[1]

        answer(STOCKS)
        evening, year = min(answer(STOCKS) for _ in range(3)), answer(STOCKS * SESSIONS // 4)
        print(
            f"vLLM, {name}: {STOCKS} forecasts 5->5 in {evening:.3f} s; {STOCKS * SESSIONS // 4} in {year:.1f} s, "
            f"{STOCKS * SESSIONS // 4 / year:.0f} a second",
            flush=True,
        )
    label = SamplingParams(temperature=0.0, max_tokens=1, allowed_token_ids=[5, 6, 7], logprobs=3, detokenize=False)
    titles = [{"prompt_token_ids": SHOWN + one} for one in prompts(HEADLINES // 2, 40, 40)]
    engine.generate(titles[:64], label, use_tqdm=False)
    took = timed(lambda: engine.generate(titles[64:], label, use_tqdm=False))[1]
    print(f"vLLM: headlines: {(len(titles) - 64) / took:,.0f} a second", flush=True)


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
    ways = ways_of(PATHS, 5)
    (picks, closes), _ = timed(lambda: fused.tell(PREFIX, evening, choices(5), ways))
    along_s = timed(lambda: fused.tell(PREFIX, evening, choices(5), ways), 3)[1]
    asked = [distribution.Path(last_x100=100_00, closes_x100=(100_00,) * 5, etf=False, pct=10)] * STOCKS
    codes = close_codes(picks, choices(5))
    added = timed(lambda: mixed_outlooks(closes[:, 1:].numpy(), codes[:, 1:].numpy(), asked))[1]
    print(f"  along {PATHS} paths too: {along_s:.3f} s, and {added:.2f} s on one core to bands and P(up)")
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
    added = timed(lambda: distribution.outlooks(closes[:, 0].numpy(), paths))[1]
    print(f"  with the closes' distributions: {took:.1f} s, and {added:.1f} s on one core to bands and P(up)")
    titles = prompts(HEADLINES, 40, 40)
    fused.scores(SHOWN, titles[: 2 * fused.rows], (5, 6, 7))
    took = timed(lambda: fused.scores(SHOWN, titles, (5, 6, 7)))[1]
    some = titles[:60:3]
    together, single = fused.scores(SHOWN, titles, (5, 6, 7)), [fused.scores(SHOWN, [one], (5, 6, 7)) for one in some]
    differ = sum(not torch.equal(one[0], together[3 * at]) for at, one in enumerate(single))
    print(f"  headlines whose scores differ when asked alone: {differ} of {len(some)}")
    print(f"  headlines: {HEADLINES / took:,.0f} a second, {HEADLINES * 40 * BODY_FLOP / took / 1e12:.0f} TFLOP/s")
    print(f"  GPU memory at most {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
