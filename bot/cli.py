"""The command `twtrader`. A command's module is imported when it is called, and heavy things inside the command."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from bot.errors import BotError
from bot.lazy_commands import lazily
from bot.secrets import guard_output, redacted

COMMANDS: Final = {
    "run": "bot.run_cli:run",
    "status": "bot.status_cli:status",
    "demo": "bot.rehearse_cli:demo",
    "sandbox": "bot.rehearse_cli:sandbox",
    "rehearse": "bot.rehearse_cli:rehearse",
    "clock": "bot.clock_cli:clock",
    "sessions": "bot.sessions_cli:sessions",
    "forecast": "bot.forecast_cli:forecast",
    "sentiment": "bot.forecast_cli:sentiment",
    "halt": "bot.stops_cli:halt",
    "resume": "bot.stops_cli:resume",
    "reconcile": "bot.reconcile_cli:reconcile",
    "model": "bot.llm_cli:model_app",
    "backtest": "backtest.cli:backtest_app",
    "news": "bot.news_cli:news_app",
    "data": "bot.data_cli:data_app",
    "orders": "bot.orders_cli:orders_app",
    "secrets": "bot.secrets_cli:secrets_app",
    "train": "training.cli:train",
}

app = typer.Typer(
    name="twtrader",
    cls=lazily(COMMANDS),
    help="Trade Taiwan stocks on an LLM's forecasts, by itself; rehearse, watch and backtest it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; a user's problem is one clear line on stderr and exit code 1."""
    guard_output()
    try:
        app()
    except (BotError, sqlite3.Error) as error:
        typer.echo(redacted(f"twtrader: {error}"), err=True)
        sys.exit(1)
    finally:
        guard_output()  # once more: typer has put a hook of its own in place, and a bug's traceback is on its way


@app.callback()
def common(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration.")] = Path("config.toml"),
) -> None:
    """Every command reads the same configuration."""
    context.obj = config
