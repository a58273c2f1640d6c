"""A person who tidies up: sees what `orders list --json` and `reconcile --json` say, and the exchange's web page."""

from __future__ import annotations

from pathlib import Path

from real_processes import ForkServer

from bot.sandbox.process import Sandbox


def tidy_up(config: Path, sandbox: Sandbox, server: ForkServer) -> list[str]:
    """Resolve what is open, adopt what is unexplained; what was done."""
    del config, sandbox, server
    return []
