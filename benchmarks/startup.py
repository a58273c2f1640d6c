"""Start-up: `twtrader status --once` and the idle daemon, beside a bare interpreter and beside importing pandas.

Run: make bench, or .venv/bin/python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO / "tests"))
ROUNDS = 7


def seconds(words: list[str], folder: Path, environment: dict[str, str]) -> float:
    """The median wall time of a command, in seconds."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, cwd=folder, env=environment)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    """Fill a database with one rehearsed session, then time the view on it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    from builders import at
    from rehearsals import SECRETS, command, rehearsal, twtrader
    from test_commands import MONDAY, daemon, offline, resident_mb

    from bot.sandbox.process import start_sandbox
    from bot.sandbox.settings import SandboxSettings

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codes = ["2330", "2317", "2454"]
        with start_sandbox(SandboxSettings(start=at(MONDAY, "18:40"), codes=tuple(codes))) as sandbox:
            config = rehearsal(folder, sandbox.url, codes)
            done = twtrader(config, "run", "--once")
            assert done.returncode == 0, done.stderr
            environment = {**os.environ, **SECRETS}
            # From here on as users run it: on this machine's clock, without a sandbox to ask for the time.
            told = config.read_text(encoding="utf-8").replace(f'url = "{sandbox.url}"', 'url = ""')
            config.write_text(told, encoding="utf-8")
            status = seconds(command(config, "status", "--once"), folder, environment)
        bare = seconds([sys.executable, "-c", "pass"], folder, environment)
        pandas = seconds([sys.executable, "-c", "import pandas"], folder, environment)
        vectorbt = seconds([sys.executable, "-c", "import vectorbt"], folder, environment)
        idle_folder = folder / "idle"
        idle_folder.mkdir()
        with daemon(offline(idle_folder)) as process:
            idle = resident_mb(process.pid)
            process.terminate()
            process.wait(20)
    print(f"python -c pass               {bare:6.2f} s")
    print(f"twtrader status --once       {status:6.2f} s   {status / bare:5.1f} x bare")
    print(f"python -c 'import pandas'    {pandas:6.2f} s   {pandas / bare:5.1f} x bare")
    print(f"python -c 'import vectorbt'  {vectorbt:6.2f} s   {vectorbt / bare:5.1f} x bare")
    print(f"twtrader run, idle           {idle:6.0f} MB")


if __name__ == "__main__":
    main()
