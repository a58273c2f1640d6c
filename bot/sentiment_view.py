"""The mood of headlines, for a person: read, asked and printed. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bot.core.rule import BPS
from bot.errors import Refused

if TYPE_CHECKING:
    from rich.table import Table

    from bot.config import ModelConfig
    from bot.core.forecast import Sentiment
    from bot.core.mood import MoodRules


def print_sentiment(config: ModelConfig, rules: MoodRules, titles: Sequence[str], *, as_json: bool = False) -> None:
    """Ask the model for the mood of each headline and print it, with what makes it less than it seems.

    One with nothing to read, like a lone link, is not asked about: its mood is unknown.

    Raises:
        Refused: there is no headline, or no model.
        EngineFailed: the model gave no answer.
    """
    from rich.console import Console

    from bot.core.prompt import headline_text
    from bot.wiring import engine_of

    if not titles:
        raise Refused("no headline was given")
    asked = [title for title in titles if headline_text(title)]
    engine = engine_of(config)
    try:
        known = dict(zip(asked, engine.sentiment(asked), strict=True)) if asked else {}
        moods = [known.get(title) for title in titles]
    finally:
        engine.close()
    if as_json:
        told = [_mood_facts(title, mood, rules) for title, mood in zip(titles, moods, strict=True)]
        typer.echo(_json({"model": engine.model, "sentiments": told}))
    else:
        Console().print(_mood_table(titles, moods, rules, engine.model))


def read_titles(texts: Sequence[str], file: Path | None) -> list[str]:
    """The headlines given as arguments, then those in `file`, one a line, blank lines left out.

    Raises:
        Refused: the file can't be read as UTF-8 text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as wrong:
        raise Refused(f"{file}: {wrong}") from wrong
    return [text.strip() for text in (*texts, *lines) if text.strip()]


def flags_of(mood: Sentiment, rules: MoodRules) -> list[str]:
    """What makes a headline's mood less than it seems: the same thresholds as for a stock's news."""
    surest = max(mood.positive, mood.neutral, mood.negative)
    mixed = min(mood.positive, mood.negative) * BPS >= rules.mixed_bps
    return [name for name, holds in (("mixed", mixed), ("low confidence", surest * BPS < rules.confident_bps)) if holds]


def _mood_facts(title: str, mood: Sentiment | None, rules: MoodRules) -> dict[str, Any]:
    """A headline's mood for JSON; a label of null is unknown."""
    if mood is None:
        return {"title": title, "label": None}
    told = {"title": title, "label": mood.label, "score": mood.score} | _shares(mood)
    return told | {"flags": flags_of(mood, rules)}


def _mood_table(titles: Sequence[str], moods: Sequence[Sentiment | None], rules: MoodRules, model: str) -> Table:
    """A line for each headline."""
    from rich.table import Table
    from rich.text import Text

    from bot.core.prompt import TITLE_CHARS, clean_text

    table = Table("headline", "mood", "positive", "neutral", "negative", "but", caption=model)
    for title, mood in zip(titles, moods, strict=True):
        # A headline is foreign text: no markup of its own is followed.
        headline = Text(clean_text(title, TITLE_CHARS))
        if mood is None:
            table.add_row(headline, "unknown")
            continue
        shares = (f"{share:.0%}" for share in _shares(mood).values())
        table.add_row(headline, mood.label, *shares, Text(", ".join(flags_of(mood, rules)), "yellow"))
    return table


def _shares(mood: Sentiment) -> dict[str, float]:
    """The three probabilities by name."""
    return {"positive": mood.positive, "neutral": mood.neutral, "negative": mood.negative}


def _json(value: object) -> str:
    """Any of our values as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)).decode()
