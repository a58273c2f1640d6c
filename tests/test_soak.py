"""The short form of `make soak`: a few sessions beside an open view."""

from __future__ import annotations

from pathlib import Path

from soak import judge, soak


def test_a_few_sessions_beside_an_open_view(tmp_path: Path) -> None:
    told = soak(tmp_path, sessions=6, every=2)
    growth = judge(told, since=4)
    assert set(growth) == {"daemon_kib", "view_kib"}
    assert told["views asked"] == 3
