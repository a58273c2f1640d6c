"""`twtrader train`: each part's command is mounted here by one line."""

from __future__ import annotations

import typer

from training.answers_cli import answers_command
from training.average import average_command
from training.dataset_cli import dataset_command
from training.evaluate_cli import evaluate_command
from training.promote_cli import promote_command, rollback_command, status_command
from training.sft_cli import sft_command
from training.table_cli import table_command
from training.teacher_cli import teacher_command

train = typer.Typer(help="Make the LLM: examples, fine-tune, evaluate, promote.", no_args_is_help=True)


@train.callback()
def _train() -> None:
    """Make the LLM: examples, fine-tune, evaluate, promote."""


train.command("answers")(answers_command)
train.command("dataset")(dataset_command)
train.command("evaluate")(evaluate_command)
train.command("promote")(promote_command)
train.command("rollback")(rollback_command)
train.command("status")(status_command)
train.command("teacher")(teacher_command)
train.command("sft")(sft_command)
train.command("table")(table_command)
train.command("average")(average_command)
