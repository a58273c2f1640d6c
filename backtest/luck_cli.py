"""`twtrader backtest luck` and `lookahead`: thin; the heavy imports come with the command that needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.cli import ForecasterName, day_option

if TYPE_CHECKING:
    from bot.config import Config

SinceOption = Annotated[str | None, typer.Option("--from", metavar="DATE", help="First session, like 2024-07-01.")]
UntilOption = Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last session.")]
DataOption = Annotated[Path | None, typer.Option(help="Bars from a folder of CODE.csv files, not the store.")]
ForecasterOption = Annotated[ForecasterName, typer.Option(help="Whose forecasts; all: whatever is there.")]
ModelOption = Annotated[str | None, typer.Option(help="Only stored forecasts of models whose name starts so.")]
StrategyOption = Annotated[
    str | None, typer.Option(help="Another rule than the config's: a name, module.name or file.py.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def luck(  # noqa: PLR0917  (typer turns parameters into options)
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    data: DataOption = None,
    forecaster: ForecasterOption = ForecasterName.ALL,
    model: ModelOption = None,
    strategy: StrategyOption = None,
    draws: Annotated[int, typer.Option(help="Random runs beside each run.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Of random runs and bootstrap.")] = 1,
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """Say in plain words whether a result is more than luck: random entries, deflated Sharpe, overfitting, bands."""
    import json

    from backtest.luck_run import judge_backtest, languages_of
    from backtest.luck_view import print_luck
    from backtest.run import Asked
    from bot.config_file import load_config

    asked = Asked(
        since=day_option("--from", since),
        until=day_option("--to", until),
        data=data,
        forecaster=forecaster.value,
        model=model,
    )
    config = _with_strategy(load_config(context.obj), strategy)
    told, languages = judge_backtest(config, asked, seed=seed, draws=draws), languages_of(config)
    if as_json:
        typer.echo(json.dumps(told.facts(languages), ensure_ascii=False, indent=2, default=str))
    else:
        print_luck(told, languages)


def lookahead(  # noqa: PLR0917
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    data: DataOption = None,
    forecaster: ForecasterOption = ForecasterName.ALL,
    model: ModelOption = None,
    strategy: StrategyOption = None,
    cuts: Annotated[int, typer.Option(help="Random (session, stock) cuts.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Of the cuts and of the market drawn anew.")] = 1,
    as_json: JsonOption = False,  # noqa: FBT002
) -> None:
    """Cut, scramble and replace the future: no decision may change, and on a market without memory no rule may earn."""
    import json

    from backtest.lookahead_run import look_ahead
    from backtest.run import Asked
    from bot.config_file import load_config
    from bot.errors import Refused

    asked = Asked(
        since=day_option("--from", since),
        until=day_option("--to", until),
        data=data,
        forecaster=forecaster.value,
        model=model,
    )
    config = _with_strategy(load_config(context.obj), strategy)
    told = look_ahead(config, asked, cuts=cuts, seed=seed)
    if as_json:
        typer.echo(json.dumps([one.facts() for one in told], ensure_ascii=False, indent=2, default=str))
    for one in told:
        if not as_json:
            typer.echo(one.verdict)
        for leak in () if as_json else one.leaks[1:10]:
            typer.echo(f"  {leak.line}")
    bad = [one for one in told if not one.clean]
    if bad:
        raise Refused(f"{len(bad)} of {len(told)} look ahead; the first: {bad[0].verdict}")


def _with_strategy(config: Config, strategy: str | None) -> Config:
    """`config` with another rule, where one is named."""
    if strategy is None:
        return config
    return replace(config, rules=replace(config.rules, strategy=strategy))
