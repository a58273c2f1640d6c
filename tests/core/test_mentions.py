"""Which companies a headline speaks of: cases by hand, and the labelled set, whose test half was never tuned on."""

from __future__ import annotations

import csv
import hashlib
import json
from functools import cache
from typing import Any

import pytest
from builders import REPO, SHARED
from hypothesis import example, given
from hypothesis import strategies as st

from bot.adapters.company_names import company_names, english_names, symbols_of
from bot.adapters.twstock_codes import all_companies
from bot.core.mentions import MOST_CHARS, plain

LABELLED: list[dict[str, Any]] = json.loads((REPO / "tests/data/mentions_labelled.json").read_text(encoding="utf-8"))
NEWS = SHARED / "news"
needs_news = pytest.mark.skipif(not NEWS.exists(), reason="needs the headlines of ../shared/data/news")


@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        # one name inside another
        ("大立光法說會登場", ["3008"]),
        ("台積概念股齊揚", ["2330"]),
        ("台塑化上半年轉盈", ["6505"]),
        ("中光電與光寶科攜手", ["5371", "2301"]),
        ("日月光投控、光寶調升目標價", ["3711", "2301"]),
        ("南亞科Q4虧損 南電也看淡", ["2408", "8046"]),
        ("長榮航年終優於長榮", ["2618", "2603"]),
        ("統一超營收創高", ["2912"]),
        ("研揚、研華搶攻邊緣運算", ["6579", "2395"]),
        ("神達控股與勤誠、圓剛同場", ["3706", "8210", "2417"]),
        ("臺積電與臺企銀", ["2330", "2834"]),
        # words and others that only look like a company
        ("世界銀行下修全球成長 東南亞受創", []),
        ("統一發票中獎號碼", []),
        ("三星電子與SK海力士擴產", []),
        ("聯合國安理會召開會議", []),
        ("全新AI產品發表 帶來巨大商機", []),
        ("第一金投信：看好美債", []),
        ("輝達新品發表", []),
        ("三星(005930-KR)漲停 中石化(600028-CN)大跌", []),
        ("算力成為國力", []),
        # the same words as companies
        ("〈世界法說〉Q4晶圓出貨季減", ["5347"]),
        ("創意去年營收寫三高", ["3443"]),
        ("IP股真強！智原、創意、世芯-KY", ["3035", "3443", "3661"]),
        ("全新11月營收創26個月新高", ["2455"]),
        ("三星(5007)2月營收年增", ["5007"]),
        # numbers that are no codes
        ("台股收2330點 外資賣超2317億元", []),
        ("2024年全球景氣展望", []),
        ("目標價上看2,330元", []),
        ("華新(2024)大事記", ["1605"]),
        ("BDI指數報1101點", []),
        # codes that are
        ("盤中速報 - (2330-TW)股價下跌至980元", ["2330"]),
        ("2317.TW and 6488.TWO rally", ["2317", "6488"]),
        ("台積電ADR(TSM-US)收漲", ["2330"]),
        ("00878單月新增1.1萬戶 0050同步", ["00878", "0050"]),
        ("比亞迪(002594-CN)創高 騰訊(00700-HK)走低", []),
        ("084863權證熱", []),
        # nicknames and groups
        ("護國神山撐盤", ["2330"]),
        ("鴻家軍齊揚 貨櫃三雄走弱", ["2317", "2603", "2609", "2615"]),
        ("富士康在印度擴廠", ["2317"]),
        ("開發金、台新金自結", ["2883", "2887"]),
        # English
        ("TSMC and Foxconn to build AI factory", ["2330", "2317"]),
        ("Hon Hai's profit beats; MediaTek, UMC lag", ["2317", "2454", "2303"]),
        ("传台积电与联电合作 鸿海跟进", ["2330", "2303", "2317"]),
        ("A giant leap, says King Solomon", []),
        ("Giant (9921) and Solomon (2359) win orders", ["9921", "2359"]),
        ("MSIX Acerola lawsuit", []),
        ("", []),
    ],
)
def test_by_hand(title: str, symbols: list[str]) -> None:
    assert list(symbols_of(title)) == symbols


def test_the_owners_companies_answer_to_their_names_in_both_languages() -> None:
    owners = json.loads((REPO / "bot/companies.json").read_text(encoding="utf-8"))
    sandbox = json.loads((REPO / "bot/sandbox/english_names.json").read_text(encoding="utf-8"))
    assert len(owners) == 41
    for one in owners:
        code = one["code"]
        assert symbols_of(f"{one['name_zh']}去年營收創新高") == (code,)
        assert symbols_of(f"{sandbox[code]} ({code}) posts record sales") == (code,)
        assert code in english_names()


def test_every_listed_company_answers_to_its_name_beside_its_code() -> None:
    """No alias or phrase of ours hides a company for good."""
    hidden = [one for one in all_companies() if one.symbol not in symbols_of(f"{one.name}({one.symbol})2月營收月增")]
    assert hidden == []


def test_aliases_are_each_one_companys() -> None:
    told = json.loads((REPO / "bot/mentions.json").read_text(encoding="utf-8"))
    aliases = [plain(text) for texts in told["aliases"].values() for text in texts]
    assert len(aliases) == len(set(aliases))
    assert told["aliases"].keys() <= company_names().symbols
    names = {plain(one.name): one.symbol for one in all_companies()}
    wrong = {text for code, texts in told["aliases"].items() for text in texts if names.get(plain(text), code) != code}
    assert wrong == set()


@given(st.text(max_size=60))
@example("台積電" * 20)
@example("(2330-TW)" * 7)
def test_any_text_gives_known_symbols_each_once(title: str) -> None:
    found = symbols_of(title)
    assert len(set(found)) == len(found)
    assert set(found) <= company_names().symbols


@given(st.integers(min_value=0, max_value=999_999), st.sampled_from(["點", "元", "億元", "張", "年", "%", "萬"]))
def test_a_bare_number_is_never_a_company(number: int, unit: str) -> None:
    assert symbols_of(f"指數來到{number}{unit}") == ()


@cache
def title_of(file: str, row: int) -> str:
    return rows_of(file)[row - 1]


@cache
def rows_of(file: str) -> list[str]:
    with (NEWS / file).open(encoding="utf-8") as told:
        return [row["title"] for row in csv.DictReader(told)]


def measured(half: str) -> tuple[float, float]:
    """Precision and recall over the (headline, company) pairs of one part of the labelled set."""
    right = wrong = missed = 0
    for entry in (one for one in LABELLED if one["half"] == half):
        title = title_of(entry["file"], entry["row"])
        assert hashlib.sha256(title.encode()).hexdigest().startswith(entry["sha256"])
        found, labelled = set(symbols_of(title)), set(entry["codes"])
        right, wrong, missed = (
            right + len(found & labelled),
            wrong + len(found - labelled),
            missed + len(labelled - found),
        )
    return right / (right + wrong), right / (right + missed)


def test_the_labelled_set_is_split_by_hash() -> None:
    first = sorted((one for one in LABELLED if one["half"] != "fresh"), key=lambda one: one["sha256"])
    assert [one["half"] for one in first] == ["tune"] * 100 + ["test"] * 100
    assert sum(one["half"] == "fresh" for one in LABELLED) == 100


@needs_news
@pytest.mark.parametrize("half", ["test", "fresh"])
def test_precision_and_recall_on_headlines_never_tuned_on(half: str) -> None:
    precision, recall = measured(half)
    print(f"{half}: precision {precision:.3f}, recall {recall:.3f}")
    assert precision >= 0.95
    assert recall >= 0.85


@needs_news
def test_recorded_articles_are_judged_by_their_words_and_not_by_the_codes_beside_them() -> None:
    """newsapi_articles.json has a warrant's code where a company was meant: 084863 beside AAEON."""
    entries = json.loads((NEWS / "newsapi_articles.json").read_text(encoding="utf-8"))
    wrong = {one["code"] for one in entries if "code" in one} - company_names().symbols
    assert "084863" in wrong
    articles = [
        (entry, article)
        for entry in entries
        for kind in ("news", "news_zh", "news_en")
        for article in entry.get(kind, ())
    ]
    assert len(articles) >= 150
    for _, article in articles:
        assert not wrong & set(symbols_of(f"{article['title']} {article['description']}"))
    aaeon = [article["title"] for entry, article in articles if entry.get("code") == "084863"]
    spoken = [symbols_of(title) for title in aaeon if "AAEON" in title]
    assert len(spoken) > 5
    assert set(spoken) == {("6579",)}


def test_a_headline_of_50_000_characters_is_read_as_far_as_headlines_go() -> None:
    """Whole, it took ten seconds: names are compared with each other, and a few such would have held up an evening."""
    text = "台積電漲停" * 10_000
    assert symbols_of(text) == ("2330",)
    assert symbols_of("漲" * MOST_CHARS + "台積電") == ()
    assert symbols_of("漲" * (MOST_CHARS - 3) + "台積電") == ("2330",)
