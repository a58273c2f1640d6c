"""The card says what the adapter is, from what it was made, what it scored and what failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluations import evaluation, mood_result, price_result
from safetensor_files import plain_adapter

from bot.adapters.adapter_store import WEIGHTS, read_adapter
from training.criteria import judge
from training.evaluation import ADAPTER, BASE
from training.model_card import model_card, with_reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plain_adapter(tmp_path / "adapter", "night-3")


def test_the_card_holds_data_range_config_revision_versions_hashes_and_licence(folder: Path) -> None:
    manifest = read_adapter(folder)
    card = model_card(folder, manifest, None, None)

    assert card.startswith("---\nbase_model: tiny\nlibrary_name: peft\nlicense: MIT\n---\n\n# night-3\n")
    for told in (
        "ends by 2024-06-28",
        "20:5; columns close, open, high, low",
        "r 2, lora_alpha 4, lora_dropout 0.05, target_modules q_proj",
        "git " + "0" * 40,
        "peft 0.21.0",
        f"{WEIGHTS}: sha256 {manifest.sha256[WEIGHTS]}",
        "sha256 " + "0" * 64,
        "mood_accuracy 0.8",
        "Not evaluated.",
        "no promise of profit",
    ):
        assert told in card


def test_the_card_says_that_moods_were_calibrated(tmp_path: Path, folder: Path) -> None:
    warm = plain_adapter(tmp_path / "warm", "night-4", mood_temperature=3.25)
    assert "asked as it was tuned; log scores divided by 3.25" in model_card(warm, read_adapter(warm), None, None)
    assert "log scores" not in model_card(folder, read_adapter(folder), None, None)


def test_scores_stand_in_tables_of_whole_rows(folder: Path) -> None:
    told = evaluation(moods=(mood_result(base=150, adapter=240), mood_result("hard", base=40, adapter=50, count=120)))
    card = model_card(folder, read_adapter(folder), told, judge(told, past=20, future=5))

    assert "| tfns | 300 | 50.0% | 80.0% (75.1%-84.1%) |" in card  # Wilson for 240 of 300
    assert "| last close | 1.8000% | 0.01 |" in card
    assert "differ in 1 of 400, alone and batched in\n0 of 400." in card
    assert "FAIL" not in card
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_a_forced_promotion_says_what_failed_and_why_it_went_live(folder: Path) -> None:
    told = replace(evaluation(), prices=price_result(unanswered={BASE: 0, ADAPTER: 2}))
    card = model_card(folder, read_adapter(folder), told, judge(told, past=20, future=5))

    assert "- FAIL: every answer parses (all forecasts whole and inside the daily limits): 598 of 600" in card
    assert with_reason(card, "the old one\ncan't read   volumes").endswith(
        "although criteria failed. The reason given: the old one can't read volumes\n"
    )
