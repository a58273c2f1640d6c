"""An account's replay beside its journal: decision hashes, cash and shares, and where the two part first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One session's decision as it is recorded and as the replay, on its own book, takes it.

    `replayed_sha256` is "" where the replay can't take it; `difference` says why, or what differs first.
    """

    session: date
    recorded_sha256: str
    replayed_sha256: str
    difference: str

    @property
    def same(self) -> bool:
        """Whether the hashes agree."""
        return self.recorded_sha256 == self.replayed_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class BookDay:
    """Cash (whole TWD) and shares by symbol after a settled session: the journal's and the replay's."""

    session: date
    recorded_twd: int
    replayed_twd: int
    recorded_shares: Mapping[str, int]
    replayed_shares: Mapping[str, int]

    @property
    def difference(self) -> str:
        """The first thing that differs, in words; "" when nothing does."""
        for symbol in sorted({*self.recorded_shares, *self.replayed_shares}):
            recorded, replayed = self.recorded_shares.get(symbol, 0), self.replayed_shares.get(symbol, 0)
            if recorded != replayed:
                return f"{self.session} {symbol}: {recorded:,} shares in the journal, {replayed:,} in the replay"
        if self.recorded_twd != self.replayed_twd:
            off = self.recorded_twd - self.replayed_twd
            return (
                f"{self.session} cash: NT${self.recorded_twd:,} in the journal, NT${self.replayed_twd:,} in the "
                f"replay (NT${off:+,})"
            )
        return ""

    def facts(self) -> dict[str, object]:
        """For --json."""
        return {
            "session": self.session.isoformat(),
            "recorded": {"cash_twd": self.recorded_twd, "shares": dict(self.recorded_shares)},
            "replayed": {"cash_twd": self.replayed_twd, "shares": dict(self.replayed_shares)},
            "same": not self.difference,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BookParity:
    """The replay of an account beside its journal.

    `fill_rule` is "" where no rule tells how the broker fills: then there is no replay, and `outside` says why. Else
    `outside` names what the replay took from the journal, for it can't follow from bars and forecasts.
    """

    fill_rule: str
    decided: tuple[Decided, ...] = ()
    days: tuple[BookDay, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def first_difference(self) -> str:
        """Where journal and replay part: session, stock and what; "" when they don't."""
        books = {day.session: day.difference for day in self.days}
        decisions = {one.session: one.difference for one in self.decided if not one.same}
        for session in sorted({*books, *decisions}):  # a session's book is settled before its decision is taken
            if books.get(session):
                return books[session]
            if session in decisions:
                return f"{session}: {decisions[session]}"
        return ""

    @property
    def hashes(self) -> tuple[str, str]:
        """One hash over all recorded decision hashes, and one over all replayed ones."""
        recorded = [one.recorded_sha256 for one in self.decided]
        return _hash_of(recorded), _hash_of([one.replayed_sha256 for one in self.decided])

    def facts(self) -> dict[str, object]:
        """For --json."""
        recorded, replayed = self.hashes
        return {
            "fill_rule": self.fill_rule,
            "recorded_sha256": recorded,
            "replayed_sha256": replayed,
            "first_difference": self.first_difference,
            "outside": list(self.outside),
            "decisions": [
                {"session": one.session.isoformat(), "recorded_sha256": one.recorded_sha256,
                 "replayed_sha256": one.replayed_sha256, "same": one.same}
                for one in self.decided
            ],
            "days": [day.facts() for day in self.days],
        }  # fmt: skip


def _hash_of(hashes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
