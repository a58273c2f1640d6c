"""`make chaos`: the crash matrix and the ambiguity runs in full, with their counts. Exit code 1 on any violation."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from ambiguity import MixResult, run_mix
from builders import at
from crash_matrix import SeedResult, run_seed, warm_up
from kill_points import HALT_POINTS, POINTS
from real_processes import ForkServer, FreshStarts
from rich.console import Console
from rich.table import Table

from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

T = TypeVar("T")
SAY_EVERY_S = 15.0
console = Console(width=120, highlight=False)


@dataclass(slots=True)
class Place:
    """What one worker has: a folder, a sandbox that is reset for each seed, and a warm server of daemons."""

    folder: Path
    sandbox: Sandbox
    server: ForkServer


_place: list[Place] = []


def _move_in(folder: Path) -> None:
    """Set up this worker's place, once. Both processes end with the worker: their standard input closes."""
    mine = folder / f"worker-{os.getpid()}"
    sandbox = start_sandbox(SandboxSettings(start=at(date(2025, 1, 6), "15:00"), codes=("2330",), dividends=True))
    server = ForkServer()
    warm_up(mine / "warm-up", sandbox, server)
    _place.append(Place(folder=mine, sandbox=sandbox, server=server))


def _forked_seed(seed: int, point: str) -> SeedResult:
    [place] = _place
    return _kept_if_wrong(
        place.folder / f"seed-{seed}", lambda folder: run_seed(seed, folder, place.sandbox, place.server, point)
    )


def _fresh_seed(seed: int, point: str) -> SeedResult:
    [place] = _place
    return _kept_if_wrong(
        place.folder / f"fresh-{seed}", lambda folder: run_seed(seed, folder, place.sandbox, FreshStarts(), point)
    )


def _mix(number: int) -> MixResult:
    [place] = _place
    return _kept_if_wrong(
        place.folder / f"mix-{number}", lambda folder: run_mix(number, folder, place.sandbox, place.server)
    )


def _kept_if_wrong(folder: Path, work: Callable[[Path], Any]) -> Any:
    """The result of `work` in `folder`, which stays only if something was wrong."""
    result = work(folder)
    if not result.audit.violations:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def in_parallel(
    pool: ProcessPoolExecutor, what: str, work: Callable[..., T], calls: Sequence[tuple[Any, ...]]
) -> Iterator[T]:
    """The results of `calls` as they come, with a line on the way every now and then."""
    begun = said = time.monotonic()
    futures = [pool.submit(work, *words) for words in calls]
    for done, future in enumerate(as_completed(futures), start=1):
        yield future.result()
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            left_s = (said - begun) / done * (len(calls) - done)
            console.print(f"{what}: {done} of {len(calls)}, about {left_s:.0f} s left")


# --- the reports ------------------------------------------------------------------------------------------------------


def report_matrix(title: str, results: Sequence[SeedResult]) -> None:
    """Kills and restarts by point, and what the audits counted."""
    table = Table(title=title, title_justify="left")
    for name in ("killed at", "kills", "restart to ready, median s", "max s"):
        table.add_column(name, justify="left" if name == "killed at" else "right")
    kills = Counter(kill for one in results for kill in one.kills)
    for point in (*POINTS, *HALT_POINTS):
        ready_s = [one.ready_s[point.name] for one in results if point.name in one.ready_s]
        if kills[point.name]:
            table.add_row(
                f"{point.name}: {point.what}", str(kills[point.name]),
                f"{median(ready_s):.2f}" if ready_s else "-", f"{max(ready_s):.2f}" if ready_s else "-",
            )  # fmt: skip
    console.print(table)
    slowest_s = max((max(one.ready_s.values(), default=0.0) for one in results), default=0.0)
    console.print(
        f"{len(results)} seeds, {kills.total()} kills at {len(kills)} points, slowest restart to ready {slowest_s:.2f} s"
    )
    report_counts(results)


def report_counts(results: Iterable[SeedResult | MixResult]) -> None:
    """What the audits counted, violations first."""
    counts: Counter[str] = Counter()
    for one in results:
        counts.update(one.audit.counts)
    for name in sorted(counts, key=lambda name: (counts[name] > 0, name)):
        console.print(f"  {counts[name]:>7,} {name}")


def report_mixes(results: Sequence[MixResult]) -> None:
    """Where orders ended, by the fault that met their POST, and readings by theirs."""
    ends = Counter((fault, end) for one in results for fault, end in one.ends)
    states = sorted({end for _, end in ends})
    table = Table(title="orders by the fault that met their POST, and where they ended", title_justify="left")
    table.add_column("fault")
    for state in states:
        table.add_column(state, justify="right")
    for fault in sorted({fault for fault, _ in ends}):
        table.add_row(fault, *(f"{ends[fault, state]:,}" for state in states))
    console.print(table)
    readings = Counter(fault for one in results for fault in one.readings)
    console.print(
        "readings of the book: " + ", ".join(f"{count:,} {fault}" for fault, count in sorted(readings.items()))
    )
    people = Counter(deed for one in results for deed in one.deeds)
    console.print(
        "what a person did: " + (", ".join(f"{n:,} {deed}" for deed, n in sorted(people.items())) or "nothing")
    )
    console.print(f"{len(results)} mixes")
    report_counts(results)


def report_violations(results: Sequence[SeedResult], again: Callable[[int, str], SeedResult] | None) -> None:
    """Each violation with the words that replay it, down to the point where one alone is enough."""
    wrong = [one for one in results if one.audit.violations]
    for one in wrong:
        console.print(
            f'\n[bold red]seed {one.seed}[/] (make chaos ARGS="--seed {one.seed}"), kills: {", ".join(one.kills)}'
        )
        for text in one.audit.violations[:10]:
            console.print(f"  {text}", markup=False)
    for one in wrong[:3] if again else []:
        assert again is not None
        for point in dict.fromkeys(kill for kill in one.kills if kill in {point.name for point in POINTS}):
            if again(one.seed, point).audit.violations:
                console.print(
                    f"seed {one.seed}: one kill is enough: make chaos ARGS=\"--seed {one.seed} --point '{point}'\""
                )


# --- the command ------------------------------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["matrix", "fresh", "ambiguity"], help="one part alone")
    parser.add_argument("--seeds", type=int, default=200, help="of the crash matrix (default 200)")
    parser.add_argument("--fresh", type=int, default=4, help="seeds through `python -m bot` started afresh (default 4)")
    parser.add_argument("--mixes", type=int, default=2000, help="of faults (default 2000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--from", dest="first", type=int, default=0, help="first seed or mix (default 0)")
    parser.add_argument("--seed", type=int, help="replay one seed of the crash matrix")
    parser.add_argument("--point", default="", choices=["", *(point.name for point in POINTS)], help="kill there alone")
    parser.add_argument("--mix", type=int, help="replay one mix of faults")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 1 on any violation."""
    told, begun = options(), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="twtrader-chaos-"))
    seeds = [told.seed] if told.seed is not None else range(told.first, told.first + told.seeds)
    mixes = [told.mix] if told.mix is not None else range(told.first, told.first + told.mixes)
    one_thing = "matrix" if told.seed is not None else "ambiguity" if told.mix is not None else told.only
    wrong = 0
    with ProcessPoolExecutor(
        told.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_move_in, initargs=(folder,)
    ) as pool:
        if one_thing in {None, "matrix"}:
            calls = [(seed, told.point) for seed in seeds]
            results = list(in_parallel(pool, "crash matrix", _forked_seed, calls))
            report_matrix("crash matrix: the daemon as a fork of a warm interpreter", results)
            again = None if told.point else (lambda seed, point: pool.submit(_forked_seed, seed, point).result())
            report_violations(results, again)
            wrong += sum(len(one.audit.violations) for one in results)
        if one_thing in {None, "fresh"} and told.fresh:
            results = list(
                in_parallel(pool, "fresh starts", _fresh_seed, [(seed, "") for seed in list(seeds)[: told.fresh]])
            )
            report_matrix("crash matrix: `python -m bot`, started afresh each time", results)
            report_violations(results, None)
            wrong += sum(len(one.audit.violations) for one in results)
        if one_thing in {None, "ambiguity"}:
            mixed = list(in_parallel(pool, "ambiguity", _mix, [(number,) for number in mixes]))
            report_mixes(mixed)
            for one in mixed:
                for text in one.audit.violations[:10]:
                    console.print(f'mix {one.number} (make chaos ARGS="--mix {one.number}"): {text}', markup=False)
            wrong += sum(len(one.audit.violations) for one in mixed)
    console.print(
        f"{wrong} violations, {time.monotonic() - begun:.0f} s" + (f"; what is left lies in {folder}" if wrong else "")
    )
    if not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
