"""The embedded broker: the suite, and what is peculiar to it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from broker_conformance import SESSIONS, START_TWD, Bench, BrokerConformance
from builders import FRIDAY, RATES, THURSDAY, at, bar, checked, order

from bot.adapters.broker_paper import PaperBroker
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.core.orders import OrderState


class TestConformance(BrokerConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        db = open_database(tmp_path / "p.db")
        market = MarketStore(db)
        broker = PaperBroker(db, START_TWD, "touch", RATES)
        # Embedded: there is no wire to lose a reply on, and a broken database is a bug and not a doubt.
        return Bench(broker, lambda session: market.add_bars(checked(SESSIONS[session]), at(session)))


def test_its_book_outlives_the_process(tmp_path: Path) -> None:
    first = PaperBroker(open_database(tmp_path / "p.db"), START_TWD, "touch", RATES)
    first.submit(order())
    first.end_session(FRIDAY, {"2330": SESSIONS[FRIDAY]})
    again = PaperBroker(open_database(tmp_path / "p.db"), START_TWD, "touch", RATES)
    assert again.holdings() == {"2330": 1_000}
    assert again.submit(order()).state is OrderState.ACCEPTED  # known already, and not bought once more
    assert again.holdings() == {"2330": 1_000}


def test_the_rule_open_fills_at_the_open_or_not_at_all(tmp_path: Path) -> None:
    broker = PaperBroker(open_database(tmp_path / "p.db"), START_TWD, "open", RATES)
    broker.submit(order())
    broker.end_session(FRIDAY, {"2330": SESSIONS[FRIDAY]})
    assert broker.holdings() == {}  # the open of 100.50 is above the limit of 100.00
    late = order(decided=FRIDAY, limit=102_00)
    assert broker.submit(late).state is OrderState.ACCEPTED
    broker.end_session(FRIDAY + timedelta(days=3), {"2330": SESSIONS[FRIDAY]})
    assert broker.prices_x100([late]) == {late.key: 100_50}


def test_nothing_fills_when_the_session_was_locked(tmp_path: Path) -> None:
    db = open_database(tmp_path / "p.db")
    MarketStore(db).add_bars(checked(bar("100", session=THURSDAY)), at(THURSDAY))
    broker = PaperBroker(db, START_TWD, "open", RATES)
    broker.submit(order(limit=110_00))
    broker.end_session(FRIDAY, {"2330": bar("110", session=FRIDAY)})  # limit up all day: a queue stood before us
    assert broker.holdings() == {}
