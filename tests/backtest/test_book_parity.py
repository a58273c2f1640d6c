"""A hand-made journal of a paper account: what the replay of it says, and what it takes from the journal by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import at, bar, checked, config, days, forecast

from backtest.book_comparison import BookParity
from backtest.book_parity import replay_account
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import EquityPoint, Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.config import Config
from bot.core.cash import Adjustment, CashEvent
from bot.core.decide import MarketDay, decide
from bot.core.exrights import ExRight
from bot.core.orders import Fill, OrderState
from bot.core.rule import SHIPPED
from bot.core.settle import Fate
from bot.errors import Refused

SESSIONS = days(date(2025, 1, 6), 6)
# 189 lots of 2330 at 100: 18,900,000 and a commission of 26,932 (0.1425 %, cut). 2 TWD a share in cash later.
BOUGHT_TWD, DIVIDEND_TWD = 18_926_932, 378_000
CASH_TWD = 100_000_000


class Account:
    """A paper account over six sessions; a decision each evening, with what the rule's own function makes of it."""

    late = False  # whether what a person takes in comes before or after the evening's decision

    def __init__(self, folder: Path) -> None:
        self.config: Config = config(folder, rules={"top_k": 5})
        self.db: Any = open_database(folder / "twtrader.db")
        self.market, self.journal = MarketStore(self.db), Journal(self.db)
        self.journal.open_account("paper", CASH_TWD, "", at(SESSIONS[0]))
        for symbol, price in (("2330", 100), ("2317", 50)):
            bars = [
                bar(str(price), symbol=symbol, session=session, high=str(price + 1), low=str(price - 1))
                for session in SESSIONS
            ]
            self.market.add_bars(checked(*bars), at(SESSIONS[-1]))
        event = ExRight(
            symbol="2330", ex_date=SESSIONS[3], kind="dividend", previous_x100=100_00, reference_x100=98_00, source="test",
            known_at=at(SESSIONS[0]), cash_dividend=Decimal(2),
        )  # fmt: skip
        ExRightStore(self.db).keep(
            [event], kind="dividend", symbols=["2330"], first=SESSIONS[0], last=SESSIONS[-1], known_at=at(SESSIONS[0])
        )

    def live(self, fill_price_x100: int = 100_00) -> None:
        """Six sessions: 2330 is bought in the second, 2317 is held back by a limit, a dividend comes in the fourth."""
        for place, session in enumerate(SESSIONS):
            if place == 1:
                self._fill(fill_price_x100)
            if place == 3:
                paid = CashEvent(kind="dividend", symbol="2330", day=session, amount_twd=DIVIDEND_TWD, note="2 a share")
                self.journal.record_cash_events([paid], at(session))
            if place == 4 and not self.late:
                self._adopt(session)
            self.journal.record_equity(
                EquityPoint(session=session, cash_twd=self.journal.portfolio().cash_twd, value_twd=0)
            )
            self._decide(place)
            if place == 4 and self.late:
                self._adopt(session, "20:00")
                fee = CashEvent(kind="adjustment", symbol="", day=session, amount_twd=-5, note="a fee")
                self.journal.adopt_cash(fee, at(session, "20:00"))
            if place == 0:
                self._send()

    def parity(self) -> BookParity:
        return replay_account(self.db, self.config, [SHIPPED])

    def _decide(self, place: int) -> None:
        session, held = SESSIONS[place], self.journal.portfolio()
        told = {"2330": forecast("103", as_of=session), "2317": forecast("52", symbol="2317", as_of=session)}
        day = MarketDay(
            session=session,
            bars=self.market.bars_of(session),
            closes_x100={"2317": 50_00, "2330": 100_00},
            forecasts=told if place == 0 else {},
            sentiment_bps={},
            reference_x100={"2330": 98_00} if place == 2 else {},
        )
        ages = {symbol: SESSIONS[: place + 1].index(session) - SESSIONS.index(one.since or session) + 1
                for symbol, one in held.positions.items()}  # fmt: skip
        taken = decide(day, held, self.config.rules, self.config.costs, held_sessions=ages)
        self.journal.record_decision(taken, at(session))

    def _send(self) -> None:
        """2330 leaves; 2317 is held back."""
        for one in self.journal.orders.select():
            if one.order.symbol == "2330":
                self.journal.move(one.order.key, OrderState.SENDING, "", at(SESSIONS[0]))
                self.journal.move(one.order.key, OrderState.ACCEPTED, "resting", at(SESSIONS[0]))
            else:
                self.journal.move(one.order.key, OrderState.CANCELLED, "max_gross_bps", at(SESSIONS[0]))

    def _fill(self, price_x100: int) -> None:
        [one] = self.journal.orders.select(OrderState.ACCEPTED)
        order = one.order
        fill = Fill(
            key=order.key, symbol="2330", session=SESSIONS[1], shares=order.shares, price_x100=price_x100,
            commission_twd=self.config.costs.commission_of(price_x100, order.shares), tax_twd=0,
        )  # fmt: skip
        fate = Fate(key=order.key, state=OrderState.FILLED, note="filled", fills=(fill,))
        self.journal.record_fate(fate, "book", at(SESSIONS[1]))

    def _adopt(self, session: date, clock: str = "18:00") -> None:
        one = Adjustment(
            symbol="2317",
            session=session,
            shares=1_000,
            price_x100=50_00,
            commission_twd=71,
            tax_twd=0,
            reason="a gift",
        )
        self.journal.adopt(one, at(session, clock))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    made = Account(tmp_path)
    yield made
    made.db.close()


def test_the_book_is_the_same_to_the_dollar_with_what_is_outside_named(account: Account) -> None:
    account.live()
    told = account.parity()
    assert told.fill_rule == "range"
    assert told.first_difference == ""
    assert [day.replayed_twd for day in told.days] == [
        CASH_TWD,
        *[CASH_TWD - BOUGHT_TWD] * 2,
        CASH_TWD - BOUGHT_TWD + DIVIDEND_TWD,
        *[CASH_TWD - BOUGHT_TWD + DIVIDEND_TWD - 50_071] * 2,
    ]
    assert dict(told.days[-1].replayed_shares) == {"2317": 1_000, "2330": 189_000}
    assert told.hashes[0] == told.hashes[1]
    held_back, taken_in = told.outside
    assert held_back.startswith(f"forecast_edge:{SESSIONS[0]}:2317:buy:1 cancelled: max_gross_bps")
    assert taken_in == f"{SESSIONS[4]} 2317: +1,000 shares taken in: a gift"


def test_what_is_taken_in_after_a_decision_counts_from_the_next_one_on(account: Account) -> None:
    account.late = True  # the next morning, for the day on which the shares were first seen
    account.live()
    told = account.parity()
    assert told.first_difference == ""
    assert told.hashes[0] == told.hashes[1]
    before = CASH_TWD - BOUGHT_TWD + DIVIDEND_TWD
    assert [day.replayed_twd for day in told.days[-2:]] == [before, before - 50_071 - 5]
    assert len(told.outside) == 3


def test_a_fill_at_another_price_than_the_rules_is_found_where_it_happened(account: Account) -> None:
    account.live(fill_price_x100=99_99)
    # 189,000 shares at 0.01 less cost NT$1,890 less; the commission is 26,929 (18,898,110 x 0.1425 %, cut)
    assert account.parity().first_difference == (
        f"{SESSIONS[1]} cash: NT$81,074,961 in the journal, NT$81,073,068 in the replay (NT$+1,893)"
    )


def test_dividends_that_the_config_does_not_know_are_a_difference(account: Account) -> None:
    account.live()
    account.config = config(account.config.store.path.parent, broker={"dividends": "unpaid"})
    assert account.parity().first_difference.startswith(f"{SESSIONS[3]} cash: NT$81,451,068 in the journal")


def test_a_bar_that_was_changed_since_is_named(account: Account) -> None:
    account.live()
    account.db.execute("update bars set close_x100 = 4950 where symbol = '2317' and session = ?", [str(SESSIONS[2])])
    account.db.conn.commit()
    assert f"{SESSIONS[2]} 2317: decided on a close of 50.00; stored now is 49.50" in account.parity().outside


def test_what_can_not_be_played_again_is_said(account: Account) -> None:
    account.live()
    other = dataclasses.replace(account.config, broker=dataclasses.replace(account.config.broker, kind="stock_api"))
    with pytest.raises(Refused, match="the journal of a paper account, and the config names stock_api"):
        replay_account(account.db, other, [SHIPPED])
    account.db.execute("delete from bars where session = ?", [str(SESSIONS[2])])
    account.db.conn.commit()
    with pytest.raises(Refused, match=f"no bars of {SESSIONS[2]} are stored"):
        account.parity()
    account.db.execute("update account set broker = 'shioaji'")
    account.db.conn.commit()
    real = dataclasses.replace(account.config, broker=dataclasses.replace(account.config.broker, kind="shioaji"))
    assert "no fill rule tells its book" in replay_account(account.db, real, [SHIPPED]).outside[0]
