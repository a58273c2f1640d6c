"""The count of what was tried: it only grows, and nothing counts twice."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import THURSDAY, at
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest.trials import Trial, Trials, TriedOn, record_trials, set_id, tried
from bot.adapters.sqlite_open import open_database

NOW = at(THURSDAY)


def tape(sha256: str = "a", since: date = date(2024, 1, 2), until: date = date(2024, 6, 28)) -> TriedOn:
    return TriedOn(sha256=sha256, strategy="forecast_edge", since=since, until=until)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    opened = open_database(tmp_path / "twtrader.db")
    yield opened
    opened.close()


def test_nothing_tried_is_said_to_be_nothing(db: Any) -> None:
    nothing = Trials(count=0, with_sharpe=0, sharpe_mean=None, sharpe_variance=None)
    assert tried(db, strategy="forecast_edge") == nothing


def test_mean_and_variance_are_those_of_a_sample(db: Any) -> None:
    told = [Trial(set_id=1, sharpe=0.1), Trial(set_id=2, sharpe=0.2), Trial(set_id=3, sharpe=0.6)]
    assert record_trials(db, tape(), told, NOW) == 3
    found = tried(db, strategy="forecast_edge", sha256="a")
    assert (found.count, found.with_sharpe) == (3, 3)
    assert found.sharpe_mean == pytest.approx(0.3)
    assert found.sharpe_variance == pytest.approx((0.04 + 0.01 + 0.09) / 2)


def test_a_set_without_a_sharpe_ratio_was_tried_all_the_same(db: Any) -> None:
    record_trials(db, tape(), [Trial(set_id=1, sharpe=None), Trial(set_id=2, sharpe=float("nan"))], NOW)
    found = tried(db, strategy="forecast_edge")
    assert (found.count, found.with_sharpe, found.sharpe_variance) == (2, 0, None)


def test_the_same_set_again_is_no_new_trial(db: Any) -> None:
    record_trials(db, tape(), [Trial(set_id=1, sharpe=0.1)], NOW)
    assert record_trials(db, tape(), [Trial(set_id=1, sharpe=0.1), Trial(set_id=2, sharpe=0.3)], NOW) == 1
    assert tried(db, strategy="forecast_edge").count == 2


def test_days_that_overlap_count_together_and_a_set_on_both_counts_once(db: Any) -> None:
    record_trials(db, tape("a"), [Trial(set_id=1, sharpe=0.1), Trial(set_id=2, sharpe=0.2)], NOW)
    record_trials(db, tape("b", date(2024, 1, 3)), [Trial(set_id=2, sharpe=0.4), Trial(set_id=3, sharpe=0.3)], NOW)
    record_trials(db, tape("c", date(2024, 7, 1), date(2024, 12, 31)), [Trial(set_id=9, sharpe=0.9)], NOW)
    found = tried(db, strategy="forecast_edge", since=date(2024, 1, 2), until=date(2024, 6, 28))
    assert (found.count, found.with_sharpe) == (3, 4)
    assert tried(db, strategy="forecast_edge", since=date(2024, 6, 28), until=date(2024, 7, 1)).count == 4
    assert tried(db, strategy="forecast_edge", sha256="b").count == 2
    assert tried(db, strategy="another").count == 0


def test_a_sets_name_follows_from_its_knobs_alone() -> None:
    assert set_id("s", {"top_k": 5, "stop_bps": 8}) == set_id("s", {"stop_bps": 8, "top_k": 5})
    assert len({set_id("s", {"top_k": k, "stop_bps": stop}) for k in range(100) for stop in range(100)}) == 10_000
    assert set_id("s", {"top_k": 5}) != set_id("t", {"top_k": 5})
    assert 0 <= set_id("s", {"top_k": 5}) < 2**63


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.dictionaries(st.integers(0, 20), st.floats(-1, 1)), max_size=5))
def test_any_batches_in_any_order_leave_the_first_answer_of_each_set(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[int, float]]
) -> None:
    first: dict[int, float] = {}
    db = open_database(tmp_path_factory.mktemp("trials") / "t.db")
    for batch in batches:
        record_trials(db, tape(), [Trial(set_id=one, sharpe=sharpe) for one, sharpe in batch.items()], NOW)
        first = batch | first
    found = tried(db, strategy="forecast_edge")
    db.close()
    assert found.count == len(first)
    if len(first) > 1:
        assert found.sharpe_variance == pytest.approx(statistics.variance(first.values()), abs=1e-12)
