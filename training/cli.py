"""`twtrader train`: each part's command is mounted here by one line."""

from __future__ import annotations

import typer

from training.dataset_cli import dataset_command
from training.teacher_cli import teacher_command

train = typer.Typer(help="Make the LLM: examples, fine-tune, evaluate, promote.", no_args_is_help=True)


@train.callback()
def _train() -> None:
    """Make the LLM: examples, fine-tune, evaluate, promote."""


train.command("dataset")(dataset_command)
train.command("teacher")(teacher_command)
