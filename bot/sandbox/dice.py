"""Chance that falls the same way every time."""

from __future__ import annotations

from random import Random


def dice(name: str) -> Random:
    """A stream of chance that belongs to `name`: the same on every run, machine and Python."""
    return Random(name)  # noqa: S311  (a market, not a secret)
