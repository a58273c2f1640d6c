"""The invented market keeps Taiwan's rules, is the same from the same seed, and its headlines mean something."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from math import log
from statistics import correlation

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_market import START

from bot.errors import Refused
from bot.sandbox.generator import GeneratedMarket
from bot.sandbox.news import NewsDesk

MARKET = GeneratedMarket(7, START)


def tick_x100(price_x100: int) -> int:
    """The tick table as TWSE prints it, written down a second time on purpose."""
    for below, tick in ((10_00, 1), (50_00, 5), (100_00, 10), (500_00, 50), (1000_00, 100)):
        if price_x100 < below:
            return tick
    return 500


def test_it_is_the_owners_companies() -> None:
    assert len(MARKET.companies) == 41
    tsmc, kenmec = MARKET.companies["2330"], MARKET.companies["6125"]
    assert (tsmc.name, tsmc.board) == ("台積電", "twse")
    assert (kenmec.name, kenmec.board) == ("廣運", "tpex")


def test_most_stocks_go_ex_once_a_summer_the_same_for_the_same_seed() -> None:
    events = [event for code in MARKET.companies for event in MARKET.ex_events(code)]
    again = GeneratedMarket(7, START)
    assert events == [event for code in again.companies for event in again.ex_events(code)]
    assert len(events) >= len(MARKET.companies)
    for event in events:
        assert 7 <= event.ex_date.month <= 9
        assert (
            0.0095 * event.previous_x100 - 1 <= event.previous_x100 - event.reference_x100 <= 0.04 * event.previous_x100
        )
        assert not event.reduction


def test_there_is_history_before_the_start_and_a_year_after_it() -> None:
    assert sum(session < START.date() for session in MARKET.sessions) >= 120
    assert sum(session > START.date() for session in MARKET.sessions) >= 240


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(list(MARKET.companies)))
def test_bars_are_on_tick_and_inside_the_limit(seed: int, code: str) -> None:
    market = GeneratedMarket(seed, START, [code], first=START.date(), last=START.date() + timedelta(days=200))
    quotes = [quote for quote in market.quotes(code).values() if quote.traded]
    events = {event.ex_date: event for event in market.ex_events(code)}
    for before, quote in pairwise(quotes):
        if any(before.session < day < quote.session for day in events):
            continue  # went ex on a day on which it did not trade
        assert quote.ex is (quote.session in events)
        reference_x100 = events[quote.session].reference_x100 if quote.ex else before.close_x100
        assert not quote.ex or events[quote.session].previous_x100 == before.close_x100
        prices = (quote.open_x100, quote.high_x100, quote.low_x100, quote.close_x100)
        assert quote.low_x100 == min(prices)
        assert quote.high_x100 == max(prices)
        for price in prices:
            assert price % tick_x100(price) == 0
            assert abs(price - reference_x100) * 10 <= reference_x100
        assert quote.change_x100 == quote.close_x100 - reference_x100
        assert quote.volume_shares >= 1_000
        assert quote.low_x100 * quote.volume_shares // 100 <= quote.turnover_twd
        assert quote.turnover_twd <= quote.high_x100 * quote.volume_shares // 100
        assert quote.trades >= 1


def test_the_same_seed_makes_the_same_market_and_another_another() -> None:
    again, other = GeneratedMarket(7, START), GeneratedMarket(8, START)
    assert again.quotes("2330") == MARKET.quotes("2330")
    assert NewsDesk(again, 7).about("2330", again.sessions[0]) == NewsDesk(MARKET, 7).about("2330", again.sessions[0])
    assert other.quotes("2330") != MARKET.quotes("2330")


def test_a_stock_alone_is_as_it_is_among_others() -> None:
    assert GeneratedMarket(7, START, ["2330"]).quotes("2330") == MARKET.quotes("2330")


def test_now_and_then_a_thin_stock_does_not_trade() -> None:
    untraded = [quote for code in MARKET.companies for quote in MARKET.quotes(code).values() if not quote.traded]
    assert 0 < len(untraded) < 200
    assert {quote.volume_shares for quote in untraded} == {0}


def test_scheduled_holidays_are_closed_and_one_weekday_a_year_surprises() -> None:
    closed = MARKET.holidays(2025)
    assert closed[date(2025, 1, 28)] == "農曆春節"
    assert not set(closed) & set(MARKET.sessions)
    surprises = []
    for seed in range(20):
        market = GeneratedMarket(seed, START, first=date(2025, 1, 1), last=date(2025, 12, 31))
        weekdays = {date(2025, 1, 1) + timedelta(days=day) for day in range(365)}
        weekdays = {day for day in weekdays if day.weekday() < 5}
        unscheduled = weekdays - set(market.holidays(2025)) - set(market.sessions)
        assert len(unscheduled) <= 1
        surprises += unscheduled
    assert len(surprises) >= 10


def test_headlines_tell_of_the_next_sessions_and_not_only_of_the_last() -> None:
    desk = NewsDesk(MARKET, 7)
    moods, following, before = [], [], []
    for code in MARKET.companies:
        quotes = list(MARKET.quotes(code).values())
        closes = [quote.close_x100 or quote.low_x100 for quote in quotes]
        for index in range(1, len(quotes) - 3):
            stories = desk.about(code, quotes[index].session)
            if stories and min(closes[index - 1 : index + 4]) > 0:
                moods.append(float(stories[0].mood))
                following.append(log(closes[index + 3] / closes[index]))
                before.append(log(closes[index] / closes[index - 1]))
    assert len(moods) > 5_000
    assert correlation(moods, following) > 0.3
    assert abs(correlation(moods, before)) < 0.1


def test_headlines_leave_after_the_close_and_in_time_for_the_evening() -> None:
    desk = NewsDesk(MARKET, 7)
    stories = [story for code in MARKET.companies for day in MARKET.sessions[:50] for story in desk.about(code, day)]
    clocks = {f"{story.published_at:%H:%M}" for story in stories}
    assert "14:05" <= min(clocks) < max(clocks) < "16:51"
    assert {story.language for story in stories} == {"zh", "en"}
    assert all(story.code in story.title for story in stories)


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(Refused, match="unknown stock 9999"):
        GeneratedMarket(7, START, ["2330", "9999"])
    with pytest.raises(Refused, match="2015 to 2030"):
        GeneratedMarket(7, START.replace(year=2040))
