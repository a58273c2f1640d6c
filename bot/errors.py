"""Our exceptions; each docstring says what the daemon does about it.

BotError
├── ConfigError      refuse to start, name the key
├── Refused          do not do this one thing, say why (second daemon, unknown stock, absent model)
│   └── BudgetSpent  the day's requests of a feed are spent: the rest rolls over to tomorrow
├── Transient        retried inside the adapter; when retries are spent it becomes DataMissing
├── DataMissing      skip this stock for this session, report it
├── EngineFailed     no answer from the model: abstain for this session, report it
└── LookAheadError   a bug: halt, never trade on it
"""

from __future__ import annotations


class BotError(Exception):
    """The root of all errors whose text is meant for the user: one clear line."""


class ConfigError(BotError):
    """The configuration is wrong: refuse to start and name the key."""


class Refused(BotError):  # noqa: N818  (reads as a sentence where it is caught)
    """The thing asked for can't be done, and trying again would not help."""


class BudgetSpent(Refused):
    """The day's requests of a feed are spent: what wasn't asked rolls over to tomorrow."""


class Transient(BotError):  # noqa: N818
    """The other side may answer next time: retry inside the adapter."""


class DataMissing(BotError):  # noqa: N818
    """No trustworthy data: skip this stock for this session and report it."""


class EngineFailed(BotError):  # noqa: N818
    """The model gave no answer: abstain for this session and report it."""


class LookAheadError(BotError):
    """A decision saw data from after its moment: halt, it is a bug."""
