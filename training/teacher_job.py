"""What `twtrader train teacher` does: gather what was known, ask, keep."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bot.config import Config
from bot.core.prompt import headline_text
from bot.errors import ConfigError, Refused
from bot.secrets import optional_secret
from bot.universe import load_universe
from training.analysis import PAST_CLOSES, KnownWeek
from training.dataset_job import market_of, news_of
from training.examples import known_weeks
from training.market_data import headlines_in, headlines_in_store
from training.teacher import KEY, Outcome, Teacher, TeacherServer
from training.teacher_log import open_log
from training.teacher_tasks import AnalysisTask, Language, MoodTask, Task, invent_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for; each field is the option of its name."""

    what: str
    data: Path | None = None
    headlines: Path | None = None
    since: date = date.min
    until: date = date.max
    stride: int = 5
    most: int = 0
    seed: int = 42
    language: Language = "en"


def ask_teacher(config: Config, wanted: Wanted, out: Path, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Ask what `wanted` names and is not yet in the file `out`.

    Raises:
        ConfigError: no teacher is configured.
        Refused: nothing to ask, or the file can't be used.
        EngineFailed: the server will answer nothing at all.
    """
    teacher = config.teacher
    if not teacher.base_url or not teacher.model:
        raise ConfigError("no teacher: set `teacher.base_url` and `teacher.model`, or give --url and --model")
    tasks = tasks_of(config, wanted)
    if not tasks:
        raise Refused("nothing to ask: no week or headline is known in those days")
    with closing(TeacherServer(teacher, optional_secret(KEY))) as server, open_log(out) as log:
        return Teacher(server, log, teacher, tell).run(tasks)


def tasks_of(config: Config, wanted: Wanted) -> Sequence[Task]:
    """The questions, the oldest first, so that earlier answers can be shown to later ones."""
    if wanted.what == "invent":
        if not wanted.most:
            raise Refused("--most says how many requests for new headlines are wanted")
        return invent_tasks(wanted.most, wanted.language)
    if wanted.what == "headlines":
        return _drawn(_mood_tasks(config, wanted), wanted)
    weeks = weeks_known(config, wanted)
    return _drawn([AnalysisTask(week=week, language=wanted.language) for week in weeks], wanted)


def weeks_known(config: Config, wanted: Wanted) -> list[KnownWeek]:
    """What was known at the end of each asked week: nothing else of the market leaves this function."""
    market = market_of(config, wanted.data, date.min, wanted.until, PAST_CLOSES)
    news = news_of(config, wanted.headlines, wanted.data, market)
    weeks = [week for _, _, week in known_weeks(market, news, wanted.stride) if week.as_of >= wanted.since]
    return sorted(weeks, key=lambda week: (week.as_of, week.symbol))


def _mood_tasks(config: Config, wanted: Wanted) -> list[Task]:
    """One for every headline about a stock of the universe that has something to read."""
    symbols = {company.symbol for company in load_universe(config.universe)}
    if wanted.headlines is not None:
        found = headlines_in(wanted.headlines, symbols)
    else:
        found = headlines_in_store(config.store.path, symbols)
    return [
        MoodTask(title=article.title, day=article.published_at.date(), language=wanted.language)
        for article in found.all()
        if wanted.since <= article.published_at.date() <= wanted.until and headline_text(article.title)
    ]


def _drawn(tasks: Sequence[Task], wanted: Wanted) -> list[Task]:
    """At most so many of them, in their order."""
    if not wanted.most or len(tasks) <= wanted.most:
        return list(tasks)
    places = sorted(random.Random(wanted.seed).sample(range(len(tasks)), wanted.most))  # noqa: S311
    return [tasks[place] for place in places]
