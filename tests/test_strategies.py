"""Strategies by name: the shipped one, the documented example live, replayed and compiled, and what is refused."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from builders import REPO, config

from bot.core.rule import SHIPPED
from bot.errors import ConfigError
from bot.strategies.registry import find_strategy

GOOD = "def plan(now, view, book, holdings, purse, rates, rules, orders):\n    return 0\n"


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def example(folder: Path) -> str:
    """The example of docs/strategies.md as a file."""
    [text] = re.findall(r"```python\n(.*?)```", (REPO / "docs/strategies.md").read_text(encoding="utf-8"), re.DOTALL)
    return written(folder, text, "momentum.py")


def test_the_shipped_rule_is_found_by_its_name() -> None:
    found = find_strategy("forecast_edge")
    assert (found.name, found.plan, found.reasons) == (SHIPPED.name, SHIPPED.plan, SHIPPED.reasons)


def test_a_file_is_looked_for_from_the_config_s_folder(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    written(tmp_path / "rules", GOOD)
    told = config(tmp_path, rules={"strategy": "rules/mine.py"}).rules.strategy
    assert find_strategy(told).name == "mine"


def test_the_documented_example_trades_the_same_plain_and_compiled(tmp_path: Path) -> None:
    sys.path.append(str(REPO / "tests/backtest"))
    from builders import RATES
    from markets import RULES
    from tapes import random_tape

    from backtest.kernel import Options, play, play_many, rules_matrix

    told = example(tmp_path)
    rules = replace(RULES, strategy=told, top_k=3)
    options = Options(fill_rule="touch", start_cash_twd=5_000_000, costs=RATES, strategy=find_strategy(told))
    for seed in range(3):
        plain = play(random_tape(seed), rules, options)
        compiled = play_many(random_tape(seed), rules_matrix([rules]), options)
        assert plain.fills
        assert compiled.final_equity_twd.tolist() == [plain.final_equity_twd]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\n", "has no function `plan`"),
        ("def plan(day, book):\n    return 0\n", r"plan\(day, book\) must be plan\(now, view, book, holdings"),
        (GOOD.replace("return 0", "return view.closes[0]"), "plan fails on a trial market: AttributeError"),
        (GOOD.replace("return 0", "return 99"), "plan must return the number of its orders, not 99"),
        (GOOD.replace("return 0", "return view.close_x100[5]"), "IndexError"),
        (
            GOOD.replace("return 0", "orders.stock[0] = 1; orders.shares[0] = -9_000\n    return 1"),
            "plan sells 9000 of 2000 shares",
        ),
        (GOOD.replace("return 0", "orders.stock[1] = 0\n    return 2"), "each stock once at most"),
        ("import nowhere_to_be_found\n", "ModuleNotFoundError"),
        ("def plan(:\n", "SyntaxError"),
        (
            "import random\n"
            + GOOD.replace(
                "return 0", "orders.stock[0] = 1; orders.shares[0] = random.randint(1, 10**9)\n    return 1"
            ),
            "two calls gave two answers",
        ),
    ],
)
def test_a_strategy_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        find_strategy(written(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["forecast_egde", "no.such.module", "/nowhere/at_all.py"])
def test_a_name_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no strategy '{name}'"):
        find_strategy(name)
