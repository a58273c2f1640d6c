"""Arrow columns made from plain values: `pa.array` would import pandas for every list it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa

_EPOCH: Final = date(1970, 1, 1).toordinal()


def whole_numbers(values: Any) -> pa.Array:
    """An int64 column."""
    return _fixed(np.ascontiguousarray(values, dtype="<i8"), pa.int64())


def fractions(values: Sequence[float]) -> pa.Array:
    """A float64 column."""
    return _fixed(np.ascontiguousarray(values, dtype="<f8"), pa.float64())


def days(values: Iterable[date]) -> pa.Array:
    """A date32 column."""
    return _fixed(np.array([value.toordinal() - _EPOCH for value in values], dtype="<i4"), pa.date32())


def texts(values: Iterable[str]) -> pa.Array:
    """A string column."""
    told = [value.encode() for value in values]
    offsets = np.zeros(len(told) + 1, dtype="<i4")
    np.cumsum([len(one) for one in told], out=offsets[1:])
    return pa.StringArray.from_buffers(len(told), pa.py_buffer(offsets), pa.py_buffer(b"".join(told)))


def _fixed(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
