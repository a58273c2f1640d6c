"""Labelled corpora: published counts, no text on both sides, one-line refusals."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.prompt import LABELS
from bot.errors import Refused
from training.corpora import PUBLISHED, fiqa_scored, label_of_score, load
from training.labelled import Labelled, Removed, corpus_of, read_labelled, same_text, without_repeats

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "sentiment"
needs_texts = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data/sentiment is not there")


def counts(rows):
    by_label = Counter(one.label for one in rows)
    return tuple(by_label[label] for label in LABELS)


@needs_texts
def test_the_900_split_has_300_of_each_label_on_each_side() -> None:
    corpus = load("fpb900", FOLDER)
    assert counts(corpus.train) == counts(corpus.test) == (300, 300, 300)
    assert counts(corpus.valid) == (50, 50, 4)  # of 604 negative texts four are left
    texts = [same_text(one.text) for one in (*corpus.train, *corpus.test, *corpus.valid)]
    assert len(set(texts)) == 900 + 900 + 104
    assert load("fpb900", FOLDER) == corpus  # the draw is fixed


@needs_texts
def test_published_test_sides_stay_as_published() -> None:
    # Sizes as published (FinGPT's tables, the data cards): 1,212, 2,388 and 235; classes counted from the raw files.
    assert counts(load("fpb", FOLDER).test) == (339, 728, 145)
    assert counts(load("tfns", FOLDER).test) == (475, 1566, 347)
    assert counts(load("fiqa", FOLDER).test) == (141, 18, 76)


@needs_texts
def test_what_the_train_sides_lost_adds_up_to_the_files() -> None:
    raw = {"fpb": 3_628, "tfns": 9_543, "fiqa": 498 + 675}  # rows in the files
    for name, rows in raw.items():
        corpus = load(name, FOLDER)
        lost = corpus.removed
        assert len(corpus.train) == rows - lost.in_test - lost.repeated - lost.contradicted, name
    assert load("fpb", FOLDER).removed == Removed(in_test=1, repeated=2)


@needs_texts
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_no_text_is_on_both_sides(name: str) -> None:
    corpus = load(name, FOLDER)
    train = [same_text(one.text) for one in corpus.train]
    assert len(set(train)) == len(train)
    assert not set(train) & {same_text(one.text) for one in corpus.test}


@needs_texts
def test_score_thresholds_give_every_label_of_the_fiqa_test_set() -> None:
    scores: dict[str, set[str]] = {}
    for file in ("fiqa_headline.json", "fiqa_post.json"):
        for text, score in fiqa_scored(FOLDER / file):
            scores.setdefault(same_text(text), set()).add(label_of_score(score))
    test = load("fiqa", FOLDER).test
    assert all(one.label in scores[same_text(one.text)] for one in test)  # one of its aspects says so
    assert sum(scores[same_text(one.text)] == {one.label} for one in test) >= 225  # and nearly always all do


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$AMD up 3%: https://t.co/abc", "$amd UP 3 %: https://t.co/xyz"),
        ("台積電　營收創高！", "台積電營收創高"),
        ("ＡＢＣ profit", "abc profit"),
    ],
)
def test_the_same_text_in_another_dress_is_the_same(one: str, other: str) -> None:
    assert same_text(one) == same_text(other)


def test_other_numbers_make_another_text() -> None:
    assert same_text("profit up 3 %") != same_text("profit up 8 %")


ROWS = st.lists(st.builds(Labelled, st.sampled_from(["a", "A.", "b", "c", "c!", "d"]), st.sampled_from(LABELS)))


@given(ROWS, ROWS)
def test_without_repeats_counts_every_row_once_and_keeps_no_doubtful_one(rows, test) -> None:
    kept, removed = without_repeats(rows, test)
    assert len(kept) + removed.in_test + removed.repeated + removed.contradicted == len(rows)
    keys = [same_text(one.text) for one in kept]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & {same_text(one.text) for one in test}
    for one in kept:
        assert {other.label for other in rows if same_text(other.text) == same_text(one.text)} == {one.label}


def test_reads_csv_json_and_jsonl_by_column_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,headline,mood\n1,營收創高,Positive\n2,plain, neutral \n", encoding="utf-8")
    rows = [{"headline": "營收創高", "mood": "positive"}, {"headline": "plain", "mood": "neutral"}]
    (tmp_path / "b.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    expected = [Labelled("營收創高", "positive"), Labelled("plain", "neutral")]
    for name in ("a.csv", "b.json", "c.jsonl"):
        assert read_labelled(tmp_path / name, text="headline", label="mood") == expected


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("a.csv", "text,label\nfine,happy\n", "row 1: label 'happy' is none of positive, neutral, negative"),
        ("a.csv", "text,mood\nfine,positive\n", "row 1: no column label"),
        ("a.csv", "text,label\n ,positive\n", "row 1: `text` is empty"),
        ("a.json", '{"text": "x"}', "a list of objects is wanted"),
        ("a.json", "[1]", "a list of objects is wanted"),
        ("a.jsonl", '{"text": "x"\n', "a.jsonl"),
        ("a.csv", None, "No such file"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, file: str, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(Refused) as refused:
        read_labelled(tmp_path / file)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_own_sides_must_hold_something_and_share_nothing() -> None:
    good = [Labelled("up", "positive")]
    with pytest.raises(Refused, match="mine: the test side is empty"):
        corpus_of("mine", good, [])
    with pytest.raises(Refused, match="mine: a text of the test side has nothing to read: 'https:"):
        corpus_of("mine", good, [Labelled("down", "negative"), Labelled("https://t.co/a1 !", "neutral")])
    with pytest.raises(Refused, match="stands in the train side and in the test side: 'up'"):
        corpus_of("mine", good, [Labelled("UP!", "negative")])


def test_an_unknown_corpus_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="'imdb' is no corpus; there are fiqa, fpb, fpb900, own, own_en, own_zh, tfns"):
        load("imdb", tmp_path)


def test_a_published_corpus_needs_its_folder() -> None:
    with pytest.raises(Refused, match="corpus tfns: say with --texts in which folder its files lie"):
        load("tfns")
