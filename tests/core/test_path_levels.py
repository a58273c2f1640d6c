"""The paths along which bands are read: what a drawing would only give on average, they have exactly or nearly."""

from __future__ import annotations

from statistics import NormalDist, fmean

import pytest

from bot.core.path_levels import path_levels

SCORE = NormalDist().inv_cdf
COUNTS = (8, 16, 32)


@pytest.mark.parametrize("paths", [2, 3, *COUNTS])
def test_in_each_session_each_level_is_taken_once(paths: int) -> None:
    columns = [sorted(column) for column in zip(*path_levels(paths, 20), strict=True)]

    assert all(column == columns[0] for column in columns)
    assert [round(low + high, 9) for low, high in zip(columns[0], columns[0][::-1], strict=True)] == [1.0] * paths
    assert fmean(SCORE(one) ** 2 for one in columns[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("paths", COUNTS)
def test_after_any_number_of_sessions_paths_lie_as_far_apart_as_independent_steps(paths: int) -> None:
    """The sum of k independent standard normals has variance k, and its fourth moment is 3 k^2."""
    scores = [[SCORE(level) for level in path] for path in path_levels(paths, 60)]

    for count in range(2, 61):
        sums = [sum(path[:count]) / count**0.5 for path in scores]
        assert fmean(sums) == pytest.approx(0.0, abs=1e-9)
        assert fmean(one**2 for one in sums) == pytest.approx(1.0, abs=0.06)
        assert fmean(one**4 for one in sums) == pytest.approx(3.0, abs=0.35)


def test_longer_windows_begin_with_the_paths_of_shorter_ones() -> None:
    assert path_levels(8, 3) == tuple(path[:3] for path in path_levels(8, 20))


@pytest.mark.parametrize(("paths", "sessions"), [(1, 5), (0, 5), (8, 0)])
def test_what_stands_for_nothing_is_refused(paths: int, sessions: int) -> None:
    with pytest.raises(ValueError, match="stand for nothing"):
        path_levels(paths, sessions)
