"""From the distribution of each coming close to bands and P(up): what a forecast says beside its median path. Pure.

A model tells a window bar by bar, and beside each close how probable each of the 1000 codes was. Those distributions
are told along the median path: each says where a close lies if the closes before it are the told ones. The steps are
taken as independent of each other: their returns, logarithms of close over close before, are added as independent
numbers. Where a model would go on differently after another close (a trend that feeds itself, wild days after a wild
day), a band is too narrow; where moves take each other back, too wide. mixture.py reads several paths and assumes no
such thing. How often closes did lie in their bands is measured, never corrected here.

numpy is imported with this module, and nothing that always runs imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bot.core.forecast import Band
from bot.core.market import (
    ceil_to_tick_x100,
    floor_to_tick_x100,
    from_x100,
    limit_down_x100,
    limit_up_x100,
    tick_x100,
)
from bot.core.prompt import CODES, STEPS, UNCHANGED

Floats = npt.NDArray[np.float64]

LOW: Final = 0.1  # the quantiles of a band
HIGH: Final = 0.9
P_UP_DIGITS: Final = 3  # beyond them is what a model's floats make of a prompt's neighbours
TOLERANCE: Final = 1e-9  # of probabilities that were added up
FINEST: Final = 1e-4  # cells of log return in which distributions are added; wider for windows of more sessions
WIDEST: Final = 10  # times FINEST
TICK_CHANGES_X100: Final = (10_00, 50_00, 100_00, 500_00, 1000_00)  # where market.tick_x100 may tell another tick
AT_ONCE: Final = 64  # windows added up together: their tables stay near the processor


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A told window: the close that it starts from, its closes, and what limits them. Prices in hundredths of a TWD."""

    last_x100: int
    closes_x100: tuple[int, ...]
    etf: bool
    pct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A band for each close of a window, and the probability that its last one is above the last known close."""

    bands: tuple[Band, ...]
    p_up: float


def outlooks(closes: npt.NDArray[Any], paths: Sequence[Path]) -> list[Outlook]:
    """What `closes` (windows x bars x 1000 probabilities of each close's code) come to along `paths`, in order.

    A band goes from the 10 % to the 90 % quantile of a close, as the nearest tradable prices; it lies inside the
    compounded daily limits and holds the told close. A window that ends exactly unchanged counts half as up; as prices
    come in ticks, "unchanged" is whatever is nearer to the last known close than to the ticks beside it.

    Raises:
        ValueError: the shapes don't fit, or a row is no distribution.
    """

    def work(some: Sequence[int]) -> Iterator[Outlook]:
        return _outlooks(np.asarray(closes[some], dtype=np.float64), [paths[place] for place in some])

    return by_rules(paths, work)


def by_rules(paths: Sequence[Path], work: Callable[[Sequence[int]], Iterable[Outlook]]) -> list[Outlook]:
    """What `work` says of all `paths`, in order; it gets AT_ONCE places at most, of the same ticks and limits."""
    groups: dict[tuple[bool, int], list[int]] = {}
    for place, one in enumerate(paths):
        groups.setdefault((one.etf, one.pct), []).append(place)
    found: dict[int, Outlook] = {}
    for places in groups.values():
        for at in range(0, len(places), AT_ONCE):
            some = places[at : at + AT_ONCE]
            found |= dict(zip(some, work(some), strict=True))
    return [found[place] for place in range(len(paths))]


def _outlooks(closes: Floats, paths: Sequence[Path]) -> Iterator[Outlook]:
    """As `outlooks`, all at once, of paths that count by the same ticks and limits."""
    bars, etf = len(paths[0].closes_x100), paths[0].etf
    if closes.shape != (len(paths), bars, CODES):
        raise ValueError(f"{closes.shape} is not {len(paths)} windows x {bars} bars x {CODES} codes")
    total = closes.sum(axis=-1, keepdims=True)
    if not (closes >= 0).all() or not (np.isfinite(total) & (total > 0)).all():
        raise ValueError("probabilities of codes that are no distribution")
    cell = FINEST * min(bars, WIDEST)
    before = np.array([(one.last_x100, *one.closes_x100[:-1]) for one in paths])
    told = np.array([one.closes_x100 for one in paths], dtype=np.float64)
    returns = np.log(tradable_x100(before, etf, paths[0].pct) / told[:, :, None])
    upto, first = _added(closes / total, returns / cell)
    lows, highs = (
        (told * np.exp(((upto < level - TOLERANCE).sum(axis=-1) + first) * cell)).tolist() for level in (LOW, HIGH)
    )
    for row, one in enumerate(paths):
        last = one.closes_x100[-1]
        edges = [log(edge / last) / cell - first[row, -1] for edge in _unchanged(one.last_x100, etf)]
        below, above = (_below(upto[row, -1], edge) for edge in edges)
        yield Outlook(
            bands=tuple(bands_between(one, lows[row], highs[row])),
            p_up=round(min(max(1 - (below + above) / 2, 0.0), 1.0), P_UP_DIGITS),
        )


def tradable_x100(before_x100: npt.NDArray[np.int64], etf: bool, pct: int) -> Floats:  # noqa: FBT001
    """prompt.price_of_x100 of all 1000 codes from each close before: one more axis."""
    exact = before_x100[..., None] * (100 * STEPS + (np.arange(CODES) - UNCHANGED) * pct) / (100 * STEPS)
    tick = np.full_like(exact, tick_x100(0, etf))
    for change in TICK_CHANGES_X100:
        tick[exact >= change] = tick_x100(change, etf)
    lowest, highest = (
        np.array([limit(one, etf, pct) for one in before_x100.ravel().tolist()]).reshape(*before_x100.shape, 1)
        for limit in (limit_down_x100, limit_up_x100)
    )
    prices: Floats = np.clip(np.ceil(exact / tick - 0.5) * tick, lowest, highest)  # a tie is the price below
    prices[..., :1], prices[..., -1:] = lowest, highest
    return prices


def _added(shares: Floats, returns: Floats) -> tuple[Floats, Floats]:
    """How probable it is that the sum of the first bars' returns is in a cell or below it: windows x bars x cells.

    `returns` are in cells, seen from the told close, which is exactly 0 and stands in cell 0: `first` (windows x bars)
    is the number of the first cell. A return between two cells is shared out between them, so that its mean stays.
    """
    rows, bars, _ = shares.shape
    down = np.floor(returns)
    lowest = down[:, :, :1]
    places = (down - lowest).astype(np.int64)
    width = int(places.max()) + 2
    cells = 1 << (bars * (width - 1)).bit_length()
    places += np.arange(rows * bars).reshape(rows, bars, 1) * width
    upper = shares * (returns - down)
    size = rows * bars * width
    masses = np.bincount(places.ravel(), (shares - upper).ravel(), size)
    masses += np.bincount(places.ravel() + 1, upper.ravel(), size)
    waves = np.fft.rfft(masses.reshape(rows, bars, width), cells)
    sums = np.fft.irfft(np.cumprod(waves, axis=1), cells)
    return np.cumsum(sums, axis=-1), np.cumsum(lowest[:, :, 0], axis=1)


def _below(upto: Floats, edge: float) -> float:
    """The probability below `edge`, a place among the cells, when what is in a cell lies evenly around its middle."""
    place = edge + 0.5
    cell = int(np.floor(place))
    if cell < 0 or cell >= len(upto):
        return 0.0 if cell < 0 else 1.0
    before = float(upto[cell - 1]) if cell else 0.0
    return before + float(place - cell) * (float(upto[cell]) - before)


def _unchanged(last_x100: int, etf: bool) -> tuple[float, float]:  # noqa: FBT001
    """Between which prices a close counts as `last_x100`: half-way to the ticks beside it."""
    below = floor_to_tick_x100(last_x100 - 1, etf) if last_x100 > 1 else 0
    return (last_x100 + below) / 2, (last_x100 + ceil_to_tick_x100(last_x100 + 1, etf)) / 2


def bands_between(path: Path, lows: Sequence[float], highs: Sequence[float]) -> Iterator[Band]:
    """The bands between `lows` and `highs`, prices in hundredths of a TWD that no tick or limit has bound yet."""
    lowest = highest = path.last_x100
    for close, low, high in zip(path.closes_x100, lows, highs, strict=True):
        lowest, highest = limit_down_x100(lowest, path.etf, path.pct), limit_up_x100(highest, path.etf, path.pct)
        yield Band(
            low=from_x100(min(max(_nearest(low, path.etf), lowest), close)),
            high=from_x100(max(min(_nearest(high, path.etf), highest), close)),
        )


def _nearest(price_x100: float, etf: bool) -> int:  # noqa: FBT001
    """The tradable price nearest to any price."""
    below, above = floor_to_tick_x100(int(price_x100), etf), ceil_to_tick_x100(int(price_x100) + 1, etf)
    return below if price_x100 - below <= above - price_x100 else above
