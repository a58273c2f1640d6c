"""Ex-dates through the daemon's own stages, at the real sandbox with real bars: 2330 went ex on 2024-12-12."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import SHARED, at
from rehearsals import SECRETS, rehearsal
from typer.testing import CliRunner

from bot.config import Config
from bot.config_file import load_config
from bot.daemon import run_due
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.decide import market_day
from bot.stages.forecast import questions_of
from bot.stages.stage import Ports
from bot.wiring import open_ports

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
TUE, WED, THU = (
    date(2024, 12, 10),
    date(2024, 12, 11),
    date(2024, 12, 12),
)  # Wednesday closed at 1,045; Thursday began from 1,040
CODES = ["2330", "2317", "5371"]  # 5371 is over the counter
TABLES = ("/twse/rwd/zh/exRight/TWT49U", "/tpex/www/zh-tw/bulletin/exDailyQ")
REDUCTIONS = ("/twse/rwd/zh/reducation/TWTAUU", "/tpex/www/zh-tw/bulletin/revivt")


class Evening:
    """The daemon's own ports at a sandbox, stepped by hand."""

    def __init__(self, sandbox: Any, ports: Ports, config: Config, path: Path) -> None:
        self.sandbox, self.ports, self.config, self.path = sandbox, ports, config, path

    def work_at(self, day: date, clock: str) -> Counter[str]:
        """Move the clock, do what is due, and count what was asked for it."""
        before = Counter(self.sandbox.requests())
        self.sandbox.move_to(at(day, clock))
        run_due(self.ports, self.config)
        return Counter(self.sandbox.requests()) - before


@pytest.fixture
def evening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evening]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = SandboxSettings(start=at(TUE, "14:30"), prices=SHARED / "prices", codes=tuple(CODES))
    with start_sandbox(settings) as sandbox:
        rules = {"entry_edge_bps": -100, "buy_offset_bps": -200}
        fast = {"attempts": 1, "requests_per_window": 1000}
        path = rehearsal(tmp_path, sandbox.url, CODES, rules=rules, feeds__twse=fast, feeds__tpex=fast)
        config = load_config(path)
        with open_ports(config) as ports:
            yield Evening(sandbox, ports, config, path)


def test_from_the_eve_to_the_ex_date(evening: Evening) -> None:
    first = evening.work_at(TUE, "15:00")
    assert [first[path] for path in (*TABLES, *REDUCTIONS)] == [1, 1, 1, 1]  # nothing was known at all
    evening.work_at(TUE, "18:30")

    ordinary = evening.work_at(WED, "15:00")
    assert not set(ordinary) & {*TABLES, *REDUCTIONS}
    ordinary += evening.work_at(WED, "18:30")
    assert [ordinary[path] for path in (*TABLES, *REDUCTIONS)] == [1, 1, 0, 0]  # at most 2 an ordinary evening

    # The eve: the past is as it was traded, the next session's limits count from 1,040.
    day = market_day(WED, evening.ports, evening.config)
    assert day.reference_x100 == {"2330": 1040_00}
    assert day.closes_x100["2330"] == 1045_00
    [order] = [
        one.order
        for one in evening.ports.journal.orders.select()
        if (one.order.symbol, one.order.decided) == ("2330", WED)
    ]
    assert order.limit_x100 == 1015_00  # 2 % below 1,040 is 1,019.2; the tick is 5
    asked = {one.company.symbol: one for one in questions_of(WED, evening.ports, evening.config)}
    assert asked["2330"].bars[-1].close == 1045

    # The ex-date: what lies before it is told in its prices, and the rest is as it was.
    evening.work_at(THU, "18:30")
    asked = {one.company.symbol: one for one in questions_of(THU, evening.ports, evening.config)}
    assert asked["2330"].bars[-2].session == WED
    assert asked["2330"].bars[-2].close == Decimal("1040.00")
    assert asked["2330"].bars[-1].close == 1060
    assert market_day(THU, evening.ports, evening.config).reference_x100 == {}
    assert evening.ports.market.bars("2330", until=WED, last=1)[0].close == 1045  # stored as traded

    from bot.cli import app
    from bot.exrights_cli import exrights

    if not any(one.callback is exrights for one in app.registered_commands):
        app.command()(exrights)
    told = json.loads(
        CliRunner().invoke(app, ["-c", str(evening.path), "exrights", "--from", "2024-12-01", "--json"]).stdout
    )
    assert [(one["symbol"], one["ex_date"], one["reference"], one["cash_dividend"]) for one in told] == [
        ("2330", "2024-12-12", "1040.00", "5.000000")
    ]


def test_a_board_that_does_not_tell_its_ex_dates_holds_the_bars_back_and_later_only_warns(evening: Evening) -> None:
    evening.sandbox.fault(TABLES[0], "html", times=1)
    evening.work_at(TUE, "15:00")
    [run] = [one for one in evening.ports.journal.stages.last() if one.stage == "prices"]
    assert run.outcome == "waiting"
    assert "TWSE TWT49U" in run.detail
    evening.work_at(TUE, "15:10")
    evening.sandbox.fault(TABLES[0], "html", times=1)
    evening.work_at(TUE, "18:30")
    stages = {one.stage: one.outcome for one in evening.ports.journal.stages.last()}
    assert (stages["prices"], stages["forecast"], stages["send"]) == ("done", "done", "done")
    [surprise] = [text for _, text in evening.ports.journal.surprises()]
    assert surprise.startswith("ex-dates not known: twse at http")
    # The next evening asks again, from where it was last read on.
    wednesday = evening.work_at(WED, "15:00") + evening.work_at(WED, "18:30")
    assert wednesday[TABLES[0]] == 1
    assert market_day(WED, evening.ports, evening.config).reference_x100 == {"2330": 1040_00}
