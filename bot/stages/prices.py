"""15:00: the session's bars, through the gate."""

from __future__ import annotations

from datetime import date

from bot.adapters.sqlite_bars import BarStore
from bot.adapters.twstock_codes import listed_on
from bot.calendar import calendar_of
from bot.config import Config
from bot.errors import DataMissing
from bot.exrights_fetch import catch_up_ex_rights, known_events
from bot.prices import Gate, fill_history, gather_session
from bot.stages.stage import Outcome, Ports


def gather_bars(session: date, ports: Ports, config: Config) -> Outcome:
    """Fetch what is missing up to `session`. No bar of any stock may mean "not published yet" or "closed"."""
    problems = catch_up_ex_rights(session, ports, config.history.sessions)
    gate, now = _gate(session, ports, config), ports.clock.now()
    for company in ports.companies:
        try:
            fill_history(company, session, config.history.sessions, ports.bars, gate, now)
        except DataMissing as missing:
            problems.append(str(missing))
    today = gather_session(session, ports.companies, ports.bars, gate, now, calendar_of(ports))
    problems += today.problems
    present = len(ports.market.bars_of(session).keys() & {company.symbol for company in ports.companies})
    traded = f"{present} of {len(ports.companies)} stocks"
    if problems:
        more = f" (+{len(problems) - 1} more)" if problems[1:] else ""
        return Outcome(outcome="waiting", detail=f"{traded}; {problems[0]}{more}")
    if today.closed:
        return Outcome(outcome="waiting", detail=f"{today.closed}: closed without notice?", in_the_end="closed")
    if today.stored.quarantined:
        rows = f"{today.stored.quarantined} rows in quarantine: see `twtrader data check`"
        ports.journal.record_surprises(session, [f"prices: {rows}"], now)
        return Outcome(outcome="done", detail=f"{traded} traded; {rows}")
    return Outcome(outcome="done", detail=f"{traded} traded")


def _gate(session: date, ports: Ports, config: Config) -> Gate:
    """The gate that prices pass, which knows the ex-dates and the listing dates."""
    events = known_events(ports, session, config.history.sessions)
    references = {(one.symbol, one.ex_date): one.reference_x100 for known in events.values() for one in known}
    return Gate(store=BarStore(ports.market.db), references=references, listed=listed_on())
