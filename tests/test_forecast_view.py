"""What a forecast's reader is warned of."""

from __future__ import annotations

import pytest

from bot.forecast_view import reads_too_narrow


@pytest.mark.parametrize(
    ("model", "narrow"),
    [
        ("small@3a1f6c0d92e4", False),
        ("small@3a1f6c0d92e4+news@77ab01c2d3e4", True),
        ("small@3a1f6c0d92e4:4bit+news@77ab01c2d3e4", True),
        ("small@3a1f6c0d92e4+news@77ab01c2d3e4+vllm.n16", False),
        ("llama@unverified-5c66267db9f9+n16", False),
    ],
)
def test_only_an_adapter_that_is_read_off_is_warned_of(model: str, narrow: bool) -> None:
    assert reads_too_narrow(model) is narrow
