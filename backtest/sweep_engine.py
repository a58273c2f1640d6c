"""Where a sweep's chunks are computed: here, or on a Ray cluster. Both give the same bits."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from backtest.sweep_job import Job, compute
from backtest.sweep_space import Matrix
from bot.errors import BotError, Refused

REACH_S: Final = 5.0  # a cluster's door that does not open in so many seconds is not there
LOOK_S: Final = 10.0  # how often we look whether the cluster still has a node while no chunk comes back
FROM_FILE: Final = "twtrader_strategy_"  # how bot/strategies/registry.py names a module that it reads from a file
SOURCES: Final = ("bot/core", "bot/strategies", "backtest")  # what the figures of a sweep follow from


class Chunk(NamedTuple):
    """Some sets: `part` is the number of the file, `first` that of the first set."""

    part: int
    first: int
    matrix: Matrix


class Engine(Protocol):
    """Something that computes chunks."""

    def tables(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, pa.Table]]:
        """The table of each chunk, in the order in which they are done."""


class Local:
    """Here, one chunk after the other: the kernel uses all cores for each."""

    def tables(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, pa.Table]]:
        """The table of each chunk, in their order."""
        for chunk in chunks:
            yield chunk, compute(job, chunk.matrix, chunk.first)


class OnRay:
    """A Ray cluster: a chunk is a task on one core. A task that is lost with its node is done again on another.

    Every node must run the code that runs here: a task looks at its own before it computes.
    """

    def __init__(self, address: str) -> None:
        """`address` is the head's host:port, or "auto" for the cluster that runs on this machine.

        Raises:
            Refused: Ray is not installed.
        """
        try:
            import ray  # noqa: F401
        except ImportError as absent:
            raise Refused("--engine ray needs the extra `cluster`: pip install 'twtrader[cluster]'") from absent
        self.address = address

    def tables(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, pa.Table]]:
        """The table of each chunk, as they are done.

        Raises:
            Refused: there is no such cluster, its nodes run other code, or it is gone.
        """
        import ray

        rule = job.options[0].strategy
        if rule.plan.__module__.startswith(FROM_FILE):
            raise Refused(f"the rule {rule.name} lies in a file of yours, which no node has: install it as a module")
        self._connect(ray)
        try:
            yield from self._work(ray, job, iter(chunks))
        except ray.exceptions.RayTaskError as wrong:
            raise wrong.cause if isinstance(wrong.cause, BotError) else wrong from None
        except (ray.exceptions.RaySystemError, ray.exceptions.RayError, ConnectionError) as lost:
            line = str(lost).splitlines()[0]
            raise Refused(f"the Ray cluster at {self.address} is lost ({line}): call again to go on") from lost
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Join the cluster; a wrong address is found out in seconds, which Ray itself takes minutes for."""
        host, _, port = self.address.rpartition(":")
        try:
            if self.address != "auto":
                socket.create_connection((host, int(port)), timeout=REACH_S).close()
            ray.init(address=self.address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
        except (OSError, ValueError, OverflowError) as wrong:
            line = str(wrong).splitlines()[0]
            raise Refused(f"no Ray cluster at {self.address}: {line}") from wrong

    def _work(self, ray: Any, job: Job, chunks: Iterator[Chunk]) -> Iterator[tuple[Chunk, pa.Table]]:
        """Keep twice as many chunks on their way as the cluster has cores."""
        work = ray.remote(max_retries=-1, num_cpus=1)(_on_a_node)
        shared, code = ray.put(job), source_digest()
        waiting: dict[Any, Chunk] = {}
        while True:
            room = 2 * max(1, _cores(ray)) - len(waiting)
            for chunk in islice(chunks, max(0, room)):
                waiting[work.remote(shared, chunk.matrix, chunk.first, code)] = chunk
            if not waiting:
                return
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_S)
            if not done and not _cores(ray):
                raise Refused(f"no node of the Ray cluster at {self.address} is left: call again to go on")
            for one in done:
                yield waiting.pop(one), _read(ray.get(one))


def _cores(ray: Any) -> int:
    """The cores of the nodes that are alive."""
    return int(ray.cluster_resources().get("CPU", 0))


def _on_a_node(job: Job, matrix: Matrix, first: int, code: str) -> bytes:
    """A chunk's table as Arrow bytes, computed on one core.

    Raises:
        Refused: this node's code is not the one that asks.
    """
    import numba

    if source_digest() != code:
        raise Refused(f"the node {socket.gethostname()} runs another version of twtrader: install the same everywhere")
    numba.set_num_threads(1)
    table = compute(_writable(job), matrix.copy(), first)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _writable(job: Job) -> Job:
    """`job` with tables of its own: Ray hands out read-only ones, for which numba would compile everything again."""
    tables = {one.name: getattr(job.tape, one.name) for one in fields(job.tape)}
    own: dict[str, Any] = {
        name: table.copy() if isinstance(table, np.ndarray) else table for name, table in tables.items()
    }
    return replace(job, tape=replace(job.tape, **own))


def _read(told: bytes) -> pa.Table:
    """The table in `told`."""
    return pa.ipc.open_stream(told).read_all()


@cache
def source_digest() -> str:
    """A hash of the code that a sweep's figures follow from: what "the same code" means, edited trees included."""
    root = Path(__file__).resolve().parents[1]
    told = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((root / folder).glob("*.py")):
            told.update(f"{folder}/{path.name}\n".encode() + path.read_bytes())
    return told.hexdigest()


def engine_of(name: str, address: str | None) -> Engine:
    """The engine that the user asks for.

    Raises:
        Refused: an address without Ray, or Ray is not installed.
    """
    makers: dict[str, Callable[[], Engine]] = {"local": Local, "ray": lambda: OnRay(address or "auto")}
    if name == "local" and address:
        raise Refused("--address belongs to --engine ray")
    return makers[name]()
