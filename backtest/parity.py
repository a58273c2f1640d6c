"""The proof that there is one decision path: recorded live decisions, taken again from their recorded inputs.

backtest/book_parity.py plays whole accounts again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backtest.book_comparison import BookDay, BookParity
from bot.core.decide import Decision, decision_from, strategy_of
from bot.core.rule import SHIPPED, Strategy
from bot.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One session's decision: the recorded hash, the hash taken again, and the first order that differs, or ""."""

    session: str
    recorded_sha256: str
    replayed_sha256: str
    difference: str

    @property
    def same(self) -> bool:
        """Whether hash and orders agree."""
        return self.recorded_sha256 == self.replayed_sha256 and not self.difference

    def facts(self) -> dict[str, object]:
        """For --json."""
        return asdict(self) | {"same": self.same}


def check_parity(db: Any, strategies: Sequence[Strategy] = (SHIPPED,)) -> list[Check]:
    """A check of each recorded decision, oldest first; `strategies` are those that may have taken one.

    Raises:
        Refused: nothing was ever decided, or by a strategy that is not among them.
    """
    rows = list(db.execute("select session, sha256, inputs from decisions order by session"))
    if not rows:
        raise Refused("no decision is recorded yet: `twtrader run` makes one each session")
    by_name = {one.name: one for one in strategies}
    return [_check(db, session, sha256, json.loads(inputs), by_name) for session, sha256, inputs in rows]


def first_difference(checks: Sequence[Check]) -> str:
    """One line on the first check that failed; "" when all are the same."""
    failed = [check for check in checks if not check.same]
    if not failed:
        return ""
    first = failed[0]
    what = first.difference or f"hash {first.recorded_sha256[:12]} recorded, {first.replayed_sha256[:12]} replayed"
    return f"{len(failed)} of {len(checks)} decisions differ; the first is {first.session}: {what}"


def parity_lines(checks: Sequence[Check], book: BookParity) -> list[str]:
    """What `backtest parity` says: both hashes, both books, and what the replay could not know."""
    same = sum(check.same for check in checks)
    span = f"{checks[0].session}..{checks[-1].session}"
    lines = [f"{len(checks)} decisions, {span}: {same} the same, hash for hash, from their recorded inputs"]
    if book.decided:
        recorded, replayed = book.hashes
        same = sum(one.same for one in book.decided)
        lines += [
            f"{len(book.decided)} decisions on the replay's own book, fill rule `{book.fill_rule}`: {same} the same",
            f"  all hashes  recorded {recorded[:16]}  replayed {replayed[:16]}",
        ]
    if book.days:
        same = sum(not day.difference for day in book.days)
        last = book.days[-1]
        lines += [
            f"{len(book.days)} settled sessions, {book.days[0].session}..{last.session}: {same} books the same to NT$1",
            *_book_lines(last),
        ]
    return [*lines, *(f"outside the replay: {line}" for line in book.outside)]


def _book_lines(day: BookDay) -> list[str]:
    """Both books after one session."""
    told = (
        ("recorded", day.recorded_twd, day.recorded_shares),
        ("replayed", day.replayed_twd, day.replayed_shares),
    )
    return [
        f"  {whose}  NT${cash_twd:,}  "
        + (", ".join(f"{symbol} {held:,}" for symbol, held in shares.items()) or "no shares")
        for whose, cash_twd, shares in told
    ]


def _check(db: Any, session: str, sha256: str, inputs: dict[str, Any], strategies: Mapping[str, Strategy]) -> Check:
    name = strategy_of(inputs)
    if name not in strategies:
        raise Refused(f"the decision of {session} was taken by {name}, which `rules.strategy` does not name now")
    decision = decision_from(inputs, strategies[name])
    return Check(
        session=session,
        recorded_sha256=sha256,
        replayed_sha256=decision.sha256,
        difference=_order_difference(db, session, decision),
    )


def _order_difference(db: Any, session: str, decision: Decision) -> str:
    """The first order that stands in the journal but not in `decision`, or the other way round."""
    rows = db.execute("select key, shares, limit_x100, reason from orders where decided = ?", [session])
    recorded = {tuple(row) for row in rows}
    replayed = {(one.key, one.shares, one.limit_x100, one.reason) for one in decision.orders}
    for order in sorted(recorded - replayed):
        return f"recorded {_told(order)}, and the replay does not order it"
    for order in sorted(replayed - recorded):
        return f"the replay orders {_told(order)}, and it is not recorded"
    return ""


def _told(order: tuple[Any, ...]) -> str:
    key, shares, limit_x100, reason = order
    return f"{key} {shares} at {limit_x100 / 100:.2f} ({reason})"
