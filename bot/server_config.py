"""The table [model.server] of config.toml: a language-model server that speaks OpenAI's protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Structured = Literal["vllm", "sglang", "llamacpp", "json_schema", "none"]
MOST_AT_ONCE: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where a model is served, and how it is asked."""

    base_url: str
    model: str
    api: Literal["completions", "chat"]
    structured: Structured
    mood: Literal["shown", "tuned"]
    concurrency: int
    timeout_s: float
    attempts: int

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        if not 1 <= self.concurrency <= MOST_AT_ONCE:
            raise ValueError(f"`concurrency` must be between 1 and {MOST_AT_ONCE:,}")
        if not 0 < self.timeout_s <= 86_400:  # noqa: PLR2004  (a day)
            raise ValueError("`timeout_s` must be positive and at most a day")
        if not 1 <= self.attempts <= 20:  # noqa: PLR2004
            raise ValueError("`attempts` must be between 1 and 20")
