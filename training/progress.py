"""How far a fine-tune is, whichever engine runs it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. Losses are means per answer token in nats; `valid_loss` is NaN until there is one.

    `valid_step` is the step after which `valid_loss` was taken, `best_step` that of `best_loss`; 0: none yet.
    `tokens` were read by all GPUs since the run began, in `seconds` of training; both survive a resume.
    """

    step: int = 0
    loss: float = math.nan
    valid_loss: float = math.nan
    valid_step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    since_best: int = 0
    learning_rate: float = 0.0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_a_second(self) -> float:
        """The rate since the run began."""
        return self.tokens / self.seconds if self.seconds else 0.0
