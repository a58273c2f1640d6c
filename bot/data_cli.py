"""`twtrader data ...`: fetch, check, import and export bars. Heavy imports come with the command that needs them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bot.errors import Refused
from bot.lazy_commands import lazily

data_app = typer.Typer(
    cls=lazily({"exrights": "bot.exrights_cli:exrights"}),
    help="Bars: fetch history, check it, bring files in and out.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]
StocksArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[STOCK]...", help="Codes or names; none: the config's companies.")
]
SHOWN: Final = 40  # rows of a table on the screen; --json has all


class Format(StrEnum):
    """What `data export` writes."""

    CSV = "csv"
    PARQUET = "parquet"


@data_app.callback()
def data() -> None:
    """Bars: fetch history, check it, bring files in and out."""


@data_app.command()
def fetch(
    context: typer.Context,
    since: Annotated[str, typer.Option("--from", metavar="MONTH", help="First month, like 2024-12.")],
    stocks: StocksArgument = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day; default: the newest.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask for what is stored too; differences are kept.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Back-fill history, one stock and month at a time, then the newest session in bulk. Stop and go on at any time."""
    from bot.adapters.sqlite_bars import BarStore, Stored
    from bot.calendar import calendar_of
    from bot.config_file import load_config
    from bot.core.sessions import latest_session
    from bot.prices import Gate, StockMonth, back_fill, gather_session, months_to_ask
    from bot.wiring import open_prices

    config, first, last = load_config(context.obj), month_of("--from", since), day_of("--to", until)
    with open_prices(config) as ports:
        companies = companies_of(stocks, ports.companies)
        ports.market.add_companies(companies)
        store = BarStore(ports.market.db)
        gate = Gate(store=store, listed=listings())
        newest = latest_session(ports.clock.now(), config.timetable.at("prices"), calendar_of(ports))
        # The newest session comes in bulk: only whole boards tell whether it was one.
        questions = months_to_ask(companies, first, min(last or newest, newest - timedelta(days=1)), store, again=again)
        total, problems = Stored(), []
        with progress_bar(len(questions)) as step:

            def done(one: StockMonth, stored: Stored) -> None:
                nonlocal total
                total += stored
                step(f"{one.company.symbol} {one.month:%Y-%m}")

            problems = list(back_fill(questions, ports.bars, gate, ports.clock.now, done))
        if last is None or last >= newest:
            evening = gather_session(newest, companies, ports.bars, gate, ports.clock.now(), calendar_of(ports))
            total += evening.stored
            problems += [*evening.problems, *([f"{newest}: {evening.closed}"] if evening.closed else [])]
    facts = {"asked": len(questions), "new": total.new, "revised": total.revised, "quarantined": total.quarantined}
    if as_json:
        typer.echo(json.dumps(facts | {"problems": problems}, ensure_ascii=False))
    else:
        typer.echo(
            f"{facts['asked']} months asked: {total.new:,} new bars, {total.revised} revisions, "
            f"{total.quarantined} rows in quarantine"
        )
    if problems:
        raise Refused("; ".join(problems[:3]) + (f" (+{len(problems) - 3} more)" if problems[3:] else ""))


@data_app.command()
def check(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Option(help="Check CODE.csv files here, not the store.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the gate over every stored bar again, or over a folder; exit code 1 when something doesn't pass."""
    from bot.core.check import check_rows
    from bot.core.row_rules import Known, Last
    from bot.price_files import read_folder, references_beside

    doubtful: dict[str, list[Last]] = {}
    quarantine: list[dict[str, Any]] = []
    revisions: list[dict[str, Any]] = []
    if folder:
        reading = read_folder(folder)
        references = references_beside(folder, reading.rows)
    else:
        from bot.adapters.sqlite_bars import BarStore
        from bot.adapters.sqlite_read import open_for_reading
        from bot.config_file import load_config

        db = open_for_reading(load_config(context.obj).store.path)
        store = BarStore(db)
        references, doubtful = store.references(), store.doubtful()
        reading, quarantine, revisions = store.reading(), store.quarantined(), store.revisions()
        db.close()
    known = Known(references=references, listed=listings(), sessions=reading.sessions, doubtful=doubtful)
    checked = check_rows(reading, known)
    closures = doubtful_days(reading.rows)
    facts = {
        "bars": len(reading.rows) + len(reading.rejected),
        "stocks": len({row.symbol for row in reading.rows}),
        "sessions": len(reading.sessions),
        "passed": len(checked.rows),
        "failed": [told(one) for one in checked.quarantined],
        "suspected_closures": [{"session": day.isoformat(), "why": why} for day, why in closures],
        "quarantine": quarantine,
        "revisions": revisions,
    }
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        show(facts)
    if checked.quarantined or closures:
        raise Refused(f"{len(checked.quarantined)} bars do not pass, {len(closures)} days look closed")


def check_over(rows: Iterable[Any], now: datetime, out_from: time) -> None:
    """Refuse bars of days whose figures can't be out yet: the journal takes a day that has bars for one that is over.

    Raises:
        Refused: names the first one.
    """
    newest = now.date() - timedelta(days=now < datetime.combine(now.date(), out_from))
    early = min(((row.session, row.symbol) for row in rows if row.session > newest), default=None)
    if early is not None:
        bar = f"{early[1]} has a bar of {early[0]}"
        raise Refused(f"{bar}, which isn't over at {now:%Y-%m-%d %H:%M}: nothing was taken in")


@data_app.command(name="import")
def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A CODE.csv, or a folder of them.")],
    as_json: JsonOption = False,
) -> None:
    """Bring CSV bars in through the gate; reference prices of ex-dates from an ex_rights.csv beside them."""
    from bot.adapters.clocks import clock_at
    from bot.adapters.sqlite_bars import BarStore, Stored
    from bot.adapters.sqlite_open import open_database
    from bot.adapters.twstock_codes import company_of
    from bot.config_file import load_config
    from bot.core.check import check_rows
    from bot.core.row_rules import Known
    from bot.price_files import bar_files, read_csv, read_folder, references_beside
    from bot.prices import in_order

    config = load_config(context.obj)
    companies = [company_of(file.stem) for file in bar_files(path)]
    reading = read_folder(path) if path.is_dir() else read_csv(path)
    now = clock_at(config.clock.url).now()
    check_over(reading.rows, now, config.timetable.at("prices"))
    db = open_database(config.store.path)
    store = BarStore(db)
    store.add_references(references_beside(path, reading.rows), "ex_rights.csv")
    known = Known(
        references=store.references(),
        listed=listings(),
        last=in_order(store, reading),
        sessions=store.sessions(date.min, date.max),
        doubtful=store.doubtful(),
    )
    checked = check_rows(reading, known)
    stored: Stored = store.add(checked, now)
    from bot.adapters.sqlite_market import MarketStore

    MarketStore(db).add_companies(companies)
    db.close()
    facts = {
        "rows": len(reading.rows) + len(reading.rejected),
        "new": stored.new,
        "revised": stored.revised,
        "quarantined": [told(one) for one in checked.quarantined],
    }
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    typer.echo(f"{facts['rows']:,} rows: {stored.new:,} new bars, {stored.revised} revisions")
    table("not stored, in quarantine", [told(one) for one in checked.quarantined], ("symbol", "session", "reason"))


@data_app.command()
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="A folder for CSV, a file for parquet.")],
    stocks: StocksArgument = None,
    kind: Annotated[Format, typer.Option("--format", help="csv: a file a stock; parquet: one file.")] = Format.CSV,
) -> None:
    """Write stored bars to files."""
    from bot.adapters.sqlite_bars import BarStore
    from bot.adapters.sqlite_market import MarketStore
    from bot.adapters.sqlite_read import open_for_reading
    from bot.config_file import load_config
    from bot.price_files import write_csv, write_parquet

    db = open_for_reading(load_config(context.obj).store.path)
    symbols = {company.symbol for company in companies_of(stocks, ())} if stocks else None
    rows, names = BarStore(db).rows(symbols), MarketStore(db).names()
    db.close()
    if not rows:
        raise Refused("no bars of these stocks are stored")
    try:
        if kind is Format.CSV:
            typer.echo(f"{write_csv(out, rows)} files, {len(rows):,} bars: {out}")
        else:
            typer.echo(f"{write_parquet(out, rows, names):,} bars: {out}")
    except OSError as wrong:
        raise Refused(f"{out}: {wrong.strerror or wrong}") from wrong


# --- what the commands share ------------------------------------------------------------------------------


def companies_of(stocks: Sequence[str] | None, default: Sequence[Any]) -> tuple[Any, ...]:
    """The companies that the words name; `default` without any.

    Raises:
        Refused: one is no listed or OTC common stock or ETF.
    """
    if not stocks:
        return tuple(default)
    from bot.adapters.twstock_codes import company_of

    return tuple({company.symbol: company for company in map(company_of, stocks)}.values())


def listings() -> Mapping[str, date]:
    """When each stock was listed, by code: its first sessions have no limit."""
    from bot.adapters.twstock_codes import listed_on

    return listed_on()


def month_of(option: str, text: str) -> date:
    """`2024-12` or a day in it, as the month's first day.

    Raises:
        Refused: it is neither.
    """
    try:
        return date.fromisoformat(text if text.count("-") > 1 else f"{text}-01").replace(day=1)
    except ValueError as wrong:
        raise Refused(f"{option} {text!r} is no month; write 2024-12") from wrong


def day_of(option: str, text: str | None) -> date | None:
    """`text` as a date; None stays None.

    Raises:
        Refused: it is no ISO date.
    """
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as wrong:
        raise Refused(f"{option} {text!r} is no date; write 2025-03-31") from wrong


def doubtful_days(rows: Iterable[Any]) -> list[tuple[date, str]]:
    """Stored days that look like no session, with the reason, oldest first."""
    from bot.core.phantom_day import shown, suspected_closure

    by_day: dict[date, list[Any]] = {}
    for row in rows:
        by_day.setdefault(row.session, []).append(row)
    found: list[tuple[date, str]] = []
    before: dict[str, Any] = {}
    counts: list[int] = []
    for day in sorted(by_day):
        why = suspected_closure(by_day[day], before, counts[-20:])
        if why:
            found.append((day, why))
        before = {row.symbol: shown(row) for row in by_day[day]}
        counts.append(len(by_day[day]))
    return found


def told(one: Any) -> dict[str, Any]:
    """A quarantined row as a fact."""
    return {
        "symbol": one.symbol,
        "session": one.session.isoformat() if one.session else None,
        "kind": one.kind,
        "reason": one.reason,
        "raw": one.raw,
        "source": one.source,
    }


def progress_bar(total: int) -> Any:
    """A context that gives a function `step(label)`: a bar with the time left, on stderr."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def shown_bar() -> Any:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
            task = bar.add_task("fetching", total=total)

            def step(label: str) -> None:
                bar.update(task, advance=1, description=label)

            yield step

    return shown_bar()


def show(facts: dict[str, Any]) -> None:
    """The check's facts as tables."""
    typer.echo(
        f"{facts['bars']:,} bars of {facts['stocks']} stocks in {facts['sessions']:,} sessions: "
        f"{facts['passed']:,} pass, {len(facts['failed'])} do not"
    )
    table("do not pass", facts["failed"], ("symbol", "session", "kind", "reason"))
    table("days that look closed", facts["suspected_closures"], ("session", "why"))
    table("in quarantine, never stored as bars", facts["quarantine"], ("symbol", "session", "kind", "reason", "source"))
    if facts["revisions"]:
        counts = Counter(row["symbol"] for row in facts["revisions"])
        typer.echo(f"{len(facts['revisions'])} revisions of {len(counts)} stocks")


def table(title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Some rows on the screen, the newest last; nothing when there are none."""
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    view = Table(*columns, title=f"{len(rows)} {title}", title_justify="left")
    for row in rows[-SHOWN:]:
        view.add_row(*(str(row[name] or "") for name in columns))
    Console().print(view)
