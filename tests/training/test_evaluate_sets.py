"""Which labelled sets are asked, and that none of them was taught."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from builders import SHARED, config
from safetensor_files import manifest

from bot.errors import Refused
from training.dataset_job import Job, make_dataset
from training.evaluate_sets import DATASET, check_cut, mood_sets

LABELS = ("positive", "neutral", "negative")


def labelled(path: Path, texts: Sequence[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("text", "label"))
        out.writerows((text, LABELS[at % 3]) for at, text in enumerate(texts))
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    taught = labelled(tmp_path / "taught.csv", [f"Taught headline {at}" for at in range(30)])
    tested = labelled(tmp_path / "tested.csv", [f"Tested: headline {at}, 第{at}季" for at in range(9)])
    make_dataset(config(tmp_path), Job(out=tmp_path / "data", windows=(), labelled=taught, labelled_test=tested))
    return tmp_path / "data"


def sets(*names: str, dataset: Path | None = None, texts: Path | None = None) -> list[tuple[str, int]]:
    told = mood_sets(names, texts=texts, dataset=dataset)
    return [(one.name, len(one.rows)) for one in told]


def test_the_test_side_of_a_dataset_is_asked_as_it_was_written(dataset: Path) -> None:
    assert sets("hard", dataset=dataset) == [(DATASET, 9), ("hard", 120)]
    [first, *_] = mood_sets((), texts=None, dataset=dataset)
    assert {row.text for row in first.rows} == {f"Tested: headline {at}, 第{at}季" for at in range(9)}
    assert sorted(row.label for row in first.rows) == sorted(LABELS * 3)


def test_a_set_with_a_taught_text_is_refused(dataset: Path, tmp_path: Path) -> None:
    mixed = labelled(tmp_path / "mixed.csv", ["Never seen", "TAUGHT headline: 7!"])
    assert sets(str(mixed)) == [("mixed", 2)]
    with pytest.raises(Refused, match=r"mixed: 1 of 2 texts are in what .*data teaches"):
        sets(str(mixed), dataset=dataset)


def test_hard_cases_stand_last_and_a_file_goes_by_its_name(tmp_path: Path) -> None:
    mine = labelled(tmp_path / "mine.csv", ["a", "b"])
    assert sets("hard", str(mine)) == [("mine", 2), ("hard", 120)]


def test_a_label_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("text,label\nGood news,bullish\n", encoding="utf-8")
    with pytest.raises(Refused, match="row 1"):
        sets(str(path))


def test_undated_headlines_have_no_cut_to_hide(dataset: Path) -> None:
    check_cut(dataset, manifest("night-3", trained_until=date(2000, 1, 1)))


@pytest.mark.skipif(not (SHARED / "sentiment").is_dir(), reason="../shared/data/sentiment is absent")
def test_the_published_test_sides() -> None:
    assert sets("fpb900", "fpb", "tfns", "fiqa", texts=SHARED / "sentiment") == [
        ("fpb900", 900),
        ("fpb", 1_212),
        ("tfns", 2_388),
        ("fiqa", 235),
    ]
