"""`twtrader sentiment`: moods with their doubts, of arguments and of a file."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from builders import REPO
from rich.console import Console
from typer.testing import CliRunner

import bot.wiring
from bot.cli import app
from bot.config_file import load_config
from bot.core.forecast import Forecast, Sentiment
from bot.errors import Refused
from bot.ports import Question
from bot.sentiment_view import _mood_table, flags_of, read_titles

MOODS = {
    "good [bold]news[/bold]": Sentiment(positive=0.8, neutral=0.15, negative=0.05),
    "good and bad": Sentiment(positive=0.45, neutral=0.15, negative=0.40),
    "who knows": Sentiment(positive=0.30, neutral=0.45, negative=0.25),
    "利空": Sentiment(positive=0.1, neutral=0.2, negative=0.7),
}
EMPTY = "https://t.co/a1 www.b.tw"
RULES = load_config(REPO / "config.toml").news  # mixed from 35 % each, low confidence under 50 %


class Reader:
    """Knows the mood of a few headlines; of others it is unknown."""

    model = "reader@1"

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment | None]:
        assert titles
        assert EMPTY not in titles, "asked about nothing"
        return [MOODS.get(title) for title in titles]

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_flags_by_hand() -> None:
    assert [flags_of(mood, RULES) for mood in MOODS.values()] == [
        [],
        ["mixed", "low confidence"],
        ["low confidence"],
        [],
    ]


def test_json_tells_probabilities_score_and_doubts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot.wiring, "engine_of", lambda _: Reader())
    file = tmp_path / "titles.txt"
    file.write_text("\n利空\n\ngood and bad\n", encoding="utf-8")
    words = ["-c", str(REPO / "config.toml"), "sentiment", "who knows", "--file", str(file), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(one["title"], one["label"], one["flags"]) for one in told["sentiments"]] == [
        ("who knows", "neutral", ["low confidence"]),
        ("利空", "negative", []),
        ("good and bad", "positive", ["mixed", "low confidence"]),
    ]
    assert told["sentiments"][1]["score"] == pytest.approx(-0.6)
    assert told["model"] == "reader@1"


def test_a_mood_that_the_model_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot.wiring, "engine_of", lambda _: Reader())
    words = ["-c", str(REPO / "config.toml"), "sentiment", "never heard"]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert told["sentiments"] == [{"title": "never heard", "label": None}]
    assert "unknown" in CliRunner().invoke(app, words).stdout


@pytest.mark.parametrize("others", [[], ["利空"]])
def test_a_lone_link_is_not_asked_about_and_unknown(monkeypatch: pytest.MonkeyPatch, others: list[str]) -> None:
    monkeypatch.setattr(bot.wiring, "engine_of", lambda _: Reader())
    words = ["-c", str(REPO / "config.toml"), "sentiment", EMPTY, *others]
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [(one["title"], one["label"]) for one in told["sentiments"]] == [
        (EMPTY, None),
        *((title, "negative") for title in others),
    ]
    shown = CliRunner().invoke(app, words).stdout
    assert EMPTY in shown
    assert "unknown" in shown


def test_a_headlines_own_markup_is_shown_not_followed() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(_mood_table([*MOODS], [*MOODS.values()], RULES, "m"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("bold") == 2  # the words are there, as words
    assert "mixed, low confidence" in text


def test_nothing_to_read_and_a_file_that_is_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x00\x81")
    for file in (tmp_path / "raw", tmp_path / "absent"):
        with pytest.raises(Refused, match=file.name):
            read_titles([], file)
    done = CliRunner().invoke(app, ["-c", str(REPO / "config.toml"), "sentiment", "  "])
    assert isinstance(done.exception, Refused)
