"""`train sft` on a tiny model: what comes out, by each engine, and that it is what a careful trainer would make."""

from __future__ import annotations

import csv
import json
import math
import os
import struct
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from builders import bar, days

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = pytest.importorskip("torch")
pytest.importorskip("peft")
from safetensors.torch import load_file  # noqa: E402
from tiny_llm import make_tiny_model, make_tokenizer  # noqa: E402
from tiny_runs import mood_dataset, moods, price_dataset, prices, tiny_config, tune  # noqa: E402
from transformers import GemmaForCausalLM  # noqa: E402

from bot.adapters.adapter_store import WEIGHTS, check_base, read_adapter  # noqa: E402
from bot.adapters.llm_answer import answer_choices, fill_answer  # noqa: E402
from bot.adapters.llm_transformers import TransformersEngine  # noqa: E402
from bot.adapters.model_store import read_manifest, verify  # noqa: E402
from bot.errors import Refused  # noqa: E402
from bot.ports import Company, Question  # noqa: E402
from training import loop  # noqa: E402
from training.packs import Tokens  # noqa: E402
from training.progress import Progress  # noqa: E402
from training.run_folder import draw_curves, read_log  # noqa: E402
from training.tokens import encode_records  # noqa: E402

TITLES = ["profit up train 3", "no change train 4", "loss down train 5"]  # learned ones
QUESTION = Question(
    company=Company(symbol="2330", name="台積電", board="twse"),
    bars=tuple(bar(close, session=day) for close, day in zip(("100", "101"), days(date(2024, 3, 1), 2), strict=True)),
    future_sessions=1,
)


def losses_of(folder: Path) -> list[float]:
    return [row["loss"] for row in read_log(folder / "log.csv")]


# --- what comes out ------------------------------------------------------------------------------------------------


def test_our_engine_makes_an_adapter_that_the_live_engine_loads_and_that_answers_otherwise(tmp_path: Path) -> None:
    made = tune(tmp_path, mood_dataset(tmp_path / "data"), epochs=20.0)

    manifest = read_adapter(made.adapter)
    check_base(manifest, tmp_path / "models/tiny")
    assert (manifest.name, manifest.base, manifest.mood, manifest.windows) == ("run", "tiny", "tuned", ())
    assert manifest.trained_until == date(2024, 1, 1)  # the base's own; headlines without a date add nothing
    assert manifest.licence == "made here: MIT"
    assert manifest.scores == {"valid_loss": made.progress.best_loss}
    assert made.steps == 60
    assert losses_of(tmp_path / "run")[-1] < losses_of(tmp_path / "run")[0] / 4

    model = tiny_config(tmp_path).model
    base, tuned = TransformersEngine(model), TransformersEngine(replace(model, adapter=str(made.adapter)))
    assert [one.label for one in tuned.sentiment(TITLES) if one] == ["positive", "neutral", "negative"]
    assert base.sentiment(TITLES) != tuned.sentiment(TITLES)


def test_an_adapter_of_prices_knows_until_the_end_of_validation_and_forecasts_otherwise(tmp_path: Path) -> None:
    made = tune(tmp_path, price_dataset(tmp_path / "data"))

    manifest = read_adapter(made.adapter)
    assert (manifest.mood, manifest.windows) == ("shown", ((2, 1),))
    assert manifest.trained_until == days(date(2024, 1, 1), 40)[29]  # chosen by the validation side
    model = tiny_config(tmp_path).model
    [base], [tuned] = (
        TransformersEngine(replace(model, adapter=adapter)).forecast([QUESTION]) for adapter in ("", str(made.adapter))
    )
    assert base is not None
    assert tuned is not None
    assert base.bars != tuned.bars


def test_the_run_folder_tells_of_the_run(tmp_path: Path) -> None:
    tune(tmp_path, mood_dataset(tmp_path / "data"), logging_steps=2, evals_per_epoch=1)

    with (tmp_path / "run/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 3, 4, 6, 8, 9]  # every second step, and each epoch's last
    assert [bool(row["valid_loss"]) for row in rows] == [False, True, False, True, False, True]
    tokens = [int(row["tokens"]) for row in rows]
    assert tokens == sorted(tokens)
    assert [float(row["seconds"]) for row in rows] == sorted(float(row["seconds"]) for row in rows)
    picture = (tmp_path / "run/loss.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (960, 540)
    settings = json.loads((tmp_path / "run/settings.json").read_bytes())
    assert (settings["rank"], settings["speedup"]) == (4, "graphs")


def test_curves_for_tensorboard_go_on_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    data = mood_dataset(tmp_path / "data")
    for _ in range(2):  # the second time from the state of the first
        tune(tmp_path, data, epochs=1.0, tensorboard=True)
        (tmp_path / "run/adapter").rename(tmp_path / f"adapter {len(list(tmp_path.iterdir()))}")
    files = sorted((tmp_path / "run/tb").glob("events.out.tfevents.*"))
    assert len(files) == 2
    assert all(b"valid_loss" in file.read_bytes() for file in files)


def test_curves_can_be_drawn_of_a_run_without_a_validation(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss,valid_loss,learning_rate,tokens,seconds\n1,0.5,,0.1,10,1.0\n")
    assert draw_curves(tmp_path).stat().st_size > 1000


def test_all_weights_trained_are_a_model_folder_that_says_what_it_knows(tmp_path: Path) -> None:
    made = tune(tmp_path, price_dataset(tmp_path / "data"), method="full", learning_rate=1e-3)

    assert verify("adapter", made.adapter.parent).knowledge_until == days(date(2024, 1, 1), 40)[29]
    model = tiny_config(tmp_path).model
    [base] = TransformersEngine(model).forecast([QUESTION])
    whole = TransformersEngine(replace(model, name=str(made.adapter)))
    [tuned] = whole.forecast([QUESTION])
    assert base is not None
    assert tuned is not None
    assert base.bars != tuned.bars
    assert tuned.trained_until >= days(date(2024, 1, 1), 40)[29]
    manifest = read_manifest(made.adapter)
    assert manifest is not None
    assert str(tmp_path) not in manifest.source


# --- both engines ----------------------------------------------------------------------------------------------


def test_trl_begins_with_the_same_loss_as_our_engine_and_makes_an_adapter_too(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    data = mood_dataset(tmp_path / "data")
    first = {}
    for engine in ("fused", "trl"):  # all 18 examples in one step: the order makes no difference
        made = tune(tmp_path, data, engine, engine=engine, batch=18, epochs=6.0)
        first[engine] = losses_of(tmp_path / engine)[0]
        manifest = read_adapter(made.adapter)
        check_base(manifest, tmp_path / "models/tiny")
        assert json.loads((made.adapter / "adapter_config.json").read_bytes())["base_model_name_or_path"] == "tiny"
        rows = read_log(tmp_path / engine / "log.csv")
        assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
        assert rows[-1]["loss"] < rows[0]["loss"]
        assert [row["valid_loss"] for row in rows] == [pytest.approx(row["valid_loss"]) for row in rows]
        assert made.progress.best_loss == min(row["valid_loss"] for row in rows)
        TransformersEngine(replace(tiny_config(tmp_path).model, adapter=str(made.adapter))).close()
    assert first["trl"] == pytest.approx(first["fused"], rel=1e-5)


def test_trl_goes_on_where_it_was_stopped_and_comes_to_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("trl")
    from training import sft

    data = mood_dataset(tmp_path / "data")
    knobs = {"engine": "trl", "epochs": 2.0, "save_minutes": 1e-9}
    tune(tmp_path, data, "whole", **knobs)
    shown = sft._words

    def stopped(now: Progress) -> str:
        if now.step == 4:
            raise KeyboardInterrupt
        return shown(now)

    with monkeypatch.context() as patched:
        patched.setattr(sft, "_words", stopped)
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path, data, "stopped", **knobs)
    (tmp_path / "stopped/states/checkpoint-5").mkdir()  # as a kill leaves one that was being written
    made = tune(tmp_path, data, "stopped", **knobs)

    whole, again = (load_file(tmp_path / name / "adapter" / WEIGHTS) for name in ("whole", "stopped"))
    assert all(torch.allclose(whole[name], again[name], atol=1e-6) for name in whole)
    rows = read_log(tmp_path / "stopped/log.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert made.progress.tokens == read_log(tmp_path / "whole/log.csv")[-1]["tokens"]


def test_auto_trains_with_ours_what_it_can_run_and_with_trl_what_it_cannot(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    data = mood_dataset(tmp_path / "data")
    tiny_config(tmp_path)
    make_tiny_model(tmp_path / "models/gemma", digits=1, kind=GemmaForCausalLM)
    for name, engine in (("tiny", "fused"), ("gemma", "trl")):
        made = tune(tmp_path, data, name, model=name, engine="auto", max_steps=1)
        assert json.loads((tmp_path / name / "settings.json").read_bytes())["engine"] == engine
        check_base(read_adapter(made.adapter), tmp_path / "models" / name)


# --- the loop ------------------------------------------------------------------------------------------------------


def test_the_rate_rises_and_falls_as_the_schedule_says(tmp_path: Path) -> None:
    knobs = tiny_config(tmp_path, learning_rate=1.0, warmup=0.2).train
    told = {
        name: [loop.learning_rate(replace(knobs, scheduler=name), step, 10) for step in range(10)]
        for name in ("linear", "cosine", "constant")
    }
    # Two of ten steps rise; of the eight after them, n are done at step 2 + n.
    assert told["constant"] == [0.5, 1.0] + [1.0] * 8
    assert told["linear"] == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert told["cosine"][:2] == [0.5, 1.0]
    assert told["cosine"][2] == 1.0
    assert told["cosine"][4] == pytest.approx(0.8535533905932737)  # (1 + cos 45 degrees) / 2
    assert told["cosine"][6] == pytest.approx(0.5)
    assert told["cosine"][8] == pytest.approx(0.1464466094067262)
    assert loop.learning_rate(replace(knobs, warmup=0.0, scheduler="linear"), 0, 4) == 1.0


def test_a_plan_takes_every_example_once_an_epoch(tmp_path: Path) -> None:
    knobs = tiny_config(tmp_path, batch=2, accumulation=2, epochs=3.0).train
    plan = loop.plan_of(knobs, 10)
    assert (plan.batch, plan.steps_an_epoch, plan.steps) == (4, 3, 9)
    epochs = [sorted(place for step in range(first, first + 3) for place in plan.of(step)) for first in (0, 3, 6)]
    assert epochs == [list(range(10))] * 3
    assert plan.of(0) != plan.of(3)  # shuffled anew
    assert loop.plan_of(knobs, 10, world=3).batch == 12
    assert loop.plan_of(replace(knobs, epochs=0.5), 10).steps == 2
    assert loop.plan_of(replace(knobs, epochs=0.1), 120).steps == 3  # 30 steps an epoch
    assert loop.plan_of(replace(knobs, max_steps=5), 10).steps == 5
    assert loop._validations(plan, 1) == {3, 6, 9}
    assert loop._validations(plan, 2) == set(range(1, 10))
    assert loop._validations(replace(plan, steps=5), 1) == {3, 5}


def test_early_stopping_keeps_the_best_state(tmp_path: Path) -> None:
    """The validation side says the opposite of what is learned: the first state is the best."""
    from tiny_runs import MANIFEST, WORDS

    from training.dataset import write_dataset
    from training.examples import mood_record

    other = {"positive": "negative", "neutral": "positive", "negative": "neutral"}
    wrong = [
        ("valid", mood_record(f"{words}valid {number}", other[label], "made here"))
        for number in range(3)
        for label, words in WORDS.items()
    ]
    pairs = [*moods("train", 18), *wrong, *moods("test", 3)]
    write_dataset(tmp_path / "data", pairs, MANIFEST, lambda: MANIFEST.sources)
    knobs = {"epochs": 30.0, "learning_rate": 3e-2, "patience": 2}

    made = tune(tmp_path, tmp_path / "data", **knobs)

    rows = [row for row in read_log(tmp_path / "run/log.csv") if not math.isnan(row["valid_loss"])]
    best = min(rows, key=lambda row: row["valid_loss"])
    assert made.steps < 90
    assert made.progress.best_step == best["step"]
    assert made.steps == best["step"] + 2 * 3  # two validations, one each epoch of three steps, found nothing better
    alone = tune(tmp_path, tmp_path / "data", "alone", **knobs | {"max_steps": 0, "epochs": 30.0})
    kept = load_file(tmp_path / "run/best.safetensors")
    written = load_file(alone.adapter / WEIGHTS)
    assert torch.equal(
        kept["blocks.0.qkv.down"][:4], written["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    )
    state = load_file(tmp_path / "run/state.safetensors")  # the last one, and it went on
    assert not torch.equal(state["model.blocks.0.qkv.down"], kept["blocks.0.qkv.down"])


def test_a_run_that_had_enough_and_was_killed_before_its_adapter_trains_no_further(tmp_path: Path) -> None:
    data = mood_dataset(tmp_path / "data")
    knobs = {"learning_rate": 1e-6, "patience": 1, "epochs": 30.0}  # rounding makes the validation loss stall
    made = tune(tmp_path, data, **knobs | {"learning_rate": 0.5, "clip": 1e9})
    (tmp_path / "run/adapter").rename(tmp_path / "first")

    again = tune(tmp_path, data, **knobs | {"learning_rate": 0.5, "clip": 1e9})

    assert again.steps == made.steps < 90
    assert (tmp_path / "first" / WEIGHTS).read_bytes() == (again.adapter / WEIGHTS).read_bytes()


def test_where_memory_runs_out_layers_are_computed_twice_and_nothing_is_counted_twice(
    tmp_path: Path, monkeypatch
) -> None:
    data = mood_dataset(tmp_path / "data")
    knobs = {"pack_tokens": 60, "epochs": 1.0}  # several packs a step
    tune(tmp_path, data, "roomy", **knobs)
    from training.graphs import Plain

    whole, calls = Plain.add, []

    def narrow(self: Plain, *given: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, *given)

    monkeypatch.setattr(Plain, "add", narrow)
    tune(tmp_path, data, "narrow", **knobs)

    roomy, tight = (load_file(tmp_path / name / "adapter" / WEIGHTS) for name in ("roomy", "narrow"))
    assert all(torch.allclose(roomy[name], tight[name], atol=1e-6) for name in roomy)
    calls.clear()
    with pytest.raises(torch.OutOfMemoryError):
        tune(tmp_path, data, "off", **knobs, checkpointing="off")


def test_a_run_goes_on_from_an_adapter_and_the_last_state_can_be_kept(tmp_path: Path) -> None:
    data = mood_dataset(tmp_path / "data")
    first = tune(tmp_path, data, "first", epochs=10.0, keep="last")
    last = read_log(tmp_path / "first/log.csv")[-1]
    assert read_adapter(first.adapter).scores == {"valid_loss": pytest.approx(last["valid_loss"])}
    assert torch.equal(
        load_file(tmp_path / "first/state.safetensors")["model.blocks.1.down.down"],
        load_file(first.adapter / WEIGHTS)["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"],
    )
    knobs = {"learning_rate": 1e-7, "epochs": 1.0, "batch": 18}
    tune(tmp_path, data, "second", start=str(first.adapter), **knobs)
    tune(tmp_path, data, "anew", **knobs)
    assert losses_of(tmp_path / "second")[0] < losses_of(tmp_path / "anew")[0] / 2
    for more, told in (
        ({"rank": 2}, "rank, alpha or targets are not those"),
        ({"engine": "trl"}, 'train.start needs train.engine = "fused"'),
        ({"start": str(tmp_path)}, "no adapter.json there"),
    ):
        with pytest.raises(Refused, match=told):
            tune(tmp_path, data, "refused", **{"start": str(first.adapter), **more})


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the loss is no number any more"):
        tune(tmp_path, mood_dataset(tmp_path / "data"), learning_rate=1e30, clip=1e30, optimiser="sgd")


# --- tokens --------------------------------------------------------------------------------------------------------


def test_an_answer_is_cut_into_the_tokens_that_the_engine_chooses_and_forces() -> None:
    tokenizer = make_tokenizer(3)
    [(_, record)] = prices("train", range(1, 2))
    [encoded] = encode_records(tokenizer, [record], 200, "train")

    choices = answer_choices(tokenizer)
    answer = list(encoded.ids[encoded.answer :])
    picks, at = [], 0
    for choice in choices:
        picks.append(choice.allowed.index(answer[at]))
        at += 1
        assert answer[at : at + len(choice.forced)] == list(choice.forced)
        at += len(choice.forced)
    assert at == len(answer)
    assert fill_answer(picks, choices, 1) == record.output


def test_an_example_is_its_question_and_its_answer_and_free_text_learns_where_to_stop() -> None:
    tokenizer = make_tokenizer(1)
    tokenizer.eos_token = "<turn>"
    mood = moods("train", 1)[0][1]
    [told] = encode_records(tokenizer, [mood], 200, "train")
    assert isinstance(told, Tokens)
    assert tokenizer.decode(told.ids[told.answer :]) == " positive"
    analysis = replace(mood, kind="analysis", input="up?\n", output="Prediction: U1\n", label="U1")
    [told] = encode_records(tokenizer, [analysis], 200, "train")
    assert told.ids[-1] == tokenizer.eos_token_id
