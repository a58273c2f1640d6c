"""`twtrader backtest sweep` and `walk-forward`: thin; numpy and numba come with the command."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from backtest.cli import ForecasterName, day_option


class MethodName(StrEnum):
    """How sets are made."""

    GRID = "grid"
    RANDOM = "random"


class ObjectiveName(StrEnum):
    """What is wanted most."""

    RETURN = "return"
    SHARPE = "sharpe"
    CALMAR = "calmar"


class EngineName(StrEnum):
    """Where chunks are computed."""

    LOCAL = "local"
    RAY = "ray"


Since = Annotated[str | None, typer.Option("--from", metavar="DATE", help="First session, like 2024-07-01.")]
Until = Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last session.")]
Data = Annotated[Path | None, typer.Option(help="Bars from a folder of CODE.csv files, not the store.")]
Whose = Annotated[
    ForecasterName, typer.Option(help="Whose forecasts; all: the stored ones, which must be of one model.")
]
Model = Annotated[str | None, typer.Option(help="Only stored forecasts of models whose name starts so.")]
Method = Annotated[MethodName | None, typer.Option(help="In place of the config's.")]
Sets = Annotated[int | None, typer.Option(help="Draws of --method random, in place of the config's.")]
Seed = Annotated[int | None, typer.Option(help="In place of the config's.")]
Wanted = Annotated[ObjectiveName | None, typer.Option(help="In place of the config's.")]
EngineOption = Annotated[EngineName, typer.Option(help="ray: on a cluster, with the extra `cluster`.")]
Address = Annotated[str | None, typer.Option(help="The Ray head's host:port; default: the cluster on this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def sweep(
    context: typer.Context,
    since: Since = None,
    until: Until = None,
    data: Data = None,
    forecaster: Whose = ForecasterName.ALL,
    model: Model = None,
    method: Method = None,
    sets: Sets = None,
    seed: Seed = None,
    objective: Wanted = None,
    guided: Annotated[int, typer.Option(min=0, help="Let optuna search with N sets instead.")] = 0,
    heat: Annotated[
        str | None, typer.Option(metavar="A,B", help="The heat map's knobs; default: the first two.")
    ] = None,
    engine: EngineOption = EngineName.LOCAL,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Try many parameter sets under each fill rule: all results in Parquet, the Pareto front, a heat map."""
    import json

    from backtest import sweep_report
    from backtest.sweep import run_sweep
    from backtest.sweep_engine import engine_of
    from backtest.sweep_results import first_two, heat_map
    from backtest.trials import tried
    from bot.adapters.clocks import SystemClock
    from bot.adapters.sqlite_open import open_database
    from bot.errors import Refused

    if guided and (engine is EngineName.RAY or method or sets):
        raise Refused("--guided learns from each batch: it has no --method, --sets or --engine ray")
    chosen = engine_of(engine.value, address)
    made = _prepared(context, since, until, data, forecaster, model, (method, sets, seed, objective), guided)
    knobs = _two_knobs(heat, made.space.swept)
    with closing(open_database(made.config.store.path)) as db, sweep_report.progress_bar() as watch:
        results = run_sweep(made, chosen, db, SystemClock().now(), watch)
        told = made.job.tape.sessions
        trials = tried(db, strategy=results.facts["strategy"], since=told[0], until=told[-1])
    knobs = knobs or first_two(results.swept, results)
    mapped = heat_map(results, *knobs) if knobs else None
    if mapped is not None:
        sweep_report.write_heat(mapped, made.folder / f"heat-{mapped.across}-{mapped.down}.html", made.run_id)
    notes = sweep_report.notes_of(made, results)
    if as_json:
        facts = sweep_report.facts(results, trials, notes, made.folder, mapped)
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        sweep_report.print_sweep(results, trials, notes, made.folder, mapped)


def walk_forward(
    context: typer.Context,
    since: Since = None,
    until: Until = None,
    data: Data = None,
    forecaster: Whose = ForecasterName.ALL,
    model: Model = None,
    method: Method = None,
    sets: Sets = None,
    seed: Seed = None,
    objective: Wanted = None,
    train: Annotated[int | None, typer.Option(help="Sessions to choose on, in place of the config's.")] = None,
    trade: Annotated[int | None, typer.Option(help="Sessions to trade in, in place of the config's.")] = None,
    engine: EngineOption = EngineName.LOCAL,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Choose parameters on a rolling window, trade the sessions after it; only what was out of sample counts."""
    import json

    from backtest import walk_report
    from backtest.sweep_engine import engine_of
    from backtest.sweep_report import progress_bar
    from backtest.walk_forward import walk_forward as walk
    from bot.adapters.clocks import SystemClock
    from bot.adapters.sqlite_open import open_database

    chosen = engine_of(engine.value, address)
    made = _prepared(context, since, until, data, forecaster, model, (method, sets, seed, objective), 0, train, trade)
    with closing(open_database(made.config.store.path)) as db, progress_bar() as watch:
        walked = walk(made, chosen, db, SystemClock().now(), watch)
    folder = walk_report.write_walk(walked)
    if as_json:
        typer.echo(json.dumps(walk_report.facts(walked) | {"folder": str(folder)}, ensure_ascii=False, indent=2))
    else:
        walk_report.print_walk(walked, folder)


def _prepared(
    context: typer.Context,
    since: str | None,
    until: str | None,
    data: Path | None,
    forecaster: ForecasterName,
    model: str | None,
    changes: tuple[MethodName | None, int | None, int | None, ObjectiveName | None],
    guided: int = 0,
    train: int | None = None,
    trade: int | None = None,
) -> Any:
    """The sweep that the options describe."""
    from backtest.run import Asked
    from backtest.sweep import Changes, prepare
    from bot.config_file import load_config

    method, sets, seed, objective = changes
    asked = Asked(
        since=day_option("--from", since), until=day_option("--to", until), data=data, forecaster=forecaster.value,
        model=model,
    )  # fmt: skip
    told = Changes(
        method=method and method.value, sets=sets, seed=seed, objective=objective and objective.value, train=train,
        trade=trade,
    )  # fmt: skip
    return prepare(load_config(context.obj), asked, told, guided)


def _two_knobs(heat: str | None, swept: tuple[str, ...]) -> tuple[str, str] | None:
    """The knobs named in --heat A,B.

    Raises:
        Refused: not two different swept ones.
    """
    from bot.errors import Refused

    if heat is None:
        return None
    names = [name.strip() for name in heat.split(",")]
    if len(names) != 2 or names[0] == names[1] or not set(names) <= set(swept):  # noqa: PLR2004
        raise Refused(
            f"--heat {heat}: name two of the swept knobs, like {','.join(swept[:2])}; there are {', '.join(swept)}"
        )
    return names[0], names[1]
