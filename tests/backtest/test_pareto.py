"""The front against its definition, point by point."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtest.pareto import front

# Few different values, so that ties of every kind come up.
POINTS = st.lists(st.tuples(*(st.integers(0, 5) for _ in range(3))), max_size=60)


def on_the_front(point: tuple[int, int, int], points: list[tuple[int, int, int]]) -> bool:
    gain, fall, turnover = point
    return not any(
        other[0] >= gain and other[1] <= fall and other[2] <= turnover and other != point for other in points
    )


@given(points=POINTS)
def test_the_front_is_what_no_other_point_beats(points: list[tuple[int, int, int]]) -> None:
    columns = np.array(points, dtype=float).reshape(-1, 3)
    found = front(columns[:, 0], columns[:, 1], columns[:, 2]).tolist()
    assert found == [place for place, point in enumerate(points) if on_the_front(point, points)]


def test_a_front_worked_out_by_hand() -> None:
    gain, fall, turnover = [0.10, 0.10, 0.05, 0.20, 0.01], [0.2, 0.1, 0.1, 0.3, 0.05], [5.0, 5.0, 6.0, 9.0, 9.0]
    # 0 loses to 1 (less fall), 2 loses to 1 (more gain, less turnover); 1, 3 and 4 each have the best of something.
    assert front(np.array(gain), np.array(fall), np.array(turnover)).tolist() == [1, 3, 4]
