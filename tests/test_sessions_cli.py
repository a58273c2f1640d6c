from __future__ import annotations

import json
from pathlib import Path

from rehearsals import rehearsal, twtrader

CONFIG = "http://127.0.0.1:9"


def test_a_year_with_the_reason_of_each_closed_weekday(tmp_path: Path) -> None:
    config = rehearsal(tmp_path, CONFIG, ["2330"])
    told = json.loads(twtrader(config, "sessions", "--year", "2024", "--json").stdout)
    assert told["count"] == len(told["sessions"]) == 242  # the days with rows in the exchange's data of 2024
    reasons = {one["day"]: one["reason"] for one in told["closed_weekdays"]}
    assert reasons["2024-10-31"] == "typhoon Kong-rey"
    assert reasons["2024-05-01"] == "Labour Day"
    assert len(told["sessions"]) + len(reasons) == 262  # weekdays of 2024
    shown = twtrader(config, "sessions", "--year", "2016").stdout
    assert shown.startswith("2016: 244 sessions, 2016-01-04 to 2016-12-30\n")
    assert "trades  2016-01-30 Sat  make-up session" in shown
    assert not (tmp_path / "twtrader.db").exists()


def test_a_year_that_nobody_knows_is_one_clear_line(tmp_path: Path) -> None:
    done = twtrader(rehearsal(tmp_path, CONFIG, ["2330"]), "sessions", "--year", "2040")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "twtrader: no schedule of 2040: the table of exchange_calendars has 2015 to 2027\n"
