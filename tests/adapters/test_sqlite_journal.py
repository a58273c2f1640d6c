"""The journal keeps every step and never forgets or doubles one."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from builders import FRIDAY, RATES, REPO, THURSDAY, at, bar, checked, forecast

from bot.adapters.sqlite_journal import EquityPoint, Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database, writing
from bot.adapters.sqlite_stages import StageRun
from bot.config_file import load_config
from bot.core.decide import Decision, MarketDay, decide
from bot.core.forecast import Article, Sentiment
from bot.core.orders import Fill, OrderState
from bot.core.portfolio import Portfolio
from bot.core.settle import Fate, Settlement
from bot.errors import Refused

RULES = load_config(REPO / "config.toml").rules


@pytest.fixture
def db(tmp_path: Path) -> Any:
    return open_database(tmp_path / "twtrader.db")


def decision() -> Decision:
    """2330 at 100 with a forecast of 105: one purchase of 190 lots (95 M x 20 % = 19 M, less the commission)."""
    day = MarketDay(
        session=THURSDAY,
        bars={"2330": bar("100")},
        closes_x100={"2330": 100_00},
        forecasts={"2330": forecast("105")},
        sentiment_bps={},
    )
    return decide(day, Portfolio(cash_twd=100_000_000), RULES, RATES)


def settled(*fates: Fate) -> Settlement:
    """A settlement that leaves one lot of 2317 unexplained."""
    return Settlement(fates=fates, unexplained={"2317": 1_000})


def test_a_decision_is_recorded_once(db: Any) -> None:
    journal = Journal(db)
    journal.record_decision(decision(), at(THURSDAY))
    journal.record_decision(decision(), at(FRIDAY))
    [planned] = journal.orders.select()
    # equity 100 M, 95 % of it over 5 slots = 19 M; 190 lots cost 19,000,000 + 27,075 > 19 M, so 189
    assert (planned.order.shares, planned.state, planned.note) == (
        189_000, OrderState.PLANNED, "forecast pays after costs",
    )  # fmt: skip
    assert journal.decision_sha256(THURSDAY) == decision().sha256


def test_an_illegal_step_is_refused_and_changes_nothing(db: Any) -> None:
    journal = Journal(db)
    journal.record_decision(decision(), at(THURSDAY))
    [key] = [one.order.key for one in journal.orders.select()]
    with pytest.raises(ValueError, match="can't go from planned to accepted"):
        journal.move(key, OrderState.ACCEPTED, "", at(FRIDAY))
    with pytest.raises(ValueError, match="what filled it must be booked with it"):
        journal.move(key, OrderState.FILLED, "", at(FRIDAY))
    assert journal.orders.select()[0].state is OrderState.PLANNED
    with pytest.raises(KeyError):
        journal.move("none", OrderState.SENDING, "", at(FRIDAY))


def test_settlement_is_all_or_nothing(db: Any) -> None:
    journal = Journal(db)
    journal.open_account("paper", 100_000_000, "", at(THURSDAY))
    journal.record_decision(decision(), at(THURSDAY))
    [key] = [one.order.key for one in journal.orders.select()]
    journal.move(key, OrderState.SENDING, "", at(THURSDAY))
    journal.move(key, OrderState.ACCEPTED, "", at(THURSDAY))
    fill = Fill(key=key, symbol="2330", session=FRIDAY, shares=189_000, price_x100=100_00, commission_twd=26_932,
                tax_twd=0)  # fmt: skip
    filled = Fate(key=key, state=OrderState.FILLED, note="", fills=(fill,))
    with pytest.raises(ValueError, match="can't go from accepted to planned"):
        journal.settle(FRIDAY, settled(filled, Fate(key=key, state=OrderState.PLANNED, note="")), at(FRIDAY))
    assert journal.orders.select()[0].state is OrderState.ACCEPTED
    assert journal.orders.fills() == []
    assert journal.unexplained() == {}
    assert journal.settle(FRIDAY, settled(filled), at(FRIDAY)) == ["unexplained +1 lot 2317"]
    assert journal.unexplained() == {"2317": 1_000}
    assert journal.portfolio().cash_twd == 100_000_000 - 18_900_000 - 26_932
    assert journal.portfolio().shares_of("2330") == 189_000


def test_a_database_belongs_to_one_account(db: Any) -> None:
    journal = Journal(db)
    journal.open_account("stock_api", 100, "https://real", at(THURSDAY))
    journal.open_account("stock_api", 100, "https://real", at(FRIDAY))
    with pytest.raises(Refused, match="a stock_api account opened with NT\\$100"):
        journal.open_account("paper", 100, "", at(FRIDAY))
    with pytest.raises(Refused, match="the account at https://real; the config says http://sandbox"):
        journal.open_account("stock_api", 100, "http://sandbox", at(FRIDAY))


def test_stages_equity_and_surprises_are_kept_once(db: Any) -> None:
    journal = Journal(db)
    for outcome in ("waiting", "done"):
        journal.stages.record(
            StageRun(session=THURSDAY, stage="prices", started_at=at(THURSDAY), duration_s=1.5, outcome=outcome,
                     detail="x")
        )  # fmt: skip
    run = journal.stages.find(THURSDAY, "prices")
    assert run is not None
    assert run.final
    assert [one.outcome for one in journal.stages.last()] == ["done"]
    for value in (1, 2):
        journal.record_equity(EquityPoint(session=THURSDAY, cash_twd=5, value_twd=value))
        journal.record_surprises(THURSDAY, ["unexplained +1 lot"], at(THURSDAY))
    assert [point.equity_twd for point in journal.equity()] == [7]
    assert journal.surprises() == [(THURSDAY, "unexplained +1 lot")]


def test_bars_come_back_exactly_and_are_never_rewritten(db: Any) -> None:
    market = MarketStore(db)
    told = bar("100.5", open="99.9", high="101", low="99.9")
    assert market.add_bars(checked(told), at(THURSDAY)) == 1
    assert market.add_bars(checked(bar("7")), at(FRIDAY)) == 0
    assert market.bars("2330", until=FRIDAY) == [told]
    assert market.bars("2330", until=THURSDAY.replace(day=1)) == []
    assert market.last_closes(["2330", "2317"], until=FRIDAY) == {"2330": 100_50}
    assert market.session_after(THURSDAY) is None


def test_a_headline_is_seen_only_after_both_moments(db: Any) -> None:
    market = MarketStore(db)
    article = Article(
        symbol="2330", title="好消息", url="u", source="s", language="zh",
        published_at=at(THURSDAY, "09:00"), fetched_at=at(THURSDAY, "17:00"),
    )  # fmt: skip
    assert market.add_articles([article, article]) == 1
    since = at(THURSDAY.replace(day=1))
    assert market.articles("2330", since=since, known_at=at(THURSDAY, "16:59")) == []
    assert market.articles("2330", since=since, known_at=at(THURSDAY, "17:00")) == [article]
    mood = Sentiment(positive=0.7, neutral=0.2, negative=0.1)
    market.add_sentiments("m", {"好消息": mood}, at(THURSDAY))
    assert market.sentiments(["好消息", "x"], model="m") == {"好消息": mood}
    assert market.newest_sentiments(5) == [(article, mood)]


def test_a_forecast_is_stored_once_and_comes_back(db: Any) -> None:
    market = MarketStore(db)
    market.add_forecasts([forecast("105")], at(THURSDAY))
    market.add_forecasts([forecast("1")], at(FRIDAY))
    found = market.forecasts(as_of=THURSDAY, model="test", past_sessions=20, future_sessions=1)
    assert found == {"2330": forecast("105")}
    assert market.model_of(THURSDAY, 20, 1) == "test"
    assert market.model_of(THURSDAY, 20, 5) is None
    assert market.newest_forecasts() == [forecast("105")]


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, not at all, and long enough" * 40)
    with pytest.raises(Refused, match="not a database"):
        open_database(tmp_path / "x.db")
    with pytest.raises(Refused, match="no such database"):
        open_database(tmp_path / "y.db", create=False)


def test_who_writes_takes_the_right_to_at_once(tmp_path: Path) -> None:
    """A command that reads, then writes, while the daemon writes too must wait for it and not fail."""
    one, other = open_database(tmp_path / "x.db"), open_database(tmp_path / "x.db")
    other.execute("pragma busy_timeout = 0")
    with writing(one), pytest.raises(sqlite3.OperationalError, match="database is locked"), writing(other):
        pytest.fail("both write")
    row = {"symbol": "2330", "name": "x", "board": "twse"}
    with pytest.raises(sqlite3.IntegrityError), writing(one):
        one["companies"].insert_all([row, row])
    with writing(other):
        assert other["companies"].count == 0
