"""A year of a box that sleeps, is restarted, killed, and whose clock is stepped: the real daemon on the sandbox.

    python tests/simulated_year.py --days 366 --seed 1      # about five minutes; `make year`

The exchange's time only goes forward; what is stepped is the clock that the daemon reads. Everything is judged
afterwards: by the database, by the sandbox's book and request log, and by the lines that the daemons logged.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from builders import at
from rehearsals import SECRETS, command, rehearsal, twtrader

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_read import open_for_reading
from bot.adapters.sqlite_runs import RunLog
from bot.config import STAGES
from bot.core.sessions import SATURDAY, TRADING_STARTS
from bot.rehearsal import CHURN
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

CODES: Final = ("2330", "2317", "2454", "6488")
STEP_S: Final = 300.0
A_STEP: Final = timedelta(minutes=2)  # what the daemon takes for the passing of time it need not answer: one minute
ANSWERS_WITHIN_S: Final = 60.0
READY_WITHIN_S: Final = 10.0
# Stage times, the order window's and the settlement's, the order deadline, midnight.
AWKWARD: Final = ("00:00", "09:00", "13:00", "15:00", "15:30", "15:45", "17:00", "18:00", "18:20", "18:30")
STAGES_AT: Final = ("15:00", "15:45", "17:00", "18:00", "18:20", "18:30")
QUIET_DAY: Final = ("09:00", "15:00")
OTHERWISE: Final = 0.4  # how often a moment is looked at when nothing is due
_RESTED = re.compile(r"(?:idle|waiting) at (\S+) until ")
_READY = re.compile(r"ready seconds=(\S+)")
_STAGE = re.compile(r"stage session=(\S+) stage=(\S+) outcome=(\S+)")


class Box:
    """The machine on which the daemon runs: on or off, awake or asleep, with all that its daemons said."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []
        self._news = threading.Condition()

    @property
    def on(self) -> bool:
        return self.process is not None

    def switch_on(self) -> None:
        assert self.process is None
        self.process = subprocess.Popen(
            command(self.config, "run"), env={**os.environ, **SECRETS, "PYTHONFAULTHANDLER": "1"}, stderr=subprocess.PIPE, text=True,
            cwd=self.config.parent,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def switch_off(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        try:
            code = self.process.wait(ANSWERS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler tells where it hangs
            self.process.wait()
            raise AssertionError("did not stop:\n" + "\n".join(self.lines[-60:])) from None
        assert code in (0, -how), self.lines[-30:]
        self.process = None

    def send(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)

    def rests_at(self, moment: datetime, since: int) -> None:
        """Wait until the daemon says, after its line number `since`, that all is done that can be done at `moment`."""
        with self._news:
            done = self._news.wait_for(lambda: self._rested(moment, since), ANSWERS_WITHIN_S)
        if not done:
            raise AssertionError(f"no rest at {moment}:\n" + "\n".join(self.lines[-40:]))

    def is_at_work(self, since: int) -> None:
        """Wait until the daemon is in the middle of a stage, or has found after line number `since` that none is due."""
        lock = self.config.parent / "twtrader.db.lock"
        until = time.monotonic() + ANSWERS_WITHIN_S
        while "at work on" not in lock.read_text(encoding="utf-8") and time.monotonic() < until:
            if any(_RESTED.search(line) for line in self.lines[since:]):
                return
            time.sleep(0.002)

    def _rested(self, moment: datetime, since: int) -> bool:
        found = (_RESTED.search(line) for line in self.lines[since:])
        return any(datetime.fromisoformat(one.group(1)) == moment for one in found if one)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                with self._news:
                    self.lines.append(line.rstrip())
                    self._news.notify_all()


class Year:
    """The driver: moves the exchange's time on and does mischief to the box, by a seed."""

    def __init__(self, sandbox: Sandbox, box: Box, seed: int, mischief: float) -> None:
        self.sandbox, self.box, self.mischief = sandbox, box, mischief
        self.dice = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.now = sandbox.clock
        self.skew_s = 0.0
        self.asleep = False
        self.away_until: datetime | None = None  # off or asleep until then

    def live(self, first: date, days: int) -> None:
        """Live through `days` days from `first`."""
        for offset in range(days):
            day = first + timedelta(days=offset)
            for clock in AWKWARD if day.weekday() < SATURDAY else QUIET_DAY:
                if clock in STAGES_AT or self.dice.random() < OTHERWISE:
                    self.reach(at(day, clock))

    def end(self) -> date:
        """Be on, awake and right, work one session whole, and settle what it sent; that session."""
        self.come_back()
        self.step(0.0)
        today = self.now.date()
        last, after = self.sandbox.sessions(today + timedelta(days=1), today + timedelta(days=40))[:2]
        self.move(at(last, "18:40"))
        self.move(at(after, "15:50"))
        return last

    def reach(self, moment: datetime) -> None:
        """Come to about `moment`, and maybe to some mischief there."""
        moment += timedelta(minutes=self.dice.choice((-4, -1, 0, 0, 0, 1, 3)))
        if moment < self.now + A_STEP:
            return
        if self.away_until and moment < self.away_until:
            return
        self.come_back()
        if moment < self.now + A_STEP:
            return
        if self.dice.random() < self.mischief:
            self.dice.choice((self.kill, self.kill, self.terminate, self.sleep, self.sleep, self.step_somewhere,
                              self.step_somewhere, self.step_somewhere, self.second))(moment)  # fmt: skip
        else:
            self.move(moment)

    def move(self, moment: datetime) -> None:
        """Move on; the daemon, if it is there, does all that it can do."""
        since = len(self.box.lines)
        self.go(moment)
        self.settle_down(since)

    def go(self, moment: datetime) -> None:
        self.sandbox.move_to(moment)
        self.now = moment

    def settle_down(self, since: int) -> None:
        if self.box.on and not self.asleep:
            self.box.rests_at(self.now + timedelta(seconds=self.skew_s), since)

    # --- mischief ---

    def kill(self, moment: datetime, away: timedelta | None = None) -> None:
        """kill -9, a moment after something has fallen due."""
        self.counts["kill -9"] += 1
        self.off(moment, signal.SIGKILL, away)

    def terminate(self, moment: datetime, away: timedelta | None = None) -> None:
        self.counts["restart"] += 1
        self.off(moment, signal.SIGTERM, away)

    def off(self, moment: datetime, how: signal.Signals, away: timedelta | None) -> None:
        since = len(self.box.lines)
        self.go(moment)
        self.box.is_at_work(since)
        time.sleep(self.dice.random() * 0.05)
        self.box.switch_off(how)
        self.away_until = self.now + (away or self.a_while())

    def sleep(self, moment: datetime, away: timedelta | None = None) -> None:
        """The box falls asleep, perhaps in the middle of a stage."""
        self.counts["sleep"] += 1
        since = len(self.box.lines)
        self.go(moment)
        if self.dice.random() < OTHERWISE:
            self.box.is_at_work(since)
        self.box.send(signal.SIGSTOP)
        self.asleep = True
        self.away_until = self.now + (away or self.a_while())

    def a_while(self) -> timedelta:
        """Mostly minutes or hours, at times days, once in a while more than the Lunar New Year."""
        if self.dice.random() < 0.02:
            return timedelta(days=self.dice.randint(5, 12))
        hours = self.dice.choice((0.0, 0.0, 0.0, 0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 9.0, 24.0, 50.0))
        return timedelta(hours=hours, minutes=self.dice.randint(2, 20))

    def come_back(self) -> None:
        """Wake up, or start again, when the time for it has come."""
        if self.away_until is None:
            return
        since = len(self.box.lines)
        self.go(max(self.now, self.away_until))
        self.away_until = None
        if self.asleep:
            self.asleep = False
            self.box.send(signal.SIGCONT)
        else:
            self.box.switch_on()
        self.settle_down(since)

    def step_somewhere(self, moment: datetime) -> None:
        """Step the daemon's clock by five minutes, just before, at or just after something is due."""
        self.move(max(self.now + A_STEP, moment - timedelta(minutes=self.dice.choice((0, 3)))))
        self.step(self.dice.choice([one for one in (-STEP_S, 0.0, STEP_S) if one != self.skew_s]))

    def step(self, skew_s: float) -> None:
        if skew_s == self.skew_s:
            return
        self.counts["clock back" if skew_s < self.skew_s else "clock forth"] += 1
        since = len(self.box.lines)
        self.sandbox.skew(skew_s)
        self.skew_s = skew_s
        self.settle_down(since)

    def second(self, moment: datetime) -> None:
        """Another daemon, or a single cycle, is started beside ours: refused, and told who is there."""
        self.move(moment)
        assert self.box.process is not None
        words = self.dice.choice((("run",), ("run", "--once")))
        done = twtrader(self.box.config, *words)
        assert done.returncode == 1, done.stderr
        assert f"process {self.box.process.pid} on " in done.stderr, done.stderr
        self.counts["second start refused"] += 1


# --- the judgement ----------------------------------------------------------------------------------------


def judge(box: Box, sandbox: Sandbox, first: date, last: date) -> dict[str, int]:
    """Everything that must hold after the year; the counts behind it."""
    journal = Journal(open_for_reading(box.config.parent / "twtrader.db"))
    sessions = sandbox.sessions(first, last)
    told = {**stages_once(journal, box.lines), **nothing_missed_unsaid(journal, sessions)}
    told |= orders_once(journal, sandbox)
    book, held = sandbox.book(), journal.portfolio()
    difference = abs(held.cash_twd - book["cash_twd"])
    assert difference == 0, (held.cash_twd, book["cash_twd"])
    assert {symbol: one.shares for symbol, one in held.positions.items()} == {
        symbol: row["shares"] for symbol, row in book["positions"].items()
    }
    slowest = max(ready_seconds(box.lines))
    assert slowest <= READY_WITHIN_S
    unexplained = [text for _, text in journal.surprises() if "unexplained" in text]
    assert not unexplained
    assert not [line for line in box.lines if "locked" in line or "Traceback" in line or "bug" in line]
    return {**told, "books differ by NT$": difference, "slowest start, ms": round(slowest * 1000)}


def ready_seconds(lines: list[str]) -> list[float]:
    """How long each start took, from the process's birth until it said that it was there."""
    return [float(found.group(1)) for line in lines if (found := _READY.search(line))]


def stages_once(journal: Journal, lines: list[str]) -> dict[str, int]:
    """Each stage of each session came to one final outcome, in the record and in the log."""
    rows = list(journal.db.query("select session, stage, outcome, tries, killed from stage_runs"))
    finals = Counter(
        (row["session"], row["stage"]) for row in rows if row["outcome"] not in {"running", "waiting", "void"}
    )
    assert set(finals.values()) == {1}
    stages = {(row["session"], row["stage"]): row["outcome"] for row in journal.db.query("select * from stages")}
    assert {key for key in stages if key[1] != "calendar" and stages[key] != "waiting"} == set(finals)
    logged = Counter(
        found.groups()[:2] for line in lines if (found := _STAGE.search(line)) and found.group(3) != "waiting"
    )
    assert set(logged.values()) == {1}
    assert set(logged) <= set(finals)
    return {
        "stage runs, final": len(finals),
        "stage runs, rows in all": len(rows),
        "tries": sum(row["tries"] for row in rows),
        "killed in a stage": sum(row["killed"] for row in rows),
    }


def nothing_missed_unsaid(journal: Journal, sessions: list[date]) -> dict[str, int]:
    """Every session that there was: each of its stages is final, and the missed ones stand in one surprise."""
    surprises: dict[date, list[str]] = {}
    for session, text in journal.surprises():
        if text.startswith("missed: "):
            surprises.setdefault(session, []).append(text)
    whole, partly, missed_stages = 0, 0, 0
    for session in sessions:
        runs = {stage: journal.stages.find(session, stage) for stage in STAGES}
        assert all(run is not None and run.final for run in runs.values()), (session, runs)
        missed = [stage for stage, run in runs.items() if run and run.outcome == "missed"]
        missed_stages += len(missed)
        if missed:
            partly += 1
            [text] = surprises[session]
            assert text.startswith(f"missed: {', '.join(missed)} (")
        else:
            whole += 1
            assert session not in surprises
    return {"sessions": len(sessions), "sessions worked whole": whole, "sessions with missed stages": partly,
            "stages missed and said": missed_stages}  # fmt: skip


def orders_once(journal: Journal, sandbox: Sandbox) -> dict[str, int]:
    """No intent reached the exchange twice, and each that did is one that the journal sent."""
    sent = Counter(row["key"] for row in journal.db.query("select key from order_events where state = 'sending'"))
    assert set(sent.values()) <= {1}
    posts = sum(count for path, count in sandbox.requests().items() if path.endswith(("/buy", "/sell")))
    book = sandbox.book()["orders"]
    assert len(book) == posts
    unknown = {row["key"] for row in journal.db.query("select key from order_events where state = 'unknown'")}
    assert len(sent) - len(unknown) <= posts <= len(sent)
    # Our evening begins at 18:30; what was placed from then to the next noon is one evening's.
    evenings = Counter(
        ((datetime.fromisoformat(one["placed_at"]) - timedelta(hours=13)).date(), one["symbol"], one["side"])
        for one in book
    )
    assert set(evenings.values()) <= {1}, evenings.most_common(3)
    for row in journal.db.query(
        "select o.decided, e.at from orders o join order_events e using (key) where e.state = 'sending'"
    ):
        decided = date.fromisoformat(row["decided"])
        [after] = sandbox.sessions(decided + timedelta(days=1), decided + timedelta(days=20))[:1]
        assert datetime.fromisoformat(row["at"]) < datetime.combine(after, TRADING_STARTS, tzinfo=at(after).tzinfo)
    states = Counter(str(one.state) for one in journal.orders.select())
    return {
        "orders": len(journal.orders.select()),
        "POSTs": posts,
        "sent twice": 0,
        **{f"orders {k}": v for k, v in states.items()},
    }


@contextmanager
def a_box(folder: Path, first: date, seed: int) -> Iterator[tuple[Sandbox, Box]]:
    """A sandbox and a box that is still off."""
    with start_sandbox(SandboxSettings(start=at(first, "08:00"), codes=CODES, seed=seed)) as sandbox:
        box = Box(rehearsal(folder, sandbox.url, list(CODES), **CHURN))
        try:
            yield sandbox, box
        finally:
            if box.process is not None:
                box.send(signal.SIGCONT)
                box.process.kill()
                box.process.wait()


def lived(folder: Path, first: date, seed: int, mischief: float, live: Callable[[Year], None]) -> dict[str, int]:
    """Switch the box on, `live`, and judge; what was done to the box and what came of it."""
    with a_box(folder, first, seed) as (sandbox, box):
        year = Year(sandbox, box, seed, mischief)
        box.switch_on()
        year.settle_down(0)
        live(year)
        last = year.end()
        told = judge(box, sandbox, first_worked(box), last)
        box.switch_off(signal.SIGTERM)
        return {**dict(sorted(year.counts.items())), **told}


def first_worked(box: Box) -> date:
    """When the daemon's own history begins."""
    first = RunLog(open_for_reading(box.config.parent / "twtrader.db")).first_session()
    assert first is not None
    return first


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--days", type=int, default=366)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--first", type=date.fromisoformat, default=date(2025, 1, 2))
    asked.add_argument("--mischief", type=float, default=0.08, help="how likely each of the day's ten moments is bad")
    told = asked.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = lived(Path(folder), told.first, told.seed, told.mischief, lambda year: year.live(told.first, told.days))
    for name, value in found.items():
        print(f"{name:<30} {value:>9,}")
    print(json.dumps({"days": told.days, "seed": told.seed, **found, "seconds": round(time.monotonic() - begun)}))


if __name__ == "__main__":
    main()
