"""What a model may know of the sessions that it is scored on, and its scores with and without them.

A session is known to a model when the model was trained on days after it: what follows the decision of that session may
be in its weights. Three replays tell how much that is worth, each from cash alone: over all sessions, over those from
the cutoff on, and over those before it. Only the second is a result.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from typing import Any, Final, Literal

import numpy as np

from backtest.history import History
from backtest.kernel import Options
from backtest.played_run import play_hold, play_rules
from backtest.score import Score, figures
from backtest.tape import Tape
from bot.core.forecast import Forecast
from bot.core.rule import Rules

PartName = Literal["all", "after", "before"]
LABELS: Final[Mapping[str, str]] = {
    "all": "all sessions",
    "after": "only after the cutoff",
    "before": "only before it",
}
CONTAMINATED: Final = frozenset({"all", "before"})  # what these earn may be remembered
LEAST_SESSIONS: Final = 2  # what the first one decides trades in the second


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A replay over some of the sessions, from cash alone: a score for each fill rule, and holding over the same days.

    `known` of its `sessions` are known to the model. The first session after the cutoff ends one part and begins the
    other: what was decided the evening before trades in it, and its own decision belongs to the next.
    """

    name: PartName
    first: date
    last: date
    sessions: int
    known: int
    scores: tuple[Score, ...]
    hold: Score

    def facts(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        told = {"name": self.name, "label": LABELS[self.name], "contaminated": self.name in CONTAMINATED}
        told |= {"first": self.first.isoformat(), "last": self.last.isoformat(), "sessions": self.sessions}
        return told | {"known": self.known, "scores": [asdict(one) for one in self.scores], "hold": asdict(self.hold)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """A model that may know some of the sessions: those before `trained_until`.

    `parts` has no "after" where it may know all that are decided on.
    """

    forecaster: str
    trained_until: date
    sessions: int
    known: int
    parts: tuple[Part, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return {
            "forecaster": self.forecaster,
            "trained_until": self.trained_until.isoformat(),
            "sessions": self.sessions,
            "known": self.known,
            "parts": [part.facts() for part in self.parts],
        }

    @property
    def note(self) -> str:
        """What a reader has to know."""
        return (
            f"{self.forecaster} was trained until {self.trained_until}: {self.known} of {self.sessions} sessions are "
            "known to the model. They are marked, the headline leaves them out, and live nothing trades on such "
            "forecasts"
        )


def cutoff_of(forecasts: Iterable[Forecast], configured: date | None) -> date:
    """The last day that a model can know of: the latest that its answers or, where it is the config's, that says."""
    return max([one.trained_until for one in forecasts] + ([configured] if configured else []))


def known_sessions(sessions: Sequence[date], trained_until: date) -> int:
    """How many of the first of `sessions` the model may know; a decision on its very last day it may take."""
    return bisect_left(sessions, trained_until)


def rows_of(sessions: Sequence[date], trained_until: date) -> dict[PartName, tuple[int, int]]:
    """First and last row (both included) of each part that has a decision."""
    last, clean = len(sessions) - 1, known_sessions(sessions, trained_until)
    rows: dict[PartName, tuple[int, int]] = {"all": (0, last), "after": (clean, last), "before": (0, min(clean, last))}
    return {name: (first, end) for name, (first, end) in rows.items() if end - first + 1 >= LEAST_SESSIONS}


def part_of(tape: Tape, first: int, last: int) -> Tape:
    """The sessions from row `first` to row `last`, both included, as a tape of their own."""
    tables: dict[str, Any] = {
        one.name: np.ascontiguousarray(getattr(tape, one.name)[first : last + 1])
        for one in fields(tape)
        if one.name not in {"sessions", "symbols", "etf", "tax_e8"}
    }
    return replace(tape, sessions=tape.sessions[first : last + 1], **tables)


@dataclass(frozen=True, kw_only=True, eq=False)
class Player:
    """How a tape is played: the rule, the ways in which orders trade, and those of holding."""

    history: History
    rules: Rules
    options: Sequence[Options]
    hold_options: Options
    year_sessions: float

    def scores(self, tape: Tape, forecaster: str) -> tuple[Score, ...]:
        """One for each way in which orders trade."""
        return tuple(figures(run, self.year_sessions) for run in play_rules(tape, forecaster, self.rules, self.options))

    def hold(self, tape: Tape, name: str) -> Score:
        """Buy-and-hold over the tape's sessions."""
        run = play_hold(self.history, tape, name, self.hold_options, self.rules.lot_shares)
        return figures(run, self.year_sessions)


def knowledge_of(forecaster: str, trained_until: date, tape: Tape, player: Player, hold_name: str) -> Knowledge | None:
    """What the model may know of the tape's sessions, and its scores by parts; None when it knows none of them."""
    known = known_sessions(tape.sessions, trained_until)
    if not known:
        return None
    return Knowledge(
        forecaster=forecaster,
        trained_until=trained_until,
        sessions=len(tape.sessions),
        known=known,
        parts=tuple(parts_of(tape, trained_until, player, forecaster, hold_name)),
    )


def parts_of(tape: Tape, trained_until: date, player: Player, forecaster: str, hold_name: str) -> list[Part]:
    """The parts of a tape that have a decision, each played from cash alone."""
    parts = []
    for name, (first, last) in rows_of(tape.sessions, trained_until).items():
        piece = part_of(tape, first, last)
        part = Part(
            name=name,
            first=piece.sessions[0],
            last=piece.sessions[-1],
            sessions=len(piece.sessions),
            known=known_sessions(piece.sessions, trained_until),
            scores=player.scores(piece, forecaster),
            hold=player.hold(piece, hold_name),
        )
        parts.append(part)
    return parts


def clean_part(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of a stored run's knowledge of one model the part after the cutoff; None where the model knows all of it."""
    return next((part for part in facts["parts"] if not part["contaminated"]), None)
