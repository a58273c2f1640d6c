"""A wrong config is refused, and the key is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, config_table

from bot.config_file import config_of, load_config
from bot.errors import ConfigError


def test_the_shipped_config_is_complete_and_exact() -> None:
    config = load_config(REPO / "config.toml")
    assert config.costs.commission == Decimal("0.001425")
    assert config.model.trained_until == date(2024, 10, 31)
    assert config.broker.kind == "paper"
    assert not config.broker.live


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text((REPO / "config.toml").read_text(encoding="utf-8"), encoding="utf-8")
    assert load_config(path).store.path == tmp_path / "twtrader.db"
    assert load_config(path).model.folder == tmp_path / "models"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told["model"].pop("batch"), "missing key `model.batch`"),
        (lambda told: told.pop("rules"), "missing key `rules`"),
        (lambda told: told["feeds"].pop("tpex"), "missing key `feeds.tpex`"),
        (lambda told: told["rules"].update(topk=3), "unknown key `rules.topk`"),
        (lambda told: told["feeds"]["twse"].update(url="x"), "unknown key `feeds.twse.url`"),
        (lambda told: told.update(extra={}), "unknown key `extra`"),
        (lambda told: told["rules"].update(top_k="five"), "`rules.top_k`: Expected `int`, got `str`"),
        (lambda told: told["rules"].update(top_k=0), "`top_k` must be between 1 and 1000"),
        (lambda told: told["broker"].update(kind="ib"), "`broker.kind`"),
        (lambda told: told["broker"].update(closed_retries=4), "`closed_retries` must be between 0 and 3"),
        (lambda told: told["timetable"].update(late="maybe"), "`timetable.late`"),
        (lambda told: told["limits"].update(max_orders=-1), "`max_orders` must be between 0 (no limit) and 10000"),
        (lambda told: told["limits"].update(breaker_stops="nothing"), "`limits.breaker_stops`"),
        (
            lambda told: (told["limits"].update(price_band_bps=100), told["rules"].update(sell_offset_bps=-101)),
            "`limits.price_band_bps` would refuse every order",
        ),
        (lambda told: told["costs"].update(discount=Decimal(3)), "`discount` must be between 0 and 1"),
        (lambda told: told["timetable"].update(news="25:00"), "`news` must be HH:MM, not '25:00'"),
        (lambda told: told["timetable"].update(send="14:00"), "must keep the order"),
        (lambda told: told["model"].update(trained_until="soon"), "`model.trained_until`"),
        (
            lambda told: told["model"].update(engine="unsloth", precision="4bit"),
            '`engine` "unsloth" answers in bf16: for `precision` "4bit" take `engine` "transformers"',
        ),
        (lambda told: told["backtest"].update(fill_rules=["best"]), "`backtest.fill_rules"),
        (lambda told: told["feeds"]["newsapi"].update(page_size=101), "`page_size` must be at most 100"),
    ],
)
def test_one_line_names_the_key(change: Callable[[dict[str, Any]], None], message: str) -> None:
    told = config_table()
    change(told)
    with pytest.raises(ConfigError) as refused:
        config_of(told, Path("config.toml"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_absent_or_broken_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[store\npath=", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.toml"):
        load_config(broken)
