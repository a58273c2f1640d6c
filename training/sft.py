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
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bot.adapters.adapter_store import PEFT_CONFIG, AdapterManifest, check_base, read_adapter, write_adapter
from bot.adapters.llm_fused import can_fuse
from bot.adapters.model_store import check_files, find_model, read_manifest, weights_sha256
from bot.config import Config
from bot.errors import Refused
from bot.train_config import TrainConfig
from training.dataset import Dataset, read_dataset
from training.packs import Tokens
from training.progress import Progress
from training.run_folder import ADAPTER, Log, draw_curves, open_run, settings_of
from training.tokens import encode_records

SMALL: Final = 1_000_000_000  # weights below which a GPU waits for Python: CUDA graphs help more than a compiler
SPARE_BYTES: Final = 200_000_000  # for logs and curves
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
    data = read_dataset(dataset)
    path = find_model(knobs.model, config.model.folder)
    check_files(path)
    from transformers import AutoConfig, AutoTokenizer

    shape = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    engine = pick_engine(knobs, cuda=torch.cuda.is_available())
    check_knobs(knobs, engine, shape, path)
    examples = Examples(
        train=encode_records(tokenizer, data.records("train"), knobs.max_length, "train"),
        valid=encode_records(tokenizer, data.records("valid"), knobs.max_length, "valid"),
    )
    knobs = dataclasses.replace(knobs, engine=engine, speedup=_speedup(knobs, path))
    settings = settings_of(knobs, dataset=data.manifest.sha256, base=weights_sha256(path))
    with _processes() as (rank, world):
        first = rank == 0
        if first and open_run(out, settings, _needed_bytes(knobs, path)):
            console.print(f"{out}: going on from its last state")
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
        made = finish(out, knobs, data, path, now)
        return Trained(adapter=made, progress=now, steps=now.step)


# --- before anything is computed -------------------------------------------------------------------------------


def pick_engine(knobs: TrainConfig, *, cuda: bool) -> Any:
    """The engine that `auto` means here.

    Raises:
        Refused: the one that is asked for can't run here.
    """
    bits = knobs.method in {"qlora", "8bit"}
    engine = knobs.engine
    if engine == "auto":
        engine = "trl" if not cuda else "unsloth" if bits else "fused"
    if bits and not cuda:
        raise Refused(f'train.method = "{knobs.method}" needs CUDA: bitsandbytes has no kernels for this machine')
    if bits and engine == "fused":
        raise Refused(f'train.engine = "fused" trains in bf16: for "{knobs.method}" take "unsloth" or "trl"')
    if engine == "unsloth" and not cuda:
        raise Refused('train.engine = "unsloth" runs only where there is a GPU')
    wanted = {"unsloth": ("unsloth", "trl", "datasets"), "trl": ("trl", "datasets", "peft")}.get(engine, ())
    if bits or knobs.optimiser == "adamw_8bit":
        wanted = (*wanted, "bitsandbytes")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        extra = "gpu" if {"unsloth", "bitsandbytes"} & set(missing) else "train"
        raise Refused(f"{', '.join(missing)} is not installed: pip install 'twtrader[{extra}]'")
    return engine


def check_knobs(knobs: TrainConfig, engine: str, shape: Any, path: Path) -> None:
    """Refuse what would fail, or silently be otherwise, an hour from now."""
    if knobs.max_length > shape.max_position_embeddings:
        limit = shape.max_position_embeddings
        raise Refused(f"train.max_length is {knobs.max_length} and {knobs.model} reads at most {limit} tokens")
    if engine == "fused" and not _plain(shape):
        raise Refused(f'train.engine = "fused" knows Llama-shaped models, not {shape.model_type}: take "trl"')
    if engine == "unsloth" and knobs.method == "full":
        raise Refused('train.method = "full" is done by "fused" or "trl", not by unsloth')
    if knobs.optimiser == "adamw_8bit" and not torch.cuda.is_available():
        raise Refused('train.optimiser = "adamw_8bit" needs CUDA')
    if knobs.start:
        check_start(knobs, engine, path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and engine != "fused":
        raise Refused(f'several GPUs are used by train.engine = "fused", not by "{engine}"')


def check_start(knobs: TrainConfig, engine: str, path: Path) -> None:
    """Refuse an adapter that the run could not go on from."""
    if engine != "fused" or knobs.method != "lora":
        raise Refused('train.start needs train.engine = "fused" and train.method = "lora"')
    folder = Path(knobs.start)
    check_base(read_adapter(folder), path)
    told = json.loads((folder / PEFT_CONFIG).read_text())
    before = (told["r"], sorted(told["target_modules"]), told["lora_alpha"])
    if before != (knobs.rank, sorted(knobs.targets), knobs.alpha):
        raise Refused(f"{folder}: rank, alpha or targets are not those of [train]; go on with the same")


def _plain(shape: Any) -> bool:
    """Whether the model is of the kind that bot.adapters.llm_fused runs; asked of a model without weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return can_fuse(AutoModelForCausalLM.from_config(shape))


def _speedup(knobs: TrainConfig, path: Path) -> Any:
    """What `auto` means for a model of this size."""
    if knobs.speedup != "auto":
        return knobs.speedup
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors")) / 2  # at least two bytes each
    return "graphs" if weights < SMALL and knobs.method == "lora" else "compile"


def _needed_bytes(knobs: TrainConfig, path: Path) -> int:
    """Room for two states and the result: float32 for what is trained, and the optimiser's two numbers for each."""
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    return SPARE_BYTES + (8 * weights if knobs.method == "full" else weights)


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
        yield lambda now, steps: console.print(f"step {now.step} of {steps}: {_words(now)}")
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("", total=None)
        yield lambda now, steps: bars.update(task, completed=now.step, total=steps, description=_words(now))


def _words(now: Progress) -> str:
    best = f", validation {now.valid_loss:.4f} (best {now.best_loss:.4f})" if now.best_step else ""
    return f"loss {now.loss:.4f}{best}, {now.tokens_a_second:,.0f} tokens/s"


# --- what comes out ----------------------------------------------------------------------------------------------


def finish(out: Path, knobs: TrainConfig, data: Dataset, base: Path, now: Progress) -> Path:
    """The adapter's folder with its manifest, under its final name only when it is whole."""
    making, done = out / f".{ADAPTER}", out / ADAPTER
    if knobs.method == "full":
        making.rename(done)
        return done
    manifest = AdapterManifest(
        name=out.name,
        base=knobs.model,
        base_sha256=weights_sha256(base),
        trained_until=trained_until(data, base),
        mood="tuned" if data.manifest.counts["train"].get("mood") else "shown",
        columns=data.manifest.columns,
        windows=data.manifest.windows,
        licence=licence_of(data),
        made=datetime.now(UTC),
        git=_revision(),
        versions=_versions(),
        scores={"valid_loss": now.best_loss} if now.best_step else {},
        sha256={},
    )
    write_adapter(making, manifest)
    making.rename(done)
    return done


def trained_until(data: Dataset, base: Path) -> Any:
    """The last day that the adapter can know of: of the base, or of the data it was trained and chosen on.

    Raises:
        Refused: neither says.
    """
    manifest = read_manifest(base)
    cuts = data.manifest.cuts
    days = [manifest.knowledge_until] if manifest else []
    days += [cuts.valid_until] if cuts else []
    if not days:
        raise Refused("neither the base nor the dataset says until when the adapter knows: add a manifest to the base")
    return max(days)


def licence_of(data: Dataset) -> str:
    """The licences of all sources, as one text."""
    return "; ".join(dict.fromkeys(f"{one.name}: {one.licence}" for one in data.manifest.sources))


def _versions() -> dict[str, str]:
    told = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            told[name] = importlib.metadata.version(name)
    return told


def _revision() -> str:
    """The revision of the code, with a + where it was changed since; "unknown" without git."""
    git = shutil.which("git")
    here = Path(__file__).resolve().parent
    if git is None:
        return "unknown"
    asked = [[git, "rev-parse", "--short=12", "HEAD"], [git, "status", "--porcelain", "--untracked-files=no"]]
    told = [subprocess.run(one, cwd=here, capture_output=True, text=True, check=False) for one in asked]  # noqa: S603
    return "unknown" if told[0].returncode else told[0].stdout.strip() + ("+" if told[1].stdout.strip() else "")
