"""The stock API's answers turned into our types, or refused. Pure: bytes in, and nothing is taken on trust.

A failed reading must never look like an empty book: only a whole answer that says `success` and has a list counts,
and `[]` is the one spelling of "nothing is held". Source of the shapes: api/STOCK_API.md.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from bot.core.market import LOT_SHARES
from bot.core.orders import OrderState
from bot.errors import DataMissing

MOST_LOTS_HELD: Final = 10**8  # four times the largest company of the exchange
_CODE: Final = re.compile(r"[0-9]{4,6}[A-Z]?")


class _Reply(msgspec.Struct):
    """What the API answers to an order."""

    result: str
    status: str = ""


class _Row(msgspec.Struct):
    """One holding; `shares` counts lots. Its price, a number on one base and text on the other, is not needed."""

    stock_code_id: str
    shares: int
    usid: int | str | None = None


class _Book(msgspec.Struct):
    """What the API answers to get_user_stocks; a failure has no `data`."""

    result: str
    status: str = ""
    data: list[_Row] | None = None


def reply_of(content: bytes) -> tuple[OrderState, str]:
    """What became of an order, and the API's words; unknown for all but the two agreed answers."""
    try:
        reply = msgspec.convert(_json(content), _Reply)
    except (ValueError, RecursionError, msgspec.ValidationError):
        return OrderState.UNKNOWN, ""
    known = {"success": OrderState.ACCEPTED, "failed": OrderState.REJECTED}
    return known.get(reply.result, OrderState.UNKNOWN), reply.status


def book_of(content: bytes) -> dict[str, int]:
    """Shares held by symbol; several rows of one stock add up, and the same row twice is no book.

    Raises:
        DataMissing: anything but a whole and sound answer; it is not an empty book.
    """
    try:
        book = msgspec.convert(_json(content), _Book)
    except (ValueError, RecursionError, msgspec.ValidationError) as odd:
        raise DataMissing(f"holdings: not the agreed JSON ({odd})") from None
    if book.result != "success" or book.data is None:
        raise DataMissing(f"holdings: {book.result}: {book.status}")
    numbers = [row.usid for row in book.data if row.usid is not None]
    if len(set(numbers)) != len(numbers):
        raise DataMissing("holdings: the same row twice")
    shares: dict[str, int] = {}
    for row in book.data:
        if not _CODE.fullmatch(row.stock_code_id) or not 0 <= row.shares <= MOST_LOTS_HELD:
            raise DataMissing(f"holdings: {row.shares} lots of {row.stock_code_id!r}")
        shares[row.stock_code_id] = shares.get(row.stock_code_id, 0) + row.shares * LOT_SHARES
    return {symbol: held for symbol, held in shares.items() if held}


def _json(content: bytes) -> Any:
    """The JSON in `content`, UTF-8 and by the letter: no NaN, no key twice, no fraction for a whole number.

    Raises:
        ValueError: it is none.
        RecursionError: it is too deep to be one.
    """
    return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a key stands there twice")
    return told


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
