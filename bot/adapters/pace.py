"""How often a server may be asked: at most N requests in any window, as the server counts them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache


@lru_cache(maxsize=64)
def pace_of(host: str, requests: int, window_s: float) -> Pace:  # noqa: ARG001  (the cache's key)
    """The one pace of this process for `host`, so that feeds on the same server count together."""
    return Pace(requests, window_s)


class Pace:
    """Lets at most `requests` requests begin in any `window_s` seconds; one at a time, from any thread.

    A request counts from the moment its answer came back, not from the moment it left: it reached the server some
    time before that, so the server never sees more than `requests` in a window, however slow the network is.
    """

    def __init__(
        self,
        requests: int,
        window_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`monotonic` (seconds) and `sleep` are the machine's unless a test brings its own.

        Raises:
            ValueError: `requests` or `window_s` is not positive.
        """
        if requests < 1 or window_s <= 0:
            raise ValueError(f"no pace: {requests} requests in {window_s} s")
        self._window_s = window_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._ended: deque[float] = deque(maxlen=requests)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, then hold it for the length of one request."""
        with self._lock:
            self._wait()
            try:
                yield
            finally:
                self._ended.append(self._monotonic())

    def _wait(self) -> None:
        """Sleep until the oldest of the last `requests` requests is a whole window ago."""
        if len(self._ended) < (self._ended.maxlen or 0):
            return
        due = self._ended[0] + self._window_s
        while (pause_s := due - self._monotonic()) > 0:
            self._sleep(pause_s)
