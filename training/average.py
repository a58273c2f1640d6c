"""`twtrader train average`: several adapters of one base become one whose change is the mean of theirs.

Runs that differ by their seed alone err in different places; the mean of their weights errs less, and costs no more
than one when it is merged. It is exact: the mean of k changes of rank r is a change of rank k r.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bot.adapters.adapter_store import PEFT_CONFIG, WEIGHTS, AdapterManifest, read_adapter, write_adapter
from bot.errors import Refused
from training.licences import joined_licences
from training.run_folder import ADAPTER


def average_command(
    adapters: Annotated[list[Path], typer.Argument(help="Folders of two or more adapters of the same base.")],
    out: Annotated[Path, typer.Option(help="The new adapter's folder; its name becomes the adapter's.")],
) -> None:
    """Make one adapter whose change is the mean of several: runs that differ by their seed, say."""
    made = average(adapters, out)
    typer.echo(f"{out}: the mean of {len(adapters)} adapters of {made.base}")


def average(folders: Sequence[Path], out: Path) -> AdapterManifest:
    """Write the mean of the adapters in `folders` to the new folder `out`.

    Raises:
        Refused: there are fewer than two, `out` exists, one is not as it should be, or they do not fit together.
    """
    if len(folders) < 2:  # noqa: PLR2004
        raise Refused("an average needs two adapters at least")
    if out.exists():
        raise Refused(f"{out} exists already")
    told = [read_adapter(folder) for folder in folders]
    shapes = [json.loads((folder / PEFT_CONFIG).read_text()) for folder in folders]
    _check_alike(folders, told, shapes)
    import torch
    from safetensors.torch import load_file, save_file

    weights = [load_file(folder / WEIGHTS) for folder in folders]
    joined: dict[str, Any] = {}
    for name in weights[0]:
        # A's stand below each other and B's side by side: [B1 .. Bk] [A1; ..; Ak] = the sum of Bi Ai.
        side = 0 if ".lora_A." in name else 1
        joined[name] = torch.cat([one[name] for one in weights], dim=side).contiguous()
    rank = shapes[0]["r"] * len(folders)
    # alpha / rank falls to a k-th of what it was with the same alpha: just the mean.
    shape = {**shapes[0], "r": rank, "lora_alpha": shapes[0]["lora_alpha"]}
    making = out.with_name(f".{out.name}.part")
    shutil.rmtree(making, ignore_errors=True)  # what a kill left behind
    making.mkdir(parents=True)
    (making / PEFT_CONFIG).write_text(json.dumps(shape, indent=2))
    save_file(joined, making / WEIGHTS, metadata={"format": "pt"})
    scores: dict[str, float] = {}
    latest = max(one.trained_until for one in told)
    licences = joined_licences([one.licence for one in told])
    name = out.parent.name if out.name == ADAPTER else out.name  # as a run's adapter is named after its run
    made = replace(
        told[0],
        name=name,
        trained_until=latest,
        licence=licences,
        made=datetime.now(UTC),
        scores=scores,
        sha256={},
        mood_temperature=1.0,  # the mean errs otherwise than each of them: it is calibrated anew
    )
    made = write_adapter(making, made)
    making.rename(out)
    return made


def _check_alike(folders: Sequence[Path], told: Sequence[AdapterManifest], shapes: Sequence[dict[str, Any]]) -> None:
    """Refuse adapters whose mean would mean nothing."""
    first = told[0]
    for folder, one, shape in zip(folders, told, shapes, strict=True):
        if one.base_sha256 != first.base_sha256:
            raise Refused(f"{folder}: made for another base than {folders[0]}")
        if (one.mood, one.columns) != (first.mood, first.columns):
            raise Refused(f"{folder}: is asked otherwise than {folders[0]}")
        keys = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
        if any(shape.get(key) != shapes[0].get(key) for key in keys) or shape.get("use_rslora"):
            raise Refused(f"{folder}: rank or alpha are not those of {folders[0]}")
        if sorted(shape["target_modules"]) != sorted(shapes[0]["target_modules"]):
            raise Refused(f"{folder}: changes other projections than {folders[0]}")
