"""What may be done with an adapter is told once for each source, however often a run went on from another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import config
from safetensor_files import plain_adapter

from training.dataset import read_dataset
from training.licences import joined_licences

TFNS, OWN, MOODS, PRICES = "tfns: MIT", "own: MIT", "moods of tfns and own: as above", "files of prices: daily quotes"
FIRST = f"{TFNS}; {OWN}"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([TFNS, OWN], FIRST),
        ([FIRST, TFNS, OWN, MOODS], f"{FIRST}; {MOODS}"),  # went on from one that learned the same
        (
            [f"{FIRST}; {MOODS}; {PRICES}; {FIRST}; {MOODS}", TFNS],
            f"{FIRST}; {MOODS}; {PRICES}",
        ),  # as it once was written
        ([f"{TFNS}; {PRICES}", f"{OWN}; {PRICES}"], f"{TFNS}; {PRICES}; {OWN}"),  # the mean of two
        (["MIT", OWN], f"MIT; {OWN}"),  # a licence without its source
        (["a: BSD", "b: BSD"], "a: BSD; b: BSD"),  # the same licence is not the same source
        (["a: CC BY 4.0; not for sale", "b: MIT; not for sale"], "a: CC BY 4.0; not for sale; b: MIT; not for sale"),
        ([], ""),
    ],
)
def test_each_source_stands_once_in_the_order_of_its_first_mention(told: list[str], expected: str) -> None:
    assert joined_licences(told) == expected
    assert joined_licences([expected, *told]) == expected


def test_a_run_that_goes_on_from_one_that_went_on_names_each_source_once(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tiny_runs import mood_dataset

    from training.sft import licence_of

    data = read_dataset(mood_dataset(tmp_path / "data"))  # its one source is "made here", MIT
    knobs = config(tmp_path).train
    licence = f"{TFNS}; {PRICES}"
    for name in ("first", "second"):
        started = replace(knobs, start=str(plain_adapter(tmp_path / name, name, licence=licence)))
        licence = licence_of(data, started)
        assert licence == f"{TFNS}; {PRICES}; made here: MIT"
