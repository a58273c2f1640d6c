"""The sets that no other set beats in everything: more return, less drawdown, less turnover."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

import numpy as np
import numpy.typing as npt


def front(gain: Any, *pains: Any) -> npt.NDArray[np.int64]:
    """The places of the points that are on the Pareto front, in their order: `gain` is wanted, two `pains` are not.

    A point is off the front when another is at least as good in all three and better in one; equal points stay
    together. A NaN is refused by no comparison, so it must not be among them.
    """
    drawdown, turnover = pains
    order = np.lexsort((turnover, drawdown, -np.asarray(gain)))
    stairs = _Stairs()
    kept = []
    before: tuple[float, float, float] | None = None
    for place in order:
        point = float(gain[place]), float(drawdown[place]), float(turnover[place])
        if point == before:
            kept.append(int(place))
            continue
        # All that stand before have at least our gain: one of them that is as good in both pains beats us.
        if stairs.covers(point[1], point[2]):
            continue
        stairs.add(point[1], point[2])
        kept.append(int(place))
        before = point
    return np.array(sorted(kept), dtype=np.int64)


class _Stairs:
    """The lowest points seen in two dimensions: as x grows, y falls."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def covers(self, x: float, y: float) -> bool:
        """Whether a point seen is at most x and at most y."""
        place = bisect_right(self._points, (x, float("inf")))
        return place > 0 and self._points[place - 1][1] <= y

    def add(self, x: float, y: float) -> None:
        """A point that is not covered; those that it covers go."""
        place = bisect_right(self._points, (x, y))
        last = place
        while last < len(self._points) and self._points[last][1] >= y:
            last += 1
        del self._points[place:last]
        insort(self._points, (x, y))
