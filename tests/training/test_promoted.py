"""Going live and back: whole, in one step, with a history; killed between any two steps."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import REPO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensor_files import plain_adapter

from bot.adapters.adapter_store import FOLDER, PROMOTED, read_adapter, read_promoted, write_adapter
from bot.errors import Refused
from training.promoted import CARD, LOCK, STAGED, Standing, Switch, promote, rollback, standing

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def adapter(tmp_path: Path, name: str, fill: float = 1.0) -> Path:
    return plain_adapter(tmp_path / "runs" / name / "adapter", name, fill)


def go_live(folder: Path, models: Path, **told: Any) -> Switch:
    return promote(folder, models, card=f"# {folder.parent.name}\n", scores={"hard": 0.5}, at=AT, **told)


def test_a_promoted_adapter_is_a_whole_copy_with_its_card_and_scores(tmp_path: Path, models: Path) -> None:
    folder = adapter(tmp_path, "one")
    go_live(folder, models)

    there = read_adapter(models / FOLDER / "one")
    assert there.scores == {"mood_accuracy": 0.8, "hard": 0.5}  # the run's own, and what it was judged by
    assert (models / FOLDER / "one" / CARD).read_text() == "# one\n"
    assert CARD in there.sha256
    assert read_promoted(models / FOLDER).live == "one"
    assert CARD not in read_adapter(folder).sha256  # the run's own folder is as it was
    assert not list(models.glob(f"{STAGED}*"))


def test_the_file_says_who_was_live_before_and_why(tmp_path: Path, models: Path) -> None:
    go_live(adapter(tmp_path, "one"), models)
    go_live(adapter(tmp_path, "two", 2.0), models, reason="the exchange changed its hours", forced=True)

    told = json.loads((models / FOLDER / PROMOTED).read_bytes())
    assert told["live"] == "two"
    assert [(one["name"], one["from"], one["forced"], one["reason"]) for one in told["history"]] == [
        ("one", "", False, ""),
        ("two", "one", True, "the exchange changed its hours"),
    ]
    assert told["history"][0]["at"] == "2025-03-01T12:00:00Z"


def test_rollback_brings_back_what_was_before_step_by_step(tmp_path: Path, models: Path) -> None:
    for at, name in enumerate(("one", "two", "three")):
        go_live(adapter(tmp_path, name, float(at + 1)), models)

    assert rollback(models, at=AT).name == "two"
    assert rollback(models, at=AT).name == "one"
    assert rollback(models, at=AT).name == ""
    with pytest.raises(Refused, match="no adapter is live"):
        rollback(models, at=AT)
    assert [one.action for one in standing(models).history] == ["promote"] * 3 + ["rollback"] * 3


def test_after_a_rollback_the_next_promotion_counts_from_there(tmp_path: Path, models: Path) -> None:
    for at, name in enumerate(("one", "two")):
        go_live(adapter(tmp_path, name, float(at + 1)), models)
    rollback(models, at=AT)
    go_live(adapter(tmp_path, "three", 3.0), models)

    assert standing(models).line == ("one", "three")
    assert rollback(models, at=AT).name == "one"
    go_live(adapter(tmp_path, "two", 2.0), models)  # the very same as before: it may come back
    assert read_promoted(models / FOLDER).live == "two"


def test_rollback_to_an_earlier_one_or_to_the_base_alone(tmp_path: Path, models: Path) -> None:
    for at, name in enumerate(("one", "two", "three")):
        go_live(adapter(tmp_path, name, float(at + 1)), models)
    with pytest.raises(Refused, match="four was not live before three; there is the base alone, one, two"):
        rollback(models, at=AT, to="four")
    assert rollback(models, at=AT, to="one").origin == "three"
    assert rollback(models, at=AT, to="").name == ""


def test_what_comes_back_calibrated_is_as_sure_as_what_was_judged(tmp_path: Path, models: Path) -> None:
    for name, fill in (("one", 1.0), ("two", 2.0)):
        go_live(adapter(tmp_path, name, fill), models)
    run = tmp_path / "runs/one/adapter"
    write_adapter(run, replace(read_adapter(run), mood_temperature=2.5))

    go_live(run, models)

    assert read_adapter(models / FOLDER / "one").mood_temperature == 2.5


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(("one", "two", "three", "back", "back to base")), max_size=9))
def test_any_row_of_promotions_and_rollbacks_is_a_stack(
    steps: list[str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = tmp_path_factory.mktemp("models")
    runs = {name: plain_adapter(tmp_path / name, name, float(at)) for at, name in enumerate(("one", "two", "three"))}
    stack: list[str] = []
    for step in steps:
        live = stack[-1] if stack else ""
        if step in runs:
            if step == live:
                with pytest.raises(Refused, match="live already"):
                    go_live(runs[step], models)
                continue
            assert go_live(runs[step], models).origin == live
            stack.append(step)
        elif not stack:
            with pytest.raises(Refused, match="no adapter is live"):
                rollback(models, at=AT)
        elif step == "back":
            stack.pop()
            assert rollback(models, at=AT).name == (stack[-1] if stack else "")
        else:
            stack.clear()
            assert rollback(models, at=AT, to="").name == ""
        assert standing(models).line == tuple(stack)
        assert read_promoted(models / FOLDER).live == (stack[-1] if stack else "")


def test_a_damaged_predecessor_does_not_come_back(tmp_path: Path, models: Path) -> None:
    for at, name in enumerate(("one", "two")):
        go_live(adapter(tmp_path, name, float(at + 1)), models)
    (models / FOLDER / "one" / "adapter_model.safetensors").write_bytes(b"no weights")

    with pytest.raises(Refused, match=r"one: adapter_model\.safetensors"):
        rollback(models, at=AT)
    assert read_promoted(models / FOLDER).live == "two"
    assert rollback(models, at=AT, to="").name == ""


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_damaged_adapter_never_goes_live(file: str, tmp_path: Path, models: Path) -> None:
    folder = adapter(tmp_path, "one")
    (folder / file).write_bytes((folder / file).read_bytes()[:-1] + b" ")
    with pytest.raises(Refused, match=file):
        go_live(folder, models)
    assert read_promoted(models / FOLDER).live == ""


def test_another_adapter_of_the_same_name_is_refused_and_the_first_untouched(tmp_path: Path, models: Path) -> None:
    go_live(adapter(tmp_path, "one"), models)
    rollback(models, at=AT)
    before = read_adapter(models / FOLDER / "one")
    with pytest.raises(Refused, match="another adapter one is in adapters/ already"):
        go_live(plain_adapter(tmp_path / "elsewhere", "one", 9.0), models)
    assert read_adapter(models / FOLDER / "one") == before


def test_what_is_live_is_not_promoted_again(tmp_path: Path, models: Path) -> None:
    folder = adapter(tmp_path, "one")
    go_live(folder, models)
    with pytest.raises(Refused, match="one is live already"):
        go_live(folder, models)


def test_one_promotion_at_a_time(tmp_path: Path, models: Path) -> None:
    (models / FOLDER).mkdir()
    with (models / FOLDER / LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="another promotion or rollback is running"):
            go_live(adapter(tmp_path, "one"), models)
    go_live(adapter(tmp_path, "one"), models)


def test_a_full_disk_is_one_line_and_changes_nothing(tmp_path: Path, models: Path) -> None:
    """The disk's refusal is the kernel's own: a file may grow to no more than some bytes in this process."""
    go_live(adapter(tmp_path, "one"), models)
    two = adapter(tmp_path, "two", 2.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        with pytest.raises(Refused, match="two does not go live, nothing has changed: File too large"):
            go_live(two, models)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert read_promoted(models / FOLDER).live == "one"
    assert go_live(two, models).name == "two"


def test_a_broken_promoted_json_is_refused_and_left_alone(tmp_path: Path, models: Path) -> None:
    (models / FOLDER).mkdir()
    file = models / FOLDER / PROMOTED
    file.write_text('{"live": 3}')
    with pytest.raises(Refused, match=r"promoted\.json"):
        go_live(adapter(tmp_path, "one"), models)
    assert file.read_text() == '{"live": 3}'


def test_a_file_of_the_first_form_without_actions_is_read() -> None:
    told = msgspec.json.decode(
        b'{"live": "a", "history": [{"name": "a", "at": "2025-01-01T00:00:00Z", "from": "", "reason": "", '
        b'"forced": false, "scores": {}}]}',
        type=Standing,
    )
    assert told.line == ("a",)


@pytest.mark.parametrize("kind", ["promote", "rollback"])
def test_a_killed_promotion_leaves_the_old_adapter_live_or_the_new_one(kind: str, tmp_path: Path, models: Path) -> None:
    """kill -9 before every change to the disk; then the same command again goes through."""
    go_live(adapter(tmp_path, "one"), models)
    two = adapter(tmp_path, "two", 2.0)
    old, new = ("one", "two") if kind == "promote" else ("two", "one")
    if kind == "rollback":
        go_live(two, models)
    path = os.pathsep.join((str(REPO), os.environ.get("PYTHONPATH", "")))
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("dying_promotion.py")), kind, str(two), str(models)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )

    assert ran.returncode == 0, ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert told[-1]["what"] == "end"
    assert told[-1]["live"] == new
    died = told[:-1]
    steps = {"os.rename .promoted.json.new", "sync .promoted.json.new", "sync adapters"}
    steps |= {"os.rename .staged-adapter-two", "sync adapter_model.safetensors"} if kind == "promote" else set()
    assert steps <= {one["what"] for one in died}, [one["what"] for one in died]
    assert [one["live"] for one in died] == sorted((one["live"] for one in died), key=[old, new].index)
    assert {one["live"] for one in died} == {old, new}
    for one in died:
        done = {"promote": "two is live already", "rollback": ""}[kind]  # a rollback goes one further back
        assert one["again"] == (new if one["live"] == old else done), one


def test_the_scores_are_kept_with_the_switch(tmp_path: Path, models: Path) -> None:
    switch = go_live(adapter(tmp_path, "one"), models)
    assert standing(models).history == (switch,)
    assert standing(models).history[0].scores == {"hard": 0.5}
