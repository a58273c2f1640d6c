"""What `backtest run` does from the configuration to the files, in phases that a benchmark can time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backtest.report_files import write_csv
from backtest.run import Asked, Backtest, run_backtest
from backtest.stored_run import StoredRun, read_run, store_run
from bot.config import Config
from bot.errors import Refused

PAGE = "report.html"
LUCK_SEED, LUCK_DRAWS = 1, 1_000  # as `backtest luck` has them


def run_and_store(config: Config, asked: Asked, *, with_luck: bool = False, with_page: bool = True) -> StoredRun:
    """Replay, score and store what is asked; the run as it is read back from its files.

    Raises:
        Refused: as `run_backtest`.
    """
    result = run_backtest(config, asked)
    blind = [one.forecaster for one in result.knowledge if all(part.name != "after" for part in one.parts)]
    if with_luck and blind:
        raise Refused(f"--luck: {blind[0]} may know every session: there is nothing to judge")
    folder = store_run(result, config.backtest.reports)
    if with_luck:
        _judge(config, _clean(asked, result), folder)
    run = read_run(folder)
    write_csv(run)
    if with_page:
        page_of(run, config, folder / PAGE)
    return run


def page_of(run: StoredRun, config: Config, path: Path) -> None:
    """Write the page of a stored run."""
    from backtest.report_beside import beside
    from backtest.report_page import write_page
    from bot.chart_colours import colours_of

    write_page(run, path, colours_of(config.backtest.up), beside(run, config.backtest.reports))


def _clean(asked: Asked, result: Backtest) -> Asked:
    """The same without sessions that a model may know: there is no luck to judge in what it may remember."""
    cutoffs = [one.trained_until for one in result.knowledge]
    since = max([*cutoffs, asked.since or cutoffs[0]]) if cutoffs else asked.since
    return replace(asked, known_too=False, since=since)


def _judge(config: Config, asked: Asked, folder: Path) -> None:
    from backtest.luck_run import judge_backtest, languages_of
    from backtest.report_beside import store_luck

    luck = judge_backtest(config, asked, seed=LUCK_SEED, draws=LUCK_DRAWS)
    store_luck(folder, luck.facts(languages_of(config)))
