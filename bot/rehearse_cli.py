"""`twtrader demo`, `sandbox` and `rehearse`: trading against the loopback exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bot.errors import Refused


def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the demo leaves its database and report.")] = Path("demo"),
) -> None:
    """Two trading sessions on the sandbox: nothing is needed but the small model."""
    from bot.demo import run_demo

    run_demo(context.obj, folder)


def sandbox(
    start: Annotated[str, typer.Option(help="First moment on its clock, Taipei time.")] = "2025-03-03T08:00",
    prices: Annotated[Path | None, typer.Option(help="Replay this folder of CSV bars; default: invent them.")] = None,
    codes: Annotated[str, typer.Option(help="Only these stocks, like 2330,2317.")] = "",
    seed: Annotated[int, typer.Option(help="Of the invented market and the headlines.")] = 7,
    port: Annotated[int, typer.Option(help="On loopback; 0 = any free one.")] = 8787,
    speed: Annotated[float, typer.Option(help="Its clock runs so many times real time; 0 = it is moved.")] = 0.0,
    account: Annotated[str, typer.Option(help="The account's name.")] = "demo",
    password: Annotated[str, typer.Option(help="The account's password.")] = "demo",  # noqa: S107  (a sandbox's)
    cash: Annotated[int, typer.Option(help="Whole TWD the account opens with.")] = 100_000_000,
    dividends: Annotated[bool, typer.Option("--dividends", help="Pay cash dividends on ex-dates.")] = False,
) -> None:
    """The loopback exchange alone: rehearse your config on it."""
    from bot.sandbox.serve import serve
    from bot.sandbox.settings import SandboxSettings, moment

    serve(
        SandboxSettings(
            start=moment(start),
            prices=prices,
            codes=tuple(code.strip() for code in codes.split(",") if code.strip()),
            seed=seed,
            port=port,
            speed=speed,
            accounts=((account, password),),
            cash_twd=cash,
            dividends=dividends,
        )
    )


def rehearse(
    context: typer.Context,
    copy: Annotated[Path, typer.Argument(help="The config to write.")],
    url: Annotated[str, typer.Option(help="The sandbox.")] = "http://127.0.0.1:8787",
    churn: Annotated[bool, typer.Option("--churn", help="No model; buy and sell every day, to see orders.")] = False,
) -> None:
    """Write a copy of your config that is pointed at a sandbox, with a database of its own; the rest stays yours."""
    from bot.rehearsal import CHURN, write_rehearsal_config

    if copy.exists():
        raise Refused(f"{copy} exists already")
    write_rehearsal_config(context.obj, copy, url, CHURN if churn else {})
    typer.echo(f"{copy}: now `twtrader -c {copy} run --until DATE`")
