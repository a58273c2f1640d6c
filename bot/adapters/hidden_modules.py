"""Libraries that another one imports only because they are installed, and that we have no use for there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make `names` unimportable for a moment, unless they are imported already."""
    absent = [name for name in names if name not in sys.modules]
    try:
        for name in absent:
            sys.modules[name] = None  # type: ignore[assignment]
        yield
    finally:
        for name in absent:
            del sys.modules[name]
