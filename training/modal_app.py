"""The same fine-tune on a rented GPU: a Modal app (extra `modal`) that calls `training.sft.run_sft` there.

    modal run training/modal_app.py --dataset data/moods --out runs/moods --gpu H100 --knobs '{"epochs": 5, "rank": 16}'

What can be refused is refused here, before anything is rented. The dataset and the base go to a volume, and the run's
folder lies there too: a machine that is taken away is replaced, and the new one goes on from the last state. The
adapter comes back to `out` and is checked by its hashes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import modal

from bot.errors import Refused

ROOT: Final = Path(__file__).resolve().parents[1]
THERE: Final = "/twtrader"  # our code, on the rented machine
RUNS: Final = "/runs"  # the volume
PACKAGES: Final = ("bot", "backtest", "training")
DAY_S: Final = 24 * 60 * 60


def requirements(table: Mapping[str, Any], extra: str) -> list[str]:
    """What pyproject.toml's `project` table asks for, with an extra; our own name in an extra means another one."""
    found: list[str] = list(table["dependencies"])
    for one in table["optional-dependencies"][extra]:
        ours = re.fullmatch(rf"{table['name']}\[(.+)\]", one)
        more = [need for name in ours[1].split(",") for need in requirements(table, name.strip())] if ours else [one]
        found += [need for need in more if need not in found]
    return found


def image_of(root: Path) -> modal.Image:
    """Python with the versions that were tested together, and our code as it lies in `root`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = f"{THERE}/constraints.txt"
    made = (
        modal.Image.debian_slim(python_version="3.11")
        .add_local_file(root / "constraints.txt", pinned, copy=True)
        .pip_install(*requirements(project, "train"), extra_options=f"-c {pinned}")
        .env({"PYTHONPATH": THERE, "HF_HUB_OFFLINE": "1"})
        .workdir(THERE)
    )
    for name in PACKAGES:  # last: a change of code builds no new image
        made = made.add_local_dir(root / name, f"{THERE}/{name}", ignore=["**/__pycache__"])
    return made


app = modal.App("twtrader-sft")
volume = modal.Volume.from_name("twtrader-runs", create_if_missing=True)
image = image_of(ROOT) if modal.is_local() else modal.Image.debian_slim()


@app.function(image=image, gpu="H100", volumes={RUNS: volume}, timeout=DAY_S, retries=3)
def finetune(config: str, out: str, knobs: dict[str, Any], revision: str) -> dict[str, Any]:
    """On the rented machine: see `fine_tune`."""
    os.environ["TWTRADER_REVISION"] = revision
    try:
        return fine_tune(Path(RUNS), config, out, knobs)
    finally:
        volume.commit()


def fine_tune(root: Path, config: str, out: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Run `train sft` in the folder `root` with the text of a config.toml; what came of it.

    A refusal is an answer, too: raised, it would be tried again on the next machine.
    """
    from rich.console import Console

    from bot.config_file import load_config
    from training.sft import run_sft
    from training.sft_cli import knobs_of

    folder = root / out
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = root / f"{out}.toml"
    path.write_text(config, encoding="utf-8")
    try:
        told = load_config(path)
        told = dataclasses.replace(
            told,
            model=dataclasses.replace(told.model, folder=root / "models"),
            train=knobs_of(told.train, knobs),
        )
        made = run_sft(told, root / "datasets" / out, folder, Console())
    except Refused as refused:
        return {"refused": str(refused)}
    assert made is not None  # one process
    return {"steps": made.steps, "tokens_a_second": made.progress.tokens_a_second}


def checked(config: Path, dataset: Path, out: Path, knobs: str) -> tuple[Path, dict[str, Any]]:
    """The base's folder here and the knobs, after all checks that need no GPU.

    Raises:
        Refused: the dataset, the base, a knob or the folder's name is wrong.
    """
    from bot.adapters.model_store import check_files, find_model
    from bot.config_file import load_config
    from bot.train_config import TrainConfig
    from training.dataset import read_dataset
    from training.sft_checks import check_name
    from training.sft_cli import knobs_of

    told = load_config(config)
    try:
        named = json.loads(knobs or "{}")
    except ValueError as wrong:
        raise Refused(f"--knobs: {wrong}") from wrong
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(named) - known) if isinstance(named, dict) else ["no object"]
    if unknown:
        raise Refused(f"--knobs: {', '.join(unknown)}: an object of {', '.join(sorted(known))} is wanted")
    check_name(out)
    if out.exists():
        raise Refused(f"{out}: is there already; the adapter would come back to it")
    if knobs_of(told.train, named).start:
        raise Refused("train.start is not sent: go on from an adapter where it lies")
    read_dataset(dataset)
    base = find_model(knobs_of(told.train, named).model, told.model.folder)
    check_files(base)
    return base, {**named, "model": base.name}


@app.local_entrypoint()
def main(dataset: str, out: str, gpu: str = "H100", knobs: str = "", config: str = "config.toml") -> None:
    """Check here, send, train there on a `gpu` of this kind, and bring the adapter back to `out`."""
    from bot.adapters.adapter_store import check_base, read_adapter
    from training.sft import revision

    here = Path(out)
    try:
        base, told = checked(Path(config), Path(dataset), here, knobs)
    except Refused as refused:
        raise SystemExit(f"twtrader: {refused}") from refused
    with volume.batch_upload(force=True) as batch:
        batch.put_directory(dataset, f"/datasets/{here.name}")
        batch.put_directory(base, f"/models/{base.name}")
    text = Path(config).read_text(encoding="utf-8")
    answer = finetune.with_options(gpu=gpu).remote(text, here.name, told, revision())
    if "refused" in answer:
        raise SystemExit(f"twtrader: {answer['refused']}")
    fetch(volume, f"/{here.name}/adapter", here / "adapter")
    check_base(read_adapter(here / "adapter"), base)
    print(f"{here / 'adapter'}: {answer['steps']} steps, {answer['tokens_a_second']:,.0f} tokens/s on {gpu}")  # noqa: T201


def fetch(store: Any, there: str, here: Path) -> None:
    """Every file of a volume's folder, which has no folders in it."""
    here.mkdir(parents=True)
    for entry in store.iterdir(there):
        with (here / PurePosixPath(entry.path).name).open("wb") as file:
            store.read_file_into_fileobj(entry.path, file)
