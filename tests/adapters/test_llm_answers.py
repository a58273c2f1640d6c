"""Whatever the weights, an answer keeps the exchange's rules; benchmarks/llm_answers.py does the same 5,000 times."""

from __future__ import annotations

import os
import random
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from builders import REPO, config, days

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
torch = pytest.importorskip("torch")
from tiny_llm import make_tiny_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.core.answer_check import answer_faults  # noqa: E402
from bot.core.market import Bar, ceil_to_tick_x100, floor_to_tick_x100, from_x100, limit_down_x100, limit_up_x100  # noqa: E402  # noqa: E402
from bot.ports import Company, Question  # noqa: E402

WINDOWS = ((1, 1), (5, 5), (20, 5), (30, 10))
SMALL = REPO / "models/smollm2-135m"


def drawn(count: int, seed: int, windows: tuple[tuple[int, int], ...] = WINDOWS) -> list[Question]:
    """Questions on tradable walks at every price level, that go to the limits at times; some adjusted off the tick."""
    dice = random.Random(seed)
    found = []
    for at in range(count):
        past, future = windows[at % len(windows)]
        symbol = "0050" if at % 7 == 0 else "2330"
        etf = symbol == "0050"
        close = floor_to_tick_x100(round(10 ** dice.uniform(2.2, 5.7)), etf)
        bars = []
        for day in days(date(2015, 5, 4) if at % 5 == 0 else date(2024, 11, 4), past):
            pct = 7 if day < date(2015, 6, 1) else 10
            down, up = limit_down_x100(close, etf, pct), limit_up_x100(close, etf, pct)
            told = [down, up] if dice.random() < 0.2 else [dice.randint(down, up) for _ in range(4)]
            ticked = sorted(
                min(up, max(down, (floor_to_tick_x100 if dice.random() < 0.5 else ceil_to_tick_x100)(one, etf)))
                for one in (told * 2)[:4]
            )
            low, opened, close, high = ticked
            prices = dict(
                zip(("open", "high", "low", "close"), map(from_x100, (opened, high, low, close)), strict=True)
            )
            bars.append(Bar(symbol=symbol, session=day, volume_shares=dice.randrange(10**7), **prices))
        if at % 3 == 0:  # an ex-date was in the past: its prices are no tradable ones any more
            bars = [scaled(one, Decimal("0.9731")) for one in bars]
        company = Company(symbol=symbol, name="台積電", board="twse")
        found.append(Question(company=company, bars=tuple(bars), future_sessions=future))
    return found


def scaled(one: Bar, factor: Decimal) -> Bar:
    prices = {
        name: (getattr(one, name) * factor).quantize(Decimal("0.01")) for name in ("open", "high", "low", "close")
    }
    return Bar(symbol=one.symbol, session=one.session, volume_shares=one.volume_shares, **prices)


def engine_on(folder: Path) -> TransformersEngine:
    told = {"name": folder.name, "folder": str(folder.parent), "device": "cpu"}
    return TransformersEngine(config(folder, model=told).model)


@pytest.mark.parametrize("digits", [3, 1], ids=["3-digit tokens", "single digits"])
@pytest.mark.parametrize(
    ("spread", "head"), [(0.02, 1), (0.5, 1), (2.0, 1e6), (0.0, 1)], ids=["ordinary", "wild", "extreme", "flat"]
)
def test_random_weights_keep_the_rules(tmp_path: Path, digits: int, spread: float, head: float) -> None:
    folder = tmp_path / "twin"
    make_tiny_model(folder, digits=digits)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(5)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, spread) if spread else weights.zero_()
        model.get_output_embeddings().weight.mul_(head)
    model.save_pretrained(folder)
    check(engine_on(folder), drawn(24, seed=digits))


@pytest.mark.model
@pytest.mark.skipif(not SMALL.is_dir(), reason="models/smollm2-135m is absent: run `make model`")
def test_the_small_model_keeps_the_rules() -> None:
    check(engine_on(SMALL), drawn(12, seed=9, windows=((1, 1), (1, 1), (5, 2))))


def check(engine: TransformersEngine, questions: list[Question]) -> None:
    answers = engine.forecast(questions)
    assert None not in answers
    for one, answer in zip(questions, answers, strict=True):
        assert answer is not None
        assert answer_faults(answer, one.bars[-1], one.future_sessions) == [], one
        assert len(answer.bands) == one.future_sessions
        assert type(answer.p_up) is float
