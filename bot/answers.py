"""Asking a model once: what is stored is taken from there, the rest is asked, stored, and then given out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.adapters.asked_questions import Named, named
from bot.adapters.askers import Asker
from bot.adapters.sqlite_answers import AnswerStore
from bot.core.forecast import Forecast
from bot.core.prompt import FIELDS
from bot.ports import Engine, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A forecast for each question, in order, None where the model abstained; `made` of them were computed now."""

    forecasts: tuple[Forecast | None, ...]
    made: tuple[Forecast, ...]

    @property
    def abstained(self) -> int:
        """Questions without an answer."""
        return self.forecasts.count(None)

    @property
    def there(self) -> int:
        """Questions whose answer was there, or was made for an equal question among them."""
        return len(self.forecasts) - self.abstained - len(self.made)


def columns_of(engine: Engine) -> Sequence[str]:
    """What a past bar's line tells this engine: an adapter may have been trained on fewer or more than the prices."""
    columns: Sequence[str] = getattr(engine, "columns", FIELDS)
    return columns


def ask_once(
    questions: Sequence[Question], engine: Engine, store: AnswerStore, *, by: Asker, now: Callable[[], datetime]
) -> Answered:
    """As `ask_named`, of questions whose text nobody has hashed yet."""
    columns = columns_of(engine)
    return ask_named([named(one, columns) for one in questions], engine, store, by=by, now=now)


def ask_named(
    questions: Sequence[Named], engine: Engine, store: AnswerStore, *, by: Asker, now: Callable[[], datetime]
) -> Answered:
    """An answer for each of `questions`, each distinct one computed at most once, ever, and stored in one transaction.

    From here on these answers, and no older ones, count for their stocks and sessions.

    Raises:
        EngineFailed, Refused: the engine is gone. What was stored counts; older answers to changed questions don't.
    """
    found = store.known(questions, engine.model)
    store.supersede(questions, engine.model, now(), by=by)
    store.take([(questions[place], one) for place, one in found.items()], now(), by=by)
    first: dict[tuple[str, int, str], int] = {}
    for place, one in enumerate(questions):
        if place not in found:
            first.setdefault((one.sha256, one.question.future_sessions, one.grid), place)
    asked = [questions[place] for place in first.values()]
    told = engine.forecast([one.question for one in asked]) if asked else []
    made = [(one, answer) for one, answer in zip(asked, told, strict=True) if answer is not None]
    store.add(made, now(), by=by)
    found |= {place: answer for place, answer in zip(first.values(), told, strict=True) if answer is not None}
    asked_now = set(first.values())
    equal = [place for place in range(len(questions)) if place not in found and place not in asked_now]
    again = store.known([questions[place] for place in equal], engine.model)
    store.take([(questions[equal[at]], one) for at, one in again.items()], now(), by=by)
    found |= {equal[at]: one for at, one in again.items()}
    return Answered(
        forecasts=tuple(found.get(place) for place in range(len(questions))), made=tuple(one for _, one in made)
    )
