"""A fuzzer of every price parser and the gate: recorded answers are broken in many ways, and no wrong bar may pass.

    python tests/price_fuzz.py --count 100000 [--seed N]          (make fuzz)

An outcome is right when it is a typed error, or when every bar that passed is exactly the bar of the unbroken answer
(rows may be missing: they are in quarantine, with the exception of the cells `NO_TRADE` blanks out, see below).

Mutations come in three classes:

structure   of the envelope, the header, the rows and the cells: dropped, doubled, swapped, renamed, retyped, cut,
            padded, shifted, columns in another order, another day's or stock's answer, spellings that mean the same (full-width
            digits, blanks, commas). None may put a wrong bar through.
figure      a digit of a figure becomes another digit, or a digit is lost or added; or a possible figure stands under
            another's name (cells or headers changed places, rows run into one). What the gate can tell apart must not
            pass: a close (its change disagrees), prices off the tick, out of order or over the limit, a volume or
            turnover that is no price any more, a date or code of another question. Counted as `caught`.
twin        the same, where the result is as possible as the truth: an open, high or low one tick away, a volume whose
            last digits differ, the number of trades, a close changed together with its change. No check of one answer
            can tell these; a second answer (bulk and month) shows them as a revision. Counted as `twins`, and it is
            asserted that only these cells differ.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bot.adapters import tpex_bulk, twse_bulk
from bot.adapters.twstock_bars import Asked, TwstockBars
from bot.config import ExchangeFeedConfig, FeedsConfig, NewsFeedConfig, RssConfig
from bot.core.check import check_rows
from bot.core.feed_rows import Reading, Row
from bot.core.market import floor_to_tick_x100, limit_down_x100, limit_up_x100
from bot.core.row_rules import Known, Last
from bot.errors import BotError
from bot.ports import Company
from bot.sandbox.market import Quote
from bot.sandbox.tpex_payloads import tpex_day, tpex_month
from bot.sandbox.twse_payloads import mi_index, stock_day

# What two possible truths may differ in. A close is not here: the exchange's own change gives it away.
TWIN_FIGURES = ("open_x100", "high_x100", "low_x100", "volume_shares", "turnover_twd", "trades")
SESSIONS = [date(2025, 3, day) for day in (3, 4, 5, 6, 7, 10, 11, 12)]
BEFORE = date(2025, 2, 28)  # taken for a session here: over a closing, the change is not compared
MIXED = ["", "-", "--", "---", "X0.00", "0", "0.00", "1,0,0", "nan", "1e3", "除權息", "12.345", None, 7, 1.5, [], {}]


@dataclass(frozen=True)
class Case:
    """One kind of answer: the unbroken payload, how it is read, and what the gate knows beside it."""

    name: str
    payload: dict[str, Any]
    read: Callable[[Any], Reading]
    known: Known
    truth: Mapping[tuple[str, date], Row]
    figures: tuple[int, ...]  # the cells that hold figures


def quotes(chance: random.Random, start_x100: int, sessions: Sequence[date]) -> list[Quote]:
    """A stock that walks at random, on the tick and inside the limit; never unchanged, so that its change tells."""
    close, made = start_x100, []
    for session in sessions:
        up, down = limit_up_x100(close, etf=False), limit_down_x100(close, etf=False)

        def price(near: int, up: int = up, down: int = down) -> int:
            wanted = floor_to_tick_x100(round(near * chance.uniform(0.97, 1.03)), etf=False)
            return min(max(wanted, down), up)

        new = price(close)
        while new == close:
            new = price(close)
        opened = price(close)
        high, low = price(max(opened, new)), price(min(opened, new))
        high, low = max(high, opened, new), min(low, opened, new)
        volume = chance.randrange(200_000, 40_000_000)
        turnover = volume * (opened + high + low + new) // 400
        made.append(
            Quote(
                session=session, open_x100=opened, high_x100=high, low_x100=low, close_x100=new,
                volume_shares=volume, turnover_twd=turnover, trades=volume // 2_000 + 1, change_x100=new - close,
            )
        )  # fmt: skip
        close = new
    return made


def cases(seed: int) -> list[Case]:
    """Every kind of answer there is, made by the sandbox in the exchanges' own shapes."""
    chance = random.Random(seed)
    feed = TwstockBars(feeds())
    starts = {
        "2330": 1040_00,
        "2317": 180_00,
        "1101": 30_15,
        "9921": 150_50,
        "3088": 90_30,
        "6125": 84_10,
        "6569": 700_00,
    }
    made = {code: quotes(chance, start, SESSIONS) for code, start in starts.items()}
    boards = {"twse": ["2330", "2317", "1101", "9921"], "tpex": ["3088", "6125", "6569"]}
    closes = {code: Last(BEFORE, start) for code, start in starts.items()}
    sessions = [BEFORE, *SESSIONS]
    found = []
    for board, code, shape in (("twse", "2330", stock_day), ("tpex", "3088", tpex_month)):
        company = Company(symbol=code, name="某某", board=board)
        asked = Asked(company=company, year=2025, month=3)
        found.append(
            _case(
                f"{board} month",
                shape(company, made[code], date(2025, 3, 1)),
                lambda answer, asked=asked: feed.reading_of(answer, asked),
                Known(last={code: closes[code]}, sessions=sessions),
                (1, 2, 3, 4, 5, 6, 7, 8),
            )
        )
    day = SESSIONS[1]
    last = {code: Last(SESSIONS[0], made[code][0].close_x100) for code in starts}
    for board, shape, reader, figures in (
        ("twse", mi_index, twse_bulk.day_of, (2, 3, 4, 5, 6, 7, 8, 10)),
        ("tpex", tpex_day, tpex_bulk.day_of, (2, 3, 4, 5, 6, 7, 8, 9)),
    ):
        rows = [(Company(symbol=code, name="某某", board=board), made[code][1]) for code in sorted(boards[board])]
        found.append(
            _case(
                f"{board} day",
                shape(rows, day),
                lambda answer, reader=reader: reader(answer, day),
                Known(last=last, sessions=sessions),
                figures,
            )
        )
    return found


def _case(
    name: str, payload: dict[str, Any], read: Callable[[Any], Reading], known: Known, figures: tuple[int, ...]
) -> Case:
    checked = check_rows(read(copy.deepcopy(payload)), known)
    assert checked.rows
    assert not checked.quarantined, checked.quarantined
    truth = {(row.symbol, row.session): row for row in checked.rows}
    return Case(name=name, payload=payload, read=read, known=known, truth=truth, figures=figures)


def feeds() -> FeedsConfig:
    board = ExchangeFeedConfig(
        base_url="http://127.0.0.1:9", requests_per_window=1, window_s=1.0, timeout_s=1.0, attempts=1
    )
    news = NewsFeedConfig(
        base_url="http://127.0.0.1:9",
        languages=("zh",),
        requests_per_day=1,
        lookback_days=1,
        page_size=1,
        timeout_s=1.0,
        attempts=1,
    )
    rss = RssConfig(urls=(), timeout_s=1.0, attempts=1, limit_kib=1)
    return FeedsConfig(twse=board, tpex=board, newsapi=news, rss=rss)


# --- mutations --------------------------------------------------------------------------------------------


def table_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The table of stocks in a payload."""
    if "data" in payload:
        return payload
    return next(table for table in payload["tables"] if table.get("data"))


def break_envelope(chance: random.Random, payload: dict[str, Any]) -> None:
    """Something about the answer around the rows."""
    table = table_of(payload)
    target = chance.choice([payload, table])
    key = chance.choice(sorted(target))
    kind = chance.choice(["drop", "value", "none", "date", "shuffle"])
    if kind == "drop":
        del target[key]
    elif kind == "value":
        target[key] = chance.choice(
            [*MIXED, "OK", "ok", "很抱歉，沒有符合條件的資料!", "20250305", [[]], [{}], {"a": 1}]
        )
    elif kind == "none":
        target[key] = None
    elif kind == "date":
        for there in (payload, table):
            if "date" in there:
                there["date"] = chance.choice(["20250303", "20250404", "114/03/05", "2025/03/04", "20240304", ""])
    else:
        chance.shuffle(payload.get("tables", []))


def break_header(chance: random.Random, payload: dict[str, Any]) -> None:
    """Columns dropped, doubled, renamed, or moved together with their cells."""
    table = table_of(payload)
    fields = table["fields"] = list(table["fields"])
    place, other = chance.randrange(len(fields)), chance.randrange(len(fields))
    kind = chance.choice(["move", "rename", "drop", "double", "add", "blank"])
    if kind == "move":
        for row in (fields, *table["data"]):
            row.insert(other, row.pop(place))
    elif kind == "rename":
        fields[place] = chance.choice(["", "註記", "收盤價 (元)", None, 5])
    elif kind == "drop":
        del fields[place]
    elif kind == "double":
        fields.insert(place, fields[place])
    elif kind == "add":
        for row in (fields, *table["data"]):
            row.insert(place, "註記")
    else:
        fields[place] = f" {fields[place]}　"


def break_rows(chance: random.Random, payload: dict[str, Any]) -> None:
    """Whole rows dropped, doubled, cut, padded, shifted or put out of order."""
    rows = table_of(payload)["data"]
    at, other = chance.randrange(len(rows)), chance.randrange(len(rows))
    kind = chance.choice(["drop", "double", "cut", "pad", "order", "none", "shift", "totals"])
    if kind == "drop":
        del rows[at]
    elif kind == "double":
        rows.insert(other, list(rows[at]))
    elif kind == "cut":
        del rows[at][chance.randrange(len(rows[at])) :]
    elif kind == "pad":
        rows[at].append(chance.choice(MIXED))
    elif kind == "order":
        chance.shuffle(rows)
    elif kind == "none":
        rows[at] = chance.choice([None, [], {}, "x", 3])
    elif kind == "shift":
        rows[at].insert(chance.randrange(len(rows[at])), rows[at].pop())
    else:
        rows.append(["合計", *["1,000"] * (len(rows[0]) - 1)])


def break_cell(chance: random.Random, payload: dict[str, Any]) -> None:
    """One cell becomes something that is no figure, or the same figure spelt otherwise."""
    row = chance.choice(table_of(payload)["data"])
    if not isinstance(row, list) or not row:
        return
    place = chance.randrange(len(row))
    kind = chance.choice(["mixed", "full-width", "blank", "no commas", "mark", "letter", "dashes"])
    text = str(row[place])
    if kind == "mixed":
        row[place] = chance.choice(MIXED)
    elif kind == "full-width":
        row[place] = "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)
    elif kind == "blank":
        row[place] = f" {text}\t"
    elif kind == "no commas":
        row[place] = text.replace(",", "")
    elif kind == "mark":
        row[place] = text + chance.choice(["＊", "*", "**", "%", "元"])
    elif kind == "letter" and text:
        spot = chance.randrange(len(text))
        row[place] = text[:spot] + chance.choice("OolIxX.-+,/") + text[spot + 1 :]
    else:
        row[place] = "--"


def lie(chance: random.Random, table: dict[str, Any], row: list[Any]) -> None:
    """A possible figure stands under another's name: two rows run into one, two cells or two headers changed places."""
    place, other = chance.randrange(1, len(row)), chance.randrange(1, len(row))
    kind = chance.choice(["rows", "cells", "headers"])
    if kind == "rows":
        row[place:] = chance.choice(table["data"])[place:]
    elif kind == "cells":
        row[place], row[other] = row[other], row[place]
    else:
        table["fields"] = list(table["fields"])
        table["fields"][place], table["fields"][other] = table["fields"][other], table["fields"][place]


def break_figure(chance: random.Random, payload: dict[str, Any], figures: tuple[int, ...]) -> None:
    """A digit of a figure, date or code becomes another, gets lost, or is doubled; or two rows run into one."""
    table = table_of(payload)
    row = chance.choice(table["data"])
    if not isinstance(row, list) or len(row) <= max(figures):
        return
    if chance.random() < 0.2:
        lie(chance, table, row)
        return
    place = chance.choice((0, *figures))
    text = str(row[place])
    spots = [spot for spot, sign in enumerate(text) if sign.isdigit()]
    if not spots:
        return
    spot = chance.choice(spots)
    digit = chance.choice([sign for sign in "0123456789" if sign != text[spot]])
    kind = chance.choice(["other", "other", "other", "lost", "doubled"])
    middle = {"other": digit, "lost": "", "doubled": text[spot] * 2}[kind]
    row[place] = text[:spot] + middle + text[spot + 1 :]


# --- judging ----------------------------------------------------------------------------------------------


def judge(case: Case, payload: Any, *, figure: bool) -> str:
    """What became of a broken payload: error, right, caught, twin.

    Raises:
        AssertionError: a wrong bar passed.
    """
    try:
        reading = case.read(payload)
        checked = check_rows(reading, case.known)
    except BotError:
        return "error"
    verdict = "right" if len(checked.rows) == len(case.truth) else "caught"
    for row in checked.rows:
        true = case.truth.get((row.symbol, row.session))
        wrong = [*TWIN_FIGURES, "close_x100"] if true is None else differences(row, true)
        if not wrong:
            continue
        assert figure, f"{case.name}: a wrong bar: {row} instead of {true}"
        if true is None:
            verdict = "other key"
            assert reads_as_another(row, case), f"{case.name}: a bar from nowhere: {row}"
            continue
        together = row.change_x100 is not None and row.close_x100 - row.change_x100 == before_of(case, true)
        possible = set(wrong) <= set(TWIN_FIGURES) or together
        assert possible, f"{case.name}: {wrong} of {row} instead of {true}"
        verdict = "twin"
    return verdict


def before_of(case: Case, true: Row) -> int:
    """The close before the true row."""
    earlier = [one for one in case.truth.values() if one.symbol == true.symbol and one.session < true.session]
    if earlier:
        return max(earlier, key=lambda one: one.session).close_x100
    return case.known.last[true.symbol].close_x100


def differences(row: Row, true: Row) -> list[str]:
    """The figures in which the two differ; an unknown turnover or number of trades contradicts nothing."""
    figures = ((name, getattr(row, name), getattr(true, name)) for name in (*TWIN_FIGURES, "close_x100"))
    return [name for name, told, truth in figures if told is not None and told != truth]


def reads_as_another(row: Row, case: Case) -> bool:
    """Whether the row's own code or date was turned into another one that nothing is known of."""
    if "day" in case.name:
        return row.symbol not in case.known.last
    return row.session not in case.known.sessions


def fuzz(count: int, seed: int) -> Counter[str]:
    """Break `count` answers; how often each outcome came.

    Raises:
        AssertionError: a wrong bar passed; the message has the seed and the payload.
    """
    chance = random.Random(seed)
    kinds = cases(seed)
    outcomes: Counter[str] = Counter()
    breaks = (break_envelope, break_header, break_rows, break_cell)
    texts = [json.dumps(case.payload, ensure_ascii=False) for case in kinds]
    for number in range(count):
        which = chance.randrange(len(kinds))
        case, payload = kinds[which], json.loads(texts[which])
        figure = chance.random() < 0.4
        try:
            if figure:
                break_figure(chance, payload, case.figures)
            else:
                for _ in range(chance.choice((1, 1, 1, 2, 3))):
                    one = chance.choice(breaks)
                    try:
                        one(chance, payload)
                    except (KeyError, TypeError, AttributeError, IndexError, StopIteration, ValueError):
                        break  # an earlier mutation left nothing to break here
            outcomes[f"{'figure' if figure else 'structure'}: {judge(case, payload, figure=figure)}"] += 1
        except AssertionError as wrong:
            told = json.dumps(payload, ensure_ascii=False)
            raise AssertionError(f"seed {seed}, mutation {number}: {wrong}\n{told[:3000]}") from wrong
    return outcomes


def main() -> None:
    """Run it and print the seed and the outcomes."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--count", type=int, default=100_000)
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    asked = words.parse_args()
    print(f"seed {asked.seed}, {asked.count:,} mutations")
    for outcome, times in sorted(fuzz(asked.count, asked.seed).items()):
        print(f"{times:9,}  {outcome}")
    print("no wrong bar passed")


if __name__ == "__main__":
    main()
