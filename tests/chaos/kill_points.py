"""Where a daemon can be killed: moments in what it writes to the database and says to the broker, each with a name.

The points are told by SQL and HTTP, not by the names of our functions: the product holds no hook, and may be rewritten
without asking this file. `Watch` is fed by tests/chaos/killing_launcher.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_INTO: Final = re.compile(
    r"\s*(?:insert(?: or \w+)? into|replace into|update(?: or \w+)?|delete from)\s+[\"\[`]?(\w+)", re.IGNORECASE
)
ANSWERS: Final = frozenset({"accepted", "rejected", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One statement that writes: which table, whether it adds rows, and the texts among its values."""

    table: str
    adds: bool
    texts: frozenset[str]


def write_of(sql: str, values: Iterable[object]) -> Write | None:
    """What `sql` writes; None when it only reads or talks of transactions."""
    match = _INTO.match(sql)
    if match is None:
        return None
    texts = frozenset(value for value in values if isinstance(value, str))
    return Write(table=match[1], adds=not sql.lstrip().lower().startswith("delete"), texts=texts)


@dataclass(slots=True)
class Moment:
    """What the process has done so far, as far as the points ask."""

    answered: bool = False  # a POST was answered, or its answer lost, and that is not journalled yet
    last_side: str = ""  # of the last POST of this process


def _adds(table: str) -> Callable[[list[Write], Moment], bool]:
    return lambda writes, _: any(one.table == table and one.adds for one in writes)


def _moves_to(states: frozenset[str], writes: list[Write]) -> bool:
    return any(one.table == "order_events" and one.texts & states for one in writes)


def _touches_books(writes: list[Write]) -> bool:
    """Whether this is a settlement (or a person): it books what became of orders, and what nothing explains."""
    tables = {one.table for one in writes}
    by_book = any(one.table == "order_events" and "book" in one.texts for one in writes)
    return by_book or bool(tables & {"fills", "book_events"})


def _is_sending(writes: list[Write], _: Moment) -> bool:
    return _moves_to(frozenset({"sending"}), writes)


def _is_receipt(writes: list[Write], moment: Moment) -> bool:
    return moment.answered and _moves_to(ANSWERS, writes) and not _touches_books(writes)


def _is_interrupted(writes: list[Write], moment: Moment) -> bool:
    return not moment.answered and _moves_to(frozenset({"unknown"}), writes) and not _touches_books(writes)


def _is_settlement(writes: list[Write], moment: Moment) -> bool:
    return not moment.answered and _touches_books(writes)


def _turns_to_buying(writes: list[Write], moment: Moment) -> bool:
    buys = any(re.search(r"\bbuy\b", text) for one in writes for text in one.texts)
    return moment.last_side == "sell" and buys and _is_sending(writes, moment)


# Kinds of transactions, by what they write.
_KINDS: Final[Mapping[str, Callable[[list[Write], Moment], bool]]] = {
    "schema": _adds("_sqlite_migrations"),
    "account": _adds("account"),
    "bars": _adds("day_answers"),
    "news": _adds("articles"),
    "forecasts": _adds("forecasts"),
    "decision": _adds("decisions"),
    "first buy": _turns_to_buying,
    "sending": _is_sending,
    "receipt": _is_receipt,
    "interrupted": _is_interrupted,
    "settlement": _is_settlement,
    "unexplained": _adds("book_events"),
    "cash identity": _adds("cash_checks"),
    "equity": _adds("equity"),
    "stage": _adds("stages"),
    "halt": _adds("halts"),
}

BEFORE: Final = "before commit"
AFTER: Final = "after commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place to die. `often` is about how many times four sessions pass it: the n-th time is drawn from 1..often."""

    name: str
    what: str
    often: int


POINTS: Final = (
    Point(name="schema after commit", what="between two migrations of a new database", often=6),
    Point(name="account after commit", what="account opened, nothing else", often=1),
    Point(name="bars before commit", what="inside the transaction that stores a day's bars", often=4),
    Point(name="bars after commit", what="bars stored, stage not recorded", often=4),
    Point(name="news after commit", what="headlines stored, stage not recorded", often=6),
    Point(name="forecasts after commit", what="forecasts stored, stage not recorded", often=4),
    Point(name="decision before commit", what="inside the decision's transaction, its orders with it", often=4),
    Point(name="decision after commit", what="decision and orders journalled, nothing sent", often=4),
    Point(name="sending before commit", what="inside the move to `sending`", often=10),
    Point(name="sending after commit", what="`sending` on disk, no POST yet", often=10),
    Point(name="POST leaving", what="the request built, no byte sent", often=10),
    Point(name="POST unanswered", what="the request sent, the answer not read", often=10),
    Point(name="POST answered", what="the answer read, not journalled", often=10),
    Point(name="receipt before commit", what="inside the transaction that journals the answer", often=10),
    Point(name="receipt after commit", what="answer journalled, next order not begun", often=10),
    Point(name="first buy before commit", what="between the last sell and the first buy", often=3),
    Point(name="interrupted after commit", what="in recovery: an order found `sending` marked `unknown`", often=1),
    Point(name="holdings read", what="the book read, not compared", often=4),
    Point(name="settlement before commit", what="inside the settlement's transaction", often=4),
    Point(name="settlement after commit", what="fills journalled, cash identity not written", often=4),
    Point(name="unexplained after commit", what="a stranger's shares written down as unexplained", often=1),
    Point(name="cash identity after commit", what="cash identity written, equity not", often=4),
    Point(name="equity after commit", what="equity written, stage not recorded", often=4),
    Point(name="stage after commit", what="a stage recorded, the next not begun", often=24),
)

# Points that the daemon doesn't pass: `twtrader halt` does.
HALT_POINTS: Final = (
    Point(name="halt before commit", what="`twtrader halt`: the file is there, its row not yet", often=1),
    Point(name="halt after commit", what="`twtrader halt`: file and row are there, nothing was said", often=1),
)


@dataclass(slots=True)
class Watch:
    """Counts how often points are passed and calls `die` when one that is armed has been passed often enough.

    `armed` says how many passages each point still has; `ready` is called once, as soon as the daemon has finished a
    piece of work or found that none is due: it has recovered by then.
    """

    armed: dict[str, int]
    die: Callable[[str], None]
    ready: Callable[[], None]
    moment: Moment = field(default_factory=Moment)
    _writes: list[Write] = field(default_factory=list)
    _is_ready: bool = False

    def reached(self, point: str) -> None:
        """A point is passed."""
        left = self.armed.get(point)
        if left is None:
            return
        self.armed[point] = left - 1
        if left <= 1:
            self.die(point)

    def statement(self, sql: str, values: Iterable[object]) -> None:
        """A statement is about to run."""
        word = sql.lstrip()[:8].upper()
        if word.startswith(("BEGIN", "ROLLBACK")) and " TO " not in sql.upper():
            self._writes = []
        elif word.startswith("COMMIT"):
            self._pass(BEFORE)
        elif (write := write_of(sql, values)) is not None:
            self._writes.append(write)

    def committed(self) -> None:
        """A transaction has been committed."""
        done, moment = self._writes, self.moment
        if any(one.table == "stages" for one in done):
            self._say_ready()
        self._pass(AFTER)
        if _is_receipt(done, moment):
            moment.answered = False
        self._writes = []

    def leaving(self, path: str) -> None:
        """A request to the broker or the clock is about to leave."""
        if path.endswith(("/buy", "/sell")):
            self._say_ready()
            self.moment.last_side = path.rpartition("/")[2]
            self.reached("POST leaving")

    def sent(self, path: str) -> None:
        """The whole request is on the wire."""
        if path.endswith(("/buy", "/sell")):
            self.reached("POST unanswered")

    def answered(self, path: str) -> None:
        """The answer is here, or there will be none."""
        if path.endswith(("/buy", "/sell")):
            self.moment.answered = True
            self.reached("POST answered")
        elif path.endswith("/get_user_stocks"):
            self.reached("holdings read")

    def moves_clock(self) -> None:
        """Nothing is due: the daemon goes to its next wake-up."""
        self._say_ready()

    def _pass(self, when: str) -> None:
        for kind, is_one in _KINDS.items():
            if f"{kind} {when}" in self.armed and is_one(self._writes, self.moment):
                self.reached(f"{kind} {when}")

    def _say_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self.ready()
