"""What models answered, each answer once, and which of them count for a stock and session.

`answers` holds an answer for each (model, prompt, window, price grid): it is never computed or written twice, whoever
asks again. `forecasts` says for which stock and session, and by whom, an answer was asked for. When the question of a
stock and session changes (its past was told anew by an ex-date, news came), its newest answer is the valid one and the
older ones are superseded, not deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal

from bot.adapters.sqlite_open import writing
from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import is_etf, limit_pct, to_x100
from bot.core.prompt import FIELDS, question_text
from bot.ports import Question

# Who asked: the daemon on its evening, `backtest fill` about stored bars or a folder's, a person.
Asker = Literal["live", "store", "folder", "person"]
# Whose answers a replay takes, the first that there is: what the daemon really said comes before what was made later.
OF_STORE: Final[tuple[Asker, ...]] = ("live", "store")
OF_FOLDER: Final[tuple[Asker, ...]] = ("folder", "live", "store")


def prompt_sha256(question: Question, columns: Sequence[str] = FIELDS) -> str:
    """The hash that names a question: of its text, which a model whose past bars tell `columns` reads."""
    text = question_text(
        question.company.name,
        question.bars,
        context=question.context,
        masked=question.masked,
        columns=columns,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def price_grid(symbol: str, as_of: date) -> str:
    """What turns an answer's codes into prices beside the question: the ticks and the daily limit."""
    return f"{'etf' if is_etf(symbol) else 'stock'}{limit_pct(as_of)}"


class AnswerStore:
    """Reads and writes answers. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`, or from `open_for_reading`."""
        self.db = db

    # --- writing ------------------------------------------------------------------------------------------

    def add(
        self,
        told: Iterable[tuple[Question | None, Forecast]],
        at: datetime,
        *,
        by: Asker = "live",
        columns: Sequence[str] = FIELDS,
    ) -> int:
        """Store answers in one transaction, and that they are the valid ones of their stocks and sessions from now on.

        An answer that is there stays as it is. Returns how many were new. `columns` are those of the model's past bars.
        """
        answers, asked = [], []
        for question, forecast in told:
            key = _name(forecast, question, columns)
            masked = question is not None and question.masked
            close_x100 = to_x100(question.bars[-1].close) if question is not None else None
            answers.append(_answer_row(forecast, key, at, masked=masked))
            asked.append((_Asked(forecast, key, masked=masked), close_x100))
        with writing(self.db):
            before = self.db.conn.total_changes
            self.db.conn.executemany(_INSERT_ANSWER, answers)
            new = int(self.db.conn.total_changes - before)
            self._take(asked, at, by)
        return new

    def known(self, questions: Sequence[Question], model: str, columns: Sequence[str] = FIELDS) -> dict[int, Forecast]:
        """Stored answers to `questions`, by their place: the same question, whoever asked it and whatever for.

        Each is given as the answer about the question's own stock and session.
        """
        found = {}
        for place, one in enumerate(questions):
            symbol = one.company.symbol
            words = [model, prompt_sha256(one, columns), one.future_sessions, price_grid(symbol, one.as_of)]
            for row in self.db.query(_KNOWN, words):
                found[place] = _forecast(row, symbol, one.as_of)
        return found

    def take(
        self,
        told: Iterable[tuple[Question, Forecast]],
        at: datetime,
        *,
        by: Asker = "live",
        columns: Sequence[str] = FIELDS,
    ) -> None:
        """Say that stored answers are the valid ones of their stocks and sessions; others are superseded."""
        asked = [
            (_Asked(one, _name(one, question, columns), masked=question.masked), to_x100(question.bars[-1].close))
            for question, one in told
        ]
        with writing(self.db):
            self._take(asked, at, by)

    def supersede(
        self, questions: Iterable[Question], model: str, at: datetime, *, by: Asker, columns: Sequence[str] = FIELDS
    ) -> None:
        """Before `questions` are asked: valid answers to other questions about their stocks and sessions are void.

        So nothing decides on an old past when the model abstains on the new one.
        """
        rows = [
            {
                "at": at.isoformat(), "symbol": one.company.symbol, "as_of": one.as_of.isoformat(), "by": by,
                "model": model, "past": len(one.bars), "future": one.future_sessions, "masked": int(one.masked),
                "question": prompt_sha256(one, columns),
            }
            for one in questions
        ]  # fmt: skip
        with writing(self.db):
            self.db.conn.executemany(_SUPERSEDE, rows)

    def _take(self, asked: Sequence[tuple[_Asked, int | None]], at: datetime, by: Asker) -> None:
        """Inside a transaction: the newest word on which answers are valid; of a valid one nothing changes."""
        moment = at.isoformat()
        rows = [one.row | {"at": moment, "by": by, "close_x100": close_x100} for one, close_x100 in asked]
        self.db.conn.executemany(_SUPERSEDE, rows)
        self.db.conn.executemany(_TAKE, rows)

    # --- reading ------------------------------------------------------------------------------------------

    def forecasts(
        self,
        *,
        as_of: date,
        model: str,
        past_sessions: int,
        future_sessions: int,
        by: Asker = "live",
        masked: bool = False,
    ) -> dict[str, Forecast]:
        """The valid answers of `model` as of one session, by symbol."""
        rows = self.db.query(
            "select f.symbol, f.as_of, a.* from forecasts f join answers a on a.id = f.answer where f.as_of = ? "
            "and f.asked_by = ? and f.superseded_at is null and a.model = ? and a.past_sessions = ? "
            "and a.future_sessions = ? and a.masked = ? order by f.symbol",
            [as_of.isoformat(), by, model, past_sessions, future_sessions, int(masked)],
        )
        return {row["symbol"]: _forecast(row, row["symbol"], as_of) for row in rows}

    def model_of(self, as_of: date, past_sessions: int, future_sessions: int) -> str | None:
        """The model that the daemon asked last, in this shape, as of `as_of`; None when it asked none."""
        rows = self.db.query(
            "select a.model from forecasts f join answers a on a.id = f.answer where f.as_of = ? "
            "and f.asked_by = 'live' and f.superseded_at is null and a.past_sessions = ? and a.future_sessions = ? "
            "and a.masked = 0 order by julianday(f.asked_at) desc, a.model limit 1",
            [as_of.isoformat(), past_sessions, future_sessions],
        )
        return next((str(row["model"]) for row in rows), None)

    def newest(self) -> list[Forecast]:
        """The daemon's valid answers as of the last session that has any, by symbol."""
        rows = self.db.query(
            "select f.symbol, f.as_of, a.* from forecasts f join answers a on a.id = f.answer "
            "where f.as_of = (select max(as_of) from forecasts where asked_by = 'live' and superseded_at is null) "
            "and f.asked_by = 'live' and f.superseded_at is null and a.masked = 0 order by f.symbol, a.id"
        )
        return [_forecast(row, row["symbol"], date.fromisoformat(row["as_of"])) for row in rows]

    def targets(
        self,
        *,
        since: date,
        until: date,
        past_sessions: int,
        future_sessions: int,
        askers: Sequence[Asker] = OF_STORE,
        masked: bool = False,
        closes_x100: Mapping[tuple[str, str], int] | None = None,
    ) -> list[Forecast]:
        """The valid answers of one shape as of since..until, oldest first, of every model: what the rule looks at.

        Each has its last future session alone, so that years of them are read in a second. Where several askers have
        one for a stock and session, the first of `askers` counts. Answers about another close than `closes_x100` has
        for (symbol, ISO session) are left out: they are of another market.
        """
        rank = {one: place for place, one in enumerate(askers)}
        marks = ",".join("?" * len(askers))
        rows = self.db.execute(
            "select f.symbol, f.as_of, f.asked_by, f.close_x100, a.trained_until, a.model, a.prompt_sha256, "
            "a.p_up, json_extract(a.bars, '$[#-1][0]'), json_extract(a.bars, '$[#-1][1]'), "
            "json_extract(a.bars, '$[#-1][2]'), json_extract(a.bars, '$[#-1][3]'), "
            "json_extract(a.bands, '$[#-1][0]'), json_extract(a.bands, '$[#-1][1]') "
            "from forecasts f join answers a on a.id = f.answer where f.as_of between ? and ? "
            f"and f.superseded_at is null and f.asked_by in ({marks}) "
            "and a.past_sessions = ? and a.future_sessions = ? and a.masked = ? "
            "order by f.as_of, f.symbol, a.model",
            [since.isoformat(), until.isoformat(), *askers, past_sessions, future_sessions, int(masked)],
        )
        day = cache(date.fromisoformat)
        found: dict[tuple[str, str, str], tuple[int, Forecast]] = {}
        for symbol, as_of, asker, close, trained, model, sha256, p_up, o, h, low, c, band_low, band_high in rows:
            if closes_x100 is not None and close is not None and closes_x100.get((symbol, as_of), close) != close:
                continue
            key = as_of, symbol, model
            if key in found and found[key][0] <= rank[asker]:
                continue
            band = () if band_low is None else (Band(low=Decimal(band_low), high=Decimal(band_high)),)
            last = ForecastBar(open=Decimal(o), high=Decimal(h), low=Decimal(low), close=Decimal(c))
            found[key] = (
                rank[asker],
                Forecast(
                    symbol=symbol,
                    as_of=day(as_of),
                    trained_until=day(trained),
                    model=model,
                    past_sessions=past_sessions,
                    bars=(last,),
                    prompt_sha256=sha256,
                    bands=band,
                    p_up=p_up,
                ),
            )
        return [one for _, one in found.values()]

    def spent(self, model: str) -> tuple[int, int, float]:
        """What `model` has cost so far: answers, tokens read and written, seconds."""
        row = next(
            self.db.query(
                "select count(*) as n, coalesce(sum(tokens), 0) as t, coalesce(sum(seconds), 0.0) as s "
                "from answers where model = ?",
                [model],
            )
        )
        return int(row["n"]), int(row["t"]), float(row["s"])


# --- rows -----------------------------------------------------------------------------------------------------


class _Asked:
    """For which stock and session an answer is: the words that find it in `forecasts`."""

    __slots__ = ("row",)

    def __init__(self, forecast: Forecast, question: str, *, masked: bool) -> None:
        self.row: dict[str, object] = {
            "symbol": forecast.symbol,
            "as_of": forecast.as_of.isoformat(),
            "model": forecast.model,
            "past": forecast.past_sessions,
            "future": len(forecast.bars),
            "masked": int(masked),
            "question": question,
            "grid": price_grid(forecast.symbol, forecast.as_of),
        }


_INSERT_ANSWER: Final = (
    "insert or ignore into answers (model, question, future_sessions, grid, prompt_sha256, past_sessions, masked, "
    "trained_until, bars, bands, p_up, tokens, seconds, made_at) values (:model, :question, :future_sessions, :grid, "
    ":prompt_sha256, :past_sessions, :masked, :trained_until, :bars, :bands, :p_up, :tokens, :seconds, :made_at)"
)
_KNOWN: Final = "select * from answers where model = ? and question = ? and future_sessions = ? and grid = ?"
_SAME_PLACE: Final = (
    "f.symbol = :symbol and f.as_of = :as_of and f.asked_by = :by and f.superseded_at is null and exists (select 1 "
    "from answers a where a.id = f.answer and a.model = :model and a.past_sessions = :past "
    "and a.future_sessions = :future and a.masked = :masked and a.question <> :question)"
)
_SUPERSEDE: Final = f"update forecasts as f set superseded_at = :at where {_SAME_PLACE}"
_TAKE: Final = (
    "insert into forecasts (symbol, as_of, asked_by, answer, asked_at, superseded_at, close_x100) "
    "select :symbol, :as_of, :by, id, :at, null, :close_x100 from answers where model = :model "
    "and question = :question and future_sessions = :future and grid = :grid "
    "on conflict (symbol, as_of, asked_by, answer) do update set superseded_at = null, asked_at = excluded.asked_at, "
    "close_x100 = coalesce(excluded.close_x100, close_x100) where superseded_at is not null"
)


def _name(forecast: Forecast, question: Question | None, columns: Sequence[str]) -> str:
    """What names the question that `forecast` answers: its hash; without one, the stock and session themselves."""
    if question is not None:
        return prompt_sha256(question, columns)
    return forecast.prompt_sha256 or unhashed(forecast.symbol, forecast.as_of, forecast.past_sessions)


def unhashed(symbol: str, as_of: date, past_sessions: int) -> str:
    """What names a question whose text was never hashed."""
    return f"{symbol} {as_of} {past_sessions}"


def _answer_row(forecast: Forecast, question: str, at: datetime, *, masked: bool) -> dict[str, object]:
    bars = [[str(bar.open), str(bar.high), str(bar.low), str(bar.close)] for bar in forecast.bars]
    return {
        "model": forecast.model,
        "question": question,
        "future_sessions": len(forecast.bars),
        "grid": price_grid(forecast.symbol, forecast.as_of),
        "prompt_sha256": forecast.prompt_sha256,
        "past_sessions": forecast.past_sessions,
        "masked": int(masked),
        "trained_until": forecast.trained_until.isoformat(),
        "bars": json.dumps(bars),
        "bands": json.dumps([[str(band.low), str(band.high)] for band in forecast.bands]),
        "p_up": forecast.p_up,
        "tokens": forecast.tokens,
        "seconds": forecast.seconds,
        "made_at": at.isoformat(),
    }


def _forecast(row: Mapping[str, Any], symbol: str, as_of: date) -> Forecast:
    """An answer as the one about `symbol` as of `as_of`."""
    return Forecast(
        symbol=symbol,
        as_of=as_of,
        trained_until=date.fromisoformat(row["trained_until"]),
        model=row["model"],
        past_sessions=row["past_sessions"],
        bars=tuple(
            ForecastBar(open=Decimal(o), high=Decimal(h), low=Decimal(low), close=Decimal(c))
            for o, h, low, c in json.loads(row["bars"])
        ),
        prompt_sha256=row["prompt_sha256"],
        bands=tuple(Band(low=Decimal(low), high=Decimal(high)) for low, high in json.loads(row["bands"])),
        p_up=row["p_up"],
        tokens=row["tokens"],
        seconds=row["seconds"],
    )


# --- the schema -----------------------------------------------------------------------------------------------


def migrate_answers(db: Any) -> None:
    """Answers by what was asked, and beside them for what they count; every answer of the old table is carried over."""
    old = list(db["forecasts"].rows)
    db["forecasts"].drop()
    db["answers"].create(
        {"id": int, "model": str, "question": str, "future_sessions": int, "grid": str, "prompt_sha256": str,
         "past_sessions": int, "masked": int, "trained_until": str, "bars": str, "bands": str, "p_up": float,
         "tokens": int, "seconds": float, "made_at": str},
        pk="id", strict=True,
        not_null={"model", "question", "future_sessions", "grid", "prompt_sha256", "past_sessions", "masked",
                  "trained_until", "bars", "bands", "tokens", "seconds", "made_at"},
    )  # fmt: skip
    db["answers"].create_index(["model", "question", "future_sessions", "grid"], unique=True)
    db["forecasts"].create(
        {"symbol": str, "as_of": str, "asked_by": str, "answer": int, "asked_at": str, "superseded_at": str,
         "close_x100": int},
        pk=("symbol", "as_of", "asked_by", "answer"), strict=True, not_null={"asked_at"},
        foreign_keys=[("answer", "answers", "id")],
    )  # fmt: skip
    db["forecasts"].create_index(["as_of"])
    for number, row in enumerate(old, start=1):
        as_of = date.fromisoformat(row["as_of"])
        # The stock and session themselves name the question where two rows would share a hash: nothing is lost.
        own = unhashed(row["symbol"], as_of, row["past_sessions"])
        grid = price_grid(row["symbol"], as_of)
        words = [row["model"], row["prompt_sha256"], row["future_sessions"], grid]
        taken = db["answers"].count_where("model = ? and question = ? and future_sessions = ? and grid = ?", words)
        db["answers"].insert(
            {"id": number, "model": row["model"], "future_sessions": row["future_sessions"], "grid": grid,
             "question": own if taken or not row["prompt_sha256"] else row["prompt_sha256"],
             "prompt_sha256": row["prompt_sha256"], "past_sessions": row["past_sessions"], "masked": 0,
             "trained_until": row["trained_until"], "bars": row["bars"], "bands": "[]", "p_up": None, "tokens": 0,
             "seconds": 0.0, "made_at": row["made_at"]}
        )  # fmt: skip
        db["forecasts"].insert(
            {"symbol": row["symbol"], "as_of": row["as_of"], "asked_by": "live", "answer": number,
             "asked_at": row["made_at"], "superseded_at": None, "close_x100": None}
        )  # fmt: skip
