"""vLLM and unsloth on a real GPU: run on a machine that has both; skipped, with the reason, everywhere else.

pip install 'twtrader[vllm]'   or   pip install 'twtrader[gpu]'
python -m pytest tests/adapters/test_llm_gpu_engines.py
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, bar, config, days

from bot.adapters.llm_child import ChildEngine
from bot.adapters.llm_unsloth import load_unsloth
from bot.adapters.llm_worker import _load
from bot.core.market import limit_down_x100, limit_up_x100, to_x100
from bot.errors import Refused
from bot.ports import Company, Question

torch = pytest.importorskip("torch")
SMALL = REPO / "models/smollm2-135m"


def needs(package: str) -> list[pytest.MarkDecorator]:
    return [
        pytest.mark.model,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here"),
        pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed"),
        pytest.mark.skipif(not SMALL.is_dir(), reason="models/smollm2-135m is absent: run `make model`"),
        pytest.mark.timeout(600),
    ]


def engine_of(engine: str, **model: Any) -> ChildEngine:
    told = {"engine": engine, "name": SMALL.name, "folder": str(SMALL.parent), "timeout_s": 500.0, **model}
    return ChildEngine(config(Path(), model=told).model)


def question(symbol: str, past: int = 20, future: int = 5) -> Question:
    sessions = days(date(2025, 1, 2), past)
    bars = tuple(
        bar(str(100 + (at * 3 + int(symbol)) % 7), symbol=symbol, session=day) for at, day in enumerate(sessions)
    )
    return Question(company=Company(symbol=symbol, name=symbol, board="twse"), bars=bars, future_sessions=future)


ASKED = [question(str(1101 + at)) for at in range(41)]


@pytest.fixture(scope="module")
def vllm() -> Iterator[ChildEngine]:
    engine = engine_of("vllm", samples=9)
    yield engine
    engine.close()


class TestVllm:
    pytestmark = needs("vllm")

    def test_every_answer_parses_and_lies_inside_the_limit(self, vllm: ChildEngine) -> None:
        answers = vllm.forecast(ASKED)

        assert vllm.abstentions == {}
        for asked, told in zip(ASKED, answers, strict=True):
            assert told
            assert told.model.endswith("+vllm.n9")
            assert told.p_up is not None
            before = to_x100(asked.bars[-1].close)
            for one, band in zip(told.bars, told.bands, strict=True):
                assert limit_down_x100(before, etf=False) <= to_x100(one.low)
                assert to_x100(one.high) <= limit_up_x100(before, etf=False)
                assert band.low <= one.close <= band.high
                before = to_x100(one.close)

    def test_moods_agree_with_our_own_engine(self, vllm: ChildEngine) -> None:
        titles = ["台積電第四季獲利創新高", "Foxconn shares plunge on weak outlook", "Board meets on Tuesday"] * 5
        ours = engine_of("transformers")
        try:
            for mine, theirs in zip(ours.sentiment(titles), vllm.sentiment(titles), strict=True):
                assert mine
                assert theirs
                assert theirs.positive == pytest.approx(mine.positive, abs=0.05)  # bf16, other kernels
                assert theirs.positive + theirs.neutral + theirs.negative == pytest.approx(1, abs=1e-4)
        finally:
            ours.close()

    def test_a_question_too_long_is_an_abstention(self, vllm: ChildEngine) -> None:
        fits, too_long = vllm.forecast([question("1101"), question("1102", past=900)])

        assert fits is not None
        assert too_long is None
        assert vllm.abstentions == {"longer than the model's window": 1}


class TestUnsloth:
    pytestmark = needs("unsloth")

    def test_it_answers_like_transformers(self) -> None:
        engine, ours = engine_of("unsloth"), engine_of("transformers")
        try:
            theirs, mine = engine.forecast(ASKED), ours.forecast(ASKED)
        finally:
            engine.close()
            ours.close()
        same = sum(bool(one and two and one.bars == two.bars) for one, two in zip(theirs, mine, strict=True))
        assert all(theirs)
        assert same >= 39  # the same weights in bf16


@pytest.mark.parametrize("precision", ["4bit", "8bit", "float32"])
def test_unsloth_answers_in_bf16_alone(precision: str) -> None:
    told = rf'^`engine` "unsloth" answers in bf16: for `precision` "{precision}" take `engine` "transformers"$'
    with pytest.raises(Refused, match=told):
        load_unsloth(Path("no model is looked for"), "cuda", precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("engine", ["vllm", "unsloth"])
def test_without_cuda_each_says_so_in_one_line(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the child of a machine where the package is there and the GPU is not."""
    from tiny_llm import make_tiny_model

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    make_tiny_model(tmp_path / "tiny", digits=1)
    knobs = config(tmp_path, model={"engine": engine, "name": "tiny", "folder": str(tmp_path)}).model
    with pytest.raises(Refused, match=rf"^engine {engine} needs CUDA, and this machine has none") as refused:
        _load(knobs)
    assert "\n" not in str(refused.value)
