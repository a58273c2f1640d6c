"""From the feeds through the gate into the store: the evening's bulk answers, holes by month, and long back-fills.

An ordinary evening asks each board once. What is stored is never asked for again.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from typing import Final

from bot.adapters.sqlite_bars import BarStore, Stored
from bot.core.check import CheckedBars, check_rows, refuse_all
from bot.core.feed_rows import Reading
from bot.core.phantom_day import suspected_closure
from bot.core.row_rules import Known, Last
from bot.core.sessions import Calendar, next_session
from bot.errors import DataMissing
from bot.ports import BarFeed, Company

BOARDS: Final = ("twse", "tpex")
A_BOARD: Final = 20  # a board that usually has so many rows does not have none by chance
GIVE_UP_AFTER: Final = 3  # months in a row that a board did not answer end a back-fill
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The store, and what the gate may lean on beside it: more reference prices of ex-dates, and listing dates."""

    store: BarStore
    references: Mapping[tuple[str, date], int] = field(default_factory=dict)
    listed: Mapping[str, date] = field(default_factory=dict)

    def check(self, reading: Reading) -> CheckedBars:
        """The rows that pass, given what is stored before them."""
        if not reading.rows:
            return check_rows(reading, Known())
        first, last = min(row.session for row in reading.rows), max(row.session for row in reading.rows)
        symbols = {row.symbol for row in reading.rows}
        known = Known(
            references={**self.store.references(), **self.references},
            listed=self.listed,
            last=self.store.last_before(first, symbols if len(symbols) == 1 else None),
            sessions=self.store.sessions(first - timedelta(days=31), last),
        )
        return check_rows(reading, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """How an evening's prices came in. `closed` says why the day looks like none; `problems` why it isn't complete."""

    stored: Stored = field(default_factory=Stored)
    problems: tuple[str, ...] = ()
    closed: str = ""


def in_order(store: BarStore, reading: Reading) -> dict[str, Last]:
    """Each stock's last stored close before its own first row of `reading`."""
    first: dict[str, date] = {}
    for row in reading.rows:
        first[row.symbol] = min(row.session, first.get(row.symbol, row.session))
    return {symbol: last for symbol, session in first.items() for last in store.last_before(session, {symbol}).values()}


# --- an evening -------------------------------------------------------------------------------------------


def gather_session(
    session: date, companies: Sequence[Company], feed: BarFeed, gate: Gate, now: datetime, calendar: Calendar
) -> Gathered:
    """Both boards in bulk for `session`, and for the sessions missed since the last answer."""
    boards = [board for board in BOARDS if any(company.board == board for company in companies)]
    stored = Stored()
    for missed in missed_sessions(session, boards, gate.store, now, calendar):
        late = gather_day(missed, boards, feed, gate, now)
        if late.problems:
            return late
        stored += late.stored
    today = gather_day(session, boards, feed, gate, now)
    return Gathered(stored=stored + today.stored, problems=today.problems, closed=today.closed)


def missed_sessions(
    session: date, boards: Sequence[str], store: BarStore, now: datetime, calendar: Calendar
) -> list[date]:
    """Sessions since the boards' last stored answers and before `session`, oldest first; none before the first."""
    answered = [newest for board in boards if (newest := store.days_answered(board)) is not None]
    found: list[date] = []
    day = min(answered, default=session)
    while day < session:
        day = next_session(day, now, calendar)
        if day < session:
            found.append(day)
    return found


def gather_day(session: date, boards: Sequence[str], feed: BarFeed, gate: Gate, now: datetime) -> Gathered:
    """One day of `boards` in bulk: all of it is stored, or, where it looks like no session, none of it."""
    store = gate.store
    wanted = [board for board in boards if not store.day_is_stored(board, session)]
    readings: dict[str, Reading] = {}
    problems: list[str] = []
    for board in wanted:
        try:
            readings[board] = feed.day(board, session)
        except DataMissing as missing:
            problems.append(str(missing))
    before = store.shown_before(session)
    doubts = {
        board: doubt
        for board, reading in readings.items()
        if (doubt := suspected_closure(reading.rows, before, store.usual_rows(board, session)))
    }
    checked: list[CheckedBars] = []
    rows: dict[str, int] = {}
    for board, reading in readings.items():
        if board in doubts:
            checked.append(refuse_all(reading, "closure", doubts[board]))
        else:
            checked.append(gate.check(reading))
            rows[board] = len(reading.rows)
    stored = store.add_day(checked, rows, session, now)
    open_boards = set(boards) - set(doubts)
    if doubts and not open_boards and not problems:
        return Gathered(stored=stored, closed=" and ".join(dict.fromkeys(doubts.values())))
    problems += [
        f"{board} {session}: {doubt}, but another board traded"
        for board, doubt in doubts.items()
        if readings[board].rows or median(store.usual_rows(board, session) or [0]) >= A_BOARD
    ]
    return Gathered(stored=stored, problems=tuple(problems))


# --- holes, month by month --------------------------------------------------------------------------------


def fill_history(company: Company, session: date, sessions: int, feed: BarFeed, gate: Gate, now: datetime) -> Stored:
    """Ask for each month that is not answered yet, newest first, until `sessions` bars before `session` are there.

    The day itself is not taken from here: whether it was a session, only the whole boards tell.

    Raises:
        DataMissing: the feed gave no trustworthy answer; nothing of this stock is stored then.
    """
    store = gate.store
    answered, since_bulk = store.months_answered(), store.first_day_answered(company.board)
    answers: list[tuple[date, date, Reading]] = []
    month, have = session.replace(day=1), 0
    while True:
        last = min(month_end(month), session - _DAY)
        due = min(last, since_bulk - _DAY) if since_bulk else last
        through = answered.get((company.symbol, f"{month:%Y-%m}"))
        here = store.count(company.symbol, month - _DAY, last)
        if due >= month and (through is None or through < due):
            reading = feed.month(company, month.year, month.month)
            answers.append((month, last, reading))
            here = max(here, len([row for row in reading.rows if row.session < session]))
        have += here
        whole = month < session.replace(day=1)  # a month that has just begun may lack bars without saying anything
        if have >= sessions or (not here and whole):
            break
        month = (month - _DAY).replace(day=1)
    stored = Stored()
    for asked, last, reading in reversed(answers):
        checked = gate.check(reading).before(session)
        stored += store.add_month(checked, company.symbol, asked, last, now)
    return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class StockMonth:
    """One question of a back-fill."""

    company: Company
    month: date
    through: date


def months_to_ask(
    companies: Sequence[Company], first: date, until: date, store: BarStore, *, again: bool = False
) -> list[StockMonth]:
    """The stock-months of first..until that are not answered yet; each stock's oldest first, the boards interleaved.

    Each board has a pace of its own, so interleaving them lets one work while the other has to wait.
    """
    answered = {} if again else store.months_answered()
    by_board: dict[str, list[StockMonth]] = {}
    for company in companies:
        since_bulk = None if again else store.first_day_answered(company.board)
        for month in months(first, until):
            through = min(month_end(month), until)
            due = min(through, since_bulk - _DAY) if since_bulk else through
            done = answered.get((company.symbol, f"{month:%Y-%m}"))
            if due >= month and (done is None or done < due):
                one = StockMonth(company=company, month=month, through=through)
                by_board.setdefault(company.board, []).append(one)
    return interleaved(list(by_board.values()))


def interleaved(queues: Sequence[Sequence[StockMonth]]) -> list[StockMonth]:
    """All queues in one, each spread evenly over the whole."""
    placed = [
        ((index + 0.5) / len(queue), number, one)
        for number, queue in enumerate(queues)
        for index, one in enumerate(queue)
    ]
    return [one for _, _, one in sorted(placed, key=lambda place: place[:2])]


def back_fill(
    questions: Sequence[StockMonth],
    feed: BarFeed,
    gate: Gate,
    now: Callable[[], datetime],
    done: Callable[[StockMonth, Stored], None],
) -> Iterator[str]:
    """Ask all `questions`; each answer is stored, and marked as answered, before the next one is asked.

    Killed at any moment, the next run goes on with the question that was in the air. Yields problems as they come:
    a stock whose month failed is left for the next run, so that its bars stay in order.

    Raises:
        DataMissing: a board did not answer several times in a row.
    """
    left_out: set[str] = set()
    in_a_row: dict[str, int] = {}
    for one in questions:
        if one.company.symbol in left_out:
            continue
        try:
            reading = feed.month(one.company, one.month.year, one.month.month)
        except DataMissing as missing:
            left_out.add(one.company.symbol)
            in_a_row[one.company.board] = in_a_row.get(one.company.board, 0) + 1
            if in_a_row[one.company.board] >= GIVE_UP_AFTER:
                raise DataMissing(f"{missing}; gave up, run the same command again later") from missing
            yield str(missing)
            continue
        in_a_row[one.company.board] = 0
        checked = gate.check(reading).before(one.through + _DAY)
        done(one, gate.store.add_month(checked, one.company.symbol, one.month, one.through, now()))


def months(first: date, until: date) -> Iterator[date]:
    """The first days of the months that first..until touch."""
    month = first.replace(day=1)
    while month <= until:
        yield month
        month = month_end(month) + _DAY


def month_end(month: date) -> date:
    """The last day of the month."""
    return month.replace(day=monthrange(month.year, month.month)[1])
