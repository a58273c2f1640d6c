"""The real journal on a real file under every story hypothesis can think of, with a platform that may misbehave.

The platform takes an order once, twice or not at all, answers truly, wrongly not at all, and once in a while shows
yesterday's book. Whatever happens: no order is sent twice, none is lost, and the books are the platform's in the end.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from builders import RATES, at
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_open import open_database
from bot.core.decide import Decision
from bot.core.explain import Resting
from bot.core.order_events import standing
from bot.core.orders import NEXT_STATES, Order, OrderState, Side
from bot.core.resolve import filled, not_filled
from bot.core.settle import Reading, settle
from bot.errors import Refused

S = OrderState
FIRST = date(2025, 1, 2)
CODES = ("2330", "2317")


@cache
def template() -> Path:
    """A migrated, empty file, made once: each story begins with a copy."""
    path = Path(tempfile.mkdtemp()) / "empty.db"
    open_database(path).close()
    return path


class Story(RuleBasedStateMachine):
    """Evenings of orders, days of trading, settlements; beside them the platform's own truth."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "story.db"
        shutil.copy(template(), self.path)
        self.db = open_database(self.path)
        self.day = FIRST
        self.book = dict.fromkeys(CODES, 0)
        self.yesterday = dict(self.book)
        self.reserved: dict[str, tuple[Order, int]] = {}  # at the platform: the order and how often
        self.touched: dict[str, bool] = {}
        self.filled: dict[str, int] = {}  # the truth: shares by key
        self.sent: list[str] = []
        self.was_stale = False
        self.excess = False  # the platform doubled an order, or a person said what isn't so
        self.journal.open_account("stock_api", 10**9, "", self.now)

    def teardown(self) -> None:
        if not hasattr(self, "db"):
            return
        for _ in range(2):  # two settlements later all is explained, or waits for a person
            self.a_day({"2330": True, "2317": False}, stale=False)
        states = {one.order.key: one.state for one in self.journal.orders.select()}
        assert not {S.ACCEPTED, S.SENDING} & set(states.values())
        if not self.excess:
            assert self.journal.unexplained() == {}
            for one in self.journal.orders.select():
                assert one.state is not S.UNKNOWN
                assert one.filled_shares == self.filled.get(one.order.key, 0)
        self.db.close()
        self.folder.cleanup()

    @property
    def journal(self) -> Journal:
        return Journal(self.db)

    @property
    def now(self) -> datetime:
        return at(self.day)

    # --- evenings -----------------------------------------------------------------------------------------

    @rule(lots=st.integers(1, 3), data=st.data())
    def plan(self, lots: int, data: st.DataObject) -> None:
        blocked = {*self.journal.unexplained(), *(one.order.symbol for one in self.journal.orders.open())}
        orders = []
        for code in sorted(set(CODES) - blocked):
            held = self.journal.portfolio().shares_of(code)
            side = data.draw(st.sampled_from([Side.BUY, Side.SELL] if held else [Side.BUY]))
            shares = held if side is Side.SELL else lots * 1_000
            orders.append(Order(symbol=code, decided=self.day, side=side, shares=shares, limit_x100=100_00))
        decision = Decision(session=self.day, orders=tuple(orders), inputs={}, sha256="x")
        had = self.journal.decision_sha256(self.day)
        before = self.dump()
        self.journal.record_decision(decision, self.now)
        planned = self.dump()
        self.journal.record_decision(decision, self.now)
        assert self.dump() == planned  # planning twice = once
        assert had is None or planned == before

    @rule(
        taken=st.sampled_from([0, 1, 1, 1, 2]),
        lost=st.booleans(),
        killed=st.sampled_from(["", "", "", "before", "after"]),
    )
    def send(self, taken: int, lost: bool, killed: str) -> None:
        for one in self.journal.orders.select(S.PLANNED):
            key = one.order.key
            if one.order.decided != self.day:
                self.journal.move(key, S.CANCELLED, "too late", self.now)
                continue
            self.journal.move(key, S.SENDING, "", self.now)
            if killed == "before":
                self.restart()
                return
            self.sent.append(key)
            if taken:
                self.reserved[key] = (one.order, taken)
            if killed == "after":
                self.restart()
                return
            state = S.UNKNOWN if lost else S.ACCEPTED if taken else S.REJECTED
            self.journal.move(key, state, "", self.now, reply="...")

    def restart(self) -> None:
        """kill -9, then a start: what was on the wire is unknown."""
        self.db.close()
        self.db = open_database(self.path)
        for one in self.journal.orders.select(S.SENDING):
            self.journal.move(one.order.key, S.UNKNOWN, "interrupted while sending", self.now)

    # --- days ---------------------------------------------------------------------------------------------

    @rule(touches=st.lists(st.booleans(), min_size=2, max_size=2), stale=st.booleans())
    def trade(self, touches: list[bool], stale: bool) -> None:
        self.a_day(dict(zip(CODES, touches, strict=True)), stale=stale and not self.was_stale)

    def a_day(self, hits: dict[str, bool], *, stale: bool) -> None:
        self.yesterday = dict(self.book)
        self.day += timedelta(days=1)
        for one in self.journal.orders.select():
            if one.order.decided == self.day - timedelta(days=1):
                self.touched[one.order.key] = hits[one.order.symbol]
        for key, (order, times) in self.reserved.items():
            if hits[order.symbol]:
                had = self.book[order.symbol]
                moved = max(-had, order.signed_shares * times)
                self.book[order.symbol] += moved
                self.filled[key] = order.shares
                self.excess |= abs(moved) != order.shares
        self.reserved = {}
        self.settle_day(stale=stale)

    def settle_day(self, *, stale: bool) -> None:
        self.was_stale = stale
        reading = Reading(shares={code: n for code, n in (self.yesterday if stale else self.book).items() if n})
        dumps = []
        for _ in range(2):  # running it again changes nothing
            resting = [self.resting(one) for one in self.journal.orders.select(S.ACCEPTED, S.UNKNOWN)]
            recent = [one for one in self.journal.orders.select(S.EXPIRED) if (self.day - one.order.decided).days <= 4]
            result = settle(
                self.day,
                [one for one in resting if one.session <= self.day],
                self.journal.portfolio(),
                reading,
                RATES,
                late=[self.resting(one) for one in recent],
                known=self.journal.unexplained(),
            )
            self.journal.settle(self.day, result, self.now)
            dumps.append(self.dump())
        assert dumps[0] == dumps[1]
        held = self.journal.portfolio()
        for code in CODES:  # each share of the book is ours or named
            assert reading.shares.get(code, 0) == held.shares_of(code) + self.journal.unexplained().get(code, 0)

    def resting(self, one: Any) -> Resting:
        return Resting(
            order=one.order,
            state=one.state,
            session=one.order.decided + timedelta(days=1),
            touched=self.touched.get(one.order.key),
            arrived=any(event.state is S.ACCEPTED for event in self.journal.orders.events(one.order.key)),
            fills=tuple(self.journal.orders.fills(one.order.key)),
        )

    # --- people -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.journal.orders.select(S.UNKNOWN))
    @rule(truly=st.booleans(), index=st.integers(0, 9))
    def person_resolves(self, truly: bool, index: int) -> None:
        unknown = self.journal.orders.select(S.UNKNOWN)
        one = self.resting(unknown[index % len(unknown)])
        traded = one.session if one.session <= self.day else None
        try:
            if truly == bool(self.filled.get(one.order.key)):
                fate = filled(one, traded, "seen", RATES, left=True) if truly else not_filled(one, traded, "seen")
            else:
                return
        except Refused:
            assert traded is None
            assert truly
            return
        self.excess |= one.order.key in self.reserved  # it still may fill, whatever the person says
        try:
            self.journal.resolve(fate, self.now)
        except ValueError:
            assert one.order.side is Side.SELL

    @rule(index=st.integers(0, 9), state=st.sampled_from(list(OrderState)))
    def somebody_tries_an_illegal_step(self, index: int, state: OrderState) -> None:
        orders = self.journal.orders.select()
        if not orders:
            return
        one = orders[index % len(orders)]
        if state in NEXT_STATES[one.state] and state is not S.FILLED:
            return
        before = self.dump()
        with pytest.raises(ValueError, match=r"can't go from|must be booked"):
            self.journal.move(one.order.key, state, "", self.now)
        assert self.dump() == before

    # --- always -------------------------------------------------------------------------------------------

    @invariant()
    def every_order_stands_where_its_facts_say(self) -> None:
        if not hasattr(self, "db"):
            return
        dice = Random(len(self.sent))
        for one in self.journal.orders.select():
            events = self.journal.orders.events(one.order.key)
            assert sum(event.state is S.SENDING for event in events) <= 1  # never sent twice
            fills = self.journal.orders.fills(one.order.key)
            mixed = events * 2
            dice.shuffle(mixed)
            told = standing(one.order.shares, mixed, fills * 2)
            assert (told.state, told.filled_shares) == (one.state, one.filled_shares)
            assert told.contradictions == ()
        assert self.journal.cash_identity().off_twd == 0
        assert list(self.db.query("pragma foreign_key_check")) == []
        assert len(self.sent) == len(set(self.sent))

    def dump(self) -> list[Any]:
        tables = ("decisions", "orders", "order_events", "fills", "adjustments", "cash_events")
        rows: list[Any] = [list(self.db[table].rows) for table in tables]
        return [*rows, [replace(event) for event in self.journal.books.events()]]


TestJournal = Story.TestCase
TestJournal.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow],
)
