"""A LoRA on the engine: W + scale * B A to the last digit, merged or not, by layers or fused; and who is refused."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import bar, config, days
from hypothesis import given
from hypothesis import strategies as st

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_llm import make_tiny_model, make_tokenizer  # noqa: E402
from tiny_lora import PROJECTIONS, make_tiny_adapter, manifest_of  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from bot.adapters.adapter_store import PEFT_CONFIG, WEIGHTS, read_adapter, write_adapter  # noqa: E402
from bot.adapters.asked_questions import named  # noqa: E402
from bot.adapters.llm_answer import answer_choices, moods_of  # noqa: E402
from bot.adapters.llm_batches import steady_batches  # noqa: E402
from bot.adapters.llm_child import ChildEngine  # noqa: E402
from bot.adapters.llm_decoder import Decoder  # noqa: E402
from bot.adapters.llm_fused import FusedDecoder  # noqa: E402
from bot.adapters.llm_joined import can_fuse  # noqa: E402
from bot.adapters.llm_loading import check_precision, decoder_of, load_model, load_weights, quantisation  # noqa: E402
from bot.adapters.llm_lora import low_rank, settle_adapter  # noqa: E402
from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.adapters.llm_vllm import VllmEngine  # noqa: E402
from bot.answers import columns_of  # noqa: E402
from bot.core import prompt  # noqa: E402
from bot.errors import Refused  # noqa: E402
from bot.ports import Company, Question  # noqa: E402

LABELS = (3, 4, 5)
PREFIX = [5, 9, 11]
PROMPTS = [[12, 13, 14, 15], [21], [31, 32], [7] * 18]

# Which matrices, which rank and scale: all seven; two of a joined three; ranks and scales by layer; rsLoRA's scale.
KINDS: dict[str, dict[str, Any]] = {
    "all": {},
    "some": {"target_modules": ["k_proj", "v_proj", "down_proj"], "r": 3},
    "patterns": {"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 30}},
    "rslora": {"use_rslora": True, "layers_to_transform": [1]},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model tiny and an adapter of each kind, as the config names them."""
    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "tiny", digits=1)
    for kind, lora in KINDS.items():
        make_tiny_adapter(folder / "tiny", folder / "adapters" / kind, **lora)
    return folder


def scale_of(told: dict[str, Any], module: str) -> float:
    """peft's scale of a module, by its documentation: alpha / r, or alpha / sqrt(r) for rsLoRA."""
    rank = next((r for end, r in told["rank_pattern"].items() if module.endswith(end)), told["r"])
    alpha = next((a for end, a in told["alpha_pattern"].items() if module.endswith(end)), told["lora_alpha"])
    return float(alpha / (rank**0.5 if told["use_rslora"] else rank))


def dense(models: Path, kind: str) -> Any:
    """The same model in float64 with W + scale * B A in place of each W, by our own reading of the files."""
    adapter = models / "adapters" / kind
    model = AutoModelForCausalLM.from_pretrained(models / "tiny", attn_implementation="eager").double().eval()
    told = json.loads((adapter / PEFT_CONFIG).read_text())
    tensors = load_file(adapter / WEIGHTS)
    weights = dict(model.named_parameters())
    for name in [name for name in tensors if ".lora_A." in name]:
        module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        down, up = tensors[name].double(), tensors[name.replace("lora_A", "lora_B")].double()
        weights[f"{module}.weight"].data += scale_of(told, module) * up @ down
    return model


def dense_scores(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
    with torch.inference_mode():
        return [model(torch.tensor([[*PREFIX, *one]])).logits[0, -1, list(LABELS)].tolist() for one in prompts]


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [number for row in rows for number in row]


def adapted_model(models: Path, kind: str, precision: str = "float32") -> Any:
    return load_model(models / "tiny", "cpu", precision, models / "adapters" / kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "beside"])
def test_scores_are_those_of_the_dense_sum_in_float64(models: Path, kind: str, merge: bool) -> None:
    expected = flat(dense_scores(dense(models, kind), PROMPTS))
    plain = flat(dense_scores(AutoModelForCausalLM.from_pretrained(models / "tiny").double(), PROMPTS))
    assert max(abs(ours - base) for ours, base in zip(expected, plain, strict=True)) > 0.1  # the adapter matters

    layered = decoder_of(adapted_model(models, kind), 4, merge=merge)
    fused = FusedDecoder(adapted_model(models, kind), rows=3, graphs=False, merge=merge)

    assert isinstance(layered, Decoder)
    assert flat(layered.scores(PREFIX, PROMPTS, LABELS).tolist()) == pytest.approx(expected, abs=2e-4)
    assert flat(fused.scores(PREFIX, PROMPTS, LABELS).tolist()) == pytest.approx(expected, abs=2e-4)


def test_choices_are_the_same_merged_or_not_by_layers_or_fused(models: Path) -> None:
    choices = answer_choices(make_tokenizer(1)) * 2

    told = [
        decoder.choose(PREFIX, PROMPTS, choices)
        for merge in (True, False)
        for decoder in (
            decoder_of(adapted_model(models, "all"), 4, merge=merge),
            FusedDecoder(adapted_model(models, "all"), rows=3, graphs=False, merge=merge),
        )
    ]

    assert told[1:] == told[:1] * 3
    assert told[0] != Decoder(load_weights(str(models / "tiny"), "cpu")).choose(PREFIX, PROMPTS, choices)


@pytest.mark.parametrize(("precision", "off"), [("float32", 1e-5), ("bf16", 0.0)])
def test_what_is_read_of_the_closes_is_the_same_merged_or_not(models: Path, precision: str, off: float) -> None:
    choices = answer_choices(make_tokenizer(1)) * 2
    plain = Decoder(load_weights(str(models / "tiny"), "cpu", precision)).tell(PREFIX, PROMPTS, choices)
    for make in (
        lambda merge: decoder_of(adapted_model(models, "all", precision), 4, merge=merge),
        lambda merge: FusedDecoder(adapted_model(models, "all", precision), rows=3, graphs=False, merge=merge),
    ):
        (picks, merged), (others, beside) = (make(merge).tell(PREFIX, PROMPTS, choices) for merge in (True, False))
        assert torch.equal(picks, others)
        assert torch.allclose(merged, beside, rtol=0, atol=off)
        assert torch.allclose(merged.sum(dim=-1), torch.ones(len(PROMPTS), 1, 2), atol=1e-4)
        assert (merged - plain[1]).abs().max() > 1e-3  # the adapter matters


@pytest.mark.parametrize("kind", ["all", "some"])
def test_in_bf16_merged_and_beside_are_the_same_to_the_last_bit(models: Path, kind: str) -> None:
    for make in (
        lambda merge: decoder_of(adapted_model(models, kind, "bf16"), 4, merge=merge),
        lambda merge: FusedDecoder(adapted_model(models, kind, "bf16"), rows=3, graphs=False, merge=merge),
    ):
        merged, beside = (make(merge).scores(PREFIX, PROMPTS, LABELS) for merge in (True, False))
        assert torch.equal(merged, beside)
        assert flat(merged.tolist()) == pytest.approx(flat(dense_scores(dense(models, kind), PROMPTS)), abs=0.6)


def test_beside_the_weights_the_base_stays_as_it_was(models: Path) -> None:
    model = adapted_model(models, "all", "bf16")
    settle_adapter(model, merge=False)

    base = load_weights(str(models / "tiny"), "cpu", "bf16").state_dict()
    kept = {name.replace(".base.", "."): weights for name, weights in model.state_dict().items()}
    assert base.keys() == kept.keys()
    assert all(torch.equal(kept[name], weights) for name, weights in base.items())


def test_joined_ranks_stand_apart_and_fill_up_to_eight(models: Path) -> None:
    attention = adapted_model(models, "some").base_model.layers[0].self_attn

    low = low_rank([attention.q_proj, attention.k_proj, attention.v_proj])

    assert low
    assert (low.down.shape, low.up.shape) == ((8, 32), (64, 8))  # 2 x rank 3, filled up; 32 + 16 + 16 outputs
    assert low.up[:32].abs().sum() == 0  # q has no adapter
    assert low.up[32:48, 3:].abs().sum() == 0  # k's outputs read k's ranks alone
    assert low.up[48:, :3].abs().sum() == 0
    assert low_rank([attention.q_proj]) is None


def test_an_adapter_of_other_matrices_is_left_to_the_layers(models: Path) -> None:
    model = adapted_model(models, "all")
    assert can_fuse(model)

    model.base_model.layers[0].other = model.base_model.layers[0].mlp.up_proj
    del model.base_model.layers[0].mlp.up_proj
    assert not can_fuse(model)


# --- the engine ----------------------------------------------------------------------------------------------------


def question(name: str = "台積電", past: int = 5, **told: Any) -> Question:
    closes = [100 + (at * 7 + len(name)) % 5 for at in range(past)]
    bars = tuple(
        bar(str(close), symbol="2330", session=day, high=str(close + 2), low=str(close - 1))
        for close, day in zip(closes, days(date(2025, 1, 2), past), strict=True)
    )
    return Question(company=Company(symbol="2330", name=name, board="twse"), bars=bars, future_sessions=2, **told)


def model_config(models: Path, **model: Any) -> Any:
    return config(models, model={"name": "tiny", "folder": str(models), "device": "cpu", **model}).model


@pytest.fixture(scope="module")
def tuned(models: Path) -> TransformersEngine:
    return TransformersEngine(model_config(models, adapter="all"))


def test_a_tuned_adapter_is_asked_without_examples_and_believed_as_it_is(
    models: Path, tuned: TransformersEngine
) -> None:
    titles = ["profit up", "獲利 is a long headline"]
    model, tokenizer = dense(models, "all"), make_tokenizer(1)
    labels = tokenizer.convert_tokens_to_ids([" positive", " neutral", " negative"])

    for title, mood in zip(titles, tuned.sentiment(titles), strict=True):
        ids = tokenizer(f"Headline: {title}\nSentiment:")["input_ids"]
        with torch.inference_mode():
            shares = torch.softmax(model(torch.tensor([ids])).logits[0, -1, labels], dim=0).tolist()
        assert [mood.positive, mood.neutral, mood.negative] == pytest.approx(shares, abs=1e-4)


def test_an_adapter_trained_on_the_shown_question_is_asked_it(models: Path, tuned: TransformersEngine) -> None:
    make_tiny_adapter(models / "tiny", models / "adapters/shown", told={"mood": "shown"})

    shown = TransformersEngine(model_config(models, adapter="shown"))

    assert shown._usual_scores().abs().sum() > 0
    assert shown.sentiment(["profit up"]) != tuned.sentiment(["profit up"])


def test_the_temperature_makes_it_less_sure_and_changes_no_label(models: Path, tuned: TransformersEngine) -> None:
    titles = ["profit up", "獲利 is a long headline", "No 7", "台積電"]
    folder = models / "adapters/warm"
    shutil.copytree(models / "adapters/all", folder)
    write_adapter(folder, replace(read_adapter(folder), name="warm", mood_temperature=2.5))

    warm = TransformersEngine(model_config(models, adapter="warm"))

    assert warm.model.rpartition("@")[2] != tuned.model.rpartition("@")[2]
    for one, before in zip(warm.sentiment(titles), tuned.sentiment(titles), strict=True):
        shares = [share ** (1 / 2.5) for share in (before.positive, before.neutral, before.negative)]
        told = [one.positive, one.neutral, one.negative]
        assert told == pytest.approx([share / sum(shares) for share in shares], abs=1e-4)
        assert max(told) < max(before.positive, before.neutral, before.negative)
        assert one.label == before.label


class KnownScores(VllmEngine):
    """vLLM's engine whose vLLM, which needs a GPU, said just this."""

    def __init__(self, scores: list[list[float]], temperature: float) -> None:
        self._missed, self._usual, self._temperature, self._told = Counter(), [0.0] * 3, temperature, scores

    def _scores(self, titles: Sequence[str]) -> list[list[float]]:
        return self._told


def test_vllms_scores_are_divided_too() -> None:
    [one] = KnownScores([[math.log(16), math.log(4), 0.0]], 2.0).sentiment(["profit up"])
    assert (one.positive, one.neutral, one.negative) == pytest.approx((4 / 7, 2 / 7, 1 / 7))


@given(
    scores=st.lists(st.integers(-40_000, 40_000).map(lambda one: one / 1000), min_size=3, max_size=3),
    temperatures=st.lists(st.floats(0.05, 20), min_size=2, max_size=2).map(sorted),
)
def test_a_higher_temperature_is_never_surer_and_never_another_label(
    scores: list[float], temperatures: list[float]
) -> None:
    usual, cool, warm = (moods_of(torch.tensor([scores]), one)[0] for one in (1.0, *temperatures))
    assert cool.label == warm.label == usual.label
    sure = [max(one.positive, one.neutral, one.negative) for one in (cool, warm)]
    assert sure[0] >= sure[1] - 1e-12
    assert warm.positive + warm.neutral + warm.negative == pytest.approx(1)


def test_the_adapters_columns_are_what_the_question_tells(models: Path) -> None:
    columns = ("close", "volume")
    make_tiny_adapter(models / "tiny", models / "adapters/narrow", told={"columns": columns})
    asked = question(context=("profit up",))

    engine = TransformersEngine(model_config(models, adapter="narrow"))
    (told,) = engine.forecast([asked])

    import hashlib

    text = prompt.question_text("台積電", asked.bars, context=("profit up",), columns=columns)
    assert told
    assert told.prompt_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert len(told.bars) == 2
    # The answer store hashes the same text, in the daemon too, which holds no model.
    assert engine.columns == ChildEngine(model_config(models, adapter="narrow")).columns == columns
    assert named(asked, columns_of(engine)).sha256 == told.prompt_sha256
    assert ChildEngine(model_config(models)).columns == prompt.FIELDS


@pytest.mark.parametrize(
    ("config_day", "adapter_day", "expected"),
    [
        (date(2023, 1, 1), date(2024, 6, 28), date(2024, 6, 28)),
        (date(2025, 1, 1), date(2024, 6, 28), date(2025, 1, 1)),
        (date(2023, 1, 1), date(2023, 1, 1), date(2024, 1, 1)),  # the base's manifest
    ],
)
def test_the_latest_of_config_base_and_adapter_is_what_the_model_knows(
    tmp_path: Path, config_day: date, adapter_day: date, expected: date
) -> None:
    make_tiny_model(tmp_path / "tiny", digits=1, manifest=True)
    make_tiny_adapter(tmp_path / "tiny", tmp_path / "adapters/mine", told={"trained_until": adapter_day})

    engine = TransformersEngine(model_config(tmp_path, adapter="mine", trained_until=config_day))

    (told,) = engine.forecast([question()])
    assert told
    assert told.trained_until == expected


def test_the_engine_and_its_child_know_the_same_name_before_anything_is_loaded(models: Path) -> None:
    asked = model_config(models, adapter="all", timeout_s=60.0)
    child = ChildEngine(asked)
    assert re.fullmatch(r"tiny@[0-9a-f]{12}:float32\+all@[0-9a-f]{12}", child.model)
    assert child.pid is None

    try:
        told = child.forecast([question()])
    finally:
        child.close()

    assert told == TransformersEngine(asked).forecast([question()])
    assert told[0]
    assert told[0].model == child.model


MIXED = [("台積電", 5), ("A", 5), ("a longer name", 3), ("鴻海", 9), ("", 1), ("長" * 24, 9)]


def test_in_bf16_an_answer_is_the_same_whoever_its_neighbours_are_and_however_it_is_merged(models: Path) -> None:
    asked = [question(name, past) for name, past in MIXED]
    titles = ["up", "營收創新高 獲利倍增", "a much longer headline about nothing", ""]
    merged, beside = (
        TransformersEngine(model_config(models, adapter="all", precision="bf16", merge=merge, batch=4))
        for merge in (True, False)
    )

    together = merged.forecast(asked)

    assert together == [merged.forecast([one])[0] for one in asked]
    assert together == merged.forecast(asked[::-1])[::-1]
    assert together == beside.forecast(asked)
    assert merged.sentiment(titles) == [merged.sentiment([title])[0] for title in titles] == beside.sentiment(titles)


def test_steady_batches_are_always_of_one_size_and_width_class() -> None:
    lengths = [3, 40, 16, 17, 5, 33, 1]
    seen: list[list[int]] = []

    def run(batch: Sequence[int]) -> list[int]:
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        seen.append([lengths[at] for at in batch])
        return [10 * at for at in batch]

    assert steady_batches(range(7), lengths, 4, run) == [0, 10, 20, 30, 40, 50, 60]
    assert seen == [[3, 16], [5, 1], [17, 17], [40, 33]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_recorded_answers_are_the_same_merged_or_beside(models: Path) -> None:
    choices = answer_choices(make_tokenizer(1)) * 2
    made = [
        decoder_of(load_model(models / "tiny", "cuda", precision, models / "adapters/all"), 4, merge=merge)
        for precision in ("bf16", "float32")
        for merge in (True, False)
    ]
    assert all(isinstance(one, FusedDecoder) for one in made)

    bf16, beside, exact, exact_beside = (one.choose(PREFIX, PROMPTS, choices) for one in made)
    assert (bf16, exact) == (beside, exact_beside)
    assert torch.equal(made[0].scores(PREFIX, PROMPTS, LABELS), made[1].scores(PREFIX, PROMPTS, LABELS))
    expected = flat(dense_scores(dense(models, "all"), PROMPTS))
    assert flat(made[3].scores(PREFIX, PROMPTS, LABELS).tolist()) == pytest.approx(expected, abs=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["8bit", "4bit"])
def test_on_a_gpu_quantised_answers_do_not_depend_on_neighbours(models: Path, precision: str) -> None:
    pytest.importorskip("bitsandbytes")
    asked = [question(name, past) for name, past in MIXED]
    told = {"adapter": "all", "device": "cuda", "precision": precision, "batch": 4}
    engine = TransformersEngine(model_config(models, **told))

    assert isinstance(engine._decoder, Decoder)  # never fused
    assert engine._decoder.steady
    assert f":{precision}+all@" in engine.model
    together = engine.forecast(asked)
    assert together == [engine.forecast([one])[0] for one in asked]


# --- refusals ------------------------------------------------------------------------------------------------------


def test_the_wrong_base_is_refused_before_it_is_loaded(models: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "tiny", digits=3)
    asked = model_config(tmp_path, adapter=str(models / "adapters/all"))

    for engine in (TransformersEngine, ChildEngine):
        with pytest.raises(
            Refused, match=r"^adapter all belongs to tiny with weights [0-9a-f]{12}\.\.\., and tiny has"
        ):
            _ = engine(asked).model


def changed_adapter(models: Path, folder: Path, change: Any) -> Path:
    """A copy of the adapter whose tensors `change` has changed, described as if that were right."""
    shutil.copytree(models / "adapters/all", folder)
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    write_adapter(folder, manifest_of(models / "tiny", folder.name))
    return folder


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def _with_a_nan(tensors: dict[str, Any]) -> None:
    tensors[FIRST.format("A")][0, 0] = float("nan")


def _without_a_pair(tensors: dict[str, Any]) -> None:
    for side in "AB":
        del tensors[FIRST.format(side)]


def _with_a_pair_too_many(tensors: dict[str, Any]) -> None:
    for side in "AB":
        tensors[FIRST.format(side).replace("layers.0", "layers.7")] = tensors[FIRST.format(side)].clone()


def _of_another_width(tensors: dict[str, Any]) -> None:
    tensors[FIRST.format("A")] = torch.zeros(4, 33)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_with_a_nan, "its weights hold numbers that are infinite or none"),
        (_without_a_pair, "does not fit this model: model.layers.0.self_attn.q_proj"),
        (_with_a_pair_too_many, "does not fit this model: model.layers.7.self_attn.q_proj"),
        (_of_another_width, "does not fit this model: "),
    ],
)
def test_matrices_that_do_not_fit_are_refused_in_one_line(
    models: Path, tmp_path: Path, change: Any, reason: str
) -> None:
    adapter = changed_adapter(models, tmp_path / "odd", change)

    with pytest.raises(Refused, match=f"^adapter odd:? {reason}") as refusal:
        TransformersEngine(model_config(models, adapter=str(adapter)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("precision", ["8bit", "4bit"])
def test_quantised_weights_need_cuda_and_bitsandbytes(
    models: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    with pytest.raises(Refused, match=f"^precision {precision} is bitsandbytes' on CUDA, and this runs on the cpu"):
        TransformersEngine(model_config(models, precision=precision))

    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Refused, match=f"^precision {precision} needs the package bitsandbytes"):
        check_precision(precision, "cuda")


def test_what_bitsandbytes_is_told() -> None:
    told = quantisation("4bit").to_dict()
    assert (told["load_in_4bit"], told["bnb_4bit_quant_type"], told["bnb_4bit_use_double_quant"]) == (True, "nf4", True)
    assert told["bnb_4bit_compute_dtype"] == "bfloat16"
    eight = quantisation("8bit").to_dict()
    assert (eight["load_in_8bit"], eight["llm_int8_threshold"]) == (True, 0.0)


def test_the_precision_is_the_type_of_the_weights(models: Path) -> None:
    types = {told: load_weights(str(models / "tiny"), "cpu", told).dtype for told in ("auto", "float32", "bf16")}

    assert types == {"auto": torch.float32, "float32": torch.float32, "bf16": torch.bfloat16}


def test_loading_asks_nothing_of_the_network(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[object] = []

    def refuse(*where: object) -> None:
        asked.append(where)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    TransformersEngine(model_config(models, adapter="all")).sentiment(["up"])

    assert asked == []
    assert constants.is_offline_mode()
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_model_that_brings_its_own_code_is_refused_and_its_code_never_run(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "tiny", tmp_path / "coded")
    told = json.loads((tmp_path / "coded/config.json").read_text())
    told |= {"model_type": "coded", "auto_map": {"AutoConfig": "coded.Config", "AutoModelForCausalLM": "coded.Model"}}
    (tmp_path / "coded/config.json").write_text(json.dumps(told))
    ran = tmp_path / "ran"
    (tmp_path / "coded/coded.py").write_text(f"open({str(ran)!r}, 'w')\n")

    with pytest.raises(Refused, match=r"^model coded") as refusal:
        TransformersEngine(model_config(tmp_path, name="coded"))
    assert "\n" not in str(refusal.value)
    assert not ran.exists()


def test_a_changed_tokenizer_is_refused_too(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "tiny", digits=1, manifest=True)
    tokenizer = tmp_path / "tiny/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("positive", "negativo"))

    with pytest.raises(Refused, match=r"tokenizer\.json is not the file that was pulled"):
        TransformersEngine(model_config(tmp_path))


def test_all_seven_matrices_are_what_the_fused_decoder_knows() -> None:
    from bot.adapters import llm_joined

    assert frozenset(PROJECTIONS) == llm_joined.PROJECTIONS
