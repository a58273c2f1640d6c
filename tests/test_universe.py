"""The owner's list, and the user's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bot.config import UniverseConfig
from bot.errors import ConfigError, Refused
from bot.ports import Company
from bot.universe import load_universe, owners_companies

REPO = Path(__file__).parents[1]
PRICES = REPO.parent / "shared/data/prices"


def universe(path: Path | str, told: Any = None) -> tuple[Company, ...]:
    if told is not None:
        assert isinstance(path, Path)
        path.write_text(told if isinstance(told, str) else json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return load_universe(UniverseConfig(file=str(path), choose=0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.json"


def test_without_a_file_the_owners_41_companies() -> None:
    companies = universe("")
    assert len(companies) == 41
    assert Company(symbol="2330", name="台積電", board="twse") in companies
    assert Company(symbol="3088", name="艾訊", board="tpex") in companies
    assert list(companies) == sorted(companies, key=lambda company: company.symbol)


@pytest.mark.skipif(not PRICES.is_dir(), reason="needs the real bars in ../shared/data/prices")
def test_they_are_the_companies_whose_bars_the_owner_has() -> None:
    assert {company.symbol for company in owners_companies()} == {path.stem for path in PRICES.glob("[0-9]*.csv")}


def test_their_names_and_boards_are_twstocks() -> None:
    from bot.adapters.twstock_codes import company_of

    assert [company_of(company.symbol) for company in owners_companies()] == list(owners_companies())


def test_they_are_known_without_reading_twstock() -> None:
    code = (
        "import sys; from bot.config import UniverseConfig; from bot.universe import load_universe; "
        "load_universe(UniverseConfig(file='', choose=0)); print({'twstock', 'requests', 'pandas'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "set()"


def test_a_list_by_name_and_code_in_its_own_order(path: Path) -> None:
    told = [{"name_zh": "台積電"}, {"code": 3711}, {"code": "0050"}, {"name_zh": "環球晶", "code": "6488"}]
    assert [company.symbol for company in universe(path, told)] == ["2330", "3711", "0050", "6488"]
    assert universe(path, told)[3] == Company(symbol="6488", name="環球晶", board="tpex")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ("[{", "mine.json: Expecting"),
        ("{}", "mine.json: a list like .* is wanted"),
        ("[]", "mine.json: a list like"),
        ('["2330"]', 'mine.json: entry 1: .* is wanted, not "2330"'),
        ([{"code": 2330}, {}], "mine.json: entry 2: .* is wanted, not {}"),
        ([{"name_en": "TSMC"}], "mine.json: entry 1: "),
        ([{"code": 2330.0}], "mine.json: entry 1: `code` must be a code, not 2330.0"),
        ([{"code": True}], "mine.json: entry 1: `code` must be a code, not true"),
        ([{"code": None}], "mine.json: entry 1: `code` must be a code, not null"),
        ([{"name_zh": 2330}], "mine.json: entry 1: `name_zh` must be a name, not 2330"),
        ([{"name_zh": ""}], "mine.json: entry 1: `name_zh` must be a name"),
        ([{"code": 2330}, {"name_zh": "台積電"}], "mine.json: entry 2: 2330 台積電 stands there twice"),
        (
            [{"code": 2330, "name_zh": "鴻海"}],
            "mine.json: entry 1: the code is that of 2330 台積電, the name that of 2317 鴻海",
        ),
        (
            [{"name_zh": "鴻海", "code": 2330}],
            "mine.json: entry 1: the name is that of 2317 鴻海, the code that of 2330 台積電",
        ),
    ],
)
def test_a_wrong_list_is_refused_with_file_and_entry(path: Path, told: Any, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        universe(path, told)
    assert "\n" not in str(refused.value)


def test_an_unknown_company_is_refused_with_file_entry_and_near_ones(path: Path) -> None:
    with pytest.raises(Refused, match=r"mine\.json: entry 2: 台積: no such stock; .*near: 2330 台積電"):
        universe(path, [{"code": 2317}, {"name_zh": "台積"}])


def test_a_file_that_cannot_be_read_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.json: no such file"):
        universe(path)
    with pytest.raises(ConfigError, match="Is a directory"):
        universe(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"mine\.json: "):
        universe(path)
