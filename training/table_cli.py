"""`twtrader train table`: the scores of several evaluations as one table, an experiment's result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def table_command(
    evaluations: Annotated[list[Path], typer.Argument(help="Folders that `train evaluate --out` wrote.")],
    only: Annotated[str, typer.Option(help="Scores whose name has this in it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print facts as JSON.")] = False,
) -> None:
    """Print the scores of several evaluations side by side: a column each, by its folder's name."""
    from training.evaluation import read_evaluation

    told = {folder.name: read_evaluation(folder).scores() for folder in evaluations}
    names = [name for name in dict.fromkeys(name for scores in told.values() for name in scores) if only in name]
    if as_json:
        import msgspec

        chosen = {folder: {name: scores[name] for name in names if name in scores} for folder, scores in told.items()}
        typer.echo(msgspec.json.encode(chosen).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", *told)
    for name in names:
        cells = (scores.get(name) for scores in told.values())
        table.add_row(name.replace("_", " "), *("" if cell is None else f"{cell:.4f}" for cell in cells))
    Console().print(table)
