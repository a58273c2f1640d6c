"""The one gate before real orders: `live = true` in config.toml and TWTRADER_LIVE=1 in the environment, both.

Two keys in two places, so that neither a copied config nor a forgotten shell trades by itself.
"""

from __future__ import annotations

import os
from typing import Final

from bot.errors import ConfigError

VARIABLE: Final = "TWTRADER_LIVE"


def require_live(what: str, *, live: bool) -> None:
    """Let orders leave for `what` only when both keys are turned. Every broker beyond loopback asks this.

    Raises:
        ConfigError: names the key that is missing.
    """
    if not live:
        raise ConfigError(f"`broker.live` is false, so no order may leave for {what}")
    if os.environ.get(VARIABLE) != "1":
        raise ConfigError(f"{VARIABLE}=1 is not set, so no order may leave for {what}")
