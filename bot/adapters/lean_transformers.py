"""What we use of transformers, imported without what it takes along needlessly; imported before transformers itself.

Where they are installed it imports scikit-learn (with it pandas) and scipy, for a measure and a loss that no language
model has: a quarter of the start of every process with a model, and 130 MB. It asks once which libraries there are, so
nothing is hidden from it where it was imported already.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext

from bot.adapters.hidden_modules import hidden

with nullcontext() if "transformers" in sys.modules else hidden("sklearn", "scipy"):
    from transformers import (
        AttentionInterface,
        AttentionMaskInterface,
        AutoModelForCausalLM,
        AutoTokenizer,
        BitsAndBytesConfig,
    )

__all__ = [
    "AttentionInterface",
    "AttentionMaskInterface",
    "AutoModelForCausalLM",
    "AutoTokenizer",
    "BitsAndBytesConfig",
]
