"""A short run of the price fuzzer; `make fuzz` is the long one, with a seed of its own."""

from __future__ import annotations

from price_fuzz import fuzz

SEED = 20250303


def test_five_thousand_broken_answers_put_no_wrong_bar_through() -> None:
    print(f"seed {SEED}")
    outcomes = fuzz(5_000, SEED)
    assert sum(outcomes.values()) == 5_000
    assert {name for name in outcomes if name.startswith("structure")} == {
        "structure: caught", "structure: error", "structure: right"
    }  # fmt: skip
    assert outcomes["figure: caught"] > outcomes["figure: twin"]
