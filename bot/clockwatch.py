"""The clock under suspicion: what a wake-up may do with the moment it reads, and what a person is told of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from bot.adapters.sqlite_runs import ClockMark, RunLog
from bot.config import TAIPEI, Timetable
from bot.core.clockmark import BELIEVED_AHEAD, Trust, trust
from bot.ports import Clock
from bot.stages.stage import Ports

log = logging.getLogger("twtrader")


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverBack:
    """`clock`, but never before `floor`: by it a deadline that had passed has passed for good."""

    clock: Clock
    floor: datetime

    def now(self) -> datetime:
        """The moment, aware, Asia/Taipei."""
        return max(self.clock.now(), self.floor)


def look_at_clock(ports: Ports, timetable: Timetable) -> Trust:
    """Judge the clock against the highest moment seen, tell what is wrong with it, and move the mark on."""
    now, mark = ports.clock.now(), ClockMark(ports.journal.db)
    highest = mark.highest()
    found = trust(now, highest)
    if highest is not None and found is Trust.BEHIND:
        _tell(
            ports, highest.date(), now,
            f"the clock went back from {highest.astimezone(TAIPEI):%Y-%m-%d %H:%M}: no order goes out for a session "
            "that had begun by then; `twtrader clock` says more",
        )  # fmt: skip
    elif highest is not None and found is Trust.AHEAD:
        log.warning("clock now=%s is more than %s days after %s: believed when the exchange has bars of after the jump",
                    now.isoformat(), BELIEVED_AHEAD.days, highest.isoformat())  # fmt: skip
    elif highest is None or now > highest:
        mark.put(now)
    _take_back(ports, timetable, now)
    return found


def believe(ports: Ports) -> None:
    """The exchange has shown bars of the newest session by this clock: so it isn't ahead of the exchange's."""
    mark, now = ClockMark(ports.journal.db), ports.clock.now()
    highest = mark.highest()
    mark.put(now if highest is None else max(now, highest))


def doubt(ports: Ports, session: date) -> None:
    """Tell that the clock jumped ahead and that the exchange has nothing yet that would bear it out."""
    highest = ClockMark(ports.journal.db).highest()
    since = f"{highest.astimezone(TAIPEI):%Y-%m-%d %H:%M}" if highest else "the start"
    _tell(
        ports, session, ports.clock.now(),
        f"the clock jumped to {session} from {since}: nothing is decided until the exchange has bars of it; "
        "`twtrader clock` says more",
    )  # fmt: skip


def _take_back(ports: Ports, timetable: Timetable, now: datetime) -> None:
    """Void what a clock that was ahead concluded of sessions whose first stage still lies before us."""
    begun = now >= datetime.combine(now.date(), timetable.at("prices"))
    for session in RunLog(ports.journal.db).void_unreached(now.date() + timedelta(days=1 if begun else 0)):
        _tell(ports, session, now, "what a clock that was ahead made of this session is void; it is worked in its time")


def with_floor(ports: Ports) -> Ports:
    """The ports with a clock that is never before the highest moment seen."""
    highest = ClockMark(ports.journal.db).highest()
    return ports if highest is None else replace(ports, clock=NeverBack(clock=ports.clock, floor=highest))


def _tell(ports: Ports, session: date, at: datetime, text: str) -> None:
    log.warning("clock now=%s %s", at.isoformat(), text)
    ports.journal.record_surprises(session, [text], at)
