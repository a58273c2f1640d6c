"""Windows of past and future bars of one stock, told in the prices that a live question tells them in.

A live question scales the bars before an ex-date into the prices of the day it is asked (`exrights.adjusted`). Seen
from all days between two ex-dates that is one and the same view, so each view is made once, not once a window.
Answers are told from the view of their last session: on an ex-date from the reference price, as the exchange's own
limits are, so an answer never holds a fall that is only a dividend.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from bot.core.exrights import ExRight, adjusted, effective
from bot.core.market import Bar, is_etf, limit_pct, tick_x100, to_x100
from bot.core.prompt import FIELDS, bar_line, question_head, volume_code
from bot.errors import Refused

LONGEST: Final = 1000  # sessions of a side; no prompt holds more
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """So many bars in the question, so many in the answer."""

    past: int
    future: int

    def __str__(self) -> str:
        """As `window_of` reads it."""
        return f"{self.past}:{self.future}"


def window_of(text: str) -> Window:
    """The window that "20:5" says.

    Raises:
        Refused: it says none.
    """
    past, _, future = text.strip().partition(":")
    if not (past.isdecimal() and future.isdecimal() and 0 < int(past) <= LONGEST and 0 < int(future) <= LONGEST):
        raise Refused(f"{text!r} is no window; write 20:5 for twenty bars in the question and five in the answer")
    return Window(int(past), int(future))


class View:
    """The bars of one stock from `first` on, in the prices of one stretch between ex-dates, and their lines."""

    def __init__(self, first: int, bars: Sequence[Bar], pct: int) -> None:
        """`first` is where `bars` begin in the stock's series; `pct` is the daily limit that codes count in."""
        self.first, self.bars, self.pct = first, bars, pct
        closes = [to_x100(bar.close) for bar in bars]
        self.lines = ["", *(bar_line(bar, before, pct) for bar, before in zip(bars[1:], closes, strict=False))]
        etf = is_etf(bars[0].symbol)
        moves = (_is_a_move(bar, before, pct, etf=etf) for bar, before in zip(bars[1:], closes, strict=False))
        # The last bar, up to each, that no session could have brought: a hole, or an ex-date nobody told us of.
        self.broken: list[int] = [0]
        for place, good in enumerate(moves, start=1):
            self.broken.append(self.broken[-1] if good else place)

    def between(self, begin: int, end: int) -> Sequence[Bar]:
        """The bars begin..end of the series, `end` not among them."""
        return self.bars[begin - self.first : end - self.first]

    def told(self, begin: int, end: int) -> Iterator[str]:
        """The lines of begin..end, each from the close before it."""
        return iter(self.lines[begin - self.first : end - self.first])

    def is_whole(self, begin: int, end: int) -> bool:
        """Whether every bar of begin..end but the first can follow the one before it."""
        return self.broken[end - 1 - self.first] <= begin - self.first


def _is_a_move(bar: Bar, before_x100: int, pct: int, *, etf: bool) -> bool:
    """Whether `bar` may follow a close; a reference price is rounded, so a tick beyond the limit is let pass."""
    most = before_x100 * pct + 100 * tick_x100(before_x100, etf)
    return all(abs(to_x100(price) - before_x100) * 100 <= most for price in (bar.high, bar.low))


@dataclass
class Stock:
    """One stock's bars, oldest first, with `places`: where each session stands among the market's sessions."""

    symbol: str
    name: str
    bars: Sequence[Bar]
    places: Sequence[int]
    events: Sequence[ExRight]
    reach: int  # most bars of a window, both sides
    _views: dict[tuple[int, int], View] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find where each stretch between two ex-dates begins."""
        sessions = [bar.session for bar in self.bars]
        starts = {bisect_left(sessions, event.ex_date) for event in effective(self.events)}
        self._starts = sorted({0, *(start for start in starts if start < len(sessions))})
        self._stretch = [0] * len(sessions)
        for number, start in enumerate(self._starts):
            end = self._starts[number + 1] if number + 1 < len(self._starts) else len(sessions)
            self._stretch[start:end] = [number] * (end - start)

    def view(self, at: int, pct: int) -> View:
        """The view of the day of bar `at`; `pct` is the daily limit that codes count in."""
        number = self._stretch[at]
        view = self._views.get((number, pct))
        if view is None:
            end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self.bars)
            first = max(0, self._starts[number] - self.reach)
            bars = self.bars[first:end]
            view = View(first, adjusted(bars, self.events, bars[-1].session), pct)
            self._views[number, pct] = view
        return view

    def forget(self) -> None:
        """Give the memory of all views back."""
        self._views.clear()

    def windows(self, window: Window) -> Iterator[int]:
        """The places of this stock's bars after which `window` is whole."""
        return (at for at in range(window.past - 1, len(self.bars) - window.future) if self.is_whole(at, window))

    def is_whole(self, at: int, window: Window) -> bool:
        """Whether `window` fits around bar `at` without a hole, and without a move that no session allows."""
        begin, end = at - window.past + 1, at + window.future
        if begin < 0 or end >= len(self.bars) or self.places[end] - self.places[begin] != end - begin:
            return False
        pct = limit_pct(self.bars[at].session)
        if pct != limit_pct(self.bars[end].session):
            return False  # the limit changed on the way: the answer's codes would not hold its moves
        return self.view(end, pct).is_whole(begin, end + 1)

    def question(
        self, at: int, window: Window, *, context: Sequence[str] = (), masked: bool = False, columns: Sequence[str]
    ) -> str:
        """The question as it is asked live after the close of bar `at`: `prompt.question_text`, made faster."""
        begin = at - window.past + 1
        view = self.view(at, limit_pct(self.bars[at].session))
        first, last = view.bars[begin - view.first], view.bars[at - view.first]
        head = question_head(self.name, last, context=context, masked=masked, columns=columns)
        lines = [bar_line(first, to_x100(first.open), view.pct), *view.told(begin + 1, at + 1)]
        if tuple(columns) != FIELDS:
            volumes = [bar.volume_shares for bar in view.between(begin, at + 1)]
            lines = _chosen(lines, volumes, columns)
        return head + "".join(lines)

    def answer(self, at: int, window: Window) -> str:
        """What came true after bar `at`, in the answer's language."""
        view = self.view(at + window.future, limit_pct(self.bars[at].session))
        return "".join(view.told(at + 1, at + 1 + window.future))

    def closes_x100(self, at: int, last: int) -> list[int]:
        """The newest `last` closes up to bar `at`, in the prices of that day, oldest first."""
        view = self.view(at, limit_pct(self.bars[at].session))
        return [to_x100(bar.close) for bar in view.between(at - last + 1, at + 1)]

    def move_x100(self, at: int, future: int) -> tuple[int, int]:
        """The close of bar `at` and that of `future` sessions later, both in the prices of the later day."""
        view = self.view(at + future, limit_pct(self.bars[at].session))
        before, after = (view.bars[place - view.first].close for place in (at, at + future))
        return to_x100(before), to_x100(after)

    def session(self, at: int) -> date:
        """The day of bar `at`."""
        return self.bars[at].session


def _chosen(lines: Sequence[str], volumes: Sequence[int], columns: Sequence[str]) -> list[str]:
    """Of lines with the four prices only `columns`; volumes, where wanted, are told from their own mean."""
    places = [FIELDS.index(name) * _DIGITS for name in columns if name in FIELDS]
    prices = ["".join([line[place : place + _DIGITS] for place in places]) for line in lines]
    if "volume" not in columns:
        return [f"{line}\n" for line in prices]
    total, count = sum(volumes), len(volumes)
    return [f"{line}{volume_code(one, total, count):03d}\n" for line, one in zip(prices, volumes, strict=True)]
