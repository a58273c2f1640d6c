"""The LLM on this machine's CPU: seconds for an evening's forecasts and headlines, beside transformers' own generate.

CPU seconds stand beside the wall's, as others may be using the cores. `--quality` adds what the forecasts are worth on
real bars (../shared/data/prices): the mean absolute error of the close beside "tomorrow = today", on days after
everything the model can know.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the child's environment
REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

import torch  # noqa: E402

from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.config import load_config  # noqa: E402
from bot.core import prompt  # noqa: E402
from bot.core.market import Bar, floor_to_tick_x100, from_x100  # noqa: E402
from bot.errors import DataMissing  # noqa: E402
from bot.ports import Company, Question  # noqa: E402

PRICES = REPO.parent / "shared/data/prices"
PAST, FUTURE, STOCKS, HEADLINES, PEER = 20, 5, 41, 200, 8
QUALITY_DAYS = (date(2025, 1, 15), date(2025, 2, 13), date(2025, 3, 14), date(2025, 4, 24), date(2025, 5, 22))


def main() -> None:
    """Load, time and print; the peer runs in the same process on the same weights."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--quality", action="store_true", help="forecast errors on real bars")
    asked = told.parse_args()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    engine, load_s = timed(lambda: TransformersEngine(load_config(REPO / "config.toml").model))
    print(f"{engine.model}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; loaded in {load_s:.1f} s")
    questions = [question_of(random_bars(f"{2300 + at}", at)) for at in range(STOCKS)]
    engine.forecast(questions[:1])
    busy = time.process_time()
    answers, forecast_s = timed(lambda: engine.forecast(questions))
    busy = time.process_time() - busy
    each_s = forecast_s / STOCKS
    print(f"{len(answers)} forecasts {PAST}->{FUTURE}: {forecast_s:.1f} s, {each_s:.2f} s each, CPU {busy:.0f} s")
    peer_s = timed(lambda: generate(engine, questions[:PEER]))[1]
    print(f"  peer, transformers generate (greedy, no mask), {PEER} of them: {peer_s / PEER:.2f} s each")
    engine.sentiment(["warm"])
    titles = headlines()
    busy = time.process_time()
    moods, mood_s = timed(lambda: engine.sentiment(titles))
    busy = time.process_time() - busy
    print(f"{len(moods)} headlines: {mood_s:.1f} s, {len(moods) / mood_s:.1f} a second, CPU {busy:.0f} s")
    if asked.quality:
        quality(engine)


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


def quality(engine: TransformersEngine) -> None:
    """Errors over the real companies on QUALITY_DAYS, beside the last close."""
    if not PRICES.is_dir():
        print(f"no quality figures: {PRICES} is absent")
        return
    history = {path.stem: real_bars(path) for path in sorted(PRICES.glob("[0-9]*.csv"))}
    pairs = [pair for day in QUALITY_DAYS for bars in history.values() if (pair := real_question(bars, day))]
    answers, seconds = timed(lambda: engine.forecast([question for question, _ in pairs]))
    print(f"{len(pairs)} real questions after {', '.join(map(str, QUALITY_DAYS))} ({seconds:.0f} s)")
    for horizon in (1, FUTURE):
        rows = [
            (float(told.bars[horizon - 1].close), float(came[horizon - 1].close), float(asked.bars[-1].close))
            for told, (asked, came) in zip(answers, pairs, strict=True)
            if told
        ]
        ours = statistics.mean(abs(told / came - 1) for told, came, _ in rows)
        naive = statistics.mean(abs(last / came - 1) for _, came, last in rows)
        moved = [(told - last) * (came - last) for told, came, last in rows if last not in (told, came)]
        right = sum(product > 0 for product in moved) / len(moved)
        print(
            f"  {horizon} sessions: MAPE {ours:.2%}, last close {naive:.2%}; way right {right:.1%} of {len(moved)}"
            f"; unchanged {sum(told == last for told, _, last in rows)}; mean move {mean_move(rows):+.2%}"
        )


def mean_move(rows: list[tuple[float, float, float]]) -> float:
    """The mean forecast change of the close."""
    return statistics.mean(told / last - 1 for told, _, last in rows)


def real_question(bars: list[Bar], day: date) -> tuple[Question, list[Bar]] | None:
    """The question after `day` and what came, where both are whole."""
    end = sum(one.session <= day for one in bars)
    if end < PAST or end + FUTURE > len(bars) or (day - bars[end - 1].session).days > 7:
        return None
    return question_of(bars[end - PAST : end]), bars[end : end + FUTURE]


def question_of(bars: list[Bar]) -> Question:
    """The question that follows `bars`."""
    company = Company(symbol=bars[-1].symbol, name=bars[-1].symbol, board="twse")
    return Question(company=company, bars=tuple(bars), future_sessions=FUTURE)


def real_bars(path: Path) -> list[Bar]:
    """The bars of a file of ../shared/data/prices; sessions without a trade are left out."""
    found = []
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                prices = {name: Decimal(row[name]) for name in prompt.FIELDS}
                day = date.fromisoformat(row["date"])
                found.append(Bar(symbol=path.stem, session=day, volume_shares=int(row["capacity"]), **prices))
            except (ArithmeticError, ValueError, DataMissing):
                continue
    return found


def random_bars(symbol: str, seed: int) -> list[Bar]:
    """A seeded walk on the tick, so that the timings need no data."""
    dice = random.Random(seed)
    close, found = dice.randrange(20_00, 900_00), []
    for at in range(PAST):
        prices = [floor_to_tick_x100(round(close * dice.uniform(0.97, 1.03)), etf=False) for _ in range(4)]
        low, opened, close, high = sorted(prices)
        told = dict(zip(prompt.FIELDS, map(from_x100, (opened, high, low, close)), strict=True))
        found.append(Bar(symbol=symbol, session=date(2025, 1, 1) + timedelta(at), volume_shares=1, **told))
    return found


def headlines() -> list[str]:
    """Two hundred headlines of the length that newspapers write, half Chinese."""
    chinese = "台積電第三季營收年增{}% 法人上修全年獲利預估 外資連{}買"
    english = "Chip maker reports {}% revenue growth in third quarter, guides {}% higher"
    return [(chinese if at % 2 else english).format(at, at % 9) for at in range(HEADLINES)]


if __name__ == "__main__":
    main()
