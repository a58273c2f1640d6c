"""What a teacher said, as a dataset needs it: analyses by stock and day, headlines with their mood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from bot.errors import Refused
from training.analysis import Analysis
from training.examples import Dated
from training.labelled import Corpus, Labelled, Removed
from training.teacher_log import State, read_log
from training.teacher_tasks import analysis_of_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Accepted answers only. `texts` are headlines that the teacher invented: they have no date."""

    analyses: Mapping[tuple[str, date], Analysis] = field(default_factory=dict)
    moods: tuple[Dated, ...] = ()
    texts: tuple[Labelled, ...] = ()
    source: str = "teacher"
    language: str = "en"

    @property
    def corpus(self) -> Corpus | None:
        """The invented headlines as something to learn from; nothing is tested on them."""
        if not self.texts:
            return None
        return Corpus(name=self.source, licence="as the teacher's", train=self.texts, test=(), removed=Removed())


def read_told(path: Path) -> Told:
    """What the teacher's file at `path` holds.

    Raises:
        Refused: it can't be read, its answers are of two languages, or a line in it was changed.
    """
    state = read_log(path)
    languages = {line.language for line in state.accepted.values() if line.kind == "analysis"}
    if len(languages) > 1:
        raise Refused(f"{path}: analyses in {' and '.join(sorted(languages))}: give each language a file of its own")
    source = "teacher " + ", ".join(sorted({line.model for line in state.accepted.values()}))
    try:
        return _told(state, source, next(iter(languages), "en"))
    except ValueError as wrong:
        raise Refused(f"{path}: {wrong}") from wrong


def _told(state: State, source: str, language: str) -> Told:
    analyses: dict[tuple[str, date], Analysis] = {}
    moods: list[Dated] = []
    texts: list[Labelled] = []
    for line in state.accepted.values():
        if line.kind == "analysis" and line.symbol and line.day:
            analyses[line.symbol, line.day] = analysis_of_json(line.answer)
        elif line.kind == "mood" and line.day:
            moods += [Dated(text=one, label=line.label, day=line.day, source=source) for one in line.texts]
        elif line.kind == "invent":
            texts += [Labelled(one, line.label) for one in line.texts]
    return Told(analyses=analyses, moods=tuple(moods), texts=tuple(texts), source=source, language=language)
