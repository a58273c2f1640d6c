"""Bars in files: CSV in the format of ../shared/data/prices in and out, parquet out, ex-dates in."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from bot.adapters.price_rows import Key, Layout, read_iso_date, read_table
from bot.core.feed_rows import Reading, Row
from bot.core.market import from_x100, is_etf, tick_x100
from bot.errors import DataMissing, Refused

COLUMNS: Final = ("date", "capacity", "turnover", "open", "high", "low", "close", "change", "transaction")
CSV_LAYOUT: Final = Layout(
    key=("date",),
    volume=("capacity",),
    turnover=("turnover",),
    open=("open",),
    high=("high",),
    low=("low",),
    close=("close",),
    change=("change",),
    trades=("transaction",),
)
CODE: Final = re.compile(r"\d{4,6}[A-Z]?")
EX_RIGHTS: Final = "ex_rights.csv"


def bar_files(path: Path) -> list[Path]:
    """The CODE.csv files in a folder, or the one file itself.

    Raises:
        Refused: there are none.
    """
    files = [path] if path.is_file() else [one for one in sorted(path.glob("*.csv")) if CODE.fullmatch(one.stem)]
    if not files or not CODE.fullmatch(files[0].stem):
        raise Refused(f"{path}: no CODE.csv there")
    return files


def read_csv(path: Path) -> Reading:
    """The rows of one stock's file; the name of the file is the code. Nothing in it is checked yet.

    Raises:
        Refused: it can't be read, or its header is another.
    """
    symbol = path.stem
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    except ValueError as empty:
        raise Refused(f"{path}: the file is empty") from empty

    def key_of(cell: str) -> Key:
        return Key(symbol=symbol, session=read_iso_date(cell))

    try:
        reading = read_table(path.name, header, rows, CSV_LAYOUT, key_of, symbol=symbol)
    except DataMissing as wrong:
        raise Refused(str(wrong)) from wrong
    return replace(reading, source=path.name)


def read_folder(path: Path) -> Reading:
    """All bar files of a folder as one answer.

    Raises:
        Refused: there are none, or one can't be read.
    """
    readings = [read_csv(file) for file in bar_files(path)]
    return Reading(
        rows=tuple(row for one in readings for row in one.rows),
        rejected=tuple(bad for one in readings for bad in one.rejected),
        sessions=frozenset().union(*(one.sessions for one in readings)),
        source=path.name,
    )


def references_beside(path: Path, rows: Iterable[Row]) -> dict[tuple[str, date], int]:
    """Reference prices by stock and ex-date from `ex_rights.csv` beside the bars: the close before x the factor.

    Rounded to the tick, as the exchange does. Only where the session before has a bar: after a hole (a halt for a
    capital reduction too) the reference price isn't known from the bars.

    Raises:
        Refused: the file can't be read.
    """
    file = (path if path.is_dir() else path.parent) / EX_RIGHTS
    if not file.exists():
        return {}
    events: dict[tuple[str, date], Decimal] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                events[line["code"], date.fromisoformat(line["ex_date"])] = Decimal(line["factor"])
    except (OSError, ValueError, KeyError, InvalidOperation) as wrong:
        raise Refused(f"{file}: {wrong}") from wrong
    ordered = sorted(rows, key=lambda row: (row.symbol, row.session))
    sessions = sorted({row.session for row in ordered})
    place = {session: index for index, session in enumerate(sessions)}
    found: dict[tuple[str, date], int] = {}
    before: Row | None = None
    for row in ordered:
        factor = events.get((row.symbol, row.session))
        same_stock = before is not None and before.symbol == row.symbol
        if factor is not None and before is not None and same_stock and place[row.session] - place[before.session] == 1:
            exact = before.close_x100 * factor
            tick = tick_x100(round(exact), is_etf(row.symbol))
            found[row.symbol, row.session] = round(exact / tick) * tick
        before = row
    return found


def csv_line(row: Row) -> list[str]:
    """A row in the file's spelling, without the change."""
    prices = [str(from_x100(price)) for price in (row.open_x100, row.high_x100, row.low_x100, row.close_x100)]
    return [
        row.session.isoformat(),
        str(row.volume_shares),
        "" if row.turnover_twd is None else str(row.turnover_twd),
        *prices,
        "",
        "" if row.trades is None else str(row.trades),
    ]


def write_csv(folder: Path, rows: Iterable[Row]) -> int:
    """One CODE.csv a stock in `folder`; returns how many files. `change` is left empty: the exchange's is not kept."""
    by_symbol: dict[str, list[Row]] = {}
    for row in rows:
        by_symbol.setdefault(row.symbol, []).append(row)
    folder.mkdir(parents=True, exist_ok=True)
    for symbol, bars in by_symbol.items():
        with (folder / f"{symbol}.csv").open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(COLUMNS)
            out.writerows(csv_line(row) for row in bars)
    return len(by_symbol)


def write_parquet(path: Path, rows: Iterable[Row], names: Mapping[str, str]) -> int:
    """All bars in one parquet file, prices as decimal(12, 2) in TWD; returns how many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = list(rows)
    price = pa.decimal128(12, 2)
    columns = {
        "symbol": pa.array([row.symbol for row in told], pa.string()),
        "name": pa.array([names.get(row.symbol, "") for row in told], pa.string()),
        "session": pa.array([row.session for row in told], pa.date32()),
        **{
            name: pa.array([from_x100(getattr(row, f"{name}_x100")) for row in told], price)
            for name in ("open", "high", "low", "close")
        },
        "volume_shares": pa.array([row.volume_shares for row in told], pa.int64()),
        "turnover_twd": pa.array([row.turnover_twd for row in told], pa.int64()),
        "trades": pa.array([row.trades for row in told], pa.int64()),
    }
    pq.write_table(pa.table(columns), path)
    return len(told)
