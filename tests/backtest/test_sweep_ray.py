"""A sweep on a Ray cluster of two nodes, one of which is killed half-way: the same bits as here. `make cluster`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import THURSDAY, at
from sweeps import Silent, sweep

from backtest.sweep import run_sweep
from backtest.sweep_engine import Local, OnRay, source_digest
from bot.adapters.sqlite_open import open_database
from bot.errors import Refused

pytestmark = pytest.mark.cluster
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="needs the extra `cluster`: pip install ray")
STORE = 80 * 2**20  # bytes, the least that Ray takes


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and a node with a core each. 127.0.0.2 and .3: Ray turns 127.0.0.1 into the machine's own address."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1, node_ip_address="127.0.0.3", object_store_memory=STORE)
    yield made
    made.shutdown()


class KillsANode(OnRay):
    """Kills the second node once `after` chunks are back, while it works on others."""

    def __init__(self, cluster: Any, after: int) -> None:
        super().__init__(cluster.address)
        self.cluster, self.after = cluster, after

    def tables(self, job: Any, chunks: Any) -> Iterator[Any]:
        for count, told in enumerate(super().tables(job, chunks), start=1):
            yield told
            if count == self.after:
                [node] = self.cluster.worker_nodes
                self.cluster.remove_node(node, allow_graceful=False)


def test_a_node_killed_half_way_changes_no_bit(cluster: Any, tmp_path: Path) -> None:
    db = open_database(tmp_path / "twtrader.db")
    # A part of 500 sets is too large to travel inside the answer: it lies on the node, and is lost with it.
    settings: dict[str, Any] = {"method": "random", "sets": 6_000, "chunk": 500}
    here = run_sweep(sweep(tmp_path / "here", **settings), Local(), db, at(THURSDAY), Silent())
    made, watch = sweep(tmp_path / "there", **settings), Silent()
    there = run_sweep(made, KillsANode(cluster, 3), db, at(THURSDAY), watch)
    assert watch.done == 6_000
    assert there.table.equals(here.table)
    assert there.facts == here.facts
    assert not cluster.worker_nodes
    told = [sweep(tmp_path / side, **settings).folder / "results.parquet" for side in ("here", "there")]
    assert told[0].read_bytes() == told[1].read_bytes()
    db.close()


def test_a_node_with_other_code_is_refused(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = open_database(tmp_path / "twtrader.db")
    made = sweep(tmp_path)
    monkeypatch.setattr("backtest.sweep_engine.source_digest", lambda: "another" + source_digest())
    with pytest.raises(Refused, match="runs another version of twtrader"):
        run_sweep(made, OnRay(cluster.address), db, at(THURSDAY), Silent())
    db.close()


def test_no_cluster_is_one_line_in_seconds(tmp_path: Path) -> None:
    db = open_database(tmp_path / "twtrader.db")
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    with pytest.raises(Refused, match=rf"no Ray cluster at 127\.0\.0\.1:{port}"):
        run_sweep(sweep(tmp_path), OnRay(f"127.0.0.1:{port}"), db, at(THURSDAY), Silent())
    db.close()
