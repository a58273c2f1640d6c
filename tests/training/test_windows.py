"""Windows: the live question to the letter, answers that came true, nothing over holes or missing ex-dates."""

from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from builders import SHARED, at, bar, config, days
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_market import MarketStore
from bot.core.exrights import ExRight, adjusted
from bot.core.market import Bar, from_x100, limit_pct, to_x100
from bot.core.prompt import COLUMNS, FIELDS, question_text, read_forecast
from bot.errors import Refused
from bot.price_files import read_csv, references_beside
from bot.stages.forecast import questions_of
from bot.universe import owners_companies
from bot.wiring import open_ports
from training.market_data import market_in_folder, market_in_store
from training.windows import Stock, Window, window_of

needs_bars = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
MONDAY = date(2025, 3, 3)


def stock(bars: list[Bar], *events: ExRight, places: list[int] | None = None, reach: int = 100) -> Stock:
    return Stock(
        symbol="2330", name="台積電", bars=bars, places=places or list(range(len(bars))), events=events, reach=reach
    )


def closing(*closes: str, first: date = MONDAY) -> list[Bar]:
    return [bar(close, session=day) for close, day in zip(closes, days(first, len(closes)), strict=True)]


def ex_date(day: date, previous: int, reference: int) -> ExRight:
    return ExRight(
        symbol="2330", ex_date=day, kind="dividend", previous_x100=previous, reference_x100=reference,
        source="test", known_at=at(day),
    )  # fmt: skip


def test_an_answer_over_an_ex_date_counts_from_the_reference_price() -> None:
    # 100, 100 | ex-date, reference 90: 90, 99. From 90 to 99 is +10 %, the limit: 999. The fall to 90 is no fall: 500.
    bars = closing("100", "100", "90", "99")
    told = stock(bars, ex_date(bars[2].session, 100_00, 90_00))
    assert told.answer(1, Window(2, 2)) == "500500500500\n999999999999\n"
    # Asked on the eve, nothing has happened yet: the question tells the prices of that day.
    assert "close 100 on" in told.question(1, Window(2, 2), columns=FIELDS)
    assert told.move_x100(1, 2) == (90_00, 99_00)
    assert list(told.windows(Window(2, 2))) == [1]


def test_the_same_fall_without_an_ex_date_is_no_window() -> None:
    # 100 -> 88: no session may do that, so an ex-date or a session is missing there.
    bars = closing("100", "100", "88", "88", "88")
    assert list(stock(bars).windows(Window(1, 1))) == [0, 2, 3]
    assert list(stock(bars).windows(Window(2, 1))) == [3]


def test_no_window_reaches_over_a_hole() -> None:
    bars = closing("100", "100", "100", "100", "100")
    with_hole = stock(bars, places=[0, 1, 2, 7, 8])
    assert list(with_hole.windows(Window(2, 1))) == [1]
    assert list(with_hole.windows(Window(1, 1))) == [0, 1, 3]


def test_no_answer_reaches_over_the_day_the_limit_became_ten_percent() -> None:
    bars = closing("100", "100", "100", "100", first=date(2015, 5, 28))  # Thursday; 10 % since Monday, June 1
    assert list(stock(bars).windows(Window(1, 1))) == [0, 2]


@pytest.mark.parametrize("text", ["5", "5:", ":5", "0:5", "5:0", "a:b", "5:5:5", "-1:2", "1001:1"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is no window"):
        window_of(text)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Bar], list[ExRight]]:
    """A stock's bars around 2015-06-01 with ex-dates among them; some sessions are missing."""
    count = draw(st.integers(4, 40))
    every = days(date(2015, 5, 4), count)
    close, bars, events = draw(st.integers(50_00, 900_00)), [], []
    for day in every:
        if bars and draw(st.integers(0, 7)) == 0:
            reference = close * draw(st.integers(80, 110)) // 100
            events.append(ex_date(day, close, reference))
            close = reference
        close = max(10_00, close * draw(st.integers(930, 1070)) // 1000)
        top, low = close * 101 // 100, close * 99 // 100
        one = Bar(
            symbol="2330", session=day, open=from_x100(draw(st.integers(low, top))), high=from_x100(top),
            low=from_x100(low), close=from_x100(close), volume_shares=draw(st.integers(0, 10**7)),
        )  # fmt: skip
        if draw(st.integers(0, 9)):
            bars.append(one)
    return bars or [one], events


@settings(max_examples=60)
@given(histories(), st.integers(1, 8), st.integers(1, 4), st.sets(st.sampled_from(COLUMNS), min_size=1), st.booleans())
def test_every_question_is_the_live_question(told, past, future, columns, masked) -> None:
    bars, events = told
    window, chosen = Window(past, future), tuple(one for one in COLUMNS if one in columns)
    ours = stock(bars, *events, reach=past + future)
    for asked in range(past - 1, len(bars)):
        session = bars[asked].session
        # What bot/stages/forecast.py does with the stored bars of that evening, all of them and no later one.
        live = adjusted(bars[: asked + 1], events, session)[-past:]
        expected = question_text("台積電", live, context=("營收創高",), masked=masked, columns=chosen)
        assert ours.question(asked, window, context=("營收創高",), masked=masked, columns=chosen) == expected


@settings(max_examples=60)
@given(histories(), st.integers(1, 8), st.integers(1, 4))
def test_a_question_does_not_change_with_what_comes_after_it(told, past, future) -> None:
    bars, events = told
    ours = stock(bars, *events, reach=past + future)
    for asked in range(past - 1, len(bars)):
        known = [one for one in events if one.ex_date <= bars[asked].session]
        then = stock(bars[: asked + 1], *known, reach=past + future)
        assert ours.question(asked, Window(past, future), columns=FIELDS) == then.question(
            asked, Window(past, future), columns=FIELDS
        )


@needs_bars
def test_real_answers_read_back_as_the_bars_that_came_true() -> None:
    [company] = [one for one in owners_companies() if one.symbol == "2330"]
    market = market_in_folder(SHARED / "prices", [company], date(2024, 1, 2), date(2024, 12, 31), 25)
    [ours] = market.stocks
    window, checked = Window(20, 5), 0
    ex_dates = [event.ex_date for event in ours.events]
    for asked in ours.windows(window):
        coming = ours.bars[asked + 1 : asked + 6]
        if any(coming[0].session <= day <= coming[-1].session for day in ex_dates):
            continue
        read = read_forecast(ours.answer(asked, window), ours.bars[asked])
        assert [(one.open, one.high, one.low, one.close) for one in read] == [
            (one.open, one.high, one.low, one.close) for one in coming
        ]
        checked += 1
    assert checked > 150
    assert len(ex_dates) == 4  # 2330 pays four times a year


@needs_bars
def test_the_daemon_asks_the_same_from_its_database(tmp_path: Path) -> None:
    codes = ("2330", "2317")
    companies = [one for one in owners_companies() if one.symbol in codes]
    ours = config(
        tmp_path,
        store={"path": "t.db"},
        universe={"file": "u.json"},
        model={"engine": "naive"},
        history={"sessions": 60},
        broker={"kind": "paper"},
    )
    (tmp_path / "u.json").write_text('[{"code": "2330"}, {"code": "2317"}]', encoding="utf-8")
    first, last = date(2024, 5, 2), date(2024, 9, 30)
    with open_ports(ours) as ports:
        _fill(ports.market.db, codes, first, last)
        market = market_in_store(ours.store.path, companies, first, last, 25)
        by_code = {one.symbol: one for one in market.stocks}
        asked = 0
        for session in market.sessions[19::3]:
            for question in questions_of(session, ports, ours):
                stock_ = by_code[question.company.symbol]
                place = [one.session for one in stock_.bars].index(session)
                live = question_text(question.company.name, question.bars)
                assert stock_.question(place, Window(20, 5), columns=FIELDS) == live
                asked += 1
        assert asked > 40
        assert any(one.events for one in market.stocks)  # both went ex that summer


def _fill(db: object, codes: tuple[str, ...], first: date, last: date) -> None:
    """The real bars and ex-dates of `codes` in the daemon's own tables."""
    from builders import checked as through_the_gate

    for code in codes:
        reading = read_csv(SHARED / "prices" / f"{code}.csv")
        rows = [row for row in reading.rows if first <= row.session <= last]
        bars = [
            Bar(
                symbol=code, session=row.session, open=from_x100(row.open_x100), high=from_x100(row.high_x100),
                low=from_x100(row.low_x100), close=from_x100(row.close_x100), volume_shares=row.volume_shares,
            )
            for row in rows
        ]  # fmt: skip
        for one in bars:
            MarketStore(db).add_bars(through_the_gate(one), at(one.session))
        closes = {later.session: earlier.close for earlier, later in pairwise(bars)}
        events = [
            ExRight(
                symbol=code, ex_date=day, kind="dividend", previous_x100=to_x100(closes[day]),
                reference_x100=reference, source="test", known_at=at(day),
            )
            for (_, day), reference in references_beside(SHARED / "prices", rows).items()
        ]  # fmt: skip
        ExRightStore(db).keep(events, kind="dividend", symbols={code}, first=first, last=last, known_at=at(last))


@needs_bars
def test_no_real_window_holds_a_code_that_was_cut_off_at_the_limit() -> None:
    companies = [one for one in owners_companies() if one.symbol in {"6125", "6579", "6669"}]
    market = market_in_folder(SHARED / "prices", companies, date.min, date.max, 25)
    for ours in market.stocks:
        for asked in ours.windows(Window(20, 5)):
            read = ours.bars[asked - 19 : asked + 6]
            assert (read[-1].session - read[0].session).days < 50  # 25 sessions, the Lunar New Year among them
            pct = Decimal(limit_pct(read[-1].session)) / 100
            for before, after in pairwise(read):
                if after.session not in {event.ex_date for event in ours.events}:
                    assert abs(after.close / before.close - 1) < pct + Decimal("0.005")
