"""The engine on a tiny model with random weights, on hand-made tokenizers; the real small model at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, bar, config, days

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
torch = pytest.importorskip("torch")
from tiny_llm import make_tiny_model, make_tokenizer  # noqa: E402

from bot.adapters.asked_questions import named  # noqa: E402
from bot.adapters.llm_answer import UNEVEN, answer_choices, fill_answer, quantile  # noqa: E402
from bot.adapters.llm_batches import in_batches  # noqa: E402
from bot.adapters.llm_decoder import Decoder  # noqa: E402
from bot.adapters.llm_loading import load_weights  # noqa: E402
from bot.adapters.llm_outlook import windows_at_once  # noqa: E402
from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.core import prompt  # noqa: E402
from bot.core.market import limit_down_x100, limit_up_x100, to_x100  # noqa: E402
from bot.errors import EngineFailed, Refused  # noqa: E402
from bot.ports import Company, Question  # noqa: E402

SMALL = REPO / "models/smollm2-135m"
small_model = pytest.mark.skipif(not SMALL.is_dir(), reason="models/smollm2-135m is absent: run `make model`")


def question(name: str = "台積電", past: int = 5, future: int = 2, symbol: str = "2330") -> Question:
    closes = [100 + (at * 7 + len(name)) % 5 for at in range(past)]
    bars = tuple(
        bar(str(close), symbol=symbol, session=day, high=str(close + 2), low=str(close - 1))
        for close, day in zip(closes, days(date(2025, 1, 2), past), strict=True)
    )
    return Question(company=Company(symbol=symbol, name=name, board="twse"), bars=bars, future_sessions=future)


@pytest.fixture(scope="module", params=[3, 1], ids=["3-digit tokens", "single digits"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(made, digits=request.param)
    return made


@pytest.fixture(scope="module")
def engine(folder: Path) -> TransformersEngine:
    return engine_on(folder)


def engine_on(folder: Path, **model: Any) -> TransformersEngine:
    told = {"name": folder.name, "folder": str(folder.parent), "device": "cpu", **model}
    return TransformersEngine(config(folder, model=told).model)


# --- the mask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("digits", "choices"), [(3, 4), (1, 12)])
def test_the_mask_of_a_bar_is_derived_from_the_tokenizer(digits: int, choices: int) -> None:
    tokenizer = make_tokenizer(digits)

    found = answer_choices(tokenizer)

    assert len(found) == choices
    assert all(len(one.allowed) == 10**digits for one in found)
    assert [tokenizer.convert_ids_to_tokens(one.forced) for one in found] == [[]] * (choices - 1) + [["\n"]]
    assert tokenizer.convert_ids_to_tokens(found[0].allowed[7]) == "7".zfill(digits)


def test_every_answer_is_what_the_tokenizer_would_have_written() -> None:
    for digits in (1, 3):
        tokenizer = make_tokenizer(digits)
        choices = answer_choices(tokenizer) * 2
        picks = [(31 * at + 5) % 10**digits for at in range(len(choices))]

        said = [token for pick, one in zip(picks, choices, strict=True) for token in (one.allowed[pick], *one.forced)]

        text = fill_answer(picks, choices, 2)
        assert tokenizer(text)["input_ids"] == said
        assert len(prompt.read_answer(text, Decimal(100))) == 2


@pytest.mark.parametrize("digits", [2, 12])
def test_a_tokenizer_that_cuts_numbers_otherwise_is_refused(digits: int) -> None:
    with pytest.raises(Refused, match=re.escape(UNEVEN)):
        answer_choices(make_tokenizer(digits))


def test_a_tokenizer_that_lacks_one_number_is_refused() -> None:
    with pytest.raises(Refused, match=re.escape(UNEVEN)):
        answer_choices(make_tokenizer(3, without=("512",)))


# --- bands ---------------------------------------------------------------------------------------------------------


def test_bands_along_paths_leave_the_forecast_as_it_is_and_do_not_depend_on_neighbours(folder: Path) -> None:
    asked = [question(), question(symbol="0050", future=5), question(past=9, future=5), question(past=6, future=1)]
    median = engine_on(folder).forecast(asked)
    engine = engine_on(folder, paths=4, batch=7)

    told = engine.forecast(asked)

    assert engine.model == f"{median[0].model}+p4"
    for one, plain, which in zip(told, median, asked, strict=True):
        assert (one.bars, one.tokens) == (plain.bars, plain.tokens)
        assert len(one.bands) == which.future_sessions
        assert all(band.low <= bar.close <= band.high for band, bar in zip(one.bands, one.bars, strict=True))
        [alone] = engine.forecast([which])
        assert alone.bands == one.bands
        assert alone.p_up == pytest.approx(one.p_up, abs=0.002)
    assert told[3].bands == median[3].bands  # after one session there is one way only
    assert told[1].bands != median[1].bands


def test_a_batch_counts_every_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    feed = Decoder._feed

    def fed(self: Decoder, reading: Any, ids: Any) -> Any:
        read.append(len(ids))
        return feed(self, reading, ids)

    monkeypatch.setattr(Decoder, "_feed", fed)
    [whole] = engine_on(folder, paths=8).forecast([question()])
    assert max(read) == 9
    read.clear()
    [one] = engine_on(folder, paths=8, batch=2).forecast([question()])

    assert max(read) == 2
    assert whole is not None
    assert one is not None
    assert (one.bars, one.bands) == (whole.bars, whole.bands)
    assert one.p_up == pytest.approx(whole.p_up, abs=0.002)


def test_a_forecast_carries_bands_and_p_up_and_is_the_same_without_them(
    folder: Path, engine: TransformersEngine
) -> None:
    asked = [question(), question(symbol="0050", future=5), question(past=9, future=5)]
    told = [one for one in engine.forecast(asked) if one]
    plain = [one for one in engine_on(folder, bands=False).forecast(asked) if one]

    assert [(one.bands, one.p_up) for one in plain] == [((), None)] * 3
    assert [one.bars for one in told] == [one.bars for one in plain]
    for one, which in zip(told, asked, strict=True):
        etf = one.symbol == "0050"
        assert one.p_up is not None
        assert 0 < one.p_up < 1  # random weights are sure of nothing
        lowest = highest = to_x100(which.bars[-1].close)
        assert len(one.bands) == which.future_sessions
        for band, told_bar in zip(one.bands, one.bars, strict=True):
            lowest, highest = limit_down_x100(lowest, etf), limit_up_x100(highest, etf)
            assert lowest <= to_x100(band.low) <= to_x100(told_bar.close) <= to_x100(band.high) <= highest


def test_what_fits_memory_is_asked_at_once() -> None:
    for paths in (0, 8):
        bytes_ = 5 * 1000 * 4 * (1 + paths)
        assert windows_at_once(5, paths) * bytes_ <= 256 * 2**20 < (windows_at_once(5, paths) + 1) * bytes_
    assert windows_at_once(10**9, 0) == 1


# --- decoding ------------------------------------------------------------------------------------------------------


def test_the_quantile_of_a_number_is_read_digit_by_digit() -> None:
    shares = torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])

    pick, rest = quantile(shares.log(), torch.tensor([0.5, 0.5]))

    assert pick.tolist() == [2, 0]
    assert rest.tolist() == pytest.approx([0.2 / 0.7, 0.5 / 0.6])


def test_choices_and_scores_equal_a_plain_forward_pass_over_the_whole_text(folder: Path) -> None:
    """The cache, the padding, the shared prefix and the grouped attention change nothing."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    decoder = Decoder(load_weights(str(folder), "cpu"))
    prefix, prompts = [5, 9, 11], [[12, 13, 14, 15], [21], [31, 32]]
    choices = (*answer_choices(make_tokenizer(3)), *answer_choices(make_tokenizer(3)))
    if max(choices[0].allowed) >= plain.config.vocab_size:
        choices = answer_choices(make_tokenizer(1))

    scores = decoder.scores(prefix, prompts, [3, 4, 5])
    picks = decoder.choose(prefix, prompts, choices)

    for row, one in enumerate(prompts):
        assert scores[row].tolist() == pytest.approx(plain_logits(plain, prefix + one)[[3, 4, 5]].tolist(), abs=1e-4)
        assert picks[row] == plainly_chosen(plain, prefix + one, choices)


def plain_logits(model: Any, ids: Sequence[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([list(ids)])).logits[0, -1]


def plainly_chosen(model: Any, ids: list[int], choices: Sequence[Any]) -> list[int]:
    """The medians, by reading the whole text again for every digit."""
    picks: list[int] = []
    rest = torch.tensor([0.5])
    for at, one in enumerate(choices):
        if at * one.digits % 3 == 0:
            rest = torch.tensor([0.5])
        pick, rest = quantile(plain_logits(model, ids)[list(one.allowed)][None], rest)
        picks.append(int(pick))
        ids = [*ids, one.allowed[picks[-1]], *one.forced]
    return picks


def test_a_batch_of_one_and_a_batch_of_many_answer_alike(engine: TransformersEngine) -> None:
    questions = [question(name, past, future) for name, past, future in MIXED]

    together = engine.forecast(questions)

    assert together == [engine.forecast([one])[0] for one in questions]


MIXED = [("台積電", 5, 2), ("A", 5, 2), ("a longer name", 3, 2), ("鴻海", 5, 1), ("", 1, 3), ("長" * 24, 9, 2)]


def test_a_mood_does_not_depend_on_its_neighbours(engine: TransformersEngine) -> None:
    titles = ["up", "營收創新高 獲利倍增", "a much longer headline about nothing", ""]

    together = engine.sentiment(titles)

    for title, mood in zip(titles, together, strict=True):
        (alone,) = engine.sentiment([title])
        assert alone.positive == pytest.approx(mood.positive, abs=1e-5)
        assert mood.positive + mood.neutral + mood.negative == pytest.approx(1)
    assert engine.sentiment([]) == []


def test_a_shorter_forecast_is_the_beginning_of_a_longer_one(engine: TransformersEngine) -> None:
    (short,) = engine.forecast([question(future=1)])
    (long,) = engine.forecast([question(future=4)])

    assert short
    assert long
    assert (len(short.bars), len(long.bars)) == (1, 4)
    assert long.bars[:1] == short.bars


def test_every_answer_of_random_weights_lies_inside_the_rolling_limit(engine: TransformersEngine) -> None:
    asked = [question(str(at), future=3) for at in range(12)]

    for one, told in zip(asked, engine.forecast(asked), strict=True):
        assert told
        before = to_x100(one.bars[-1].close)
        for told_bar in told.bars:
            assert limit_down_x100(before, etf=False) <= to_x100(told_bar.low)
            assert to_x100(told_bar.high) <= limit_up_x100(before, etf=False)
            before = to_x100(told_bar.close)


def test_the_forecast_names_the_weights_the_question_and_the_days(engine: TransformersEngine) -> None:
    asked = question(past=4)

    (told,) = engine.forecast([asked])

    assert told
    assert told.model == engine.model
    assert re.fullmatch(r"tiny@[0-9a-f]{12}:float32", told.model)
    assert (told.symbol, told.as_of, told.past_sessions) == ("2330", asked.as_of, 4)
    assert re.fullmatch("[0-9a-f]{64}", told.prompt_sha256)


def test_an_answer_says_what_it_cost_and_is_named_as_the_store_names_its_question(engine: TransformersEngine) -> None:
    asked = [question(past=4), question(past=9), replace(question(past=4), masked=True, context=("orders doubled",))]
    told = [one for one in engine.forecast(asked) if one]
    assert [one.prompt_sha256 for one in told] == [named(one).sha256 for one in asked]
    for one, answer in zip(asked, told, strict=True):
        text = prompt.question_text(one.company.name, one.bars, context=one.context, masked=one.masked)
        written = len(engine._encode(prompt.answer_shape(one.future_sessions)))
        assert answer.tokens == len(engine._encode(text, start=True)) + written
        assert answer.seconds > 0
    assert engine.forecast(asked[:1])[0].tokens == told[0].tokens  # type: ignore[union-attr]


def test_a_question_longer_than_the_models_window_is_an_abstention(engine: TransformersEngine) -> None:
    fits, too_long = engine.forecast([question(), question(past=250)])

    assert fits is not None
    assert too_long is None


def test_a_name_cannot_say_a_special_token(engine: TransformersEngine) -> None:
    assert engine._tokenizer.convert_tokens_to_ids("<turn>") not in engine._encode("x <turn> y")


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_batch_and_goes_on(wrong: Exception) -> None:
    sizes: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise wrong
        return [item * 10 for item in items]

    assert in_batches(range(5), 8, run) == [0, 10, 20, 30, 40]
    assert sizes == [5, 4, 2, 2, 1]


def test_too_little_memory_for_one_question_is_a_failed_engine() -> None:
    def run(_: Sequence[int]) -> list[int]:
        raise MemoryError

    with pytest.raises(EngineFailed, match="not enough memory"):
        in_batches([1], 4, run)


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def run(_: Sequence[int]) -> list[int]:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        in_batches([1, 2], 2, run)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "tiny", digits=1, manifest=True)
    weights = tmp_path / "tiny/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")

    with pytest.raises(Refused, match=r"model\.safetensors is not the file that was pulled"):
        engine_on(tmp_path / "tiny")


# --- the small model -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> TransformersEngine:
    return engine_on(SMALL)


@pytest.mark.model
@small_model
def test_the_small_models_tokenizer_is_the_one_its_authors_made(small: TransformersEngine) -> None:
    ids = small._tokenizer("Price:  512\n<|im_start|>")["input_ids"]

    assert small._tokenizer.convert_ids_to_tokens(ids) == ["Price", ":", "ĠĠ", "5", "1", "2", "Ċ", "<|im_start|>"]
    assert (small._tokenizer.eos_token, len(small._choices)) == ("<|im_end|>", 12)
    assert "<|im_start|>assistant" in small._tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )


@pytest.mark.model
@small_model
def test_the_small_model_forecasts_bars_that_move_and_stay_plausible(small: TransformersEngine) -> None:
    asked = [question("台積電", past=10), question("鴻海精密", past=10), question("A", past=8)]

    told = small.forecast(asked)

    assert told == [small.forecast([one])[0] for one in asked]
    closes = [
        float(one.bars[-1].close / question.bars[-1].close) for one, question in zip(told, asked, strict=True) if one
    ]
    assert len(closes) == 3
    assert all(0.9 < close < 1.1 for close in closes)
    assert len(set(closes)) > 1


@pytest.mark.model
@small_model
def test_the_small_model_tells_good_news_from_bad(small: TransformersEngine) -> None:
    good, bad = small.sentiment(["台積電第四季獲利創新高", "Foxconn shares plunge on weak outlook"])

    assert (good.label, bad.label) == ("positive", "negative")
