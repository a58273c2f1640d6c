"""The dataset folder: no answer reaches past a cut, sides share nothing, what is wrong is one clear line."""

import csv
import json
import random
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import msgspec
import pytest
from builders import REPO, SHARED, config, days
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.config import TAIPEI
from bot.core.forecast import Article
from bot.core.prompt import LABELS
from bot.errors import Refused
from training.cuts import SPLITS, Cuts, cuts_of
from training.dataset import MANIFEST, Manifest, read_dataset, write_dataset
from training.dataset_job import Job, make_dataset
from training.examples import Dated, mood_examples, mood_record
from training.labelled import Corpus, Labelled, Removed, same_text
from training.market_data import Headlines
from training.records import FORMS, Record, read_records
from training.windows import Window

needs_bars = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
SESSIONS = days(date(2024, 1, 1), 100)
CUTS = cuts_of(SESSIONS, SESSIONS[59], SESSIONS[79], 5)
MADE = datetime(2025, 1, 1, tzinfo=TAIPEI)
MANIFEST_OF_A_TEST = Manifest(
    form="pairs", made=MADE, cuts=CUTS, columns=("close",), windows=((1, 1),), masked=False, context="none",
    stride=1, most=0, seed=1, sources=(),
)  # fmt: skip


def price(as_of: int, until: int) -> Record:
    """A record asked after session number `as_of` whose answer ends with session number `until`."""
    return Record(
        kind="prices", input="q\n", output="a\n", symbol="2330", as_of=SESSIONS[as_of], answer_until=SESSIONS[until]
    )


GOOD = (("train", price(10, 15)), ("valid", price(64, 69)), ("test", price(84, 89)))


def write(folder: Path, pairs=GOOD, **changes) -> Manifest:
    return write_dataset(folder, pairs, replace(MANIFEST_OF_A_TEST, **changes), lambda: ())


# --- cuts ----------------------------------------------------------------------------------------------------------


def test_an_embargo_stands_between_the_sides() -> None:
    # Sessions 0..59 | 60..64 embargo | 65..79 | 80..84 embargo | 85..99, by hand; a question is asked after its day.
    assert CUTS.split_of(SESSIONS[54], SESSIONS[59]) == "train"
    assert CUTS.split_of(SESSIONS[55], SESSIONS[60]) is None
    assert CUTS.split_of(SESSIONS[63], SESSIONS[68]) is None
    assert CUTS.split_of(SESSIONS[64], SESSIONS[65]) == "valid"
    assert CUTS.split_of(SESSIONS[74], SESSIONS[79]) == "valid"
    assert CUTS.split_of(SESSIONS[75], SESSIONS[80]) is None
    assert CUTS.split_of(SESSIONS[84], SESSIONS[85]) == "test"


@given(st.integers(3, 80), st.data())
def test_no_two_sides_share_a_day_of_an_answer_and_the_embargo_lies_between(count, data) -> None:
    sessions = days(date(2024, 1, 1), count)
    embargo = data.draw(st.integers(0, 8))
    cut, valid_until = (data.draw(st.sampled_from(sessions)) for _ in range(2))
    try:
        cuts = cuts_of(sessions, cut, valid_until, embargo)
    except Refused:
        return
    told: dict[int, str] = {}  # the side by each session that some answer of at most `embargo` sessions holds
    for as_of in range(count - 1):
        for until in range(as_of + 1, min(as_of + max(embargo, 1) + 1, count)):
            side = cuts.split_of(sessions[as_of], sessions[until])
            if side is not None:
                for day in range(as_of + 1, until + 1):
                    assert told.setdefault(day, side) == side
    for side, cut_day in (("train", cut), ("valid", valid_until)):
        assert all(sessions[day] <= cut_day for day, of in told.items() if of == side)
    for early, late in (("train", "valid"), ("valid", "test")):
        ends = [day for day, of in told.items() if of == early]
        begins = [day for day, of in told.items() if of == late]
        if ends and begins:
            assert min(begins) - max(ends) > embargo


@pytest.mark.parametrize(
    ("cut", "valid_until"), [(date(2023, 1, 1), None), (SESSIONS[79], SESSIONS[80]), (SESSIONS[50], SESSIONS[97])]
)
def test_a_cut_that_leaves_a_side_empty_is_refused(cut, valid_until) -> None:
    with pytest.raises(Refused, match="with 5 sessions between the sides: one would be empty"):
        cuts_of(SESSIONS, cut, valid_until, 5)


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_folder_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "d")
    told = read_dataset(tmp_path / "d")
    assert told.manifest == written
    assert told.cut == SESSIONS[59]
    assert [told.train, told.valid, told.test] == [[record] for _, record in GOOD]
    assert written.counts == {split: {"prices": 1} for split in SPLITS}


TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), min_size=1, max_size=30)


@settings(max_examples=30)
@given(TEXT, TEXT, st.sampled_from(FORMS))
def test_any_text_survives_every_form(tmp_path_factory: pytest.TempPathFactory, asked, answered, form) -> None:
    folder = tmp_path_factory.mktemp("forms") / "d"
    records = [(split, replace(record, input=asked, output=answered, label="U1")) for split, record in GOOD]
    write(folder, records, form=form)
    assert read_dataset(folder).train == [records[0][1]]


def test_forms_are_what_other_tools_read(tmp_path: Path) -> None:
    write(tmp_path / "chat", form="chat")
    [chat] = [json.loads(line) for line in (tmp_path / "chat/train.jsonl").read_text().splitlines()]
    assert chat["messages"] == [{"role": "user", "content": "q\n"}, {"role": "assistant", "content": "a\n"}]
    write(tmp_path / "pairs")
    [pair] = [json.loads(line) for line in (tmp_path / "pairs/train.jsonl").read_text().splitlines()]
    assert (pair["input"], pair["output"], pair["as_of"]) == ("q\n", "a\n", SESSIONS[10].isoformat())
    write(tmp_path / "csv", form="csv")
    with (tmp_path / "csv/train.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["input"], row["output"], row["label"]) == ("q\n", "a\n", "")


@pytest.mark.parametrize(
    ("split", "record", "told"),
    [
        ("train", price(55, 60), "stands in train"),
        ("train", price(64, 69), "stands in train"),
        ("valid", price(63, 68), "stands in valid"),
        ("valid", price(79, 84), "stands in valid"),
        ("test", price(83, 88), "stands in test"),
        ("train", price(12, 10), "stands in train"),
        ("train", Record(kind="prices", input="q", output="a"), "has no date"),
        ("train", Record(kind="analysis", input="q", output="a"), "has no date"),
    ],
)
def test_a_misplaced_example_is_never_written_and_never_read(tmp_path: Path, split, record, told) -> None:
    with pytest.raises(Refused, match=told):
        write(tmp_path / "d", [*GOOD, (split, record)])
    assert list(tmp_path.iterdir()) == []  # nothing half-made stays behind
    write(tmp_path / "d")
    _forge(tmp_path / "d", split, record)
    with pytest.raises(Refused, match=told):
        read_dataset(tmp_path / "d")


def _forge(folder: Path, split: str, record: Record) -> None:
    """Add a record by hand, hashes put right: what somebody's own script might write."""
    path = folder / f"{split}.jsonl"
    path.write_bytes(path.read_bytes() + msgspec.json.encode(record) + b"\n")
    facts = json.loads((folder / MANIFEST).read_text())
    import hashlib

    facts["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(facts))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "d")
    path = tmp_path / "d/test.jsonl"
    path.write_text(path.read_text().replace("a\\n", "b\\n"))
    with pytest.raises(Refused, match=r"test\.jsonl: not as it was written"):
        read_dataset(tmp_path / "d")


def test_a_dataset_in_another_answer_language_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "d")
    told = json.loads((tmp_path / "d/dataset.json").read_text())
    assert told.pop("language") == 2
    (tmp_path / "d/dataset.json").write_text(json.dumps(told))  # as it was written before languages had numbers

    with pytest.raises(Refused, match="written in answer language 1, models learn 2: make it anew"):
        read_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    "forged",
    [
        {"after_cut": []},
        {"after_cut": [day.isoformat() for day in SESSIONS[58:63]]},
        {"valid_until": "2024-03-01"},
        {"embargo_sessions": 4},
    ],
)
def test_an_embargo_that_was_tampered_with_is_refused(tmp_path: Path, forged) -> None:
    write(tmp_path / "d")
    facts = json.loads((tmp_path / "d" / MANIFEST).read_text())
    facts["cuts"] |= forged
    (tmp_path / "d" / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(Refused):
        read_dataset(tmp_path / "d")


@pytest.mark.parametrize("missing", SPLITS)
def test_an_empty_side_is_refused(tmp_path: Path, missing) -> None:
    with pytest.raises(Refused, match=f"no example for {missing}: a dataset needs all three sides"):
        write(tmp_path / "d", [pair for pair in GOOD if pair[0] != missing])


def test_a_text_on_two_sides_is_refused(tmp_path: Path) -> None:
    twice = [("train", mood_record("Profit UP!", "positive", "a")), ("test", mood_record("profit up", "neutral", "b"))]
    with pytest.raises(Refused, match="train and test share 1 texts"):
        write(tmp_path / "d", [*GOOD, *twice])


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "d")
    with pytest.raises(Refused, match="exists already"):
        write(tmp_path / "d")


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def failing():
        yield GOOD[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(Refused, match="No space left on device"):
        write(tmp_path / "d", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no dataset"):
        read_dataset(tmp_path)


# --- moods ---------------------------------------------------------------------------------------------------------


def corpus(name: str, train: list[tuple[str, str]], test: list[tuple[str, str]]) -> Corpus:
    sides = ([Labelled(*one) for one in side] for side in (train, test))
    return Corpus(name=name, licence="MIT", train=tuple(next(sides)), test=tuple(next(sides)), removed=Removed())


def test_a_corpus_with_texts_to_choose_by_keeps_all_its_train_texts() -> None:
    train = [(f"text {number}", "positive") for number in range(60)]
    own = replace(corpus("one", train, [("c", "negative")]), valid=(Labelled("chosen by", "neutral"),))

    sides = Counter(split for split, _ in mood_examples([own], [], None, 1, Counter()))

    assert sides == {"train": 60, "valid": 1, "test": 1}
    assert Counter(split for split, _ in mood_examples([replace(own, valid=())], [], None, 1, Counter()))["train"] < 60


def test_a_text_of_one_corpus_test_side_is_learned_from_no_other() -> None:
    one = corpus("one", [("a", "positive"), ("b", "neutral")], [("c", "negative")])
    other = corpus("other", [("C.", "negative"), ("b", "positive"), ("d", "neutral")], [("A!", "positive")])
    left_out: Counter[str] = Counter()
    pairs = list(mood_examples([one, other], [], None, 1, left_out))
    assert [record.input for split, record in pairs if split == "test"] == [
        "Headline: c\nSentiment:", "Headline: A!\nSentiment:"
    ]  # fmt: skip
    assert [(record.input, record.output) for split, record in pairs if split != "test"] == [
        ("Headline: d\nSentiment:", " neutral")
    ]
    assert left_out == {"in a test side": 2, "with two labels": 2}


def test_a_lone_link_is_learned_nowhere_and_clashes_with_nothing() -> None:
    one = corpus(
        "one", [("https://t.co/a", "positive"), ("up www.a.tw", "positive"), (":)", "negative")], [("c", "neutral")]
    )
    dated = [
        Dated(text="(https://t.co/b)", label="neutral", day=day, source="t") for day in (SESSIONS[0], SESSIONS[-1])
    ]
    left_out: Counter[str] = Counter()
    pairs = list(mood_examples([one], dated, CUTS, 1, left_out, valid_share=0))
    assert [(split, record.input) for split, record in pairs] == [
        ("test", "Headline: c\nSentiment:"),
        ("train", "Headline: up\nSentiment:"),
        ("train", "Headline: :)\nSentiment:"),
    ]
    assert left_out == {"with nothing to read": 3}


MOODS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(LABELS)), max_size=8)
DATED = st.lists(
    st.builds(
        Dated,
        text=st.sampled_from("abcdef"),
        label=st.sampled_from(LABELS),
        day=st.sampled_from(SESSIONS),
        source=st.just("t"),
    ),
    max_size=8,
)


@given(MOODS, MOODS, DATED)
def test_moods_never_overlap_and_every_one_is_accounted_for(train, test, dated) -> None:
    left_out: Counter[str] = Counter()
    pairs = list(mood_examples([corpus("x", train, test)], dated, CUTS, 1, left_out))
    learned = [same_text(record.input) for split, record in pairs if split != "test"]
    tested = {same_text(record.input) for split, record in pairs if split == "test"}
    assert len(set(learned)) == len(learned)
    assert not tested & set(learned)
    assert sum(record.source == "x" for split, record in pairs if split == "test") == len(test)
    for split, record in pairs:
        if record.as_of is not None:
            assert CUTS.split_of(record.as_of, record.as_of) == split


# --- news ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=12), st.integers(0, 220))
def test_a_headline_is_told_only_when_it_was_published_and_known(hours, now) -> None:
    def moment(hour: int) -> datetime:
        return datetime.fromtimestamp(1_740_000_000 + 3600 * hour, tz=TAIPEI)

    articles = [
        Article(
            symbol="2330", title=f"{published}-{fetched}", url=str(number), source="s", language="en",
            published_at=moment(published), fetched_at=moment(fetched),
        )
        for number, (published, fetched) in enumerate(hours)
    ]  # fmt: skip
    told = Headlines(articles).known("2330", moment(now), 3)
    assert set(told) == {f"{p}-{f}" for p, f in hours if now - 72 <= p <= now and f <= now}
    assert [int(one.split("-")[0]) for one in told] == sorted((int(one.split("-")[0]) for one in told), reverse=True)


# --- real data -----------------------------------------------------------------------------------------------------

CODES = ("2330", "2317", "6125")
WINDOWS = (Window(1, 1), Window(5, 5), Window(20, 5), Window(60, 20))


def universe_of(folder: Path):
    (folder / "u.json").write_text(json.dumps([{"code": code} for code in CODES]), encoding="utf-8")
    return config(folder, universe={"file": "u.json"}, store={"path": "t.db"})


def copy_bars(folder: Path, scramble_after: date | None = None) -> Path:
    """The bars of CODES since 2022; those after a day are drawn anew, ex-dates after it are gone."""
    folder.mkdir()
    draw = random.Random(5)
    for code in CODES:
        with (SHARED / "prices" / f"{code}.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["date"] >= "2022-01-01"]
        for row in rows:
            if scramble_after and row["date"] > scramble_after.isoformat():
                row.update(dict.fromkeys(("open", "high", "low", "close"), str(100 + draw.randrange(5))))
        with (folder / f"{code}.csv").open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            out.writeheader()
            out.writerows(rows)
    with (SHARED / "prices/ex_rights.csv").open(encoding="utf-8") as file:
        header, *lines = file.read().splitlines()
    kept = [line for line in lines if not scramble_after or line.split(",")[1] <= scramble_after.isoformat()]
    (folder / "ex_rights.csv").write_text("\n".join([header, *kept]) + "\n")
    return folder


@needs_bars
def test_real_examples_keep_their_side_by_an_independent_calendar(tmp_path: Path) -> None:
    cut, valid_until = date(2023, 9, 28), date(2024, 6, 28)
    data = copy_bars(tmp_path / "bars")
    make_dataset(
        universe_of(tmp_path),
        Job(out=tmp_path / "d", data=data, windows=WINDOWS, cut=cut, valid_until=valid_until, stride=3, analysis=True),
    )
    with (data / "2330.csv").open() as file:  # 2330 traded in every session: its file is the calendar
        sessions = [date.fromisoformat(row["date"]) for row in csv.DictReader(file)]
    told = read_dataset(tmp_path / "d")
    train_end, valid_end = (bisect_left(sessions, day) for day in (cut, valid_until))
    kinds: Counter[tuple[str, str]] = Counter()
    for split in SPLITS:
        for record in told.records(split):
            asked, until = (bisect_left(sessions, day) for day in (record.as_of, record.answer_until))
            kinds[split, record.source] += 1
            future = 5 if record.kind == "analysis" else int(record.source.partition(":")[2])
            assert until - asked == future
            if split == "train":
                assert record.answer_until <= cut
            elif split == "valid":
                assert asked - train_end >= 20
                assert record.answer_until <= valid_until
            else:
                assert asked - valid_end >= 20
    assert set(kinds) == {(split, f"prices {one}") for split in SPLITS for one in WINDOWS} | {
        (split, "weeks") for split in SPLITS
    }
    assert not [
        record for record in told.train if record.symbol == "6125" and "2023-11-06" <= str(record.as_of) < "2024-12-06"
    ]


@needs_bars
def test_scrambling_all_that_came_after_the_cut_changes_no_training_example(tmp_path: Path) -> None:
    cut, valid_until = date(2023, 9, 28), date(2024, 6, 28)
    ours = universe_of(tmp_path)
    bars = {"as it was": copy_bars(tmp_path / "a"), "scrambled": copy_bars(tmp_path / "b", scramble_after=cut)}
    told = {}
    for name, data in bars.items():
        out = tmp_path / name
        make_dataset(
            ours, Job(out=out, data=data, windows=WINDOWS, cut=cut, valid_until=valid_until, stride=5, analysis=True)
        )
        told[name] = {split: (out / f"{split}.jsonl").read_bytes() for split in SPLITS}
    assert told["as it was"]["train"] == told["scrambled"]["train"]
    assert told["as it was"]["test"] != told["scrambled"]["test"]


@needs_bars
def test_the_same_job_writes_the_same_bytes_and_at_most_as_many_as_asked(tmp_path: Path) -> None:
    ours, hashes = universe_of(tmp_path), []
    for name in ("a", "b"):
        job = Job(
            out=tmp_path / name, data=SHARED / "prices", since=date(2023, 1, 2), windows=WINDOWS[:2], most=40, seed=9
        )
        told = make_dataset(ours, job)
        assert told.counts == {split: {"prices": 80} for split in SPLITS}
        hashes.append(told.sha256)
    assert hashes[0] == hashes[1]


@needs_bars
def test_context_tells_headlines_of_the_days_before_and_none_from_the_evening_after(tmp_path: Path) -> None:
    news = tmp_path / "headlines.csv"
    news.write_text(
        "time,title,url\n"
        "2024-03-05 17:59,台積電接獲大單,1\n"  # known at 18:00
        "2024-03-05 18:01,台積電營收創高,2\n"  # a minute late: known on the next evening
        "2024-03-05 12:00,鴻海擴產,3\n",  # another company
        encoding="utf-8",
    )
    ours = universe_of(tmp_path)
    job = Job(
        out=tmp_path / "d", data=SHARED / "prices", windows=(Window(1, 1),), since=date(2024, 1, 2),
        until=date(2024, 6, 28), headlines=news, context="known",
    )  # fmt: skip
    make_dataset(ours, job)
    told = {
        (record.symbol, record.as_of): [line for line in record.input.splitlines() if line.startswith("News")]
        for record in read_dataset(tmp_path / "d").train
    }
    assert told["2330", date(2024, 3, 4)] == []
    assert told["2330", date(2024, 3, 5)] == ["News: 台積電接獲大單"]
    assert told["2330", date(2024, 3, 6)] == ["News: 台積電營收創高", "News: 台積電接獲大單"]
    assert told["2317", date(2024, 3, 6)] == ["News: 鴻海擴產"]
    assert told["2330", date(2024, 3, 11)] == []  # three days later nobody looks at them any more


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Job(out=Path("new")), "nothing to make examples of"),
        (Job(out=Path("new"), windows=WINDOWS, columns=("open", "close")), "in this order"),
        (Job(out=Path("new"), windows=WINDOWS, embargo=5), "shorter than the longest answer, 20 sessions"),
        (Job(out=Path("new"), corpora=("tfns",)), "corpus tfns: say with --texts"),
        (Job(out=Path("new"), corpora=("own", "own*2")), "names own twice"),
        (Job(out=Path("new"), corpora=("own_zh", "own")), "own holds own_zh and own_en already"),
        (Job(out=Path("new"), labelled=Path("x.csv")), "--labelled and --labelled-test go together"),
        (Job(out=Path("new"), windows=WINDOWS, data=Path("absent")), "no such folder of bars"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(tmp_path: Path, job, told) -> None:
    with pytest.raises(Refused, match=told):
        make_dataset(config(tmp_path), replace(job, out=tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


@needs_bars
def test_the_command_writes_and_says_what(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from bot.cli import app

    told = CliRunner().invoke(
        app,
        ["-c", str(REPO / "config.toml"), "train", "dataset", "--out", str(tmp_path / "d"), "--windows", "",
         "--corpora", "fiqa", "--texts", str(SHARED / "sentiment"), "--form", "chat", "--json",
         "--columns", "volume, open,close"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert facts["counts"]["test"] == {"mood": 235}
    assert facts["sources"][0]["left_out"]["in its test side"] == 262
    assert facts["cuts"] is None
    assert facts["columns"] == ["close", "open", "volume"]  # named in any order, told in one
    assert len(list(read_records(tmp_path / "d/test.jsonl", "chat"))) == 235


def test_cuts_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(CUTS), type=Cuts) == CUTS
