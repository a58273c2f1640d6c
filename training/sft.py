"""`twtrader train sft`: a dataset and a base become an adapter. The whole fine-tune, top to bottom.

On one GPU or the CPU: `twtrader train sft DATASET --out RUN`. On several: `torchrun --nproc-per-node N -m bot train sft
DATASET --out RUN`. Everything that can be refused is refused before anything is computed; a killed run goes on from its
last state when the same command is given again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
import transformers  # noqa: F401  (the whole of it, before llm_loading's part: with that trl and unsloth were run on a GPU)
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bot.adapters.adapter_store import (
    AdapterManifest,
    read_adapter_manifest,
    write_adapter,
)
from bot.adapters.llm_loading import load_tokenizer
from bot.adapters.model_store import (
    MANIFEST,
    Manifest,
    check_files,
    find_model,
    read_manifest,
    sha256_of,
    weights_sha256,
)
from bot.config import Config
from bot.core.prompt import LANGUAGE
from bot.train_config import TrainConfig
from training.dataset import Dataset, read_dataset
from training.licences import joined_licences
from training.packs import Tokens
from training.progress import Progress
from training.run_folder import ADAPTER, Log, alone, draw_curves, open_run, settings_of
from training.sft_checks import can_be_fused, check_knobs, check_name, needed_bytes, pick_engine, pick_speedup, shape_of
from training.tokens import encode_records

PACKAGES: Final = ("torch", "transformers", "peft", "trl", "unsloth", "bitsandbytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What is learned from, and what it is judged by while it learns."""

    train: list[Tokens]
    valid: list[Tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run came to. `adapter` is a model folder where all weights were trained."""

    adapter: Path
    progress: Progress
    steps: int


def run_sft(config: Config, dataset: Path, out: Path, console: Console) -> Trained | None:
    """Train `config.train.model` on the dataset; None on all processes of several but the first.

    Raises:
        Refused: in one line, before any GPU time is spent: a dataset that is none, an example that is too long, a base
            that is not there or does not fit, an engine that can't run here, no room on the disk.
    """
    knobs = config.train
    check_name(out)
    data = read_dataset(dataset)
    path = find_model(knobs.model, config.model.folder)
    check_files(path)
    _quiet()
    shape, tokenizer = shape_of(path), load_tokenizer(path)
    fusable = can_be_fused(shape)
    engine = pick_engine(knobs, cuda=torch.cuda.is_available(), fusable=fusable)
    check_knobs(knobs, engine, shape, path, fusable=fusable)
    examples = Examples(
        train=encode_records(tokenizer, data.records("train"), knobs.max_length, "train"),
        valid=encode_records(tokenizer, data.records("valid"), knobs.max_length, "valid"),
    )
    knobs = dataclasses.replace(knobs, engine=engine, speedup=pick_speedup(knobs, path))
    settings = settings_of(knobs, dataset=data.manifest.sha256, base=weights_sha256(path))
    with contextlib.ExitStack() as held:
        rank, world = held.enter_context(_processes())
        first = rank == 0
        if first:
            again = open_run(out, settings, needed_bytes(knobs, shape))
            held.enter_context(alone(out))
            if again:
                console.print(f"{out}: going on from its last state", soft_wrap=True)
        if world > 1:
            torch.distributed.barrier()
        log = Log(out, tensorboard=knobs.tensorboard) if first else None
        with _shown(console if first else None) as show:

            def watch(now: Progress, steps: int) -> None:
                if log is not None:
                    log.add(now)
                show(now, steps)

            if engine == "fused":
                from training.fused_engine import train

                now = train(path, examples.train, examples.valid, knobs, out, watch)
            else:
                from training.trl_engine import train_trl

                now = train_trl(path, examples.train, examples.valid, knobs, out, watch)
        if log is None:
            return None
        log.close()
        draw_curves(out)
        made = finish(out, config, data, path, now)
        return Trained(adapter=made, progress=now, steps=now.step)


def _quiet() -> None:
    """No bars of transformers between our lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


# --- several GPUs ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """Rank and number of the run's processes, as torchrun told; (0, 1) without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield torch.distributed.get_rank(), world
    finally:
        torch.distributed.destroy_process_group()


# --- what is seen ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _shown(console: Console | None) -> Iterator[Any]:
    """A function that shows the progress: a bar on a terminal, lines elsewhere, nothing without a console."""
    if console is None:
        yield lambda _now, _steps: None
        return
    if not console.is_terminal:
        yield lambda now, steps: console.print(f"step {now.step} of {steps}: {_words(now)}", soft_wrap=True)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("", total=None)
        yield lambda now, steps: bars.update(task, completed=now.step, total=steps, description=_words(now))


def _words(now: Progress) -> str:
    best = f", validation {now.valid_loss:.4f} (best {now.best_loss:.4f})" if now.best_step else ""
    return f"loss {now.loss:.4f}{best}, {now.tokens_a_second:,.0f} tokens/s"


# --- what comes out ----------------------------------------------------------------------------------------------


def finish(out: Path, config: Config, data: Dataset, base: Path, now: Progress) -> Path:
    """The adapter's folder with its manifest, under its final name only when it is whole."""
    making, done, knobs = out / f".{ADAPTER}", out / ADAPTER, config.train
    known = trained_until(data, base, config)
    if knobs.method == "full":
        (making / MANIFEST).unlink(missing_ok=True)
        manifest = Manifest(
            name=out.name,
            source=f"{knobs.model}@{weights_sha256(base)[:12]}, all weights trained",
            source_sha256=weights_sha256(base),
            licence=licence_of(data, knobs),
            knowledge_until=known,
            made=datetime.now(UTC),
            versions=_versions(),
            sha256={path.name: sha256_of(path) for path in sorted(making.iterdir())},
        )
        (making / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        making.rename(done)
        return done
    told = AdapterManifest(
        name=out.name,
        base=knobs.model,
        base_sha256=weights_sha256(base),
        trained_until=known,
        mood="tuned" if data.manifest.counts["train"].get("mood") else "shown",
        columns=data.manifest.columns,
        windows=data.manifest.windows,
        licence=licence_of(data, knobs),
        made=datetime.now(UTC),
        git=revision(),
        versions=_versions(),
        scores=_loss_of(now, knobs),
        sha256={},
        language=LANGUAGE,
    )
    write_adapter(making, told)
    making.rename(done)
    return done


def trained_until(data: Dataset, base: Path, config: Config) -> date:
    """The last day that the adapter can know of: of the base, or of the data it was trained and chosen on.

    Of a base without a manifest, `model.trained_until` in config.toml tells.
    """
    manifest, cuts = read_manifest(base), data.manifest.cuts
    known = [manifest.knowledge_until if manifest else config.model.trained_until]
    known += [cuts.valid_until] if cuts else []
    known += [one.trained_until for one in _started_from(config.train)]
    return max(known)


def licence_of(data: Dataset, knobs: TrainConfig) -> str:
    """The licences of all sources, of what the run went on from too, as one text with each source once."""
    sources = [f"{one.name}: {one.licence}" for one in data.manifest.sources]
    return joined_licences([*(one.licence for one in _started_from(knobs)), *sources])


def _started_from(knobs: TrainConfig) -> list[AdapterManifest]:
    """The adapter that the run went on from, or nothing."""
    return [read_adapter_manifest(Path(knobs.start))] if knobs.start else []


def _loss_of(now: Progress, knobs: TrainConfig) -> dict[str, float]:
    """The validation loss of what came out, if it is known."""
    if not now.best_step:
        return {}
    if knobs.keep == "best":
        return {"valid_loss": now.best_loss}
    return {"valid_loss": now.valid_loss} if now.valid_step == now.step else {}


def _versions() -> dict[str, str]:
    told = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            told[name] = importlib.metadata.version(name)
    return told


def revision() -> str:
    """The revision of the code, with a + where it was changed since; "unknown" without git.

    On a machine that got the code without its history, TWTRADER_REVISION tells it.
    """
    if os.environ.get("TWTRADER_REVISION"):
        return os.environ["TWTRADER_REVISION"]
    git = shutil.which("git")
    here = Path(__file__).resolve().parent
    if git is None:
        return "unknown"
    asked = [[git, "rev-parse", "--short=12", "HEAD"], [git, "status", "--porcelain", "--untracked-files=no"]]
    told = [subprocess.run(one, cwd=here, capture_output=True, text=True, check=False) for one in asked]  # noqa: S603
    return "unknown" if told[0].returncode else told[0].stdout.strip() + ("+" if told[1].stdout.strip() else "")
