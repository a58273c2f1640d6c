"""`twtrader train`: each part's command is mounted here by one line."""

from __future__ import annotations

from typing import Final

import typer

from bot.lazy_commands import lazily

COMMANDS: Final = {
    "answers": "training.answers_cli:answers_command",
    "dataset": "training.dataset_cli:dataset_command",
    "evaluate": "training.evaluate_cli:evaluate_command",
    "promote": "training.promote_cli:promote_command",
    "rollback": "training.promote_cli:rollback_command",
    "status": "training.promote_cli:status_command",
    "teacher": "training.teacher_cli:teacher_command",
    "sft": "training.sft_cli:sft_command",
    "table": "training.table_cli:table_command",
    "average": "training.average:average_command",
    "calibrate": "training.calibrate_cli:calibrate_command",
}

train = typer.Typer(
    cls=lazily(COMMANDS), help="Make the LLM: examples, fine-tune, evaluate, promote.", no_args_is_help=True
)


@train.callback()
def _train() -> None:
    """Make the LLM: examples, fine-tune, evaluate, promote."""
