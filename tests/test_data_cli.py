"""`twtrader data` as a user calls it: import, check, export, and what it says to mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from builders import REPO
from typer.testing import CliRunner, Result

from bot.data_cli import data_app
from bot.errors import Refused

HEADER = "date,capacity,turnover,open,high,low,close,change,transaction"
ROWS = {
    "2330": [
        "2025-02-27,30000000,31200000000,1045.0,1050.0,1035.0,1040.0,-5.0,50000",
        "2025-03-03,40000000,40800000000,1010.0,1030.0,1005.0,1015.0,-25.0,60000",
        "2025-03-04,41234567,,1000.0,1020.0,995.0,1010.0,,",
    ],
    "3088": [
        "2025-03-03,1234000,111060000,90.0,91.5,89.7,90.3,0.3,987",
        "2025-03-04,55000,6500000,120.0,120.5,120.0,120.0,29.7,44",  # 33 % up
        "2025-03-05,55000,4961000,90.2,90.4,90.0,x,-0.1,44",
    ],
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text((REPO / "config.toml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "bars").mkdir()
    for code, rows in ROWS.items():
        (tmp_path / "bars" / f"{code}.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return tmp_path


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(data_app, list(words), obj=home / "config.toml")


def test_a_bar_of_a_day_that_is_not_over_is_refused_before_anything_is_stored(home: Path) -> None:
    file = home / "bars/2330.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("2025-03-04", "2999-03-04"), encoding="utf-8")
    done = call(home, "import", str(home / "bars"))
    assert done.exit_code == 1
    assert "2330 has a bar of 2999-03-04, which isn't over" in str(done.exception)
    assert not (home / "twtrader.db").exists()


def test_import_quarantines_what_is_wrong_and_export_gives_the_rest_back(home: Path) -> None:
    told = json.loads(call(home, "import", str(home / "bars"), "--json").stdout)
    assert (told["rows"], told["new"], told["revised"]) == (6, 4, 0)
    assert [(one["symbol"], one["session"], one["kind"]) for one in told["quarantined"]] == [
        ("3088", "2025-03-05", "cell"),
        ("3088", "2025-03-04", "limit"),
    ]
    assert json.loads(call(home, "import", str(home / "bars"), "--json").stdout)["new"] == 0
    assert call(home, "export", str(home / "out"), "台積電").exit_code == 0
    with (home / "out/2330.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == HEADER.split(",")
    assert rows[3] == ["2025-03-04", "41234567", "", "1000.00", "1020.00", "995.00", "1010.00", "", ""]
    assert len(rows) == 4
    checked = call(home, "check", "--json")
    facts = json.loads(checked.stdout)
    assert (facts["bars"], facts["passed"], facts["failed"]) == (4, 4, [])
    assert len(facts["quarantine"]) == 2
    assert checked.exit_code == 0


def test_parquet_holds_exact_prices(home: Path) -> None:
    import pyarrow.parquet as pq

    call(home, "import", str(home / "bars"))
    assert call(home, "export", str(home / "all.parquet"), "--format", "parquet").exit_code == 0
    table = pq.read_table(home / "all.parquet").to_pylist()
    assert [str(row["close"]) for row in table] == ["1040.00", "1015.00", "1010.00", "90.30"]
    assert (table[0]["name"], table[2]["turnover_twd"]) == ("台積電", None)


def test_check_of_a_folder_says_what_fails(home: Path) -> None:
    done = call(home, "check", "--folder", str(home / "bars"))
    assert "6 bars of 2 stocks in 4 sessions: 4 pass, 2 do not" in done.stdout
    assert isinstance(done.exception, Refused)
    assert str(done.exception) == "2 bars do not pass, 0 days look closed"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["import", "nowhere"], "nowhere: no CODE.csv there"),
        (["check", "--folder", "nowhere"], "nowhere: no CODE.csv there"),
        (["check"], "no such database yet"),
        (["export", "out"], "no such database yet"),
        (["fetch", "--from", "soon"], "--from 'soon' is no month; write 2024-12"),
        (["fetch", "--from", "2024-12", "--to", "later"], "--to 'later' is no date"),
    ],
)
def test_mistakes_are_one_clear_line(home: Path, words: list[str], line: str) -> None:
    done = call(home, *words)
    assert isinstance(done.exception, Refused)
    assert line in str(done.exception)


def test_a_warrants_code_is_refused(home: Path) -> None:
    (home / "bars/2330.csv").rename(home / "bars/030001.csv")
    done = call(home, "import", str(home / "bars/030001.csv"))
    assert isinstance(done.exception, Refused)
    call(home, "import", str(home / "bars/3088.csv"))
    done = call(home, "export", str(home / "out"), "030001")
    assert isinstance(done.exception, Refused)


def test_another_header_is_refused(home: Path) -> None:
    (home / "bars/2330.csv").write_text("date,open\n2025-03-03,1\n", encoding="utf-8")
    done = call(home, "import", str(home / "bars/2330.csv"))
    assert isinstance(done.exception, Refused)
    assert "2330.csv: 0 columns capacity in the header date, open" in str(done.exception)
