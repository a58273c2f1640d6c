"""The audit finds each kind of damage, and nothing where there is none."""

from __future__ import annotations

from builders import FRIDAY, THURSDAY, at, order

from bot.core.audit import OrderRecord, Post, Problem, audit_book, audit_cash, audit_orders, audit_posts
from bot.core.cash import CashIdentity
from bot.core.order_events import OrderEvent
from bot.core.orders import Fill, OrderState

S = OrderState
ONE = order()


def record(*states: OrderState, stored: OrderState | None = None, fills: int = 0, settlements: int = 2) -> OrderRecord:
    events = tuple(OrderEvent(key=ONE.key, at=at(THURSDAY, "18:30"), state=state) for state in states)
    parts = tuple(
        Fill(key=ONE.key, symbol="2330", session=FRIDAY, shares=1_000, price_x100=1, commission_twd=0, tax_twd=0, n=n)
        for n in range(1, fills + 1)
    )
    return OrderRecord(order=ONE, state=stored or states[-1], events=events, fills=parts, settlements=settlements)


def kinds(problems: list[Problem]) -> list[str]:
    return [problem.kind for problem in problems]


def test_a_good_life_has_no_problem() -> None:
    good = record(S.PLANNED, S.SENDING, S.ACCEPTED, S.FILLED, fills=1)
    assert audit_orders([good, record(S.PLANNED, S.CANCELLED)]) == []
    post = Post(symbol="2330", side="buy", at=at(THURSDAY, "18:30"))
    assert audit_posts([good], [post]) == []


def test_each_damage_is_found() -> None:
    assert kinds(audit_orders([record(S.PLANNED, S.SENDING, S.SENDING, S.REJECTED)])) == ["sent twice"]
    assert kinds(audit_orders([record(S.PLANNED, S.SENDING, S.ACCEPTED)])) == ["lost"]
    assert kinds(audit_orders([record(S.PLANNED, S.SENDING, S.ACCEPTED, settlements=1)])) == []
    assert kinds(audit_orders([record(S.PLANNED, S.SENDING, S.UNKNOWN)])) == ["open"]
    assert kinds(audit_orders([record(S.PLANNED, S.SENDING, S.EXPIRED, stored=S.REJECTED)])) == ["state"]
    assert kinds(audit_orders([record(S.PLANNED, S.SENDING, S.FILLED, fills=2)])) == ["state"]
    assert kinds(audit_orders([record(S.SENDING, S.REJECTED)])) == ["lost"]


def test_posts_belong_to_one_intent_each() -> None:
    accepted = record(S.PLANNED, S.SENDING, S.ACCEPTED, settlements=0)
    post = Post(symbol="2330", side="buy", at=at(THURSDAY, "18:31"))
    assert kinds(audit_posts([accepted], [post, post])) == ["sent twice"]
    assert kinds(audit_posts([accepted], [])) == ["lost"]
    early = Post(symbol="2330", side="buy", at=at(THURSDAY, "18:00"))
    assert kinds(audit_posts([accepted], [early, post])) == ["sent twice"]


def test_book_and_cash() -> None:
    assert audit_book({"2330": 1_000}, {"2330": 1_000}, {}, 0) == []
    assert kinds(audit_book({}, {"2330": 1_000}, {}, None)) == ["book"]
    assert kinds(audit_book({}, {"2330": 1_000}, {"2330": 1_000}, -100_142)) == ["unexplained", "unexplained"]
    assert kinds(audit_book({}, {}, {"2330": 1_000}, 0)) == ["book"]
    assert kinds(audit_book({}, {}, {}, 1)) == ["book"]
    right = CashIdentity(start_twd=10, sells_twd=5, buys_twd=4, fees_twd=1, taxes_twd=1, dividends_twd=2,
                         adjustments_twd=-1, cash_twd=10)  # fmt: skip
    wrong = CashIdentity(start_twd=10, sells_twd=5, buys_twd=4, fees_twd=1, taxes_twd=1, dividends_twd=2,
                         adjustments_twd=-1, cash_twd=11)  # fmt: skip
    assert kinds(audit_cash([(FRIDAY, right), (FRIDAY, wrong)])) == ["cash"]
