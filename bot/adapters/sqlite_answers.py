"""What models answered, each answer once, and which of them count for a stock and session.

`answers` holds an answer for each (model, prompt, window, price grid): it is never computed or written twice, whoever
asks again. `forecasts` says for which stock and session, and by whom, an answer was asked for. When the question of a
stock and session changes (its past was told anew by an ex-date, news came), its newest answer is the valid one and the
older ones are superseded, not deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

from bot.adapters.asked_questions import Named, price_grid, unhashed
from bot.adapters.askers import OF_STORE, Asker, Said
from bot.adapters.sqlite_open import writing
from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import to_x100


class AnswerStore:
    """Reads and writes answers. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`, or from `open_for_reading`."""
        self.db = db

    # --- writing ------------------------------------------------------------------------------------------

    def add(self, told: Iterable[tuple[Named | None, Forecast]], at: datetime, *, by: Asker = "live") -> int:
        """Store answers in one transaction, and that they are the valid ones of their stocks and sessions from now on.

        An answer that is there stays as it is. Returns how many were new.
        """
        answers, taken = [], []
        for asked, forecast in told:
            row = _taken_row(asked, forecast)
            answers.append(_answer_row(forecast, row, at))
            taken.append(row)
        with writing(self.db):
            before = self.db.conn.total_changes
            self.db.conn.executemany(_INSERT_ANSWER, answers)
            new = int(self.db.conn.total_changes - before)
            self._take(taken, at, by)
        return new

    def known(self, questions: Sequence[Named], model: str) -> dict[int, Forecast]:
        """Stored answers to `questions`, by their place: the same question, whoever asked it and whatever for.

        Each is given as the answer about the question's own stock and session.
        """
        found = {}
        for place, one in enumerate(questions):
            asked = one.question
            for row in self.db.query(_KNOWN, [model, one.sha256, asked.future_sessions, one.grid]):
                found[place] = _forecast(row, asked.company.symbol, asked.as_of)
        return found

    def take(self, told: Iterable[tuple[Named, Forecast]], at: datetime, *, by: Asker = "live") -> None:
        """Say that stored answers are the valid ones of their stocks and sessions; others are superseded."""
        taken = [_taken_row(asked, forecast) for asked, forecast in told]
        with writing(self.db):
            self._take(taken, at, by)

    def supersede(self, questions: Iterable[Named], model: str, at: datetime, *, by: Asker) -> None:
        """Before `questions` are asked: valid answers to other questions about their stocks and sessions are void.

        So nothing decides on an old past when the model abstains on the new one.
        """
        rows = [
            {
                "at": at.isoformat(), "symbol": one.question.company.symbol, "as_of": one.question.as_of.isoformat(),
                "by": by, "model": model, "past": len(one.question.bars), "future": one.question.future_sessions,
                "masked": int(one.question.masked), "question": one.sha256,
            }
            for one in questions
        ]  # fmt: skip
        with writing(self.db):
            self.db.conn.executemany(_SUPERSEDE, rows)

    def _take(self, taken: Sequence[dict[str, object]], at: datetime, by: Asker) -> None:
        """Inside a transaction: the newest word on which answers are valid; of a valid one nothing changes."""
        rows = [one | {"at": at.isoformat(), "by": by} for one in taken]
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
    ) -> list[Said]:
        """The valid answers to `askers`, of one shape, as of since..until, oldest first: what the rule looks at.

        Of every model. Each has its last future session alone, so that years of them are read in a second. `counting`
        chooses among several askers' answers about one stock and session.
        """
        marks = ",".join("?" * len(askers))
        rows = self.db.execute(
            "select f.symbol, f.as_of, f.asked_by, f.close_x100, a.trained_until, a.model, a.prompt_sha256, "
            "a.p_up, json_extract(a.bars, '$[#-1][0]'), json_extract(a.bars, '$[#-1][1]'), "
            "json_extract(a.bars, '$[#-1][2]'), json_extract(a.bars, '$[#-1][3]'), "
            "json_extract(a.bands, '$[#-1][0]'), json_extract(a.bands, '$[#-1][1]') "
            "from forecasts f join answers a on a.id = f.answer where f.as_of between ? and ? "
            f"and f.asked_by in ({marks}) "
            "and f.superseded_at is null and a.past_sessions = ? and a.future_sessions = ? and a.masked = ? "
            "order by f.as_of, f.symbol, a.model",
            [since.isoformat(), until.isoformat(), *askers, past_sessions, future_sessions, int(masked)],
        )
        day = cache(date.fromisoformat)
        return [
            Said(
                Forecast(
                    symbol=symbol,
                    as_of=day(as_of),
                    trained_until=day(trained),
                    model=model,
                    past_sessions=past_sessions,
                    bars=(ForecastBar(open=Decimal(o), high=Decimal(h), low=Decimal(low), close=Decimal(c)),),
                    prompt_sha256=sha256,
                    bands=() if band_low is None else (Band(low=Decimal(band_low), high=Decimal(band_high)),),
                    p_up=p_up,
                ),
                asker,
                close,
            )
            for symbol, as_of, asker, close, trained, model, sha256, p_up, o, h, low, c, band_low, band_high in rows
        ]

    def whole(
        self, *, since: date, until: date, past_sessions: int, askers: Sequence[Asker] = OF_STORE
    ) -> list[tuple[Forecast, int | None]]:
        """The valid unmasked answers as of since..until with all their sessions, of every model and window ahead.

        Beside each the close it was asked after, in hundredths of a TWD where it is known. Where several askers have
        the same answer it is there once.
        """
        marks = ",".join("?" * len(askers))
        rows = self.db.query(
            "select f.symbol, f.as_of, max(f.close_x100) as close, a.* "
            "from forecasts f join answers a on a.id = f.answer "
            f"where f.as_of between ? and ? and f.superseded_at is null and f.asked_by in ({marks}) "
            "and a.past_sessions = ? and a.masked = 0 group by f.symbol, f.as_of, a.id "
            "order by f.as_of, f.symbol, a.id",
            [since.isoformat(), until.isoformat(), *askers, past_sessions],
        )
        return [(_forecast(row, row["symbol"], date.fromisoformat(row["as_of"])), row["close"]) for row in rows]

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


def _taken_row(asked: Named | None, forecast: Forecast) -> dict[str, object]:
    """For which stock and session an answer is. Without its question, its hash or else these themselves name it."""
    own = unhashed(forecast.symbol, forecast.as_of, forecast.past_sessions)
    return {
        "symbol": forecast.symbol,
        "as_of": forecast.as_of.isoformat(),
        "model": forecast.model,
        "past": forecast.past_sessions,
        "future": len(forecast.bars),
        "masked": int(asked is not None and asked.question.masked),
        "question": asked.sha256 if asked else forecast.prompt_sha256 or own,
        "grid": asked.grid if asked else price_grid(forecast.symbol, forecast.as_of),
        "close_x100": to_x100(asked.question.bars[-1].close) if asked else None,
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


def _answer_row(forecast: Forecast, taken: Mapping[str, object], at: datetime) -> dict[str, object]:
    bars = [[str(bar.open), str(bar.high), str(bar.low), str(bar.close)] for bar in forecast.bars]
    return {
        "model": forecast.model,
        "question": taken["question"],
        "future_sessions": len(forecast.bars),
        "grid": taken["grid"],
        "prompt_sha256": forecast.prompt_sha256,
        "past_sessions": forecast.past_sessions,
        "masked": taken["masked"],
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
