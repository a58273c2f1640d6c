"""Why things are missing, counted, in one line."""

from __future__ import annotations

from collections.abc import Mapping


def listed(reasons: Mapping[str, int]) -> str:
    """`38 x HTTP 500, 3 x no answer in 60 s`: the commonest first."""
    ranked = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count} x {reason}" for reason, count in ranked)
