"""Where time is cut into the sides train, valid and test, and on which an example belongs. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from bot.errors import Refused

Split = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Where time is cut. Sessions between two sides are `embargo_sessions`: each list holds those after its cut.

    Train answers end by `cut`; valid questions begin on the last of `after_cut` and their answers end by
    `valid_until`; test questions begin on the last of `after_valid`.
    """

    cut: date
    valid_until: date
    embargo_sessions: int
    after_cut: tuple[date, ...]
    after_valid: tuple[date, ...]

    @property
    def valid_from(self) -> date:
        """The first day a valid question may be asked after."""
        return self.after_cut[-1] if self.after_cut else self.cut

    @property
    def test_from(self) -> date:
        """The first day a test question may be asked after."""
        return self.after_valid[-1] if self.after_valid else self.valid_until

    def split_of(self, as_of: date, answer_until: date) -> Split | None:
        """The side of an example, or None for one that reaches from one side into another, or into the embargo."""
        if answer_until <= self.cut:
            return "train"
        if as_of >= self.valid_from and answer_until <= self.valid_until:
            return "valid"
        return "test" if as_of >= self.test_from else None


def cuts_of(sessions: Sequence[date], cut: date | None, valid_until: date | None, embargo: int) -> Cuts:
    """Where to cut `sessions`, oldest first; by default after 80 % and 90 % of them.

    Raises:
        Refused: a cut leaves one of the sides without a session.
    """
    last_train = _place(sessions, cut) if cut else len(sessions) * 8 // 10 - 1
    last_valid = _place(sessions, valid_until) if valid_until else max(len(sessions) * 9 // 10 - 1, last_train)
    if last_train < 0 or last_valid < last_train + embargo or last_valid + embargo >= len(sessions):
        told = f"{sessions[0]}..{sessions[-1]}" if sessions else "no sessions"
        raise Refused(
            f"{told} can't be cut after {cut or 'the first 80 %'} and {valid_until or 'the first 90 %'} "
            f"with {embargo} sessions between the sides: one would be empty"
        )
    return Cuts(
        cut=sessions[last_train],
        valid_until=sessions[last_valid],
        embargo_sessions=embargo,
        after_cut=tuple(sessions[last_train + 1 : last_train + 1 + embargo]),
        after_valid=tuple(sessions[last_valid + 1 : last_valid + 1 + embargo]),
    )


def _place(sessions: Sequence[date], day: date) -> int:
    """The place of the last session up to `day`; -1 where there is none."""
    return bisect_right(sessions, day) - 1
