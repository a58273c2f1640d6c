"""Style "seed" on a tiny random model, through the child process too, and once on the real small one."""

from __future__ import annotations

import math
import os
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, bar, config, days

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
torch = pytest.importorskip("torch")
from tiny_llm import make_tiny_model  # noqa: E402

from bot.adapters.llm_child import ChildEngine  # noqa: E402
from bot.adapters.llm_seed import TOO_LONG, Asked, Dice, SeedEngine, _continued  # noqa: E402
from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.config import ModelConfig  # noqa: E402
from bot.core import seed_prompt  # noqa: E402
from bot.errors import ConfigError, Refused  # noqa: E402
from bot.ports import Company, Question  # noqa: E402

REASONS = {seed_prompt.TOO_FEW, seed_prompt.NOT_A_ROW, seed_prompt.NOT_AFTER, seed_prompt.OUTSIDE, TOO_LONG}


def question(symbol: str = "2330", past: int = 3, future: int = 2) -> Question:
    closes = [100 + at % 3 for at in range(past)]
    sessions = days(date(2025, 1, 2), past)
    bars = tuple(bar(str(close), symbol=symbol, session=day) for close, day in zip(closes, sessions, strict=True))
    return Question(company=Company(symbol=symbol, name="台積電", board="twse"), bars=bars, future_sessions=future)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(made, digits=1)
    return made


def told(folder: Path, **model: Any) -> ModelConfig:
    return config(
        folder, model={"name": folder.name, "folder": str(folder.parent), "device": "cpu", "style": "seed", **model}
    ).model


def engine_on(folder: Path, **model: Any) -> SeedEngine:
    knobs = told(folder, **model)
    return SeedEngine(TransformersEngine(knobs), knobs)


def test_random_weights_abstain_and_every_hole_has_its_reason(folder: Path) -> None:
    engine = engine_on(folder, batch=3)

    answers = engine.forecast([question(), question("2317"), question("2454"), question(past=60)])

    assert answers == [None] * 4
    assert sum(engine.abstentions.values()) == 4
    assert set(engine.abstentions) <= REASONS
    assert engine.abstentions[TOO_LONG] == 1


def test_a_text_does_not_depend_on_those_beside_it(folder: Path) -> None:
    engine = engine_on(folder, samples=2)
    asked = [one for at, code in enumerate(("2330", "31", "2454")) for one in engine._asked(at, question(code, 2 + at))]

    together = engine._continue(asked)

    assert len(asked) == 6
    assert together == [engine._continue([one])[0] for one in asked]
    assert len({one.text for one in together}) == 6  # each has dice of its own
    assert all(0 < one.tokens <= wanted.room for one, wanted in zip(together, asked, strict=True))


def test_dice_draw_what_the_scores_say() -> None:
    """3,000 draws of a distribution of 0.6, 0.3, 0.1: within four standard errors."""
    shares = (0.6, 0.3, 0.1)
    scores = torch.tensor([[math.log(one) for one in shares]])

    drawn = Counter(int(Dice([seed])(torch.empty(1, 0), scores).argmax()) for seed in range(3_000))

    for token, share in enumerate(shares):
        assert abs(drawn[token] / 3_000 - share) < 4 * math.sqrt(share * (1 - share) / 3_000)


def test_what_others_still_wrote_is_no_part_of_an_ended_text(folder: Path) -> None:
    tokenizer = TransformersEngine(told(folder)).tokenizer
    ids = tokenizer("12\n34", add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids("<turn>")

    def read(written: list[int], room: int, sessions: int) -> tuple[str, int, bool]:
        asked = Asked(at=0, text="", ids=(), room=room, sessions=sessions, seed=0)
        one = _continued(tokenizer, written, (end,), asked)
        return one.text, one.tokens, one.ended

    assert read([*ids, end, *ids], 40, 2) == ("12\n34", 5, True)
    assert read([*ids, end, *ids], 40, 1) == ("12\n34", 5, False)  # we stopped it after a line; the end is padding
    assert read(ids * 3, 7, 2) == ("12\n3412", 7, False)


def test_its_answers_have_a_name_of_their_own(folder: Path) -> None:
    def name(**model: Any) -> str:
        return ChildEngine(told(folder, precision="bf16", **model)).model

    names = {
        name(style="codes"),
        name(style="codes", paths=8),
        name(),
        name(samples=5),
        name(engine="unsloth"),
        name(engine="vllm", style="codes", samples=5),
        name(style="codes", bands=False),
        name(bands=False),  # these never have bands of their own distribution
    }
    plain = min(names, key=len)

    others = {"+seed", "+seed.n5", "+unsloth+seed", "+vllm.n5", "+nobands", "+p8"}
    assert names == {plain, *(f"{plain}{other}" for other in others)}


def test_the_child_tells_the_reasons_too(folder: Path) -> None:
    engine = ChildEngine(told(folder))
    try:
        assert engine.forecast([question(), question("2317")]) == [None, None]
        assert sum(engine.abstentions.values()) == 2
        assert set(engine.abstentions) <= REASONS
        (mood,) = engine.sentiment(["up"])
        assert mood
        assert engine.abstentions == {}
    finally:
        engine.close()


@pytest.mark.parametrize("engine", ["vllm", "unsloth"])
def test_an_engine_that_is_not_installed_says_how_to_get_it(folder: Path, engine: str) -> None:
    if __import__("importlib.util").util.find_spec(engine):
        pytest.skip(f"{engine} is installed")
    extra = {"vllm": "vllm", "unsloth": "gpu"}[engine]
    with pytest.raises(
        Refused, match=rf"^engine {engine} needs the package {engine}: pip install 'twtrader\[{extra}\]'$"
    ):
        ChildEngine(told(folder, engine=engine, style="codes")).forecast([question()])


@pytest.mark.parametrize("engine", ["openai", "vllm", "naive"])
def test_style_seed_is_for_engines_that_write_free_text(folder: Path, engine: str) -> None:
    with pytest.raises(ConfigError, match='`style` "seed" needs `engine`'):
        told(folder, engine=engine)


SMALL = REPO / "models/smollm2-135m"


@pytest.mark.model
@pytest.mark.skipif(not SMALL.is_dir(), reason="models/smollm2-135m is absent: run `make model`")
def test_the_small_model_goes_on_with_the_table_or_says_why_not() -> None:
    engine = engine_on(SMALL, batch=3, samples=3)
    asked = [question("2330", past=4, future=1)]

    answers = engine.forecast(asked)

    assert sum(answer is None for answer in answers) == sum(engine.abstentions.values())
    forecasts = [answer for answer in answers if answer]
    assert forecasts  # it does write rows: dates that go on, prices inside the limit
    for answer in forecasts:
        (told_bar,) = answer.bars
        assert 90 <= told_bar.low <= told_bar.close <= told_bar.high <= 112
        assert answer.model.endswith("+seed.n3")
        assert answer.tokens > 100
