"""`train answers` and `train table`: base and adapter side by side."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from evaluations import evaluation, mood_result
from typer.testing import CliRunner

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = pytest.importorskip("torch")
pytest.importorskip("peft")
from tiny_runs import CUTS, MANIFEST, SESSIONS, mood_dataset, tiny_config, tune, write_tiny_config  # noqa: E402

from bot.cli import app  # noqa: E402
from bot.errors import Refused  # noqa: E402
from training.answers import answers_of, said  # noqa: E402
from training.cuts import Split  # noqa: E402
from training.dataset import read_dataset, write_dataset  # noqa: E402
from training.evaluation import write_evaluation  # noqa: E402
from training.records import Record  # noqa: E402


def analysis(split: Split, at: int) -> tuple[Split, Record]:
    label = ("U1", "D2")[at % 2]
    record = Record(
        kind="analysis",
        input=f"Outlook {'up' if label == 'U1' else 'down'} {at}" + "." * (at % 5) + "\n",
        output=f"Prediction: {label}\n",
        symbol="2330",
        as_of=SESSIONS[at],
        answer_until=SESSIONS[at + 1],
        label=label,
    )
    return split, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of weeks, and an adapter that learned its two answers."""
    home = tmp_path_factory.mktemp("answers")
    places: list[tuple[Split, range]] = [("train", range(1, 19)), ("valid", range(21, 29)), ("test", range(31, 38))]
    pairs = [analysis(split, at) for split, days in places for at in days]
    write_dataset(home / "data", pairs, replace(MANIFEST, cuts=CUTS), lambda: ())
    tune(home, home / "data", "weekly", epochs=40.0)
    write_tiny_config(home)
    return home


def test_both_answers_stand_beside_what_came_true(folder: Path) -> None:
    given = ["--config", str(folder / "config.toml"), "train", "answers", "--adapter", str(folder / "weekly/adapter")]
    done = CliRunner().invoke(
        app, [*given, "--dataset", str(folder / "data"), "--count", "4", "--tokens", "20", "--json"]
    )

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [one["as_of"] for one in told] == [SESSIONS[at].isoformat() for at in (31, 32, 34, 36)]  # 0, 7/4, 14/4, 21/4
    assert [one["label"] for one in told] == ["D2", "U1", "U1", "U1"]
    # What was learned is written as it was written, to its end; the base with random weights writes nothing of it.
    assert all(one["tuned"].startswith("Prediction: ") and one["tuned_label"] in {"U1", "D2"} for one in told)
    assert all(one["base_label"] is None and one["base"] != one["tuned"] for one in told)


def test_an_answer_does_not_depend_on_its_neighbours(folder: Path) -> None:
    model, records = tiny_config(folder).model, read_dataset(folder / "data").test
    together = answers_of(model, folder / "weekly/adapter", records, 12)
    alone = answers_of(model, folder / "weekly/adapter", records[3:4], 12)
    assert together[3] == alone[0]


def test_what_an_answer_says() -> None:
    _, week = analysis("test", 31)
    assert said(week, "Positive developments:\n- none\nPrediction: U3\n") == "U3"
    assert said(week, "who knows") is None
    mood = replace(week, kind="mood")
    assert said(mood, " positive and more") == "positive"
    assert said(mood, " ") is None


def test_a_dataset_without_such_questions_is_refused(folder: Path, tmp_path: Path) -> None:
    given = ["--config", str(folder / "config.toml"), "train", "answers", "--adapter", str(folder / "weekly/adapter")]
    for more, told in (
        (["--dataset", str(mood_dataset(tmp_path / "moods"))], "no analysis question on its test side"),
        (["--dataset", str(folder / "data"), "--kind", "poems"], "one of analysis, mood, prices is wanted"),
    ):
        done = CliRunner().invoke(app, [*given, *more])
        assert isinstance(done.exception, Refused)
        assert told in str(done.exception)


def test_a_table_has_a_column_for_each_evaluation(tmp_path: Path) -> None:
    for name, right in (("cosine", 240), ("linear", 200)):
        write_evaluation(tmp_path / name, evaluation(moods=(mood_result(adapter=right),)))
    given = ["train", "table", str(tmp_path / "cosine"), str(tmp_path / "linear"), "--only", "adapter_accuracy"]

    told = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    assert told == {"cosine": {"tfns_adapter_accuracy": 0.8}, "linear": {"tfns_adapter_accuracy": pytest.approx(2 / 3)}}
    shown = CliRunner().invoke(app, given).stdout
    assert "cosine" in shown
    assert "0.6667" in shown
    assert isinstance(CliRunner().invoke(app, ["train", "table", str(tmp_path)]).exception, Refused)
