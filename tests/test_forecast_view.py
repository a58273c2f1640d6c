"""What a forecast's reader is warned of."""

from __future__ import annotations

import pytest

from bot.forecast_view import along_the_median


@pytest.mark.parametrize(
    ("model", "median"),
    [
        ("small@3a1f6c0d92e4:bf16", True),
        ("small@3a1f6c0d92e4:bf16+news@77ab01c2d3e4", True),
        ("small@3a1f6c0d92e4:4bit+p8@77ab01c2d3e4+unsloth", True),  # an adapter may be called so
        ("small@3a1f6c0d92e4:4bit+news@77ab01c2d3e4+p8", False),
        ("small@3a1f6c0d92e4:bf16+unsloth+p16", False),
        ("small@3a1f6c0d92e4:bf16+news@77ab01c2d3e4+vllm.n16", False),
        ("small@3a1f6c0d92e4:float32+seed.n5", False),
        ("llama@unverified-5c66267db9f9+n16", False),
    ],
)
def test_only_bands_along_the_median_are_warned_of(model: str, *, median: bool) -> None:
    assert along_the_median(model) is median
