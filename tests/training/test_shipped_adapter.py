"""The adapter in the repository: small, whole, and of the small model."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.adapters.adapter_store import check_base, read_adapter
from bot.demo import ADAPTER

MODEL = Path(__file__).resolve().parents[2] / "models" / "smollm2-135m"
MOST_BYTES = 12_000_000


def test_the_shipped_adapter_is_small_whole_and_made_of_what_may_be_passed_on() -> None:
    told = read_adapter(ADAPTER)  # hashes every file

    assert sum(path.stat().st_size for path in ADAPTER.iterdir()) < MOST_BYTES
    assert (told.mood, told.windows) == ("tuned", ((5, 20), (20, 20)))
    assert "fpb" not in told.licence  # its licence forbids commercial use
    parts = told.licence.split("; ")
    assert len(parts) == len(set(parts))


@pytest.mark.model
def test_the_shipped_adapter_is_of_the_small_model() -> None:
    if not MODEL.is_dir():
        pytest.skip("needs the small model: make model")

    check_base(read_adapter(ADAPTER), MODEL)
