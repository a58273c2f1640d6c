"""The LLM on this machine's CPU: seconds for an evening's forecasts and headlines, beside transformers' own generate.

CPU seconds stand beside the wall's, as others may be using the cores. What the forecasts are worth says
`twtrader backtest quality`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the child's environment
REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

import torch  # noqa: E402

from bot.adapters.engine_ways import USUAL_PATHS  # noqa: E402
from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.config_file import load_config  # noqa: E402
from bot.core import prompt  # noqa: E402
from bot.core.market import Bar, floor_to_tick_x100, from_x100  # noqa: E402
from bot.ports import Company, Question  # noqa: E402

PASTS = (5, 20)  # bars in a question; the goal is about the first
FUTURE, STOCKS, HEADLINES, PEER = 5, 41, 200, 8
GOAL_S = 60.0  # for both together, on two quiet cores with the small model


def main() -> int:
    """Load, time and print; the peer runs in the same process on the same weights. 1 when the goal is missed."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    engine, load_s = timed(lambda: TransformersEngine(load_config(REPO / "config.toml").model))
    print(f"{engine.model}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; loaded in {load_s:.1f} s")
    evening_s = {past: forecasts(engine, past) for past in PASTS}
    engine.sentiment(["warm"])
    titles = headlines()
    busy = time.process_time()
    moods, mood_s = timed(lambda: engine.sentiment(titles))
    busy = time.process_time() - busy
    print(f"{len(moods)} headlines: {mood_s:.1f} s, {len(moods) / mood_s:.1f} a second, CPU {busy:.0f} s")
    goal_s = evening_s[PASTS[0]] + mood_s
    good = goal_s <= GOAL_S
    along = TransformersEngine(dataclasses.replace(load_config(REPO / "config.toml").model, paths=USUAL_PATHS))
    forecasts(along, PASTS[0], f", bands along {USUAL_PATHS} paths", beside=False)
    print(
        f"{'PASS' if good else 'FAIL'}: {STOCKS} forecasts {PASTS[0]}->{FUTURE} and {HEADLINES} headlines in "
        f"{goal_s:.1f} s, goal {GOAL_S:.0f} s"
    )
    return 0 if good else 1


def forecasts(engine: TransformersEngine, past: int, words: str = "", *, beside: bool = True) -> float:
    """Seconds for an evening's forecasts of `past` bars, `beside` the peer's; both printed."""
    questions = [question_of(random_bars(f"{2300 + at}", at, past)) for at in range(STOCKS)]
    engine.forecast(questions[:1])
    busy = time.process_time()
    answers, seconds = timed(lambda: engine.forecast(questions))
    busy = time.process_time() - busy
    print(
        f"{len(answers)} forecasts {past}->{FUTURE}{words}: {seconds:.1f} s, {seconds / STOCKS:.2f} s each, "
        f"CPU {busy:.0f} s"
    )
    if not beside:
        return float(seconds)
    peer_s = timed(lambda: generate(engine, questions[:PEER]))[1]
    print(
        f"  peer, transformers generate (greedy, no mask), {PEER} of them: {peer_s / PEER:.2f} s each, "
        f"{STOCKS} in {peer_s / PEER * STOCKS:.1f} s"
    )
    return float(seconds)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and its seconds."""
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def generate(engine: TransformersEngine, questions: list[Question]) -> Any:
    """The peer: the same questions, padded on the left, as many tokens, through `generate`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = REPO / "models" / engine.model.partition("@")[0]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    texts = [prompt.question_text(one.company.name, one.bars) for one in questions]
    ids = tokenizer(texts, return_tensors="pt", padding=True)
    tokens = len(tokenizer(prompt.answer_shape(FUTURE))["input_ids"])
    return model.generate(**ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)


def question_of(bars: list[Bar]) -> Question:
    """The question that follows `bars`."""
    company = Company(symbol=bars[-1].symbol, name=bars[-1].symbol, board="twse")
    return Question(company=company, bars=tuple(bars), future_sessions=FUTURE)


def random_bars(symbol: str, seed: int, past: int) -> list[Bar]:
    """A seeded walk on the tick, so that the timings need no data."""
    dice = random.Random(seed)
    close, found = dice.randrange(20_00, 900_00), []
    for at in range(past):
        prices = [floor_to_tick_x100(round(close * dice.uniform(0.97, 1.03)), etf=False) for _ in range(4)]
        low, opened, close, high = sorted(prices)
        told = dict(zip(("open", "high", "low", "close"), map(from_x100, (opened, high, low, close)), strict=True))
        found.append(Bar(symbol=symbol, session=date(2025, 1, 1) + timedelta(at), volume_shares=1, **told))
    return found


def headlines() -> list[str]:
    """Two hundred headlines of the length that newspapers write, half Chinese."""
    chinese = "台積電第三季營收年增{}% 法人上修全年獲利預估 外資連{}買"
    english = "Chip maker reports {}% revenue growth in third quarter, guides {}% higher"
    return [(chinese if at % 2 else english).format(at, at % 9) for at in range(HEADLINES)]


if __name__ == "__main__":
    sys.exit(main())
