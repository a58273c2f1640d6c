"""The one retry wrapper: every read over the network goes through it, and fails with one clear line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina
import stamina.instrumentation

from bot.errors import DataMissing, Refused, Transient

T = TypeVar("T")
log = logging.getLogger(__name__)
stamina.instrumentation.set_on_retry_hooks([])  # its own log line doesn't say what was asked of whom; ours does


class Unreachable(Transient):
    """Nobody answered: no connection, no name, no valid certificate, or no answer in time."""


class AskedToWait(Transient):
    """The server said when to come back; `retry_after_s` is None when it only said "later"."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        """`retry_after_s` counts from now."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Tries a read up to `attempts` times, with pauses that double and jitter, or as long as the server asked for.

    `source` names the feed and its address in errors: "twse at https://www.twse.com.tw". A server that asks for
    more than `longest_pause_s` is not waited for: the evening has other stocks.
    """

    source: str
    attempts: int
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0

    def __call__(self, asked: str, read: Callable[[], T]) -> T:
        """What `read` returns. `asked` says in an error what was wanted: "2330 2025-03".

        Only reads, and writes that may safely happen twice, belong here.

        Raises:
            DataMissing: `read` raised Refused (not tried again), or Transient until the tries were spent; or it
                raised DataMissing itself, which passes unchanged.
        """
        tries = 0
        attempts = stamina.retry_context(
            on=self._pause,
            attempts=self.attempts,
            timeout=None,
            wait_initial=self.first_pause_s,
            wait_max=self.longest_pause_s,
            wait_jitter=self.first_pause_s,
        )
        try:
            for attempt in attempts:
                with attempt:
                    tries = attempt.num
                    return self._once(asked, read)
        except Transient as last:
            times = "1 try" if tries == 1 else f"{tries} tries"
            raise DataMissing(f"{self.source}: {asked}: {last}, {times}") from last
        except Refused as no:
            raise DataMissing(f"{self.source}: {asked}: {no}") from no
        raise AssertionError("stamina ended without an answer or an error")

    def _once(self, asked: str, read: Callable[[], T]) -> T:
        """One try, logged when it failed but may be repeated."""
        try:
            return read()
        except Transient as failed:
            log.info("%s: %s: %s", self.source, asked, failed)
            raise

    def _pause(self, error: Exception) -> bool | float:
        """Whether to try again after `error`: no, after the usual pause, or after this many seconds."""
        if not isinstance(error, Transient):
            return False
        wanted_s = getattr(error, "retry_after_s", None)
        if wanted_s is None:
            return True
        return False if wanted_s > self.longest_pause_s else float(wanted_s)
