"""`twtrader forecast`: by any name of the company, only what was known, beside what came, drawn."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import tomlkit
from builders import REPO, bar
from builders import forecast as told_by_model
from rich.console import Console
from typer.testing import CliRunner

from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.chart_colours import GREEN, RED, colours_of
from bot.cli import app
from bot.core.forecast import Band, ForecastBar
from bot.errors import BotError, Refused
from bot.find_company import find_company
from bot.forecast_plot import chart, check_plot, write_plot
from bot.forecast_view import Answer, facts, table_of
from bot.ports import Company
from bot.universe import owners_companies

DAYS = [date(2025, 3, day) for day in (3, 4, 5, 6, 7, 10, 11)]
CLOSES = (100, 102, 101, 103, 104, 50, 51)  # ex-date on the 10th: the reference is half of the close before
HEADER = "date,capacity,turnover,open,high,low,close,change,transaction\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bars, an ex-date, and a config whose engine says that nothing changes."""
    rows = [f"{day},1000,,{close},{close + 1},{close - 1},{close},0,1" for day, close in zip(DAYS, CLOSES, strict=True)]
    prices = tmp_path / "prices"
    prices.mkdir()
    (prices / "2330.csv").write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    (prices / "ex_rights.csv").write_text("code,ex_date,factor,prev\n2330,2025-03-10,0.5,2025-03-07\n")
    told = tomlkit.parse((REPO / "config.toml").read_text(encoding="utf-8"))
    told["model"]["engine"] = "naive"  # type: ignore[index]
    (tmp_path / "config.toml").write_text(tomlkit.dumps(told), encoding="utf-8")
    return tmp_path


Run = Callable[..., str]


@pytest.fixture
def run(folder: Path) -> Run:
    def run(*words: str) -> str:
        line = ["-c", str(folder / "config.toml"), "forecast", *words, "--data", str(folder / "prices")]
        done = CliRunner().invoke(app, line, catch_exceptions=True, env={"COLUMNS": "120"})
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_it_reads_what_was_known_and_stands_beside_what_came(run: Run) -> None:
    told = json.loads(run("tsmc", "--past", "3", "--future", "4", "--as-of", "2025-03-07", "--json"))
    assert (told["symbol"], told["name"], told["as_of"], told["last_close"]) == ("2330", "台積電", "2025-03-07", 104)
    came = [step["came"] and (step["came"]["session"], step["came"]["close"]) for step in told["bars"]]
    assert came == [("2025-03-10", 100), ("2025-03-11", 102), None, None]  # in the prices of the 7th
    assert told["bars"][0]["error"] == pytest.approx(104 / 100 - 1)
    assert any("went ex on 2025-03-10" in note for note in told["notes"])
    assert told["p_up"] is None
    assert told["bars"][0]["band"] is None


def test_a_past_over_an_ex_date_is_adjusted_as_live_does(run: Run, folder: Path) -> None:
    told = json.loads(run("2330", "--past", "3", "--future", "1", "--json", "--plot", str(folder / "p.html")))
    assert told["last_close"] == 51
    drawn = json.loads(re.search(r"const CHART = (.*);\n", (folder / "p.html").read_text(encoding="utf-8"))[1])  # type: ignore[index]
    assert drawn["data"][0]["x"] == ["2025-03-07", "2025-03-10", "2025-03-11"]
    assert drawn["data"][0]["close"] == [52.0, 50.0, 51.0]


def test_a_day_without_trade_means_the_session_before(run: Run) -> None:
    told = json.loads(run("2330", "--past", "2", "--future", "1", "--as-of", "2025-03-09", "--json"))
    assert told["as_of"] == "2025-03-07"


def test_context_is_said_back(run: Run) -> None:
    told = json.loads(run("2330", "--past", "2", "--future", "1", "--context", "one", "--context", "two", "--json"))
    assert told["context"] == ["one", "two"]


def test_from_the_store_the_same(folder: Path, run: Run) -> None:
    """The same bars and ex-date, stored as the daemon stores them."""
    from builders import at, checked

    from bot.core.exrights import ExRight

    db = open_database(folder / "twtrader.db")
    bars = [
        bar(str(close), session=day, high=str(close + 1), low=str(close - 1))
        for day, close in zip(DAYS, CLOSES, strict=True)
    ]
    for one in bars:
        MarketStore(db).add_bars(checked(one), at(one.session))
    event = ExRight(
        symbol="2330", ex_date=DAYS[5], kind="dividend", previous_x100=104_00, reference_x100=52_00,
        source="", known_at=at(DAYS[4]),
    )  # fmt: skip
    ExRightStore(db).keep([event], kind="dividend", symbols={"2330"}, first=DAYS[0], last=DAYS[6], known_at=at(DAYS[4]))
    db.close()
    words = ["2330", "--past", "3", "--future", "3", "--as-of", "2025-03-07", "--json"]
    stored = CliRunner().invoke(app, ["-c", str(folder / "config.toml"), "forecast", *words])
    assert stored.exit_code == 0, stored.output
    assert json.loads(stored.stdout) == json.loads(run(*words))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nosuchcompany"], "no such stock"),
        (["台塑四寶"], "1301 台塑, 1303 南亞, 1326 台化, 6505 台塑化"),
        (["2330", "--past", "30"], "7 bars up to now are known, 30 are asked for"),
        (["2330", "--past", "2", "--as-of", "2025-03-03"], "1 bars up to 2025-03-03 are known"),
        (["2330", "--as-of", "03/03"], "no date"),
        (["2330", "--past", "2", "--plot", "x.pdf"], "as .html or .png"),
        (["2330", "--past", "2", "--plot", "no/such/x.html"], "no such folder"),
        (["2317", "--past", "2"], "no bars of 2317"),
        (["2330", "--paths", "8"], 'engine "naive" in style "codes" reads no bands along paths'),
        (["2330", *(f"--context={at}" for at in range(6))], "6 times --context: 5 are told at most"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, words: list[str], line: str) -> None:
    with pytest.raises(BotError, match=re.escape(line)) as refused:
        run(*words)
    assert "\n" not in str(refused.value)


# --- whom a name means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "symbol"),
    [
        ("2330", "2330"),
        ("台積電", "2330"),
        ("臺積電", "2330"),
        ("TSMC", "2330"),
        ("hon hai", "2317"),
        ("FOXCONN", "2317"),
        ("MediaTek", "2454"),
        ("0050", "0050"),
        ("２３３０", "2330"),
    ],
)
def test_a_company_by_any_of_its_names(told: str, symbol: str) -> None:
    assert find_company(told, owners_companies()).symbol == symbol


def test_the_universe_is_asked_first() -> None:
    own = Company(symbol="9999", name="台積電", board="twse")
    assert find_company("台積電", [own]) == own


@pytest.mark.parametrize(
    ("told", "near"), [("evergren", "2603 長榮"), ("貨櫃三雄", "2615 萬海"), ("delta", "2308 台達電"), (" ", "2330")]
)
def test_an_unknown_or_ambiguous_name_is_refused_with_what_may_be_meant(told: str, near: str) -> None:
    with pytest.raises(Refused, match=near):
        find_company(told, owners_companies())


# --- the table and the picture -----------------------------------------------------------------------------------

PAST = tuple(
    bar(str(close), session=day, high=str(close + 1), low=str(close - 1), open=str(close - 1))
    for day, close in zip(DAYS[:3], (100, 102, 101), strict=True)
)


def step(close: str) -> ForecastBar:
    price = Decimal(close)
    return ForecastBar(open=price, high=price + 1, low=price - 1, close=price)


def answer(*, came: bool = True) -> Answer:
    told = replace(
        told_by_model("103", as_of=DAYS[2]),
        bars=(step("102"), step("103")),
        bands=(Band(low=Decimal(98), high=Decimal(105)), Band(low=Decimal(102), high=Decimal(108))),
        p_up=0.62,
    )
    after = (bar("104", session=DAYS[3]), bar("100", session=DAYS[4])) if came else ()
    return Answer(
        company=Company(symbol="2330", name="台積電 </script>", board="twse"), past=PAST, forecast=told, came=after
    )


def test_the_table_by_hand() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table_of(answer()))
    text = console.export_text()
    rows = [re.split(r"\s*│\s*", line.strip("│ "))[:8] for line in text.splitlines() if line.startswith("│ 20")]
    assert rows == [
        ["2025-03-06", "102.00", "98.00", "105.00", "+0.99%", "104.00", "-1.92%", "yes"],
        ["2025-03-07", "103.00", "102.00", "108.00", "+1.98%", "100.00", "+3.00%", "no"],
    ]
    assert "P(up over 2) 62%" in text


def test_nothing_came_yet() -> None:
    told = facts(answer(came=False))
    assert [one["came"] for one in told["bars"]] == [None, None]
    assert told["bars"][1]["band"] == {"low": 102.0, "high": 108.0}
    assert [one.label for one in answer(came=False).steps] == ["+1", "+2"]


def test_a_model_that_may_know_what_came_says_so() -> None:
    told = answer()
    knowing = replace(told, forecast=replace(told.forecast, trained_until=DAYS[4]))
    assert any("proves nothing" in note for note in knowing.notes)
    assert not any("proves nothing" in note for note in told.notes)


def test_the_picture_holds_past_band_and_what_came_without_holes() -> None:
    drawn = chart(answer(), colours_of("red"))
    by_name = {trace["name"]: trace for trace in drawn["data"]}
    assert by_name["past"]["x"] == ["2025-03-03", "2025-03-04", "2025-03-05"]
    assert by_name["past"]["increasing"]["line"]["color"] == RED
    assert by_name["past"]["decreasing"]["line"]["color"] == GREEN
    assert by_name["came true"]["close"] == [104.0, 100.0]
    assert by_name["10 %"]["y"] == [101.0, 98.0, 102.0]
    assert by_name["10..90 % of the close"]["y"] == [101.0, 105.0, 108.0]
    assert by_name["10..90 % of the close"]["fill"] == "tonexty"
    assert by_name["forecast close (median)"]["y"] == [101.0, 102.0, 103.0]
    assert drawn["layout"]["xaxis"]["type"] == "category"
    assert drawn["layout"]["xaxis"]["categoryarray"] == [str(day) for day in DAYS[:5]]
    green = chart(answer(came=False), colours_of("green"))
    assert green["data"][0]["increasing"]["line"]["color"] == GREEN
    assert "came true" not in {trace["name"] for trace in green["data"]}


def test_the_page_needs_no_network_and_no_name_ends_its_script(tmp_path: Path) -> None:
    path = tmp_path / "plot.html"
    write_plot(answer(), path, colours_of("red"))
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert page.count("<script>") == 2
    assert page.count("</script>") >= 2
    assert "台積電 </script>" not in page
    assert page.split("const CHART = ")[1].count("</script>") == 1


def test_a_png_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    try:
        check_plot(path)
    except Refused as no:
        pytest.skip(str(no))
    write_plot(answer(), path, colours_of("red"))
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_what_draws_a_png_is_refused_before_the_model_is_asked(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)  # as where the extra is not installed
    with pytest.raises(Refused, match=r"pip install 'twtrader\[plot\]'.*Chrome") as refused:
        run("2330", "--past", "1000", "--plot", str(folder / "plot.png"))
    assert "\n" not in str(refused.value)
    assert not (folder / "plot.png").exists()
